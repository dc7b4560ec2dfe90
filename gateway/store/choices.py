"""Residents' choices, every version kept, sealed; and the moments at which an answer may change by itself."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct
from sqlalchemy import and_, bindparam, delete, func, insert, select

from gateway.store.engine import Transaction
from gateway.store.statements import one_of
from gateway.store.tables import choice_resident, choices, wakeup
from gateway.store.upsert import insert_all_absent


class ChoicesRow(Struct, frozen=True, kw_only=True):
    """One version of one resident's set of choices; `body` is sealed."""

    resident: str
    version: int
    body: bytes
    at: datetime
    changed_by: str


_NEWEST = (
    select(choices.c.resident, func.max(choices.c.version).label("version"))
    .where(one_of(choices.c.resident, "residents"))
    .group_by(choices.c.resident)
)
_NEWEST_ROWS = _NEWEST.subquery()
_CURRENT = select(choices).join(
    _NEWEST_ROWS, and_(choices.c.resident == _NEWEST_ROWS.c.resident, choices.c.version == _NEWEST_ROWS.c.version)
)
_ADD = insert(choices)
_MOMENTS = select(choices.c.version, choices.c.at).where(
    choices.c.resident == bindparam("who"), one_of(choices.c.version, "versions")
)
_WHOSE = select(choice_resident.c.choice, choice_resident.c.resident).where(one_of(choice_resident.c.choice, "ids"))
_DUE = (
    select(wakeup.c.resident)
    .where(wakeup.c.due_at <= bindparam("now"))
    .order_by(wakeup.c.due_at)
    .limit(bindparam("most"))
)
_ANSWERED = delete(wakeup).where(wakeup.c.resident == bindparam("who"), wakeup.c.due_at <= bindparam("until"))


def current_choices(tx: Transaction, residents: Iterable[str]) -> dict[str, ChoicesRow]:
    """Return the newest set per resident; who never chose is absent."""
    rows = tx.execute(_CURRENT, {"residents": residents})
    return {row.resident: ChoicesRow(**row._asdict()) for row in rows}


def choice_versions(tx: Transaction, residents: Iterable[str]) -> dict[str, int]:
    """Return the version of each resident's choices now; 0 for who never chose. What a decision checks before it sends."""
    wanted = tuple(residents)
    return dict.fromkeys(wanted, 0) | {row[0]: row[1] for row in tx.execute(_NEWEST, {"residents": wanted})}


def add_choices(tx: Transaction, row: ChoicesRow) -> bool:
    """Keep the next version; False when another came first."""
    if choice_versions(tx, [row.resident])[row.resident] != row.version - 1:
        return False
    tx.execute(_ADD, {name: getattr(row, name) for name in row.__struct_fields__})
    return True


def name_choices(tx: Transaction, resident: str, choice_ids: Iterable[str]) -> None:
    """Keep whose these choices are."""
    insert_all_absent(tx, choice_resident, [{"choice": each, "resident": resident} for each in choice_ids])


def residents_of_choices(tx: Transaction, choice_ids: Iterable[str]) -> dict[str, str]:
    """Return whose each of these choices is or was; what never was a choice is absent."""
    return {row.choice: row.resident for row in tx.execute(_WHOSE, {"ids": list(choice_ids)})}


def moments_of(tx: Transaction, resident: str, versions: Iterable[int]) -> dict[int, datetime]:
    """Return when each of these versions of a resident's set was kept."""
    return {row.version: row.at for row in tx.execute(_MOMENTS, {"who": resident, "versions": list(versions)})}


def add_wakeups(tx: Transaction, moments: Iterable[tuple[str, datetime]]) -> None:
    """Look at residents' deliveries again, each (resident, moment)."""
    insert_all_absent(tx, wakeup, [{"resident": resident, "due_at": due_at} for resident, due_at in moments])


def due_wakeups(tx: Transaction, now: datetime, limit: int) -> tuple[str, ...]:
    """Return residents whose answers may have changed by now."""
    return tuple(dict.fromkeys(tx.execute(_DUE, {"now": now, "most": limit}).scalars()))


def remove_wakeups(tx: Transaction, resident: str, until: datetime) -> None:
    """Forget the wake-ups that were answered."""
    tx.execute(_ANSWERED, {"who": resident, "until": until})
