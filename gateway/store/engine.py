"""Run work in a transaction. Work is a plain function of a connection, so that the same code runs on both databases.

SQLite has one writer: a thread takes whatever work is waiting and commits it together (group commit), each piece in a savepoint of
its own. PostgreSQL runs each piece in its own transaction on a pool.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.store.migrate import migrate

Transaction = Connection
"""What work runs in; the rest of the gateway knows it by this name only."""

Result = TypeVar("Result")
Work = Callable[[Transaction], Result]

GROUP_COMMIT = 32
"""Pieces of work in one SQLite commit at most: more adds latency and no speed."""

WRITE_RETRIES = 5


class StoreError(Exception):
    """The database did not answer, or refused; nothing of the work is kept."""


class Store(Protocol):
    """Reads and writes, each in one transaction. `alone`: no other process writes to this database."""

    alone: bool

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` on one snapshot. Raises StoreError when the database fails."""
        ...

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` and commit; on an exception nothing of it is kept. `work` may run twice, so it has no other effect."""
        ...

    async def close(self) -> None:
        """Finish what runs and let go of the database."""
        ...


async def open_store(url: str, metadata_name: str = "planbrug") -> Store:
    """Open the database at `url`, and bring its tables to today's version.

    `metadata_name` is "planbrug" or "keys". Raises StoreError when it cannot be reached.
    """
    try:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            return await asyncio.to_thread(SqliteStore, url, metadata_name)
        return await _open_postgres(url, metadata_name)
    except (DBAPIError, OSError) as error:
        raise StoreError("the database cannot be opened; check DATABASE_URL and that it runs") from error


class SqliteStore:
    """SQLite in WAL mode: one writing thread with group commit, readers beside it."""

    alone = True

    def __init__(self, url: str, metadata_name: str) -> None:
        """Open, migrate and start the writer. Blocks: call it from a thread."""
        self._engine = _sqlite_engine(url)
        with self._engine.begin() as connection:
            migrate(connection, metadata_name)
        self._reader = self._engine.connect()
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_forever, name="planbrug-writer", daemon=True)
        self._writer.start()

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` on a reader's snapshot, at once: in WAL mode nothing keeps a reader waiting, and a thread would cost more."""
        return self._read(work)

    async def write(self, work: Work[Result]) -> Result:
        """Hand `work` to the writer and wait until it is committed."""
        piece = _Piece(work, asyncio.get_running_loop())
        self._queue.put(piece)
        result: Result = await piece.future
        return result

    async def close(self) -> None:
        """Let the writer finish."""
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)
        self._reader.close()
        self._engine.dispose()

    def _read(self, work: Work[Result]) -> Result:
        try:
            with self._reader.begin():
                return work(self._reader)
        except OperationalError as error:
            raise StoreError("the database did not answer") from error

    def _write_forever(self) -> None:
        closing = False
        with self._engine.connect() as connection:
            while not closing:
                taken = self._taken()
                closing = None in taken
                _commit_together(connection, [piece for piece in taken if piece is not None])

    def _taken(self) -> "list[_Piece | None]":
        """Take what waits, at least one; None asks the writer to end."""
        taken = [self._queue.get()]
        with contextlib.suppress(queue.Empty):
            while len(taken) < GROUP_COMMIT:
                taken.append(self._queue.get_nowait())
        return taken


class _Piece:
    """One piece of work, and the future that somebody waits for."""

    def __init__(self, work: Work[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Tell the waiting task, on its own loop."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def _commit_together(connection: Connection, pieces: list[_Piece]) -> None:
    """Commit pieces in one transaction, each in a savepoint, so that one that fails takes no other along; one alone needs none."""
    run = _run_in_savepoint if len(pieces) > 1 else _run_alone
    try:
        with connection.begin() as transaction:
            for piece in pieces:
                run(connection, piece)
            if pieces and run is _run_alone and pieces[0].error is not None:
                transaction.rollback()
    except DBAPIError as error:
        for piece in pieces:
            piece.error = StoreError("the database could not commit; nothing was kept")
            piece.error.__cause__ = error
    for piece in pieces:
        piece.settle()


def _run_alone(connection: Connection, piece: _Piece) -> None:
    try:
        piece.result = piece.work(connection)
    except Exception as error:  # noqa: BLE001 - as in a savepoint
        piece.error = error


def _run_in_savepoint(connection: Connection, piece: _Piece) -> None:
    try:
        with connection.begin_nested():
            piece.result = piece.work(connection)
    except Exception as error:  # noqa: BLE001 - the top of one piece of work: its error belongs to whoever waits for it
        piece.error = error


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": 30})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (
            "page_size=8192",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "cache_size=-65536",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = threading.current_thread().name == "planbrug-writer"
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


class PostgresStore:
    """PostgreSQL on a pool, READ COMMITTED: work that must not race takes a lock of `gateway.store.locks` first.

    A deadlock or a lost race on a unique key runs the work again.
    """

    alone = False

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` on one snapshot."""
        return await self._run(work)

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` and commit, again when it lost a race."""
        for attempt in range(1, WRITE_RETRIES + 1):
            try:
                return await self._run(work)
            except DBAPIError as error:
                if attempt == WRITE_RETRIES or not _lost_a_race(error):
                    raise
        raise StoreError("too many writers at once; try again")

    async def close(self) -> None:
        """Let go of the pool."""
        await self._engine.dispose()

    async def _run(self, work: Work[Result]) -> Result:
        try:
            async with self._engine.begin() as connection:
                return await connection.run_sync(work)
        except OSError as error:
            raise StoreError("the database did not answer") from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise StoreError("the database did not answer") from error
            raise


def _lost_a_race(error: DBAPIError) -> bool:
    """Say whether the transaction may be run again: a deadlock, or a unique key that somebody else just took."""
    return getattr(error.orig, "sqlstate", None) in {"40P01", "23505"}


async def _open_postgres(url: str, metadata_name: str) -> PostgresStore:
    address = url.replace("postgres://", "postgresql://", 1).replace("postgresql://", "postgresql+asyncpg://", 1)
    engine = create_async_engine(address, pool_size=8, max_overflow=8)
    async with engine.begin() as connection:
        await connection.run_sync(lambda sync: migrate(sync, metadata_name))
    return PostgresStore(engine)
