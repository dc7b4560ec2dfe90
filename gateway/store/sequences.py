"""Sequence numbers per recipient, without gaps: one that never arrived goes back and is taken again."""

from sqlalchemy import Connection, bindparam, delete, func, select, update

from gateway.store.tables import delivery, free_sequence, sequence
from gateway.store.upsert import insert_absent

_LOWEST_FREE = select(func.min(free_sequence.c.number)).where(free_sequence.c.recipient == bindparam("who"))
_TAKE_FREE = delete(free_sequence).where(
    free_sequence.c.recipient == bindparam("who"), free_sequence.c.number == bindparam("lowest")
)
_NEXT = (
    update(sequence)
    .where(sequence.c.recipient == bindparam("who"))
    .values(last=sequence.c.last + 1)
    .returning(sequence.c.last)
)
_WITHOUT = update(delivery).where(delivery.c.id == bindparam("key")).values(sequence=None)


def take(tx: Connection, recipient: str) -> int:
    """Return the lowest number that was given back, or the next one."""
    lowest = tx.execute(_LOWEST_FREE, {"who": recipient}).scalar_one()
    if lowest is not None and tx.execute(_TAKE_FREE, {"who": recipient, "lowest": lowest}).rowcount:
        return int(lowest)
    number = tx.execute(_NEXT, {"who": recipient}).scalar_one_or_none()
    if number is None:
        insert_absent(tx, sequence, {"recipient": recipient, "last": 0})
        number = tx.execute(_NEXT, {"who": recipient}).scalar_one()
    return int(number)


def give_back(tx: Connection, delivery_id: str, recipient: str, number: int) -> None:
    """Free the number of a delivery that never arrived."""
    insert_absent(tx, free_sequence, {"recipient": recipient, "number": number})
    tx.execute(_WITHOUT, {"key": delivery_id})
