"""The one way in for plans: read, name, compare with what is there, and keep version and deliveries in one transaction.

Nothing is half-stored: a document is refused whole, or kept whole with its deliveries planned.
"""

from collections.abc import Callable
from datetime import datetime, time
from functools import partial
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from consent.voices import AMSTERDAM, amsterdam_day, days_of_change
from gateway.callers import Caller
from gateway.clock import Clock
from gateway.directory import Directory, Lane, Snapshot
from gateway.errors import Refusal, refusal
from gateway.logs import Log
from gateway.naming import named
from gateway.routing import lanes_of, planned
from gateway.seal import MasterKey
from gateway.sight import Sight
from gateway.store import choices as choice_rows
from gateway.store import deliveries as delivery_rows
from gateway.store import plans as rows
from gateway.store.engine import Store, Transaction
from gateway.store.plans import KeyUse, PlanRow, VersionRow
from gateway.vault import Vault
from mappings.errors import Finding, MappingError
from mappings.format import Draft, Format, Loss
from mappings.identifiers import BSN_TEST_RANGE
from mappings.plan import Identity, SupportPlan
from mappings.quality import QualityFinding, check_quality

ATTEMPTS = 8
"""How often intake begins again when somebody else wrote first, before it asks the caller to."""

Outcome = Literal["created", "changed", "unchanged"]


class Received(Struct, frozen=True, kw_only=True):
    """What became of a document. `residents`: resident id → its reference in the document; `pointers`: id → where it stands there."""

    plan_id: str
    version: int
    outcome: Outcome
    deliveries: tuple[str, ...]
    residents: dict[str, str]
    pointers: dict[str, str]
    quality: tuple[QualityFinding, ...]
    loss: tuple[Loss, ...]


class _BegunAgainError(Exception):
    """Somebody else wrote first; nothing of this transaction is kept."""


class _Prepared(Struct, frozen=True, kw_only=True):
    """Everything that the transaction writes, worked out before it begins."""

    plan: SupportPlan
    ids: dict[str, str]
    row: VersionRow | None
    number_fingerprint: str | None
    resident_fingerprints: dict[str, str]
    lanes: tuple[Lane, ...]
    choice_versions: dict[str, int]
    wakeups: tuple[tuple[str, datetime], ...]


class Intake:
    """Receives plans."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        sight: Sight,
        directory: Directory,
        master: MasterKey,
        clock: Clock,
        log: Log,
        test_numbers_only: bool,
        nudge: Callable[[], None],
    ) -> None:
        self._store = store
        self._vault = vault
        self._sight = sight
        self._directory = directory
        self._master = master
        self._clock = clock
        self._log = log
        self._test_numbers_only = test_numbers_only
        self._nudge = nudge

    async def receive(self, body: bytes, form: Format, caller: Caller, key: str | None) -> Received:
        """Take a plan document in. Raises Refusal, with every finding and no value, and then nothing is kept."""
        started = self._clock.ticks()
        used = await self._use_of(key, body, caller)
        draft = self._read(body, form)
        for _ in range(ATTEMPTS):
            snapshot = await self._directory.now()
            prepared = await self._prepare(draft, body, form, caller, snapshot)
            if used is not None:
                return await self._repeated(draft, prepared, used, snapshot)
            use = self._use(body, prepared)
            try:
                deliveries = await self._store.write(
                    partial(self._keep, prepared=prepared, caller=caller, key=key, use=use)
                )
            except _BegunAgainError:
                used = await self._use_of(key, body, caller)
                continue
            self._nudge()
            received = self._received(draft, prepared, use, deliveries, snapshot)
            self._say(received, form, started)
            return received
        raise Refusal("busy")

    async def _use_of(self, key: str | None, body: bytes, caller: Caller) -> KeyUse | None:
        """Return what this key was used for before. Raises Refusal when it was for another body."""
        if key is None:
            return None
        use = await self._store.read(lambda tx: rows.key_use(tx, caller.client.client_id, key))
        if use and use.body_fingerprint != self._master.fingerprint("body", body.hex()):
            raise Refusal("key-reused")
        return use

    def _use(self, body: bytes, prepared: _Prepared) -> KeyUse:
        outcome = "unchanged" if prepared.row is None else "created" if prepared.plan.version == 1 else "changed"
        fingerprint = self._master.fingerprint("body", body.hex())
        return KeyUse(
            body_fingerprint=fingerprint, plan=prepared.plan.id, version=prepared.plan.version, outcome=outcome
        )

    async def _repeated(self, draft: Draft, prepared: _Prepared, use: KeyUse, snapshot: Snapshot) -> Received:
        """Answer a repeated key as the first time."""
        deliveries = await self._store.read(lambda tx: delivery_rows.deliveries_of_version(tx, use.plan, use.version))
        return self._received(draft, prepared, use, () if use.outcome == "unchanged" else deliveries, snapshot)

    def _received(
        self, draft: Draft, prepared: _Prepared, use: KeyUse, deliveries: tuple[str, ...], snapshot: Snapshot
    ) -> Received:
        plan, ids = prepared.plan, prepared.ids
        today = amsterdam_day(self._clock.now())
        return Received(
            plan_id=use.plan,
            version=use.version,
            outcome=use.outcome,  # type: ignore[arg-type]
            deliveries=deliveries,
            residents={ids[draft_id]: reference for draft_id, reference in draft.references.items()},
            pointers={ids.get(draft_id, draft_id): pointer for draft_id, pointer in draft.pointers.items()},
            quality=(*check_quality(plan, today), *_unknown_organisations(plan, snapshot)),
            loss=draft.loss,
        )

    def _say(self, received: Received, form: Format, started: float) -> None:
        self._log(
            "plan_received",
            plan=received.plan_id,
            version=received.version,
            outcome=received.outcome,
            format=form.name,
            deliveries=len(received.deliveries),
            seconds=round(self._clock.ticks() - started, 6),
        )

    def _read(self, body: bytes, form: Format) -> Draft:
        try:
            draft = form.read(body)
        except MappingError as error:
            broken = all(finding.code == "json" for finding in error.findings)
            raise Refusal("json" if broken else "document", error.findings) from error
        if self._test_numbers_only:
            _only_test_numbers(draft)
        return draft

    async def _prepare(self, draft: Draft, body: bytes, form: Format, caller: Caller, snapshot: Snapshot) -> _Prepared:
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
        return _Prepared(
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

    def _keep(
        self, tx: Transaction, prepared: _Prepared, caller: Caller, key: str | None, use: KeyUse
    ) -> tuple[str, ...]:
        """In one transaction: residents, version, deliveries, wake-ups and key. Raises _BegunAgainError: somebody was first."""
        now = self._clock.now()
        for fingerprint, resident in prepared.resident_fingerprints.items():
            _first(rows.add_resident(tx, fingerprint, resident) == resident)
        _first(choice_rows.choice_versions(tx, prepared.plan.residents) == prepared.choice_versions)
        if key is not None:
            _first(rows.add_key_use(tx, caller.client.client_id, key, use, now))
        if prepared.row is None:
            return ()
        added = rows.add_version(
            tx,
            prepared.row,
            source=caller.organisation,
            number_fingerprint=prepared.number_fingerprint,
            residents=prepared.plan.residents,
        )
        _first(added)
        for resident, due_at in prepared.wakeups:
            choice_rows.add_wakeup(tx, resident, due_at)
        return self._plan_deliveries(tx, prepared, now)

    def _plan_deliveries(self, tx: Transaction, prepared: _Prepared, now: datetime) -> tuple[str, ...]:
        """Plan one delivery per endpoint; what was pending for an endpoint that is no longer concerned has had its day."""
        plan = prepared.plan
        wanted = {(lane.entry.id, lane.name) for lane in prepared.lanes}
        for recipient, lane in delivery_rows.pending_lanes(tx, plan.id) - wanted:
            delivery_rows.end_pending(tx, plan.id, recipient, lane, state="superseded", reason="newer-version", now=now)
        made = [planned(plan, lane, self._clock, now) for lane in prepared.lanes]
        for row in made:
            delivery_rows.add_delivery(tx, row)
        return tuple(row.id for row in made)


def _first(holds: bool) -> None:  # noqa: FBT001 - reads as a sentence: first, or begin again
    if not holds:
        raise _BegunAgainError


def _numbered(plan: SupportPlan, version: int) -> SupportPlan:
    return replace(plan, version=version)


def _only_test_numbers(draft: Draft) -> None:
    """Keep real citizens out of a demo. Raises Refusal."""
    remedy = f"the demo takes BSNs from {BSN_TEST_RANGE[0]} to {BSN_TEST_RANGE[-1]} only"
    findings = [
        Finding(pointer=f"{draft.pointers[part.resident]}", code="not-a-test-bsn", remedy=remedy)
        for part in draft.plan.parts
        if isinstance(part, Identity) and part.bsn and int(part.bsn) not in BSN_TEST_RANGE
    ]
    if findings:
        raise Refusal("document", findings)


def _unknown_organisations(plan: SupportPlan, snapshot: Snapshot) -> tuple[QualityFinding, ...]:
    """Name the organisations that carry something of the plan and that this gateway cannot reach."""
    return tuple(
        QualityFinding(
            code="organisation-not-in-directory",
            severity="warning",
            part=organisation.id,
            nl="Deze organisatie staat niet in de adreslijst. Zij krijgt dus niets van dit plan.",
            en="This organisation is not in the directory, so it receives nothing of this plan.",
        )
        for organisation in plan.organisations
        if organisation.id not in snapshot.entries
    )
