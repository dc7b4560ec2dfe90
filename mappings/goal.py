"""Goal: a wanted situation (https://hl7.org/fhir/R4/goal.html), within nl-core-TreatmentObjective.

That profile only narrows what we leave empty (target.measure, target.detail), so a social goal conforms to it.
"""

from typing import get_args

from mappings.codes import GoalStatus, Term
from mappings.elements import NL_CORE, Resource, concept, day, part_to_element
from mappings.node import Node
from mappings.plan import Goal

PROFILE = f"{NL_CORE}TreatmentObjective"
ACHIEVEMENT = "http://terminology.hl7.org/CodeSystem/goal-achievement"

_STATUS: dict[GoalStatus, tuple[str, str | None]] = {
    "proposed": ("proposed", None),
    "active": ("active", None),
    "on-hold": ("on-hold", None),
    "reached": ("completed", "achieved"),
    "not-reached": ("completed", "not-achieved"),
    "cancelled": ("cancelled", None),
}
_LIFECYCLE: dict[str, GoalStatus] = {
    "proposed": "proposed",
    "planned": "proposed",
    "accepted": "active",
    "active": "active",
    "on-hold": "on-hold",
    "completed": "reached",
    "cancelled": "cancelled",
    "rejected": "cancelled",
}
"""Every https://hl7.org/fhir/R4/valueset-goal-status.html but entered-in-error, which no plan may hold."""

_TERMS: tuple[Term, ...] = get_args(Term)


_TERM = {term: concept("term", term) for term in _TERMS}


def goal_to_resource(goal: Goal, stamp: Resource) -> Resource:
    """Render a goal."""
    status, achievement = _STATUS[goal.status]
    resource = part_to_element("Goal", goal, stamp, PROFILE)
    resource["lifecycleStatus"] = status
    if achievement:
        resource["achievementStatus"] = {"coding": [{"system": ACHIEVEMENT, "code": achievement}]}
    categories = [concept("life-domain", goal.label.domain)] if goal.label.domain else []
    if goal.term:
        categories.append(_TERM[goal.term])
    if categories:
        resource["category"] = categories
    resource["description"] = {"text": goal.text}
    if goal.starts_on:
        resource["startDate"] = day(goal.starts_on)
    if goal.due_on:
        resource["target"] = [{"dueDate": day(goal.due_on)}]
    return resource


def resource_to_goal(node: Node) -> Goal:
    """Read a goal. Raises MappingError."""
    return Goal(
        id=node.value["id"],
        label=node.label(),
        text=node.needed("description", "text").text() or "",
        status=_status(node),
        term=node.coded("term", _TERMS, "category"),
        starts_on=node.day("startDate"),
        due_on=node.day("target", 0, "dueDate"),
    )


def _status(node: Node) -> GoalStatus:
    status = _LIFECYCLE[node.needed("lifecycleStatus").code(_LIFECYCLE)]
    achieved = [each.text("code") for each in node.each("achievementStatus", "coding")] if status == "reached" else []
    return "not-reached" if "not-achieved" in achieved else status
