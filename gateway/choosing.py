"""Residents' choices: keep them, and plan again what they change. A withdrawal is one call, and takes effect before it returns.

The transaction that keeps a choice also leaves a wake-up, so that a crash in between cannot lose what must be planned.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, time
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from consent.choice import Choice, check_choices, says_nothing
from consent.errors import ConsentError
from consent.voices import AMSTERDAM, amsterdam_day, days_of_change
from gateway.callers import Caller
from gateway.clock import Clock
from gateway.directory import Directory, Lane, Snapshot
from gateway.errors import Refusal, refusal
from gateway.failpoints import Reach
from gateway.locks import ResidentLocks
from gateway.logs import Log
from gateway.routing import lanes_of, planned
from gateway.sight import Look, Reader, Sight
from gateway.store import choices as rows
from gateway.store import deliveries as delivery_rows
from gateway.store import lanes as lane_rows
from gateway.store import plans as plan_rows
from gateway.store import views, visible
from gateway.store.choices import ChoicesRow
from gateway.store.engine import Store, Transaction
from gateway.store.locks import lock, lock_lanes
from gateway.vault import Vault
from mappings.errors import Finding
from mappings.plan import SupportPlan

AT_ONCE = 4
"""Changes of choices that wait in the database together, at most: each holds a connection while others send their last bytes."""

EDITS = 8
"""How often an edit begins again when somebody else was first, before it asks the caller to."""


class _StaleError(Exception):
    """The set of choices is at another version."""


class ChoiceSet(Struct, frozen=True, kw_only=True):
    """A resident's choices at one version; 0 before the first."""

    version: int
    choices: tuple[Choice, ...]


class Choosing:
    """Keeps choices and plans what follows from them."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        sight: Sight,
        directory: Directory,
        residents: ResidentLocks,
        clock: Clock,
        log: Log,
        nudge: Callable[[], None],
        reach: Reach,
    ) -> None:
        self._store = store
        self._vault = vault
        self._sight = sight
        self._directory = directory
        self._residents = residents
        self._clock = clock
        self._log = log
        self._nudge = nudge
        self._reach = reach
        self._few = asyncio.Semaphore(AT_ONCE)

    async def get(self, resident: str) -> ChoiceSet:
        """Return a resident's choices as they are now."""
        index = (await self._sight.choices_of([resident]))[resident]
        return ChoiceSet(version=index.version, choices=index.choices)

    async def put(self, resident: str, wanted: Sequence[Choice], expected_version: int, caller: Caller) -> ChoiceSet:
        """Make these the resident's choices; one that is left out is withdrawn.

        Raises Refusal: stale when the set is no longer at `expected_version`; document when a choice is not right.
        """
        try:
            return await self._put(resident, wanted, expected_version, caller)
        except _StaleError as error:
            raise Refusal("stale") from error

    async def _put(self, resident: str, wanted: Sequence[Choice], expected_version: int, caller: Caller) -> ChoiceSet:
        async with self._residents.alone(resident):
            current = await self.get(resident)
            if current.version != expected_version:
                raise _StaleError
            changed = self._next(current, wanted, caller)
            self._check(changed, wanted, await self._directory.now())
            kept = await self._keep(resident, changed, caller)
        self._reach("choices-committed")
        deliveries = await self.replan(resident)
        self._reach("replan-committed")
        self._log("choices_changed", resident=resident, version=kept.version, deliveries=deliveries)
        return kept

    async def add(self, resident: str, choice: Choice, caller: Caller) -> tuple[ChoiceSet, Choice]:
        """Add one choice; return the new set and the choice as it was kept. Raises Refusal."""
        kept = await self._edited(resident, lambda choices: (*choices, replace(choice, id="")), caller)
        return kept, kept.choices[-1]

    async def change(self, resident: str, choice: Choice, version: int, caller: Caller) -> tuple[ChoiceSet, Choice]:
        """Make this the choice with its id, when that is still at `version`; return the new set and the choice as it was kept.

        Raises Refusal: not-found, stale, document.
        """

        def changed(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
            _require(choices, choice.id, version)
            return tuple(choice if each.id == choice.id else each for each in choices)

        kept = await self._edited(resident, changed, caller)
        return kept, next(each for each in kept.choices if each.id == choice.id)

    async def withdraw(self, resident: str, choice_id: str, caller: Caller, version: int | None = None) -> ChoiceSet:
        """Withdraw one choice, with `version` only when it is still at that. Raises Refusal: not-found, stale."""

        def without(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
            _require(choices, choice_id, version)
            return tuple(choice for choice in choices if choice.id != choice_id)

        return await self._edited(resident, without, caller)

    async def _edited(
        self, resident: str, edit: Callable[[tuple[Choice, ...]], tuple[Choice, ...]], caller: Caller
    ) -> ChoiceSet:
        """Edit the set as it is now, and again when somebody else was first."""
        for _ in range(EDITS):
            current = await self.get(resident)
            with suppress(_StaleError):
                return await self._put(resident, edit(current.choices), current.version, caller)
        raise Refusal("busy")

    async def replan(self, resident: str) -> int:
        """Plan what a resident's choices, as they are now, change for the resident's plans; return how many deliveries."""
        looked_at = self._clock.now()
        count = 0
        for row in await self._store.read(lambda tx: plan_rows.plans_of_resident(tx, resident)):
            count += await self._replan_plan(row.id)
        await self._store.write(lambda tx: rows.remove_wakeups(tx, resident, looked_at))
        if count:
            self._nudge()
        return count

    def _next(self, current: ChoiceSet, wanted: Sequence[Choice], caller: Caller) -> tuple[Choice, ...]:
        """Give new choices an id, and everything that changed the new version; what is the same keeps its own."""
        known = {choice.id: choice for choice in current.choices}
        made = []
        for position, choice in enumerate(wanted):
            if choice.id and choice.id not in known:
                raise refusal("document", f"/choices/{position}/id", "leave id out for a new choice")
            before = known.get(choice.id)
            after = replace(
                choice,
                id=choice.id or self._clock.new_id(),
                version=before.version if before else 0,
                recorded_by=caller.client.client_id if choice.recorded_by is None else choice.recorded_by,
            )
            made.append(after if after == before else replace(after, version=current.version + 1))
        return tuple(made)

    def _check(self, changed: Sequence[Choice], wanted: Sequence[Choice], snapshot: Snapshot) -> None:
        entries = frozenset(snapshot.entries)
        findings: list[Finding] = []
        try:
            check_choices(changed, entries)
        except ConsentError as error:
            findings += error.findings
        for position, choice in enumerate(wanted):
            if says_nothing(choice.evidence):
                remedy = "say what shows that the resident chose this, such as a signed form's number or a conversation's date"
                findings.append(Finding(pointer=f"/choices/{position}/evidence", code="evidence", remedy=remedy))
        if findings:
            raise Refusal("document", findings)

    async def _keep(self, resident: str, choices: tuple[Choice, ...], caller: Caller) -> ChoiceSet:
        version = (await self.get(resident)).version + 1
        row = ChoicesRow(
            resident=resident,
            version=version,
            body=await self._vault.seal_choices(resident, version, choices),
            at=self._clock.now(),
            changed_by=caller.client.client_id,
        )
        moments = [row.at, *self._edges(choices)]
        names = [choice.id for choice in choices]
        async with self._few:
            kept = await self._store.write(
                partial(_kept, row=row, names=names, moments=moments, mark=self._clock.new_id(), reach=self._reach)
            )
        if not kept:
            raise _StaleError
        return ChoiceSet(version=version, choices=choices)

    def _edges(self, choices: Iterable[Choice]) -> list[datetime]:
        days = days_of_change(choices, (), amsterdam_day(self._clock.now()))
        return [datetime.combine(day, time.min, AMSTERDAM) for day in days]

    async def _replan_plan(self, plan_id: str) -> int:
        while True:
            plan = await self._sight.load(plan_id)
            if plan is None:
                return 0
            snapshot = await self._directory.now()
            choices = await self._sight.choices_of(plan.residents)
            looks = [(lane, await self._look(plan, lane)) for lane in lanes_of(plan, snapshot, choices)]
            count = await self._store.write(partial(self._apply, plan=plan, looks=looks))
            if count is not None:
                return count

    async def _look(self, plan: SupportPlan, lane: Lane) -> Look:
        return await self._sight.look(plan, Reader(recipient=lane.entry.recipient(), purpose=lane.purpose))

    def _apply(self, tx: Transaction, plan: SupportPlan, looks: Sequence[tuple[Lane, Look]]) -> int | None:
        """In one transaction: stop what may no longer go, plan what may go now. None: something changed, look again."""
        now = self._clock.now()
        lock(tx, "choices", *plan.residents, shared=True)
        lock(tx, "plan", plan.id)
        row = plan_rows.plan_by_id(tx, plan.id)
        if (
            row is None
            or row.version != plan.version
            or not all(self._sight.still_holds(tx, look) for _, look in looks)
        ):
            return None
        concerned, pending = {(lane.entry.id, lane.name) for lane, _ in looks}, lane_rows.pending_lanes(tx, plan.id)
        lock_lanes(tx, [(plan.id, *lane) for lane in concerned | pending])
        for recipient, lane_name in pending - concerned:
            if recipient == plan.source:
                continue  # what another wrote goes to who made the plan, whatever is chosen
            lane_rows.end_pending(tx, plan.id, recipient, lane_name, state="withheld", reason="no-choice", now=now)
        count = sum(self._apply_lane(tx, plan, lane, look, now) for lane, look in looks)
        self._reach("replan-written")
        return count

    def _apply_lane(self, tx: Transaction, plan: SupportPlan, lane: Lane, look: Look, now: datetime) -> int:
        plan_id, recipient = plan.id, lane.entry.id
        if look.plan is None:
            views.end(tx, plan_id, look.reader.key)
            lane_rows.end_pending(tx, plan_id, recipient, lane.name, state="withheld", reason=look.reason, now=now)
            return 0
        pending = lane_rows.pending_in_lane(tx, plan_id, recipient, lane.name)
        if any(row.parts is None or look.permitted <= row.parts for row in pending):
            return 0
        fresh = planned(plan, lane, self._clock, now)
        _, state = self._sight.stamped(tx, look)
        if not pending and lane_rows.lane_state(tx, fresh).last_view == state.version:
            return 0
        lane_rows.end_pending(tx, plan_id, recipient, lane.name, state="superseded", reason="newer-version", now=now)
        delivery_rows.add_deliveries(tx, [fresh])
        return 1


def _require(choices: Iterable[Choice], choice_id: str, version: int | None) -> None:
    """Raise Refusal when there is no such choice, or it is at another version than this one."""
    found = next((choice for choice in choices if choice.id == choice_id), None)
    if found is None:
        raise Refusal("not-found")
    if version not in {None, found.version}:
        raise Refusal("stale")


def _kept(
    tx: Transaction, row: ChoicesRow, names: Iterable[str], moments: Iterable[datetime], mark: str, reach: Reach
) -> bool:
    visible.hold_readers(tx)
    lock(tx, "resident", row.resident)
    lock(tx, "choices", row.resident)
    if not rows.add_choices(tx, row):
        return False
    rows.name_choices(tx, row.resident, names)
    visible.mark_residents(tx, [row.resident], mark)
    rows.add_wakeups(tx, [(row.resident, moment) for moment in moments])
    reach("choices-written")
    return True
