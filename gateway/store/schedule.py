"""What is due: the schedule of deliveries is in the database, so that nothing depends on a process or a broker to remember."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import and_, bindparam, func, or_, select, update

from gateway.store.deliveries import PENDING
from gateway.store.engine import Transaction
from gateway.store.statements import is_any, one_of
from gateway.store.tables import IS_PUT_OFF, delivery

PUT_OFF = "recipient-busy"
"""The reason of a delivery that waits until its recipient has room (`gateway.crowds`)."""

CALLED_BACK = 64
"""How many of them are taken again at a time."""

_DUE = (
    select(delivery.c.id)
    .where(delivery.c.due_at <= bindparam("now"))
    .order_by(delivery.c.due_at, delivery.c.id)
    .limit(bindparam("most"))
)
_BACKLOG = select(func.count()).select_from(
    select(delivery.c.id)
    .where(
        delivery.c.due_at <= bindparam("lease"),
        or_(delivery.c.due_at <= bindparam("now"), delivery.c.state == "queued"),
    )
    .limit(bindparam("most"))
    .subquery()
)
_DUE_UNTAKEN = _DUE.with_for_update(skip_locked=True)
_CLAIM = (
    update(delivery)
    .where(one_of(delivery.c.id, "ids"))
    .values(state="queued", due_at=bindparam("lease"), next_attempt_at=None, updated_at=bindparam("now"))
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
_LOOK_AGAIN = (
    update(delivery).where(one_of(delivery.c.id, "ids"), delivery.c.state == "queued").values(due_at=bindparam("at"))
)
_RELEASE = (
    update(delivery)
    .where(or_(delivery.c.state == "queued", and_(delivery.c.state == "sent", delivery.c.reason.is_(None))))
    .values(due_at=bindparam("now"))
)


def release_leases(tx: Transaction, now: datetime) -> int:
    """Let everything that a process held be taken again at once; only for who knows that no other process is alive.

    What was notified or pulled is in its recipient's hands, and keeps its deadline.
    """
    return tx.execute(_RELEASE, {"now": now}).rowcount


def due(tx: Transaction, now: datetime, limit: int) -> tuple[str, ...]:
    """Return what is due, oldest first, without taking it."""
    return tuple(tx.execute(_DUE, {"now": now, "most": limit}).scalars())


def count_backlog(tx: Transaction, now: datetime, lease_until: datetime, most: int) -> int:
    """Count what is due and not begun: what nobody took, and what the broker holds under a lease until `lease_until` at most.

    Counts to `most` and no further, so that the count itself costs a bounded amount.
    """
    return int(tx.execute(_BACKLOG, {"now": now, "lease": lease_until, "most": most}).scalar_one())


def claim_due(tx: Transaction, now: datetime, lease_until: datetime, limit: int) -> tuple[str, ...]:
    """Take deliveries that are due, for this process only; they come back when the lease ends."""
    ids = tuple(tx.execute(_DUE_UNTAKEN, {"now": now, "most": limit}).scalars())
    if ids:
        tx.execute(_CLAIM, {"ids": ids, "lease": lease_until, "now": now})
    return ids


def look_again(tx: Transaction, ids: Iterable[str], at: datetime) -> None:
    """Let the relay take these again at `at`: the broker did not confirm them."""
    tx.execute(_LOOK_AGAIN, {"ids": ids, "at": at})


def put_off(tx: Transaction, delivery_ids: Iterable[str], *, until: datetime, now: datetime) -> None:
    """Let deliveries wait until their recipient has room, and until `until` at the latest."""
    tx.execute(_PUT_OFF, {"ids": delivery_ids, "until": until, "now": now})


def call_back(tx: Transaction, recipient: str, most: int, now: datetime) -> int:
    """Let what was put off for a recipient be taken again, the oldest first; return how many."""
    return tx.execute(_CALL_BACK, {"who": recipient, "most": most, "now": now}).rowcount
