"""Who may change what of a plan: the state machine of an action, how far a goal is, and nothing else for who did not make it."""

from datetime import date
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from plans import support_plans

from consent.writing import findings_of_change
from mappings.codes import ActionStatus, GoalStatus
from mappings.plan import (
    Action,
    Actor,
    AnyPart,
    Evaluation,
    Goal,
    Identifier,
    Label,
    Organisation,
    Provision,
    SupportPlan,
    TeamMember,
    Worry,
)
from mappings.references import carriers_of

TEAM, KOMPAS, LINDE, OTHER = "wijkteam-noord", "kompas", "de-linde", "vreemd"
LABEL = Label(subjects=("marloes",))
STATUSES: tuple[ActionStatus, ...] = get_args(ActionStatus)
GOAL_STATUSES: tuple[GoalStatus, ...] = get_args(GoalStatus)

STEPS = {
    "requested": "accepted rejected cancelled in-progress",
    "accepted": "in-progress on-hold completed cancelled failed",
    "in-progress": "on-hold completed cancelled failed",
    "on-hold": "in-progress cancelled failed",
    "completed": "",
    "cancelled": "",
    "rejected": "",
    "failed": "",
}
"""https://hl7.org/fhir/R4/task.html#statemachine, as the README tells it."""
WITH_REASON = {"on-hold", "cancelled", "rejected", "failed"}


def plan(*parts: AnyPart, **header: Any) -> SupportPlan:
    """Return a plan of the team, with an employee of Kompas, a goal for each way of working towards one, and `parts`."""
    known: tuple[AnyPart, ...] = (
        TeamMember(id="joost", label=LABEL, role="provider", organisation=KOMPAS),
        TeamMember(id="yasmin", label=LABEL, role="coordinator", organisation=TEAM),
        *(
            Goal(id=name, label=LABEL, text="Rust")
            for name in ("by-action", "by-employee", "by-provision", "by-nobody")
        ),
        Action(id="a-kompas", label=LABEL, text="Bellen", owner=organisation(KOMPAS), goals=("by-action",)),
        Action(id="a-joost", label=LABEL, text="Bellen", owner=professional("joost"), goals=("by-employee",)),
        Provision(id="p-kompas", label=LABEL, text="Hulp", provider=KOMPAS, goals=("by-provision",)),
    )
    names = {part.id for part in parts}
    made: dict[str, Any] = {
        "id": "plan-1",
        "status": "active",
        "residents": ("marloes",),
        "instrument": "plan-van-aanpak",
        "source": TEAM,
        "organisations": tuple(Organisation(id=each, name=each) for each in (TEAM, KOMPAS, LINDE)),
        "parts": (*(part for part in known if part.id not in names), *parts),
    }
    return SupportPlan(**(made | header))


def organisation(name: str) -> Actor:
    return Actor(type="organisation", ref=name)


def professional(name: str) -> Actor:
    return Actor(type="professional", ref=name)


def found(before: SupportPlan, after: SupportPlan, writer: str) -> set[tuple[str, str]]:
    """Return (part id, code) of every finding."""
    return {(each.pointer, each.code) for each in findings_of_change(before, after, writer)}


def action(status: ActionStatus, owner: Actor | None = None, reason: str | None = None) -> Action:
    """Return a task called `it`."""
    return Action(
        id="it", label=LABEL, text="Bellen", owner=owner or organisation(KOMPAS), status=status, status_reason=reason
    )


WHO = {
    "who made the plan": (TEAM, organisation(KOMPAS), True),
    "the organisation that carries it out": (KOMPAS, organisation(KOMPAS), True),
    "who employs the professional that carries it out": (KOMPAS, professional("joost"), True),
    "another provider": (LINDE, organisation(KOMPAS), False),
    "somebody whom the plan does not name": (OTHER, organisation(KOMPAS), False),
    "who employs somebody else": (LINDE, professional("joost"), False),
    "an organisation, of what a resident does": (KOMPAS, Actor(type="resident", ref="marloes"), False),
    "an organisation, of what somebody unnamed does": (KOMPAS, Actor(type="professional"), False),
}


@pytest.mark.parametrize("was", STATUSES)
@pytest.mark.parametrize("becomes", STATUSES)
@pytest.mark.parametrize("who", WHO)
def test_an_action_takes_the_steps_of_its_table_by_who_carries_it_out(
    was: ActionStatus, becomes: ActionStatus, who: str
) -> None:
    """Every from, to and who: nobody skips a step, and who has nothing to do with it takes none."""
    writer, owner, is_theirs = WHO[who]
    before, after = plan(action(was, owner)), plan(action(becomes, owner, "daarom"))
    told = found(before, after, writer)
    if not is_theirs:
        assert told == {("it", "not-yours")}
    elif was == becomes or becomes in STEPS[was].split():
        assert told == set()
    else:
        assert told == {("it", "status")}


@pytest.mark.parametrize("writer", [TEAM, KOMPAS])
@pytest.mark.parametrize("reason", [None, "", " \n"])
@pytest.mark.parametrize(("was", "becomes"), [(was, to) for was, steps in STEPS.items() for to in steps.split()])
def test_who_stops_something_says_why(
    writer: str, reason: str | None, was: ActionStatus, becomes: ActionStatus
) -> None:
    """On hold, cancelled, rejected and failed ask for a reason that says something; the rest for none."""
    told = found(plan(action(was)), plan(action(becomes, reason=reason)), writer)
    assert told == ({("it", "reason")} if becomes in WITH_REASON else set())


@pytest.mark.parametrize("status", sorted(WITH_REASON))
def test_a_reason_is_changed_but_not_taken_away(status: ActionStatus) -> None:
    """What is on hold stays explained."""
    before = plan(action(status, reason="daarom"))
    assert found(before, plan(action(status, reason="toch daarom")), KOMPAS) == set()
    assert found(before, plan(action(status)), KOMPAS) == {("it", "reason")}
    assert found(plan(action(status)), plan(action(status)), KOMPAS) == set()


def test_two_steps_are_two_changes() -> None:
    """A refusal names the status there is and what may follow, and nothing that was written."""
    (told,) = findings_of_change(plan(action("requested")), plan(action("completed", reason="geheim")), KOMPAS)
    assert told.remedy == "this task is requested: it can become accepted, rejected, cancelled, in-progress"
    (told,) = findings_of_change(plan(action("failed")), plan(action("accepted", reason="geheim")), KOMPAS)
    assert told.remedy == "this task is failed: it is over; make a new one"


@pytest.mark.parametrize(
    ("writer", "goal", "is_theirs"),
    [
        (KOMPAS, "by-action", True),
        (KOMPAS, "by-employee", True),
        (KOMPAS, "by-provision", True),
        (KOMPAS, "by-nobody", False),
        (LINDE, "by-action", False),
        (LINDE, "by-provision", False),
        (OTHER, "by-action", False),
    ],
)
@pytest.mark.parametrize("was", GOAL_STATUSES)
@pytest.mark.parametrize("becomes", GOAL_STATUSES)
def test_how_far_a_goal_is_is_said_by_who_works_for_it(
    writer: str, goal: str, is_theirs: bool, was: GoalStatus, becomes: GoalStatus
) -> None:
    """By an action, an employee or a provision; proposing and cancelling it, and what was cancelled, is for who made the plan."""
    before = plan(Goal(id=goal, label=LABEL, text="Rust", status=was))
    after = plan(Goal(id=goal, label=LABEL, text="Rust", status=becomes))
    assert found(before, after, TEAM) == set()
    allowed = is_theirs and becomes in {"active", "on-hold", "reached", "not-reached"} and was != "cancelled"
    assert found(before, after, writer) == (set() if allowed or was == becomes else {(goal, "not-yours")})


IT = action("accepted")
ELSE: list[tuple[str, AnyPart, AnyPart]] = [
    ("the text of a task", IT, replace(IT, text="Iets anders")),
    ("who carries it out", IT, replace(IT, owner=organisation(LINDE))),
    ("for which goals", IT, replace(IT, goals=("by-action",))),
    ("how often", IT, replace(IT, frequency="elke dag")),
    ("who may see it", IT, replace(IT, label=replace(LABEL, sensitivity="restricted"))),
    ("its status and its text", IT, replace(IT, status="in-progress", text="Iets anders")),
    ("a task into something else", IT, Goal(id="it", label=LABEL, text="Rust")),
    (
        "the text of a goal it works for",
        Goal(id="by-action", label=LABEL, text="Rust"),
        Goal(id="by-action", label=LABEL, text="Herrie"),
    ),
    (
        "a worry",
        Worry(id="it", label=LABEL, text="Post"),
        Worry(id="it", label=LABEL, text="Geen post"),
    ),
    (
        "its own provision",
        Provision(id="it", label=LABEL, text="Hulp", provider=KOMPAS),
        Provision(id="it", label=LABEL, text="Hulp", provider=KOMPAS, status="ended"),
    ),
    (
        "its own employee",
        TeamMember(id="joost", label=LABEL, role="provider", organisation=KOMPAS),
        TeamMember(id="joost", label=LABEL, role="coordinator", organisation=KOMPAS),
    ),
    (
        "an evaluation",
        Evaluation(id="it", label=LABEL, planned_on=date(2027, 3, 1)),
        Evaluation(id="it", label=LABEL, planned_on=date(2027, 3, 1), outcome="Goed"),
    ),
]


@pytest.mark.parametrize(("was", "becomes"), [row[1:] for row in ELSE], ids=[row[0] for row in ELSE])
def test_nothing_else_of_a_part_is_for_others(was: AnyPart, becomes: AnyPart) -> None:
    """Not even of what they carry out; who made the plan may."""
    assert found(plan(was), plan(becomes), KOMPAS) == {(was.id, "not-yours")}
    assert found(plan(was), plan(becomes), TEAM) == set()


HEADERS: dict[str, dict[str, Any]] = {
    "its status": {"status": "completed"},
    "its residents": {"residents": ("marloes", "finn")},
    "its number": {"number": "X"},
    "its instrument": {"instrument": "wat-telt"},
    "an organisation more": {"organisations": (*plan().organisations, Organisation(id=OTHER, name="Vreemd"))},
    "an organisation fewer": {"organisations": plan().organisations[:-1]},
    "the name of an organisation": {
        "organisations": (replace(plan().organisations[0], name="X"), *plan().organisations[1:])
    },
    "the number of an organisation": {
        "organisations": (
            *plan().organisations[:-1],
            replace(plan().organisations[-1], identifiers=(Identifier(system="urn:x", value="1"),)),
        )
    },
    "the order of its parts": {"parts": plan().parts[::-1]},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_the_plan_itself_is_for_who_made_it(header: dict[str, Any]) -> None:
    """Others are told so without a place; in what order organisations are listed says nothing."""
    assert found(plan(), plan(**header), KOMPAS) == {("", "not-yours")}
    assert found(plan(), plan(**header), TEAM) == set()
    assert found(plan(), plan(organisations=plan().organisations[::-1]), KOMPAS) == set()


def test_others_add_nothing_and_take_nothing_out() -> None:
    """Each part by its id; who made the plan may do both."""
    assert found(plan(), plan(IT), KOMPAS) == {("it", "not-yours")}
    assert found(plan(IT), plan(), KOMPAS) == {("it", "not-yours")}
    assert found(plan(), plan(IT), TEAM) == found(plan(IT), plan(), TEAM) == set()


def test_who_carries_out_is_read_from_the_plan_as_it_was() -> None:
    """Nobody makes a task their own and moves it in one change."""
    before = plan(action("accepted", organisation(LINDE)))
    assert found(before, plan(action("completed", organisation(KOMPAS))), KOMPAS) == {("it", "not-yours")}


def _may(was: AnyPart, part: AnyPart, whole: SupportPlan, writer: str) -> bool:
    """Say again, in other words, what somebody else may change."""
    if isinstance(was, Action) and isinstance(part, Action):
        same = replace(part, status=was.status, status_reason=was.status_reason) == was
        return same and writer in carriers_of(was, whole)
    if isinstance(was, Goal) and isinstance(part, Goal):
        works = {each.id for each in whole.parts if writer in carriers_of(each, whole)}
        served = any(was.id in getattr(each, "goals", ()) for each in whole.parts if each.id in works)
        progress = part.status not in {"proposed", "cancelled"} and was.status != "cancelled"
        return replace(part, status=was.status) == was and served and progress
    return False


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), before=support_plans())
def test_whatever_else_another_changes_is_refused_by_its_id(data: st.DataObject, before: SupportPlan) -> None:
    """Parts of one plan in another, taken out, added, or with another's contents: what may not be is named, and nothing else."""
    writer = data.draw(st.sampled_from((*(each.id for each in before.organisations), "vreemd")))
    assume(writer != before.source)
    donor = {part.id: part for part in data.draw(support_plans()).parts}
    left = [part for part in before.parts if data.draw(st.integers(0, 9)) > 0]
    parts: list[AnyPart] = []
    for part in left:
        match data.draw(st.integers(0, 3)), part:
            case 0, _:
                parts.append(donor.get(part.id, part))
            case 1, Action():
                parts.append(replace(part, status=data.draw(st.sampled_from(STATUSES)), status_reason="daarom"))
            case 1, Goal():
                parts.append(replace(part, status=data.draw(st.sampled_from(GOAL_STATUSES))))
            case _:
                parts.append(part)
    new = [part for name, part in donor.items() if name not in {each.id for each in before.parts}]
    after = replace(before, parts=(*parts, *new))
    was = {part.id: part for part in before.parts}
    wanted = {part.id for part in new} | (was.keys() - {part.id for part in parts})
    wanted |= {part.id for part in parts if part != was[part.id] and not _may(was[part.id], part, before, writer)}
    assert {each.pointer for each in findings_of_change(before, after, writer) if each.code == "not-yours"} == wanted
