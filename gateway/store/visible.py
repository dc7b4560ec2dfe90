"""What each reader may see under FHIR, as an index to search in: codes, dates and opaque ids, never what a plan says.

Whoever changes what may be seen marks it stale in the same transaction (`mark_plans`, `mark_residents`, `register`); the index is looked
at only when nothing of its reader is stale or expired (`stale_plans`), and what was looked at anew takes the mark away (`replace_view`).
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import ClauseElement, String, bindparam, delete, insert, select, union, update

from gateway.store.engine import Transaction
from gateway.store.locks import lock
from gateway.store.statements import one_of
from gateway.store.tables import (
    fhir_reader,
    fhir_resource,
    fhir_share,
    fhir_stale,
    fhir_value,
    fhir_view,
    plan,
    plan_resident,
)
from gateway.store.upsert import insert_all_absent, upsert, upsert_selected
from gateway.store.words import field_of, name_of, number_of
from mappings.search.values import Value

SHARED_TYPES = frozenset({"Patient", "Group", "Organization"})
"""Types of which one resource stands in several plans."""


class ReaderRow(Struct, frozen=True, kw_only=True):
    """A reader whose index is kept."""

    number: int
    reader: str
    organisation: str
    basis: str


class Stale(Struct, frozen=True, kw_only=True):
    """A plan that a reader's index no longer tells right; `mark` says since which change, and is empty when time alone did it."""

    plan: str
    mark: str


class Item(Struct, frozen=True, kw_only=True):
    """One resource for the index."""

    type: str
    id: str
    values: tuple[Value, ...]


class View(Struct, frozen=True, kw_only=True):
    """What a reader may see of a plan now; `fingerprint` is empty and `items` too when that is nothing."""

    plan: str
    fingerprint: str
    version: int
    changed_at: int
    expires_at: datetime | None
    items: tuple[Item, ...]


_EVERYBODY = "everybody"
READERS = f"readers {_EVERYBODY}"
"""The lock that whoever marks holds, shared: nobody becomes a reader meanwhile, so none is missed."""

_READER = select(fhir_reader).where(fhir_reader.c.reader == bindparam("key"))
_READERS = select(fhir_reader).order_by(fhir_reader.c.number)
_ADD_READER = insert(fhir_reader).inline()
_NEW_BASIS = (
    update(fhir_reader).where(fhir_reader.c.number == bindparam("of_reader")).values(basis=bindparam("new_basis"))
)
_MARK_PLAN = union(
    select(fhir_reader.c.number, bindparam("of_plan", type_=String()), bindparam("new_mark", type_=String())).where(
        one_of(fhir_reader.c.organisation, "organisations")
    ),
    select(fhir_view.c.reader, bindparam("of_plan", type_=String()), bindparam("new_mark", type_=String())).where(
        fhir_view.c.plan == bindparam("of_plan")
    ),
)
_MARK_RESIDENT = select(fhir_reader.c.number, plan_resident.c.plan, bindparam("new_mark", type_=String())).where(
    plan_resident.c.resident == bindparam("who")
)
_MARK_ALL = select(fhir_reader.c.number, plan.c.id, bindparam("new_mark", type_=String())).where(
    fhir_reader.c.number == bindparam("of_reader")
)
_STALE = (
    select(fhir_stale.c.plan, fhir_stale.c.mark)
    .where(fhir_stale.c.reader == bindparam("of_reader"))
    .order_by(fhir_stale.c.plan)
    .limit(bindparam("most"))
)
_EXPIRED = (
    select(fhir_view.c.plan)
    .where(fhir_view.c.reader == bindparam("of_reader"), fhir_view.c.expires_at <= bindparam("now"))
    .limit(bindparam("most"))
)
_FRESH = delete(fhir_stale).where(
    fhir_stale.c.reader == bindparam("of_reader"),
    fhir_stale.c.plan == bindparam("of_plan"),
    fhir_stale.c.mark == bindparam("seen_mark"),
)
_FINGERPRINT = select(fhir_view.c.fingerprint).where(
    fhir_view.c.reader == bindparam("of_reader"), fhir_view.c.plan == bindparam("of_plan")
)
_OF_PLAN = select(fhir_resource.c.key, fhir_resource.c.type, fhir_resource.c.id).where(
    fhir_resource.c.reader == bindparam("of_reader"), fhir_resource.c.plan == bindparam("of_plan")
)
_SHARES = select(fhir_share.c.type, fhir_share.c.id).where(
    fhir_share.c.reader == bindparam("of_reader"), fhir_share.c.plan == bindparam("of_plan")
)
_OTHER_SHARE = (
    select(fhir_share.c.plan)
    .where(
        fhir_share.c.reader == bindparam("of_reader"),
        fhir_share.c.type == bindparam("of_type"),
        fhir_share.c.id == bindparam("of_id"),
        fhir_share.c.plan != bindparam("of_plan"),
    )
    .limit(1)
)
_SHOWING = select(fhir_share.c.plan).where(
    fhir_share.c.reader == bindparam("of_reader"),
    fhir_share.c.type == bindparam("of_type"),
    fhir_share.c.id == bindparam("of_id"),
)
_DROP_SHARE = delete(fhir_share).where(
    fhir_share.c.reader == bindparam("of_reader"),
    fhir_share.c.type == bindparam("of_type"),
    fhir_share.c.id == bindparam("of_id"),
    fhir_share.c.plan == bindparam("of_plan"),
)
_DROP_VALUES = delete(fhir_value).where(fhir_value.c.resource == bindparam("of_resource"))
_HAND_OVER = (
    update(fhir_resource).where(fhir_resource.c.key == bindparam("of_resource")).values(plan=bindparam("to_plan"))
)
_DROP_RESOURCE = delete(fhir_resource).where(fhir_resource.c.key == bindparam("of_resource"))
_ADD_VALUES = insert(fhir_value).inline()
_RESOURCE = select(fhir_resource).where(
    fhir_resource.c.reader == bindparam("of_reader"),
    fhir_resource.c.type == bindparam("of_type"),
    fhir_resource.c.id == bindparam("of_id"),
)


def reader_row(tx: Transaction, key: str) -> ReaderRow | None:
    """Return a reader, or None when no index is kept for it."""
    row = tx.execute(_READER, {"key": key}).one_or_none()
    return ReaderRow(**row._asdict()) if row else None


def readers(tx: Transaction) -> tuple[ReaderRow, ...]:
    """Return every reader for whom an index is kept."""
    return tuple(ReaderRow(**row._asdict()) for row in tx.execute(_READERS))


def register(tx: Transaction, key: str, organisation: str, basis: str, mark: str) -> ReaderRow:
    """Keep an index for a reader from now on; with a new basis everything is looked at again."""
    lock(tx, "readers", _EVERYBODY)
    row = reader_row(tx, key)
    if row is not None and row.basis == basis:
        return row
    if row is None:
        tx.execute(_ADD_READER, {"reader": key, "organisation": organisation, "basis": basis})
    else:
        tx.execute(_NEW_BASIS, {"of_reader": row.number, "new_basis": basis})
    made = reader_row(tx, key)
    assert made is not None  # noqa: S101 - for the type checker
    _mark(tx, _MARK_ALL, [{"of_reader": made.number, "new_mark": mark}])
    return made


def hold_readers(tx: Transaction) -> None:
    """Hold `READERS`."""
    lock(tx, "readers", _EVERYBODY, shared=True)


def mark_plans(tx: Transaction, changed: Iterable[tuple[str, Collection[str]]], mark: str) -> None:
    """Mark plans stale, each (plan, organisations that may see it now); who saw it before is marked too."""
    _mark(tx, _MARK_PLAN, [{"of_plan": name, "organisations": sorted(who), "new_mark": mark} for name, who in changed])


def mark_residents(tx: Transaction, residents: Iterable[str], mark: str) -> None:
    """Mark the plans of residents stale for everybody: what they chose has changed."""
    _mark(tx, _MARK_RESIDENT, [{"who": resident, "new_mark": mark} for resident in residents])


def stale_plans(tx: Transaction, reader: int, now: datetime, limit: int) -> tuple[Stale, ...]:
    """Return what must be looked at again before the index tells the truth; none: it does."""
    asked = {"of_reader": reader, "most": limit}
    marked = [Stale(plan=row.plan, mark=row.mark) for row in tx.execute(_STALE, asked)]
    expired = tx.execute(_EXPIRED, {**asked, "now": now}).scalars()
    named = {stale.plan for stale in marked}
    return (*marked, *(Stale(plan=name, mark="") for name in expired if name not in named))


def resource_row(tx: Transaction, reader: int, name: tuple[str, str]) -> str | None:
    """Return the plan that a resource, (type, id), is read from; None when this reader sees no such resource."""
    found = tx.execute(_RESOURCE, {"of_reader": reader, "of_type": name[0], "of_id": name[1]}).one_or_none()
    return found.plan if found else None


def plans_showing(tx: Transaction, reader: int, resource_type: str, resource_id: str) -> tuple[str, ...]:
    """Return the plans in which a reader sees a resource of a shared type."""
    asked = {"of_reader": reader, "of_type": resource_type, "of_id": resource_id}
    return tuple(tx.execute(_SHOWING, asked).scalars())


def replace_view(tx: Transaction, reader: int, view: View, mark: str, new_mark: str) -> None:
    """Let the index hold this of a plan, and nothing else; `mark` is what is answered by it, `new_mark` for what that makes stale."""
    of_plan = {"of_reader": reader, "of_plan": view.plan}
    before = tx.execute(_FINGERPRINT, of_plan).scalar_one_or_none()
    if before != view.fingerprint:
        _replace(tx, reader, view, new_mark)
    kept = {"reader": reader, "plan": view.plan, "fingerprint": view.fingerprint, "expires_at": view.expires_at}
    upsert(tx, fhir_view, kept)
    tx.execute(_FRESH, {**of_plan, "seen_mark": mark})


def _replace(tx: Transaction, reader: int, view: View, new_mark: str) -> None:
    of_plan = {"of_reader": reader, "of_plan": view.plan}
    wanted = {(item.type, item.id): item for item in view.items}
    before = {(row.type, row.id): row.key for row in tx.execute(_OF_PLAN, of_plan)}
    _give_up(tx, reader, view.plan, wanted.keys(), before, new_mark)
    stamp = {"reader": reader, "plan": view.plan, "version": view.version, "changed_at": view.changed_at}
    rows = [{**stamp, "type": item.type, "id": item.id, "name": name_of(item.type, item.id)} for item in view.items]
    upsert(tx, fhir_resource, *rows, on=("reader", "type", "id"))
    shares = [
        {"reader": reader, "type": item.type, "id": item.id, "plan": view.plan}
        for item in view.items
        if item.type in SHARED_TYPES
    ]
    insert_all_absent(tx, fhir_share, shares)
    keys = {(row.type, row.id): row.key for row in tx.execute(_OF_PLAN, of_plan)}
    _drop(tx, _DROP_VALUES, keys.values())
    values = [
        {"resource": keys[name], "reader": reader, **_columns(item.type, value)}
        for name, item in wanted.items()
        for value in item.values
    ]
    if values:
        tx.execute(_ADD_VALUES, values)


def _columns(resource_type: str, value: Value) -> dict[str, int | None]:
    """Return a value as it is kept."""
    return {
        "field": field_of(resource_type, value.param),
        "system": None if value.system is None else number_of(value.system),
        "code": None if value.code is None else number_of(value.code),
        "low": value.low,
        "high": value.high,
    }


def _give_up(
    tx: Transaction,
    reader: int,
    plan_id: str,
    wanted: Collection[tuple[str, str]],
    before: dict[tuple[str, str], int],
    new_mark: str,
) -> None:
    """Forget what this plan shows no longer; what another plan shows too is read from there, once that was looked at again.

    It keeps its key, and with that its place among the pages of a search that has begun.
    """
    handed: dict[tuple[str, str], str] = {}
    of_plan = {"of_reader": reader, "of_plan": plan_id}
    for row in tx.execute(_SHARES, of_plan):
        if (row.type, row.id) in wanted:
            continue
        share = {**of_plan, "of_type": row.type, "of_id": row.id}
        tx.execute(_DROP_SHARE, share)
        other = tx.execute(_OTHER_SHARE, share).scalar_one_or_none()
        if other is not None and (row.type, row.id) in before:
            handed[row.type, row.id] = other
            upsert(tx, fhir_view, {"reader": reader, "plan": other, "fingerprint": "?"})
            upsert(tx, fhir_stale, {"reader": reader, "plan": other, "mark": new_mark})
    gone = [key for name, key in before.items() if name not in wanted]
    _drop(tx, _DROP_VALUES, gone)
    _drop(tx, _DROP_RESOURCE, [before[name] for name in before if name not in wanted and name not in handed])
    if handed:
        tx.execute(_HAND_OVER, [{"of_resource": before[name], "to_plan": plan} for name, plan in handed.items()])


def _drop(tx: Transaction, statement: ClauseElement, keys: Iterable[int]) -> None:
    rows = [{"of_resource": key} for key in keys]
    if rows:
        tx.execute(statement, rows)


def _mark(tx: Transaction, chosen: ClauseElement, values: Sequence[dict[str, object]]) -> None:
    if values:
        tx.execute(upsert_selected(tx.database, fhir_stale, ("reader", "plan", "mark"), chosen), values)
