"""Do together what is asked at the same time: while one group is at work the next one gathers, so that load makes groups larger."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Batch(Generic[Asked, Answer]):
    """Gathers questions and answers them group by group, in the order of asking.

    `do` answers a group, one answer per question. When it raises for several, each is asked again by itself, so that nobody fails for
    another. A question whose asker has gone is left out.
    """

    def __init__(self, do: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]], *, most: int) -> None:
        self._do = do
        self._most = most
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def ask(self, asked: Asked) -> Answer:
        """Return the answer to one question, or raise what it raised."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            group = [(asked, answer) for asked, answer in taken if not answer.done()]
            if group and not await self._answered(group):
                for pair in group:
                    await self._answered([pair])

    async def _answered(self, group: list[tuple[Asked, "asyncio.Future[Answer]"]]) -> bool:
        """Answer a group; False when it failed and each must be asked by itself."""
        try:
            answers = await self._do([asked for asked, _ in group])
        except Exception as error:  # noqa: BLE001 - the top of a group: its error belongs to whoever asked
            if len(group) > 1:
                return False
            if not group[0][1].done():
                group[0][1].set_exception(error)
            return True
        for (_, future), answer in zip(group, answers, strict=True):
            if not future.done():
                future.set_result(answer)
        return True
