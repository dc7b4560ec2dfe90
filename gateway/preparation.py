"""Work out what a document will write, before the transaction begins: whose plan it is, who its residents are, which version.

Nothing is written here but data keys; what was read may have changed by the time of writing, and the transaction checks that.
"""

from datetime import datetime, time
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from consent.voices import AMSTERDAM, amsterdam_day, days_of_change
from gateway.callers import Caller
from gateway.clock import Clock
from gateway.directory import Lane, Snapshot
from gateway.errors import refusal
from gateway.naming import named
from gateway.routing import lanes_of
from gateway.seal import MasterKey
from gateway.sight import Sight
from gateway.store import plans as rows
from gateway.store.engine import Store
from gateway.store.plans import PlanRow, VersionRow
from gateway.vault import Vault
from mappings.format import Draft, Format
from mappings.plan import Identity, SupportPlan


class Prepared(Struct, frozen=True, kw_only=True):
    """Everything that the transaction writes, worked out before it begins."""

    plan: SupportPlan
    ids: dict[str, str]
    row: VersionRow | None
    number_fingerprint: str | None
    resident_fingerprints: dict[str, str]
    lanes: tuple[Lane, ...]
    choice_versions: dict[str, int]
    wakeups: tuple[tuple[str, datetime], ...]


class Preparation:
    """Prepares documents for the intake."""

    def __init__(self, *, store: Store, vault: Vault, sight: Sight, master: MasterKey, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._sight = sight
        self._master = master
        self._clock = clock

    async def prepare(self, draft: Draft, body: bytes, form: Format, caller: Caller, snapshot: Snapshot) -> Prepared:
        """Return what to write for this document as things stand now. Raises Refusal when it names a plan that is not the caller's."""
        number_fingerprint = self._number(draft, caller)
        current = await self._current(draft, number_fingerprint, caller)
        loaded = await self._sight.load(current.id) if current else None
        known = loaded.plan if loaded else None
        fingerprints, residents = await self._residents(draft, caller, known)
        plan_id = current.id if current else self._clock.new_id()
        plan, ids = named(
            draft,
            plan_id=plan_id,
            residents=residents,
            snapshot=snapshot,
            source=caller.entry,
            known=frozenset(part.id for part in known.parts) if known else frozenset(),
            part_id=partial(self._master.part_id, plan_id),
        )
        row, plan = await self._next_version(plan, current, known, body, form, caller)
        choices = await self._sight.choices_of(plan.residents)
        return Prepared(
            plan=plan,
            ids=ids,
            row=row,
            number_fingerprint=number_fingerprint,
            resident_fingerprints=fingerprints,
            lanes=lanes_of(plan, snapshot, choices),
            choice_versions={resident: index.version for resident, index in choices.items()},
            wakeups=self._birthdays(plan),
        )

    async def _current(self, draft: Draft, number_fingerprint: str | None, caller: Caller) -> PlanRow | None:
        """Find the plan that this document is a version of: by (source, its plan number), else by `planId`, else it is new."""
        plan_id = draft.plan.id
        found = await self._store.read(
            lambda tx: (
                (number_fingerprint and rows.plan_by_number(tx, number_fingerprint))
                or (plan_id and rows.plan_by_id(tx, plan_id))
                or None
            )
        )
        if plan_id and (found is None or found.source != caller.organisation):
            raise refusal("document", "/planId", "name a plan of your own at this gateway, or leave planId out")
        return found

    async def _residents(
        self, draft: Draft, caller: Caller, known: SupportPlan | None
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return (resident id by keyed hash, resident id by draft id); who is new gets an id that is kept with the plan."""
        numbers = {part.resident: part.bsn for part in draft.plan.parts if isinstance(part, Identity) and part.bsn}
        prints = {
            draft_id: self._master.fingerprint("bsn", numbers[draft_id])
            if draft_id in numbers
            else self._master.fingerprint("resident", caller.organisation, draft.references[draft_id])
            for draft_id in draft.plan.residents
        }
        found = await self._store.read(lambda tx: rows.residents_by_fingerprint(tx, list(prints.values())))
        residents: dict[str, str] = {}
        for draft_id, fingerprint in prints.items():
            reference = draft.references[draft_id]
            own = reference if known and reference in known.residents and draft_id not in numbers else None
            residents[draft_id] = own or found.setdefault(fingerprint, self._clock.new_id())
        return {prints[draft_id]: resident for draft_id, resident in residents.items()}, residents

    async def _next_version(
        self,
        plan: SupportPlan,
        current: PlanRow | None,
        known: SupportPlan | None,
        body: bytes,
        form: Format,
        caller: Caller,
    ) -> tuple[VersionRow | None, SupportPlan]:
        """Return the row to keep and the plan with its version; no row when it equals the current version."""
        version = current.version if current else 0
        if known is not None and _numbered(plan, version) == known:
            return None, known
        plan = _numbered(plan, version + 1)
        sealed, source_body = await self._vault.seal_plan(plan, body)
        row = VersionRow(
            plan=plan.id,
            version=plan.version,
            status=plan.status,
            format=form.name,
            format_version=form.version,
            fingerprint=self._sight.fingerprint(plan),
            body=sealed,
            source_body=source_body,
            received_at=self._clock.now(),
            received_from=caller.client.client_id,
        )
        return row, plan

    def _birthdays(self, plan: SupportPlan) -> tuple[tuple[str, datetime], ...]:
        """Return when a birthday changes who decides, as the first moment of that day in the Netherlands."""
        today = amsterdam_day(self._clock.now())
        return tuple(
            (part.resident, datetime.combine(day, time.min, AMSTERDAM))
            for part in plan.parts
            if isinstance(part, Identity) and part.birth_date
            for day in days_of_change((), (part.birth_date,), today)
        )

    def _number(self, draft: Draft, caller: Caller) -> str | None:
        number = draft.plan.number
        return self._master.fingerprint("plan number", caller.organisation, number) if number else None


def _numbered(plan: SupportPlan, version: int) -> SupportPlan:
    return replace(plan, version=version)
