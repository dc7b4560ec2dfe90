"""Writing back a view never costs what its writer could not see."""

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from plans import support_plans

from consent.decide import Decision
from consent.index import Recipient
from consent.redact import redact
from mappings.bundle import as_listed
from mappings.errors import MappingError
from mappings.merge import merged
from mappings.plan import Action, Actor, Goal, Label, SupportPlan


def shown(plan: SupportPlan, names: frozenset[str]) -> SupportPlan | None:
    """Return the view of the plan's author, of these parts only."""
    decisions = {part.id: Decision(part_id=part.id, permitted=part.id in names, code="consent") for part in plan.parts}
    reader = Recipient(organisation=plan.source or "", bsn_article="an article")
    view = redact(plan, decisions, reader, str)
    return view and as_listed(view)


@st.composite
def views(draw: st.DrawFn) -> tuple[SupportPlan, SupportPlan]:
    """A plan, and a view of some of its parts."""
    plan = draw(support_plans())
    assume(plan.parts)
    names = draw(st.frozensets(st.sampled_from([part.id for part in plan.parts]), min_size=1))
    view = shown(plan, names)
    assume(view is not None)
    assert view is not None
    return plan, view


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(views())
def test_a_view_that_comes_back_as_it_was_changes_nothing(both: tuple[SupportPlan, SupportPlan]) -> None:
    """Whatever was hidden: order, references and all."""
    plan, view = both
    assert merged(view, view, plan) == plan


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(views(), st.data())
def test_what_was_hidden_stays_whatever_is_taken_out(
    both: tuple[SupportPlan, SupportPlan], data: st.DataObject
) -> None:
    """Every hidden part is there and as it was, or the whole is refused as a conflict."""
    plan, view = both
    kept = data.draw(st.frozensets(st.sampled_from([part.id for part in view.parts])))
    mine = replace(view, parts=tuple(part for part in view.parts if part.id in kept))
    try:
        found = merged(view, mine, plan)
    except MappingError:
        return
    seen = {part.id for part in view.parts}
    expected = {part.id: part for part in plan.parts if part.id not in seen or part.id in kept}
    assert {part.id: part for part in found.parts} == expected


LABEL = Label(subjects=("anna",))
GOALS = tuple(Goal(id=name, label=LABEL, text=name) for name in ("g1", "g2"))
ACTION = Action(
    id="a", label=LABEL, text="bellen", owner=Actor(type="resident", ref="anna"), goals=("g1", "g2"), status="planned"
)
PLAN = SupportPlan(
    id="p", status="agreed", residents=("anna",), parts=(*GOALS, ACTION), instrument="x", source="team", number="1"
)


def without_second_goal() -> SupportPlan:
    """Return the view of somebody who may not see the second goal."""
    view = shown(PLAN, frozenset({"g1", "a"}))
    assert view is not None
    return view


def test_an_edit_keeps_the_hidden_reference_beside_it() -> None:
    """The action's text is the writer's, its second goal stays."""
    view = without_second_goal()
    goal, action = view.parts
    found = merged(view, replace(view, parts=(goal, replace(action, text="mailen", goals=()))), PLAN)
    assert found.parts[-1] == replace(ACTION, text="mailen", goals=("g2",))


def test_what_something_hidden_needs_cannot_be_taken_out() -> None:
    """The conflict is named by the hidden part's id, for whoever turns it into a place."""
    view = shown(PLAN, frozenset({"g1"}))
    assert view is not None
    with pytest.raises(MappingError) as refused:
        merged(view, replace(view, parts=()), PLAN)
    assert [(each.pointer, each.code) for each in refused.value.findings] == [("a", "conflict")]


def test_a_hidden_part_that_comes_along_as_it_is_changes_nothing() -> None:
    """A team may send the whole of its own plan under the gateway's id."""
    view = without_second_goal()
    assert merged(view, replace(view, parts=(*view.parts, GOALS[1])), PLAN) == PLAN


@pytest.mark.parametrize("part", [replace(GOALS[1], text="anders"), replace(ACTION, id="g1")])
def test_a_part_under_the_id_of_another_is_a_conflict(part: Goal | Action) -> None:
    """A hidden part cannot be written over, nor a part become another kind."""
    view = without_second_goal()
    with pytest.raises(MappingError):
        merged(view, replace(view, parts=(*[each for each in view.parts if each.id != part.id], part)), PLAN)


def test_a_new_part_and_another_order_are_taken_over() -> None:
    """New parts stand behind; parts that were moved stand as they were put, the hidden ones behind them."""
    view = without_second_goal()
    new = Goal(id="g3", label=LABEL, text="nieuw")
    moved = merged(view, replace(view, parts=(view.parts[1], view.parts[0], new)), PLAN)
    assert [part.id for part in moved.parts] == ["a", "g1", "g3", "g2"]
    added = merged(view, replace(view, parts=(*view.parts, new)), PLAN)
    assert [part.id for part in added.parts] == ["g1", "g2", "a", "g3"]


def test_the_header_is_merged_too() -> None:
    """A new status is taken over, and what the writer did not touch stays."""
    view = without_second_goal()
    found = merged(view, replace(view, status="decided"), PLAN)
    assert found == replace(PLAN, status="decided")
