"""Give a draft its stable ids: the same part of the same plan has the same id in every version, and after a hand-over.

A draft's ids stand for keys of its source. A key that is an id of the current version already (somebody read the plan here, changed
it and sent it back) stays as it is.
"""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from gateway.directory import Entry, Snapshot
from mappings.format import Draft
from mappings.plan import Organisation, RecordedBy, SupportPlan, contact_id, identity_id
from mappings.references import renamed

PartId = Callable[[str], str]
"""draft id → stable id"""


def named(
    draft: Draft,
    *,
    plan_id: str,
    residents: Mapping[str, str],
    snapshot: Snapshot,
    source: Entry,
    known: frozenset[str],
    part_id: PartId,
) -> tuple[SupportPlan, dict[str, str]]:
    """Return the draft as a plan of this gateway, and the ids by draft id.

    `residents`: draft id → resident id. `known`: ids of the current version. Organisations get their directory id where an identifier
    is known there.
    """
    ids = dict(residents)
    for organisation in draft.plan.organisations:
        ids[organisation.id] = _organisation_id(organisation, snapshot, known, part_id)
    for part in draft.plan.parts:
        ids.setdefault(part.id, _kept(part.id, known) or part_id(part.id))
    for draft_id, resident in residents.items():
        ids[identity_id(draft_id)] = identity_id(resident)
        ids[contact_id(draft_id)] = contact_id(resident)
    plan = renamed(draft.plan, ids)
    return completed(plan, plan_id, source, snapshot), ids


def _organisation_id(organisation: Organisation, snapshot: Snapshot, known: frozenset[str], part_id: PartId) -> str:
    for identifier in organisation.identifiers:
        entry = snapshot.by_identifier.get((identifier.system, identifier.value))
        if entry:
            return entry.id
    key = organisation.id.partition(":")[2]
    return key if key in snapshot.entries else _kept(organisation.id, known) or part_id(organisation.id)


def _kept(draft_id: str, known: frozenset[str]) -> str | None:
    key = draft_id.partition(":")[2]
    return key if key in known else None


def completed(plan: SupportPlan, plan_id: str, source: Entry, snapshot: Snapshot) -> SupportPlan:
    """Fill in what only the gateway knows: the plan's id, its source, and who recorded what nobody else did."""
    recorder = RecordedBy(organisation=source.id)
    parts = tuple(
        part if part.label.recorded_by else replace(part, label=replace(part.label, recorded_by=recorder))
        for part in plan.parts
    )
    named_already = {organisation.id for organisation in plan.organisations}
    own = () if source.id in named_already else (source.as_named(),)
    organisations = tuple(_from_directory(organisation, snapshot) for organisation in plan.organisations)
    return replace(plan, id=plan_id, source=source.id, parts=parts, organisations=organisations + own)


def _from_directory(organisation: Organisation, snapshot: Snapshot) -> Organisation:
    """Call an organisation what the directory calls it, where it is known."""
    entry = snapshot.entries.get(organisation.id)
    return entry.as_named() if entry else organisation
