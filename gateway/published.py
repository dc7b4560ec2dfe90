"""JSON documents that others publish, such as their JWK Set: fetched when they are needed, kept for a moment, never fetched in a storm.

Whatever asks for them, a document is fetched `FETCHES_PER_MINUTE` times a minute at most, and once for everybody who waits for it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.rates import WINDOW_SECONDS, Rates

Document = dict[str, Any]

Fetch = Callable[[str], Awaitable[Document]]
"""An address → the document that stands there now. Raises OSError, ValueError or TimeoutError."""

FETCHES_PER_MINUTE = 6
SPACING_SECONDS = WINDOW_SECONDS / FETCHES_PER_MINUTE
"""How long it takes at most until a document may be fetched again: so much longer than asked one may be kept."""

MOST_PLACES = 1_000


class _Place:
    """One address, what was found there and when (ticks), and how often it was tried and found."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.document: Document | None = None
        self.fetched_at = float("-inf")
        self.tries = self.finds = 0


class Published:
    """What was found at the addresses of others."""

    def __init__(self, fetch: Fetch, ticks: Callable[[], float]) -> None:
        self._fetch = fetch
        self._ticks = ticks
        self._places: dict[str, _Place] = {}
        self._rates = Rates("published", FETCHES_PER_MINUTE, ticks, most_in_hand=MOST_PLACES)

    async def get(self, url: str, keep_seconds: float) -> Document:
        """Return a document that was fetched at most `keep_seconds` ago, or a little more when it cannot be had now.

        Raises OSError when there is none.
        """
        place = self._place(url)
        if self._ticks() - place.fetched_at >= keep_seconds:
            await self._look(url, place)
        if place.document is None or self._ticks() - place.fetched_at >= keep_seconds + SPACING_SECONDS:
            raise OSError("no document there, or none that could be fetched now")
        return place.document

    async def newer(self, url: str) -> Document | None:
        """Look again now, because what is kept lacks something; None when it cannot be fetched now."""
        place = self._place(url)
        finds = place.finds
        await self._look(url, place)
        return place.document if place.finds > finds else None

    def _place(self, url: str) -> _Place:
        if url not in self._places and len(self._places) >= MOST_PLACES:
            del self._places[next(iter(self._places))]
        return self._places.setdefault(url, _Place())

    async def _look(self, url: str, place: _Place) -> None:
        """Fetch, unless somebody did while this one waited, or it was done too often."""
        tries = place.tries
        async with place.lock:
            rate = None if place.tries > tries else self._rates.take(url)
            if rate is None or rate.exceeded:
                return
            asked_at = self._ticks()
            try:
                place.document = await self._fetch(url)
            except (OSError, ValueError, TimeoutError):
                return
            finally:
                place.tries += 1
            place.finds += 1
            place.fetched_at = asked_at
