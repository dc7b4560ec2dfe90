"""What is asked at the same time is done together, and nobody fails or waits for ever because of another."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.batch import Batch


class Doubling:
    """Doubles numbers, remembers its groups, and can be held."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def do(self, asked: Sequence[int]) -> list[int]:
        self.groups.append(list(asked))
        self.begun.set()
        await self.go_on.wait()
        if 13 in asked:
            raise LookupError("thirteen")
        return [2 * number for number in asked]


async def test_each_asker_gets_its_own_answer() -> None:
    """In the order of asking, in groups of the size that is allowed."""
    doubling = Doubling()
    batch = Batch(doubling.do, most=3)
    assert await asyncio.gather(*(batch.ask(number) for number in range(7))) == [0, 2, 4, 6, 8, 10, 12]
    assert doubling.groups == [[0, 1, 2], [3, 4, 5], [6]]


async def test_what_comes_while_a_group_is_at_work_makes_the_next_group() -> None:
    """Load makes groups larger; a lone question waits for nobody."""
    doubling = Doubling()
    doubling.go_on.clear()
    batch = Batch(doubling.do, most=10)
    first = asyncio.create_task(batch.ask(1))
    await doubling.begun.wait()
    others = [asyncio.create_task(batch.ask(number)) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    assert doubling.groups == [[1]]
    doubling.go_on.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert doubling.groups == [[1], [2, 3, 4]]


async def test_one_that_fails_fails_alone() -> None:
    """A group that raises is asked again one by one."""
    batch = Batch(Doubling().do, most=10)
    told = await asyncio.gather(*(batch.ask(number) for number in (12, 13, 14)), return_exceptions=True)
    assert told[0] == 24
    assert isinstance(told[1], LookupError)
    assert told[2] == 28
    with pytest.raises(LookupError):
        await batch.ask(13)
    assert await batch.ask(15) == 30


async def test_a_question_whose_asker_has_gone_is_not_done() -> None:
    """Nobody would carry it on; the others are answered."""
    doubling = Doubling()
    doubling.go_on.clear()
    batch = Batch(doubling.do, most=10)
    first, gone, last = (asyncio.create_task(batch.ask(number)) for number in (1, 2, 3))
    await doubling.begun.wait()
    late = asyncio.create_task(batch.ask(4))
    await asyncio.sleep(0)
    gone.cancel()
    late.cancel()
    doubling.go_on.set()
    assert await asyncio.gather(first, last) == [2, 6]
    assert await batch.ask(5) == 10
    assert doubling.groups == [[1, 2, 3], [5]]
