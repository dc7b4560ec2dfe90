"""What a broker reports, remembered."""

import asyncio

PATIENCE_SECONDS = 30


class Reports:
    """Remember what a broker reported, and let a test wait for an event."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []
        self._changed = asyncio.Event()

    def __call__(self, event: str, fields: dict[str, object]) -> None:
        """Take one report."""
        self.seen.append((event, fields))
        self._changed.set()

    async def until(self, event: str, *, times: int = 1) -> None:
        """Wait until an event was reported so many times."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while [name for name, _ in self.seen].count(event) < times:
                self._changed.clear()
                await self._changed.wait()
