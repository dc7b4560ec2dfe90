"""The partners' broker survives what networks and brokers do: nothing is acknowledged that is not kept, nothing is lost, nothing hangs."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import services
from aiormq.abc import ChannelFrame
from amqp_partners import DEFINITIONS, KOMPAS, PASSWORD, TEAM, PartnerHost, next_of, partner_host, send
from blackhole import Blackhole
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from reports import Reports
from typer.testing import CliRunner

from adapters.inbound_amqp import Arrival, Fault
from gateway.cli import app
from gateway.partner_broker import PartnerBroker, Take
from gateway.partner_definitions import definitions_for

PATIENCE_SECONDS = 30
QUEUE = "planbrug.kompas.notifications"
MOMENT = datetime(2026, 9, 1, tzinfo=UTC)
MOMENT_BYTES = int(MOMENT.timestamp()).to_bytes(8, "big")
QUICK = {"first_pause_seconds": 0.01, "reconnect_seconds": 0.05}


@pytest.fixture
def host(rabbitmq_server: services.RabbitMq, tmp_path: Path) -> PartnerHost:
    """The partners' virtual host of one test."""
    return partner_host(rabbitmq_server, tmp_path)


@pytest.fixture
def reports() -> Reports:
    """A report that remembers."""
    return Reports()


class Taken:
    """Remember what was taken, in order; answer as the test says."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.failures = 0
        self.fault: Fault | None = None
        self._changed = asyncio.Event()

    async def take(self, arrival: Arrival) -> Fault | None:
        """Fail as often as the test asked for, and take the rest."""
        if self.failures > 0:
            self.failures -= 1
            raise RuntimeError("the test asked for this")
        self.ids.append(arrival.message_id or "")
        self._changed.set()
        return self.fault

    async def until(self, count: int) -> None:
        """Wait until so many different messages were taken."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(set(self.ids)) < count:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(url: str, take: Take, reports: Reports, **known: float) -> AsyncIterator[PartnerBroker]:
    """Run a partner broker."""
    broker = PartnerBroker(url, report=reports, **{**QUICK, **known})
    await broker.start(take)
    try:
        yield broker
    finally:
        await broker.stop()


async def left_in(host: PartnerHost, queue: str) -> int:
    """Return how many messages wait in a queue."""
    async with host.channel("guest") as channel:
        return int((await channel.get_queue(queue)).declaration_result.message_count or 0)


async def test_a_message_that_fails_for_a_while_is_taken_before_the_next_of_its_sender(
    host: PartnerHost, reports: Reports
) -> None:
    """It is held, and tried again in its place."""
    taken = Taken()
    taken.failures = 3
    async with running(host.url(), taken.take, reports):
        for number in ("1", "2", "3"):
            await send(host, b"x", message_id=number)
        await taken.until(3)
    assert taken.ids == ["1", "2", "3"]
    assert [name for name, _ in reports.seen].count("message_held") == 3
    assert (await left_in(host, "planbrug.inbound"), await left_in(host, "planbrug.dead")) == (0, 0)


async def test_what_is_held_too_long_goes_back_and_comes_again(host: PartnerHost, reports: Reports) -> None:
    """A burst of returned messages, and every one of them is taken in the end."""
    taken = Taken()
    taken.failures = 60
    async with running(host.url(), taken.take, reports, hold_seconds=0):
        await asyncio.gather(*(send(host, b"x", message_id=str(number)) for number in range(30)))
        await taken.until(30)
    assert (await left_in(host, "planbrug.inbound"), await left_in(host, "planbrug.dead")) == (0, 0)


async def test_nothing_is_acknowledged_before_it_stands_among_the_dead_letters(
    host: PartnerHost, reports: Reports
) -> None:
    """While no queue takes dead letters the message stays; then it is set aside, as it came."""
    taken = Taken()
    taken.fault = Fault("envelope")
    async with host.channel("guest") as channel:
        queue = await channel.get_queue("planbrug.dead", ensure=False)
        await queue.unbind("planbrug.dead", "")
        async with running(host.url(), taken.take, reports):
            await send(host, b"poison", message_id="1")
            await reports.until("message_held", times=2)
            assert (await channel.get_queue("planbrug.dead")).declaration_result.message_count == 0
            await queue.bind("planbrug.dead", "")
            dead = await next_of(queue)
    assert (dead.body, dead.headers["reason"], dead.delivery_mode) == (b"poison", "envelope", 2)
    assert await left_in(host, "planbrug.inbound") == 0


async def test_a_burst_of_refused_notifications_costs_no_connection(host: PartnerHost, reports: Reports) -> None:
    """As when a quorum queue has no leader: each that RabbitMQ refuses is not notified, and the next ones fare better."""
    limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with host.channel("guest") as channel, running(host.url(), Taken().take, reports) as broker:
        full = await channel.declare_queue("full", arguments=limits, auto_delete=False)
        await full.bind("planbrug.notifications", QUEUE)
        answers = await asyncio.gather(*(broker.notify(QUEUE, b"{}") for _ in range(50)))
        signals = [answer.signal for answer in answers]
        assert set(signals) == {"notified", "not-connected"}
        await full.delete(if_empty=False)
        assert (await broker.notify(QUEUE, b"{}")).signal == "notified"
    assert [name for name, _ in reports.seen] == ["broker_connected"]


async def test_messages_and_notifications_survive_a_restart_of_rabbitmq(
    own_rabbitmq: services.RabbitMq, tmp_path: Path, reports: Reports
) -> None:
    """While it is away nobody can be notified and the answer says so; then both ways work again by themselves."""
    host = await asyncio.to_thread(partner_host, own_rabbitmq, tmp_path)
    taken = Taken()
    async with running(host.url(), taken.take, reports) as broker:
        assert (await broker.notify(QUEUE, b"{}")).signal == "notified"
        await asyncio.to_thread(own_rabbitmq.shut_down)
        await reports.until("broker_disconnected")
        assert broker.ready is False
        answer = await broker.notify(QUEUE, b"{}")
        assert (answer.signal, answer.left) == ("not-connected", False)
        await asyncio.to_thread(own_rabbitmq.start)
        await reports.until("broker_connected", times=2)
        assert (await broker.notify(QUEUE, b"{}")).signal == "notified"
        await send(host, b"x", message_id="after")
        await taken.until(1)
    assert await left_in(host, QUEUE) == 2


async def test_the_next_host_is_tried_when_the_first_does_not_answer(host: PartnerHost, reports: Reports) -> None:
    """Several URLs with commas between are one cluster."""
    (port,) = services.free_ports(1)
    urls = f"amqp://planbrug:{PASSWORD}@127.0.0.1:{port}/{host.vhost}, {host.url()}"
    async with running(urls, Taken().take, reports) as broker:
        assert (await broker.notify(QUEUE, b"{}")).signal == "notified"


async def test_a_notification_into_a_network_that_swallows_it_is_none(host: PartnerHost, reports: Reports) -> None:
    """Without an answer in time nobody was notified."""
    blackhole = Blackhole(host.url())
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        blackhole as url,
        running(url, Taken().take, reports, confirm_timeout_seconds=0.2) as broker,
    ):
        blackhole.swallow()
        answers = await asyncio.gather(*(broker.notify(QUEUE, b"{}") for _ in range(50)))
        assert {(answer.signal, answer.left) for answer in answers} == {("not-connected", False)}


async def test_a_notification_over_a_connection_that_dies_ends_without_a_cancellation(
    host: PartnerHost, reports: Reports
) -> None:
    """aio-pika may cancel what waits for a confirm; who notifies is told that it was not, and goes on."""
    blackhole = Blackhole(host.url())
    async with asyncio.timeout(PATIENCE_SECONDS), blackhole as url, running(url, Taken().take, reports) as broker:
        blackhole.swallow()
        notifying = [asyncio.create_task(broker.notify(QUEUE, b"{}")) for _ in range(50)]
        await asyncio.sleep(0)  # let them write
        blackhole.cut()
        assert {(await each).signal for each in notifying} == {"not-connected"}
        await reports.until("broker_disconnected")


@pytest.mark.parametrize(
    ("properties", "written", "instead"),
    [
        pytest.param({"message_id": "~~"}, b"~~", b"\xff\xfe", id="an id that is no text"),
        pytest.param({"timestamp": MOMENT}, MOMENT_BYTES, b"\xff" * 8, id="a moment beyond the calendar"),
    ],
)
async def test_properties_that_nobody_can_read_silence_nobody(
    host: PartnerHost, reports: Reports, properties: dict[str, Any], written: bytes, instead: bytes
) -> None:
    """A partner may write bytes that are not what AMQP wants; the others are heard all the same, on the same connection."""
    taken = Taken()
    async with running(host.url(), taken.take, reports):
        await publish_raw(host, properties, written, instead)
        await send(host, b"x", message_id="good")
        await taken.until(2)
    assert taken.ids[-1] == "good"
    assert [name for name, _ in reports.seen] == ["broker_connected"]
    assert await left_in(host, "planbrug.inbound") == 0


async def publish_raw(host: PartnerHost, properties: dict[str, Any], written: bytes, instead: bytes) -> None:
    """Publish as the team what a client library would not write: its bytes, with some put in the place of others."""
    async with host.channel(TEAM) as channel:
        under = await channel.get_underlay_channel()
        frames = ChannelFrame.marshall(
            channel_number=under.number,
            frames=[
                commands.Basic.Publish(exchange="planbrug.inbound"),
                ContentHeader(body_size=1, properties=commands.Basic.Properties(**properties)),
                ContentBody(b"x"),
            ],
        )
        assert frames.payload.count(written) == 1
        raw = frames.payload.replace(written, instead)
        await under.connection.write_queue.put(ChannelFrame(payload=raw, should_close=False))
        await channel.get_queue("planbrug.dead")  # answered after what was written before


def test_the_shipped_partners_are_what_the_command_prints() -> None:
    """The examples in definitions.json and `planbrug rabbitmq-user` cannot drift apart."""
    shipped = json.loads(DEFINITIONS.read_text())
    for organisation, client in (("wijkteam-noord", TEAM), ("kompas", KOMPAS)):
        printed = CliRunner().invoke(app, ["rabbitmq-user", organisation, client])
        for kind, rows in json.loads(printed.stdout).items():
            assert all(row in shipped[kind] for row in rows), kind


async def test_a_partner_that_is_added_is_notified(host: PartnerHost, reports: Reports, tmp_path: Path) -> None:
    """A running gateway needs no restart, and a dot in an organisation's id opens nobody else's queue."""
    async with running(host.url(), Taken().take, reports) as broker:
        queue = "planbrug.school.zuid.notifications"
        assert (await broker.notify(queue, b"{}")).signal == "unroutable"
        added = definitions_for("school.zuid", "school-1", host.vhost)
        assert added["permissions"][0]["read"] == r"^planbrug\.school\.zuid\.notifications$"
        file = tmp_path / "partner.json"
        file.write_text(json.dumps(added))
        await asyncio.to_thread(host.server.control, "import_definitions", str(file))
        assert (await broker.notify(queue, b"{}")).signal == "notified"
    assert await left_in(host, queue) == 1
