"""Golden pairs on disk: each example of each shipped format, as the FHIR Bundle that the whole plan becomes."""

import json
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from mappings.bundle import bundle_to_plan, encode_bundle, in_order, plan_to_bundle
from mappings.plan import JSON_TO_PLAN, SupportPlan, contact_id, identity_id
from mappings.references import renamed

FORMATS = Path(__file__).parents[1] / "mappings" / "formats"
CASES = sorted(path.parent for path in FORMATS.glob("*/examples/*/plan.json"))
BASE = "https://gateway.example/fhir"


def stable(plan: SupportPlan) -> SupportPlan:
    """Give a draft ids that FHIR allows, as the intake does with ids of its own."""
    names = {name: re.sub(r"[^A-Za-z0-9.-]", "-", name) for name in plan.residents}
    for resident, name in list(names.items()):
        names[identity_id(resident)], names[contact_id(resident)] = identity_id(name), contact_id(name)
    for item in (*plan.parts, *plan.organisations):
        names.setdefault(item.id, re.sub(r"[^A-Za-z0-9.-]", "-", item.id))
    return renamed(plan, names)


def golden_plan(case: Path) -> SupportPlan:
    """Return the plan of an example as a gateway would have it; a draft without an id gets one."""
    plan = in_order(stable(JSON_TO_PLAN.decode((case / "plan.json").read_bytes())))
    return replace(plan, id=plan.id or "plan")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parents[1].name}/{case.name}")
def test_an_example_becomes_its_bundle_and_comes_back(case: Path) -> None:
    """plan.json and bundle.json say the same, in both directions, and nothing is lost."""
    plan = golden_plan(case)
    expected = json.loads((case / "bundle.json").read_bytes())
    assert json.loads(encode_bundle(plan_to_bundle(plan, BASE))) == expected
    assert bundle_to_plan(expected) == (plan, ())
