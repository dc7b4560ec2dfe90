"""ServiceRequest: a general or an individual provision (https://hl7.org/fhir/R4/servicerequest.html).

`status` and `intent` together say the provision's own status: asked for is a proposal, granted is an order.
"""

from typing import get_args

from mappings.codes import Delivery, ProvisionStatus
from mappings.elements import Resource, concept, filled, part_to_element, period, reference
from mappings.node import Node
from mappings.plan import Provision, Volume

_STATUS: dict[ProvisionStatus, tuple[str, str]] = {
    "requested": ("active", "proposal"),
    "granted": ("active", "order"),
    "refused": ("revoked", "proposal"),
    "stopped": ("revoked", "order"),
    "ended": ("completed", "order"),
}
_STATES = ("draft", "active", "revoked", "completed")
_INTENTS = (
    "proposal",
    "plan",
    "directive",
    "order",
    "original-order",
    "reflex-order",
    "filler-order",
    "instance-order",
    "option",
)
_ASKED = frozenset({"proposal", "plan", "option"})
_DELIVERIES: tuple[Delivery, ...] = get_args(Delivery)


def provision_to_resource(provision: Provision, stamp: Resource) -> Resource:
    """Render a provision."""
    status, intent = _STATUS[provision.status]
    kind = "individual" if provision.individual else "general"
    return part_to_element("ServiceRequest", provision, stamp) | filled(
        {
            "status": status,
            "intent": intent,
            "category": [concept("provision-kind", kind)],
            "code": {"text": provision.text},
            "orderDetail": [concept("delivery", provision.delivery)] if provision.delivery else None,
            "occurrencePeriod": period(provision.starts_on, provision.ends_on),
            "performer": [reference("Organization", provision.provider)] if provision.provider else None,
            "supportingInfo": [reference("Goal", goal) for goal in provision.goals],
            **(_quantity(provision.volume) if provision.volume else {}),
        }
    )


def resource_to_provision(node: Node) -> Provision:
    """Read a provision. Raises MappingError."""
    goals = (found.target_id("Goal") for found in node.each("supportingInfo"))
    return Provision(
        id=node.value["id"],
        label=node.label(),
        text=node.needed("code", "text").text() or "",
        individual=node.coded("provision-kind", ("individual", "general"), "category") == "individual",
        status=_status(node),
        delivery=node.coded("delivery", _DELIVERIES, "orderDetail"),
        provider=node.target_id("Organization", "performer", 0),
        goals=tuple(goal for goal in goals if goal),
        starts_on=node.day("occurrencePeriod", "start"),
        ends_on=node.day("occurrencePeriod", "end"),
        volume=_volume(node),
    )


def _status(node: Node) -> ProvisionStatus:
    state = node.needed("status").code(_STATES)
    asked = node.needed("intent").code(_INTENTS) in _ASKED
    if state == "completed":
        return "ended"
    if state == "revoked":
        return "refused" if asked else "stopped"
    return "requested" if asked or state == "draft" else "granted"


def _quantity(volume: Volume) -> Resource:
    amount: Resource = {"value": volume.value, "unit": volume.unit}
    if volume.per is None:
        return {"quantityQuantity": amount}
    return {"quantityRatio": {"numerator": amount, "denominator": {"value": 1, "unit": volume.per}}}


def _volume(node: Node) -> Volume | None:
    amount = node.get("quantityRatio", "numerator") or node.get("quantityQuantity")
    if amount is None:
        return None
    value, unit = amount.number("value"), amount.text("unit")
    if value is None or unit is None:
        return None
    return Volume(value=value, unit=unit, per=node.text("quantityRatio", "denominator", "unit"))
