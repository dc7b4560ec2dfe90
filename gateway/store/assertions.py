"""Client assertions that were used: each `jti` once, until it expires."""

from datetime import datetime

from sqlalchemy import bindparam, delete

from gateway.store.engine import Transaction
from gateway.store.tables import used_assertion
from gateway.store.upsert import insert_absent

_EXPIRED = delete(used_assertion).where(used_assertion.c.expires_at < bindparam("now"))


def use_assertion(tx: Transaction, client: str, jti: str, expires_at: datetime, now: datetime) -> bool:
    """Remember an assertion; False when it was used before."""
    tx.execute(_EXPIRED, {"now": now})
    return insert_absent(tx, used_assertion, {"client": client, "jti": jti, "expires_at": expires_at})
