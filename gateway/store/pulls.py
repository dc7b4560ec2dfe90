"""Deliveries that are pulled: notified, then pulled, then confirmed. Meanwhile the row stays `sent`, and `reason` says which.

`due_at` is the deadline: when it passes without a receipt the relay takes the row again.
"""

from datetime import datetime

from sqlalchemy import bindparam, select, update

from gateway.store.deliveries import NOTIFIED, PULLED, DeliveryRow, as_text
from gateway.store.engine import Transaction
from gateway.store.tables import delivery, receipt

_NOTIFIED = (
    update(delivery)
    .where(delivery.c.id == bindparam("key"))
    .values(
        state="sent",
        reason=NOTIFIED,
        due_at=bindparam("deadline"),
        next_attempt_at=bindparam("deadline"),
        updated_at=bindparam("now"),
    )
)
_PULLED = (
    update(delivery)
    .where(delivery.c.id == bindparam("key"))
    .values(
        state="sent",
        reason=PULLED,
        due_at=bindparam("deadline"),
        next_attempt_at=bindparam("deadline"),
        parts=bindparam("carried"),
        view_version=bindparam("view"),
        receipt=bindparam("slip"),
        updated_at=bindparam("now"),
    )
)
_HASH = select(receipt.c.sha256).where(receipt.c.id == bindparam("key"), receipt.c.delivery == bindparam("of_delivery"))


def notified(tx: Transaction, row: DeliveryRow, *, deadline: datetime, now: datetime) -> None:
    """The recipient was notified, and has until the deadline to pull and confirm."""
    tx.execute(_NOTIFIED, {"key": row.id, "deadline": deadline, "now": now})


def pulled(
    tx: Transaction,
    row: DeliveryRow,
    *,
    parts: frozenset[str],
    view_version: int,
    receipt: str,
    deadline: datetime,
    now: datetime,
) -> None:
    """The recipient pulled these parts, and has until the deadline to confirm. A later pull may narrow, never widen."""
    asked = {
        "key": row.id,
        "deadline": deadline,
        "carried": as_text(row.parts & parts if row.parts is not None else parts),
        "view": view_version,
        "slip": receipt,
        "now": now,
    }
    tx.execute(_PULLED, asked)


def pulled_hash(tx: Transaction, row: DeliveryRow) -> str | None:
    """Return the hash of the bytes that were pulled last; None when nothing was."""
    if row.receipt is None:
        return None
    found = tx.execute(_HASH, {"key": row.receipt, "of_delivery": row.id}).one_or_none()
    return found.sha256 if found else None
