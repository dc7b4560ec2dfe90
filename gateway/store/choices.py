"""Residents' choices, every version kept, sealed; and the moments at which an answer may change by itself."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select

from gateway.store.tables import choices, wakeup
from gateway.store.upsert import insert_absent


class ChoicesRow(Struct, frozen=True, kw_only=True):
    """One version of one resident's set of choices; `body` is sealed."""

    resident: str
    version: int
    body: bytes
    at: datetime
    changed_by: str


_NEWEST = (
    select(choices.c.resident, func.max(choices.c.version).label("version"))
    .where(choices.c.resident.in_(bindparam("residents", expanding=True)))
    .group_by(choices.c.resident)
)
_NEWEST_ROWS = _NEWEST.subquery()
_CURRENT = select(choices).join(
    _NEWEST_ROWS, and_(choices.c.resident == _NEWEST_ROWS.c.resident, choices.c.version == _NEWEST_ROWS.c.version)
)


def current_choices(tx: Connection, residents: Iterable[str]) -> dict[str, ChoicesRow]:
    """Return the newest set per resident; who never chose is absent."""
    rows = tx.execute(_CURRENT, {"residents": tuple(residents)})
    return {row.resident: ChoicesRow(**row._mapping) for row in rows}  # noqa: SLF001


def choice_versions(tx: Connection, residents: Iterable[str]) -> dict[str, int]:
    """Return the version of each resident's choices now; 0 for who never chose. What a decision checks before it sends."""
    wanted = tuple(residents)
    return dict.fromkeys(wanted, 0) | {row[0]: row[1] for row in tx.execute(_NEWEST, {"residents": wanted})}


def add_choices(tx: Connection, row: ChoicesRow) -> bool:
    """Keep the next version; False when another came first."""
    if choice_versions(tx, [row.resident])[row.resident] != row.version - 1:
        return False
    tx.execute(insert(choices).values({name: getattr(row, name) for name in row.__struct_fields__}))
    return True


def add_wakeup(tx: Connection, resident: str, due_at: datetime) -> None:
    """Look at this resident's deliveries again at `due_at`."""
    insert_absent(tx, wakeup, {"resident": resident, "due_at": due_at})


_DUE = (
    select(wakeup.c.resident)
    .where(wakeup.c.due_at <= bindparam("now"))
    .order_by(wakeup.c.due_at)
    .limit(bindparam("most"))
)


def due_wakeups(tx: Connection, now: datetime, limit: int) -> tuple[str, ...]:
    """Return residents whose answers may have changed by now."""
    rows = tx.execute(_DUE, {"now": now, "most": limit})
    return tuple(dict.fromkeys(row.resident for row in rows))


def remove_wakeups(tx: Connection, resident: str, until: datetime) -> None:
    """Forget the wake-ups that were answered."""
    tx.execute(delete(wakeup).where(wakeup.c.resident == resident, wakeup.c.due_at <= until))
