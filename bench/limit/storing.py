"""The limit's storage: whatever waits goes into one commit. The rows have the sizes of the gateway's own, and no meaning.

Delivery: id, sequence, recipient, state (1 planned, 2 receipted). Per plan one row with the sealed plan and the sealed source.
"""

import asyncio
import queue
import sqlite3
import threading
from typing import Any, Protocol

import asyncpg

BATCH = 50

TABLES = (
    "CREATE TABLE plan (id {text} PRIMARY KEY, body {blob} NOT NULL, source_body {blob} NOT NULL)",
    "CREATE TABLE delivery (seq {number} PRIMARY KEY, id {text} NOT NULL, recipient {number} NOT NULL, state {number} NOT NULL)",
    "CREATE TABLE receipt (seq {number} PRIMARY KEY, id {text} NOT NULL, sha256 {text} NOT NULL)",
)

PlanWork = tuple[str, bytes, bytes, list[tuple[int, str, int, int]]]
ReceiptWork = tuple[int, str, str]


class Storage(Protocol):
    """Keeps plans with their deliveries, and receipts."""

    def keep(self, work: PlanWork | ReceiptWork) -> "asyncio.Future[None]":
        """Keep one; done when committed."""
        ...


class Sqlite:
    """One writing thread with group commit."""

    def __init__(self, path: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[tuple[Any, asyncio.Future[None]]] = queue.SimpleQueue()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in ("page_size=8192", "journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=8000"):
            self._connection.execute(f"PRAGMA {pragma}")
        for table in TABLES:
            self._connection.execute(table.format(text="TEXT", blob="BLOB", number="INTEGER"))
        threading.Thread(target=self._write_forever, daemon=True).start()

    def keep(self, work: PlanWork | ReceiptWork) -> "asyncio.Future[None]":
        """Keep one; done when committed."""
        kept = self._loop.create_future()
        self._waiting.put((work, kept))
        return kept

    def _write_forever(self) -> None:
        while True:
            taken = [self._waiting.get()]
            while len(taken) < BATCH and not self._waiting.empty():
                taken.append(self._waiting.get())
            self._commit([work for work, _ in taken])
            self._loop.call_soon_threadsafe(_done, [kept for _, kept in taken])

    def _commit(self, works: list[Any]) -> None:
        plans, receipts = _parted(works)
        write = self._connection.executemany
        self._connection.execute("BEGIN IMMEDIATE")
        write("INSERT INTO plan VALUES (?, ?, ?)", [work[:3] for work in plans])
        write("INSERT INTO delivery VALUES (?, ?, ?, ?)", [row for work in plans for row in work[3]])
        write("INSERT INTO receipt VALUES (?, ?, ?)", receipts)
        write("UPDATE delivery SET state = 2 WHERE seq = ?", [work[:1] for work in receipts])
        self._connection.execute("COMMIT")


class Postgres:
    """Two connections that copy whatever waits."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._waiting: asyncio.Queue[tuple[Any, asyncio.Future[None]]] = asyncio.Queue()
        self._writers = [asyncio.ensure_future(self._write_forever()) for _ in range(2)]

    def keep(self, work: PlanWork | ReceiptWork) -> "asyncio.Future[None]":
        """Keep one; done when committed."""
        kept = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((work, kept))
        return kept

    async def _write_forever(self) -> None:
        while True:
            taken = [await self._waiting.get()]
            while len(taken) < BATCH and not self._waiting.empty():
                taken.append(self._waiting.get_nowait())
            await self._commit([work for work, _ in taken])
            _done([kept for _, kept in taken])

    async def _commit(self, works: list[Any]) -> None:
        plans, receipts = _parted(works)
        async with self._pool.acquire() as connection, connection.transaction():
            if plans:
                await connection.copy_records_to_table("plan", records=[work[:3] for work in plans])
                await connection.copy_records_to_table("delivery", records=[row for work in plans for row in work[3]])
            if receipts:
                await connection.copy_records_to_table("receipt", records=receipts)
                numbers = [work[0] for work in receipts]
                await connection.execute("UPDATE delivery SET state = 2 WHERE seq = ANY($1::bigint[])", numbers)


async def open_storage(url: str) -> Storage:
    """Open the database and make the tables."""
    if url.startswith("sqlite:///"):
        return Sqlite(url.removeprefix("sqlite:///"))
    pool = await asyncpg.create_pool(url, min_size=2, max_size=2)
    for table in TABLES:
        await pool.execute(table.format(text="text", blob="bytea", number="bigint"))
    return Postgres(pool)


def _parted(works: list[Any]) -> tuple[list[Any], list[Any]]:
    return [work for work in works if len(work) == 4], [work for work in works if len(work) == 3]


def _done(futures: "list[asyncio.Future[None]]") -> None:
    for each in futures:
        if not each.done():
            each.set_result(None)
