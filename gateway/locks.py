"""Locks between tasks of one process: residents (many senders or one change of choices) and lanes (one send at a time)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol


class Between(Protocol):
    """Shares residents between processes; the choices that a withdrawal changes are locked by its transaction."""

    async def share(self, names: Iterable[str]) -> None:
        """Share these names, waiting while somebody has one alone."""
        ...

    def leave(self, names: Iterable[str]) -> None:
        """Let go of them."""
        ...


class ResidentLocks:
    """A send shares its residents from the decision to the last byte; a change of choices has its resident alone.

    INVARIANT: no send begins between the start of `alone` and its end.
    """

    def __init__(self, between: Between | None = None) -> None:
        self._locks: dict[str, _SharedLock] = {}
        self._between = between

    @asynccontextmanager
    async def shared(self, residents: Iterable[str]) -> AsyncIterator[Callable[[], None]]:
        """Share these residents; call what is yielded to let go early, when the last byte is written."""
        wanted = sorted(set(residents))
        held: list[_SharedLock] = []
        shared: list[str] = []

        def let_go() -> None:
            while held:
                held.pop().leave()
            if shared and self._between is not None:
                self._between.leave(shared)
                shared.clear()

        try:
            for resident in wanted:
                lock = self._locks.setdefault(resident, _SharedLock())
                await lock.join()
                held.append(lock)
            if self._between is not None:
                await self._between.share(wanted)
                shared += wanted
            yield let_go
        finally:
            let_go()

    @asynccontextmanager
    async def alone(self, resident: str) -> AsyncIterator[None]:
        """Wait until no send shares this resident, and let none begin."""
        lock = self._locks.setdefault(resident, _SharedLock())
        async with lock.gate:
            await lock.empty.wait()
            yield


class _SharedLock:
    """Whoever is alone holds the gate, so that nobody joins; it waits until those who had joined have left."""

    def __init__(self) -> None:
        self.gate = asyncio.Lock()
        self.empty = asyncio.Event()
        self.empty.set()
        self._sharing = 0

    async def join(self) -> None:
        async with self.gate:
            self._sharing += 1
            self.empty.clear()

    def leave(self) -> None:
        self._sharing -= 1
        if not self._sharing:
            self.empty.set()


class LaneLocks:
    """One delivery at a time per lane, in the order of asking; a lane that nobody uses costs nothing."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def hold(self, lane: str) -> AsyncIterator[None]:
        """Have this lane alone."""
        lock = self._locks.setdefault(lane, asyncio.Lock())
        self._users[lane] = self._users.get(lane, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[lane] -= 1
            if not self._users[lane]:
                del self._users[lane], self._locks[lane]
