"""Each reader's own count of changes. A version is counted when it is disclosed, so that no gap tells of something hidden."""

from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, bindparam, select, update

from gateway.store.tables import view
from gateway.store.upsert import upsert

_THIS = (view.c.plan == bindparam("of_plan"), view.c.reader == bindparam("by_reader"))
_ONE = select(view).where(*_THIS)
_SEEN = update(view).where(*_THIS).values(pending_fingerprint=bindparam("print"), pending_at=bindparam("at"))
_DISCLOSED = (
    update(view)
    .where(*_THIS)
    .values(
        version=bindparam("number"),
        fingerprint=bindparam("print"),
        changed_at=bindparam("at"),
        pending_fingerprint=None,
        pending_at=None,
        ended=False,
    )
)
_ENDED = update(view).where(*_THIS).values(ended=True, pending_fingerprint=None, pending_at=None)


class ViewState(Struct, frozen=True, kw_only=True):
    """What one reader's view of one plan is at: the version it would have, and since when it is like that."""

    version: int
    changed_at: datetime
    is_new: bool


def look(tx: Connection, plan: str, reader: str, fingerprint: str, now: datetime) -> ViewState:
    """Return the version that a view with this content has, or will have when it is disclosed.

    A change is dated when it is first seen, and an edit that this reader cannot see changes neither.
    """
    row = _row(tx, plan, reader)
    if row and row.fingerprint == fingerprint and not row.ended:
        return ViewState(version=row.version, changed_at=row.changed_at, is_new=False)
    version = row.version if row else 0
    if row and row.pending_fingerprint == fingerprint:
        return ViewState(version=version + 1, changed_at=row.pending_at, is_new=True)
    if row:
        tx.execute(_SEEN, _at(plan, reader) | {"print": fingerprint, "at": now})
    else:
        _first(tx, plan, reader, fingerprint, now)
    return ViewState(version=version + 1, changed_at=now, is_new=True)


def disclose(tx: Connection, plan: str, reader: str, fingerprint: str, state: ViewState) -> None:
    """Count the version, now that it goes out or is read."""
    if state.is_new:
        known = {"number": state.version, "print": fingerprint, "at": state.changed_at}
        tx.execute(_DISCLOSED, _at(plan, reader) | known)


def end(tx: Connection, plan: str, reader: str) -> None:
    """Nothing may be seen any more: what is seen after this is a change, even when it is the same."""
    tx.execute(_ENDED, _at(plan, reader))


def _at(plan: str, reader: str) -> dict[str, Any]:
    return {"of_plan": plan, "by_reader": reader}


def _row(tx: Connection, plan: str, reader: str) -> Any:
    return tx.execute(_ONE, _at(plan, reader)).one_or_none()


def _first(tx: Connection, plan: str, reader: str, fingerprint: str, now: datetime) -> None:
    row = {"plan": plan, "reader": reader, "version": 0, "ended": False}
    upsert(tx, view, {**row, "pending_fingerprint": fingerprint, "pending_at": now})
