"""A receipt becomes one AuditEvent, which is R4, follows our profile, and says of every part on which ground it left."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import mappings
from mappings.audit import DisclosedPart, Disclosure, Exit, disclosure_to_auditevent
from mappings.codes import KINDS, Domain, Kind, Purpose
from mappings.edge import check_resource
from mappings.elements import RESOURCE_TYPE

EXAMPLES = sorted((Path(mappings.__file__).parent / "profiles" / "examples").glob("*/auditevent.json"))
GATEWAY = "https://planbrug.voorbeeld.nl"
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
GOAL = DisclosedPart(
    id="doel-1",
    kind="goal",
    domain="finances",
    ground="consent",
    article="AVG art. 6(1)(a)",
    choices=(("keuze-1", 2), ("keuze-2", 5)),
)
NAME = DisclosedPart(id="anna.identity", kind="identity", ground="statutory-task", article="Wmo 2015 art. 5.1.1")
READ = Disclosure(
    id="bewijs-1",
    at=NOON,
    exit="read",
    recipient="kompas",
    client="kompas-app",
    plan="plan-1",
    plan_version=4,
    refused=False,
    code="read",
    sha256="ab" * 32,
    parts=(GOAL, NAME),
)
ids = st.text(alphabet="abcXYZ019-.", min_size=1, max_size=64)
parts = st.builds(
    DisclosedPart,
    id=ids,
    kind=st.sampled_from(KINDS),
    domain=st.none() | st.sampled_from(get_args(Domain)),
    ground=st.sampled_from(("consent", "authored", "own-data")),
    article=st.sampled_from(("AVG art. 15", "own record")),
    choices=st.lists(st.tuples(ids, st.integers(1, 99)), max_size=3).map(tuple),
)
disclosures = st.builds(
    Disclosure,
    id=ids,
    at=st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1)),  # noqa: DTZ001
    exit=st.sampled_from(get_args(Exit)),
    recipient=ids,
    plan=ids,
    refused=st.booleans(),
    code=st.sampled_from(("acknowledged", "no-choice")),
    plan_version=st.none() | st.integers(1, 99),
    client=st.none() | ids,
    purpose=st.none() | st.sampled_from(get_args(Purpose)),
    sha256=st.none() | st.just("ab" * 32),
    parts=st.lists(parts, max_size=4).map(tuple),
)


def event(**change: Any) -> dict[str, Any]:
    """Return the AuditEvent of the reading above, changed."""
    return disclosure_to_auditevent(replace(READ, **change), GATEWAY)


def details(entity: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (type, value) of what an entity tells."""
    return [(each["type"], each["valueString"]) for each in entity["detail"]]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_comes_from_its_disclosure(path: Path) -> None:
    disclosure = msgspec.json.decode((path.parent / "disclosure.json").read_bytes(), type=Disclosure)
    found = disclosure_to_auditevent(disclosure, GATEWAY)
    assert json.loads(path.read_bytes()) == found
    assert check_resource(found) == []


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 2


@settings(max_examples=60, deadline=None)
@given(disclosures)
def test_the_auditevent_of_any_disclosure_is_valid(disclosure: Disclosure) -> None:
    found = disclosure_to_auditevent(disclosure, GATEWAY)
    assert check_resource(found) == []
    AuditEvent.model_validate(found)


@settings(max_examples=60, deadline=None)
@given(disclosures)
def test_every_part_is_an_entity_after_the_plan(disclosure: Disclosure) -> None:
    """In the order of the receipt."""
    plan, *others = disclosure_to_auditevent(disclosure, GATEWAY)["entity"]
    assert plan["what"]["reference"].split("/")[:2] == ["CarePlan", disclosure.plan]
    assert [each["what"]["identifier"]["value"] for each in others] == [part.id for part in disclosure.parts]
    grounds = [dict(details(each)) for each in others]
    assert [(each["ground"], each["article"]) for each in grounds] == [
        (part.ground, part.article) for part in disclosure.parts
    ]


def test_a_part_tells_ground_article_and_the_version_of_each_choice() -> None:
    _, goal, name = event()["entity"]
    assert goal["what"]["reference"] == "Goal/doel-1"
    assert details(goal) == [
        ("kind", "goal"),
        ("domain", "finances"),
        ("ground", "consent"),
        ("article", "AVG art. 6(1)(a)"),
        ("choice", "Consent/keuze-1/_history/2"),
        ("choice", "Consent/keuze-2/_history/5"),
    ]
    assert details(name) == [("kind", "identity"), ("ground", "statutory-task"), ("article", "Wmo 2015 art. 5.1.1")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_referred_to_as_the_resource_that_it_is(kind: Kind) -> None:
    """A Patient holds two parts, one of which may have stayed: the reference is to the part alone."""
    entity = event(parts=(replace(GOAL, kind=kind),))["entity"][1]
    assert entity["type"]["code"] == RESOURCE_TYPE[kind]
    literal = None if RESOURCE_TYPE[kind] == "Patient" else f"{RESOURCE_TYPE[kind]}/doel-1"
    assert entity["what"].get("reference") == literal


@pytest.mark.parametrize(
    ("exit_", "kind", "subtype", "action"),
    [
        ("delivery", "110106", "transmit", "C"),
        ("read", "rest", "read", "R"),
        ("search", "rest", "search-type", "E"),
        ("history", "rest", "history", "R"),
        ("view", "rest", "operation", "E"),
    ],
)
def test_each_exit_has_its_own_type_and_action(exit_: Any, kind: str, subtype: str, action: str) -> None:
    found = event(exit=exit_)
    assert (found["type"]["code"], found["subtype"][0]["code"], found["action"]) == (kind, subtype, action)


@pytest.mark.parametrize(("refused", "outcome"), [(False, "0"), (True, "8")])
def test_a_refusal_is_a_failure_with_its_reason(refused: bool, outcome: str) -> None:
    found = event(refused=refused, code="no-choice", parts=(), sha256=None)
    assert (found["outcome"], found["outcomeDesc"]) == (outcome, "no-choice")


@pytest.mark.parametrize(
    ("exit_", "client", "recipient_asked"),
    [("delivery", None, False), ("delivery", "kompas-app", True), ("read", "kompas-app", True), ("view", None, True)],
)
def test_one_of_the_two_agents_asked_for_it(exit_: Any, client: str | None, recipient_asked: bool) -> None:
    """A delivery is the gateway's doing, unless it was pulled."""
    destination, source = event(exit=exit_, client=client)["agent"]
    assert destination["who"] == {"reference": "Organization/kompas"}
    assert destination.get("altId") == client
    assert source["who"]["identifier"]["value"] == GATEWAY
    assert (destination["requestor"], source["requestor"]) == (recipient_asked, not recipient_asked)


def test_the_version_of_the_plan_stands_there_only_when_it_is_given() -> None:
    assert event()["entity"][0]["what"] == {"reference": "CarePlan/plan-1/_history/4"}
    assert event(plan_version=None)["entity"][0]["what"] == {"reference": "CarePlan/plan-1"}


def test_the_hash_of_what_left_is_told_of_the_plan() -> None:
    assert details(event()["entity"][0]) == [("sha256", "ab" * 32)]
    assert "detail" not in event(sha256=None)["entity"][0]


def test_the_purpose_stands_there_when_it_is_known() -> None:
    assert "purposeOfEvent" not in event()
    (purpose,) = event(purpose="hand-over")["purposeOfEvent"]
    assert purpose["coding"] == [{"system": "https://planbrug.nl/fhir/CodeSystem/purpose", "code": "hand-over"}]
