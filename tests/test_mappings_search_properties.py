"""What holds for any search and for any example: asked again it is the same, it finds what is there, and it never breaks."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from searches import URL, examples, hashed, matches

from mappings.errors import MappingError
from mappings.identifiers import BSN_SYSTEM
from mappings.search.links import query_string
from mappings.search.parameters import PARAMETERS
from mappings.search.parsing import parse_query
from mappings.search.values import Value, values_of


def test_every_value_is_found_by_a_query_made_of_it() -> None:
    """By code, by system and code, by reference and by date; and not by its opposite."""
    seen = set()
    for resource in examples():
        for value in values_of(resource, hashed):
            key = (resource["resourceType"], value)
            if key in seen or value.system == BSN_SYSTEM:
                continue
            seen.add(key)
            for pair, is_found in _asked_of(value):
                query = parse_query(key[0], [pair], base_url=URL, is_strict=True, is_post=False, hashed=hashed)
                assert matches(resource, query.conditions) == is_found, pair
    assert len(seen) > 300


def _asked_of(value: Value) -> list[tuple[tuple[str, str], bool]]:
    name = value.param
    absent = ((f"{name}:missing", "true"), False)
    if value.code is None:
        return [((name, "gt1800"), True), ((name, "lt1800-01-01"), False), absent]
    code = _escaped(value.code)
    if value.system is None:
        only_id = code.partition("/")[2]
        return [
            ((name, code), True),
            ((name, f"{URL}/{code}"), True),
            ((name, only_id), True),
            ((name, f"{code}x"), False),
            absent,
        ]
    asked = [((name, code), True), ((f"{name}:not", code), False), ((f"{name}:not", f"{code}x"), True), absent]
    if name == "_profile":
        return asked
    system = _escaped(value.system)
    whole = [((name, f"{system}|"), True)] if system else []
    return [*asked, ((name, f"{system}|{code}"), True), ((name, f"urn:x|{code}"), False), *whole]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(",", "\\,").replace("|", "\\|")


_NAMES = sorted({name for parameters in PARAMETERS.values() for name in parameters})
_CONTROL_NAMES = (
    "_count",
    "_sort",
    "_include",
    "_revinclude",
    "_elements",
    "_summary",
    "_total",
    "_format",
    "_id",
    "_lastUpdated",
)
_MODIFIERS = ("", ":not", ":missing", ":Patient", ":Goal.lifecycle-status", ".identifier", ":", ".", ":iterate")
_ANY_NAME = st.one_of(
    st.text(max_size=30),
    st.builds("{}{}".format, st.sampled_from((*_NAMES, *_CONTROL_NAMES)), st.sampled_from(_MODIFIERS)),
    st.builds(
        "_has:{}:{}:{}".format, st.sampled_from((*PARAMETERS, "")), st.sampled_from(_NAMES), st.sampled_from(_NAMES)
    ),
)
_ANY_VALUE = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789-:TZ+., |\\$geltnsab/*", max_size=30),
    st.sampled_from(("2026-01-01", "Patient/1", "true", "Task:focus", "-period", "a|b")),
)


@given(
    st.sampled_from(sorted(PARAMETERS)),
    st.lists(st.tuples(_ANY_NAME, _ANY_VALUE), max_size=6),
    st.booleans(),
    st.booleans(),
)
@example("Task", [("_sort", "\\")], True, True)
@example("Task", [("period", "eq" + "9" * 1000)], True, True)
def test_any_text_is_understood_or_refused(
    resource_type: str, pairs: list[tuple[str, str]], is_strict: bool, is_post: bool
) -> None:
    """Nothing but a MappingError comes out; a refusal says where and what to do; what is understood can be linked to and asked again."""
    asked = {"base_url": URL, "is_strict": is_strict, "is_post": is_post, "hashed": hashed}
    try:
        query = parse_query(resource_type, pairs, **asked)  # type: ignore[arg-type]
    except MappingError as error:
        found = error.findings
    else:
        found = ()
        again = parse_qsl(query_string(query), keep_blank_values=True)
        assert again == list(query.said)
        assert is_post or parse_query(resource_type, again, **asked).conditions == query.conditions  # type: ignore[arg-type]
    assert all(each.remedy and each.pointer.startswith("/") for each in found)


@given(st.text(max_size=60))
def test_no_refusal_holds_the_value(secret: str) -> None:
    """Whatever was asked, the answer names the parameter and not what stood in it."""
    marked = f"Geheim {secret} Geheim"
    for name in ("period", "_id", "_count", "_include", "name", "status:missing", "patient"):
        with pytest.raises(MappingError) as error:
            parse_query("Task", [(name, marked)], base_url=URL, is_strict=True, is_post=False, hashed=hashed)
        assert not any("Geheim" in f"{each.pointer}{each.remedy}" for each in error.value.findings)
