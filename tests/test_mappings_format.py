"""The plan van aanpak is read and written without losing anything, and what is wrong with it is said without quoting it.

What holds for every packaged format is asked of all of them: `forms.py` draws their documents.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import forms
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappings.bundle import bundle_to_plan, encode_bundle, in_order, plan_to_bundle
from mappings.declaration import declare
from mappings.document import parse_document
from mappings.draft import with_plain_ids
from mappings.errors import MappingError
from mappings.format import Draft
from mappings.plan import Label, Safety, SupportPlan
from mappings.references import broken_references

FORMAT = forms.FORMATS["plan-van-aanpak"]
CANARY = "Kanarie"


def source(case: str) -> bytes:
    """Return an example as sent."""
    return forms.source("plan-van-aanpak", case)


def document(**changed: Any) -> dict[str, Any]:
    """Return a small document with other properties."""
    small = {
        "planNummer": "1",
        "status": "concept",
        "bewoners": [{"ref": "a"}],
        "ondersteuningsvragen": [{"tekst": CANARY}],
    }
    return {**small, **changed}


def read(value: Any) -> Draft:
    """Read a document."""
    return FORMAT.read(json.dumps(value).encode())


def refused(body: bytes) -> list[tuple[str, str]]:
    """Return (pointer, code) of what is wrong."""
    with pytest.raises(MappingError) as caught:
        FORMAT.read(body)
    return [(finding.pointer, finding.code) for finding in caught.value.findings]


@pytest.mark.parametrize("name", forms.NAMES)
def test_elk_veld_exercises_every_field_of_the_schema(name: str) -> None:
    """A field without an example is a field without a golden pair."""
    whole = json.loads(forms.source(name, "elk-veld"))

    assert list(unexercised(forms.SCHEMAS[name], forms.SCHEMAS[name], [whole], "")) == []


def unexercised(root: dict[str, Any], schema: dict[str, Any], values: list[Any], path: str) -> Any:
    """Yield the properties of a schema that no value uses."""
    if "$ref" in schema:
        schema = {
            **root["$defs"][schema["$ref"].rpartition("/")[2]],
            **{k: v for k, v in schema.items() if k != "$ref"},
        }
    for name, below in schema.get("properties", {}).items():
        found = [value[name] for value in values if name in value]
        if not found:
            yield f"{path}/{name}"
        yield from unexercised(root, below, found, f"{path}/{name}")
    if "items" in schema:
        yield from unexercised(root, schema["items"], [item for value in values for item in value], f"{path}/*")


@pytest.mark.parametrize("name", forms.NAMES)
def test_the_schema_knows_the_codes_of_the_mapping(name: str) -> None:
    """Each code table stands in schema.json as an enum, and each enum is a code table."""
    tables = declare((forms.FOLDERS / name / "mapping.yaml").read_bytes()).codes
    text = [frozenset(table) for table in tables.values() if not any(isinstance(code, bool) for code in table)]

    assert set(text) == set(enums(forms.SCHEMAS[name]))


def enums(node: Any) -> Any:
    """Yield every enum in a schema."""
    if isinstance(node, dict):
        if "enum" in node:
            yield frozenset(node["enum"])
        for value in node.values():
            yield from enums(value)


# ---- generated documents

THOROUGH = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.mark.parametrize("name", forms.NAMES)
@THOROUGH
@given(data=st.data())
def test_writing_what_was_read_gives_the_document(name: str, data: st.DataObject) -> None:
    """write ∘ read is the identity on documents in the form that the format writes, and nothing is lost."""
    whole = data.draw(forms.documents(name))
    draft = forms.FORMATS[name].read(json.dumps(whole).encode())

    assert whole == json.loads(forms.FORMATS[name].write(draft.plan))
    assert draft.loss == ()
    assert list(broken_references(draft.plan)) == []


@pytest.mark.parametrize("name", forms.NAMES)
@THOROUGH
@given(data=st.data())
def test_reading_what_was_written_gives_the_plan(name: str, data: st.DataObject) -> None:
    """read ∘ write is the identity on plans with ids of the gateway, but for the scope of the draft ids."""
    form = forms.FORMATS[name]
    plan = with_opaque_ids(form.read(json.dumps(data.draw(forms.documents(name))).encode()).plan)

    body = form.write(plan)

    assert plan == without_scopes(form.read(body).plan)
    assert body == form.write(plan)


@pytest.mark.parametrize("name", forms.NAMES)
@settings(THOROUGH, max_examples=50)
@given(data=st.data())
def test_what_a_document_says_comes_back_out_of_fhir(name: str, data: st.DataObject) -> None:
    """Through a Bundle and back: the plan of any document, under an id that FHIR allows."""
    read_plan = forms.FORMATS[name].read(json.dumps(data.draw(forms.documents(name))).encode()).plan
    plan = in_order(with_plain_ids(msgspec.structs.replace(read_plan, id="")))
    sent = json.loads(encode_bundle(plan_to_bundle(plan, "https://gateway.example/fhir")))

    assert (plan, ()) == bundle_to_plan(sent)


def renamed(plan: SupportPlan, rename: Callable[[str], str]) -> SupportPlan:
    """Return the plan with every id renamed."""
    known = {*plan.residents, *(part.id for part in plan.parts), *(item.id for item in plan.organisations)}

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: walk(value) for name, value in node.items()}
        if isinstance(node, list | tuple):
            return [walk(value) for value in node]
        return rename(node) if node in known else node

    return msgspec.convert(walk(msgspec.to_builtins(plan)), SupportPlan)


def with_opaque_ids(plan: SupportPlan) -> SupportPlan:
    """Return the plan as the gateway keeps it: ids that say nothing."""
    ids: dict[str, str] = {}

    def opaque(identifier: str) -> str:
        owner, dot, suffix = identifier.partition(".") if identifier.startswith("resident:") else (identifier, "", "")
        return f"0197-{ids.setdefault(owner, str(len(ids)))}{dot}{suffix}"

    return renamed(plan, opaque)


def without_scopes(plan: SupportPlan) -> SupportPlan:
    """Return a draft plan with the keys as ids."""
    return renamed(plan, lambda identifier: identifier.partition(":")[2])


def test_defaults_that_were_written_out_are_left_out() -> None:
    """The form in which the format writes: defaults absent, all residents absent, statuses always present, codes in one case."""
    loose = document(
        bewoners=[{"ref": "a", "adres": {"postcode": "9999xa"}}],
        ondersteuningsvragen=[{"tekst": "x", "over": ["a"], "wet": "geen", "vertrouwelijk": False, "genoemd": []}],
        doelen=[{"nummer": "7", "omschrijving": "y"}],
    )

    written = json.loads(FORMAT.write(read(loose).plan))

    assert written["bewoners"][0] == {"ref": "a", "adres": {"postcode": "9999 XA"}}
    assert written["ondersteuningsvragen"] == [{"tekst": "x"}]
    assert written["doelen"] == [{"nummer": 7, "omschrijving": "y", "status": "actief"}]


def test_a_redacted_view_is_written_without_what_it_lacks() -> None:
    """Absent parts, an owner without ref, a pseudonym for a BSN: the document says no more than the view."""
    plan = FORMAT.read(source("samen-op-orde")).plan
    action = next(part for part in plan.parts if part.kind == "action")
    identity = next(part for part in plan.parts if part.kind == "identity")
    hidden = msgspec.structs.replace(action, owner=msgspec.structs.replace(action.owner, ref=None), goals=())
    known = msgspec.structs.replace(
        identity, bsn=None, pseudonym="p-1", given=None, family=None, birth_date=None, gender=None
    )
    view = msgspec.structs.replace(plan, parts=(known, hidden), organisations=(), number=None)

    written = json.loads(FORMAT.write(view))

    assert {"status", "begindatum", "einddatum", "bewoners", "acties"} == set(written)
    assert written["bewoners"] == [{"ref": "marloes", "pseudoniem": "p-1"}, {"ref": "finn"}]
    assert written["acties"][0]["wie"] == {"soort": "bewoner"}
    assert "doelen" not in written["acties"][0]


def test_what_has_no_place_is_named() -> None:
    """A safety part cannot be written in this format; whoever sends it can know."""
    safety = Safety(id="s", label=Label(subjects=("r",)), aspect="harm", text="x")
    plan = SupportPlan(id="p", status="agreed", residents=("r",), parts=(safety,), instrument="x")

    assert FORMAT.unwritten(plan) == ("s",)
    assert "safety" not in FORMAT.kinds


def test_items_without_a_key_keep_their_id_when_others_come_and_go() -> None:
    """A generated key stands for the content, not for the place; equal items are numbered."""
    one = read(document(zorgen=[{"tekst": "a"}, {"tekst": "b"}]))
    two = read(document(zorgen=[{"tekst": "c"}, {"tekst": "b", "wet": "geen"}, {"tekst": "b"}]))
    first = [part.id for part in one.plan.parts if part.kind == "worry"]
    second = [part.id for part in two.plan.parts if part.kind == "worry"]

    assert first[1] == second[1]
    assert f"{first[1]}-2" == second[2]


def test_loss_names_every_leaf_without_a_place() -> None:
    """At every depth, with RFC 6901 escapes; null says nothing."""
    extra = {"a/b": [1, {"c~d": "x"}], "leeg": None}
    draft = read(document(extra=extra, bewoners=[{"ref": "a", "adres": {"land": "NL"}, "over": ["a"]}]))

    assert [loss.pointer for loss in draft.loss] == [
        "/extra/a~1b/0",
        "/extra/a~1b/1/c~0d",
        "/bewoners/0/adres/land",
        "/bewoners/0/over/0",
    ]
    assert {"not-mapped"} == {loss.reason for loss in draft.loss}


# ---- what is refused

GOAL = {"nummer": 1, "omschrijving": CANARY}
ACTION = {"nummer": 1, "wat": CANARY, "wie": {"soort": "bewoner", "ref": "a"}}
DEEP = b"[" * 65 + b"]" * 65
BODIES = [
    pytest.param(b"", [("", "json")], id="nothing at all"),
    pytest.param(b'{"planNummer": "Kanarie",\n "x" 1}', [("", "json")], id="broken json"),
    pytest.param(b'{"planNummer": "\xff"}', [("", "json")], id="not utf-8"),
    pytest.param(b'{"x": NaN}', [("", "json")], id="NaN"),
    pytest.param(b'{"x": 1e999}', [("", "json")], id="a number beyond range"),
    pytest.param(b'{"x": ' + b"9" * 5000 + b"}", [("", "json")], id="thousands of digits"),
    pytest.param(
        b'{"a": [{"b": 1, "b": "Kanarie"}], "a/": 1, "a/": 2}', [("/a~1", "json"), ("/a/0/b", "json")], id="keys twice"
    ),
    pytest.param(b'{"a":1,"a":1}', [("/a", "json")], id="a key twice with one value"),
    pytest.param(DEEP, [("", "depth")], id="65 levels"),
    pytest.param(b"[" * 100_000, [("", "depth")], id="100,000 levels"),
    pytest.param(b'{"x": ["Kanarie\\u0000"]}', [("/x/0", "text")], id="NUL in a string"),
    pytest.param(b'{"x":["\\u0000"]}', [("/x/0", "text")], id="NUL in a plain encoding"),
    pytest.param(b'{"x": {"y": "\\ud800"}}', [("/x/y", "text")], id="half a surrogate pair"),
    pytest.param(b'["Kanarie"]', [("", "schema")], id="a list"),
]


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_bytes_are_refused(body: bytes, expected: list[tuple[str, str]]) -> None:
    """What is not strict JSON does not get to the lens."""
    assert expected == refused(body)


@pytest.mark.parametrize("case", forms.CASES, ids=forms.case_id)
def test_the_spelling_of_a_document_makes_no_difference(case: Path) -> None:
    """Spread out with escapes or to the byte as a machine writes it: the same value, and the same plan."""
    form, whole = forms.FORMATS[case.parents[1].name], json.loads((case / "source.json").read_bytes())
    spread, plain = json.dumps(whole, indent=1).encode(), msgspec.json.encode(whole)

    assert parse_document(plain) == parse_document(spread)
    assert form.read(plain) == form.read(spread)


def test_escaped_text_that_is_whole_is_welcome() -> None:
    """A full surrogate pair and an escaped backslash before u0000 are text."""
    body = rb'{"planNummer":"1","status":"concept","bewoners":[{"ref":"a"}],"ondersteuningsvragen":[{"tekst":"\ud83d\ude00 \\u0000"}]}'

    assert FORMAT.read(body).plan.parts[0].text == "😀 \\u0000"


DOCUMENTS = [
    pytest.param({"bewoners": []}, [("/bewoners", "schema")], id="no resident"),
    pytest.param(
        {"ondersteuningsvragen": [{}]}, [("/ondersteuningsvragen/0", "schema")], id="a statement without text"
    ),
    pytest.param(
        {"acties": [{"nummer": 1, "wat": CANARY}]}, [("/acties/0", "schema")], id="an action without an owner"
    ),
    pytest.param(
        {"acties": [{**ACTION, "wie": {"ref": "a"}}]},
        [("/acties/0/wie", "schema"), ("/acties/0/wie/ref", "required")],
        id="an owner without a type",
    ),
    pytest.param({"begindatum": "2026-02-30"}, [("/begindatum", "date")], id="a day that does not exist"),
    pytest.param({"begindatum": "20260228"}, [("/begindatum", "date")], id="a day in another notation"),
    pytest.param({"begindatum": "2026-W09-6"}, [("/begindatum", "date")], id="a day by its week"),
    pytest.param({"begindatum": 2026}, [("/begindatum", "schema")], id="a day as a number"),
    pytest.param(
        {"bewoners": [{"ref": "a", "bsn": "999999999"}]},
        [("/bewoners/0/bsn", "bsn")],
        id="a BSN that fails the 11-test",
    ),
    pytest.param(
        {"bewoners": [{"ref": "a", "adres": {"postcode": CANARY}}]},
        [("/bewoners/0/adres/postcode", "postcode")],
        id="a postal code",
    ),
    pytest.param(
        {"bewoners": [{"ref": "a", "adres": {"gemeentecode": CANARY}}]},
        [("/bewoners/0/adres/gemeentecode", "municipality")],
        id="a municipality",
    ),
    pytest.param(
        {"bewoners": [{"ref": "a"}, {"ref": "a"}]}, [("/bewoners/1/ref", "duplicate")], id="two residents with one key"
    ),
    pytest.param({"bewoners": [{"ref": "~a"}]}, [("/bewoners/0/ref", "key")], id="a key that looks generated"),
    pytest.param(
        {"doelen": [GOAL, {**GOAL, "nummer": "1"}]}, [("/doelen/1/nummer", "duplicate")], id="two goals with one number"
    ),
    pytest.param({"status": CANARY}, [("/status", "code")], id="a status outside its table"),
    pytest.param(
        {"doelen": [{**GOAL, "leefgebied": CANARY}]},
        [("/doelen/0/leefgebied", "code")],
        id="a domain outside its table",
    ),
    pytest.param(
        {"acties": [{**ACTION, "doelen": [1]}]}, [("/acties/0/doelen/0", "reference")], id="a goal that is not there"
    ),
    pytest.param(
        {"acties": [{**ACTION, "wie": {"soort": "bewoner", "ref": CANARY}}]},
        [("/acties/0/wie/ref", "reference")],
        id="an owner who is not there",
    ),
    pytest.param(
        {"zorgen": [{"tekst": "x", "over": ["a", CANARY]}]},
        [("/zorgen/0/over/1", "reference")],
        id="a subject who is not there",
    ),
    pytest.param(
        {"zorgen": [{"tekst": "x", "genoemd": ["a"]}]},
        [("/zorgen/0/genoemd/0", "reference")],
        id="a resident mentioned as network",
    ),
    pytest.param(
        {"zorgen": [{"tekst": "x", "vastgelegdDoor": CANARY}]},
        [("/zorgen/0/vastgelegdDoor", "reference")],
        id="a recorder who is not there",
    ),
    pytest.param(
        {"zorgen": [{"tekst": "x", "geheimhouding": True}]},
        [("/zorgen/0", "required")],
        id="secrecy without a recorder",
    ),
    pytest.param(
        {"organisaties": [{"ref": "o", "naam": "x", "agb": CANARY}]},
        [("/organisaties/0/agb", "identifier")],
        id="an AGB code in another shape",
    ),
    pytest.param(
        {"bewoners": [{"ref": "a", "adres": CANARY}]}, [("/bewoners/0/adres", "schema")], id="text for an object"
    ),
    pytest.param({"zorgen": CANARY}, [("/zorgen", "schema")], id="text for a list"),
    pytest.param({"scores": [{"schaal": "x", "waarde": 1.5}]}, [("/scores/0/waarde", "schema")], id="half a point"),
    pytest.param(
        {"begindatum": "x", "zorgen": [{"tekst": 1}], "bewoners": [{"ref": "a", "bsn": CANARY, "geslacht": CANARY}]},
        [
            ("/bewoners/0/bsn", "bsn"),
            ("/bewoners/0/geslacht", "code"),
            ("/begindatum", "date"),
            ("/zorgen/0/tekst", "schema"),
        ],
        id="everything wrong is said at once, in the order of the document",
    ),
]


@pytest.mark.parametrize(("changed", "expected"), DOCUMENTS)
def test_documents_are_refused(changed: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Each error class, with its pointer."""
    assert expected == refused(json.dumps(document(**changed)).encode())


def test_no_more_than_a_hundred_findings() -> None:
    """A document of nonsense gives a report that can be read."""
    assert len(refused(json.dumps(document(zorgen=[{"tekst": 1, "sinds": "x"}] * 500)).encode())) == 100


@pytest.mark.parametrize(
    "body",
    [
        *(pytest.param(case.values[0], id=str(case.id)) for case in BODIES),
        *(pytest.param(json.dumps(document(**case.values[0])).encode(), id=str(case.id)) for case in DOCUMENTS),
    ],
)
def test_findings_never_quote_the_document(body: bytes) -> None:
    """A remedy is a sentence in lower case without anything that was sent."""
    with pytest.raises(MappingError) as caught:
        FORMAT.read(body)

    for finding in caught.value.findings:
        assert CANARY not in finding.pointer + finding.code + finding.remedy + str(caught.value)
        assert finding.remedy[0].islower()


def test_a_remedy_says_what_is_allowed() -> None:
    """The codes of the format, and the name of the missing property."""
    with pytest.raises(MappingError) as caught:
        read(document(doelen=[{**GOAL, "termijn": "x"}], acties=[{"nummer": 1, "wie": ACTION["wie"]}]))

    assert [finding.remedy for finding in caught.value.findings] == [
        "give one of: kort, lang",
        "give the missing property wat",
    ]


@THOROUGH
@given(st.data())
def test_reading_a_damaged_document_refuses_or_reads(data: st.DataObject) -> None:
    """Whatever is put wherever, the answer is a draft or findings, never another error."""
    whole = deepcopy(json.loads(source("samen-op-orde")))
    place: Any = whole
    while True:
        name = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[name], dict | list) or not place[name] or data.draw(st.booleans()):
            break
        place = place[name]
    place[name] = data.draw(
        st.sampled_from([None, True, 1, -1.5, "", "x", "~", [], {}, [[]], [{}], {"x": 1}, ["x", 1]])
    )

    with suppress(MappingError):
        assert list(broken_references(read(whole).plan)) == []
