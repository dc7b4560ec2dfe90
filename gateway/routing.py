"""Who receives a plan: whom the plan names, whom a resident permits, and the backoffice when there is something to decide.

The set is frozen when deliveries are planned; what each receives is decided when it is sent.
"""

from collections.abc import Mapping
from datetime import datetime

from consent.index import ChoiceIndex
from gateway.clock import Clock
from gateway.directory import Lane, Snapshot
from gateway.store.deliveries import DeliveryRow
from mappings.plan import Provision, SupportPlan
from mappings.references import carriers_of, organisations_of


def lanes_of(plan: SupportPlan, snapshot: Snapshot, choices: Mapping[str, ChoiceIndex]) -> tuple[Lane, ...]:
    """Return every endpoint that is to be considered for this plan, its source left out."""
    named = {organisation for part in plan.parts for organisation in organisations_of(part)}
    named |= {organisation for part in plan.parts for organisation in carriers_of(part, plan)}
    named = named.union(*(index.permitted for index in choices.values()))
    if any(isinstance(part, Provision) and part.individual for part in plan.parts):
        named |= {entry.id for entry in snapshot.entries.values() if entry.kind == "backoffice"}
    return tuple(lane for organisation in sorted(named - {plan.source}) for lane in snapshot.lanes(organisation))


def planned(plan: SupportPlan, lane: Lane, clock: Clock, now: datetime) -> DeliveryRow:
    """Return a new delivery of this version of a plan, due at once."""
    return DeliveryRow(
        id=clock.new_id(),
        plan=plan.id,
        plan_version=plan.version,
        recipient=lane.entry.id,
        lane=lane.name,
        adapter=lane.endpoint.adapter,
        created_at=now,
        updated_at=now,
        due_at=now,
    )
