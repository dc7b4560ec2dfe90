"""Provenance: who made the version of a plan that a reader sees (https://hl7.org/fhir/R4/provenance.html).

It says nothing that the view does not: a view names the organisation of a plan, and who wrote a part down only to that organisation
itself. It has the id of the plan, as its CareTeam has, and the version of the view: version 3 of the Provenance is about version 3 of
the CarePlan, and who has one id finds the other.
"""

from collections.abc import Iterator
from datetime import datetime

from mappings.elements import Resource, actor_reference, definition, filled, reference
from mappings.plan import Actor, SupportPlan

PROFILE = definition("planbrug-provenance")

_AGENTS = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_ACTIVITIES = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
_UNKNOWN: Resource = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]
}


def plan_to_provenance(plan: SupportPlan, stamp: Resource, occurred_at: datetime | None = None) -> Resource:
    """Render where a view comes from. A view that nobody has counted yet has no version and no moment, which R4 lets us say."""
    target = reference("CarePlan", plan.id)
    if plan.version:
        target["reference"] += f"/_history/{plan.version}"
    return filled(
        {
            "resourceType": "Provenance",
            "id": plan.id,
            "meta": {**stamp, "profile": [PROFILE]},
            "target": [target],
            "occurredDateTime": occurred_at.isoformat() if occurred_at else None,
            "recorded": plan.changed_at.isoformat() if plan.changed_at else None,
            "_recorded": None if plan.changed_at else _UNKNOWN,
            "activity": _activity(plan.version),
            "agent": list(_agents(plan)),
        }
    )


def _activity(version: int) -> Resource | None:
    """Return what happened for this reader: the first version is new to it, whatever the plan was before."""
    return _concept(_ACTIVITIES, "CREATE" if version == 1 else "UPDATE") if version else None


def _agents(plan: SupportPlan) -> Iterator[Resource]:
    """Yield the author, and each other organisation that wrote down a part of this view; R4 asks for one at least."""
    author = actor_reference(Actor(type="organisation", ref=plan.source))
    yield {"type": _concept(_AGENTS, "author"), "who": author}
    recorders = (part.label.recorded_by for part in plan.parts)
    for organisation in dict.fromkeys(each.organisation for each in recorders if each):
        if organisation != plan.source:
            yield {"type": _concept(_AGENTS, "enterer"), "who": reference("Organization", organisation)}


def _concept(system: str, code: str) -> Resource:
    return {"coding": [{"system": system, "code": code}]}
