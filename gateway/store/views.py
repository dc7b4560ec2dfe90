"""Each reader's own count of changes. A version is counted when it is disclosed, so that no gap tells of something hidden."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import bindparam, select, update

from gateway.store.engine import Transaction
from gateway.store.statements import one_of
from gateway.store.tables import view
from gateway.store.upsert import upsert

_OF_READERS = select(view).where(one_of(view.c.plan, "plans"), one_of(view.c.reader, "readers"))
_ENDED = (
    update(view)
    .where(view.c.plan == bindparam("of_plan"), view.c.reader == bindparam("by_reader"))
    .values(ended=True, pending_fingerprint=None, pending_at=None)
)

Key = tuple[str, str]
"""(plan, reader)"""


class ViewRow(Struct, frozen=True, kw_only=True):
    """What one reader knows of one plan, and a change that was seen and not disclosed yet."""

    plan: str
    reader: str
    version: int = 0
    fingerprint: str | None = None
    changed_at: datetime | None = None
    pending_fingerprint: str | None = None
    pending_at: datetime | None = None
    ended: bool = False


class ViewState(Struct, frozen=True, kw_only=True):
    """What one reader's view of one plan is at: the version it would have, and since when it is like that."""

    version: int
    changed_at: datetime
    is_new: bool


class Disclosure(Struct, frozen=True, kw_only=True):
    """A view that goes out or is read."""

    plan: str
    reader: str
    fingerprint: str
    state: ViewState


def rows_of(tx: Transaction, keys: Iterable[Key]) -> dict[Key, ViewRow]:
    """Return what these readers know; who never saw anything is absent."""
    wanted = tuple(keys)
    asked = {"plans": {plan for plan, _ in wanted}, "readers": {reader for _, reader in wanted}}
    return {(row.plan, row.reader): ViewRow(**row._asdict()) for row in tx.execute(_OF_READERS, asked)}


def state_of(row: ViewRow | None, fingerprint: str, now: datetime) -> ViewState:
    """Return the version that a view with this content has, or will have when it is disclosed.

    A change is dated when it is first seen, and an edit that this reader cannot see changes neither.
    """
    if row is None:
        return ViewState(version=1, changed_at=now, is_new=True)
    if row.fingerprint == fingerprint and not row.ended and row.changed_at is not None:
        return ViewState(version=row.version, changed_at=row.changed_at, is_new=False)
    seen_at = row.pending_at if row.pending_fingerprint == fingerprint else None
    return ViewState(version=row.version + 1, changed_at=seen_at or now, is_new=True)


def look(tx: Transaction, plan: str, reader: str, fingerprint: str, now: datetime) -> ViewState:
    """Return the state of a view, and remember since when a change has been seen."""
    row = rows_of(tx, [(plan, reader)]).get((plan, reader))
    state = state_of(row, fingerprint, now)
    if state.is_new and (row is None or row.pending_fingerprint != fingerprint):
        known = row or ViewRow(plan=plan, reader=reader)
        seen = {"plan": plan, "reader": reader, "pending_fingerprint": fingerprint, "pending_at": now}
        upsert(tx, view, {**seen, "version": known.version, "ended": known.ended})
    return state


def disclose(tx: Transaction, disclosures: Sequence[Disclosure]) -> None:
    """Count versions, now that they go out or are read."""
    rows = [
        {
            "plan": each.plan,
            "reader": each.reader,
            "version": each.state.version,
            "fingerprint": each.fingerprint,
            "changed_at": each.state.changed_at,
            "pending_fingerprint": None,
            "pending_at": None,
            "ended": False,
        }
        for each in disclosures
        if each.state.is_new
    ]
    upsert(tx, view, *rows)


def end(tx: Transaction, plan: str, reader: str) -> None:
    """Nothing may be seen any more: what is seen after this is a change, even when it is the same."""
    tx.execute(_ENDED, {"of_plan": plan, "by_reader": reader})
