"""When too much is in hand, intake says so before it reads anything, and takes plans in again by itself."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import services
from msgspec.structs import replace
from receivers import status
from sqlalchemy import func, select, update
from world import PATIENCE_SECONDS, World, example, open_world

from gateway.errors import ERRORS, Refusal
from gateway.pressure import Pressure
from gateway.store import deliveries as rows
from gateway.store.schedule import count_backlog
from gateway.store.tables import delivery, plan_version
from gateway.wiring import Gateway

LATER = (3600.0,)


def test_what_is_over_the_limit_is_refused_and_what_has_ended_makes_room() -> None:
    """The judgement itself: as many at once as allowed, and none while the backlog is over its limit."""
    pressure = Pressure(max_backlog=2, max_at_once=2)
    with pressure.admitted(), pressure.admitted():
        with pytest.raises(Refusal) as refused, pressure.admitted():
            pass
        assert (refused.value.code, refused.value.headers) == ("too-busy", {"Retry-After": "1"})
    with pytest.raises(ValueError, match="x"), pressure.admitted():
        raise ValueError("x")
    pressure.backlog = 2
    with pressure.admitted(), pressure.admitted():
        pass
    pressure.backlog = 3
    with pytest.raises(Refusal) as refused, pressure.admitted():
        pass
    assert refused.value.headers == {"Retry-After": "10"}


def test_too_busy_is_throttled_in_fhir() -> None:
    """https://hl7.org/fhir/R4/valueset-issue-type.html."""
    assert (ERRORS["too-busy"].status, ERRORS["too-busy"].issue) == (429, "throttled")


async def pile_up(gateway: Gateway, model_id: str, count: int, *, state: str, due_at: datetime | None) -> list[str]:
    """Put deliveries into the database, in a state and due at a moment, each in a lane of its own."""
    model = await gateway.store.read(lambda tx: rows.get_delivery(tx, model_id))
    assert model is not None
    made = [
        replace(model, id=gateway.clock.new_id(), lane=f"lane/{number}", state=state, due_at=due_at, receipt=None,
                sequence=None)
        for number in range(count)
    ]  # fmt: skip
    await gateway.store.write(lambda tx: rows.add_deliveries(tx, made))
    return [row.id for row in made]


async def backlog(world: World, expected: Any) -> None:
    """Wait until the relay has counted a backlog like this."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not expected(world.gateway.pressure.backlog):
            await asyncio.sleep(0.01)


async def versions(world: World) -> int:
    count = select(func.count()).select_from(plan_version)
    return int(await world.gateway.store.read(lambda tx: tx.execute(count).scalar_one()))


async def refused(world: World) -> Any:
    """Send a plan, check that it is refused as too busy, with nothing kept and the gateway ready; return the answer."""
    before = await versions(world)
    told = await world.send(b"this is no JSON at all")
    assert (told.status, told.body["code"]) == (429, "too-busy")
    assert await versions(world) == before
    assert (await world.team.ask("GET", "/health/ready")).status == 200
    assert (await world.team.ask("GET", "/v1/deliveries")).status == 200
    return told


async def test_a_backlog_over_its_limit_refuses_plans_until_it_is_worked_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Due deliveries that nobody takes, as with a broker that does not confirm; then the broker takes them, and plans come in again."""
    async with open_world(tmp_path, max_backlog=3, retry_seconds=LATER) as world:
        gateway = world.gateway
        plan_id = (await world.send(example())).body["planId"]
        model = (await world.rest(plan_id))[0]["id"]
        publish = gateway.broker.publish

        async def nothing(_ids: object) -> frozenset[str]:
            return frozenset()

        monkeypatch.setattr(gateway.broker, "publish", nothing)
        piled = await pile_up(gateway, model, 4, state="planned", due_at=datetime.now(UTC))
        await backlog(world, lambda count: count > 3)
        assert (await refused(world)).headers["Retry-After"] == "10"
        monkeypatch.setattr(gateway.broker, "publish", publish)
        gateway.relay.nudge()
        await backlog(world, lambda count: count == 0)
        states = {row["state"] for row in await world.deliveries(plan_id) if row["id"] in piled}
        assert states <= {"parked", "superseded", "unchanged", "withheld", "acknowledged"}
        assert (await world.send(example(edit=lambda plan: plan.update(planNummer="nieuw")))).status == 201


async def test_what_waits_for_later_is_no_backlog(tmp_path: Path) -> None:
    """A receiver that is down for days does not keep plans out; what is being sent does not either."""
    async with open_world(tmp_path, max_backlog=1, retry_seconds=LATER) as world:
        world.receivers["provider-a"].answer = status(503)
        plan_id = (await world.send(example())).body["planId"]
        waiting = next(row for row in await world.rest(plan_id) if row["state"] == "waiting")
        later = datetime.now(UTC) + timedelta(seconds=30)
        for state in ("waiting", "sent"):
            await pile_up(world.gateway, waiting["id"], 5, state=state, due_at=later)
        await pile_up(world.gateway, waiting["id"], 5, state="parked", due_at=None)
        now = datetime.now(UTC)
        counted = await world.gateway.store.read(lambda tx: count_backlog(tx, now, now + timedelta(seconds=60), 100))
        assert counted == 0
        assert (await world.send(example(edit=lambda plan: plan.update(planNummer="nieuw")))).status == 201


async def test_what_the_broker_holds_counts_and_the_count_is_bounded(tmp_path: Path) -> None:
    """Given to the broker is not begun yet; counting ends at the limit."""
    async with open_world(tmp_path) as world:
        plan_id = (await world.send(example())).body["planId"]
        model = (await world.rest(plan_id))[0]["id"]
        now = datetime.now(UTC)
        held_until = now + timedelta(seconds=60)
        await pile_up(world.gateway, model, 7, state="queued", due_at=held_until)
        for most, counted in ((100, 7), (5, 5)):
            found = await world.gateway.store.read(lambda tx, most=most: count_backlog(tx, now, held_until, most))
            assert found == counted
        end = update(delivery).where(delivery.c.state == "queued").values(state="parked", due_at=None)
        await world.gateway.store.write(lambda tx: tx.execute(end).rowcount)


async def test_more_plans_at_once_than_allowed_are_refused_and_the_next_is_taken(tmp_path: Path) -> None:
    """One request that is still being sent holds the only place; when it is done there is a place again."""
    async with open_world(tmp_path, max_intake_at_once=1) as world:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> Any:
            begun.set()
            yield b""
            await go_on.wait()
            yield json.dumps(example()).encode()

        slow = asyncio.create_task(world.team.ask("POST", "/v1/plans?format=plan-van-aanpak", body=slowly()))  # type: ignore[arg-type]
        await begun.wait()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (told := await world.send(b"no JSON")).status != 429:
                await asyncio.sleep(0.01)
        assert (told.body["code"], told.headers["Retry-After"]) == ("too-busy", "1")
        await refused(world)
        go_on.set()
        assert (await slow).status == 201
        assert (await world.send(example(edit=lambda plan: plan.update(planNummer="nieuw")))).status == 201


async def test_who_may_not_send_plans_hears_that_first(tmp_path: Path) -> None:
    """How busy the gateway is, is told to its callers only."""
    async with open_world(tmp_path) as world:
        world.gateway.pressure.backlog = 10**9
        async with world.session.post(f"{world.gateway.public_url}/v1/plans") as told:
            assert told.status == 401


async def test_the_backlog_is_a_metric(tmp_path: Path) -> None:
    """`planbrug_backlog` on the page that Prometheus reads, as the relay counted it."""
    (port,) = services.free_ports(1)
    async with open_world(tmp_path, metrics_bind=f"127.0.0.1:{port}") as world:
        plan_id = (await world.send(example())).body["planId"]
        model = (await world.rest(plan_id))[0]["id"]
        held_until = datetime.now(UTC) + timedelta(seconds=50)
        await pile_up(world.gateway, model, 7, state="queued", due_at=held_until)
        await backlog(world, lambda count: count == 7)
        async with world.session.get(f"http://127.0.0.1:{port}/metrics") as page:
            assert "\nplanbrug_backlog 7.0\n" in await page.text()
