"""A person stops a delivery: parked at once, also while its receiver hangs; its lane is free and its number is not used again."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import services
from aiohttp import web
from msgspec.structs import replace
from receivers import Answerer, receipt, status
from world import FORMAT, PATIENCE_SECONDS, World, example, open_world

KOMPAS = "kompas"
LATER = (3600.0,)
LONG = 600.0
"""Seconds that a receiver may hang: longer than any test waits."""

Row = dict[str, Any]


def held() -> tuple[Answerer, asyncio.Event, asyncio.Event]:
    """Return an answerer that waits, the event that it came, and the event that lets it answer."""
    came, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request, body: bytes) -> web.StreamResponse:
        came.set()
        await go_on.wait()
        return await receipt(request, body)

    return answer, came, go_on


async def until(world: World, delivery_id: str, holds: Callable[[Row], bool]) -> Row:
    """Return a delivery once something holds for it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            row: Row = await world.team.want("GET", f"/v1/deliveries/{delivery_id}")
            if holds(row):
                return row
            await asyncio.sleep(0.01)


async def newest(world: World, plan_id: str) -> Row:
    rows = [row for row in await world.deliveries(plan_id) if row["recipient"] == KOMPAS]
    return max(rows, key=lambda row: row["id"])


async def codes(world: World, delivery_id: str) -> list[str]:
    """Return how the receipts of a delivery ended."""
    found = (await world.team.want("GET", "/v1/receipts?limit=200"))["items"]
    return [row["code"] for row in found if row["deliveryId"] == delivery_id]


async def stop(world: World, delivery_id: str) -> Row:
    stopped = await world.team.ask("POST", f"/v1/deliveries/{delivery_id}/stops")
    assert stopped.status == 200, stopped.body
    return dict(stopped.body)


@asynccontextmanager
async def hanging(tmp_path: Path) -> AsyncIterator[tuple[World, Row, asyncio.Event]]:
    """Open a world in which Kompas took every byte and does not answer; yield the delivery, and what lets it answer."""
    async with open_world(tmp_path, retry_seconds=LATER, send_timeout_seconds=LONG) as world:
        answer, came, go_on = held()
        world.receivers["provider-a"].answers.append(answer)
        plan_id = (await world.send(example())).body["planId"]
        await asyncio.wait_for(came.wait(), PATIENCE_SECONDS)
        row = await newest(world, plan_id)
        assert row["state"] == "sent"
        yield world, row, go_on


async def another_goal(world: World) -> Row:
    """Send a next version that Kompas sees, and return its delivery."""
    sent = await world.send(example(edit=lambda document: document["doelen"][0].update(omschrijving="Anders.")))
    return await newest(world, sent.body["planId"])


async def test_a_delivery_whose_receiver_hangs_is_parked_at_once(tmp_path: Path) -> None:
    """The stop answers while the receiver still hangs."""
    async with hanging(tmp_path) as (world, row, go_on):
        stopped = await stop(world, row["id"])
        assert not go_on.is_set()
        assert (stopped["state"], stopped["reason"], stopped["nextAttemptAt"]) == ("parked", "stopped", None)
        assert (stopped["sequence"], stopped["receiptId"]) == (row["sequence"], row["receiptId"])
        assert await codes(world, row["id"]) == ["begun"]


async def test_the_next_version_goes_while_the_receiver_of_the_stopped_one_hangs(tmp_path: Path) -> None:
    """The lane is free, and the next version has a number of its own."""
    async with hanging(tmp_path) as (world, row, go_on):
        await stop(world, row["id"])
        after = await another_goal(world)
        done = await until(world, after["id"], lambda row: row["state"] == "acknowledged")
        assert not go_on.is_set()
        assert done["sequence"] == row["sequence"] + 1
        kept = await until(world, row["id"], lambda _: True)
        assert (kept["state"], kept["reason"], kept["sequence"]) == ("parked", "stopped", row["sequence"])


async def test_a_version_that_waits_behind_a_hanging_one_goes_when_that_is_stopped(tmp_path: Path) -> None:
    """It was planned before the stop, and stood behind it in the lane."""
    async with hanging(tmp_path) as (world, row, go_on):
        after = await another_goal(world)
        await stop(world, row["id"])
        await until(world, after["id"], lambda row: row["state"] == "acknowledged")
        assert not go_on.is_set()


async def test_what_a_stopped_send_sees_later_settles_its_receipt_only(tmp_path: Path) -> None:
    """The receiver had it after all: the receipt says so, and the delivery stays stopped."""
    async with hanging(tmp_path) as (world, row, go_on):
        await stop(world, row["id"])
        go_on.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await codes(world, row["id"]) != ["acknowledged"]:
                await asyncio.sleep(0.01)
        kept = await until(world, row["id"], lambda _: True)
        assert (kept["state"], kept["reason"]) == ("parked", "stopped")


async def test_a_stopped_one_that_is_tried_again_goes_at_once(tmp_path: Path) -> None:
    """Under its own number, while the first attempt still hangs; the first attempt's answer changes nothing of the second's."""
    async with hanging(tmp_path) as (world, row, go_on):
        await stop(world, row["id"])
        assert (await world.team.ask("POST", f"/v1/deliveries/{row['id']}/retries")).status == 200
        done = await until(world, row["id"], lambda row: row["state"] == "acknowledged")
        assert (done["sequence"], done["attempts"]) == (row["sequence"], 1)
        assert not go_on.is_set()
        assert await codes(world, row["id"]) == ["begun", "acknowledged"]
        assert done["receiptId"] != row["receiptId"]


async def test_a_withdrawal_does_not_wait_for_a_stopped_send(tmp_path: Path) -> None:
    """The residents of a stopped send are free."""
    async with hanging(tmp_path) as (world, row, go_on):
        await stop(world, row["id"])
        marloes = (await world.gateway.sight.load(row["planId"])).residents[0]  # type: ignore[union-attr]
        changed = await asyncio.wait_for(world.choose(marloes, []), PATIENCE_SECONDS)
        assert (changed.status, go_on.is_set()) == (200, False)


class Deaf(asyncio.Protocol):
    """A receiver that takes connections, and reads nothing until it is told to."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.lost = asyncio.Event()
        self.taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.pause_reading()
        self.came.set()

    def data_received(self, data: bytes) -> None:
        self.taken += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


@pytest.mark.parametrize("ended", ["stopped", "timeout"])
async def test_of_a_body_that_is_not_taken_nothing_leaves_after_the_end(tmp_path: Path, ended: str) -> None:
    """Not every byte is out when it is stopped, or its time is over: what waits in a buffer is dropped; a receipt says that some went."""
    deaf = Deaf()
    server = await asyncio.get_running_loop().create_server(lambda: deaf, "127.0.0.1", 0)
    timeout = LONG if ended == "stopped" else 2
    words = "Woord. " * 2_000_000

    async with (
        open_world(tmp_path, retry_seconds=LATER, send_timeout_seconds=timeout, max_body_bytes=50_000_000) as world,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await world.family()
        kompas = (await world.gateway.directory.now()).entries[KOMPAS]
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in"
        await world.gateway.directory.put(replace(kompas, endpoints=(replace(kompas.endpoints[0], url=url),)))
        document = example(edit=lambda plan: plan["doelen"][0].update(omschrijving=words))
        document["planNummer"] = "een-ander"
        body = io.BytesIO(json.dumps(document).encode())
        sent = await world.team.ask("POST", f"/v1/plans?format={FORMAT}", body=body)  # type: ignore[arg-type]
        assert sent.status == 201
        await deaf.came.wait()
        planned = await newest(world, sent.body["planId"])
        row = await until(world, planned["id"], lambda row: row["sequence"] is not None)
        if ended == "stopped":
            await stop(world, row["id"])
        code = "connection-cut" if ended == "stopped" else "timeout"
        while await codes(world, row["id"]) != [code]:
            await asyncio.sleep(0.01)
        deaf.transport.resume_reading()
        await deaf.lost.wait()
        assert deaf.taken < len(words)
        kept = await until(world, row["id"], lambda _: True)
        wanted = ("parked", "stopped") if ended == "stopped" else ("waiting", "timeout")
        assert ((kept["state"], kept["reason"]), kept["sequence"]) == (wanted, row["sequence"])
    server.close()


async def test_a_stopped_send_that_turns_out_not_to_have_left_gives_its_number_back(tmp_path: Path) -> None:
    """There was never a connection: no receipt, and no gap for the recipient."""
    (closed,) = services.free_ports(1)
    async with open_world(tmp_path, retry_seconds=LATER, send_timeout_seconds=LONG) as world:
        kompas = (await world.gateway.directory.now()).entries[KOMPAS]
        gateway, came, go_on = world.gateway, asyncio.Event(), asyncio.Event()
        send = gateway.deliverer._senders["webhook"]

        async def slow(*parcel: Any) -> Any:
            answer = await send(*parcel)
            parcel[1]()
            came.set()
            await go_on.wait()
            return answer

        gateway.deliverer._senders["webhook"] = slow  # type: ignore[index]
        nowhere = replace(kompas.endpoints[0], url=f"http://127.0.0.1:{closed}/in")
        await gateway.directory.put(replace(kompas, endpoints=(nowhere,)))
        plan_id = (await world.send(example())).body["planId"]
        await asyncio.wait_for(came.wait(), PATIENCE_SECONDS)
        row = await newest(world, plan_id)
        await stop(world, row["id"])
        go_on.set()
        gone = await until(world, row["id"], lambda row: row["sequence"] is None)
        assert (gone["state"], gone["receiptId"], await codes(world, row["id"])) == ("parked", None, [])
        await gateway.directory.put(kompas)
        done = await until(world, (await another_goal(world))["id"], lambda row: row["state"] == "acknowledged")
        assert done["sequence"] == 1


async def test_a_gateway_that_stops_waits_for_no_stopped_send(tmp_path: Path) -> None:
    """Closing is prompt, and the receipt still says that it had begun."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with hanging(tmp_path) as (world, row, _):
            await stop(world, row["id"])
            assert await codes(world, row["id"]) == ["begun"]
    async with open_world(tmp_path, retry_seconds=LATER) as world:
        assert await codes(world, row["id"]) == ["begun"]
        kept = await until(world, row["id"], lambda _: True)
        assert (kept["state"], kept["reason"]) == ("parked", "stopped")


async def test_an_acknowledged_delivery_cannot_be_stopped(tmp_path: Path) -> None:
    """What arrived has arrived; a stop of what waits stays as it was."""
    async with open_world(tmp_path, retry_seconds=LATER) as world:
        plan_id = (await world.send(example())).body["planId"]
        await world.rest(plan_id)
        row = await newest(world, plan_id)
        refused = await world.team.ask("POST", f"/v1/deliveries/{row['id']}/stops")
        assert (row["state"], refused.status, refused.body["code"]) == ("acknowledged", 409, "state")
        world.receivers["provider-a"].answers.append(status(503))
        other = await world.send(example(edit=lambda document: document.update(planNummer="een-ander")))
        waiting = await newest(world, other.body["planId"])
        await until(world, waiting["id"], lambda row: row["state"] == "waiting")
        assert (await stop(world, waiting["id"]))["state"] == "parked"
