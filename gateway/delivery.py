"""One attempt at one delivery: decide at the last moment, send, and settle by the outcome table.

pending → withheld (nothing to see) · unchanged (same view) · superseded (a newer one is planned)
        → sent → acknowledged | waiting → … → parked
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Literal

from adapters.interface import Answer, Parcel, Send
from gateway.batch import Batch
from gateway.beginning import Attempt, Beginner, Ended
from gateway.clock import Clock
from gateway.crowds import Crowds, Gates
from gateway.directory import Directory
from gateway.failpoints import Reach
from gateway.locks import LaneLocks, ResidentLocks
from gateway.logs import Log
from gateway.outcomes import Outcome
from gateway.render import Renderer
from gateway.sending import Sends
from gateway.settling import Settled, Settler
from gateway.sight import Reader, Sight
from gateway.store import deliveries as rows
from gateway.store.deliveries import PENDING, DeliveryRow
from gateway.store.engine import Store, StoreError
from gateway.store.locks import lane_key
from mappings.plan import SupportPlan

LEASE_SLACK_SECONDS = 10
SENDS_PER_RECIPIENT = 8
WAITING_PER_RECIPIENT = 64
IN_HAND_PER_RECIPIENT = 256
WAKES = 1024
"""Deliveries in hand at once: several recipients that have just died must fit beside the living."""

LOOKS = 16
SETTLE_PAUSES_SECONDS = (0.1, 0.5, 1, 2, 4)


class LookError(Exception):
    """Whatever was looked at changed again and again; the lease brings the delivery back."""


class Deliverer:
    """Attempts deliveries."""

    def __init__(
        self,
        *,
        store: Store,
        sight: Sight,
        directory: Directory,
        renderer: Renderer,
        senders: Mapping[str, Send],
        residents: ResidentLocks,
        clock: Clock,
        log: Log,
        retry_seconds: tuple[float, ...],
        send_timeout_seconds: float,
        receipt_deadline_seconds: float,
        nudge: Callable[[], None],
        reach: Reach,
    ) -> None:
        self._store = store
        self._sight = sight
        self._directory = directory
        self._senders = senders
        self._residents = residents
        self._lanes = LaneLocks()
        self._sends = Sends()
        gates = Gates(
            at_once=SENDS_PER_RECIPIENT,
            waiting=WAITING_PER_RECIPIENT,
            most=IN_HAND_PER_RECIPIENT,
            ticks=clock.ticks,
        )
        self._crowds = Crowds(store=store, gates=gates, clock=clock, nudge=nudge)
        self._clock = clock
        self._log = log
        self._reach = reach
        self._rows = Batch(self._fetched, most=WAKES)
        self._beginner = Beginner(
            store=store,
            renderer=renderer,
            clock=clock,
            lease=timedelta(seconds=send_timeout_seconds + LEASE_SLACK_SECONDS),
            most_attempts=len(retry_seconds) + 1,
            reach=reach,
        )
        self._settler = Settler(
            store=store,
            clock=clock,
            retry_seconds=retry_seconds,
            receipt_deadline=timedelta(seconds=receipt_deadline_seconds),
            reach=reach,
        )

    async def attempt(self, delivery_id: str) -> None:
        """Attempt one delivery, whatever the broker says: a double or late wake-up finds nothing to do.

        An error on the way leaves the row to its lease: not sent, and looked at again.
        """
        row = await self._pending(delivery_id)
        if row is None or not await self._crowds.admits(row):
            return
        async with self._crowds.through(row.recipient), self._lanes.hold(lane_key(row.plan, row.recipient, row.lane)):
            try:
                await self._attempt_until_settled(row)
            except Exception as error:
                self._log("delivery_failed", delivery=delivery_id, error=type(error).__name__)
                raise

    def stop(self, delivery_id: str) -> None:
        """Free the lane of a delivery that was stopped, whatever its receiver does."""
        self._sends.stop(delivery_id)

    async def close(self) -> None:
        """Listen to nobody any more."""
        await self._sends.close()

    async def _fetched(self, ids: Sequence[str]) -> list[DeliveryRow | None]:
        found = await self._store.read(lambda tx: rows.get_deliveries(tx, ids))
        return [found.get(delivery_id) for delivery_id in ids]

    async def _pending(self, delivery_id: str) -> DeliveryRow | None:
        row = await self._rows.ask(delivery_id)
        return row if row and row.state in PENDING else None

    async def _attempt_until_settled(self, row: DeliveryRow) -> None:
        """Attempt, and again from the beginning when anything changed since it was looked at.

        The first time row, directory and choices may be as this process knows them: the transaction that begins finds out.
        """
        found: DeliveryRow | None = row
        for number in range(LOOKS):
            if found is None or await self._attempt(found, fresh=number > 0):
                return
            found = await self._pending(row.id)
        raise LookError

    async def _attempt(self, row: DeliveryRow, *, fresh: bool) -> bool:
        """Attempt once; False when something changed and must be looked at again."""
        plan = await self._sight.load(row.plan, row.plan_version)
        if plan is None:
            return await self._park(row, "internal")
        async with self._residents.shared(plan.residents) as let_go, self._sends.under_way(row.id) as stop:
            attempt = await self._look(row, plan, fresh=fresh)
            if attempt is None:
                return await self._park(row, "endpoint-gone")
            self._reach("delivery-looked")
            begun = await self._beginner.begin(attempt)
            if not isinstance(begun, Parcel):
                return self._ended(begun)
            self._reach("delivery-begun")
            send = partial(self._senders[row.adapter], begun)
            answer = await self._sends.answer(stop, send, let_go, partial(self._settle, attempt))
            if answer is None:
                return True
        self._reach("delivery-sent")
        await self._settle(attempt, answer)
        self._reach("delivery-settled")
        return True

    def _ended(self, begun: Ended | Literal["look-again"]) -> bool:
        """Say what ended without anything sent; False when it must be looked at again."""
        if begun == "look-again":
            return False
        for row, outcome in begun.outcomes:
            self._say(row, outcome)
        return True

    async def _settle(self, attempt: Attempt, answer: Answer) -> None:
        settled = await self._settled(attempt, answer)
        seconds = self._clock.ticks() - attempt.ticks
        self._say(settled.row, settled.outcome, status=answer.status, seconds=seconds)

    async def _settled(self, attempt: Attempt, answer: Answer) -> Settled:
        """Settle, and again while the database is away: what was answered is not sent again for that. The lease outlasts the pauses."""
        for pause_seconds in SETTLE_PAUSES_SECONDS:
            try:
                return await self._settler.settle(attempt, answer)
            except StoreError:
                await asyncio.sleep(pause_seconds)
        return await self._settler.settle(attempt, answer)

    async def _look(self, row: DeliveryRow, plan: SupportPlan, *, fresh: bool) -> Attempt | None:
        snapshot = await self._directory.now(fresh=fresh)
        lane = snapshot.lane(row.recipient, row.lane)
        if lane is None:
            return await self._look(row, plan, fresh=True) if not fresh else None
        reader = Reader(recipient=lane.entry.recipient(), purpose=lane.purpose)
        return Attempt(
            delivery=row.id,
            lane=lane,
            look=await self._sight.look(plan, reader, within=row.parts, fresh=fresh),
            within=row.parts,
            directory_version=snapshot.version,
            receipt=self._clock.new_id(),
            ticks=self._clock.ticks(),
        )

    async def _park(self, row: DeliveryRow, reason: str) -> bool:
        outcome, now = Outcome("parked", reason), self._clock.now()
        if await self._store.write(lambda tx: rows.finish(tx, row, state=outcome.state, reason=reason, now=now)):
            self._say(row, outcome)
        return True

    def _say(self, row: DeliveryRow, outcome: Outcome, *, status: int | None = None, seconds: float = 0) -> None:
        self._log(
            "delivery_settled",
            delivery=row.id,
            recipient=row.recipient,
            adapter=row.adapter,
            state=outcome.state,
            reason=outcome.reason,
            status=status,
            attempt=row.attempts,
            seconds=round(seconds, 6),
        )
