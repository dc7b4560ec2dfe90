"""PostgreSQL on a pool, READ COMMITTED: work that must not race takes a lock of `gateway.store.locks` first.

A deadlock or a lost race on a unique key runs the work again. Any number of gateways share one database.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import asyncpg
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import await_only, greenlet_spawn

from gateway.store.engine import Result, RuleError, StoreError, Values, Work
from gateway.store.migrate import migrate
from gateway.store.statements import Catalogue, Rows

CONNECTIONS = 12
WRITE_RETRIES = 5
COMMAND_TIMEOUT_SECONDS = 60
CLOSE_TIMEOUT_SECONDS = 5

BY_KEY = {"enable_seqscan": "off", "jit": "off"}
"""Settings of every session: what stands on a plan's way goes by key.

A connection keeps the plan of a statement; one made while a table was small reads the whole table until its statistics change
(https://www.postgresql.org/docs/15/sql-prepare.html, Notes). With scans priced out of the choice, a scan that is meant would be compiled.
"""

_CATALOGUE = Catalogue(dialect.dialect())  # type: ignore[no-untyped-call] # SQLAlchemy has no type here


class PostgresTransaction:
    """Runs statements on one connection, in a greenlet that waits where plain functions cannot."""

    database = "postgresql"

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    def execute(self, statement: ClauseElement, values: Values | Sequence[Values] = {}) -> Rows:  # noqa: B006 - never changed
        """Run one statement, once for each of a list of values. Raises StoreError."""
        if not isinstance(values, Mapping):
            prepared = _CATALOGUE.prepared(statement, values[0])
            rows = [prepared.arguments(each) for each in values]
            await_only(self._connection.executemany(prepared.text, rows))
            return Rows([], len(rows))
        prepared = _CATALOGUE.prepared(statement, values)
        arguments = prepared.arguments(values)
        if prepared.gives_rows:
            found = await_only(self._connection.fetch(prepared.text, *arguments))
            return Rows(prepared.rows(found), len(found))
        status: str = await_only(self._connection.execute(prepared.text, *arguments))
        written = status.rpartition(" ")[2]
        return Rows([], int(written) if written.isdigit() else 0)


class PostgresStore:
    """One database, for any number of gateways."""

    alone = False

    def __init__(self, address: str, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._address = address
        self._pool = pool

    async def read(self, work: Work[Result]) -> Result:
        """Run `work`, each statement by itself."""
        with answering():
            async with self._pool.acquire() as connection:
                found: Result = await greenlet_spawn(work, PostgresTransaction(connection))
                return found

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` and commit, again when it lost a race."""
        with answering():
            for _ in range(WRITE_RETRIES - 1):
                with contextlib.suppress(asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError):
                    return await self._written(work)
            return await self._written(work)

    async def close(self) -> None:
        """Let go of the pool."""
        await self._pool.close()

    async def dedicated(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Return a connection of one's own, for what belongs to a session: listening, and locks beyond a transaction.

        Whoever asks for it ends it with `let_go`, and uses it within `answering()`. Raises StoreError.
        """
        with answering():
            return await asyncpg.connect(
                self._address, timeout=COMMAND_TIMEOUT_SECONDS, command_timeout=COMMAND_TIMEOUT_SECONDS
            )

    async def _written(self, work: Work[Result]) -> Result:
        async with self._pool.acquire() as connection, connection.transaction():
            found: Result = await greenlet_spawn(work, PostgresTransaction(connection))
            return found


async def open_postgres(url: str, metadata_name: str) -> PostgresStore:
    """Open and migrate. Raises SQLAlchemyError or OSError."""
    address = url.replace("postgres://", "postgresql://", 1)
    engine = create_async_engine(address.replace("postgresql://", "postgresql+asyncpg://", 1))
    async with engine.begin() as connection:
        await connection.run_sync(lambda sync: migrate(sync, metadata_name))
    await engine.dispose()
    pool = await asyncpg.create_pool(
        address,
        min_size=1,
        max_size=CONNECTIONS,
        statement_cache_size=500,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        reset=_nothing,
        server_settings=BY_KEY,
    )
    return PostgresStore(address, pool)


async def let_go(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Close a dedicated connection, also one whose other end is gone."""
    try:
        await connection.close(timeout=CLOSE_TIMEOUT_SECONDS)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        connection.terminate()


async def _nothing(_connection: object) -> None:
    """Nothing of a session is ever set on a pooled connection, so nothing must be set back."""


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Turn every way in which the driver says that the database failed into StoreError."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise RuleError("a rule of the database refused this") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise StoreError("the database did not answer") from error
