"""What there is to search by, and what a resource says under it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from searches import examples, hashed

from mappings.codes import BASE
from mappings.identifiers import BSN_SYSTEM
from mappings.search.dates import BEGINNING, END, span_of
from mappings.search.parameters import PARAMETERS, is_forbidden, may_refer
from mappings.search.values import Value, values_of

COMMON = "_profile _security _tag"

FOUND = {
    "CarePlan": "activity-reference care-team category date goal identifier intent patient status subject _profile",
    "Goal": f"achievement-status category lifecycle-status patient start-date subject target-date {COMMON}",
    "Task": f"code focus intent owner patient period requester status subject {COMMON}",
    "Consent": "action actor category consentor data date identifier organization patient period purpose scope"
    f" security-label source-reference status {COMMON}",
    "Patient": "birthdate gender identifier _profile _security",
    "RelatedPerson": f"patient relationship {COMMON}",
    "CareTeam": "participant patient subject",
    "Organization": "identifier type _profile",
    "Practitioner": "_profile _security",
    "PractitionerRole": f"date organization practitioner role {COMMON}",
    "Observation": "code combo-code combo-value-concept component-code component-value-concept date identifier patient performer"
    " status subject _security _tag",
    "Condition": "asserter category onset-date patient subject _security _tag",
    "ClinicalImpression": "assessor patient status subject _security _tag",
    "ServiceRequest": "category intent occurrence patient performer requester status subject _security _tag",
    "Group": "actual member type",
    "Provenance": f"agent agent-role agent-type entity patient recorded signature-type target when {COMMON}",
    "AuditEvent": "action agent agent-role altid date entity entity-role entity-type outcome patient site source subtype type"
    f" {COMMON}",
}
"""Every parameter over an element that is filled. The rest of R4's parameters find nothing, as they should."""

META = {
    "profile": [f"{BASE}/StructureDefinition/x"],
    "security": [{"system": "urn:s", "code": "R"}],
    "tag": [{"system": "urn:t", "code": "a"}],
}
CODE = {"coding": [{"system": "urn:s", "code": "a"}]}
CODING = {"system": "urn:s", "code": "b"}
PATIENT = {"reference": "Patient/1"}
NUMBER = {"system": "urn:n", "value": "7"}
MOMENT = "2026-01-31T10:30:00Z"

BY_HAND: tuple[dict[str, Any], ...] = (
    {
        "resourceType": "Consent",
        "id": "1",
        "meta": META,
        "identifier": [NUMBER],
        "status": "active",
        "scope": CODE,
        "category": [CODE],
        "patient": PATIENT,
        "dateTime": MOMENT,
        "performer": [PATIENT],
        "organization": [{"reference": "Organization/1"}],
        "sourceReference": {"reference": "Consent/0"},
        "provision": {
            "period": {"start": "2026-01-01"},
            "actor": [{"role": CODE, "reference": {"reference": "Organization/1"}}],
            "action": [CODE],
            "securityLabel": [CODING],
            "purpose": [CODING],
            "data": [{"meaning": "instance", "reference": {"reference": "Goal/1"}}],
        },
    },
    {
        "resourceType": "Provenance",
        "id": "1",
        "meta": META,
        "target": [PATIENT, {"reference": "Goal/1"}],
        "occurredDateTime": MOMENT,
        "recorded": MOMENT,
        "agent": [{"type": CODE, "role": [CODE], "who": {"reference": "Organization/1"}}],
        "entity": [{"role": "source", "what": {"reference": "CarePlan/1"}}],
        "signature": [{"type": [CODING]}],
    },
    {
        "resourceType": "AuditEvent",
        "id": "1",
        "meta": META,
        "type": CODING,
        "subtype": [CODING],
        "action": "R",
        "recorded": MOMENT,
        "outcome": "0",
        "agent": [{"role": [CODE], "who": {"reference": "Organization/1"}, "altId": "x", "requestor": True}],
        "source": {"site": "x", "observer": {"reference": "Organization/2"}},
        "entity": [{"what": PATIENT, "type": CODING, "role": CODING}, {"what": {"reference": "Goal/1"}}],
    },
)
"""What no example plan becomes: a choice, and who made or read what."""


@pytest.mark.parametrize("resource_type", PARAMETERS)
def test_every_parameter_over_a_filled_element_finds_it(resource_type: str) -> None:
    """The parameters that have a value in any example are those of the table, no more and no fewer."""
    resources = [each for each in (*examples(), *BY_HAND) if each["resourceType"] == resource_type]
    found = {value.param for resource in resources for value in values_of(resource, hashed)}
    assert set(FOUND[resource_type].split()) == found


def test_definitions_are_the_canonicals_of_r4() -> None:
    """A few by hand: one of a type, one that types share, one of every resource."""
    assert PARAMETERS["Task"]["status"].definition == "http://hl7.org/fhir/SearchParameter/Task-status"
    assert PARAMETERS["CarePlan"]["date"].definition == "http://hl7.org/fhir/SearchParameter/clinical-date"
    assert PARAMETERS["Group"]["_tag"].definition == "http://hl7.org/fhir/SearchParameter/Resource-tag"


def test_targets_are_those_of_r4() -> None:
    """`patient` leads to a Patient only; `subject` of a Task to anything; a long list is read whole."""
    assert PARAMETERS["Task"]["patient"].targets == ("Patient",)
    assert PARAMETERS["CarePlan"]["subject"].targets == ("Group", "Patient")
    assert PARAMETERS["CarePlan"]["activity-reference"].targets[-2:] == ("Task", "VisionPrescription")
    assert may_refer(PARAMETERS["Task"]["subject"], "Goal")
    assert not may_refer(PARAMETERS["Task"]["patient"], "Group")
    assert not may_refer(PARAMETERS["Task"]["status"], "Goal")


def test_no_parameter_asks_for_a_name_an_address_or_a_text() -> None:
    """What is forbidden is in no table either."""
    assert [name for parameters in PARAMETERS.values() for name in parameters if is_forbidden(name)] == []
    assert is_forbidden("address-city")


TOKENS: dict[str, tuple[dict[str, Any], str, list[tuple[str | None, str | None]]]] = {
    "a code, under the system that R4 implies": (
        {"resourceType": "Task", "status": "requested"},
        "status",
        [("http://hl7.org/fhir/task-status", "requested")],
    ),
    "the one task intent with a system of its own": (
        {"resourceType": "Task", "intent": "unknown"},
        "intent",
        [("http://hl7.org/fhir/task-intent", "unknown")],
    ),
    "every coding of a concept, not its text": (
        {"resourceType": "Task", "code": {"coding": [CODING, {"code": "c"}], "text": "vrij"}},
        "code",
        [("urn:s", "b"), ("", "c")],
    ),
    "a boolean": (
        {"resourceType": "Group", "actual": True},
        "actual",
        [("http://terminology.hl7.org/CodeSystem/special-values", "true")],
    ),
    "an identifier": (
        {"resourceType": "Task", "identifier": [NUMBER, {"value": "8"}]},
        "identifier",
        [("urn:n", "7"), ("", "8")],
    ),
    "a BSN by its hash": (
        {"resourceType": "Patient", "identifier": [{"system": BSN_SYSTEM, "value": "999900006"}]},
        "identifier",
        [(BSN_SYSTEM, hashed("999900006"))],
    ),
    "a BSN by the hash of all its digits": (
        {"resourceType": "Patient", "identifier": [{"system": BSN_SYSTEM, "value": "99990000"}]},
        "identifier",
        [(BSN_SYSTEM, hashed("099990000"))],
    ),
    "a profile": ({"resourceType": "Task", "meta": {"profile": ["urn:p"]}}, "_profile", [("", "urn:p")]),
    "the same code once": ({"resourceType": "Task", "code": {"coding": [CODING, CODING]}}, "code", [("urn:s", "b")]),
    "a relative reference": ({"resourceType": "Task", "focus": {"reference": "Goal/1"}}, "focus", [(None, "Goal/1")]),
    "a reference to one version": (
        {"resourceType": "Task", "focus": {"reference": "Goal/1/_history/2"}},
        "focus",
        [(None, "Goal/1")],
    ),
    "nothing of a reference elsewhere": (
        {"resourceType": "Task", "focus": {"reference": "https://x.example/Goal/1"}},
        "focus",
        [],
    ),
    "nothing of a fragment": ({"resourceType": "Task", "focus": {"reference": "#1"}}, "focus", []),
    "nothing of a description": (
        {"resourceType": "Task", "owner": {"type": "Patient", "display": "inwoner"}},
        "owner",
        [],
    ),
    "no Group as a patient": ({"resourceType": "Task", "for": {"reference": "Group/1"}}, "patient", []),
    "but a Group as a subject": (
        {"resourceType": "Task", "for": {"reference": "Group/1"}},
        "subject",
        [(None, "Group/1")],
    ),
}


@pytest.mark.parametrize(("resource", "param", "expected"), TOKENS.values(), ids=TOKENS)
def test_codes_and_references_are_kept(resource: dict[str, Any], param: str, expected: list[Any]) -> None:
    """A token is a system and a code; a reference is Type/id."""
    found = [(value.system, value.code) for value in values_of(resource, hashed) if value.param == param]
    assert expected == found


def micros(*moment: int) -> int:
    """Return microseconds since 1970 of a moment in UTC."""
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[misc]


SPANS = {
    "2026": (micros(2025, 12, 31, 23), micros(2026, 12, 31, 23) - 1),
    "2026-02": (micros(2026, 1, 31, 23), micros(2026, 2, 28, 23) - 1),
    "2024-02": (micros(2024, 1, 31, 23), micros(2024, 2, 29, 23) - 1),
    "2026-07-01": (micros(2026, 6, 30, 22), micros(2026, 7, 1, 22) - 1),
    "2026-03-29": (micros(2026, 3, 28, 23), micros(2026, 3, 29, 22) - 1),
    "2026-01-01T10:30": (micros(2026, 1, 1, 9, 30), micros(2026, 1, 1, 9, 31) - 1),
    "2026-01-01T10:30Z": (micros(2026, 1, 1, 10, 30), micros(2026, 1, 1, 10, 31) - 1),
    "2026-10-25T02:30": (micros(2026, 10, 25, 0, 30), micros(2026, 10, 25, 1, 31) - 1),
    "2026-01-01T10:30:05+01:00": (micros(2026, 1, 1, 9, 30, 5), micros(2026, 1, 1, 9, 30, 6) - 1),
    "2026-01-01T10:30:05 01:00": (micros(2026, 1, 1, 9, 30, 5), micros(2026, 1, 1, 9, 30, 6) - 1),
    "2026-01-01T10:30:05-05:30": (micros(2026, 1, 1, 16, 0, 5), micros(2026, 1, 1, 16, 0, 6) - 1),
    "2026-01-01T10:30:60Z": (micros(2026, 1, 1, 10, 30, 59), micros(2026, 1, 1, 10, 31) - 1),
    "2026-01-01T10:30:05.25Z": (micros(2026, 1, 1, 10, 30, 5) + 250_000, micros(2026, 1, 1, 10, 30, 5) + 259_999),
    "2026-01-01T10:30:05.1234567Z": (micros(2026, 1, 1, 10, 30, 5) + 123_456,) * 2,
}


@pytest.mark.parametrize(("text", "expected"), SPANS.items(), ids=SPANS)
def test_a_date_covers_what_its_precision_leaves_open(text: str, expected: tuple[int, int]) -> None:
    """From the first microsecond to the last, by the Dutch clock unless a zone says otherwise."""
    assert expected == span_of(text)


@pytest.mark.parametrize(
    "text", ["0001", "9999", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999-14:00", "2026-03-29T02:30"]
)
def test_the_edges_of_the_calendar_are_dates(text: str) -> None:
    """The first and last year, in any zone, lie within the open ends; an hour that the clock skips is one too."""
    span = span_of(text)
    assert span is not None
    assert BEGINNING < span[0] <= span[1] < END


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "26",
            "2026-13",
            "2026-02-29",
            "2026-1-1",
            "0000",
            "2026-01-01T",
            "2026-01-01T10",
            "2026-01-01T24:00",
            "2026-01-01T10:60",
        ),
        *(
            "2026-01-01T10:30:61",
            "2026-01-01T10:30+14:01",
            "2026-01-01T10:30+01:60",
            "2026-01-01T10:30:00.",
            "20260101",
            " 2026",
        ),
        *("٢٠٢٦", "2026\n"),
    ],
)
def test_what_is_no_date_covers_nothing(text: str) -> None:
    """Also not a day that the calendar does not have."""
    assert span_of(text) is None


PERIODS: dict[str, tuple[dict[str, str], tuple[int, int]]] = {
    "closed": ({"start": "2026-01-01", "end": "2026-01-31"}, (micros(2025, 12, 31, 23), micros(2026, 1, 31, 23) - 1)),
    "without an end": ({"start": "2026-01-01"}, (micros(2025, 12, 31, 23), END)),
    "without a start": ({"end": "2026-01-31"}, (BEGINNING, micros(2026, 1, 31, 23) - 1)),
}


@pytest.mark.parametrize(("period", "expected"), PERIODS.values(), ids=PERIODS)
def test_a_period_is_from_its_start_to_its_end(period: dict[str, str], expected: tuple[int, int]) -> None:
    """An end that is missing is open."""
    found = values_of({"resourceType": "CarePlan", "period": period}, hashed)
    assert (Value(param="date", low=expected[0], high=expected[1]),) == found


def test_no_bsn_is_in_any_value() -> None:
    """Nobody's number stands in the index of any example, nor does a name."""
    said = {
        each["value"]
        for resource in examples()
        for each in resource.get("identifier", ())
        if each.get("system") == BSN_SYSTEM
    }
    values = [value for resource in examples() for value in values_of(resource, hashed)]
    assert said
    assert {hashed(bsn) for bsn in said} <= {value.code for value in values}
    assert not [value for value in values if any(bsn in (value.code or "") for bsn in said)]


def test_values_are_the_same_every_time_and_each_once() -> None:
    """The index of a resource is a function of the resource."""
    for resource in (*examples(), *BY_HAND):
        values = values_of(resource, hashed)
        assert values == values_of(resource, hashed)
        assert len(set(values)) == len(values)


def test_a_type_that_cannot_be_searched_says_nothing() -> None:
    """No table, no values."""
    assert values_of({"resourceType": "Bundle", "identifier": NUMBER}, hashed) == ()
