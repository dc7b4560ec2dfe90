"""Wake deliveries inside this process, without RabbitMQ.

It is durable because the database is: the relay plans again every id that was never handed out or whose lease ran out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial

Wake = Callable[[str], Awaitable[None]]
"""Is handed one delivery id; returning is done, raising is try again."""
Report = Callable[[str, dict[str, object]], None]
"""Is handed the name of an event and its fields; fields never hold ids, addresses or message bodies."""

CAPACITY = 10_000
RETRIES = 3
FIRST_PAUSE_SECONDS = 0.1
STOP_TIMEOUT_SECONDS = 10.0


class BrokerUnavailable(Exception):
    """Nothing can be published now; what was to be published is still due in the database."""


def report_nothing(event: str, fields: Mapping[str, object]) -> None:
    """Keep silent."""


class RunningWakes:
    """The wakes that run now, never more than `limit`, whatever happens to the connection that they came over."""

    def __init__(self, limit: int) -> None:
        self._slots = asyncio.Semaphore(limit)
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished = False

    async def start(self, wake: Callable[[], Coroutine[None, None, None]]) -> None:
        """Wait for a free slot and run a wake in it, in a task of its own; after `finish` nothing starts."""
        await self._slots.acquire()
        if self._finished:
            return
        task = asyncio.create_task(wake())
        self._tasks.add(task)
        task.add_done_callback(self._end)

    async def finish(self, timeout_seconds: float) -> None:
        """Wait for the running wakes; cancel those that take longer: their ids come again elsewhere."""
        self._finished = True
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=timeout_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()


class EmbeddedBroker:
    """A bounded queue in memory. An id that finds it full is not confirmed, so the relay offers it again."""

    def __init__(
        self,
        *,
        capacity: int = CAPACITY,
        retries: int = RETRIES,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        stop_timeout_seconds: float = STOP_TIMEOUT_SECONDS,
        report: Report = report_nothing,
    ) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue(maxsize=capacity)
        self._pauses_seconds = [first_pause_seconds * 2**attempt for attempt in range(retries)]
        self._stop_timeout_seconds = stop_timeout_seconds
        self._report = report
        self._feeder: asyncio.Task[None] | None = None
        self._running: RunningWakes | None = None
        self.dropped = 0
        """How many ids were given up after the last retry; the lease in the database brings them back."""

    @property
    def ready(self) -> bool:
        """Tell whether ids are taken in and handed out."""
        return self._feeder is not None and not self._feeder.done()

    async def start(self, wake: Wake, *, prefetch: int = 50) -> None:
        """Hand out ids to `wake`, at most `prefetch` at the same time."""
        self._running = RunningWakes(prefetch)
        self._feeder = asyncio.create_task(self._feed(wake, self._running))
        self._report("broker_connected", {"host": "embedded"})

    async def publish(self, delivery_ids: Sequence[str]) -> frozenset[str]:
        """Queue the ids and answer with those for which there was room."""
        if not self.ready:
            raise BrokerUnavailable("the embedded broker is not running: call start() first")
        distinct = list(dict.fromkeys(delivery_ids))
        room = self._queue.maxsize - self._queue.qsize()
        for delivery_id in distinct[:room]:
            self._queue.put_nowait(delivery_id)
        if len(distinct) > room:
            self._report("publish_unconfirmed", {"count": len(distinct) - room})
        return frozenset(distinct[:room])

    async def stop(self) -> None:
        """Hand out nothing more, wait for the running wakes, and forget the queue."""
        if self._feeder is None or self._running is None:
            return
        self._feeder.cancel()
        await asyncio.gather(self._feeder, return_exceptions=True)
        await self._running.finish(self._stop_timeout_seconds)
        self._feeder = self._running = None
        self._report("broker_disconnected", {"host": "embedded"})

    async def _feed(self, wake: Wake, running: RunningWakes) -> None:
        while True:
            delivery_id = await self._queue.get()
            await running.start(partial(self._wake_until_done, wake, delivery_id))

    async def _wake_until_done(self, wake: Wake, delivery_id: str) -> None:
        for pause_seconds in self._pauses_seconds:
            if await self._wake_once(wake, delivery_id):
                return
            await asyncio.sleep(pause_seconds)
        if not await self._wake_once(wake, delivery_id):
            self.dropped += 1
            self._report("delivery_dead_lettered", {"reason": "retries"})

    async def _wake_once(self, wake: Wake, delivery_id: str) -> bool:
        try:
            await wake(delivery_id)
        except Exception as error:  # noqa: BLE001 - the top of a loop: one wake never ends the others
            self._report("wake_failed", {"error": type(error).__name__})
            return False
        return True
