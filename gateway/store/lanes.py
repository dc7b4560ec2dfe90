"""Lanes: one endpoint of one recipient, for one plan. Only the newest delivery of a lane is alive, and one is in flight at a time."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import and_, bindparam, case, func, or_, select, tuple_, update

from gateway.store.deliveries import NOTIFIED, PENDING, PULLED, DeliveryRow, finish, from_values, to_row
from gateway.store.directory import VERSION as DIRECTORY_VERSION
from gateway.store.engine import Transaction
from gateway.store.statements import is_any, one_of
from gateway.store.tables import delivery, free_sequence

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
    .where(
        tuple_(delivery.c.plan, delivery.c.recipient, delivery.c.lane).in_(
            select(delivery.c.plan, delivery.c.recipient, delivery.c.lane).where(one_of(delivery.c.id, "ids"))
        )
    )
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
    older = [found for found in (to_row(each) for each in in_lane) if found.id < row.id]
    same = [found for found in older if found.view_version == view_version]
    for found in older:
        if found not in same[-1:]:
            finish(tx, found, state="superseded", reason="newer-version", now=now)
    if same:
        tx.execute(_FOR_VERSION, {"key": same[-1].id, "version": row.plan_version})
    return not same


def pending_in_lane(tx: Transaction, plan_id: str, recipient: str, lane: str) -> tuple[DeliveryRow, ...]:
    """Return what is planned, queued, waiting or notified in a lane, oldest first: what has begun, and what is to follow it."""
    return tuple(to_row(row) for row in tx.execute(_PENDING_IN_LANE, _lane(plan_id, recipient, lane)))


def pending_lanes(tx: Transaction, plan_id: str) -> frozenset[tuple[str, str]]:
    """Return (recipient, lane) of what is planned, queued, waiting or notified for a plan."""
    return frozenset((row.recipient, row.lane) for row in tx.execute(_PENDING_LANES, {"lane_plan": plan_id}))


def lane_state(tx: Transaction, row: DeliveryRow) -> LaneState:
    """Return how the lane of this delivery stands; ids made later sort later."""
    return LaneState(**tx.execute(_LANE_STATE, _lane(row.plan, row.recipient, row.lane)).one()._asdict())


def standings(tx: Transaction, delivery_ids: Iterable[str]) -> dict[str, Standing]:
    """Return how deliveries and their lanes stand, in one look."""
    return {row.id: _to_standing(row._asdict()) for row in tx.execute(_STANDING, {"ids": delivery_ids})}


def _lane(plan_id: str, recipient: str, lane: str) -> dict[str, str]:
    return {"lane_plan": plan_id, "lane_recipient": recipient, "lane_name": lane}


def _to_standing(values: dict[str, Any]) -> Standing:
    lane = LaneState(**{name: values.pop(name) for name in LaneState.__struct_fields__})
    others = {name: values.pop(name) for name in ("directory_version", "given_back")}
    return Standing(row=from_values(values), lane=lane, **others)
