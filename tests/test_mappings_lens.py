"""A mapping is data: a format written by this test works in both directions, and a wrong one is refused by the name of its rule."""

import json
from datetime import date
from typing import Any

import msgspec
import pytest

from mappings.errors import FormatError, MappingError
from mappings.format import Format, compile_format
from mappings.plan import SupportPlan

MAPPING = """
name: klein
version: "1"
title: A small format of another shape
codes:
  fase: {lopend: agreed, loopt: agreed, klaar: ended}
  hulp: {1: budget, 2: in-kind}
  soort: {inwoner: resident, naaste: relative}
  domein: {geld: finances, huis: housing}
header:
  - {source: dossier/id, plan: number}
  - {source: dossier/fase, plan: status, codes: fase}
  - {source: dossier/looptijd, plan: [startsOn, endsOn], split: "/", type: date}
residents: {at: /client, key: code}
label:
  - {source: gebieden/hoofd, plan: label/domain, codes: domein}
  - {plan: label/sensitivity, constant: restricted}
rules:
  - part: identity
    at: /client
    label: false
    fields:
      - {source: naam, plan: [family, given], split: ", "}
      - {source: geboren, plan: birthDate, type: date}
  - part: contact
    at: /client
    label: false
    fields:
      - {source: adres, plan: [street, houseNumber], split: " ", side: end}
  - part: household
    each: /netwerk
    key: code
    fields:
      - {source: rol, plan: relation, default: friend}
  - {part: support-question, each: /vragen, label: false, fields: [{source: "", plan: text}]}
  - part: goal
    each: /doelen/kort
    key: nr
    numeric: true
    fields: [{source: wat, plan: text}, {plan: term, constant: short}]
  - part: goal
    each: /doelen/lang
    key: nr
    numeric: true
    fields: [{source: wat, plan: text}, {plan: term, constant: long}]
  - part: action
    each: /taken
    key: nr
    fields:
      - {source: taak, plan: text}
      - {source: [door, code], plan: owner, type: actor, codes: soort}
      - {source: bij, plan: goals, ref: goal, list: true, split: ";"}
      - {source: betrokken, plan: label/mentioned, ref: relative, list: true}
  - part: provision
    each: /hulp
    fields: [{source: naam, plan: text}, {source: vorm, plan: delivery, codes: hulp}]
  - {part: analysis, at: /analyse, fields: [{source: tekst, plan: text}]}
"""
SOURCE: dict[str, Any] = {
    "dossier": {"id": "D1", "fase": "lopend", "looptijd": "2026-01-01/2026-12-31"},
    "client": {
        "code": "c",
        "naam": "Jansen, Marloes",
        "geboren": "1989-03-14",
        "adres": "Lange Straat 12 ",
        "gebieden": {"x": 1},
    },
    "netwerk": [{"code": "n", "gebieden": {"hoofd": "huis"}}],
    "vragen": ["Wie helpt mij?", "Wie helpt mij?"],
    "doelen": {"kort": [{"nr": 1, "wat": "Rust."}], "lang": [{"nr": 2, "wat": "Werk."}, {"nr": 3, "wat": "Thuis."}]},
    "taken": [{"nr": "t", "taak": "Bellen.", "door": "naaste", "code": "n", "bij": "1; 3", "betrokken": ["n"]}],
    "hulp": [{"naam": "Coach", "vorm": 1, "gebieden": {"hoofd": "geld"}}],
    "analyse": {"tekst": "Zo zit het."},
}


def compiled(mapping: str = MAPPING, schema: bytes = b"{}") -> Format:
    """Compile a format of this test."""
    return compile_format("klein", mapping.encode(), schema)


def plan_of(document: dict[str, Any]) -> SupportPlan:
    """Read a document of this test."""
    return compiled().read(json.dumps(document).encode()).plan


def parts(plan: SupportPlan, kind: str) -> list[Any]:
    """Return the parts of a kind."""
    return [part for part in plan.parts if part.kind == kind]


def test_a_format_needs_no_python() -> None:
    """Single objects, nested lists, bare texts: written as read, but for what has no place."""
    draft = compiled().read(json.dumps(SOURCE).encode())
    expected = {**SOURCE, "client": {name: value for name, value in SOURCE["client"].items() if name != "gebieden"}}
    expected["client"]["adres"] = "Lange Straat 12 "

    assert json.loads(compiled().write(draft.plan)) == expected
    assert [loss.pointer for loss in draft.loss] == ["/client/gebieden/x"]
    assert draft.references == {"resident:c": "c"}


def test_split_divides_one_text_over_several_fields() -> None:
    """From the start or from the end; what is absent stays absent."""
    identity, contact = plan_of(SOURCE).parts[:2]
    short = plan_of({**SOURCE, "client": {"code": "c", "naam": "Jansen", "adres": "Kade 3"}})

    assert (identity.family, identity.given) == ("Jansen", "Marloes")
    assert (contact.street, contact.house_number) == ("Lange Straat 12", None)
    assert (short.parts[0].family, short.parts[0].given) == ("Jansen", None)
    assert (short.parts[1].street, short.parts[1].house_number) == ("Kade", "3")


def test_split_pieces_have_the_type_of_their_fields() -> None:
    """Two days in one text become days, and a day that does not exist is refused."""
    plan = plan_of(SOURCE)
    wrong = {**SOURCE, "dossier": {**SOURCE["dossier"], "looptijd": "2026-01-01/2026-02-31"}}
    with pytest.raises(MappingError) as caught:
        plan_of(wrong)

    assert (plan.starts_on, plan.ends_on) == (date(2026, 1, 1), date(2026, 12, 31))
    assert [(finding.pointer, finding.code) for finding in caught.value.findings] == [("/dossier/looptijd", "date")]


def test_constants_choose_the_rule_that_writes_a_part() -> None:
    """Two lists feed one kind: what they differ in says where a part belongs."""
    plan = plan_of(SOURCE)

    assert [(goal.id, goal.term) for goal in parts(plan, "goal")] == [
        ("goal:1", "short"),
        ("goal:2", "long"),
        ("goal:3", "long"),
    ]
    assert {goal.label.sensitivity for goal in parts(plan, "goal")} == {"restricted"}


def test_references_cross_lists() -> None:
    """A separated text of goal numbers, an actor of two fields, a list of people mentioned."""
    (action,) = parts(plan_of(SOURCE), "action")

    assert action.goals == ("goal:1", "goal:3")
    assert (action.owner.type, action.owner.ref) == ("relative", "household:n")
    assert action.label.mentioned == ("household:n",)


def test_codes_may_have_synonyms_and_numbers() -> None:
    """The first of the synonyms is written."""
    plan = plan_of({**SOURCE, "dossier": {"id": "D1", "fase": "loopt"}})

    assert plan.status == "agreed"
    assert json.loads(compiled().write(plan))["dossier"]["fase"] == "lopend"
    assert parts(plan, "provision")[0].delivery == "budget"


def test_a_default_of_the_mapping_is_what_absence_means() -> None:
    """And it is not written."""
    assert parts(plan_of(SOURCE), "household")[0].relation == "friend"


def test_what_is_not_there_makes_no_part() -> None:
    """A single object without content is no part; a resident without a name has no identity."""
    plan = plan_of({"dossier": {"id": "D1", "fase": "klaar"}, "client": {"code": "c"}, "analyse": {}})

    assert plan.parts == ()


def test_a_single_place_holds_one_part() -> None:
    """The second analysis has no place, and is named."""
    plan = plan_of(SOURCE)
    (analysis,) = parts(plan, "analysis")
    second = msgspec.structs.replace(analysis, id="second", text="Anders.")
    more = msgspec.structs.replace(plan, parts=(*plan.parts, second))

    assert compiled().unwritten(more) == ("second",)
    assert json.loads(compiled().write(more))["analyse"] == SOURCE["analyse"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({"vragen": "x"}, ("/vragen", "type"), id="a list that is none"),
        pytest.param({"vragen": [1]}, ("/vragen/0", "type"), id="a number for a text"),
        pytest.param({"netwerk": ["n"]}, ("/netwerk/0", "type"), id="a text for an object"),
        pytest.param({"client": {}}, ("/client", "required"), id="a resident without a key"),
        pytest.param({"client": {"code": "c", "geboren": 1}}, ("/client/geboren", "type"), id="a number for a date"),
        pytest.param({"client": {"code": "c", "naam": []}}, ("/client/naam", "type"), id="a list to split"),
        pytest.param({"hulp": [{"naam": "x", "vorm": True}]}, ("/hulp/0/vorm", "code"), id="true is not the code 1"),
        pytest.param({"hulp": [{"naam": "x", "vorm": []}]}, ("/hulp/0/vorm", "code"), id="a list for a code"),
        pytest.param({"hulp": [{"vorm": 1}]}, ("/hulp/0", "required"), id="a compulsory field"),
        pytest.param(
            {"doelen": {"kort": [{"wat": "x", "nr": []}]}}, ("/doelen/kort/0/nr", "type"), id="a list for a key"
        ),
        pytest.param(
            {"doelen": {"kort": [{"wat": "x", "nr": 2}], "lang": [{"wat": "y", "nr": 2}]}, "taken": []},
            ("/doelen/lang/0/nr", "duplicate"),
            id="one number in two lists",
        ),
        pytest.param({"doelen": []}, ("/doelen", "type"), id="a list for an object"),
    ],
)
def test_the_lens_does_not_lean_on_the_schema(changed: dict[str, Any], expected: tuple[str, str]) -> None:
    """With a schema that allows everything, the lens says itself what is wrong."""
    with pytest.raises(MappingError) as caught:
        plan_of({**SOURCE, "taken": [], "netwerk": [], **changed})

    assert expected in [(finding.pointer, finding.code) for finding in caught.value.findings]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("name: klein", "name: groot", "name of the folder", id="another name"),
        pytest.param("title: A", "titel: A", "titel", id="an unknown word"),
        pytest.param("part: goal", "part: dream", "dream", id="an unknown kind"),
        pytest.param("plan: birthDate", "plan: birthday", r"rule 1 \(identity\).*birthday", id="an unknown plan field"),
        pytest.param("plan: birthDate", "plan: birthDate/year", r"rule 1 \(identity\).*birthDate", id="below a value"),
        pytest.param(
            "geboren, plan: birthDate, type: date",
            "geboren, plan: birthDate",
            "birthDate holds a date",
            id="text for a day",
        ),
        pytest.param('split: "/", type: date', 'split: "/"', "holds a date", id="pieces of text for days"),
        pytest.param("codes: hulp", "codes: hulpen", r"rule 8 \(provision\).*hulpen", id="an unknown code table"),
        pytest.param(
            "1: budget", "1: gold", r"rule 8 \(provision\).*not a value", id="a code that the plan does not know"
        ),
        pytest.param(
            "constant: short",
            "constant: soon",
            r"rule 5 \(goal\).*not a value",
            id="a constant that the plan does not know",
        ),
        pytest.param(
            "{source: wat, plan: text}, ", "", r"rule 5 \(goal\): no field for text", id="a compulsory field is lacking"
        ),
        pytest.param(
            "ref: relative, list: true",
            "ref: relative",
            r"rule 7 \(action\).*mentioned holds a list",
            id="a list as one value",
        ),
        pytest.param("source: vorm", "source: naam", r"rule 8 \(provision\).*twice", id="one source for two fields"),
        pytest.param("source: vorm", "source: naam/vorm", "naam", id="a value that is an object too"),
        pytest.param("[door, code]", "[door]", r"rule 7 \(action\).*pair", id="half an actor"),
        pytest.param("plan: [family, given], ", "plan: family, ", r"rule 1 \(identity\).*split", id="a split into one"),
        pytest.param("each: /taken", "each: taken", r"rule 7 \(action\).*starts with /", id="a path without its slash"),
        pytest.param(
            "at: /analyse", "at: /analyse, each: /a", r"rule 9 \(analysis\).*either", id="a list and an object"
        ),
        pytest.param("{at: /client, key: code}", "{each: /clienten}", "residents.*`key`", id="residents without a key"),
        pytest.param(
            "each: /doelen/lang\n    key: nr\n    numeric: true",
            "each: /doelen/lang\n    key: nr",
            "numeric",
            id="keys of two sorts",
        ),
        pytest.param("codes:", "name: x\ncodes:", "line.*twice", id="a word twice"),
        pytest.param("title: A", "title: [", "line", id="broken yaml"),
    ],
)
def test_a_wrong_mapping_is_refused(old: str, new: str, message: str) -> None:
    """The message names the rule."""
    assert old in MAPPING
    with pytest.raises(FormatError, match=message):
        compiled(MAPPING.replace(old, new, 1))


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(b"{", id="broken json"),
        pytest.param(b'{"type": "nonsense"}', id="no schema"),
        pytest.param(b'{"$ref": "https://example.org/schema.json"}', id="a schema elsewhere"),
    ],
)
def test_a_wrong_schema_is_refused(schema: bytes) -> None:
    """And nothing is fetched."""
    with pytest.raises(FormatError, match=r"schema\.json"):
        compiled(schema=schema)
