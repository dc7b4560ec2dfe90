"""A recipient that answers slowly: a few deliveries are in hand for it, the rest is put off in the database until there is room.

So it delays nobody else, costs nothing while it hangs, and gets on at once when it answers again.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from gateway.batch import Batch
from gateway.clock import Clock
from gateway.store import schedule
from gateway.store.deliveries import DeliveryRow
from gateway.store.engine import Store, StoreError

SLOW_SECONDS = 1.0
"""A recipient that has kept one delivery for longer than this is slow."""

PUT_OFF_SECONDS = 60
"""When to look again at what was put off, if nobody called it back before: this process may be gone."""

TOGETHER = 512


class Gates:
    """A few deliveries at a time per recipient, in the order of coming, and the rest at the gate.

    At the gate of a slow recipient `waiting` may stand, at that of a quick one `most` with those inside.
    """

    def __init__(self, *, at_once: int, waiting: int, most: int, ticks: Callable[[], float]) -> None:
        self._at_once = at_once
        self._most_if_slow = at_once + waiting
        self._most = most
        self._ticks = ticks
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()
        self._inside: dict[str, dict[object, float]] = {}

    def crowded(self, recipient: str) -> bool:
        """Say whether so many wait for this recipient that the next should come back later."""
        users = self._users[recipient]
        return users >= self._most or (users >= self._most_if_slow and self._is_slow(recipient))

    def has_room(self, recipient: str) -> bool:
        """Say whether nobody waits at the gate."""
        return self._users[recipient] < self._at_once

    @asynccontextmanager
    async def through(self, recipient: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it."""
        gate = self._gates.setdefault(recipient, asyncio.Semaphore(self._at_once))
        self._users[recipient] += 1
        try:
            async with gate:
                inside, visit = self._inside.setdefault(recipient, {}), object()
                inside[visit] = self._ticks()
                try:
                    yield
                finally:
                    del inside[visit]
        finally:
            self._users[recipient] -= 1

    def _is_slow(self, recipient: str) -> bool:
        oldest = next(iter(self._inside.get(recipient, {}).values()), None)
        return oldest is not None and self._ticks() - oldest > SLOW_SECONDS


class Crowds:
    """Admits deliveries to their recipients, and puts off what there is no room for."""

    def __init__(self, *, store: Store, gates: Gates, clock: Clock, nudge: Callable[[], None]) -> None:
        self._store = store
        self._gates = gates
        self._clock = clock
        self._nudge = nudge
        self._put_off: set[str] = set()
        self._putting_off: Batch[DeliveryRow, None] = Batch(self._put_off_together, most=TOGETHER)
        self._calling: set[asyncio.Task[None]] = set()

    async def admits(self, row: DeliveryRow) -> bool:
        """Say whether a delivery may go to the gate; otherwise it was put off."""
        if not self._gates.crowded(row.recipient):
            return True
        await self._putting_off.ask(row)
        self._put_off.add(row.recipient)
        if self._gates.has_room(row.recipient):
            self._begin_calling_back(row.recipient)
        return False

    @asynccontextmanager
    async def through(self, recipient: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it; whoever leaves room behind calls back what was put off."""
        try:
            async with self._gates.through(recipient):
                yield
        finally:
            if recipient in self._put_off and self._gates.has_room(recipient):
                self._begin_calling_back(recipient)

    def _begin_calling_back(self, recipient: str) -> None:
        self._put_off.discard(recipient)
        task = asyncio.create_task(self._call_back(recipient))
        self._calling.add(task)
        task.add_done_callback(self._calling.discard)

    async def _put_off_together(self, found: Sequence[DeliveryRow]) -> Sequence[None]:
        now = self._clock.now()
        until = now + timedelta(seconds=PUT_OFF_SECONDS)
        await self._store.write(partial(schedule.put_off, delivery_ids=[row.id for row in found], until=until, now=now))
        return [None] * len(found)

    async def _call_back(self, recipient: str) -> None:
        """Let the next of a recipient be taken again; with as many as there is room for, there may be more."""
        now = self._clock.now()
        try:
            called = await self._store.write(lambda tx: schedule.call_back(tx, recipient, schedule.CALLED_BACK, now))
        except StoreError:
            called = schedule.CALLED_BACK  # they come by themselves; the next who leaves tries again
        if called == schedule.CALLED_BACK:
            self._put_off.add(recipient)
        if called:
            self._nudge()
