"""The sends that are under way in this process: one that is stopped gives its place back at once, whatever its receiver does.

A stopped send of which every byte was written is listened to until its own time-out, for the receipt only. One that is still writing
is broken off: nothing more of it leaves.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from adapters.interface import Answer, Written

SendOne = Callable[[Written], Awaitable[Answer]]
Settle = Callable[[Answer], Awaitable[None]]
Stopped = asyncio.Event


class Sends:
    """Who is sending what, so that it can be told to stop."""

    def __init__(self) -> None:
        self._under_way: dict[str, set[Stopped]] = {}
        self._listening: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def under_way(self, delivery_id: str) -> AsyncIterator[Stopped]:
        """Be known as sending this delivery, from before it begins; what is yielded tells that it was stopped."""
        stopped = Stopped()
        known = self._under_way.setdefault(delivery_id, set())
        known.add(stopped)
        try:
            yield stopped
        finally:
            known.discard(stopped)
            if not known:
                self._under_way.pop(delivery_id, None)

    def stop(self, delivery_id: str) -> None:
        """Tell whoever sends this delivery that it was stopped."""
        for stopped in self._under_way.get(delivery_id, ()):
            stopped.set()

    async def answer(self, stopped: Stopped, send: SendOne, written: Written, settle: Settle) -> Answer | None:
        """Send, and return the answer. None: stopped after the last byte, and `settle` gets the answer when it comes."""
        if stopped.is_set():
            return Answer(signal="cut", left=False)
        out = asyncio.Event()

        def all_written() -> None:
            out.set()
            written()

        sending = asyncio.ensure_future(send(all_written))
        stopping = asyncio.ensure_future(stopped.wait())
        ending: list[asyncio.Future[Any]] = [stopping, sending]
        try:
            await asyncio.wait((sending, stopping), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                return sending.result()
            if not out.is_set():
                return Answer(signal="cut")
            ending.remove(sending)
            self._listen(sending, settle)
            return None
        finally:
            await _cancelled(*ending)

    async def close(self) -> None:
        """Listen to nobody any more; what was begun keeps the receipt that says so."""
        await _cancelled(*self._listening)

    def _listen(self, sending: "asyncio.Future[Answer]", settle: Settle) -> None:
        async def listen() -> None:
            await settle(await sending)

        task = asyncio.create_task(listen())
        self._listening.add(task)
        task.add_done_callback(self._listening.discard)


async def _cancelled(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel what still runs, and wait until it has ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
