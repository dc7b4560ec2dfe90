"""Deliveries: each a row with a state, a reason and a next moment. The database owns truth and schedule; the broker moves ids.

A lane is one endpoint of one recipient, for one plan: only its newest delivery is alive, and one is in flight at a time.
`due_at` is when somebody must look again: at once, after a back-off, or when a lease ends because a process died.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from gateway.store.tables import delivery, free_sequence, plan, sequence
from gateway.store.upsert import insert_absent

Move = Callable[[Connection, str, datetime], bool]
"""(transaction, delivery id, now) → whether the delivery was in a state for it."""

PENDING = ("planned", "queued", "waiting")
OPEN = (*PENDING, "sent")


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


def add_delivery(tx: Connection, row: DeliveryRow) -> None:
    """Plan a delivery, and supersede what was pending in its lane."""
    end_pending(tx, row.plan, row.recipient, row.lane, state="superseded", reason="newer-version", now=row.created_at)
    values = {name: getattr(row, name) for name in row.__struct_fields__}
    tx.execute(insert(delivery).values(values | {"parts": _to_text(row.parts)}))


def end_pending(
    tx: Connection, plan_id: str, recipient: str, lane: str, *, state: str, reason: str, now: datetime
) -> tuple[str, ...]:
    """End what is planned, queued or waiting in a lane; return the ids. What is in flight ends by itself."""
    ids = tuple(
        tx.execute(
            select(delivery.c.id).where(*_lane(plan_id, recipient, lane), delivery.c.state.in_(PENDING))
        ).scalars()
    )
    for delivery_id in ids:
        finish(tx, delivery_id, state=state, reason=reason, now=now)
    return ids


def due(tx: Connection, now: datetime, limit: int) -> tuple[str, ...]:
    """Return what is due, oldest first, without taking it."""
    return tuple(tx.execute(_due(now, limit)).scalars())


def claim_due(tx: Connection, now: datetime, lease_until: datetime, limit: int) -> tuple[str, ...]:
    """Take deliveries that are due, for this process only; they come back when the lease ends."""
    ids = tuple(tx.execute(_due(now, limit).with_for_update(skip_locked=True)).scalars())
    if ids:
        tx.execute(
            update(delivery)
            .where(delivery.c.id.in_(ids))
            .values(state="queued", due_at=lease_until, next_attempt_at=None, updated_at=now)
        )
    return ids


def look_again(tx: Connection, ids: Iterable[str], at: datetime) -> None:
    """Let the relay take these again at `at`: the broker did not confirm them, or their lane was busy."""
    tx.execute(update(delivery).where(delivery.c.id.in_(list(ids)), delivery.c.state == "queued").values(due_at=at))


def get_delivery(tx: Connection, delivery_id: str) -> DeliveryRow | None:
    """Return one delivery, or None."""
    row = tx.execute(select(delivery).where(delivery.c.id == delivery_id)).one_or_none()
    return _row(row) if row else None


def newest_in_lane(tx: Connection, row: DeliveryRow) -> str:
    """Return the id of the lane's newest delivery: ids made later sort later."""
    return str(
        tx.execute(select(func.max(delivery.c.id)).where(*_lane(row.plan, row.recipient, row.lane))).scalar_one()
    )


def lane_in_flight(tx: Connection, row: DeliveryRow) -> bool:
    """Say whether another delivery of this lane is being sent."""
    condition = (*_lane(row.plan, row.recipient, row.lane), delivery.c.state == "sent", delivery.c.id != row.id)
    return tx.execute(select(delivery.c.id).where(*condition).limit(1)).first() is not None


def last_view(tx: Connection, row: DeliveryRow, states: tuple[str, ...] = ("acknowledged",)) -> int | None:
    """Return the view version that this lane has last, by deliveries in one of `states`."""
    condition = (*_lane(row.plan, row.recipient, row.lane), delivery.c.state.in_(states))
    version: int | None = tx.execute(select(func.max(delivery.c.view_version)).where(*condition)).scalar_one()
    return version


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
    number = row.sequence or _next_sequence(tx, row.recipient)
    tx.execute(
        update(delivery)
        .where(delivery.c.id == row.id)
        .values(
            state="sent",
            reason=None,
            sequence=number,
            attempts=row.attempts + 1,
            due_at=lease_until,
            parts=_to_text(row.parts & parts if row.parts is not None else parts),
            view_version=view_version,
            receipt=receipt,
            updated_at=now,
        )
    )
    return number


def finish(tx: Connection, delivery_id: str, *, state: str, reason: str | None, now: datetime) -> None:
    """End a delivery. One that never arrived gives its sequence number back, so that the recipient sees no gap."""
    if state in {"withheld", "unchanged", "superseded"}:
        _give_back(tx, delivery_id)
    values: dict[str, Any] = {
        "state": state,
        "reason": reason,
        "due_at": None,
        "next_attempt_at": None,
        "updated_at": now,
    }
    tx.execute(update(delivery).where(delivery.c.id == delivery_id).values(values))


def wait(tx: Connection, delivery_id: str, *, reason: str, until: datetime, now: datetime) -> None:
    """Try again at `until`."""
    values = {"state": "waiting", "reason": reason, "due_at": until, "next_attempt_at": until, "updated_at": now}
    tx.execute(update(delivery).where(delivery.c.id == delivery_id).values(values))


def forget_receipt(tx: Connection, delivery_id: str) -> None:
    """Nothing left after all: the delivery has no receipt."""
    tx.execute(update(delivery).where(delivery.c.id == delivery_id).values(receipt=None))


def retry(tx: Connection, delivery_id: str, now: datetime) -> bool:
    """Let a parked or waiting delivery go at once, with its attempts counted anew; False in another state."""
    condition = (delivery.c.id == delivery_id, delivery.c.state.in_(("parked", "waiting")))
    values = {
        "state": "planned",
        "reason": None,
        "attempts": 0,
        "due_at": now,
        "next_attempt_at": None,
        "updated_at": now,
    }
    return bool(tx.execute(update(delivery).where(*condition).values(values)).rowcount)


def stop(tx: Connection, delivery_id: str, now: datetime) -> bool:
    """Park a pending delivery; False when it is not pending."""
    condition = (delivery.c.id == delivery_id, delivery.c.state.in_(PENDING))
    values = {"state": "parked", "reason": "stopped", "due_at": None, "next_attempt_at": None, "updated_at": now}
    return bool(tx.execute(update(delivery).where(*condition).values(values)).rowcount)


def pending_lanes(tx: Connection, plan_id: str) -> frozenset[tuple[str, str]]:
    """Return (recipient, lane) of what is planned, queued or waiting for a plan."""
    query = select(delivery.c.recipient, delivery.c.lane).where(
        delivery.c.plan == plan_id, delivery.c.state.in_(PENDING)
    )
    return frozenset((row.recipient, row.lane) for row in tx.execute(query))


def pending_in_lane(tx: Connection, plan_id: str, recipient: str, lane: str) -> DeliveryRow | None:
    """Return what is planned, queued or waiting in a lane: one at most."""
    row = tx.execute(
        select(delivery).where(*_lane(plan_id, recipient, lane), delivery.c.state.in_(PENDING))
    ).one_or_none()
    return _row(row) if row else None


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
    return tuple(_row(row) for row in tx.execute(query))


def deliveries_of_version(tx: Connection, plan_id: str, version: int) -> tuple[str, ...]:
    """Return the ids of the deliveries planned for one version of a plan."""
    query = select(delivery.c.id).where(delivery.c.plan == plan_id, delivery.c.plan_version == version)
    return tuple(tx.execute(query.order_by(delivery.c.id)).scalars())


def count_by_state(tx: Connection) -> dict[str, int]:
    """Return how many deliveries are in each state."""
    rows = tx.execute(select(delivery.c.state, func.count()).group_by(delivery.c.state))
    return {row[0]: row[1] for row in rows}


def _due(now: datetime, limit: int) -> Any:
    return select(delivery.c.id).where(delivery.c.due_at <= now).order_by(delivery.c.due_at, delivery.c.id).limit(limit)


def _lane(plan_id: str, recipient: str, lane: str) -> tuple[Any, ...]:
    return delivery.c.plan == plan_id, delivery.c.recipient == recipient, delivery.c.lane == lane


def _next_sequence(tx: Connection, recipient: str) -> int:
    """Return the lowest number given back, or the next one."""
    free = tx.execute(
        select(func.min(free_sequence.c.number)).where(free_sequence.c.recipient == recipient)
    ).scalar_one()
    if free is not None:
        tx.execute(delete(free_sequence).where(free_sequence.c.recipient == recipient, free_sequence.c.number == free))
        return int(free)
    insert_absent(tx, sequence, {"recipient": recipient, "last": 0})
    moved = update(sequence).where(sequence.c.recipient == recipient).values(last=sequence.c.last + 1)
    return int(tx.execute(moved.returning(sequence.c.last)).scalar_one())


def _give_back(tx: Connection, delivery_id: str) -> None:
    row = tx.execute(select(delivery.c.recipient, delivery.c.sequence).where(delivery.c.id == delivery_id)).one()
    if row.sequence is not None:
        insert_absent(tx, free_sequence, {"recipient": row.recipient, "number": row.sequence})
        tx.execute(update(delivery).where(delivery.c.id == delivery_id).values(sequence=None))


def _to_text(parts: frozenset[str] | None) -> str | None:
    return None if parts is None else json.dumps(sorted(parts))


def _row(row: Any) -> DeliveryRow:
    values = dict(row._mapping)  # noqa: SLF001
    parts = values.pop("parts")
    return DeliveryRow(**values, parts=None if parts is None else frozenset(json.loads(parts)))
