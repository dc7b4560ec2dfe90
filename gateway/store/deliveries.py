"""Deliveries: each a row with a state, a reason and a next moment. The database owns truth and schedule; the broker moves ids.

A lane is one endpoint of one recipient, for one plan: only its newest delivery is alive, and one is in flight at a time.
`due_at` is when somebody must look again: at once, after a back-off, or when a lease ends because a process died.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import String, and_, bindparam, case, func, insert, or_, select, update

from gateway.store import sequences
from gateway.store.directory import VERSION as DIRECTORY_VERSION
from gateway.store.engine import Transaction
from gateway.store.receipts import has_left
from gateway.store.statements import is_any, one_of
from gateway.store.tables import IS_PUT_OFF, delivery, free_sequence, plan, receipt

Move = Callable[[Transaction, str, datetime], bool]
"""(transaction, delivery id, now) → whether the delivery was in a state for it."""

PENDING = ("planned", "queued", "waiting")

PUT_OFF = "recipient-busy"
"""The reason of a delivery that waits until its recipient has room (`gateway.crowds`)."""

CALLED_BACK = 64
"""How many of them are taken again at a time."""

STOPS = 8
"""How often a stop looks again at a delivery that moves under its hands."""

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
_OPEN = or_(is_any(delivery.c.state, PENDING), and_(delivery.c.state == "sent", delivery.c.reason == NOTIFIED))
"""What can still be ended without that anything left: pending, or notified and not pulled."""

_YIELDS = or_(_OPEN, and_(delivery.c.state == "sent", delivery.c.reason == PULLED))
_THESE = select(delivery).where(one_of(delivery.c.id, "ids"))
_PENDING_IN_LANE = select(delivery).where(*_LANE, _OPEN).order_by(delivery.c.id)
_YIELD_IN_LANE = select(delivery).where(*_LANE, _YIELDS).order_by(delivery.c.id)
_FOR_VERSION = update(delivery).where(delivery.c.id == bindparam("key")).values(plan_version=bindparam("version"))
_PENDING_LANES = select(delivery.c.recipient, delivery.c.lane).where(delivery.c.plan == bindparam("lane_plan"), _OPEN)
_STATE_COLUMNS = (
    func.max(case((is_any(delivery.c.state, ALIVE), delivery.c.id))).label("newest"),
    func.max(case((is_any(delivery.c.state, PENDING), delivery.c.id))).label("newest_pending"),
    func.max(case((delivery.c.state == "acknowledged", delivery.c.view_version))).label("delivered_view"),
    func.max(case((is_any(delivery.c.state, ("acknowledged", "sent")), delivery.c.view_version))).label("last_view"),
    func.max(case((and_(delivery.c.state == "sent", delivery.c.reason.is_(None)), delivery.c.id))).label("in_flight"),
    func.count(case((_YIELDS, 1))).label("unsettled"),
)
_LANE_STATE = select(*_STATE_COLUMNS).where(*_LANE)
_LANES = (
    select(delivery.c.plan, delivery.c.recipient, delivery.c.lane, *_STATE_COLUMNS)
    .where(delivery.c.plan.in_(select(delivery.c.plan).where(one_of(delivery.c.id, "ids"))))
    .group_by(delivery.c.plan, delivery.c.recipient, delivery.c.lane)
    .subquery("lanes")
)
_GIVEN_BACK = select(func.count()).where(free_sequence.c.recipient == delivery.c.recipient).scalar_subquery()
_STANDING = (
    select(
        delivery,
        *(_LANES.c[column.name] for column in _STATE_COLUMNS),
        DIRECTORY_VERSION.scalar_subquery().label("directory_version"),
        _GIVEN_BACK.label("given_back"),
    )
    .join(
        _LANES,
        and_(
            _LANES.c.plan == delivery.c.plan,
            _LANES.c.recipient == delivery.c.recipient,
            _LANES.c.lane == delivery.c.lane,
        ),
    )
    .where(one_of(delivery.c.id, "ids"))
)
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
_PUT_OFF = (
    update(delivery)
    .where(one_of(delivery.c.id, "ids"), is_any(delivery.c.state, PENDING))
    .values(
        state="waiting",
        reason=PUT_OFF,
        due_at=bindparam("until"),
        next_attempt_at=bindparam("until"),
        updated_at=bindparam("now"),
    )
)
_NEXT_PUT_OFF = (
    select(delivery.c.id)
    .where(delivery.c.recipient == bindparam("who"), delivery.c.state == "waiting", IS_PUT_OFF)
    .order_by(delivery.c.id)
    .limit(bindparam("most"))
)
_CALL_BACK = (
    update(delivery)
    .where(delivery.c.id.in_(_NEXT_PUT_OFF))
    .values(due_at=bindparam("now"), next_attempt_at=bindparam("now"))
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


class LaneState(Struct, frozen=True, kw_only=True):
    """How a lane stands: its newest delivery, the view that was acknowledged last or may have left, what is in flight, and how many are
    pending, notified or pulled."""

    newest: str | None
    newest_pending: str | None
    delivered_view: int | None
    last_view: int | None
    in_flight: str | None
    unsettled: int


class Standing(Struct, frozen=True, kw_only=True):
    """A delivery in its lane, and what else must be known before it begins. `given_back`: numbers that its recipient may get again."""

    row: DeliveryRow
    lane: LaneState
    directory_version: int
    given_back: int


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


def end_pending(
    tx: Transaction, plan_id: str, recipient: str, lane: str, *, state: str, reason: str, now: datetime
) -> None:
    """End what is planned, queued or waiting in a lane. What is in flight ends by itself."""
    for found in pending_in_lane(tx, plan_id, recipient, lane):
        finish(tx, found, state=state, reason=reason, now=now)


def make_room(tx: Transaction, plan_id: str, recipient: str, lane: str, now: datetime) -> None:
    """Supersede what has not begun in a lane. What has begun is known to its recipient: its successor settles it (`yield_to`)."""
    for found in pending_in_lane(tx, plan_id, recipient, lane):
        if found.sequence is None:
            finish(tx, found, state="superseded", reason="newer-version", now=now)


def yield_to(tx: Transaction, row: DeliveryRow, view_version: int, now: datetime) -> bool:
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


def pending_in_lane(tx: Transaction, plan_id: str, recipient: str, lane: str) -> tuple[DeliveryRow, ...]:
    """Return what is planned, queued, waiting or notified in a lane, oldest first: what has begun, and what is to follow it."""
    return tuple(_to_row(row) for row in tx.execute(_PENDING_IN_LANE, _lane(plan_id, recipient, lane)))


def pending_lanes(tx: Transaction, plan_id: str) -> frozenset[tuple[str, str]]:
    """Return (recipient, lane) of what is planned, queued, waiting or notified for a plan."""
    return frozenset((row.recipient, row.lane) for row in tx.execute(_PENDING_LANES, {"lane_plan": plan_id}))


def get_deliveries(tx: Transaction, delivery_ids: Iterable[str]) -> dict[str, DeliveryRow]:
    """Return deliveries by id; unknown ones are absent."""
    return {row.id: _to_row(row) for row in tx.execute(_THESE, {"ids": delivery_ids})}


def get_delivery(tx: Transaction, delivery_id: str) -> DeliveryRow | None:
    """Return one delivery, or None."""
    return get_deliveries(tx, [delivery_id]).get(delivery_id)


def lane_state(tx: Transaction, row: DeliveryRow) -> LaneState:
    """Return how the lane of this delivery stands; ids made later sort later."""
    return LaneState(**tx.execute(_LANE_STATE, _lane(row.plan, row.recipient, row.lane)).one()._asdict())


def standings(tx: Transaction, delivery_ids: Iterable[str]) -> dict[str, Standing]:
    """Return how deliveries and their lanes stand, in one look."""
    return {row.id: _to_standing(row._asdict()) for row in tx.execute(_STANDING, {"ids": delivery_ids})}


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


def put_off(tx: Transaction, found: Sequence[DeliveryRow], *, until: datetime, now: datetime) -> None:
    """Let deliveries wait until their recipient has room, and until `until` at the latest."""
    tx.execute(_PUT_OFF, {"ids": [row.id for row in found], "until": until, "now": now})


def call_back(tx: Transaction, recipient: str, most: int, now: datetime) -> int:
    """Let what was put off for a recipient be taken again, the oldest first; return how many."""
    return tx.execute(_CALL_BACK, {"who": recipient, "most": most, "now": now}).rowcount


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
    return tuple(_to_row(row) for row in tx.execute(_PAGE, asked))


def _lane(plan_id: str, recipient: str, lane: str) -> dict[str, str]:
    return {"lane_plan": plan_id, "lane_recipient": recipient, "lane_name": lane}


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


def _to_row(row: Any) -> DeliveryRow:
    return _made(row._asdict())


def _made(values: dict[str, Any]) -> DeliveryRow:
    parts = values.pop("parts")
    return DeliveryRow(**values, parts=None if parts is None else _PARTS.decode(parts))


def _to_standing(values: dict[str, Any]) -> Standing:
    lane = LaneState(**{name: values.pop(name) for name in LaneState.__struct_fields__})
    others = {name: values.pop(name) for name in ("directory_version", "given_back")}
    return Standing(row=_made(values), lane=lane, **others)
