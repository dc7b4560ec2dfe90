"""Golden pairs on disk: each example of each shipped format, as the FHIR Bundle that the whole plan becomes."""

import json
from pathlib import Path

import pytest

from mappings.bundle import bundle_to_plan, encode_bundle, in_order, plan_to_bundle
from mappings.draft import with_plain_ids
from mappings.plan import JSON_TO_PLAN, SupportPlan

FORMATS = Path(__file__).parents[1] / "mappings" / "formats"
CASES = sorted(path.parent for path in FORMATS.glob("*/examples/*/plan.json"))
BASE = "https://gateway.example/fhir"


def golden_plan(case: Path) -> SupportPlan:
    """Return the plan of an example under ids that FHIR allows."""
    return in_order(with_plain_ids(JSON_TO_PLAN.decode((case / "plan.json").read_bytes())))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parents[1].name}/{case.name}")
def test_an_example_becomes_its_bundle_and_comes_back(case: Path) -> None:
    """plan.json and bundle.json say the same, in both directions, and nothing is lost."""
    plan = golden_plan(case)
    expected = json.loads((case / "bundle.json").read_bytes())
    assert json.loads(encode_bundle(plan_to_bundle(plan, BASE))) == expected
    assert bundle_to_plan(expected) == (plan, ())
