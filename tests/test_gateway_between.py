"""Several gateways on one database: they wake each other, and a withdrawal at one waits for the last bytes of the others."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from world import example, open_world

from gateway.batch import Batch
from gateway.demo.vlinderstad import MARLOES_CHOICES
from gateway.locks import ResidentLocks
from gateway.store.bell import Bell
from gateway.store.engine import Transaction
from gateway.store.locks import lock
from gateway.store.opening import open_store
from gateway.store.postgres import PostgresStore
from gateway.store.session_locks import SessionLocks

PATIENCE_SECONDS = 30


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    """A database that several gateways share."""
    opened = await open_store(postgres_url)
    assert isinstance(opened, PostgresStore)
    yield opened
    await opened.close()


@pytest.fixture
async def locks(store: PostgresStore) -> AsyncIterator[SessionLocks]:
    """The locks of one gateway."""
    made = SessionLocks(store)
    yield made
    await made.close()


def withdrawal(tx: Transaction) -> None:
    """What a change of Marloes' choices takes."""
    lock(tx, "resident", "marloes")
    lock(tx, "choices", "marloes")


async def waits(task: "asyncio.Task[Any]", postgres_url: str) -> None:
    """Return once the database says that somebody waits for an advisory lock, and the task is not done."""
    connection = await asyncpg.connect(postgres_url)
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await connection.fetchval(query):
            await asyncio.sleep(0.01)
    await connection.close()
    assert not task.done()


class TestWithdrawal:
    """Across processes, as within one."""

    async def test_it_waits_for_every_send_that_shares_the_resident(
        self, store: PostgresStore, locks: SessionLocks, postgres_url: str
    ) -> None:
        """Two sends of another gateway; it commits when the second has let go."""
        sends = ResidentLocks(locks)
        async with sends.shared(["marloes", "finn"]) as first, sends.shared(["marloes"]) as second:
            withdrawing = asyncio.create_task(store.write(withdrawal))
            await waits(withdrawing, postgres_url)
            first()
            await waits(withdrawing, postgres_url)
            second()
            await asyncio.wait_for(withdrawing, PATIENCE_SECONDS)

    async def test_a_kept_choice_waits_for_the_last_bytes_of_another_gateway(
        self, tmp_path: Path, locks: SessionLocks, postgres_url: str
    ) -> None:
        """Through the front door: the answer to a withdrawal comes when the other gateway has let go."""
        async with open_world(tmp_path, database_url=postgres_url) as world:
            sent = (await world.send(example())).body
            residents = {row["reference"]: row["id"] for row in sent["residents"]}
            await world.rest(sent["planId"])
            await locks.share([residents["marloes"]])
            choosing = asyncio.create_task(world.choose(residents["marloes"], MARLOES_CHOICES))
            await waits(choosing, postgres_url)
            locks.leave([residents["marloes"]])
            assert (await asyncio.wait_for(choosing, PATIENCE_SECONDS)).status == 200

    async def test_no_send_begins_while_it_waits(
        self, store: PostgresStore, locks: SessionLocks, postgres_url: str
    ) -> None:
        """A send of a third gateway comes after it, however many sends follow each other."""
        third = SessionLocks(store)
        await locks.share(["marloes"])
        withdrawing = asyncio.create_task(store.write(withdrawal))
        await waits(withdrawing, postgres_url)
        sharing = asyncio.create_task(third.share(["marloes"]))
        while not third._held and third._changing._running is None:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert not sharing.done()
        locks.leave(["marloes"])
        await asyncio.wait_for(withdrawing, PATIENCE_SECONDS)
        await asyncio.wait_for(sharing, PATIENCE_SECONDS)
        await third.close()

    async def test_it_waits_for_nobody_else(self, store: PostgresStore, locks: SessionLocks) -> None:
        """Sends of other residents do not concern it, and who has let go neither."""
        await locks.share(["finn", "marloes"])
        locks.leave(["marloes"])
        await asyncio.wait_for(store.write(withdrawal), PATIENCE_SECONDS)
        locks.leave(["finn"])

    async def test_a_lost_connection_is_made_again(
        self, store: PostgresStore, locks: SessionLocks, postgres_url: str
    ) -> None:
        """What the lost one held is free; what is shared next holds again."""
        await locks.share(["marloes"])
        locks._connection.terminate()
        await asyncio.wait_for(store.write(withdrawal), PATIENCE_SECONDS)
        locks.leave(["marloes"])
        await locks.share(["marloes"])
        withdrawing = asyncio.create_task(store.write(withdrawal))
        await waits(withdrawing, postgres_url)
        locks.leave(["marloes"])
        await asyncio.wait_for(withdrawing, PATIENCE_SECONDS)


class TestBell:
    """A gateway hears what another made due."""

    async def test_it_rings_in_every_other_gateway(self, store: PostgresStore, postgres_url: str) -> None:
        """And not in the one that pulled; also after its connection was lost."""
        heard: list[asyncio.Event] = [asyncio.Event(), asyncio.Event()]
        bells = [Bell(store, f"gateway-{number}", heard[number].set) for number in (0, 1)]
        running = [asyncio.create_task(bell.run()) for bell in bells]
        async with asyncio.timeout(PATIENCE_SECONDS):
            for listening in heard:
                await listening.wait()
                listening.clear()
            bells[0].pull()
            await heard[1].wait()
            assert not heard[0].is_set()
            heard[1].clear()
            await cut_off_listeners(postgres_url)
            for listening in heard:
                await listening.wait()
                listening.clear()
            bells[1].pull()
            await heard[0].wait()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def cut_off_listeners(postgres_url: str) -> None:
    """End every session that listens."""
    connection = await asyncpg.connect(postgres_url)
    await connection.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query ~ 'LISTEN|notify'"
    )
    await connection.close()


async def test_a_failing_share_leaves_nothing_shared(store: PostgresStore) -> None:
    """Whoever could not share is no user of the name."""
    locks = SessionLocks(store)

    async def failing(_asked: object) -> list[bool]:
        raise LookupError

    locks._changing = Batch(failing, most=1)
    with pytest.raises(LookupError):
        await locks.share(["marloes"])
    assert not locks._users
