"""References: every id of a plan is found by renaming, and none is missed."""

import json
import re

from hypothesis import given, settings
from plans import support_plans

from mappings.plan import PLAN_TO_JSON, SupportPlan
from mappings.references import broken_references, renamed


def ids_in(plan: SupportPlan) -> set[str]:
    """Return every string of the plan's wire form that is the id of something in it."""
    known = {*plan.residents, *(part.id for part in plan.parts), *(item.id for item in plan.organisations)}
    return {text for text in re.findall(r'"([^"]*)"', PLAN_TO_JSON.encode(plan).decode()) if text in known}


@given(plan=support_plans())
@settings(max_examples=60, deadline=None)
def test_renaming_reaches_every_place_and_can_be_undone(plan: SupportPlan) -> None:
    """No old id is left anywhere, no reference breaks, and the way back gives the same plan."""
    old = ids_in(plan)
    there = {name: f"new-{number}" for number, name in enumerate(sorted(old))}
    changed = renamed(plan, there)
    assert not old & ids_in(changed)
    assert not old & set(re.findall(r'"([^"]*)"', json.dumps(json.loads(PLAN_TO_JSON.encode(changed)))))
    assert list(broken_references(changed)) == []
    assert renamed(changed, {new: name for name, new in there.items()}) == plan
