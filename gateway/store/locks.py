"""Locks between processes, held until the transaction ends. SQLite has one writer, who needs none.

A name is locked by a hash of it; two names of one hash wait for each other, which costs time and nothing else. The kinds:

resident  alone by who changes choices; shared by every send until its last byte (`gateway.store.session_locks`)
choices   alone by who changes them, after `resident`; shared by every transaction that acts on them
plan, view         alone, after `choices`
readers            alone by who becomes a reader under FHIR; shared, before all else, by who marks what readers no longer know
lane               alone, after those: by a send that begins, and by whoever ends what is pending there
"""

from collections.abc import Iterable

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import String

from gateway.store.engine import Transaction

_NAMES = bindparam("names", type_=ARRAY(String()))
_EACH = "FROM (SELECT hashtextextended(name, 0) AS key FROM unnest(:names) AS name) AS keys"
_ALONE = text(f"SELECT pg_advisory_xact_lock(key) {_EACH}").bindparams(_NAMES)
_SHARED = text(f"SELECT pg_advisory_xact_lock_shared(key) {_EACH}").bindparams(_NAMES)


def lock(tx: Transaction, kind: str, *names: str, shared: bool = False, also: tuple[str, ...] = ()) -> None:
    """Wait until this transaction has these names of a kind, alone or shared, always in the same order.

    `also`: names with their kind before them, that are taken in the same statement.
    """
    wanted = [*also, *(f"{kind} {name}" for name in sorted(set(names)))]
    if tx.database != "postgresql" or not wanted:
        return
    tx.execute(_SHARED if shared else _ALONE, {"names": wanted})


def lock_lanes(tx: Transaction, lanes: Iterable[tuple[str, str, str]]) -> None:
    """Wait until nothing begins in these lanes, (plan, recipient, lane) each: what is pending there then stays so.

    All lanes of a transaction at once, for else two could wait for each other.
    """
    lock(tx, "lane", *(lane_key(*lane) for lane in lanes))


def lane_key(plan_id: str, recipient: str, lane: str) -> str:
    """Return the name of a lane between processes."""
    return f"{plan_id}/{recipient}/{lane}"
