"""A choice and its Consent say the same, both ways; a Consent that says anything else is refused with its place, never half-kept."""

import copy
import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from fhir.resources.R4B.consent import Consent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import mappings
from consent.choice import (
    NEEDED_BY_TYPE,
    Capacity,
    Choice,
    GivenBy,
    PartSelector,
    RecipientSelector,
    RecipientType,
    check_choices,
    says_nothing,
)
from consent.errors import ConsentError
from consent.fhir import choice_to_consent, consent_to_choice, resident_of
from mappings.codes import DOMAINS, KINDS, Kind, OrganisationKind, Purpose
from mappings.edge import check_resource
from mappings.elements import RESOURCE_TYPE
from mappings.errors import Finding

FOLDER = Path(mappings.__file__).parent / "profiles" / "examples"
EXAMPLES = sorted(path.parent for path in FOLDER.glob("*/consent.json"))
OWN = "https://planbrug.nl/fhir"
HL7 = "http://terminology.hl7.org/CodeSystem"
SECRET = "Kanarie"
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
RESIDENT = GivenBy(capacity="resident", person="anna")
TO_KOMPAS = RecipientSelector(type="organisation", organisation="kompas")
PLAIN = Choice(id="keuze", recipient=TO_KOMPAS, effect="permit", given_by=RESIDENT)
FULL = Choice(
    id="keuze",
    version=3,
    recipient=RecipientSelector(type="role", organisation="kompas", role="coach"),
    effect="permit",
    given_by=GivenBy(capacity="representative", person="mentor", mandate="rechtbank"),
    parts=(PartSelector(kinds=("goal", "worry"), domains=("finances",), part_ids=("d1", "anna.contact")),),
    purpose="support",
    starts_on=date(2026, 1, 1),
    ends_on=date(2026, 12, 31),
    evidence="formulier",
    recorded_by="wijkteam-app",
)
SEVERAL = replace(FULL, parts=(PartSelector(kinds=("goal",)), PartSelector(domains=("work",))), effect="deny")
KIND = replace(PLAIN, recipient=RecipientSelector(type="kind", kind="school"))
CHOICES = {"plain": PLAIN, "full": FULL, "several": SEVERAL, "kind": KIND}

# ---- any choice that the gateway accepts

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=12).filter(
    lambda text: not says_nothing(text)
)
ids = st.text(alphabet="abcXYZ019-.", min_size=1, max_size=64)
days = st.dates(min_value=date(1, 1, 1))
selectors = st.builds(
    PartSelector,
    kinds=st.lists(st.sampled_from(KINDS), max_size=3).map(tuple),
    domains=st.lists(st.sampled_from(DOMAINS), max_size=3).map(tuple),
    part_ids=st.lists(ids | words, max_size=3).map(tuple),
)


@st.composite
def recipients(draw: st.DrawFn) -> RecipientSelector:
    """A recipient of any type, with what names it."""
    type_: RecipientType = draw(st.sampled_from(get_args(RecipientType)))
    said = {"organisation": ids, "role": words, "person": words, "kind": st.sampled_from(get_args(OrganisationKind))}
    return RecipientSelector(type=type_, **{name: draw(said[name]) for name in NEEDED_BY_TYPE[type_]})  # type: ignore[arg-type]


@st.composite
def choices(draw: st.DrawFn) -> Choice:
    """A choice that `check_choices` accepts."""
    capacity: Capacity = draw(st.sampled_from(get_args(Capacity)))
    mandates = words if capacity == "representative" else st.none() | words
    first, last = sorted(draw(st.tuples(days, days)))
    return Choice(
        id=draw(st.just("") | ids),
        recipient=draw(recipients()),
        effect=draw(st.sampled_from(("permit", "deny"))),
        given_by=GivenBy(capacity=capacity, person=draw(words), mandate=draw(mandates)),
        parts=tuple(draw(st.lists(selectors, max_size=3))),
        purpose=draw(st.none() | st.sampled_from(get_args(Purpose))),
        starts_on=draw(st.sampled_from((None, first))),
        ends_on=draw(st.sampled_from((None, last))),
        evidence=draw(st.none() | words),
        recorded_by=draw(st.none() | words),
        version=draw(st.integers(0, 10**17)),
    )


examples = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@examples
@given(choices(), ids, st.none() | st.just(NOON), st.data())
def test_every_choice_comes_back_as_it_was(
    choice: Choice, resident: str, moment: datetime | None, data: st.DataObject
) -> None:
    """Whatever the gateway accepts; whether or not it knows what kind of part an id is."""
    organisation = choice.recipient.organisation
    check_choices([choice], frozenset({organisation} if organisation else ()))
    named = sorted({part_id for selector in choice.parts for part_id in selector.part_ids})
    known = data.draw(st.dictionaries(st.sampled_from(named), st.sampled_from(KINDS))) if named else None
    consent = json.loads(json.dumps(choice_to_consent(choice, resident=resident, changed_at=moment, kinds=known)))
    assert consent_to_choice(consent) == choice
    assert resident_of(consent) == resident


@settings(examples, max_examples=40)
@given(choices())
def test_the_consent_of_every_choice_is_valid(choice: Choice) -> None:
    """By R4, by our profile, and by the models of `fhir.resources`."""
    consent = choice_to_consent(choice, resident="anna")
    assert check_resource(consent) == []
    Consent.model_validate(consent)


@examples
@given(choices(), choices())
def test_two_choices_have_one_consent_only_when_they_are_one(one: Choice, other: Choice) -> None:
    same = choice_to_consent(one, resident="anna") == choice_to_consent(other, resident="anna")
    assert same == (one == other)


# ---- examples and shapes


@pytest.mark.parametrize("case", EXAMPLES, ids=lambda case: case.name)
def test_an_example_is_a_choice_and_its_consent(case: Path) -> None:
    """choice.json and consent.json say the same, in both directions."""
    choice = msgspec.json.decode((case / "choice.json").read_bytes(), type=Choice)
    consent = json.loads((case / "consent.json").read_bytes())
    known: dict[str, Kind] = {"doel-1": "goal", "marloes.identity": "identity"}
    assert choice_to_consent(choice, resident="marloes", changed_at=NOON, kinds=known) == consent
    assert consent_to_choice(consent) == choice


def test_the_examples_show_every_type_of_recipient_and_every_capacity() -> None:
    shown = [msgspec.json.decode((case / "choice.json").read_bytes(), type=Choice) for case in EXAMPLES]
    assert {choice.recipient.type for choice in shown} == set(get_args(RecipientType))
    assert {choice.given_by.capacity for choice in shown} == set(get_args(Capacity))


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_referred_to_as_the_resource_that_it_is(kind: Kind) -> None:
    """A Patient is two parts, of which one may be meant: then there is no reference to the whole."""
    choice = replace(PLAIN, parts=(PartSelector(part_ids=("d1",)),))
    (data,) = choice_to_consent(choice, resident="anna", kinds={"d1": kind})["provision"]["data"]
    resource_type = RESOURCE_TYPE[kind]
    assert data["reference"].get("reference") == (None if resource_type == "Patient" else f"{resource_type}/d1")
    assert data["reference"]["identifier"]["value"] == "d1"


def test_a_reference_to_a_resource_is_enough_to_name_a_part() -> None:
    consent = change(PLAIN, ("provision", "data"), [{"meaning": "instance", "reference": {"reference": "Goal/d1"}}])
    assert consent_to_choice(consent) == replace(PLAIN, parts=(PartSelector(part_ids=("d1",)),))


def test_several_selections_stand_under_a_provision_that_permits_nothing_itself() -> None:
    """Who reads the outer provision alone would otherwise give everything."""
    provision = choice_to_consent(SEVERAL, resident="anna")["provision"]
    assert not {"type", "class", "code", "data"} & provision.keys()
    assert [each["type"] for each in provision["provision"]] == ["deny", "deny"]


def test_one_selection_that_stands_nested_is_the_same_choice() -> None:
    nested = [{"type": "permit", "data": [{"meaning": "instance", "reference": {"reference": "Goal/d1"}}]}]
    consent = change(PLAIN, ("provision", "provision"), nested)
    del consent["provision"]["type"]
    assert consent_to_choice(consent) == replace(PLAIN, parts=(PartSelector(part_ids=("d1",)),))


@pytest.mark.parametrize(
    "recipient",
    [
        RecipientSelector(type="role", organisation="kompas", role="coach"),
        RecipientSelector(type="person", organisation="kompas", person="joost"),
        RecipientSelector(type="kind", kind="school"),
        RecipientSelector(type="all"),
    ],
    ids=lambda recipient: recipient.type,
)
def test_who_does_not_know_our_words_gives_nobody_anything(recipient: RecipientSelector) -> None:
    """No actor is an organisation as a whole when a role, a person, a kind or everybody is meant."""
    consent = choice_to_consent(replace(PLAIN, recipient=recipient), resident="anna")
    (actor,) = consent["provision"]["actor"]
    assert actor["reference"].get("reference") in {None, "#recipient"}


def test_a_choice_that_was_withdrawn_is_inactive_and_no_choice() -> None:
    consent = choice_to_consent(FULL, resident="anna", active=False)
    assert consent["status"] == "inactive"
    assert refused(consent) == {("/status", "status")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (("dateTime",), "2026-09"),
        (("language",), "nl"),
        (("meta", "lastUpdated"), "2026-09-01T12:00:00Z"),
        (("meta", "source"), "https://voorbeeld.nl"),
        (("text",), {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Keuze</div>'}),
        (("patient", "display"), "Anna"),
        (("scope", "coding", 0, "display"), "Privacy"),
    ],
    ids=str,
)
def test_what_says_nothing_about_the_choice_is_let_be(name: tuple[Any, ...], value: Any) -> None:
    assert consent_to_choice(change(FULL, name, value)) == FULL


def test_the_order_of_extensions_says_nothing() -> None:
    consent = choice_to_consent(FULL, resident="anna")
    consent["performer"][0]["extension"].reverse()
    assert consent_to_choice(consent) == FULL


@pytest.mark.parametrize(("version", "expected"), [("7", 7), ("0", 0), ("01", 0), ("W-3", 0), ("9" * 60, 0)])
def test_a_version_of_another_server_is_none_of_ours(version: str, expected: int) -> None:
    assert consent_to_choice(change(PLAIN, ("meta", "versionId"), version)).version == expected


# ---- refusals


def change(choice: Choice, path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return the Consent of a choice with one element changed or added."""
    consent = copy.deepcopy(choice_to_consent(choice, resident="anna"))
    *above, last = path
    place: Any = consent
    for step in above:
        place = place[step]
    place[last] = value
    return consent


def refused(consent: Any) -> set[tuple[str, str]]:
    """Return pointer and code of what is refused."""
    found: tuple[Finding, ...] = ()
    try:
        consent_to_choice(consent)
    except ConsentError as error:
        found = error.findings
    assert all(each.remedy and SECRET not in each.remedy + each.code for each in found)
    return {(each.pointer, each.code) for each in found}


def coded(system: str, code: str) -> dict[str, Any]:
    """Return a CodeableConcept."""
    return {"coding": [{"system": system, "code": code}]}


def instance(**reference: Any) -> list[dict[str, Any]]:
    """Return data of one reference."""
    return [{"meaning": "instance", "reference": reference}]


P = ("provision",)
RECEIVES = coded(f"{HL7}/v3-ParticipationType", "IRCP")
REFUSED: list[tuple[str, Choice, tuple[Any, ...], Any, str, str]] = [
    ("an exception to a permission", PLAIN, (*P, "provision"), [{"type": "deny"}], "/provision/provision", "exception"),
    ("nested rules of two effects", SEVERAL, (*P, "provision", 0, "type"), "permit",
     "/provision/provision", "exception"),
    ("a part beside nested rules", SEVERAL, (*P, "code"), [coded(f"{OWN}/CodeSystem/part-kind", "goal")],
     "/provision/provision", "exception"),
    ("a rule two levels down", SEVERAL, (*P, "provision", 0, "provision"), [{"type": "deny"}],
     "/provision/provision/0/provision/0", "profile-max"),
    ("a period of its own in a nested rule", SEVERAL, (*P, "provision", 0, "period"), {"start": "2026-01-01"},
     "/provision/provision/0/period", "profile-max"),
    ("a recipient of its own in a nested rule", SEVERAL, (*P, "provision", 0, "actor"),
     [{"role": RECEIVES, "reference": {"reference": "Organization/x"}}], "/provision/provision/0/actor/0", "profile-max"),
    ("a nested rule without an effect", SEVERAL, (*P, "provision", 0), {"class": [
        {"system": f"{OWN}/CodeSystem/life-domain", "code": "work"}]}, "/provision/provision/0/type", "profile-required"),
    ("a period of data", FULL, (*P, "dataPeriod"), {"start": "2026-01-01"}, "/provision/dataPeriod", "profile-max"),
    ("an action", FULL, (*P, "action"), [{"text": SECRET}], "/provision/action/0", "profile-max"),
    ("a security label", FULL, (*P, "securityLabel"), [{"code": "N"}], "/provision/securityLabel/0", "profile-max"),
    ("what is related to a part", FULL, (*P, "data", 0, "meaning"), "related",
     "/provision/data/0/meaning", "profile-fixed"),
    ("a meaning that does not exist", FULL, (*P, "data", 0, "meaning"), SECRET, "/provision/data/0/meaning", "code"),
    ("a kind that does not exist", FULL, (*P, "code", 0, "coding", 0, "code"), SECRET,
     "/provision/code/0/coding/0/code", "own-code"),
    ("a kind of another system", FULL, (*P, "code", 0), coded("http://loinc.org", "1-8"),
     "/provision/code/0/coding/0/system", "profile-fixed"),
    ("a kind with words of its own", FULL, (*P, "code", 0, "text"), SECRET, "/provision/code/0/text", "profile-max"),
    ("a domain that does not exist", FULL, (*P, "class", 0, "code"), SECRET, "/provision/class/0/code", "own-code"),
    ("a type of resource for a domain", FULL, (*P, "class", 0),
     {"system": "http://hl7.org/fhir/resource-types", "code": "Goal"}, "/provision/class/0/system", "profile-fixed"),
    ("a purpose of another system", FULL, (*P, "purpose", 0), {"system": f"{HL7}/v3-ActReason", "code": "TREAT"},
     "/provision/purpose/0/system", "profile-fixed"),
    ("two purposes", FULL, (*P, "purpose"), [{"system": f"{OWN}/CodeSystem/purpose", "code": each} for each in
                                            ("support", "decision")], "/provision/purpose/1", "profile-max"),
    ("no effect", PLAIN, P, {"actor": [{"role": RECEIVES, "reference": {"reference": "Organization/x"}}]},
     "/provision", "effect"),
    ("no recipient", PLAIN, P, {"type": "permit"}, "/provision/actor", "profile-required"),
    ("two recipients", PLAIN, (*P, "actor"), [{"role": RECEIVES, "reference": {"reference": f"Organization/{each}"}}
                                             for each in "ab"], "/provision/actor/1", "profile-max"),
    ("a recipient in another role", PLAIN, (*P, "actor", 0, "role"), coded(f"{HL7}/v3-ParticipationType", "AUT"),
     "/provision/actor/0/role", "profile-pattern"),
    ("a person as recipient", PLAIN, (*P, "actor", 0, "reference"), {"reference": "Practitioner/x"},
     "/provision/actor/0/reference/reference", "reference-type"),
    ("a role that stands elsewhere", PLAIN, (*P, "actor", 0, "reference"), {"reference": "PractitionerRole/x"},
     "/provision/actor/0/reference", "recipient"),
    ("a recipient in words only", PLAIN, (*P, "actor", 0, "reference"), {"display": SECRET},
     "/provision/actor/0/reference", "recipient"),
    ("a kind beside an organisation", KIND, (*P, "actor", 0, "reference", "reference"), "Organization/x",
     "/provision/actor/0/reference/reference", "not-kept"),
    ("a kind of organisation that does not exist", KIND,
     (*P, "actor", 0, "reference", "extension", 0, "valueCoding", "code"), SECRET,
     "/provision/actor/0/reference/extension/0/valueCoding/code", "own-code"),
    ("a version of an organisation", PLAIN, (*P, "actor", 0, "reference", "reference"), "Organization/kompas/_history/2",
     "/provision/actor/0/reference/reference", "not-kept"),
    ("a role without an organisation", FULL, ("contained", 0),
     {"resourceType": "PractitionerRole", "id": "recipient", "code": [{"text": "coach"}]}, "/contained/0", "recipient"),
    ("a role and a person at once", FULL, ("contained", 0, "practitioner"), {"identifier": {"value": SECRET}},
     "/contained/0", "recipient"),
    ("a role as a code", FULL, ("contained", 0, "code", 0, "coding"), [{"system": "http://loinc.org", "code": "1-8"}],
     "/contained/0/code/0/coding", "not-kept"),
    ("a role in a period", FULL, ("contained", 0, "period"), {"end": "2026-01-01"}, "/contained/0/period", "not-kept"),
    ("a month to begin with", FULL, (*P, "period", "start"), "2026-01", "/provision/period/start", "day"),
    ("an hour to end with", FULL, (*P, "period", "end"), "2026-12-31T12:00:00Z", "/provision/period/end", "day"),
    ("a whole Patient as a part", PLAIN, (*P, "data"), instance(reference="Patient/anna"),
     "/provision/data/0/reference", "part"),
    ("something that is no part", PLAIN, (*P, "data"), instance(reference="Encounter/x"),
     "/provision/data/0/reference", "part"),
    ("something that is no part under the id of one", PLAIN, (*P, "data"),
     instance(reference="Encounter/d1", identifier={"system": f"{OWN}/NamingSystem/part", "value": "d1"}),
     "/provision/data/0/reference", "part"),
    ("a part of another system", PLAIN, (*P, "data"), instance(identifier={"system": SECRET, "value": "x"}),
     "/provision/data/0/reference", "part"),
    ("two parts in one reference", PLAIN, (*P, "data"),
     instance(reference="Goal/d2", identifier={"system": f"{OWN}/NamingSystem/part", "value": "d1"}),
     "/provision/data/0/reference/reference", "not-kept"),
    ("a proposal", PLAIN, ("status",), "proposed", "/status", "status"),
    ("a choice in error", PLAIN, ("status",), "entered-in-error", "/status", "entered-in-error"),
    ("a status that does not exist", PLAIN, ("status",), SECRET, "/status", "code"),
    ("a treatment", PLAIN, ("scope",), coded(f"{HL7}/consentscope", "treatment"), "/scope", "profile-pattern"),
    ("another rule beside the choices", PLAIN, ("policyRule",), coded(f"{HL7}/v3-ActCode", "OPTOUT"),
     "/policyRule", "profile-pattern"),
    ("a second rule beside ours", PLAIN, ("policyRule", "coding"),
     [{"system": f"{OWN}/CodeSystem/consent-policy", "code": "silence-is-no"}, {"code": "OPTOUT"}],
     "/policyRule/coding/1", "not-kept"),
    ("a policy", PLAIN, ("policy",), [{"uri": "https://voorbeeld.nl"}], "/policy/0", "profile-max"),
    ("a document", PLAIN, ("sourceReference",), {"reference": "DocumentReference/x"}, "/sourceReference", "profile-max"),
    ("an organisation that keeps it", PLAIN, ("organization",), [{"reference": "Organization/x"}],
     "/organization/0", "profile-max"),
    ("a number of its own", PLAIN, ("identifier",), [{"value": SECRET}], "/identifier", "not-kept"),
    ("a tag", PLAIN, ("meta", "tag"), [{"code": SECRET}], "/meta/tag", "not-kept"),
    ("a narrative that says more", PLAIN, ("text",),
     {"status": "additional", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'}, "/text", "not-kept"),
    ("nobody who chose", PLAIN, ("performer",), [], "/performer", "empty"),
    ("somebody in no capacity", PLAIN, ("performer", 0, "extension"), [{"url": "https://voorbeeld.nl", "valueCode": "x"}],
     "/performer/0/extension", "profile-required"),
    ("the resident as another", PLAIN, ("performer", 0, "reference"), "Patient/bas",
     "/performer/0/reference", "not-kept"),
    ("a capacity that does not exist", PLAIN, ("performer", 0, "extension", 0, "valueCoding", "code"), SECRET,
     "/performer/0/extension/0/valueCoding/code", "own-code"),
    ("evidence that was not verified", FULL, ("verification", 0, "verified"), False,
     "/verification/0/verified", "profile-fixed"),
    ("a day of verification", FULL, ("verification", 0, "verificationDate"), "2026-09-01",
     "/verification/0/verificationDate", "profile-max"),
    ("a modifier", PLAIN, ("modifierExtension",), [{"url": "https://voorbeeld.nl", "valueBoolean": True}],
     "/modifierExtension", "modifier-extension"),
    ("a modifier of the rule", PLAIN, (*P, "modifierExtension"), [{"url": "https://voorbeeld.nl", "valueBoolean": True}],
     "/provision/modifierExtension", "modifier-extension"),
    ("rules of its own", PLAIN, ("implicitRules",), "https://voorbeeld.nl", "/implicitRules", "modifier-element"),
    ("no profile", PLAIN, ("meta",), {"versionId": "1"}, "", "profile"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "path", "value", "pointer", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_a_choice_cannot_hold_is_refused_at_its_place(
    choice: Choice, path: tuple[Any, ...], value: Any, pointer: str, code: str
) -> None:
    assert (pointer, code) in refused(change(choice, path, value))


@pytest.mark.parametrize("resource", [None, [], "x", {}, {"resourceType": "Patient", "id": "anna"}], ids=str)
def test_only_a_consent_is_a_consent(resource: Any) -> None:
    assert refused(resource)


def test_whose_choice_it_is_must_be_told_by_an_id_of_ours() -> None:
    consent = change(PLAIN, ("patient",), {"identifier": {"value": SECRET}})
    assert ("/patient", "patient") in refused(consent)
    with pytest.raises(ConsentError):
        resident_of(consent)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every object and every leaf."""
    if not isinstance(value, list):
        yield path
    for step, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, (*path, step))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """Return what stands at a path."""
    for step in path:
        value = value[step]
    return value


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_nothing_that_is_added_anywhere_is_dropped(choice: Choice) -> None:
    """An extension of somebody else may mean anything, at every object of a Consent."""
    whole = choice_to_consent(choice, resident="anna")
    objects = [path for path in places(whole) if isinstance(at(whole, path), dict)]
    assert len(objects) > 10
    for path in objects:
        consent = copy.deepcopy(whole)
        place = at(consent, path)
        place["extension"] = [*place.get("extension", ()), {"url": "https://voorbeeld.nl/iets", "valueString": "x"}]
        assert refused(consent), path


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_nothing_that_is_changed_anywhere_is_read_as_what_it_was(choice: Choice) -> None:
    """Every leaf counts: another value is another choice, another resident, or refused."""
    whole = choice_to_consent(choice, resident="anna")
    leaves = [path for path in places(whole) if not isinstance(at(whole, path), dict)]
    assert len(leaves) > 10
    for path in leaves:
        consent = copy.deepcopy(whole)
        place, old = at(consent, path[:-1]), at(whole, path)
        place[path[-1]] = f"{old}9" if isinstance(old, str) else not old
        assert refused(consent) or (resident_of(consent), consent_to_choice(consent)) != ("anna", choice), path


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_nothing_that_is_left_out_is_made_up(choice: Choice) -> None:
    """What is gone makes another choice, or a Consent that is refused; but for what repeats or only types a reference."""
    whole = choice_to_consent(choice, resident="anna")
    for path in places(whole):
        if not path or isinstance(path[-1], int):
            continue
        consent = copy.deepcopy(whole)
        del at(consent, path[:-1])[path[-1]]
        read = refused(consent) or consent_to_choice(consent)
        assert read != choice or path in UNNEEDED, path


UNNEEDED = {("performer", 0, "type"), ("performer", 0, "reference"), ("provision", "actor", 0, "reference", "type")}
"""Who the performer is says its identifier, and which kind of recipient its extension."""


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(CHOICES.values())), st.data())
def test_anything_anywhere_is_refused_or_read_and_never_an_error(choice: Choice, data: st.DataObject) -> None:
    whole = choice_to_consent(choice, resident="anna")
    path = data.draw(st.sampled_from([path for path in places(whole) if path]))
    value = data.draw(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
        | st.just([]) | st.just({}) | st.just([{}]) | st.just({"reference": "Goal/x"})
    )  # fmt: skip
    refused(change(choice, path, value))


def test_many_parts_take_no_more_than_their_number() -> None:
    selector = PartSelector(part_ids=tuple(f"d{number}" for number in range(2_000)))
    choice = replace(PLAIN, parts=(selector,) * 2)
    begun = time.perf_counter()
    assert consent_to_choice(choice_to_consent(choice, resident="anna")) == choice
    assert time.perf_counter() - begun < 10


# ---- what FHIR cannot say


@pytest.mark.parametrize(
    ("choice", "pointer", "code"),
    [
        (replace(PLAIN, id="a/b"), "/id", "id"),
        (replace(PLAIN, recipient=RecipientSelector(type="organisation", organisation="a b")),
         "/recipient/organisation", "id"),
        (replace(PLAIN, evidence=" "), "/evidence", "text"),
        (replace(PLAIN, recorded_by=""), "/recordedBy", "text"),
        (replace(PLAIN, given_by=replace(RESIDENT, mandate="\t")), "/givenBy/mandate", "text"),
        (replace(PLAIN, given_by=replace(RESIDENT, person="\x00")), "/givenBy/person", "text"),
        (replace(PLAIN, parts=(PartSelector(), PartSelector(part_ids=("d1", "")))), "/parts/1/partIds/1", "text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_choice_that_fhir_cannot_say_is_not_written(choice: Choice, pointer: str, code: str) -> None:
    with pytest.raises(ConsentError) as caught:
        choice_to_consent(choice, resident="anna")
    assert [(each.pointer, each.code) for each in caught.value.findings] == [(pointer, code)]
