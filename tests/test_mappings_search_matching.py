"""A condition on one resource means in memory what it means in SQL: both are held to the oracle of `searches`."""

import pytest
from searches import matches as matches_by_hand
from searches import parsed
from test_mappings_search import BY_HAND

from mappings.search.matching import matches

MATCHED = {
    "AuditEvent": (
        "action=R",
        "action:not=R",
        "agent=Organization/1",
        "date=ge2026",
        "date=ne2026",
        "type:missing=true",
    ),
    "Consent": (
        "patient=1",
        "status=active",
        "status=|active",
        "period=gt2020",
        "period=eb2020",
        "_id=1,2",
        "purpose=x|",
    ),
    "Provenance": ("target=1", "recorded=le2027", "recorded=sa2030", "agent-type:missing=false", "when=lt2030"),
}


@pytest.mark.parametrize(("kind", "asked"), [(kind, each) for kind, rows in MATCHED.items() for each in rows])
def test_a_condition_in_memory_means_what_it_means_in_sql(kind: str, asked: str) -> None:
    query = parsed(kind, asked)
    resources = [{"id": "1", **each} for each in BY_HAND if each["resourceType"] == kind]
    assert resources
    for each in resources:
        assert matches(each, query.conditions, str) == matches_by_hand(each, query.conditions)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("lt2026-01-02", True), ("2026-01-01T10:00:00Z", True), ("gt2026-01-01T10:00:00Z", False), ("sa2026", False)],
)
def test_the_last_change_is_one_moment(asked: str, expected: bool) -> None:
    task = {"resourceType": "Task", "id": "1", "meta": {"lastUpdated": "2026-01-01T10:00:00+00:00"}}
    assert matches(task, parsed("Task", f"_lastUpdated={asked}").conditions, str) is expected
    assert not matches({"resourceType": "Task", "id": "1"}, parsed("Task", f"_lastUpdated={asked}").conditions, str)


@pytest.mark.parametrize("asked", ["focus:Goal._id=1", "_has:Task:part-of:status=x"])
def test_a_condition_about_another_resource_is_none_in_memory(asked: str) -> None:
    with pytest.raises(ValueError, match="another"):
        matches({"resourceType": "Task", "id": "1"}, parsed("Task", asked).conditions, str)
