"""SQLite, embedded: one writer with group commit, and a reader beside it (WAL, every commit synced).

Statements run where the work is, and only the commit, which waits for the disk, in a thread: what comes in meanwhile makes the next group.
"""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import ClauseElement, create_engine
from sqlalchemy.dialects import sqlite

from gateway.store.engine import Result, RuleError, StoreError, Values, Work
from gateway.store.migrate import migrate
from gateway.store.statements import Catalogue, Rows

GROUP_COMMIT = 32
"""Pieces of work in one commit at most: more adds latency and no speed."""

_PRAGMAS = (
    "page_size=8192",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "cache_size=-65536",
    "wal_autocheckpoint=4000",
    "journal_size_limit=67108864",
)
_CATALOGUE = Catalogue(sqlite.dialect())


class SqliteTransaction:
    """Runs statements on one connection."""

    database = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: ClauseElement, values: Values | Sequence[Values] = {}) -> Rows:  # noqa: B006 - never changed
        """Run one statement, once for each of a list of values. Raises StoreError."""
        with _wrapped():
            if not isinstance(values, Mapping):
                prepared = _CATALOGUE.prepared(statement, values[0])
                cursor = self._connection.executemany(prepared.text, map(prepared.arguments, values))
                return Rows([], cursor.rowcount)
            prepared = _CATALOGUE.prepared(statement, values)
            cursor = self._connection.execute(prepared.text, prepared.arguments(values))
            found = prepared.rows(cursor.fetchall()) if prepared.gives_rows else []
            return Rows(found, cursor.rowcount)


class _Piece:
    """One piece of work, and the future that somebody waits for."""

    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Work[Any], future: "asyncio.Future[Any]") -> None:
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Tell whoever waits, if they still do."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class SqliteStore:
    """One file, for one process."""

    alone = True

    def __init__(self, path: str, metadata_name: str) -> None:
        """Open and migrate. Blocks: call it from a thread."""
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            migrate(connection, metadata_name)
        engine.dispose()
        with _wrapped():
            self._writer = _connected(path)
            self._reader = _connected(path)
        self._committing = ThreadPoolExecutor(1, "planbrug-commit")
        self._waiting: deque[_Piece] = deque()
        self._running: asyncio.Task[None] | None = None

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` on one snapshot, at once: in WAL mode nothing keeps a reader waiting, and a thread would cost more."""
        with _wrapped():
            self._reader.execute("BEGIN")
            try:
                return work(SqliteTransaction(self._reader))
            finally:
                self._reader.execute("COMMIT")

    async def write(self, work: Work[Result]) -> Result:
        """Let `work` be part of the next group, and wait until that is committed."""
        piece = _Piece(work, asyncio.get_running_loop().create_future())
        self._waiting.append(piece)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._write_all(), name="planbrug-writer")
        result: Result = await piece.future
        return result

    async def close(self) -> None:
        """Finish what waits, and let go of the file."""
        if self._running is not None:
            await self._running
        self._committing.shutdown()
        self._reader.close()
        self._writer.close()

    async def _write_all(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(GROUP_COMMIT, len(self._waiting)))]
            try:
                await self._commit_together(group)
            except (StoreError, sqlite3.Error) as error:
                for piece in group:
                    piece.error = StoreError("the database could not commit; nothing was kept")
                    piece.error.__cause__ = error
            for piece in group:
                piece.settle()

    async def _commit_together(self, group: list[_Piece]) -> None:
        """Commit pieces in one transaction, each in a savepoint, so that one that fails takes no other along; one alone needs none."""
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            transaction = SqliteTransaction(self._writer)
            if len(group) == 1:
                await self._run_alone(transaction, group[0])
                return
            for piece in group:
                self._run_in_savepoint(transaction, piece)
            await self._commit()
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    async def _run_alone(self, transaction: SqliteTransaction, piece: _Piece) -> None:
        try:
            piece.result = piece.work(transaction)
        except Exception as error:  # noqa: BLE001 - the top of one piece of work: its error belongs to whoever waits for it
            piece.error = error
            self._writer.execute("ROLLBACK")
            return
        await self._commit()

    def _run_in_savepoint(self, transaction: SqliteTransaction, piece: _Piece) -> None:
        self._writer.execute("SAVEPOINT piece")
        try:
            piece.result = piece.work(transaction)
        except Exception as error:  # noqa: BLE001 - as above
            piece.error = error
            self._writer.execute("ROLLBACK TO piece")
        self._writer.execute("RELEASE piece")

    async def _commit(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._committing, self._writer.execute, "COMMIT")


def _connected(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False, cached_statements=512)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextlib.contextmanager
def _wrapped() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise RuleError("a rule of the database refused this") from error
    except sqlite3.Error as error:
        raise StoreError("the database did not answer") from error
