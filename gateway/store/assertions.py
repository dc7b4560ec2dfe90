"""Client assertions that were used: each `jti` once, until it expires."""

from datetime import datetime

from sqlalchemy import Connection, delete

from gateway.store.tables import used_assertion
from gateway.store.upsert import insert_absent


def use_assertion(tx: Connection, client: str, jti: str, expires_at: datetime, now: datetime) -> bool:
    """Remember an assertion; False when it was used before."""
    tx.execute(delete(used_assertion).where(used_assertion.c.expires_at < now))
    return insert_absent(tx, used_assertion, {"client": client, "jti": jti, "expires_at": expires_at})
