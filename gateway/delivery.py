"""One attempt at one delivery: decide at the last moment, send, and settle by the outcome table.

pending → withheld (nothing to see) · unchanged (same view) · superseded (a newer one is planned)
        → sent → acknowledged | waiting → … → parked
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Literal

from msgspec import Struct

from adapters.interface import Answer, Parcel, Send
from gateway.clock import Clock
from gateway.directory import Directory, Lane
from gateway.failpoints import Reach
from gateway.locks import LaneLocks, RecipientGates, ResidentLocks
from gateway.logs import Log
from gateway.outcomes import Outcome, next_wait, outcome_of
from gateway.render import Renderer, UnknownFormatError
from gateway.seal import sha256_hex
from gateway.sight import Loaded, Look, Reader, Sight
from gateway.store import deliveries as rows
from gateway.store import directory as directory_rows
from gateway.store import pulls, receipts, views
from gateway.store.deliveries import PENDING, DeliveryRow
from gateway.store.engine import Store, Transaction
from gateway.store.locks import lock
from gateway.store.receipts import ReceiptRow

LEASE_SLACK_SECONDS = 10
BUSY_SECONDS = 1
SENDS_PER_RECIPIENT = 8
WAITING_PER_RECIPIENT = 64
WAKES = 512
"""Deliveries in hand at once: several dead recipients must fit beside the living."""

LOOKS = 16

Begun = Parcel | Literal["ended", "look-again"]
"""A parcel to send; or the delivery ended without one; or something changed since the look."""


class LookError(Exception):
    """Whatever was looked at changed again and again; the lease brings the delivery back."""


class Attempt(Struct, frozen=True, kw_only=True):
    """What an attempt looked at, and what must still hold when it begins to send."""

    delivery: str
    lane: Lane
    look: Look
    directory_version: int
    receipt: str
    ticks: float

    @property
    def lane_key(self) -> str:
        """The name of the lane between processes."""
        return f"{self.look.loaded.plan.id}/{self.lane.entry.id}/{self.lane.name}"


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
        reach: Reach,
    ) -> None:
        self._store = store
        self._sight = sight
        self._directory = directory
        self._renderer = renderer
        self._senders = senders
        self._residents = residents
        self._lanes = LaneLocks()
        self._gates = RecipientGates(at_once=SENDS_PER_RECIPIENT, waiting=WAITING_PER_RECIPIENT)
        self._clock = clock
        self._log = log
        self._retry_seconds = retry_seconds
        self._reach = reach
        self._receipt_deadline = timedelta(seconds=receipt_deadline_seconds)
        self._lease = timedelta(seconds=send_timeout_seconds + LEASE_SLACK_SECONDS)

    async def attempt(self, delivery_id: str) -> None:
        """Attempt one delivery, whatever the broker says: a double or late wake-up finds nothing to do.

        An error on the way leaves the row to its lease: not sent, and looked at again.
        """
        row = await self._pending(delivery_id)
        if row is None:
            return
        if self._gates.crowded(row.recipient):
            await self._store.write(partial(self._come_back, row=row))
            return
        lane = f"{row.plan}/{row.recipient}/{row.lane}"
        async with self._gates.through(row.recipient), self._lanes.hold(lane):
            row = await self._pending(delivery_id)
            if row is None:
                return
            try:
                await self._attempt(row)
            except Exception as error:
                self._log("delivery_failed", delivery=delivery_id, error=type(error).__name__)
                raise

    def _come_back(self, tx: Transaction, row: DeliveryRow) -> None:
        now = self._clock.now()
        rows.wait(tx, row, reason="recipient-busy", until=now + timedelta(seconds=BUSY_SECONDS), now=now)

    async def _pending(self, delivery_id: str) -> DeliveryRow | None:
        row = await self._store.read(lambda tx: rows.get_delivery(tx, delivery_id))
        return row if row and row.state in PENDING else None

    async def _attempt(self, row: DeliveryRow) -> None:
        loaded = await self._sight.load(row.plan, row.plan_version)
        if loaded is None:
            await self._end(row, "parked", "internal")
            return
        async with self._residents.shared(loaded.plan.residents) as let_go:
            begun = await self._begin(row, loaded)
            if begun is None:
                return
            attempt, parcel = begun
            self._reach("delivery-begun")
            answer = await self._senders[row.adapter](parcel, let_go)
        self._reach("delivery-sent")
        await self._settle(attempt, answer)
        self._reach("delivery-settled")

    async def _begin(self, row: DeliveryRow, loaded: Loaded) -> tuple[Attempt, Parcel] | None:
        """Look, and begin to send what was seen; look again when anything changed in between. None: nothing to send."""
        for _ in range(LOOKS):
            attempt = await self._look(row, loaded)
            if attempt is None:
                await self._end(row, "parked", "endpoint-gone")
                return None
            self._reach("delivery-looked")
            try:
                begun = await self._store.write(partial(self._begun, attempt=attempt))
            except UnknownFormatError:
                await self._end(row, "parked", "format-unknown")
                return None
            if isinstance(begun, Parcel):
                return attempt, begun
            if begun == "ended":
                return None
        raise LookError

    async def _look(self, row: DeliveryRow, loaded: Loaded) -> Attempt | None:
        snapshot = await self._directory.now()
        lane = snapshot.lane(row.recipient, row.lane)
        if lane is None:
            return None
        reader = Reader(recipient=lane.entry.recipient(), purpose=lane.purpose)
        return Attempt(
            delivery=row.id,
            lane=lane,
            look=await self._sight.look(loaded, reader, within=row.parts),
            directory_version=snapshot.version,
            receipt=self._clock.new_id(),
            ticks=self._clock.ticks(),
        )

    def _begun(self, tx: Transaction, attempt: Attempt) -> Begun:
        """In one transaction: check that the look still holds, count the view, take the number, write the receipt."""
        now, look = self._clock.now(), attempt.look
        lock(tx, "resident", *look.choice_versions, shared=True)
        lock(tx, "lane", attempt.lane_key)
        row = rows.get_delivery(tx, attempt.delivery)
        if row is None or row.state not in PENDING:
            return "ended"
        lane = rows.lane_state(tx, row)
        if lane.newest != row.id and (row.sequence is None or lane.newest_pending == row.id):
            return self._ended(tx, row, "superseded", "newer-version")
        if lane.in_flight is not None or lane.newest != row.id:
            rows.wait(tx, row, reason="lane-busy", until=now + timedelta(seconds=BUSY_SECONDS), now=now)
            return "ended"
        if not self._sight.still_holds(tx, look) or directory_rows.directory_version(tx) != attempt.directory_version:
            return "look-again"
        if look.plan is None:
            views.end(tx, row.plan, look.reader.key)
            self._end_lane(tx, row, look.reason)
            return self._ended(tx, row, "withheld", look.reason)
        view, state = self._sight.stamped(tx, look)
        needed = rows.yield_to(tx, row, state.version, now)
        if not needed or lane.delivered_view == state.version:
            return self._ended(tx, row, "unchanged", "same-view")
        if attempt.lane.is_pulled and row.attempts > len(self._retry_seconds):
            return self._ended(tx, row, "parked", "no-receipt")
        body, content_type = self._renderer.render(view, attempt.lane.endpoint.format)
        views.disclose(tx, row.plan, look.reader.key, look.fingerprint, state)
        number = rows.begin_send(
            tx,
            row,
            parts=look.permitted,
            view_version=state.version,
            receipt=attempt.receipt,
            lease_until=now + self._lease,
            now=now,
        )
        sha256 = sha256_hex(body)
        if not attempt.lane.is_pulled:  # a notification discloses nothing: the pull has the receipt
            receipts.add_receipt(tx, _receipt(row, attempt, state.version, sha256, self._clock))
        self._reach("delivery-written")
        return Parcel(
            delivery_id=row.id,
            url=attempt.lane.address,
            body=body,
            content_type=content_type,
            sequence=number,
            sha256=sha256,
        )

    def _ended(self, tx: Transaction, row: DeliveryRow, state: str, reason: str) -> Begun:
        rows.finish(tx, row, state=state, reason=reason, now=self._clock.now())
        self._say(row, Outcome(state, reason), row.attempts)
        return "ended"

    def _end_lane(self, tx: Transaction, row: DeliveryRow, reason: str) -> None:
        """What is no longer permitted is not permitted in an older delivery either."""
        for found in rows.pending_in_lane(tx, row.plan, row.recipient, row.lane):
            if found.id != row.id:
                self._ended(tx, found, "withheld", reason)

    async def _end(self, row: DeliveryRow, state: str, reason: str) -> Begun:
        return await self._store.write(lambda tx: self._ended(tx, row, state, reason))

    async def _settle(self, attempt: Attempt, answer: Answer) -> None:
        row, outcome = await self._store.write(lambda tx: self._settled(tx, attempt, answer))
        self._say(row, outcome, row.attempts, answer.status, self._clock.ticks() - attempt.ticks)

    def _settled(self, tx: Transaction, attempt: Attempt, answer: Answer) -> tuple[DeliveryRow, Outcome]:
        """In one transaction: what the answer makes of the delivery, and of the receipt of what left."""
        outcome, now = outcome_of(answer), self._clock.now()
        if answer.left:
            receipts.settle_receipt(tx, attempt.receipt, outcome.reason or outcome.state)
        else:
            receipts.drop_receipt(tx, attempt.receipt)
        row = rows.get_delivery(tx, attempt.delivery)
        assert row is not None  # noqa: S101 - deliveries are never deleted
        if row.state != "sent" or row.receipt != attempt.receipt:
            return row, Outcome(row.state, row.reason)
        delay = next_wait(row.attempts, self._retry_seconds, answer.retry_after_seconds)
        if outcome.state == "waiting" and delay is None:
            outcome = Outcome("parked", "attempts-used")
        if outcome.state == "waiting" and delay is not None:
            rows.wait(tx, row, reason=outcome.reason or "", until=now + delay, now=now)
        elif outcome.state == "sent":
            pulls.notified(tx, row, deadline=now + self._receipt_deadline, now=now)
        else:
            rows.finish(tx, row, state=outcome.state, reason=outcome.reason, now=now)
        if not answer.left:
            rows.restore_receipt(tx, row.id)
        self._reach("delivery-settling")
        return row, outcome

    def _say(
        self, row: DeliveryRow, outcome: Outcome, attempt: int, status: int | None = None, seconds: float = 0
    ) -> None:
        self._log(
            "delivery_settled",
            delivery=row.id,
            recipient=row.recipient,
            adapter=row.adapter,
            state=outcome.state,
            reason=outcome.reason,
            status=status,
            attempt=attempt,
            seconds=round(seconds, 6),
        )


def _receipt(row: DeliveryRow, attempt: Attempt, view_version: int, sha256: str, clock: Clock) -> ReceiptRow:
    return ReceiptRow(
        id=attempt.receipt,
        exit="delivery",
        delivery=row.id,
        recipient=row.recipient,
        plan=row.plan,
        plan_version=row.plan_version,
        view_version=view_version,
        sha256=sha256,
        endpoint=sha256_hex(attempt.lane.address.encode()),
        refused=False,
        code="begun",
        at=clock.now(),
        parts=attempt.look.lines(),
    )
