"""Sequence numbers per recipient, without gaps: one that never arrived goes back and is taken again."""

from collections.abc import Mapping

from sqlalchemy import bindparam, delete, select, update

from gateway.store.engine import Transaction
from gateway.store.statements import one_of
from gateway.store.tables import delivery, free_sequence, sequence
from gateway.store.upsert import insert_absent

_FREE = (
    select(free_sequence)
    .where(one_of(free_sequence.c.recipient, "recipients"))
    .order_by(free_sequence.c.recipient, free_sequence.c.number)
)
_TAKE_FREE = delete(free_sequence).where(
    free_sequence.c.recipient == bindparam("who"), free_sequence.c.number == bindparam("lowest")
)
_NEXT = (
    update(sequence)
    .where(sequence.c.recipient == bindparam("who"))
    .values(last=sequence.c.last + bindparam("count"))
    .returning(sequence.c.last)
)
_WITHOUT = update(delivery).where(delivery.c.id == bindparam("key")).values(sequence=None)


def take(tx: Transaction, wanted: Mapping[str, int], *, may_be_free: bool = True) -> dict[str, list[int]]:
    """Return so many numbers per recipient: the lowest that were given back, and then the next ones.

    `may_be_free` is False for who has seen that nothing was given back.
    """
    taken: dict[str, list[int]] = {recipient: [] for recipient in sorted(wanted)}
    if may_be_free:
        for row in tx.execute(_FREE, {"recipients": tuple(taken)}).all():
            numbers = taken[row.recipient]
            asked = {"who": row.recipient, "lowest": row.number}
            if len(numbers) < wanted[row.recipient] and tx.execute(_TAKE_FREE, asked).rowcount:
                numbers.append(int(row.number))
    for recipient, numbers in taken.items():
        if missing := wanted[recipient] - len(numbers):
            last = _last(tx, recipient, missing)
            numbers.extend(range(last - missing + 1, last + 1))
    return taken


def give_back(tx: Transaction, delivery_id: str, recipient: str, number: int) -> None:
    """Free the number of a delivery that never arrived."""
    insert_absent(tx, free_sequence, {"recipient": recipient, "number": number})
    tx.execute(_WITHOUT, {"key": delivery_id})


def _last(tx: Transaction, recipient: str, count: int) -> int:
    """Move a recipient's counter, and return where it stands."""
    number = tx.execute(_NEXT, {"who": recipient, "count": count}).scalar_one_or_none()
    if number is None:
        insert_absent(tx, sequence, {"recipient": recipient, "last": 0})
        number = tx.execute(_NEXT, {"who": recipient, "count": count}).scalar_one()
    return int(number)
