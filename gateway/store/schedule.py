"""What is due: the schedule of deliveries is in the database, so that nothing depends on a process or a broker to remember."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, or_, select, update

from gateway.store.tables import delivery

_DUE = (
    select(delivery.c.id)
    .where(delivery.c.due_at <= bindparam("now"))
    .order_by(delivery.c.due_at, delivery.c.id)
    .limit(bindparam("most"))
)
_DUE_UNTAKEN = _DUE.with_for_update(skip_locked=True)
_CLAIM = (
    update(delivery)
    .where(delivery.c.id.in_(bindparam("ids", expanding=True)))
    .values(state="queued", due_at=bindparam("lease"), next_attempt_at=None, updated_at=bindparam("now"))
)
_LOOK_AGAIN = (
    update(delivery)
    .where(delivery.c.id.in_(bindparam("ids", expanding=True)), delivery.c.state == "queued")
    .values(due_at=bindparam("at"))
)
_RELEASE = (
    update(delivery)
    .where(or_(delivery.c.state == "queued", and_(delivery.c.state == "sent", delivery.c.reason.is_(None))))
    .values(due_at=bindparam("now"))
)


def release_leases(tx: Connection, now: datetime) -> int:
    """Let everything that a process held be taken again at once; only for who knows that no other process is alive.

    What was notified or pulled is in its recipient's hands, and keeps its deadline.
    """
    return int(tx.execute(_RELEASE, {"now": now}).rowcount)


def due(tx: Connection, now: datetime, limit: int) -> tuple[str, ...]:
    """Return what is due, oldest first, without taking it."""
    return tuple(tx.execute(_DUE, {"now": now, "most": limit}).scalars())


def claim_due(tx: Connection, now: datetime, lease_until: datetime, limit: int) -> tuple[str, ...]:
    """Take deliveries that are due, for this process only; they come back when the lease ends."""
    ids = tuple(tx.execute(_DUE_UNTAKEN, {"now": now, "most": limit}).scalars())
    if ids:
        tx.execute(_CLAIM, {"ids": ids, "lease": lease_until, "now": now})
    return ids


def look_again(tx: Connection, ids: Iterable[str], at: datetime) -> None:
    """Let the relay take these again at `at`: the broker did not confirm them."""
    tx.execute(_LOOK_AGAIN, {"ids": tuple(ids), "at": at})
