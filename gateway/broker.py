"""Move delivery ids from the relay to the delivery step, over RabbitMQ or inside the process.

The broker moves ids only; truth and schedule are in the database, so an id may come twice and may get lost here.
Messages are the CloudEvents of `gateway/due_event.py`; the topology is explained in `deploy/rabbitmq/README.md`.
This is the one door to AMQP.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    ChannelClosed,
    ChannelPreconditionFailed,
    DeliveryError,
    PublishError,
)
from yarl import URL

from gateway.due_event import CONTENT_TYPE, due_event, read_due_event
from gateway.embedded_broker import BrokerUnavailable, EmbeddedBroker, Report, RunningWakes, Wake, report_nothing

__all__ = ["Broker", "BrokerUnavailable", "EmbeddedBroker", "RabbitBroker", "Report", "Wake", "open_broker"]

ROUTING_KEY = "delivery-due"
DELIVERY_COUNT = "x-delivery-count"
DELIVERY_LIMIT = 20
DEAD_LETTERS_KEPT = 100_000
IN_FLIGHT = 100
HEARTBEAT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
CLOSE_TIMEOUT_SECONDS = 5.0
STOP_TIMEOUT_SECONDS = 10.0
FAILURES = (*CONNECTION_EXCEPTIONS, TimeoutError)


class Broker(Protocol):
    """Hand out delivery ids at least once, as long as the relay offers again what was not confirmed."""

    @property
    def ready(self) -> bool:
        """Tell whether ids are taken in and handed out now."""

    async def start(self, wake: Wake, *, prefetch: int = 50) -> None:
        """Connect and hand ids to `wake`, at most `prefetch` at the same time; may raise BrokerUnavailable."""

    async def publish(self, delivery_ids: Sequence[str]) -> frozenset[str]:
        """Publish the ids and answer with those that the broker took; BrokerUnavailable when it can take none."""

    async def stop(self) -> None:
        """Hand out nothing more, wait a bounded time for the running wakes, and disconnect."""


def open_broker(amqp_url: str | None, *, report: Report = report_nothing) -> Broker:
    """Choose RabbitMQ when there is a URL, else the embedded broker; `start` connects."""
    return RabbitBroker(amqp_url, report=report) if amqp_url else EmbeddedBroker(report=report)


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One connection that publishes and consumes; once lost it stays lost and a new one takes its place."""

    connection: AbstractConnection
    publisher: AbstractChannel
    queue: AbstractQueue
    consumer_tag: str
    host: str
    lost: asyncio.Event


class RabbitBroker:
    """RabbitMQ with a quorum queue, publisher confirms, mandatory publishes and dead letters."""

    def __init__(
        self,
        url: str,
        *,
        source: str = "urn:nld:planbrug",
        confirm_timeout_seconds: float = 10,
        prefix: str = "planbrug",
        delivery_limit: int = DELIVERY_LIMIT,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        reconnect_seconds: float = 1,
        stop_timeout_seconds: float = STOP_TIMEOUT_SECONDS,
        report: Report = report_nothing,
    ) -> None:
        """Take one URL, or the URLs of one cluster's nodes with commas between; each (re)connect tries them in turn."""
        self._urls = [part.strip() for part in url.split(",")]
        self._source = source
        self._confirm_timeout_seconds = confirm_timeout_seconds
        self._prefix = prefix
        self._delivery_limit = delivery_limit
        self._first_pause_seconds = first_pause_seconds
        self._reconnect_seconds = reconnect_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        self._report = report
        self._session: Session | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Tell whether the broker is connected and hands out ids."""
        return self._session is not None and not self._session.lost.is_set()

    async def start(self, wake: Wake, *, prefetch: int = 50) -> None:
        """Connect to the first host that answers and stay connected; BrokerUnavailable when none answers now."""
        self._wake, self._prefetch, self._running = wake, prefetch, RunningWakes(prefetch)
        self._session = await self._connect()
        self._keeper = asyncio.create_task(self._stay_connected(self._session))

    async def publish(self, delivery_ids: Sequence[str]) -> frozenset[str]:
        """Publish the ids, 100 in flight, and answer with those that the broker confirmed to have in a queue."""
        session = self._session
        if session is None or session.lost.is_set():
            raise BrokerUnavailable("RabbitMQ is not connected: publish again when ready")
        distinct = list(dict.fromkeys(delivery_ids))
        waiting, confirmed = iter(distinct), set[str]()
        publishers = (self._publish_some(session, waiting, confirmed) for _ in distinct[:IN_FLIGHT])
        await asyncio.gather(*publishers)
        if len(confirmed) < len(distinct):
            self._report("publish_unconfirmed", {"count": len(distinct) - len(confirmed)})
        return frozenset(confirmed)

    async def stop(self) -> None:
        """Consume nothing more, let the running wakes end and be acknowledged, and disconnect."""
        if self._keeper is None:
            return
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        session, self._session, self._keeper = self._session, None, None
        if session is not None:
            with contextlib.suppress(BrokerUnavailable), unavailable_when_lost():
                await session.queue.cancel(session.consumer_tag, timeout=CLOSE_TIMEOUT_SECONDS)
        await self._running.finish(self._stop_timeout_seconds)
        if session is not None:
            await close(session.connection)

    async def _publish_some(self, session: Session, waiting: Iterator[str], confirmed: set[str]) -> None:
        """Take ids from the shared iterator until it is empty or the connection fails."""
        for delivery_id in waiting:
            try:
                await self._publish_one(session, delivery_id)
            except (PublishError, DeliveryError):  # returned as unroutable, or refused: the next may fare better
                continue
            except BrokerUnavailable:
                return
            confirmed.add(delivery_id)

    async def _publish_one(self, session: Session, delivery_id: str) -> None:
        event_id = str(uuid.uuid4())
        message = aio_pika.Message(
            due_event(event_id, self._source, delivery_id),
            content_type=CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=event_id,
        )
        with unavailable_when_lost():
            channel = await session.publisher.get_underlay_channel()
            await channel.basic_publish(  # type: ignore[call-arg] # aiormq's abstract class lacks `wait`
                message.body,
                exchange=f"{self._prefix}.internal",
                routing_key=ROUTING_KEY,
                properties=message.properties,
                mandatory=True,
                timeout=self._confirm_timeout_seconds,
                wait=False,  # for the socket; the confirm is awaited
            )

    async def _stay_connected(self, session: Session) -> None:
        while True:
            await session.lost.wait()
            self._report("broker_disconnected", {"host": session.host})
            await close(session.connection)
            session = self._session = await self._reconnect()

    async def _reconnect(self) -> Session:
        while True:
            try:
                return await self._connect()
            except BrokerUnavailable:
                await asyncio.sleep(self._reconnect_seconds)

    async def _connect(self) -> Session:
        for url in self._urls:
            host = URL(url).host or ""
            try:
                with unavailable_when_lost():
                    async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                        session = await self._open_session(url, host)
            except BrokerUnavailable as error:
                self._report("broker_unreachable", {"host": host, "error": type(error.__cause__).__name__})
            else:
                self._report("broker_connected", {"host": host})
                return session
        raise BrokerUnavailable("no RabbitMQ host lets us in: check the AMQP URL, the user's rights and the broker")

    async def _open_session(self, url: str, host: str) -> Session:
        connection = await aio_pika.connect(url, heartbeat=HEARTBEAT_SECONDS)
        async with contextlib.AsyncExitStack() as on_failure:
            on_failure.push_async_callback(close, connection)
            await self._ensure_topology(connection)
            session = await self._consume(connection, host)
            on_failure.pop_all()
        return session

    async def _ensure_topology(self, connection: AbstractConnection) -> None:
        """Declare the topology, or only check that it is there when our user may not declare."""
        try:
            async with connection.channel() as channel:
                await declare_topology(channel, self._prefix, self._delivery_limit)
        except ChannelPreconditionFailed:  # it is there, and other than we need
            raise
        except ChannelClosed:
            async with connection.channel() as channel:
                await channel.get_exchange(f"{self._prefix}.internal")
                await channel.get_queue(f"{self._prefix}.deliveries")

    async def _consume(self, connection: AbstractConnection, host: str) -> Session:
        lost = asyncio.Event()
        publisher = await connection.channel(publisher_confirms=True, on_return_raises=True)
        consumer = await connection.channel()
        await set_when_lost(lost, connection, publisher, consumer)
        await consumer.set_qos(prefetch_count=self._prefetch)
        queue = await consumer.get_queue(f"{self._prefix}.deliveries", ensure=False)
        tag = await queue.consume(self._on_message)
        return Session(connection=connection, publisher=publisher, queue=queue, consumer_tag=tag, host=host, lost=lost)

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        """Start the wake in a task of our own: it must survive the loss of the channel, whose tasks are cancelled."""
        delivery_id = read_due_event(message.body)
        if delivery_id is None:
            self._report("delivery_dead_lettered", {"reason": "malformed"})
            await message.reject(requeue=False)
            return
        await self._running.start(partial(self._wake_and_settle, message, delivery_id))

    async def _wake_and_settle(self, message: AbstractIncomingMessage, delivery_id: str) -> None:
        try:
            await self._wake(delivery_id)
        except Exception as error:  # noqa: BLE001 - the top of a loop: one wake never ends the others
            self._report("wake_failed", {"error": type(error).__name__})
            await self._give_back(message)
        else:
            with contextlib.suppress(BrokerUnavailable), unavailable_when_lost():
                await message.ack()

    async def _give_back(self, message: AbstractIncomingMessage) -> None:
        """Return the message after a pause that doubles, or it would use up its deliveries at once."""
        earlier = int(str(message.headers.get(DELIVERY_COUNT, 0)))
        if earlier >= self._delivery_limit:
            self._report("delivery_dead_lettered", {"reason": "delivery-limit"})
        else:
            await asyncio.sleep(min(self._first_pause_seconds * 2**earlier, LONGEST_PAUSE_SECONDS))
        with contextlib.suppress(BrokerUnavailable), unavailable_when_lost():
            await message.nack(requeue=True)


async def declare_topology(channel: AbstractChannel, prefix: str, delivery_limit: int) -> None:
    """Declare what `deploy/rabbitmq/definitions.json` says; what is there with other arguments is an error.

    INVARIANT: planbrug.internal has no alternate exchange. With one, RabbitMQ confirms a mandatory message that
    reached no delivery queue, instead of returning it (https://www.rabbitmq.com/docs/ae).
    """
    internal = await channel.declare_exchange(f"{prefix}.internal", aio_pika.ExchangeType.DIRECT, durable=True)
    dead = await channel.declare_exchange(f"{prefix}.dead", aio_pika.ExchangeType.FANOUT, durable=True)
    dead_letters = await channel.declare_queue(
        f"{prefix}.dead",
        durable=True,
        arguments={"x-queue-type": "quorum", "x-max-length": DEAD_LETTERS_KEPT},
    )
    await dead_letters.bind(dead)
    deliveries = await channel.declare_queue(
        f"{prefix}.deliveries",
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": delivery_limit,
            "x-dead-letter-exchange": f"{prefix}.dead",
        },
    )
    await deliveries.bind(internal, ROUTING_KEY)


async def set_when_lost(lost: asyncio.Event, connection: AbstractConnection, *channels: AbstractChannel) -> None:
    """Set the event when the connection or a channel closes, or the broker cancels a consumer."""

    def on_close(*_: object) -> None:
        lost.set()

    async def on_cancel(*_: object) -> None:
        lost.set()

    connection.close_callbacks.add(on_close)
    for channel in channels:
        channel.close_callbacks.add(on_close)
        (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(on_cancel)


async def close(connection: AbstractConnection) -> None:
    """Close a connection, also one whose other end is gone."""
    with contextlib.suppress(BrokerUnavailable), unavailable_when_lost():
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await connection.close()


@contextlib.contextmanager
def unavailable_when_lost() -> Iterator[None]:
    """Turn every way in which aio-pika says that the connection failed into BrokerUnavailable.

    On a lost connection aio-pika may cancel what we await (CancelledError) though nobody cancelled our task.
    """
    task = asyncio.current_task()
    try:
        yield
    except asyncio.CancelledError as error:
        if task is not None and task.cancelling():
            raise
        raise BrokerUnavailable("the connection to RabbitMQ was lost") from error
    except (PublishError, DeliveryError):
        raise
    except FAILURES as error:
        raise BrokerUnavailable("the connection to RabbitMQ failed") from error
