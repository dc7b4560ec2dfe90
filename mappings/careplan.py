"""CarePlan: the header of a plan and the order of its parts (https://hl7.org/fhir/R4/careplan.html).

nl-core has CarePlans for nursing and for help only, so the profile is our own, on base R4.
"""

from typing import Any, get_args

from mappings.codes import BASE, Kind, PlanStatus
from mappings.elements import (
    RESOURCE_TYPE,
    Resource,
    concept,
    definition,
    filled,
    period,
    reference,
    subject_reference,
)
from mappings.node import Node
from mappings.plan import SupportPlan, TeamMember

PROFILE = definition("planbrug-careplan")
TITLE = "Ondersteuningsplan"
PLAN_NUMBER_SYSTEM = f"{BASE}/NamingSystem/plan-number"
UNKNOWN_INSTRUMENT = "fhir"
"""The instrument of a CarePlan that names none."""

_STATUS: dict[PlanStatus, str] = {
    "concept": "draft",
    "agreed": "active",
    "decided": "active",
    "ended": "completed",
    "revoked": "revoked",
}
_PHASE: dict[str, PlanStatus] = {"draft": "concept", "active": "agreed", "completed": "ended", "revoked": "revoked"}
"""What a status means without our phase beside it; an active plan is at least agreed."""

_PHASES: tuple[PlanStatus, ...] = get_args(PlanStatus)
_INTENTS = ("proposal", "plan", "order", "option")
_PEOPLE = frozenset({"Patient", "RelatedPerson", "PractitionerRole"})


def plan_to_careplan(plan: SupportPlan, stamp: Resource) -> Resource:
    """Render the header; the parts only as references, in the order of the plan."""
    number = {"system": PLAN_NUMBER_SYSTEM, "value": plan.number}
    has_team = any(isinstance(part, TeamMember) for part in plan.parts)
    return filled(
        {
            "resourceType": "CarePlan",
            "id": plan.id,
            "meta": {**stamp, "profile": [PROFILE]},
            "identifier": [number] if plan.number else None,
            "status": _STATUS[plan.status],
            "intent": "plan",
            "category": [concept("plan-phase", plan.status), concept("instrument", plan.instrument)],
            "title": TITLE,
            "subject": subject_reference(plan.residents),
            "period": period(plan.starts_on, plan.ends_on),
            "author": reference("Organization", plan.source) if plan.source else None,
            "careTeam": [reference("CareTeam", plan.id)] if has_team else None,
            **_listing(plan),
        }
    )


def _listing(plan: SupportPlan) -> dict[str, list[Resource]]:
    listed: dict[str, list[Resource]] = {"supportingInfo": [], "goal": [], "activity": []}
    for part in plan.parts:
        kind = part.kind
        if (element := _LISTED_IN.get(kind)) is not None:
            found = reference(RESOURCE_TYPE[kind], part.id)
            listed[element].append({"reference": found} if element == "activity" else found)
    return listed


def _element(kind: Kind) -> str:
    if kind == "goal":
        return "goal"
    return "activity" if kind in {"action", "evaluation", "provision"} else "supportingInfo"


_LISTED_IN = {kind: _element(kind) for kind, resource_type in RESOURCE_TYPE.items() if resource_type not in _PEOPLE}
"""Where a CarePlan lists the parts of a kind; people stand in its CareTeam."""


def careplan_to_header(node: Node) -> dict[str, Any]:
    """Read the fields of a SupportPlan that are no parts. Raises MappingError."""
    node.needed("intent").code(_INTENTS)
    version = node.text("meta", "versionId") or ""
    author = node.actor("author")
    return {
        "id": node.value["id"],
        "status": _status(node),
        "residents": node.index.residents,
        "instrument": node.coded("instrument", None, "category") or UNKNOWN_INSTRUMENT,
        "version": int(version) if version.isdecimal() else 0,
        "changed_at": node.moment("meta", "lastUpdated"),
        "source": author.ref if author and author.type == "organisation" else None,
        "number": _number(node),
        "starts_on": node.day("period", "start"),
        "ends_on": node.day("period", "end"),
    }


def _status(node: Node) -> PlanStatus:
    """Return our phase when it fits the status; another server may have changed the status only."""
    status = node.needed("status").code(_PHASE)
    phase: PlanStatus | None = node.coded("plan-phase", _PHASES, "category")
    return phase if phase and _STATUS[phase] == status else _PHASE[status]


def _number(node: Node) -> str | None:
    numbers = {each.text("system"): each.text("value") for each in node.each("identifier")}
    return numbers.get(PLAN_NUMBER_SYSTEM) or next(iter(numbers.values()), None)
