"""Who may change what of a plan that they were shown. The plan is its source's; others say how far they are with what they carry out.

State machine of an action: https://hl7.org/fhir/R4/task.html#statemachine, with who sets what and when a reason is asked as in IHE's
referral Task (requester: requested; performer: accepted, rejected, in-progress, on-hold, completed, failed; either: cancelled).
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from mappings.codes import ActionStatus, GoalStatus
from mappings.errors import Finding
from mappings.plan import Action, AnyPart, Goal, Provision, SupportPlan
from mappings.references import carriers_of

NEXT: dict[ActionStatus, tuple[ActionStatus, ...]] = {
    "requested": ("accepted", "rejected", "cancelled", "in-progress"),
    "accepted": ("in-progress", "on-hold", "completed", "cancelled", "failed"),
    "in-progress": ("on-hold", "completed", "cancelled", "failed"),
    "on-hold": ("in-progress", "cancelled", "failed"),
    "completed": (),
    "cancelled": (),
    "rejected": (),
    "failed": (),
}
"""What an action may become; whoever takes it up at once need not accept it first."""

NEEDS_REASON: frozenset[ActionStatus] = frozenset({"on-hold", "cancelled", "rejected", "failed"})
PROGRESS: frozenset[GoalStatus] = frozenset({"active", "on-hold", "reached", "not-reached"})
"""What somebody who works towards a goal may say of it; proposing and cancelling it is for who made the plan."""

_HEADER = ("status", "residents", "instrument", "number", "starts_on", "ends_on")


def findings_of_change(before: SupportPlan, after: SupportPlan, writer: str) -> tuple[Finding, ...]:
    """Return what the organisation `writer` may not change so, with part ids (for the header "") as pointers.

    Whoever made the plan (its `source`) may change everything, but every action follows its state machine.
    """
    return tuple(_found(before, after, writer))


def _found(before: SupportPlan, after: SupportPlan, writer: str) -> Iterator[Finding]:
    is_source = writer == before.source
    known = {part.id: part for part in before.parts}
    if not is_source:
        yield from _wrong_header(before, after)
        for part_id in known.keys() - {part.id for part in after.parts}:
            yield Finding(pointer=part_id, code="not-yours", remedy="only who made the plan takes something out")
    for part in after.parts:
        was = known.get(part.id)
        if was == part:
            continue
        if was is None:
            if not is_source:
                yield Finding(pointer=part.id, code="not-yours", remedy="only who made the plan adds something to it")
            continue
        if not is_source and (remedy := _not_theirs(was, part, before, writer)):
            yield Finding(pointer=part.id, code="not-yours", remedy=remedy)
        elif isinstance(was, Action) and isinstance(part, Action):
            yield from _wrong_step(was, part)


def _wrong_header(before: SupportPlan, after: SupportPlan) -> Iterator[Finding]:
    """Yield what somebody else may not change of the plan as a whole."""
    if any(getattr(before, name) != getattr(after, name) for name in _HEADER):
        yield Finding(pointer="", code="not-yours", remedy="only who made the plan changes its status and its dates")
    was, now = ({each.id: each for each in plan.organisations} for plan in (before, after))
    if was != now:
        yield Finding(pointer="", code="not-yours", remedy="only who made the plan changes whom it names")
    left = [part.id for part in after.parts]
    kept = set(left)
    there = [part.id for part in before.parts if part.id in kept]
    known = set(there)
    if there != [name for name in left if name in known]:
        yield Finding(pointer="", code="not-yours", remedy="only who made the plan changes what comes first in it")


def _not_theirs(was: AnyPart, part: AnyPart, plan: SupportPlan, writer: str) -> str | None:
    """Return why somebody else's change of a part is not theirs to make; None when it is."""
    if isinstance(was, Action):
        if writer not in carriers_of(was, plan):
            return "only who carries the task out, or made the plan, says how far it is"
        return None if _changed(was, part) <= {"status", "status_reason"} else "change status and statusReason only"
    if isinstance(was, Goal) and isinstance(part, Goal):
        works = any(writer in carriers_of(each, plan) for each in plan.parts if _is_for(each, was.id))
        if not works:
            return "only who carries something out for this goal, or made the plan, says how far it is"
        if not _changed(was, part) <= {"status"} or part.status not in PROGRESS or was.status == "cancelled":
            return f"say how far it is ({', '.join(sorted(PROGRESS))}) and nothing else"
        return None
    return "only who made the plan changes this"


def _is_for(part: AnyPart, goal: str) -> bool:
    return isinstance(part, Action | Provision) and goal in part.goals


def _changed(was: AnyPart, part: AnyPart) -> set[str]:
    if type(was) is not type(part):
        return {"kind"}
    names = (field.name for field in msgspec.structs.fields(type(was)))
    return {name for name in names if _value(was, name) != _value(part, name)}


def _value(part: AnyPart, name: str) -> Any:
    return getattr(part, name)


def _wrong_step(was: Action, part: Action) -> Iterator[Finding]:
    """Yield what keeps an action from going from one status to another, or from standing still without its reason."""
    stays = was.status == part.status
    if stays and was.status_reason == part.status_reason:
        return
    allowed = NEXT[was.status]
    if not stays and part.status not in allowed:
        what = f"it can become {', '.join(allowed)}" if allowed else "it is over; make a new one"
        yield Finding(pointer=part.id, code="status", remedy=f"this task is {was.status}: {what}")
    elif part.status in NEEDS_REASON and not (part.status_reason or "").strip():
        yield Finding(pointer=part.id, code="reason", remedy=f"say in statusReason.text why it is {part.status}")
