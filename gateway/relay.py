"""From the database to the broker: take what is due, publish its ids, and give back what the broker did not confirm.

Whatever the broker loses, the lease of a row brings back. A look every second is the safety net; a nudge makes it prompt.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from gateway.clock import Clock
from gateway.failpoints import Reach
from gateway.logs import Log
from gateway.store import choices as choice_rows
from gateway.store import schedule
from gateway.store.bell import Bell
from gateway.store.engine import Store

BATCH = 100
POLL_SECONDS = 1.0
PUBLISH_LEASE_SECONDS = 60
"""How long the broker and a deliverer have before a row is published again."""

Replan = Callable[[str], Awaitable[object]]


class Publisher(Protocol):
    """The side of the broker that the relay sees."""

    async def publish(self, delivery_ids: tuple[str, ...]) -> frozenset[str]:
        """Publish ids; return those that the broker confirmed."""
        ...


class Relay:
    """Publishes due deliveries, and looks again at residents whose answers may have changed by themselves."""

    def __init__(
        self, *, store: Store, broker: Publisher, replan: Replan, clock: Clock, log: Log, reach: Reach
    ) -> None:
        self._store = store
        self._broker = broker
        self._replan = replan
        self._clock = clock
        self._log = log
        self._reach = reach
        self._nudged = asyncio.Event()
        self._bell = Bell(store, clock.new_id(), self._nudged.set)

    def nudge(self) -> None:
        """Something became due just now; whoever is free takes it, here or in another gateway of this database."""
        self._nudged.set()
        self._bell.pull()

    async def run(self) -> None:
        """Relay until cancelled, and let the bell wake this relay and others."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear_forever(), name="bell")
            group.create_task(self._relay_forever(), name="relay")

    async def _hear_forever(self) -> None:
        while True:
            try:
                return await self._bell.run()
            except Exception as error:  # noqa: BLE001 - the top of the bell's loop: without it the relay looks every second
                self._log("bell_failed", error=type(error).__name__)
                await asyncio.sleep(POLL_SECONDS)

    async def _relay_forever(self) -> None:
        """What a former process of a database without other processes held is taken up at once."""
        if self._store.alone:
            await self._store.write(lambda tx: schedule.release_leases(tx, self._clock.now()))
        while True:
            self._nudged.clear()
            try:
                busy = await self.relay_once()
            except Exception as error:  # noqa: BLE001 - the top of the relay's loop: say it, and go on after a pause
                self._log("relay_failed", error=type(error).__name__)
                busy = False
            if not busy:
                await self._pause()

    async def relay_once(self) -> bool:
        """Publish one batch and answer due wake-ups; say whether there may be more."""
        now = self._clock.now()
        for resident in await self._store.read(lambda tx: choice_rows.due_wakeups(tx, now, BATCH)):
            await self._answer_wakeup(resident)
        lease = now + timedelta(seconds=PUBLISH_LEASE_SECONDS)
        ids = await self._store.read(lambda tx: schedule.due(tx, now, BATCH))
        if ids:
            ids = await self._store.write(lambda tx: schedule.claim_due(tx, now, lease, BATCH))
        if not ids:
            return False
        self._reach("relay-claimed")
        confirmed = await self._published(ids)
        self._reach("relay-published")
        self._log("relay_published", published=len(ids), confirmed=len(confirmed))
        return len(ids) == BATCH

    async def _published(self, ids: tuple[str, ...]) -> frozenset[str]:
        confirmed: frozenset[str] = frozenset()
        try:
            confirmed = await self._broker.publish(ids)
        finally:
            missed = set(ids) - confirmed
            if missed:
                at = self._clock.now() + timedelta(seconds=POLL_SECONDS)
                await self._store.write(lambda tx: schedule.look_again(tx, missed, at))
        return confirmed

    async def _answer_wakeup(self, resident: str) -> None:
        try:
            await self._replan(resident)
        except Exception as error:  # noqa: BLE001 - one resident's failure must not keep the others waiting
            self._log("replan_failed", resident=resident, error=type(error).__name__)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._nudged.wait()
        except TimeoutError:
            return
