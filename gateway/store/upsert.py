"""INSERT … ON CONFLICT, which both databases speak and SQLAlchemy has per dialect."""

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def upsert(tx: Connection, table: Table, row: dict[str, Any]) -> None:
    """Write `row`, replacing the one with the same primary key."""
    keys = [column.name for column in table.primary_key]
    changed = {name: value for name, value in row.items() if name not in keys}
    tx.execute(_insert(tx, table).values(row).on_conflict_do_update(index_elements=keys, set_=changed))


def insert_absent(tx: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Write `row` unless its primary key is there; say whether it was written."""
    return bool(tx.execute(_insert(tx, table).values(row).on_conflict_do_nothing()).rowcount)


def _insert(tx: Connection, table: Table) -> Any:
    return postgresql.insert(table) if tx.dialect.name == "postgresql" else sqlite.insert(table)
