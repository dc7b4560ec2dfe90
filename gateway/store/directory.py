"""The organisations that this gateway knows, as JSON; and the marks that a database carries."""

from sqlalchemy import bindparam, func, select

from gateway.store.engine import Transaction
from gateway.store.tables import meta, organisation
from gateway.store.upsert import insert_absent, upsert

VERSION = select(func.coalesce(func.sum(organisation.c.version), 0))
_ONE = select(organisation).where(organisation.c.id == bindparam("key"))
_BODIES = select(organisation.c.body).order_by(organisation.c.id)
_MARK = select(meta.c.value).where(meta.c.name == bindparam("key"))


def put_organisation(tx: Transaction, organisation_id: str, body: str) -> bool:
    """Write one entry; say whether it changed anything."""
    row = tx.execute(_ONE, {"key": organisation_id}).one_or_none()
    if row and row.body == body:
        return False
    upsert(tx, organisation, {"id": organisation_id, "body": body, "version": row.version + 1 if row else 1})
    return True


def all_organisations(tx: Transaction) -> tuple[str, ...]:
    """Return every entry's JSON."""
    return tuple(tx.execute(_BODIES).scalars())


def directory_version(tx: Transaction) -> int:
    """Return a number that grows with every change of the directory."""
    return int(tx.execute(VERSION).scalar_one())


def mark(tx: Transaction, name: str, value: str) -> str:
    """Mark a fresh database once; return the mark that it carries."""
    insert_absent(tx, meta, {"name": name, "value": value})
    return str(tx.execute(_MARK, {"key": name}).scalar_one())
