"""INSERT … ON CONFLICT, which both databases speak and SQLAlchemy has per dialect."""

from functools import cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def upsert(tx: Connection, table: Table, row: dict[str, Any]) -> None:
    """Write `row`, replacing the named columns of the one with the same primary key."""
    tx.execute(_replacing(tx.dialect.name, table, tuple(row)), row)


def insert_absent(tx: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Write `row` unless a row with one of its unique keys is there; say whether it was written."""
    return bool(tx.execute(_yielding(tx.dialect.name, table), row).rowcount)


@cache
def _yielding(dialect: str, table: Table) -> Any:
    return _insert(dialect, table).on_conflict_do_nothing()


@cache
def _replacing(dialect: str, table: Table, names: tuple[str, ...]) -> Any:
    keys = [column.name for column in table.primary_key]
    statement = _insert(dialect, table)
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def _insert(dialect: str, table: Table) -> Any:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
