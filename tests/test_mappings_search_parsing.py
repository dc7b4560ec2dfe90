"""What a search is understood to ask."""

from typing import Any

import pytest
from searches import URL, dates, matches, parsed, tokens

from mappings.search.links import query_string
from mappings.search.query import Chained, Condition, Has, Ids, Include, Missing, Query, References, Sort

CONDITIONS: dict[str, tuple[str, tuple[Condition, ...]]] = {
    "Task?status=requested": ("a code", (tokens("status", (None, "requested")),)),
    "Task?status=a%7Cb": ("a code of a system", (tokens("status", ("a", "b")),)),
    "Task?status=%7Cb": ("a code of no system", (tokens("status", ("", "b")),)),
    "Task?status=a%7C": ("any code of a system", (tokens("status", ("a", None)),)),
    "Task?status=a,b,a": ("a comma is or, each value once", (tokens("status", (None, "a"), (None, "b")),)),
    "Task?status=a&status=b": ("a repeat is and", (tokens("status", (None, "a")), tokens("status", (None, "b")))),
    r"Task?status=a\,b,c\%7Cd,e\$f,g\\,h\i,j\\\,k": (
        "a backslash takes a comma, bar, dollar or backslash as it is, and is itself before anything else",
        (tokens("status", *((None, each) for each in ("a,b", "c|d", "e$f", "g\\", "h\\i", "j\\,k"))),),
    ),
    "Task?status:not=a,b": ("none of several", (tokens("status", (None, "a"), (None, "b"), is_not=True),)),
    "Task?status:missing=true": ("no code", (Missing(param="status", is_missing=True),)),
    "Task?focus:missing=false": ("any reference", (Missing(param="focus", is_missing=False),)),
    "Task?period:missing=true": ("no date", (Missing(param="period", is_missing=True),)),
    "Task?_id=1,a-b": ("ids", (Ids(any_of=("1", "a-b")),)),
    "Task?patient=1": ("an id of the only type", (References(param="patient", any_of=("Patient/1",)),)),
    "CarePlan?subject=1": ("an id of either type", (References(param="subject", any_of=("Group/1", "Patient/1")),)),
    "CarePlan?subject=Patient/1,Group/2": (
        "types of their own",
        (References(param="subject", any_of=("Patient/1", "Group/2")),),
    ),
    "CarePlan?subject:Patient=1": ("a type as modifier", (References(param="subject", any_of=("Patient/1",)),)),
    "CarePlan?subject:Patient=Patient/1": ("the type twice", (References(param="subject", any_of=("Patient/1",)),)),
    f"CarePlan?subject={URL}/Patient/1": ("a URL of ours", (References(param="subject", any_of=("Patient/1",)),)),
    "Task?focus:Goal=1": ("a type where any may be", (References(param="focus", any_of=("Goal/1",)),)),
    "Task?period=2026-01": ("a month", (dates("period", ("eq", "2026-01")),)),
    "Task?period=ge2026-01-01,lt2025": ("either of two", (dates("period", ("ge", "2026-01-01"), ("lt", "2025")),)),
    "Task?period=2026-01-01T10:30:00+01:00": ("a + not encoded", (dates("period", ("eq", "2026-01-01T09:30:00Z")),)),
    "Task?period=sa2026-01-01T10:30": ("a minute on the Dutch clock", (dates("period", ("sa", "2026-01-01T09:30Z")),)),
    "Task?_lastUpdated=gt2026&_lastUpdated=lt2027": (
        "changed between",
        (dates("_lastUpdated", ("gt", "2026")), dates("_lastUpdated", ("lt", "2027"))),
    ),
    "Task?_profile=http://x.example/a%7C1": (
        "a profile is one value",
        (tokens("_profile", (None, "http://x.example/a|1")),),
    ),
    "Task?_security=R&_tag=a%7Cb": ("labels", (tokens("_security", (None, "R")), tokens("_tag", ("a", "b")))),
    "Task?focus:Goal.lifecycle-status:not=active": (
        "a chain to a type",
        (Chained(param="focus", target="Goal", condition=tokens("lifecycle-status", (None, "active"), is_not=True)),),
    ),
    "Task?patient.birthdate=2000": (
        "a chain to the only type",
        (Chained(param="patient", target="Patient", condition=dates("birthdate", ("eq", "2000"))),),
    ),
    "Task?focus:Goal._id=1": (
        "a chain to an id",
        (Chained(param="focus", target="Goal", condition=Ids(any_of=("1",))),),
    ),
    "Observation?has-member.status=final": (
        "a chain to the only type that is here",
        (Chained(param="has-member", target="Observation", condition=tokens("status", (None, "final"))),),
    ),
    "Goal?_has:Task:focus:status=requested": (
        "what refers here",
        (Has(source="Task", param="focus", condition=tokens("status", (None, "requested"))),),
    ),
    "Goal?_has:Task:focus:status:not=requested": (
        "what refers here and is not",
        (Has(source="Task", param="focus", condition=tokens("status", (None, "requested"), is_not=True)),),
    ),
    "Task?status=a&status=a": ("the same twice", (tokens("status", (None, "a")),)),
    "Task?": ("all", ()),
}


@pytest.mark.parametrize(
    ("url", "expected"),
    [(url, case[1]) for url, case in CONDITIONS.items()],
    ids=[case[0] for case in CONDITIONS.values()],
)
def test_conditions_are_understood(url: str, expected: tuple[Condition, ...]) -> None:
    """What a client asks, by https://hl7.org/fhir/R4/search.html; strict or lenient makes no difference."""
    resource_type, _, text = url.partition("?")
    assert expected == parsed(resource_type, text).conditions
    assert expected == parsed(resource_type, text, is_strict=True).conditions


CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "_count=10": ("a page", {"count": 10}),
    "_count=150": ("a page of as many digits as the largest", {"count": 150}),
    "_count=0": ("only how many", {"count": 0, "summary": "count"}),
    "_count=000": ("only how many, in other words", {"count": 0, "summary": "count"}),
    "_count=0&_summary=true": ("only how many, not a summary too", {"count": 0, "summary": "count"}),
    "_count=100000000": ("more than a page holds", {"count": 200}),
    "_count=" + "9" * 5000: ("more than a number holds", {"count": 200}),
    "_count=5&_count=5": ("the same twice", {"count": 5}),
    "_total=accurate": ("a total", {"total": "accurate"}),
    "_summary=data": ("a summary", {"summary": "data"}),
    "_elements=status,code&_elements=code,for": ("elements", {"elements": ("status", "code", "for")}),
    "_sort=-period,_id,_lastUpdated,period": (
        "an order",
        {"sort": (Sort(param="period", is_descending=True), Sort(param="_id"), Sort(param="_lastUpdated"))},
    ),
    "_include=Task:focus&_include=Task:focus:Goal": (
        "what it refers to",
        {"includes": (Include(source="Task", param="focus"), Include(source="Task", param="focus", target="Goal"))},
    ),
    "_revinclude=Provenance:target&_revinclude=Task:part-of:Task": (
        "what refers to it",
        {
            "revincludes": (
                Include(source="Provenance", param="target"),
                Include(source="Task", param="part-of", target="Task"),
            )
        },
    ),
    "_format=application/fhir+json&_pretty=true": ("json", {}),
    "_format=application/fhir%2Bjson; charset=utf-8": ("json with parameters", {}),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [(text, case[1]) for text, case in CONTROLS.items()],
    ids=[case[0] for case in CONTROLS.values()],
)
def test_what_shapes_the_answer_is_understood(text: str, expected: dict[str, Any]) -> None:
    """Everything else keeps its default."""
    query = parsed("Task", text, is_strict=True)
    assert Query(type="Task", said=query.said, **expected) == query


def test_the_self_link_says_what_was_understood() -> None:
    """In the order given, encoded, capped, without what was ignored."""
    query = parsed(
        "Task", r"colour=red&status=a%7Cb\,c&focus:Goal=1&_count=999&_pretty=true&period=gt2026-01-01T10:30:00%2B01:00"
    )
    expected = r"status=a%7Cb%5C,c&focus:Goal=1&_count=200&period=gt2026-01-01T10:30:00%2B01:00"
    assert expected == query_string(query)


@pytest.mark.parametrize("url", [*CONDITIONS, *(f"Task?{text}" for text in CONTROLS if len(text) < 1000)])
def test_the_self_link_asks_the_same(url: str) -> None:
    """Parsing the link again gives the same search."""
    resource_type, _, text = url.partition("?")
    query = parsed(resource_type, text)
    assert parsed(resource_type, query_string(query)) == query


PREFIXES = {
    "eq2026-03": True,
    "eq2026-03-15": False,
    "ne2026-03-15": True,
    "ge2026-03-01": True,
    "gt2026-03-10": True,
    "gt2026-03-31": False,
    "lt2026-03-15": True,
    "le2026-03-01": False,
    "le2026-03-02": True,
    "le2026-03": True,
    "lt2026-03-01": False,
    "sa2026-02": True,
    "sa2026-03-01": False,
    "eb2026-04": True,
    "eb2026-03-31": False,
}


@pytest.mark.parametrize(("asked", "is_found"), PREFIXES.items(), ids=PREFIXES)
def test_a_period_is_compared_as_a_whole(asked: str, is_found: bool) -> None:
    """A period of all March, compared by https://hl7.org/fhir/R4/search.html#prefix."""
    resource = {"resourceType": "CarePlan", "id": "1", "period": {"start": "2026-03-01", "end": "2026-03-31"}}
    assert is_found == matches(resource, parsed("CarePlan", f"date={asked}").conditions)
