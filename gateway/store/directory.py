"""The organisations that this gateway knows, as JSON; and the marks that a database carries."""

from sqlalchemy import Connection, func, select

from gateway.store.tables import meta, organisation
from gateway.store.upsert import insert_absent, upsert

_VERSION = select(func.coalesce(func.sum(organisation.c.version), 0))


def put_organisation(tx: Connection, organisation_id: str, body: str) -> bool:
    """Write one entry; say whether it changed anything."""
    row = tx.execute(select(organisation).where(organisation.c.id == organisation_id)).one_or_none()
    if row and row.body == body:
        return False
    upsert(tx, organisation, {"id": organisation_id, "body": body, "version": row.version + 1 if row else 1})
    return True


def all_organisations(tx: Connection) -> tuple[str, ...]:
    """Return every entry's JSON."""
    return tuple(tx.execute(select(organisation.c.body).order_by(organisation.c.id)).scalars())


def directory_version(tx: Connection) -> int:
    """Return a number that grows with every change of the directory."""
    return int(tx.execute(_VERSION).scalar_one())


def mark(tx: Connection, name: str, value: str) -> str:
    """Mark a fresh database once; return the mark that it carries."""
    insert_absent(tx, meta, {"name": name, "value": value})
    return str(tx.execute(select(meta.c.value).where(meta.c.name == name)).scalar_one())
