"""Plans, their versions and whom they are about. A row's `body` is sealed; this file never sees a plan."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Integer, String, bindparam, func, insert, select, update

from gateway.store.tables import idempotency, plan, plan_resident, plan_version, resident_identifier
from gateway.store.upsert import insert_absent


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


_BY_FINGERPRINT = select(resident_identifier.c.fingerprint, resident_identifier.c.resident).where(
    resident_identifier.c.fingerprint.in_(bindparam("fingerprints", expanding=True))
)
_PLAN = select(plan.c.id, plan.c.source, plan.c.version)
_BY_NUMBER = _PLAN.where(plan.c.number_fingerprint == bindparam("number"))
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


def residents_by_fingerprint(tx: Connection, fingerprints: list[str]) -> dict[str, str]:
    """Return resident ids by the keyed hash of their identifiers; unknown ones are absent."""
    rows = tx.execute(_BY_FINGERPRINT, {"fingerprints": fingerprints})
    return {row.fingerprint: row.resident for row in rows}


def add_resident(tx: Connection, fingerprint: str, resident: str) -> str:
    """Remember a resident by an identifier; return the resident that has it now, which may be another."""
    if insert_absent(tx, resident_identifier, {"fingerprint": fingerprint, "resident": resident}):
        return resident
    return residents_by_fingerprint(tx, [fingerprint])[fingerprint]


def plan_by_number(tx: Connection, number_fingerprint: str) -> PlanRow | None:
    """Return the plan that a source knows by this number."""
    return _to_plan(tx.execute(_BY_NUMBER, {"number": number_fingerprint}).one_or_none())


def plan_by_id(tx: Connection, plan_id: str) -> PlanRow | None:
    """Return the plan, or None."""
    return _to_plan(tx.execute(_BY_ID, {"key": plan_id}).one_or_none())


def version_of(tx: Connection, plan_id: str, version: int | None = None) -> VersionRow | None:
    """Return a version of a plan, by default the current one."""
    row = tx.execute(_VERSION, {"key": plan_id, "wanted": version}).one_or_none()
    return VersionRow(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping


def add_version(
    tx: Connection, row: VersionRow, *, source: str, number_fingerprint: str | None, residents: tuple[str, ...]
) -> bool:
    """Keep a new version and make it the current one; False when another version came first, and nothing was written."""
    if row.version == 1:
        made = {"id": row.plan, "source": source, "number_fingerprint": number_fingerprint, "version": 1}
        if not insert_absent(tx, plan, made):
            return False
    else:
        moved = tx.execute(
            _NEXT, {"key": row.plan, "before": row.version - 1, "after": row.version, "number": number_fingerprint}
        )
        if moved.rowcount != 1:
            return False
    tx.execute(_ADD_VERSION, {name: getattr(row, name) for name in row.__struct_fields__})
    for resident in residents:
        insert_absent(tx, plan_resident, {"plan": row.plan, "resident": resident})
    return True


def plans_of_resident(tx: Connection, resident: str) -> tuple[PlanRow, ...]:
    """Return the plans that a resident is or was a subject of."""
    rows = tx.execute(
        select(plan.c.id, plan.c.source, plan.c.version)
        .join(plan_resident, plan_resident.c.plan == plan.c.id)
        .where(plan_resident.c.resident == resident)
        .order_by(plan.c.id)
    )
    return tuple(PlanRow(id=row.id, source=row.source, version=row.version) for row in rows)


def plans_from(tx: Connection, plan_ids: Iterable[str], source: str) -> frozenset[str]:
    """Return those of these plans that an organisation is the source of."""
    return frozenset(
        tx.execute(select(plan.c.id).where(plan.c.id.in_(list(plan_ids)), plan.c.source == source)).scalars()
    )


def count_plans(tx: Connection) -> int:
    """Return how many plans there are."""
    return int(tx.execute(select(func.count()).select_from(plan)).scalar_one())


def key_use(tx: Connection, client: str, key: str) -> KeyUse | None:
    """Return what a client used an Idempotency-Key for."""
    row = tx.execute(select(idempotency).where(idempotency.c.client == client, idempotency.c.key == key)).one_or_none()
    if row is None:
        return None
    return KeyUse(
        body_fingerprint=row.body_fingerprint,
        plan=row.plan,
        version=row.version,
        outcome=row.outcome,
        deliveries=tuple(json.loads(row.deliveries)),
    )


def add_key_use(tx: Connection, client: str, key: str, use: KeyUse, at: datetime) -> bool:
    """Remember the use of a key; False when it was used meanwhile."""
    row = {name: getattr(use, name) for name in use.__struct_fields__}
    row["deliveries"] = json.dumps(use.deliveries)
    return insert_absent(tx, idempotency, {"client": client, "key": key, "at": at, **row})


def _to_plan(row: Any) -> PlanRow | None:
    return PlanRow(id=row.id, source=row.source, version=row.version) if row else None
