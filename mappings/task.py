"""Task: an action or an evaluation of the plan (https://hl7.org/fhir/R4/task.html), told apart by `code`.

R4 has one focus and no rhythm, so further goals and the frequency are inputs, and the outcome of an evaluation is an output.
"""

from collections.abc import Iterator
from typing import Any, get_args

from mappings.codes import ActionStatus
from mappings.elements import (
    Resource,
    actor_reference,
    concept,
    day,
    definition,
    filled,
    part_to_element,
    period,
    reference,
)
from mappings.node import Node
from mappings.plan import Action, Evaluation

PROFILE = definition("planbrug-task")
_INTENTS = (
    "unknown",
    "proposal",
    "plan",
    "order",
    "original-order",
    "reflex-order",
    "filler-order",
    "instance-order",
    "option",
)
"""https://hl7.org/fhir/R4/valueset-task-intent.html."""

_STATUS: dict[str, ActionStatus] = {status: status for status in get_args(ActionStatus)} | {
    "draft": "requested",
    "received": "requested",
    "ready": "accepted",
}
"""Every https://hl7.org/fhir/R4/valueset-task-status.html but entered-in-error, which no plan may hold."""


def action_to_resource(action: Action, stamp: Resource) -> Resource:
    """Render an action."""
    resource = part_to_element("Task", action, stamp, PROFILE)
    resource["code"] = _IS_ACTION
    resource["status"] = action.status
    resource["intent"] = "plan"
    resource["owner"] = actor_reference(action.owner)
    if action.status_reason:
        resource["statusReason"] = {"text": action.status_reason}
    if action.text:
        resource["description"] = action.text
    if action.goals:
        resource["focus"] = reference("Goal", action.goals[0])
    if within := period(action.starts_on, action.due_on):
        resource["restriction"] = {"period": within}
    inputs = [_value("goal", valueReference=reference("Goal", goal)) for goal in action.goals[1:]]
    if action.frequency:
        inputs.append(_value("frequency", valueString=action.frequency))
    if inputs:
        resource["input"] = inputs
    return resource


_IS_ACTION = concept("part-kind", "action")


def evaluation_to_resource(evaluation: Evaluation, stamp: Resource) -> Resource:
    """Render an evaluation: planned by `restriction`, held in `executionPeriod`."""
    held = evaluation.held_on
    return part_to_element("Task", evaluation, stamp, PROFILE) | filled(
        {
            "code": concept("part-kind", "evaluation"),
            "status": "completed" if held else "requested",
            "intent": "plan",
            "restriction": {"period": {"end": day(evaluation.planned_on)}},
            "executionPeriod": period(held, held),
            "output": [_value("outcome", valueString=evaluation.outcome)] if evaluation.outcome else None,
        }
    )


def resource_to_task(node: Node) -> Action | Evaluation:
    """Read a Task; without a code of ours it is an action. Raises MappingError."""
    status = _STATUS[node.needed("status").code(_STATUS)]
    node.needed("intent").code(_INTENTS)
    kind = node.coded("part-kind", ("action", "evaluation"), "code")
    return _evaluation(node) if kind == "evaluation" else _action(node, status)


def _action(node: Node, status: ActionStatus) -> Action:
    owner = node.needed("owner")
    actor = owner.actor()
    if actor is None:
        raise owner.fail("reference", "refer to a Patient, RelatedPerson, PractitionerRole or Organization")
    return Action(
        id=node.value["id"],
        label=node.label(),
        text=node.needed("description").text() or "",
        owner=actor,
        goals=tuple(_goals(node)),
        status=status,
        status_reason=node.text("statusReason", "text"),
        starts_on=node.day("restriction", "period", "start"),
        due_on=node.day("restriction", "period", "end"),
        frequency=next((found.text("valueString") for found in _values(node, "input", "frequency")), None),
    )


def _evaluation(node: Node) -> Evaluation:
    planned = node.needed("restriction", "period", "end")
    planned_on = planned.day()
    if planned_on is None:
        raise planned.fail("date", "give a day as YYYY-MM-DD")
    return Evaluation(
        id=node.value["id"],
        label=node.label(),
        planned_on=planned_on,
        held_on=node.day("executionPeriod", "end"),
        outcome=next((found.text("valueString") for found in _values(node, "output", "outcome")), None),
    )


def _goals(node: Node) -> Iterator[str]:
    focus = node.target_id("Goal", "focus")
    further = (found.target_id("Goal", "valueReference") for found in _values(node, "input", "goal"))
    return (goal for goal in (focus, *further) if goal)


def _value(field: str, **value: Any) -> Resource:
    return {"type": concept("plan-field", field), **value}


def _values(node: Node, element: str, field: str) -> list[Node]:
    return [found for found in node.each(element) if found.coded("plan-field", None, "type") == field]
