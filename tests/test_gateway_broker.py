"""The broker moves delivery ids at least once, and says truly which it took. RabbitMQ is real."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aio_pika
import pytest
import services
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from blackhole import Blackhole
from reports import Reports

from gateway.broker import Broker, BrokerUnavailable, EmbeddedBroker, RabbitBroker, open_broker

PATIENCE_SECONDS = 30
DEFINITIONS = Path(__file__).parents[1] / "deploy" / "rabbitmq" / "definitions.json"
QUICK = {"first_pause_seconds": 0.01}


class Woken:
    """Remember which ids were woken and how often, and let a test wait for a condition on that."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.failures: dict[str, int] = {}
        self._changed = asyncio.Condition()

    async def wake(self, delivery_id: str) -> None:
        """Count the id; raise as often as the test asked for it."""
        async with self._changed:
            self.times[delivery_id] += 1
            self._changed.notify_all()
        if self.times[delivery_id] <= self.failures.get(delivery_id, 0):
            raise RuntimeError("the test asked for this")

    async def until(self, condition: Callable[[Counter[str]], bool]) -> None:
        """Wait until the counts satisfy the condition."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: condition(self.times))


@pytest.fixture
def prefix() -> str:
    """Names of exchanges and queues that no other test uses."""
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def woken() -> Woken:
    """A wake that remembers."""
    return Woken()


@pytest.fixture
def reports() -> Reports:
    """A report that remembers."""
    return Reports()


@pytest.fixture(params=["embedded", "rabbitmq"])
async def broker(request: pytest.FixtureRequest, prefix: str, reports: Reports) -> AsyncIterator[Broker]:
    """Each kind of broker in turn, not started, stopped in the end."""
    chosen: Broker
    if request.param == "embedded":
        chosen = EmbeddedBroker(report=reports, **QUICK)
    else:
        url = request.getfixturevalue("rabbitmq_url")
        chosen = RabbitBroker(url, prefix=prefix, delivery_limit=3, report=reports, **QUICK)
    yield chosen
    await chosen.stop()


@pytest.fixture
async def rabbit(rabbitmq_url: str, prefix: str, reports: Reports) -> AsyncIterator[RabbitBroker]:
    """A RabbitMQ broker, not started, stopped in the end."""
    chosen = RabbitBroker(rabbitmq_url, prefix=prefix, delivery_limit=3, report=reports, **QUICK)
    yield chosen
    await chosen.stop()


@pytest.fixture
async def channel(rabbitmq_url: str) -> AsyncIterator[AbstractChannel]:
    """A bare channel to look and interfere from the outside."""
    async with await aio_pika.connect(rabbitmq_url) as connection, connection.channel() as opened:
        yield opened


async def message_from(channel: AbstractChannel, queue_name: str) -> AbstractIncomingMessage:
    """Wait for one message in a queue and take it."""
    arrived: asyncio.Future[AbstractIncomingMessage] = asyncio.get_running_loop().create_future()

    async def take(message: AbstractIncomingMessage) -> None:
        await message.ack()
        if not arrived.done():
            arrived.set_result(message)

    queue = await channel.get_queue(queue_name, ensure=False)
    tag = await queue.consume(take)
    async with asyncio.timeout(PATIENCE_SECONDS):
        message = await arrived
    await queue.cancel(tag)
    return message


# Both brokers


async def test_every_published_id_is_confirmed_and_woken_once(broker: Broker, woken: Woken) -> None:
    """Published ids arrive once each, and the answer names exactly those."""
    ids = [f"delivery-{number}" for number in range(300)]
    await broker.start(woken.wake)

    assert frozenset(ids) == await broker.publish(ids)

    await woken.until(lambda times: len(times) == len(ids))
    await broker.stop()
    assert dict.fromkeys(ids, 1) == woken.times


async def test_a_wake_that_raises_is_tried_again(broker: Broker, woken: Woken) -> None:
    """An id whose wake raised comes again, until it returns; one that travelled in the same message may come again with it."""
    woken.failures = {"stubborn": 2}
    await broker.start(woken.wake)

    await broker.publish(["stubborn", "easy"])

    await woken.until(lambda times: times["stubborn"] == 3 and times["easy"] in {1, 3})


async def test_a_wake_that_keeps_raising_is_given_up_and_reported(
    broker: Broker, woken: Woken, reports: Reports
) -> None:
    """Three more tries after the first, then the id is let go; others go on."""
    woken.failures = {"hopeless": 1000}
    await broker.start(woken.wake)

    await broker.publish(["hopeless"])
    await reports.until("delivery_dead_lettered")

    await broker.publish(["next"])
    await woken.until(lambda times: times == {"hopeless": 4, "next": 1})


async def test_prefetch_bounds_how_many_wakes_run_at_once(broker: Broker) -> None:
    """With room for four, a fifth wake starts only when one of the four ends."""
    running: set[str] = set()
    four_run, go_on, most = asyncio.Event(), asyncio.Semaphore(0), 0
    done: asyncio.Queue[str] = asyncio.Queue()

    async def wake(delivery_id: str) -> None:
        nonlocal most
        running.add(delivery_id)
        most = max(most, len(running))
        if len(running) >= 4:
            four_run.set()
        await go_on.acquire()
        running.discard(delivery_id)
        done.put_nowait(delivery_id)

    await broker.start(wake, prefetch=4)
    await broker.publish([str(number) for number in range(20)])

    async with asyncio.timeout(PATIENCE_SECONDS):
        await four_run.wait()
        for _ in range(20):
            go_on.release()
            await done.get()
    assert most == 4


async def test_stop_waits_for_a_running_wake(broker: Broker) -> None:
    """A wake that runs when stop begins ends before stop does."""
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def wake(delivery_id: str) -> None:
        begun.set()
        await go_on.wait()
        ended.set()

    await broker.start(wake)
    await broker.publish(["slow"])
    async with asyncio.timeout(PATIENCE_SECONDS):
        await begun.wait()
        stopping = asyncio.create_task(broker.stop())
        asyncio.get_running_loop().call_later(0.2, go_on.set)
        await stopping
    assert ended.is_set()


async def test_a_broker_is_ready_between_start_and_stop_only(broker: Broker, woken: Woken) -> None:
    """Outside of that it says so, and refuses to publish."""
    assert broker.ready is False
    with pytest.raises(BrokerUnavailable):
        await broker.publish(["early"])
    await broker.start(woken.wake)
    assert broker.ready is True
    await broker.stop()
    assert broker.ready is False
    with pytest.raises(BrokerUnavailable):
        await broker.publish(["late"])


def test_without_a_url_the_embedded_broker_is_opened() -> None:
    """The AMQP URL decides which broker runs."""
    kinds = [type(open_broker(None)), type(open_broker("")), type(open_broker("amqp://127.0.0.1/"))]
    assert [EmbeddedBroker, EmbeddedBroker, RabbitBroker] == kinds


# The embedded broker


async def test_a_full_embedded_broker_confirms_only_what_it_has_room_for() -> None:
    """The id for which there is no room is left out of the answer."""
    broker = EmbeddedBroker(capacity=2)
    begun, never = asyncio.Event(), asyncio.Event()

    async def wake(delivery_id: str) -> None:
        begun.set()
        await never.wait()

    await broker.start(wake, prefetch=1)
    confirmed = await broker.publish(["a", "b", "c"])
    never.set()
    await broker.stop()

    assert {"a", "b"} == confirmed


async def test_stop_cancels_a_wake_that_does_not_end() -> None:
    """Stop ends in a bounded time, whatever a wake waits for."""
    broker = EmbeddedBroker(stop_timeout_seconds=0)
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wake(delivery_id: str) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await broker.start(wake)
    await broker.publish(["endless"])
    async with asyncio.timeout(PATIENCE_SECONDS):
        await begun.wait()
        await broker.stop()
    assert cancelled.is_set()


# RabbitMQ


async def test_a_message_holds_opaque_ids_and_nothing_else(
    rabbit: RabbitBroker, woken: Woken, channel: AbstractChannel, prefix: str
) -> None:
    """The raw message is a structured CloudEvent with delivery ids, persistent, and no other header."""
    await rabbit.start(woken.wake)
    spy = await channel.declare_queue(f"{prefix}.spy", exclusive=True)
    await spy.bind(f"{prefix}.internal", "delivery-due")
    await rabbit.publish(["opaque-1", "opaque-2"])

    message = await message_from(channel, spy.name)

    assert {
        "specversion": "1.0",
        "id": message.message_id,
        "source": "urn:nld:planbrug",
        "type": "nl.planbrug.deliveries-due.v1",
        "datacontenttype": "application/json",
        "data": {"deliveryIds": ["opaque-1", "opaque-2"]},
    } == json.loads(message.body)
    assert message.content_type == "application/cloudevents+json"
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.headers == {}


async def test_an_unroutable_id_is_not_confirmed(
    rabbit: RabbitBroker, woken: Woken, channel: AbstractChannel, prefix: str, reports: Reports
) -> None:
    """What RabbitMQ returns is left out of the answer and counted; once bound again it is confirmed."""
    await rabbit.start(woken.wake)
    queue = await channel.get_queue(f"{prefix}.deliveries", ensure=False)
    await queue.unbind(f"{prefix}.internal", "delivery-due")

    assert frozenset() == await rabbit.publish(["lost-1", "lost-2"])
    assert reports.seen[-1] == ("publish_unconfirmed", {"count": 2})

    await queue.bind(f"{prefix}.internal", "delivery-due")
    assert {"lost-1"} == await rabbit.publish(["lost-1"])


async def test_only_the_ids_that_a_full_queue_refuses_are_not_confirmed(
    rabbit: RabbitBroker, woken: Woken, channel: AbstractChannel, prefix: str
) -> None:
    """A negative confirm of one id does not touch the answer about the others."""
    await rabbit.start(woken.wake)
    limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
    full = await channel.declare_queue(f"{prefix}.full", exclusive=True, arguments=limits)
    await full.bind(f"{prefix}.internal", "delivery-due")

    confirmed = [await rabbit.publish([delivery_id]) for delivery_id in ("first", "second")]

    assert [{"first"}, frozenset()] == confirmed


async def test_nothing_is_confirmed_when_the_exchange_is_gone_and_the_topology_comes_back(
    rabbit: RabbitBroker, woken: Woken, channel: AbstractChannel, prefix: str, reports: Reports
) -> None:
    """A missing exchange closes the channel: the ids are unconfirmed, and the broker declares all again."""
    await rabbit.start(woken.wake)
    await channel.exchange_delete(f"{prefix}.internal")

    assert frozenset() == await rabbit.publish([str(number) for number in range(150)])

    await reports.until("broker_connected", times=2)
    assert {"after"} == await rabbit.publish(["after"])
    await woken.until(lambda times: times["after"] == 1)


async def test_a_deleted_queue_comes_back(
    rabbit: RabbitBroker, woken: Woken, channel: AbstractChannel, prefix: str, reports: Reports
) -> None:
    """When RabbitMQ cancels the consumer, the broker declares its queue again and consumes."""
    await rabbit.start(woken.wake)
    await channel.queue_delete(f"{prefix}.deliveries")
    await reports.until("broker_connected", times=2)
    await rabbit.publish(["after"])
    await woken.until(lambda times: times["after"] == 1)


MALFORMED = {
    "no JSON": b"\xff\x00 not json",
    "another type of event": b'{"specversion":"1.0","id":"1","source":"s","type":"other","data":{"deliveryId":"1"}}',
    "no delivery id": b'{"specversion":"1.0","id":"1","source":"s","type":"nl.planbrug.delivery-due.v1","data":{}}',
    "empty": b"",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_message_goes_to_the_dead_letters_and_the_consumer_goes_on(
    rabbit: RabbitBroker, woken: Woken, channel: AbstractChannel, prefix: str, reports: Reports, body: bytes
) -> None:
    """Poison is set aside as it came, at once, and the next id is woken."""
    await rabbit.start(woken.wake)
    exchange = await channel.get_exchange(f"{prefix}.internal", ensure=False)
    await exchange.publish(aio_pika.Message(body), "delivery-due")

    assert body == (await message_from(channel, f"{prefix}.dead")).body
    assert ("delivery_dead_lettered", {"reason": "malformed"}) in reports.seen
    await rabbit.publish(["next"])
    await woken.until(lambda times: times == {"next": 1})


async def test_an_id_past_the_delivery_limit_is_a_dead_letter(
    rabbit: RabbitBroker, woken: Woken, channel: AbstractChannel, prefix: str
) -> None:
    """RabbitMQ itself sets it aside, so that it does not go round for ever."""
    woken.failures = {"hopeless": 1000}
    await rabbit.start(woken.wake)
    await rabbit.publish(["hopeless"])

    dead = await message_from(channel, f"{prefix}.dead")

    assert json.loads(dead.body)["data"]["deliveryIds"] == ["hopeless"]
    assert dead.headers["x-first-death-reason"] == "delivery_limit"


async def test_start_refuses_when_no_host_answers(woken: Woken) -> None:
    """The message names the setting's subject and no password."""
    (port,) = services.free_ports(1)
    broker = RabbitBroker(f"amqp://guest:s3cret@127.0.0.1:{port}/")
    with pytest.raises(BrokerUnavailable) as refused:
        await broker.start(woken.wake)
    assert "s3cret" not in str(refused.value)
    assert broker.ready is False


async def test_the_next_host_is_tried_when_the_first_does_not_answer(
    rabbitmq_url: str, prefix: str, woken: Woken
) -> None:
    """Several URLs with commas between are one cluster."""
    (port,) = services.free_ports(1)
    broker = RabbitBroker(f"amqp://guest:guest@127.0.0.1:{port}/, {rabbitmq_url}", prefix=prefix)
    await broker.start(woken.wake)
    assert {"one"} == await broker.publish(["one"])
    await broker.stop()


async def test_a_queue_with_other_arguments_is_refused(
    rabbitmq_url: str, prefix: str, channel: AbstractChannel, woken: Woken
) -> None:
    """A queue without dead letters is not silently used."""
    await channel.declare_queue(f"{prefix}.deliveries", durable=True)
    broker = RabbitBroker(rabbitmq_url, prefix=prefix)
    with pytest.raises(BrokerUnavailable, match=rf"definitions\.json: .*{prefix}\.deliveries"):
        await broker.start(woken.wake)


async def test_a_cancelled_publish_is_cancelled(rabbitmq_url: str, prefix: str, woken: Woken) -> None:
    """Who cancels a publish gets the cancellation, not a wrong answer."""
    broker = RabbitBroker(rabbitmq_url, prefix=prefix)
    await broker.start(woken.wake)
    publishing = asyncio.create_task(broker.publish([str(number) for number in range(2000)]))
    asyncio.get_running_loop().call_soon(publishing.cancel)
    with pytest.raises(asyncio.CancelledError):
        await publishing
    await broker.stop()


async def test_ids_survive_a_restart_of_rabbitmq_and_later_ones_follow(
    own_rabbitmq: services.RabbitMq, prefix: str, woken: Woken, reports: Reports
) -> None:
    """While RabbitMQ is away the broker says that it is not ready, reconnects by itself, and loses no confirmed id."""
    away = asyncio.Event()

    async def wake(delivery_id: str) -> None:
        await away.wait()
        await woken.wake(delivery_id)

    broker = RabbitBroker(own_rabbitmq.url, prefix=prefix, reconnect_seconds=0.1, report=reports)
    await broker.start(wake, prefetch=2)
    before = [f"before-{number}" for number in range(5)]
    assert frozenset(before) == await broker.publish(before)

    await asyncio.to_thread(own_rabbitmq.shut_down)
    await reports.until("broker_disconnected")
    assert broker.ready is False
    with pytest.raises(BrokerUnavailable):
        await broker.publish(["meanwhile"])
    away.set()
    await asyncio.to_thread(own_rabbitmq.start)
    await reports.until("broker_connected", times=2)

    assert {"after"} == await broker.publish(["after"])
    await woken.until(lambda times: {*before, "after"} <= times.keys())
    await broker.stop()


async def test_a_wake_survives_the_loss_of_its_connection(
    rabbit: RabbitBroker, channel: AbstractChannel, prefix: str, reports: Reports
) -> None:
    """A send that is under way is not cut off because the broker went away."""
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def wake(delivery_id: str) -> None:
        begun.set()
        await go_on.wait()
        ended.set()

    await rabbit.start(wake)
    await rabbit.publish(["slow"])
    async with asyncio.timeout(PATIENCE_SECONDS):
        await begun.wait()
        await channel.queue_delete(f"{prefix}.deliveries")
        await reports.until("broker_connected", times=2)
        go_on.set()
        await ended.wait()


async def test_nothing_is_confirmed_when_the_network_swallows_it(rabbitmq_url: str, prefix: str, woken: Woken) -> None:
    """Without an answer in time an id is unconfirmed, and the call ends though more ids wait than fit in flight."""
    blackhole = Blackhole(rabbitmq_url)
    async with blackhole as url:
        broker = RabbitBroker(url, prefix=prefix, confirm_timeout_seconds=0.2)
        await broker.start(woken.wake)
        blackhole.swallow()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert frozenset() == await broker.publish([str(number) for number in range(20_000)])
    await broker.stop()


async def test_stop_ends_also_while_the_broker_reconnects(rabbitmq_url: str, prefix: str, woken: Woken) -> None:
    """A stop is not mistaken for a failed connection, of which there would be another try."""
    blackhole = Blackhole(rabbitmq_url)
    async with blackhole as url, asyncio.timeout(PATIENCE_SECONDS):
        broker = RabbitBroker(url, prefix=prefix, reconnect_seconds=0.01)
        await broker.start(woken.wake)
        await blackhole.accepted.acquire()
        blackhole.cut()
        await blackhole.accepted.acquire()
        await broker.stop()


async def test_ids_beyond_the_prefetch_stay_in_the_queue_for_others(
    rabbitmq_url: str, prefix: str, channel: AbstractChannel
) -> None:
    """A second gateway gets what the first has no room for."""
    broker = RabbitBroker(rabbitmq_url, prefix=prefix, stop_timeout_seconds=0)

    async def wake(delivery_id: str) -> None:
        await asyncio.Event().wait()

    await broker.start(wake, prefetch=2)
    for name in ("first", "second", "third"):
        await broker.publish([name])
    other = await message_from(channel, f"{prefix}.deliveries")
    await broker.stop()
    assert json.loads(other.body)["data"]["deliveryIds"] == ["third"]


async def test_the_shipped_definitions_are_enough_for_a_user_that_may_declare_nothing(
    own_rabbitmq: services.RabbitMq, woken: Woken
) -> None:
    """With deploy/rabbitmq/definitions.json the gateway's own user can publish and consume, and no more."""
    await asyncio.to_thread(own_rabbitmq.control, "import_definitions", str(DEFINITIONS))
    await asyncio.to_thread(own_rabbitmq.control, "change_password", "planbrug", "secret")
    as_gateway = own_rabbitmq.url_of(user="planbrug", password="secret", vhost="planbrug")
    as_administrator = own_rabbitmq.url_of(user="guest", password="guest", vhost="planbrug")
    await asyncio.to_thread(own_rabbitmq.control, "set_permissions", "-p", "planbrug", "guest", ".*", ".*", ".*")

    for url in (as_gateway, as_administrator):  # the second declares, so it proves that the arguments are the same
        broker = RabbitBroker(url)
        await broker.start(woken.wake)
        assert {url[-12:]} == await broker.publish([url[-12:]])
        await broker.stop()

    async with await aio_pika.connect(as_gateway) as connection, connection.channel() as channel:
        with pytest.raises(aio_pika.exceptions.ChannelClosed):
            await channel.declare_queue("another", durable=True)
