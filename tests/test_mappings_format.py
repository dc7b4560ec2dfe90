"""The plan van aanpak is read and written without losing anything, and what is wrong with it is said without quoting it."""

import json
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mappings
from mappings.document import parse_document
from mappings.errors import MappingError
from mappings.format import Draft, Format, compile_format
from mappings.plan import JSON_TO_PLAN, Label, Safety, SupportPlan
from mappings.references import broken_references

FOLDER = Path(next(iter(mappings.__path__))) / "formats" / "plan-van-aanpak"
EXAMPLES = sorted(path.name for path in (FOLDER / "examples").iterdir())
SCHEMA = json.loads((FOLDER / "schema.json").read_bytes())
FORMAT: Format = compile_format(
    "plan-van-aanpak", (FOLDER / "mapping.yaml").read_bytes(), (FOLDER / "schema.json").read_bytes()
)
CANARY = "Kanarie"


def source(case: str) -> bytes:
    """Return an example as sent."""
    return (FOLDER / "examples" / case / "source.json").read_bytes()


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


@pytest.mark.parametrize("case", EXAMPLES)
class TestExample:
    """Golden pairs."""

    def test_is_read_as_its_plan(self, case: str) -> None:
        """source.json → plan.json, and nothing finds no place."""
        draft = FORMAT.read(source(case))

        assert JSON_TO_PLAN.decode((FOLDER / "examples" / case / "plan.json").read_bytes()) == draft.plan
        assert draft.loss == ()

    def test_is_written_from_its_plan(self, case: str) -> None:
        """plan.json → source.json."""
        plan = JSON_TO_PLAN.decode((FOLDER / "examples" / case / "plan.json").read_bytes())

        assert json.loads(source(case)) == json.loads(FORMAT.write(plan))
        assert FORMAT.unwritten(plan) == ()

    def test_points_back_at_every_item(self, case: str) -> None:
        """Pointers lead to the item that a part came from."""
        draft, whole = FORMAT.read(source(case)), json.loads(source(case))

        for pointer in draft.pointers.values():
            _, name, index = pointer.split("/")
            assert whole[name][int(index)]
        assert {item["ref"] for item in whole["bewoners"]} == set(draft.references.values())


def test_elk_veld_exercises_every_field_of_the_schema() -> None:
    """A field without an example is a field without a golden pair."""
    whole = json.loads(source("elk-veld"))

    assert list(unexercised(SCHEMA, [whole], "")) == []


def unexercised(schema: dict[str, Any], values: list[Any], path: str) -> Any:
    """Yield the properties and the codes of a schema that no value uses."""
    if "$ref" in schema:
        schema = {
            **SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]],
            **{k: v for k, v in schema.items() if k != "$ref"},
        }
    for name, below in schema.get("properties", {}).items():
        found = [value[name] for value in values if name in value]
        if not found:
            yield f"{path}/{name}"
        yield from unexercised(below, found, f"{path}/{name}")
    if "items" in schema:
        yield from unexercised(schema["items"], [item for value in values for item in value], f"{path}/*")


def test_the_schema_knows_the_codes_of_the_mapping() -> None:
    """Each code table stands in schema.json as an enum, and each enum is a code table."""
    from mappings.declaration import declare

    tables = declare((FOLDER / "mapping.yaml").read_bytes()).codes
    text = {name: frozenset(table) for name, table in tables.items() if name != "vertrouwelijk"}

    assert set(text.values()) == set(enums(SCHEMA))


def enums(node: Any) -> Any:
    """Yield every enum in a schema."""
    if isinstance(node, dict):
        if "enum" in node:
            yield frozenset(node["enum"])
        for value in node.values():
            yield from enums(value)


# ---- generated documents

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
DATE = st.dates().map(str)
BSN = st.sampled_from([item["bsn"] for item in json.loads(source("elk-veld"))["bewoners"] if "bsn" in item])
FIXED = {"bsn": BSN, "postcode": st.just("9999 XA"), "gemeentecode": st.just("9901"), "kvk": st.just("99999999")}
FIXED |= {"agb": st.just("41410001"), "ura": st.just("00001111"), "oin": st.just("00000099000000001000")}
DEFAULTS = {"wet": "geen", "vertrouwelijk": False, "mantelzorger": False, "magGenoemdWorden": False}
DEFAULTS |= {"regie": False, "vasteContactpersoon": False}
ALWAYS = {"doelen": {"status": "actief"}, "acties": {"status": "gevraagd"}, "akkoord": {"eens": True}}
ALWAYS |= {"voorzieningen": {"status": "aangevraagd"}}
SCOPES = {"over": "bewoners", "vanBewoners": "bewoners", "genoemd": "netwerk", "vastgelegdDoor": "organisaties"}
SCOPES |= {"organisatie": "organisaties", "aanbieder": "organisaties", "doelen": "doelen"}
ACTORS = {"bewoner": "bewoners", "netwerk": "netwerk", "betrokkene": "betrokkenen", "organisatie": "organisaties"}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a document in the form in which this format writes it: every property of the schema may occur."""
    keys = {name: [f"{name}-{n}" for n in range(draw(st.integers(0, 2)))] for name in ("netwerk", "betrokkenen")}
    keys["organisaties"] = [f"o{n}" for n in range(draw(st.integers(0, 2)))]
    keys["bewoners"] = [f"r{n}" for n in range(draw(st.integers(1, 3)))]
    keys["doelen"] = draw(st.lists(st.one_of(st.integers(0, 99), st.just("x-9")), max_size=2, unique=True))
    whole: dict[str, Any] = {
        "planNummer": draw(TEXT),
        "status": draw(st.sampled_from(SCHEMA["properties"]["status"]["enum"])),
    }
    if draw(st.booleans()):
        whole |= {"planId": draw(TEXT), "begindatum": draw(DATE)}
    for name, schema in SCHEMA["properties"].items():
        if schema.get("type") == "array":
            whole[name] = [
                draw_item(draw, schema["items"], keys, name, key) for key in own_keys(draw, name, schema, keys)
            ]
    return {name: value for name, value in whole.items() if value != []}


def own_keys(draw: st.DrawFn, name: str, schema: dict[str, Any], keys: dict[str, list[Any]]) -> list[Any]:
    """Return the keys of the items of a list; None for an item without one."""
    if name in keys:
        return keys[name]
    count = draw(st.integers(schema.get("minItems", 0), 2))
    numbered = name in ("acties", "voorzieningen")
    return [index if numbered else draw(st.sampled_from([None, f"{name}.{index}"])) for index in range(count)]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its $ref folded in."""
    if "$ref" not in schema:
        return schema
    target = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    properties = {**schema.get("properties", {}), **resolved(target).get("properties", {})}
    return {**resolved(target), **schema, "$ref": "", "properties": properties}


def draw_item(
    draw: st.DrawFn, schema: dict[str, Any], keys: dict[str, list[Any]], where: str, key: Any
) -> dict[str, Any]:
    """Draw an object: its required properties and some of the others."""
    schema = resolved(schema)
    item = dict(ALWAYS.get(where, {}))
    if key is not None:
        item["nummer" if "nummer" in schema["properties"] else "ref"] = key
    for name, below in schema["properties"].items():
        if name in ("ref", "nummer") or (name == "over" and where in ("bewoners", "netwerk", "adres")):
            continue
        if name in schema.get("required", ()) or draw(st.integers(0, 3)) == 0:
            value = draw_value(draw, name, below, keys)
            if value is not None and value != DEFAULTS.get(name):
                item[name] = value
    if "geheimhouding" in item and ("vastgelegdDoor" not in item or not item["geheimhouding"]):
        del item["geheimhouding"]
    return item


def draw_value(draw: st.DrawFn, name: str, schema: dict[str, Any], keys: dict[str, list[Any]]) -> Any:
    """Draw the value of a property, None when there is nothing to refer to."""
    if name in SCOPES:
        return draw_reference(draw, name, schema, keys)
    if schema.get("$ref") == "#/$defs/actor":
        kind = draw(st.sampled_from(sorted(ACTORS)))
        known = keys[ACTORS[kind]]
        return (
            {"soort": kind, "ref": draw(st.sampled_from(known))} if known and draw(st.booleans()) else {"soort": kind}
        )
    if schema.get("type") == "object":
        return draw_item(draw, schema, keys, name, None) or None
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    if schema.get("type") in ("integer", "boolean"):
        return draw(st.integers(-(2**53), 2**53) if schema["type"] == "integer" else st.booleans())
    return draw(DATE if schema.get("format") == "date" else FIXED.get(name, TEXT))


def draw_reference(draw: st.DrawFn, name: str, schema: dict[str, Any], keys: dict[str, list[Any]]) -> Any:
    """Draw one key, or a list of keys that is not simply all residents."""
    known = keys[SCOPES[name]]
    if schema.get("type") != "array":
        return draw(st.sampled_from(known)) if known else None
    chosen = draw(st.lists(st.sampled_from(known), min_size=1, unique=True)) if known else []
    return None if not chosen or (SCOPES[name] == "bewoners" and chosen == known) else chosen


THOROUGH = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@THOROUGH
@given(documents())
def test_writing_what_was_read_gives_the_document(whole: dict[str, Any]) -> None:
    """write ∘ read is the identity on documents in the form that the format writes, and nothing is lost."""
    draft = read(whole)

    assert whole == json.loads(FORMAT.write(draft.plan))
    assert draft.loss == ()
    assert list(broken_references(draft.plan)) == []


@THOROUGH
@given(documents())
def test_reading_what_was_written_gives_the_plan(whole: dict[str, Any]) -> None:
    """read ∘ write is the identity on plans with ids of the gateway, but for the scope of the draft ids."""
    plan = with_opaque_ids(read(whole).plan)

    body = FORMAT.write(plan)

    assert plan == without_scopes(FORMAT.read(body).plan)
    assert body == FORMAT.write(plan)


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


@pytest.mark.parametrize("case", EXAMPLES)
def test_the_spelling_of_a_document_makes_no_difference(case: str) -> None:
    """Spread out with escapes or to the byte as a machine writes it: the same value, and the same plan."""
    spread = json.dumps(json.loads(source(case)), indent=1).encode()
    plain = msgspec.json.encode(json.loads(source(case)))

    assert parse_document(plain) == parse_document(spread)
    assert FORMAT.read(plain) == FORMAT.read(spread)


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
