"""The sends that are under way in this process: one that is stopped gives its place back at once, whatever its receiver does.

A stopped send of which every byte was written is listened to until its own time-out, for the receipt only. One that is still writing
is broken off: nothing more of it leaves.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from adapters.interface import Answer, Written

SendOne = Callable[[Written], Awaitable[Answer]]
Settle = Callable[[Answer], Awaitable[object]]


class Stop:
    """Whether one send was stopped, and the turn that ends when it was, or when its answer is there."""

    __slots__ = ("is_set", "turn")

    def __init__(self) -> None:
        self.is_set = False
        self.turn: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Stop the send."""
        self.is_set = True
        self.end_turn()

    def end_turn(self, _sending: object = None) -> None:
        """Let whoever waits for the answer look again."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


class Sends:
    """Who is sending what, so that it can be told to stop."""

    def __init__(self) -> None:
        self._under_way: dict[str, set[Stop]] = {}
        self._listening: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def under_way(self, delivery_id: str) -> AsyncIterator[Stop]:
        """Be known as sending this delivery, from before it begins; what is yielded tells that it was stopped."""
        stop = Stop()
        known = self._under_way.setdefault(delivery_id, set())
        known.add(stop)
        try:
            yield stop
        finally:
            known.discard(stop)
            if not known:
                self._under_way.pop(delivery_id, None)

    def stop(self, delivery_id: str) -> None:
        """Tell whoever sends this delivery that it was stopped."""
        for stop in self._under_way.get(delivery_id, ()):
            stop.set()

    async def answer(self, stop: Stop, send: SendOne, written: Written, settle: Settle) -> Answer | None:
        """Send, and return the answer. None: stopped after the last byte, and `settle` gets the answer when it comes."""
        if stop.is_set:
            return Answer(signal="cut", left=False)
        all_out = False

        def all_written() -> None:
            nonlocal all_out
            all_out = True
            written()

        stop.turn = asyncio.get_running_loop().create_future()
        sending = asyncio.ensure_future(send(all_written))
        sending.add_done_callback(stop.end_turn)
        try:
            await stop.turn
        except asyncio.CancelledError:
            await _cancelled(sending)
            raise
        if sending.done():
            return sending.result()
        if all_out:
            self._listen(sending, settle)
            return None
        await _cancelled(sending)
        return Answer(signal="cut")

    async def close(self) -> None:
        """Listen to nobody any more; what was begun keeps the receipt that says so."""
        await _cancelled(*self._listening)

    def _listen(self, sending: "asyncio.Future[Answer]", settle: Settle) -> None:
        async def listen() -> None:
            await settle(await sending)

        task = asyncio.create_task(listen())
        self._listening.add(task)
        task.add_done_callback(self._listening.discard)


async def _cancelled(*tasks: "asyncio.Future[Answer] | asyncio.Task[None]") -> None:
    """Cancel what still runs, and wait until it has ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
