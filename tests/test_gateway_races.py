"""What two transactions on PostgreSQL may not do to each other: end a delivery that begins at that moment."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from world import World, example, open_world

from gateway.demo.vlinderstad import MARLOES_CHOICES
from gateway.store.locks import lane_key

PATIENCE_SECONDS = 30
HOLD = "SELECT pg_advisory_lock(hashtextextended('lane ' || $1, 0))"
LET_GO = "SELECT pg_advisory_unlock_all()"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
BEGIN = "UPDATE delivery SET state = 'sent', sequence = 1, attempts = 1 WHERE id = $1"


async def publish_nothing(_ids: object) -> frozenset[str]:
    """Take no id, so that only the test moves deliveries."""
    return frozenset()


async def new_version(world: World, _sent: dict[str, Any]) -> None:
    """Send another version."""

    def edit(document: dict[str, Any]) -> None:
        document["doelen"][0]["omschrijving"] = "Iets anders."

    assert (await world.send(example(edit=edit))).body["version"] == 2


async def new_choices(world: World, sent: dict[str, Any]) -> None:
    """Let a resident choose."""
    residents = {row["reference"]: row["id"] for row in sent["residents"]}
    assert (await world.choose(residents["marloes"], MARLOES_CHOICES)).status == 200


@pytest.mark.parametrize("happens", [new_version, new_choices])
async def test_what_begins_is_not_ended_by_what_read_it_as_pending(
    tmp_path: Path,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    happens: Callable[[World, dict[str, Any]], Awaitable[None]],
) -> None:
    """Who ends what is pending in a lane waits for who begins there, and looks again."""
    async with open_world(tmp_path, database_url=postgres_url) as world:
        monkeypatch.setattr(world.gateway.broker, "publish", publish_nothing)
        sent = (await world.send(example())).body
        kompas = next(row for row in await world.deliveries(sent["planId"]) if row["recipient"] == "kompas")
        beginner = await asyncpg.connect(postgres_url)
        lane = await beginner.fetchval("SELECT lane FROM delivery WHERE id = $1", kompas["id"])
        await beginner.execute(HOLD, lane_key(sent["planId"], "kompas", lane))
        ending = asyncio.ensure_future(happens(world, sent))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await beginner.fetchval(WAITING):
                assert not ending.done(), "nobody waited for the lane"
                await asyncio.sleep(0.01)
        await beginner.execute(BEGIN, kompas["id"])
        await beginner.execute(LET_GO)
        await ending
        await beginner.close()
        states = {row["id"]: row["state"] for row in await world.deliveries(sent["planId"])}
        assert states[kompas["id"]] == "sent"
