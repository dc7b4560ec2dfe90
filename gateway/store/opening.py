"""Open the database that a URL names, and bring its tables to today's version."""

import asyncio
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from gateway.store.engine import Store, StoreError
from gateway.store.postgres import open_postgres
from gateway.store.sqlite import SqliteStore

_SQLITE = "sqlite:///"


async def open_store(url: str, metadata_name: str = "planbrug") -> Store:
    """Open the database at `url`. `metadata_name` is "planbrug" or "keys". Raises StoreError when it cannot be reached."""
    try:
        if url.startswith(_SQLITE):
            path = Path(url.removeprefix(_SQLITE))
            path.parent.mkdir(parents=True, exist_ok=True)
            return await asyncio.to_thread(SqliteStore, str(path), metadata_name)
        return await open_postgres(url, metadata_name)
    except (SQLAlchemyError, StoreError, OSError) as error:
        raise StoreError("the database cannot be opened; check DATABASE_URL and that it runs") from error
