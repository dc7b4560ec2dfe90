"""Settle what an attempt saw by the outcome table, and the receipt of what left with it. What is settled together is written together."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct

from adapters.interface import Answer
from gateway.batch import Batch
from gateway.beginning import Attempt
from gateway.clock import Clock
from gateway.failpoints import Reach
from gateway.outcomes import Outcome, next_wait, outcome_of
from gateway.store import deliveries as rows
from gateway.store import pulls, receipts
from gateway.store.deliveries import DeliveryRow
from gateway.store.engine import Store, Transaction

TOGETHER = 64
"""Deliveries that are settled in one transaction, at most."""


class Seen(Struct, frozen=True, kw_only=True):
    """An attempt and the answer that it got."""

    attempt: Attempt
    answer: Answer


class Settled(Struct, frozen=True, kw_only=True):
    """A delivery as it was, and what became of it. `moved` is False when somebody else had ended it meanwhile."""

    row: DeliveryRow
    outcome: Outcome
    moved: bool


class Settler:
    """Settles attempts."""

    def __init__(
        self, *, store: Store, clock: Clock, retry_seconds: tuple[float, ...], receipt_deadline: timedelta, reach: Reach
    ) -> None:
        self._store = store
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._receipt_deadline = receipt_deadline
        self._reach = reach
        self._batch = Batch(self._settle_together, most=TOGETHER)

    async def settle(self, attempt: Attempt, answer: Answer) -> Settled:
        """Settle one attempt, together with others that end at this moment."""
        return await self._batch.ask(Seen(attempt=attempt, answer=answer))

    async def _settle_together(self, seen: Sequence[Seen]) -> Sequence[Settled]:
        return await self._store.write(partial(self.settled, seen=seen))

    def settled(self, tx: Transaction, seen: Sequence[Seen]) -> list[Settled]:
        """In one transaction: what the answers make of the deliveries, and of the receipts of what left."""
        now = self._clock.now()
        found = rows.get_deliveries(tx, [each.attempt.delivery for each in seen])
        _settle_receipts(tx, seen)
        made = [self._judged(each, found[each.attempt.delivery]) for each in seen]
        moved = [(each, end) for each, end in zip(seen, made, strict=True) if end.moved]
        rows.acknowledge(tx, [end.row.id for _, end in moved if end.outcome.state == "acknowledged"], now)
        for each, end in moved:
            if end.outcome.state != "acknowledged":
                self._move(tx, end.row, end.outcome, each.answer, now)
        for each, end in zip(seen, made, strict=True):
            if not each.answer.left:
                self._take_back(tx, each.attempt, end)
        self._reach("delivery-settling")
        return made

    def _judged(self, each: Seen, row: DeliveryRow) -> Settled:
        """Return what becomes of a delivery; one that somebody stopped meanwhile stays as it is."""
        if row.state != "sent" or row.receipt != each.attempt.receipt:
            return Settled(row=row, outcome=Outcome(row.state, row.reason), moved=False)
        outcome = outcome_of(each.answer)
        if outcome.state == "waiting" and row.attempts > len(self._retry_seconds):
            outcome = Outcome("parked", "attempts-used")
        return Settled(row=row, outcome=outcome, moved=True)

    def _take_back(self, tx: Transaction, attempt: Attempt, end: Settled) -> None:
        """Nothing left: the delivery keeps its former receipt, and one that was stopped meanwhile gives its number back."""
        if not end.moved and end.row.receipt == attempt.receipt:
            rows.take_back(tx, end.row)
        else:
            rows.restore_receipt(tx, end.row.id)

    def _move(self, tx: Transaction, row: DeliveryRow, outcome: Outcome, answer: Answer, now: datetime) -> None:
        delay = next_wait(row.attempts, self._retry_seconds, answer.retry_after_seconds)
        if outcome.state == "waiting" and delay is not None:
            rows.wait(tx, row, reason=outcome.reason or "", until=now + delay, now=now)
        elif outcome.state == "sent":
            pulls.notified(tx, row, deadline=now + self._receipt_deadline, now=now)
        else:
            rows.finish(tx, row, state=outcome.state, reason=outcome.reason, now=now)


def _settle_receipts(tx: Transaction, seen: Sequence[Seen]) -> None:
    """Say of each receipt how it ended; one of which nothing left is no receipt."""
    outcomes = [(each, outcome_of(each.answer)) for each in seen if each.answer.left]
    receipts.settle_receipts(
        tx, [(each.attempt.receipt, outcome.reason or outcome.state) for each, outcome in outcomes]
    )
    for each in seen:
        if not each.answer.left:
            receipts.drop_receipt(tx, each.attempt.receipt)
