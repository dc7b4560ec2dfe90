"""The journey of one plan: in over HTTP, out to each party exactly its part."""

import json
from pathlib import Path

import asyncpg
import pytest
from world import example, open_world

SCANNED = """
SELECT relname, seq_scan FROM pg_stat_user_tables
WHERE seq_scan > 0 AND relname NOT IN ('organisation', 'wakeup', 'planbrug_migration')
"""
"""The directory is read whole when it changes."""


@pytest.fixture(params=["embedded", "rabbitmq", "postgresql"])
def services(request: pytest.FixtureRequest) -> dict[str, str]:
    """The same journey on the embedded default, over RabbitMQ, and on PostgreSQL."""
    if request.param == "rabbitmq":
        return {"amqp_url": request.getfixturevalue("rabbitmq_url")}
    if request.param == "postgresql":
        return {"database_url": request.getfixturevalue("postgres_url")}
    return {}


async def test_each_party_receives_exactly_its_part(tmp_path: Path, services: dict[str, str]) -> None:
    """Kompas gets money and housing but not the worry that was denied; De Linde gets parenting; the backoffice decides."""
    async with open_world(tmp_path, **services) as world:
        plan_id, _ = await world.family()
        kompas = json.loads(world.receivers["provider-a"].last.body)
        linde = json.loads(world.receivers["provider-b"].last.body)
        assert kompas["planId"] == plan_id
        assert {goal["leefgebied"] for goal in kompas["doelen"]} == {"financien", "wonen"}
        assert "zorgen" not in kompas
        assert linde["resourceType"] == "Bundle"
        assert b"schulden" not in world.receivers["provider-b"].last.body


async def test_a_hidden_edit_changes_nothing_that_a_recipient_can_see(tmp_path: Path) -> None:
    """After an edit of a part that a recipient may not see: no delivery, no sequence, no version, no other ETag."""
    async with open_world(tmp_path) as world:
        plan_id, _ = await world.family()
        provider, receiver = world.clients["provider-a"], world.receivers["provider-a"]
        before = await provider.ask("GET", f"/v1/plans/{plan_id}")
        arrived, listed = len(receiver.arrivals), await provider.want("GET", "/v1/deliveries")

        def edit(document: dict) -> None:
            document["zorgen"][0]["tekst"] = "Iets heel anders."

        assert (await world.send(example(edit=edit))).body["outcome"] == "changed"
        rows = await world.rest(plan_id)
        newest = max((row for row in rows if row["recipient"] == "kompas"), key=lambda row: row["id"])
        after = await provider.ask("GET", f"/v1/plans/{plan_id}")
        assert (newest["state"], newest["reason"]) == ("unchanged", "same-view")
        assert (after.body, after.headers["ETag"]) == (before.body, before.headers["ETag"])
        assert len(receiver.arrivals) == arrived
        assert await provider.want("GET", "/v1/deliveries") == listed


async def test_no_table_is_read_whole_on_a_plans_way(tmp_path: Path, postgres_url: str) -> None:
    """Not even while the tables are small: PostgreSQL would go on reading them whole when they are not."""
    async with open_world(tmp_path, database_url=postgres_url) as world:
        observer = await asyncpg.connect(postgres_url)
        await observer.execute("SELECT pg_stat_reset()")
        await world.family()
    assert await observer.fetchval("SELECT sum(idx_scan) FROM pg_stat_user_tables") > 0
    assert {row["relname"]: row["seq_scan"] for row in await observer.fetch(SCANNED)} == {}
    await observer.close()
