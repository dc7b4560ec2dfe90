"""Plans, their versions and whom they are about. A row's `body` is sealed; this file never sees a plan."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Integer, String, bindparam, func, insert, select, update

from gateway.store.engine import Transaction
from gateway.store.statements import one_of
from gateway.store.tables import idempotency, plan, plan_resident, plan_version, resident_identifier
from gateway.store.upsert import insert_absent, insert_all_absent


class PlanRow(Struct, frozen=True, kw_only=True):
    """A plan and the number of its current version."""

    id: str
    source: str
    version: int


class VersionRow(Struct, frozen=True, kw_only=True):
    """One stored version. `body` and `source_body` are sealed; `fingerprint` is the keyed hash of its content."""

    plan: str
    version: int
    status: str
    format: str
    format_version: str
    fingerprint: str
    body: bytes
    source_body: bytes
    received_at: datetime
    received_from: str


class KeyUse(Struct, frozen=True, kw_only=True):
    """What an Idempotency-Key was used for."""

    body_fingerprint: str
    plan: str
    version: int
    outcome: str
    deliveries: tuple[str, ...] = ()


class NewVersion(Struct, frozen=True, kw_only=True):
    """A version to keep: of which source's plan, under which number, about whom."""

    row: VersionRow
    source: str
    number_fingerprint: str | None
    residents: tuple[str, ...]


_BY_FINGERPRINT = select(resident_identifier.c.fingerprint, resident_identifier.c.resident).where(
    one_of(resident_identifier.c.fingerprint, "fingerprints")
)
_PLAN = select(plan.c.id, plan.c.source, plan.c.version)
_BY_NUMBERS = _PLAN.add_columns(plan.c.number_fingerprint).where(one_of(plan.c.number_fingerprint, "numbers"))
_COUNT_THESE = select(func.count()).select_from(plan).where(one_of(plan.c.id, "ids"))
_BY_ID = _PLAN.where(plan.c.id == bindparam("key"))
_VERSION = (
    select(plan_version)
    .join(plan, plan.c.id == plan_version.c.plan)
    .where(
        plan.c.id == bindparam("key"),
        plan_version.c.version == func.coalesce(bindparam("wanted", type_=Integer), plan.c.version),
    )
)
_NEXT = (
    update(plan)
    .where(plan.c.id == bindparam("key"), plan.c.version == bindparam("before"))
    .values(
        version=bindparam("after"),
        number_fingerprint=func.coalesce(bindparam("number", type_=String), plan.c.number_fingerprint),
    )
)
_ADD_VERSION = insert(plan_version)
_VERSION_NAMES = VersionRow.__struct_fields__
_OF_RESIDENT = (
    _PLAN.join(plan_resident, plan_resident.c.plan == plan.c.id)
    .where(plan_resident.c.resident == bindparam("who"))
    .order_by(plan.c.id)
)
_FROM = select(plan.c.id).where(one_of(plan.c.id, "ids"), plan.c.source == bindparam("source"))
_COUNT = select(func.count()).select_from(plan)
_KEY_USE = select(idempotency).where(
    idempotency.c.client == bindparam("by_client"), idempotency.c.key == bindparam("under_key")
)


def residents_by_fingerprint(tx: Transaction, fingerprints: Iterable[str]) -> dict[str, str]:
    """Return resident ids by the keyed hash of their identifiers; unknown ones are absent."""
    rows = tx.execute(_BY_FINGERPRINT, {"fingerprints": fingerprints})
    return {row.fingerprint: row.resident for row in rows}


def add_resident(tx: Transaction, fingerprint: str, resident: str) -> str:
    """Remember a resident by an identifier; return the resident that has it now, which may be another."""
    if insert_absent(tx, resident_identifier, {"fingerprint": fingerprint, "resident": resident}):
        return resident
    return residents_by_fingerprint(tx, [fingerprint])[fingerprint]


def plans_by_number(tx: Transaction, number_fingerprints: Iterable[str]) -> dict[str, PlanRow]:
    """Return the plans that sources know by these numbers."""
    found = tx.execute(_BY_NUMBERS, {"numbers": number_fingerprints})
    return {row.number_fingerprint: PlanRow(id=row.id, source=row.source, version=row.version) for row in found}


def plan_by_id(tx: Transaction, plan_id: str) -> PlanRow | None:
    """Return the plan, or None."""
    return _to_plan(tx.execute(_BY_ID, {"key": plan_id}).one_or_none())


def version_of(tx: Transaction, plan_id: str, version: int | None = None) -> VersionRow | None:
    """Return a version of a plan, by default the current one."""
    row = tx.execute(_VERSION, {"key": plan_id, "wanted": version}).one_or_none()
    return VersionRow(**row._asdict()) if row else None


def add_versions(tx: Transaction, versions: Sequence[NewVersion]) -> bool:
    """Keep new versions and make them the current ones; False when another came first, and nothing of this may be kept."""
    first = [each for each in versions if each.row.version == 1]
    insert_all_absent(tx, plan, [_new_plan(each) for each in first])
    ids = [each.row.plan for each in first]
    if first and tx.execute(_COUNT_THESE, {"ids": ids}).scalar_one() != len(set(ids)):
        return False
    for each in versions:
        if each.row.version > 1 and tx.execute(_NEXT, _next(each)).rowcount != 1:
            return False
    if versions:
        tx.execute(_ADD_VERSION, [{name: getattr(each.row, name) for name in _VERSION_NAMES} for each in versions])
    about = [{"plan": each.row.plan, "resident": resident} for each in versions for resident in each.residents]
    insert_all_absent(tx, plan_resident, about)
    return True


def plans_of_resident(tx: Transaction, resident: str) -> tuple[PlanRow, ...]:
    """Return the plans that a resident is or was a subject of."""
    rows = tx.execute(_OF_RESIDENT, {"who": resident})
    return tuple(PlanRow(id=row.id, source=row.source, version=row.version) for row in rows)


def plans_from(tx: Transaction, plan_ids: Iterable[str], source: str) -> frozenset[str]:
    """Return those of these plans that an organisation is the source of."""
    return frozenset(tx.execute(_FROM, {"ids": plan_ids, "source": source}).scalars())


def count_plans(tx: Transaction) -> int:
    """Return how many plans there are."""
    return int(tx.execute(_COUNT).scalar_one())


def key_use(tx: Transaction, client: str, key: str) -> KeyUse | None:
    """Return what a client used an Idempotency-Key for."""
    row = tx.execute(_KEY_USE, {"by_client": client, "under_key": key}).one_or_none()
    if row is None:
        return None
    return KeyUse(
        body_fingerprint=row.body_fingerprint,
        plan=row.plan,
        version=row.version,
        outcome=row.outcome,
        deliveries=tuple(json.loads(row.deliveries)),
    )


def add_key_use(tx: Transaction, client: str, key: str, use: KeyUse, at: datetime) -> bool:
    """Remember the use of a key; False when it was used meanwhile."""
    row = {name: getattr(use, name) for name in use.__struct_fields__}
    row["deliveries"] = json.dumps(use.deliveries)
    return insert_absent(tx, idempotency, {"client": client, "key": key, "at": at, **row})


def _to_plan(row: Any) -> PlanRow | None:
    return PlanRow(id=row.id, source=row.source, version=row.version) if row else None


def _new_plan(each: NewVersion) -> dict[str, Any]:
    return {
        "id": each.row.plan,
        "source": each.source,
        "number_fingerprint": each.number_fingerprint,
        "version": each.row.version,
    }


def _next(each: NewVersion) -> dict[str, Any]:
    return {
        "key": each.row.plan,
        "before": each.row.version - 1,
        "after": each.row.version,
        "number": each.number_fingerprint,
    }
