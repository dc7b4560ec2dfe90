"""INSERT … ON CONFLICT, which both databases speak and SQLAlchemy has per dialect."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

from gateway.store.engine import Transaction

Row = dict[str, Any]


def upsert(tx: Transaction, table: Table, *rows: Row, on: tuple[str, ...] = ()) -> None:
    """Write rows, which have the same columns, replacing these where the primary key, or the unique key `on`, is there already."""
    if rows:
        tx.execute(_replacing(tx.database, table, tuple(rows[0]), on), list(rows))


@cache
def upsert_selected(database: str, table: Table, names: tuple[str, ...], chosen: Any) -> Any:
    """Return the statement that writes what `chosen` selects as these columns, replacing them where the primary key is there."""
    keys = [column.name for column in table.primary_key]
    statement = _insert(database, table).from_select(names, chosen)
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def insert_absent(tx: Transaction, table: Table, row: Row) -> bool:
    """Write `row` unless a row with one of its unique keys is there; say whether it was written."""
    return bool(tx.execute(_yielding(tx.database, table), row).rowcount)


def insert_all_absent(tx: Transaction, table: Table, rows: Sequence[Row]) -> None:
    """Write those of `rows` whose unique keys are not there yet."""
    if rows:
        tx.execute(_yielding(tx.database, table), rows)


@cache
def _yielding(database: str, table: Table) -> Any:
    return _insert(database, table).on_conflict_do_nothing()


@cache
def _replacing(database: str, table: Table, names: tuple[str, ...], on: tuple[str, ...]) -> Any:
    keys = list(on) or [column.name for column in table.primary_key]
    statement = _insert(database, table).inline()
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def _insert(database: str, table: Table) -> Any:
    return postgresql.insert(table) if database == "postgresql" else sqlite.insert(table)
