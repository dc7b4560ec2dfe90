"""Deliveries: each a row with a state, a reason and a next moment. The database owns truth and schedule; the broker moves ids.

A lane is one endpoint of one recipient, for one plan: only its newest delivery is alive, and one is in flight at a time.
`due_at` is when somebody must look again: at once, after a back-off, or when a lease ends because a process died.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, and_, bindparam, case, func, insert, or_, select, update

from gateway.store import sequences
from gateway.store.receipts import has_left
from gateway.store.tables import delivery, plan, receipt

Move = Callable[[Connection, str, datetime], bool]
"""(transaction, delivery id, now) → whether the delivery was in a state for it."""

PENDING = ("planned", "queued", "waiting")

NOTIFIED = "notified"
PULLED = "pulled"
"""Reasons of a delivery that is `sent` and waits for its recipient to pull, or to confirm what it pulled (`gateway.store.pulls`)."""

ALIVE = (*PENDING, "sent", "acknowledged", "parked")
"""States that still count in their lane; the others have made room."""

_LANE = (
    delivery.c.plan == bindparam("lane_plan"),
    delivery.c.recipient == bindparam("lane_recipient"),
    delivery.c.lane == bindparam("lane_name"),
)
_OPEN = or_(delivery.c.state.in_(PENDING), and_(delivery.c.state == "sent", delivery.c.reason == NOTIFIED))
"""What can still be ended without that anything left: pending, or notified and not pulled."""

_YIELDS = or_(_OPEN, and_(delivery.c.state == "sent", delivery.c.reason == PULLED))
_ONE = select(delivery).where(delivery.c.id == bindparam("key"))
_PENDING_IN_LANE = select(delivery).where(*_LANE, _OPEN).order_by(delivery.c.id)
_YIELD_IN_LANE = select(delivery).where(*_LANE, _YIELDS).order_by(delivery.c.id)
_FOR_VERSION = update(delivery).where(delivery.c.id == bindparam("key")).values(plan_version=bindparam("version"))
_PENDING_LANES = select(delivery.c.recipient, delivery.c.lane).where(delivery.c.plan == bindparam("lane_plan"), _OPEN)
_LANE_STATE = select(
    func.max(case((delivery.c.state.in_(ALIVE), delivery.c.id))).label("newest"),
    func.max(case((delivery.c.state.in_(PENDING), delivery.c.id))).label("newest_pending"),
    func.max(case((delivery.c.state == "acknowledged", delivery.c.view_version))).label("delivered_view"),
    func.max(case((delivery.c.state.in_(("acknowledged", "sent")), delivery.c.view_version))).label("last_view"),
    func.max(case((and_(delivery.c.state == "sent", delivery.c.reason.is_(None)), delivery.c.id))).label("in_flight"),
).where(*_LANE)
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
    .where(delivery.c.id == bindparam("key"))
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
    .where(delivery.c.id == bindparam("key"), delivery.c.state.in_(("parked", "waiting")))
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


class LaneState(Struct, frozen=True, kw_only=True):
    """How a lane stands: its newest delivery, the view that was acknowledged last or may have left, and what is in flight."""

    newest: str | None
    newest_pending: str | None
    delivered_view: int | None
    last_view: int | None
    in_flight: str | None


def add_deliveries(tx: Connection, rows: Sequence[DeliveryRow]) -> None:
    """Plan deliveries; what was pending in their lanes has been ended before."""
    if rows:
        tx.execute(insert(delivery), [_to_columns(row) for row in rows])


def end_pending(
    tx: Connection, plan_id: str, recipient: str, lane: str, *, state: str, reason: str, now: datetime
) -> None:
    """End what is planned, queued or waiting in a lane. What is in flight ends by itself."""
    for found in pending_in_lane(tx, plan_id, recipient, lane):
        finish(tx, found, state=state, reason=reason, now=now)


def make_room(tx: Connection, plan_id: str, recipient: str, lane: str, now: datetime) -> None:
    """Supersede what has not begun in a lane. What has begun is known to its recipient: its successor settles it (`yield_to`)."""
    for found in pending_in_lane(tx, plan_id, recipient, lane):
        if found.sequence is None:
            finish(tx, found, state="superseded", reason="newer-version", now=now)


def yield_to(tx: Connection, row: DeliveryRow, view_version: int, now: datetime) -> bool:
    """Let the older deliveries of a lane yield to `row`, which would carry this view; say whether `row` is needed at all.

    An older one that carries the same view already stays, for the version of `row`: its recipient must not see that it was overtaken
    by something that changed nothing for it. What was notified or pulled, and not confirmed, yields as well: it must not hold up the rest.
    """
    in_lane = tx.execute(_YIELD_IN_LANE, _lane(row.plan, row.recipient, row.lane))
    older = [found for found in (_to_row(each) for each in in_lane) if found.id < row.id]
    same = [found for found in older if found.view_version == view_version]
    for found in older:
        if found not in same[-1:]:
            finish(tx, found, state="superseded", reason="newer-version", now=now)
    if same:
        tx.execute(_FOR_VERSION, {"key": same[-1].id, "version": row.plan_version})
    return not same


def pending_in_lane(tx: Connection, plan_id: str, recipient: str, lane: str) -> tuple[DeliveryRow, ...]:
    """Return what is planned, queued, waiting or notified in a lane, oldest first: what has begun, and what is to follow it."""
    return tuple(_to_row(row) for row in tx.execute(_PENDING_IN_LANE, _lane(plan_id, recipient, lane)))


def pending_lanes(tx: Connection, plan_id: str) -> frozenset[tuple[str, str]]:
    """Return (recipient, lane) of what is planned, queued, waiting or notified for a plan."""
    return frozenset((row.recipient, row.lane) for row in tx.execute(_PENDING_LANES, {"lane_plan": plan_id}))


def get_delivery(tx: Connection, delivery_id: str) -> DeliveryRow | None:
    """Return one delivery, or None."""
    row = tx.execute(_ONE, {"key": delivery_id}).one_or_none()
    return _to_row(row) if row else None


def lane_state(tx: Connection, row: DeliveryRow) -> LaneState:
    """Return how the lane of this delivery stands; ids made later sort later."""
    found = tx.execute(_LANE_STATE, _lane(row.plan, row.recipient, row.lane)).one()
    return LaneState(
        newest=found.newest,
        newest_pending=found.newest_pending,
        delivered_view=found.delivered_view,
        last_view=found.last_view,
        in_flight=found.in_flight,
    )


def begin_send(
    tx: Connection,
    row: DeliveryRow,
    *,
    parts: frozenset[str],
    view_version: int,
    receipt: str,
    lease_until: datetime,
    now: datetime,
) -> int:
    """Mark a delivery as being sent, and return its sequence number, which it gets now and keeps."""
    number = row.sequence or sequences.take(tx, row.recipient)
    asked = {
        "key": row.id,
        "number": number,
        "count": row.attempts + 1,
        "lease": lease_until,
        "carried": as_text(row.parts & parts if row.parts is not None else parts),
        "view": view_version,
        "slip": receipt,
        "now": now,
    }
    tx.execute(_BEGIN, asked)
    return number


def finish(tx: Connection, row: DeliveryRow, *, state: str, reason: str | None, now: datetime) -> None:
    """End a delivery. One of which nothing left gives its sequence number back, so that the recipient sees no gap.

    A number under which bytes may have left is never used again: the recipient may know it.
    """
    if row.sequence is not None and state != "acknowledged" and not has_left(tx, row.id):
        sequences.give_back(tx, row.id, row.recipient, row.sequence)
    tx.execute(_MOVE, {"key": row.id, "to": state, "why": reason, "at": None, "now": now})


def wait(tx: Connection, row: DeliveryRow, *, reason: str, until: datetime, now: datetime) -> None:
    """Try again at `until`."""
    tx.execute(_MOVE, {"key": row.id, "to": "waiting", "why": reason, "at": until, "now": now})


def restore_receipt(tx: Connection, delivery_id: str) -> None:
    """Nothing left this time: the delivery has the receipt of the last attempt that something left with, or none."""
    tx.execute(_RESTORE_RECEIPT, {"key": delivery_id})


def retry(tx: Connection, delivery_id: str, now: datetime) -> bool:
    """Let a parked or waiting delivery go at once, with its attempts counted anew; False in another state."""
    return bool(tx.execute(_RETRY, {"key": delivery_id, "now": now}).rowcount)


def stop(tx: Connection, delivery_id: str, now: datetime) -> bool:
    """Park a delivery that is pending, or notified and not pulled; False in another state."""
    row = get_delivery(tx, delivery_id)
    if row is None or not (row.state in PENDING or (row.state, row.reason) == ("sent", NOTIFIED)):
        return False
    finish(tx, row, state="parked", reason="stopped", now=now)
    return True


def count_by_state(tx: Connection) -> dict[str, int]:
    """Return how many deliveries are in each state."""
    return {row[0]: row[1] for row in tx.execute(_BY_STATE)}


def list_deliveries(
    tx: Connection,
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
    query = select(delivery).where(delivery.c.id > after).order_by(delivery.c.id).limit(limit)
    for column, wanted in ((delivery.c.plan, plan_id), (delivery.c.recipient, recipient), (delivery.c.state, state)):
        if wanted is not None:
            query = query.where(column == wanted)
    if viewer is not None:
        of_its_plans = delivery.c.plan.in_(select(plan.c.id).where(plan.c.source == viewer))
        query = query.where(or_(of_its_plans, and_(delivery.c.recipient == viewer, delivery.c.sequence.is_not(None))))
    return tuple(_to_row(row) for row in tx.execute(query))


def _lane(plan_id: str, recipient: str, lane: str) -> dict[str, str]:
    return {"lane_plan": plan_id, "lane_recipient": recipient, "lane_name": lane}


def as_text(parts: frozenset[str] | None) -> str | None:
    """Return part ids as they stand in a row."""
    return None if parts is None else json.dumps(sorted(parts))


def _to_columns(row: DeliveryRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__} | {"parts": as_text(row.parts)}


def _to_row(row: Any) -> DeliveryRow:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    parts = values.pop("parts")
    return DeliveryRow(**values, parts=None if parts is None else frozenset(json.loads(parts)))
