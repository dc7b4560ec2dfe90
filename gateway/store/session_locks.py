"""Hold residents shared between processes for longer than a transaction: from the decision to the last byte of a send.

PostgreSQL's session-level advisory locks, on a connection of their own. A withdrawal takes the same name alone (`gateway.store.locks`),
and so waits for the last bytes of every process. When the connection is lost its locks are too: what had begun is in the receipts, and
what begins is still ordered by the lock on `choices` in its transaction.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from gateway.batch import Batch
from gateway.store.engine import StoreError
from gateway.store.postgres import PostgresStore, answering, let_go

TRY_AGAIN_SECONDS = 0.01
_KEY = "hashtextextended('resident ' || name, 0)"
_SHARE = f"SELECT name, pg_try_advisory_lock_shared({_KEY}) FROM unnest($1::text[]) AS name"  # noqa: S608 - constants
_RELEASE = f"SELECT pg_advisory_unlock_shared({_KEY}) FROM unnest($1::text[]) AS name"  # noqa: S608


class SessionLocks:
    """The residents that this process shares, however many of its sends do."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._users: Counter[str] = Counter()
        self._held: set[str] = set()
        self._connection: Any = None
        self._changing: Batch[tuple[str, ...], bool] = Batch(self._changed, most=256)
        self._releasing: set[asyncio.Task[bool]] = set()

    async def share(self, names: Iterable[str]) -> None:
        """Share these names, waiting while somebody has one alone or wants it. Raises StoreError."""
        wanted = tuple(names)
        self._users.update(wanted)
        try:
            while not self._holds(wanted) and not await self._changing.ask(wanted):  # noqa: ASYNC110
                await asyncio.sleep(TRY_AGAIN_SECONDS)
        except BaseException:
            self.leave(wanted)
            raise

    def leave(self, names: Iterable[str]) -> None:
        """Let go of these names; the last user of one lets its lock go."""
        for name in names:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]
        if self._held - self._users.keys():
            task = asyncio.create_task(self._changing.ask(()))
            self._releasing.add(task)
            task.add_done_callback(self._released)

    async def close(self) -> None:
        """Let go of everything."""
        await asyncio.gather(*self._releasing, return_exceptions=True)
        if self._connection is not None:
            await let_go(self._connection)

    def _released(self, task: "asyncio.Task[bool]") -> None:
        self._releasing.discard(task)
        if not task.cancelled():
            task.exception()

    def _holds(self, names: Iterable[str]) -> bool:
        return self._connection is not None and not self._connection.is_closed() and self._held.issuperset(names)

    async def _changed(self, asked: Sequence[tuple[str, ...]]) -> list[bool]:
        """Let go of what nobody uses, and take what somebody does; say per question whether its names are held."""
        try:
            with answering():
                await self._connect()
                await self._release(self._held - self._users.keys())
                await self._share({name for names in asked for name in names if self._users[name]} - self._held)
        except StoreError:
            self._forget()
            raise
        return [self._holds(names) for names in asked]

    async def _connect(self) -> None:
        if self._connection is None or self._connection.is_closed():
            self._forget()
            self._connection = await self._store.dedicated()

    def _forget(self) -> None:
        """Hold nothing any more: with its connection every lock is gone, also one that we do not know whether we got it."""
        self._held.clear()
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _release(self, names: set[str]) -> None:
        self._held -= names  # first, so that nobody counts on them while they go
        if names:
            await self._connection.fetch(_RELEASE, sorted(names))

    async def _share(self, names: set[str]) -> None:
        if names:
            found = await self._connection.fetch(_SHARE, sorted(names))
            self._held |= {name for name, taken in found if taken}
