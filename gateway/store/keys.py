"""Wrapped data keys, one per set of subjects, in a database of their own with short-lived backups."""

from collections.abc import Iterable
from datetime import date

from sqlalchemy import select

from gateway.store.engine import Transaction
from gateway.store.statements import one_of
from gateway.store.tables import data_key
from gateway.store.upsert import insert_all_absent

_FOR_SUBJECTS = select(data_key).where(one_of(data_key.c.subjects, "sets"))
_BY_ID = select(data_key.c.id, data_key.c.wrapped).where(one_of(data_key.c.id, "ids"))


def keys_for_subjects(tx: Transaction, subjects: Iterable[str]) -> dict[str, tuple[str, bytes]]:
    """Return (key id, wrapped key) by set of subjects (their ids, sorted, joined by a space)."""
    return {row.subjects: (row.id, row.wrapped) for row in tx.execute(_FOR_SUBJECTS, {"sets": subjects})}


def keys_by_id(tx: Transaction, key_ids: Iterable[str]) -> dict[str, bytes]:
    """Return wrapped keys by id; a destroyed key is absent, and what it sealed is gone."""
    return {row.id: row.wrapped for row in tx.execute(_BY_ID, {"ids": key_ids})}


def add_keys(tx: Transaction, made: Iterable[tuple[str, str, bytes]], made_on: date) -> None:
    """Keep new keys (key id, set of subjects, wrapped key), except where a set of subjects got one meanwhile."""
    rows = [
        {"id": key_id, "subjects": subjects, "wrapped": wrapped, "made_on": made_on}
        for key_id, subjects, wrapped in made
    ]
    insert_all_absent(tx, data_key, rows)
