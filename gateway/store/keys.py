"""Wrapped data keys, one per set of subjects, in a database of their own with short-lived backups."""

from collections.abc import Iterable
from datetime import date

from sqlalchemy import Connection, select

from gateway.store.tables import data_key
from gateway.store.upsert import insert_absent


def keys_for_subjects(tx: Connection, subjects: Iterable[str]) -> dict[str, tuple[str, bytes]]:
    """Return (key id, wrapped key) by set of subjects (their ids, sorted, joined by a space)."""
    rows = tx.execute(select(data_key).where(data_key.c.subjects.in_(list(subjects))))
    return {row.subjects: (row.id, row.wrapped) for row in rows}


def keys_by_id(tx: Connection, key_ids: Iterable[str]) -> dict[str, bytes]:
    """Return wrapped keys by id; a destroyed key is absent, and what it sealed is gone."""
    rows = tx.execute(select(data_key.c.id, data_key.c.wrapped).where(data_key.c.id.in_(list(key_ids))))
    return {row.id: row.wrapped for row in rows}


def add_keys(tx: Connection, made: Iterable[tuple[str, str, bytes]], made_on: date) -> None:
    """Keep new keys (key id, set of subjects, wrapped key), except where a set of subjects got one meanwhile."""
    for key_id, subjects, wrapped in made:
        insert_absent(tx, data_key, {"id": key_id, "subjects": subjects, "wrapped": wrapped, "made_on": made_on})
