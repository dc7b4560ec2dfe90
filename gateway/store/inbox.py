"""What came over AMQP and was kept: a message that comes again is acknowledged without a second look."""

from datetime import datetime

from msgspec import Struct
from sqlalchemy import bindparam, select

from gateway.store.engine import Transaction
from gateway.store.tables import inbox
from gateway.store.upsert import insert_absent

_ONE = select(inbox).where(inbox.c.client == bindparam("by_client"), inbox.c.message == bindparam("key"))


class InboxRow(Struct, frozen=True, kw_only=True):
    """One message of one client that was kept; `outcome` is what became of its plan."""

    client: str
    message: str
    body_fingerprint: str
    outcome: str
    at: datetime


def message_of(tx: Transaction, client: str, message: str) -> InboxRow | None:
    """Return what became of a message, or None."""
    row = tx.execute(_ONE, {"by_client": client, "key": message}).one_or_none()
    if row is None:
        return None
    return InboxRow(
        client=row.client, message=row.message, body_fingerprint=row.body_fingerprint, outcome=row.outcome, at=row.at
    )


def add_message(tx: Transaction, row: InboxRow) -> bool:
    """Remember a message; False when it was remembered meanwhile."""
    return insert_absent(tx, inbox, {name: getattr(row, name) for name in row.__struct_fields__})
