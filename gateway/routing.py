"""Who receives a plan: whom the plan names, whom a resident permits, and the backoffice when there is something to decide.

The set is frozen when deliveries are planned; what each receives is decided when it is sent.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from consent.catalogue import EnabledGround
from consent.index import ChoiceIndex
from gateway.clock import Clock
from gateway.directory import Lane, Snapshot
from gateway.store.deliveries import DeliveryRow
from mappings.plan import Provision, SupportPlan
from mappings.references import carriers_of, organisations_of


def lanes_of(
    plan: SupportPlan, snapshot: Snapshot, choices: Mapping[str, ChoiceIndex], writer: str | None = None
) -> tuple[Lane, ...]:
    """Return every endpoint that is to be considered for this plan; its source only when another wrote this version."""
    named = _named(plan, snapshot, choices) - {plan.source}
    if plan.source and writer not in {None, plan.source}:
        named.add(plan.source)
    return tuple(lane for organisation in sorted(named) for lane in snapshot.lanes(organisation))


def concerned(
    plan: SupportPlan, snapshot: Snapshot, choices: Mapping[str, ChoiceIndex], grounds: Iterable[EnabledGround]
) -> frozenset[str]:
    """Return every organisation that may be let see something of this plan, and none that some rule could be thought to permit is left out.

    Wider than who receives it: its source, who wrote a part, and every organisation of a kind that a choice or a ground names.
    """
    permits = [choice.recipient for index in choices.values() for choice in index.choices if choice.effect == "permit"]
    if any(recipient.type == "all" for recipient in permits):
        return frozenset(snapshot.entries)
    kinds = {recipient.kind for recipient in permits if recipient.kind}.union(
        *(each.organisation_kinds for each in grounds)
    )
    found = {entry.id for entry in snapshot.entries.values() if entry.kind in kinds}
    found |= {part.label.recorded_by.organisation for part in plan.parts if part.label.recorded_by}
    return frozenset(found | _named(plan, snapshot, choices) | ({plan.source} if plan.source else set()))


def _named(plan: SupportPlan, snapshot: Snapshot, choices: Mapping[str, ChoiceIndex]) -> set[str]:
    """Return whom the plan names, whom a resident permits, and the backoffice when there is something to decide."""
    named = {organisation for part in plan.parts for organisation in organisations_of(part)}
    named |= {organisation for part in plan.parts for organisation in carriers_of(part, plan)}
    named = named.union(*(index.permitted for index in choices.values()))
    if any(isinstance(part, Provision) and part.individual for part in plan.parts):
        named |= {entry.id for entry in snapshot.entries.values() if entry.kind == "backoffice"}
    return named


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
