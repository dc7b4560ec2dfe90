"""Deliveries: each a row with a state, a reason and a next moment. The database owns truth and schedule; the broker moves ids.

`due_at` is when somebody must look again: at once, after a back-off, or when a lease ends because a process died.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import String, and_, bindparam, func, insert, or_, select, update

from gateway.store import sequences
from gateway.store.engine import Transaction
from gateway.store.receipts import has_left
from gateway.store.statements import is_any, one_of
from gateway.store.tables import delivery, plan, receipt

Move = Callable[[Transaction, str, datetime], bool]
"""(transaction, delivery id, now) → whether the delivery was in a state for it."""

PENDING = ("planned", "queued", "waiting")

STOPS = 8
"""How often a stop looks again at a delivery that moves under its hands."""

NOTIFIED = "notified"
PULLED = "pulled"
"""Reasons of a delivery that is `sent` and waits for its recipient to pull, or to confirm what it pulled (`gateway.store.pulls`)."""

_THESE = select(delivery).where(one_of(delivery.c.id, "ids"))
_BEGIN = (
    update(delivery)
    .where(delivery.c.id == bindparam("key"))
    .values(
        state="sent",
        reason=None,
        sequence=bindparam("number"),
        attempts=bindparam("count"),
        due_at=bindparam("lease"),
        parts=bindparam("carried"),
        view_version=bindparam("view"),
        receipt=bindparam("slip"),
        updated_at=bindparam("now"),
    )
)
_MOVE = (
    update(delivery)
    .where(delivery.c.id == bindparam("key"), delivery.c.state == bindparam("was"))
    .values(
        state=bindparam("to"),
        reason=bindparam("why"),
        due_at=bindparam("at"),
        next_attempt_at=bindparam("at"),
        updated_at=bindparam("now"),
    )
)
_RESTORE_RECEIPT = (
    update(delivery)
    .where(delivery.c.id == bindparam("key"))
    .values(receipt=select(func.max(receipt.c.id)).where(receipt.c.delivery == delivery.c.id).scalar_subquery())
)
_RETRY = (
    update(delivery)
    .where(delivery.c.id == bindparam("key"), is_any(delivery.c.state, ("parked", "waiting")))
    .values(
        state="planned",
        reason=None,
        attempts=0,
        due_at=bindparam("now"),
        next_attempt_at=None,
        updated_at=bindparam("now"),
    )
)
_BY_STATE = select(delivery.c.state, func.count()).group_by(delivery.c.state)
_ADD = insert(delivery)
_OF_ITS_PLANS = delivery.c.plan.in_(select(plan.c.id).where(plan.c.source == bindparam("viewer")))
_PAGE = (
    select(delivery)
    .where(
        delivery.c.id > bindparam("after"),
        *(
            or_(bindparam(name, type_=String()).is_(None), column == bindparam(name, type_=String()))
            for name, column in (
                ("of_plan", delivery.c.plan),
                ("to", delivery.c.recipient),
                ("in_state", delivery.c.state),
            )
        ),
        or_(
            bindparam("viewer", type_=String()).is_(None),
            _OF_ITS_PLANS,
            and_(delivery.c.recipient == bindparam("viewer"), delivery.c.sequence.is_not(None)),
        ),
    )
    .order_by(delivery.c.id)
    .limit(bindparam("most"))
)


class DeliveryRow(Struct, frozen=True, kw_only=True):
    """One delivery. `parts` are the part ids of its first attempt: later ones may narrow, never widen."""

    id: str
    plan: str
    plan_version: int
    recipient: str
    lane: str
    adapter: str
    created_at: datetime
    updated_at: datetime
    state: str = "planned"
    reason: str | None = None
    sequence: int | None = None
    attempts: int = 0
    due_at: datetime | None = None
    next_attempt_at: datetime | None = None
    parts: frozenset[str] | None = None
    view_version: int | None = None
    receipt: str | None = None


class Beginning(Struct, frozen=True, kw_only=True):
    """A delivery that is being sent from now on: the parts that it may carry at most, its view, its receipt and its number."""

    row: DeliveryRow
    parts: frozenset[str]
    view_version: int
    receipt: str
    number: int


def add_deliveries(tx: Transaction, rows: Sequence[DeliveryRow]) -> None:
    """Plan deliveries; what was pending in their lanes has been ended before."""
    if rows:
        tx.execute(_ADD, [_to_columns(row) for row in rows])


def get_deliveries(tx: Transaction, delivery_ids: Iterable[str]) -> dict[str, DeliveryRow]:
    """Return deliveries by id; unknown ones are absent."""
    return {row.id: to_row(row) for row in tx.execute(_THESE, {"ids": delivery_ids})}


def get_delivery(tx: Transaction, delivery_id: str) -> DeliveryRow | None:
    """Return one delivery, or None."""
    return get_deliveries(tx, [delivery_id]).get(delivery_id)


def begin(tx: Transaction, beginnings: Sequence[Beginning], *, lease_until: datetime, now: datetime) -> None:
    """Mark deliveries as being sent, under the sequence numbers that they keep."""
    if beginnings:
        tx.execute(_BEGIN, [_begun(each, lease_until, now) for each in beginnings])


def finish(tx: Transaction, row: DeliveryRow, *, state: str, reason: str | None, now: datetime) -> bool:
    """End a delivery that is still in the state of `row`; False when somebody else has moved it meanwhile, and it stays as it is.

    One of which nothing left gives its sequence number back, so that the recipient sees no gap. A number under which bytes may have
    left is never used again: the recipient may know it.
    """
    moved = tx.execute(_MOVE, _moved(row.id, row.state, state, reason, None, now)).rowcount
    if moved and row.sequence is not None and state != "acknowledged" and not has_left(tx, row.id):
        sequences.give_back(tx, row.id, row.recipient, row.sequence)
    return bool(moved)


def acknowledge(tx: Transaction, delivery_ids: Iterable[str], now: datetime) -> None:
    """End deliveries that were sent and receipted."""
    rows = [_moved(key, "sent", "acknowledged", None, None, now) for key in delivery_ids]
    if rows:
        tx.execute(_MOVE, rows)


def wait(tx: Transaction, row: DeliveryRow, *, reason: str, until: datetime, now: datetime) -> None:
    """Try again at `until`, unless somebody else has moved the delivery meanwhile."""
    tx.execute(_MOVE, _moved(row.id, row.state, "waiting", reason, until, now))


def restore_receipt(tx: Transaction, delivery_id: str) -> None:
    """Nothing left this time: the delivery has the receipt of the last attempt that something left with, or none."""
    tx.execute(_RESTORE_RECEIPT, {"key": delivery_id})


def retry(tx: Transaction, delivery_id: str, now: datetime) -> bool:
    """Let a parked or waiting delivery go at once, with its attempts counted anew; False in another state."""
    return bool(tx.execute(_RETRY, {"key": delivery_id, "now": now}).rowcount)


def stop(tx: Transaction, delivery_id: str, now: datetime) -> bool:
    """Park a delivery that is pending, being sent, or notified; False in another state.

    What the send that is under way sees later settles its receipt only: the row has left the state in which it would listen.
    """
    for _ in range(STOPS):
        row = get_delivery(tx, delivery_id)
        if row is None or row.state not in (*PENDING, "sent"):
            return False
        if finish(tx, row, state="parked", reason="stopped", now=now):
            return True
    return False


def take_back(tx: Transaction, row: DeliveryRow) -> None:
    """A stopped send turned out not to have left: its receipt is gone, and if nothing ever left, its number goes back too."""
    restore_receipt(tx, row.id)
    if row.state == "parked" and row.sequence is not None and not has_left(tx, row.id):
        sequences.give_back(tx, row.id, row.recipient, row.sequence)


def count_by_state(tx: Transaction) -> dict[str, int]:
    """Return how many deliveries are in each state."""
    return {row[0]: row[1] for row in tx.execute(_BY_STATE)}


def list_deliveries(
    tx: Transaction,
    *,
    plan_id: str | None,
    recipient: str | None,
    state: str | None,
    viewer: str | None,
    after: str,
    limit: int,
) -> tuple[DeliveryRow, ...]:
    """Return deliveries in the order of their ids, `after` left out.

    `viewer` limits them to what an organisation may know of: those of its plans, and as a recipient those with a sequence number.
    """
    asked = {"of_plan": plan_id, "to": recipient, "in_state": state, "viewer": viewer, "after": after, "most": limit}
    return tuple(to_row(row) for row in tx.execute(_PAGE, asked))


def _moved(key: str, was: str, to: str, why: str | None, at: datetime | None, now: datetime) -> dict[str, Any]:
    return {"key": key, "was": was, "to": to, "why": why, "at": at, "now": now}


def _begun(each: Beginning, lease_until: datetime, now: datetime) -> dict[str, Any]:
    row = each.row
    return {
        "key": row.id,
        "number": each.number,
        "count": row.attempts + 1,
        "lease": lease_until,
        "carried": as_text(row.parts & each.parts if row.parts is not None else each.parts),
        "view": each.view_version,
        "slip": each.receipt,
        "now": now,
    }


_PARTS = msgspec.json.Decoder(frozenset[str])


def as_text(parts: frozenset[str] | None) -> str | None:
    """Return part ids as they stand in a row."""
    return None if parts is None else msgspec.json.encode(sorted(parts)).decode()


def _to_columns(row: DeliveryRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__} | {"parts": as_text(row.parts)}


def to_row(row: Any) -> DeliveryRow:
    """Return a row of the table as a delivery."""
    return from_values(row._asdict())


def from_values(values: dict[str, Any]) -> DeliveryRow:
    """Return the values of a row of the table as a delivery."""
    parts = values.pop("parts")
    return DeliveryRow(**values, parts=None if parts is None else _PARTS.decode(parts))
