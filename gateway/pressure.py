"""When there is too much in hand to take in more: deliveries that are due and not begun, or plans that are being taken in.

The judgement is pure; `watching` is what counts the backlog, at most once a second.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from gateway.clock import Clock
from gateway.errors import Refusal
from gateway.relay import PUBLISH_LEASE_SECONDS
from gateway.store import schedule
from gateway.store.engine import Store

BACKLOG_RETRY_SECONDS = 10
AT_ONCE_RETRY_SECONDS = 1
LOOK_SECONDS = 1.0


class Pressure:
    """What intake has in hand, and whether that leaves room for one more."""

    def __init__(self, *, max_backlog: int, max_at_once: int) -> None:
        self.max_backlog = max_backlog
        self.backlog = 0
        self._max_at_once = max_at_once
        self._at_once = 0

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Take one more request in hand. Raises Refusal too-busy, before anything is read."""
        if self.backlog > self.max_backlog:
            raise _too_busy(BACKLOG_RETRY_SECONDS)
        if self._at_once >= self._max_at_once:
            raise _too_busy(AT_ONCE_RETRY_SECONDS)
        self._at_once += 1
        try:
            yield
        finally:
            self._at_once -= 1


def _too_busy(seconds: int) -> Refusal:
    return Refusal("too-busy", headers={"Retry-After": str(seconds)})


def watching(pressure: Pressure, store: Store, clock: Clock) -> Callable[[], Awaitable[None]]:
    """Return what counts the backlog, when the last count is more than a second old; beyond the limit it stops counting."""
    counted_at = -LOOK_SECONDS

    async def look() -> None:
        nonlocal counted_at
        if clock.ticks() - counted_at < LOOK_SECONDS:
            return
        counted_at = clock.ticks()
        now = clock.now()
        held_until = now + timedelta(seconds=PUBLISH_LEASE_SECONDS)
        pressure.backlog = await store.read(
            lambda tx: schedule.count_backlog(tx, now, held_until, pressure.max_backlog + 1)
        )

    return look
