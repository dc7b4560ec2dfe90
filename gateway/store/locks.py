"""Locks between processes, held until the transaction ends. SQLite has one writer, who needs none."""

from sqlalchemy import Connection, text

_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_SHARED = text("SELECT pg_advisory_xact_lock_shared(hashtextextended(:name, 0))")


def lock(tx: Connection, kind: str, *names: str, shared: bool = False) -> None:
    """Wait until this transaction has these names of a kind, alone or shared, always in the same order."""
    if tx.dialect.name != "postgresql":
        return
    for name in sorted(set(names)):
        tx.execute(_SHARED if shared else _ALONE, {"name": f"{kind} {name}"})
