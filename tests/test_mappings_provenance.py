"""A view says who made it in one Provenance, which is R4, follows our profile, and tells nothing that the view does not."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.provenance import Provenance
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace
from plans import support_plans

import mappings
from mappings.edge import check_resource
from mappings.plan import JSON_TO_PLAN, Goal, Label, RecordedBy, SupportPlan
from mappings.provenance import plan_to_provenance

EXAMPLES = sorted((Path(mappings.__file__).parent / "profiles" / "examples").glob("*/provenance.json"))
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
STAMP = {"versionId": "3", "lastUpdated": NOON.isoformat()}
PLAN = SupportPlan(
    id="plan-1",
    status="agreed",
    residents=("anna",),
    parts=(),
    instrument="plan-van-aanpak",
    version=3,
    changed_at=NOON,
    source="wijkteam",
)


def recorded(number: int, *organisations: str) -> Goal:
    """Return a goal that an organisation wrote down, or nobody."""
    by = RecordedBy(organisation=organisations[0]) if organisations else None
    return Goal(id=f"doel-{number}", label=Label(subjects=("anna",), recorded_by=by), text="Geheim doel")


def agents(plan: SupportPlan) -> list[tuple[str, Any]]:
    """Return (role, who) of each agent."""
    found = plan_to_provenance(plan, {})["agent"]
    return [(each["type"]["coding"][0]["code"], each["who"].get("reference")) for each in found]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_comes_from_its_plan(path: Path) -> None:
    plan = JSON_TO_PLAN.decode((path.parent / "plan.json").read_bytes())
    stamp = {"versionId": str(plan.version), "lastUpdated": plan.changed_at.isoformat() if plan.changed_at else ""}
    assert json.loads(path.read_bytes()) == plan_to_provenance(plan, stamp)


def test_there_is_an_example() -> None:
    assert EXAMPLES


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(support_plans())
def test_the_provenance_of_any_plan_is_valid(plan: SupportPlan) -> None:
    """Also of a view without a version, a moment or a source."""
    found = plan_to_provenance(plan, {})
    assert check_resource(found) == []
    Provenance.model_validate(found)


def test_it_is_about_the_version_of_the_view_and_has_the_id_of_the_plan() -> None:
    found = plan_to_provenance(PLAN, STAMP)
    assert (found["id"], found["meta"]["versionId"]) == ("plan-1", "3")
    assert found["target"] == [{"reference": "CarePlan/plan-1/_history/3"}]
    assert found["recorded"] == "2026-09-01T12:00:00+00:00"


def test_the_same_plan_gives_the_same_provenance() -> None:
    assert plan_to_provenance(PLAN, STAMP) == plan_to_provenance(PLAN, STAMP)


def test_a_view_without_a_version_says_that_its_moment_is_unknown() -> None:
    found = plan_to_provenance(replace(PLAN, version=0, changed_at=None), {})
    assert found["target"] == [{"reference": "CarePlan/plan-1"}]
    assert "recorded" not in found
    assert found["_recorded"]["extension"][0]["valueCode"] == "unknown"
    assert "activity" not in found


def test_when_it_happened_stands_there_when_it_is_known() -> None:
    assert "occurredDateTime" not in plan_to_provenance(PLAN, STAMP)
    assert plan_to_provenance(PLAN, STAMP, NOON)["occurredDateTime"] == NOON.isoformat()


@pytest.mark.parametrize(("version", "activity"), [(1, "CREATE"), (2, "UPDATE"), (9, "UPDATE")])
def test_the_first_version_of_a_view_is_new_and_a_later_one_a_change(version: int, activity: str) -> None:
    found = plan_to_provenance(replace(PLAN, version=version), STAMP)
    assert found["activity"]["coding"][0]["code"] == activity


def test_each_organisation_that_the_view_names_as_recorder_is_an_agent_once() -> None:
    """Beside the author; who wrote nothing down in this view is not named."""
    plan = replace(PLAN, parts=(recorded(1, "kompas"), recorded(2), recorded(3, "kompas"), recorded(4, "wijkteam")))
    assert agents(plan) == [("author", "Organization/wijkteam"), ("enterer", "Organization/kompas")]
    assert agents(PLAN) == [("author", "Organization/wijkteam")]


def test_an_author_whom_the_view_does_not_name_is_an_organisation() -> None:
    (agent,) = plan_to_provenance(replace(PLAN, source=None), STAMP)["agent"]
    assert agent["who"] == {"type": "Organization", "display": "organisatie"}


def test_it_holds_nothing_out_of_the_parts() -> None:
    written = json.dumps(plan_to_provenance(replace(PLAN, number="nr-7", parts=(recorded(1, "kompas"),)), STAMP))
    assert not any(secret in written for secret in ("Geheim", "doel-1", "anna", "nr-7"))
