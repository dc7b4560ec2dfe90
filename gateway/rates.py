"""How often somebody may ask: a token bucket for each, which holds a minute's worth and fills evenly. Pure; ticks come from outside.

What is told follows draft-ietf-httpapi-ratelimit-headers-10 (`RateLimit-Policy`, `RateLimit`), with the three fields of its earlier
versions beside it, which today's clients and Dutch government APIs know. Each process counts for itself.
"""

import math
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

WINDOW_SECONDS = 60
MOST_IN_HAND = 10_000
"""How many are remembered, at most. Who did not ask for a window has a full bucket, and is forgotten anyway."""


class Rate(Struct, frozen=True, kw_only=True):
    """How one who asks stands now. `reset_seconds`: until the bucket is full; `retry_seconds`: until it holds one, 0 when it did."""

    policy: str
    limit: int
    remaining: int
    reset_seconds: int
    retry_seconds: int

    @property
    def exceeded(self) -> bool:
        """Whether this request is one too many."""
        return self.retry_seconds > 0

    @property
    def headers(self) -> dict[str, str]:
        """What is told about it; both forms from the same numbers."""
        return {
            "RateLimit-Policy": f'"{self.policy}";q={self.limit};w={WINDOW_SECONDS}',
            "RateLimit": f'"{self.policy}";r={self.remaining};t={self.reset_seconds}',
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
        }


class Rates:
    """The buckets under one policy; `per_minute` 0 means that nobody is counted."""

    def __init__(
        self, policy: str, per_minute: int, ticks: Callable[[], float], *, most_in_hand: int = MOST_IN_HAND
    ) -> None:
        self._policy = policy
        self._limit = per_minute
        self._ticks = ticks
        self._most = most_in_hand
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._buckets)

    def take(self, who: str) -> Rate | None:
        """Count one request of `who`; None when nobody is counted. A request that is one too many takes nothing."""
        if not self._limit:
            return None
        now = self._ticks()
        held, at = self._buckets.pop(who, (float(self._limit), now))
        held = min(float(self._limit), held + (now - at) * self._limit / WINDOW_SECONDS)
        enough = held >= 1
        held -= enough
        self._buckets[who] = (held, now)
        self._forget(now)
        return Rate(
            policy=self._policy,
            limit=self._limit,
            remaining=int(held),
            reset_seconds=self._seconds_until(self._limit, held),
            retry_seconds=0 if enough else self._seconds_until(1, held),
        )

    def _seconds_until(self, wanted: int, held: float) -> int:
        return math.ceil((wanted - held) * WINDOW_SECONDS / self._limit)

    def _forget(self, now: float) -> None:
        """Forget who has not asked for a window, and beyond the bound who asked longest ago."""
        while self._buckets:
            who, (_, at) = next(iter(self._buckets.items()))
            if at > now - WINDOW_SECONDS and len(self._buckets) <= self._most:
                return
            del self._buckets[who]
