"""Stay connected to one virtual host of RabbitMQ: over several hosts, on the topology that is needed, whatever gets lost.

What both brokers share: the internal one (`gateway/broker.py`) and that of the partners (`gateway/partner_broker.py`). These three
files are the door to AMQP.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    PublishError,
)
from yarl import URL

from gateway.embedded_broker import BrokerUnavailable, Report

HEARTBEAT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS = 10.0
CLOSE_TIMEOUT_SECONDS = 5.0
FAILURES = (*CONNECTION_EXCEPTIONS, TimeoutError)
WRONG_TOPOLOGY = (ChannelPreconditionFailed, ChannelNotFoundEntity)

OnMessage = Callable[[AbstractIncomingMessage], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Topology:
    """What must be there: how a user who may declare makes it, and by which names any other finds it."""

    declare: Callable[[AbstractChannel], Awaitable[None]]
    exchanges: tuple[str, ...]
    queues: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One connection that publishes and consumes; once lost it stays lost and a new one takes its place."""

    connection: AbstractConnection
    publisher: AbstractChannel
    queue: AbstractQueue
    consumer_tag: str
    host: str
    lost: asyncio.Event


class KeptConnection:
    """A connection that publishes, and consumes one queue, for as long as somebody wants it."""

    def __init__(self, url: str, topology: Topology, queue: str, *, reconnect_seconds: float, report: Report) -> None:
        """Take one URL, or the URLs of one cluster's nodes with commas between; each (re)connect tries them in turn."""
        self._urls = [part.strip() for part in url.split(",")]
        self._topology = topology
        self._queue = queue
        self._reconnect_seconds = reconnect_seconds
        self._report = report
        self._session: Session | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def session(self) -> Session | None:
        """The session that is alive now; none when it was lost, or when nobody wants it any more."""
        session = self._session
        return None if self._keeper is None or session is None or session.lost.is_set() else session

    async def start(self, on_message: OnMessage, *, prefetch: int) -> None:
        """Connect to the first host that answers and stay connected; BrokerUnavailable when none answers now."""
        self._on_message, self._prefetch = on_message, prefetch
        self._session = await self._connect()
        self._keeper = asyncio.create_task(self._stay_connected(self._session))

    async def stop_consuming(self) -> None:
        """Take no more messages, and do not reconnect any more; what is in hand can still be acknowledged."""
        if self._keeper is None:
            return
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        self._keeper = None
        if self._session is not None:
            with contextlib.suppress(BrokerUnavailable), unavailable_when_lost():
                await self._session.queue.cancel(self._session.consumer_tag, timeout=CLOSE_TIMEOUT_SECONDS)

    async def close(self) -> None:
        """Disconnect."""
        session, self._session = self._session, None
        if session is not None:
            await close(session.connection)

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
        wrong = ""
        for url in self._urls:
            host = URL(url).host or ""
            try:
                with unavailable_when_lost():
                    async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                        session = await self._open_session(url, host)
            except BrokerUnavailable as error:
                if isinstance(error.__cause__, WRONG_TOPOLOGY):
                    wrong = str(error.__cause__)
                self._report("broker_unreachable", {"host": host, "error": type(error.__cause__).__name__})
            else:
                self._report("broker_connected", {"host": host})
                return session
        if wrong:
            raise BrokerUnavailable(f"RabbitMQ is set up otherwise than in deploy/rabbitmq/definitions.json: {wrong}")
        raise BrokerUnavailable("no RabbitMQ host lets us in: check the AMQP URL, the user's rights and the broker")

    async def _open_session(self, url: str, host: str) -> Session:
        survive_any_properties()
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
                await self._topology.declare(channel)
        except ChannelPreconditionFailed:  # it is there, and other than we need
            raise
        except ChannelClosed:
            async with connection.channel() as channel:
                for name in self._topology.exchanges:
                    await channel.get_exchange(name)
                for name in self._topology.queues:
                    await channel.get_queue(name)

    async def _consume(self, connection: AbstractConnection, host: str) -> Session:
        lost = asyncio.Event()
        publisher = await connection.channel(publisher_confirms=True, on_return_raises=True)
        consumer = await connection.channel()
        await set_when_lost(lost, connection, publisher, consumer)
        await consumer.set_qos(prefetch_count=self._prefetch)
        queue = await consumer.get_queue(self._queue, ensure=False)
        tag = await queue.consume(self._on_message)
        return Session(connection=connection, publisher=publisher, queue=queue, consumer_tag=tag, host=host, lost=lost)


async def publish_confirmed(
    session: Session, message: aio_pika.Message, *, exchange: str, routing_key: str, timeout_seconds: float
) -> None:
    """Publish one message, mandatory, and wait until RabbitMQ has it in a queue.

    Raises PublishError when no queue takes it, DeliveryError when RabbitMQ refuses it, BrokerUnavailable when nobody knows.
    """
    with unavailable_when_lost():
        channel = await session.publisher.get_underlay_channel()
        await channel.basic_publish(  # type: ignore[call-arg] # aiormq's abstract class lacks `wait`
            message.body,
            exchange=exchange,
            routing_key=routing_key,
            properties=message.properties,
            mandatory=True,
            timeout=timeout_seconds,
            wait=False,  # for the socket; the confirm is awaited
        )


def survive_any_properties() -> None:
    """Let a message whose properties cannot be read come without any, instead of breaking the connection again and again.

    RabbitMQ passes on what its publisher wrote, also bytes that are no UTF-8 or a moment beyond the calendar. The decoder of aio-pika
    ends the connection at those, and the next connection gets the same message: one partner could silence all.
    """
    properties = type(aio_pika.Message(b"").properties)
    if properties.unmarshal.__module__ == __name__:
        return
    read = properties.unmarshal

    def unmarshal(self: Any, flags: int, data: bytes) -> None:
        try:
            read(self, flags, data)
        except Exception:  # noqa: BLE001 - whatever the decoder makes of a stranger's bytes
            for name in self.__slots__:
                setattr(self, name, None)

    properties.unmarshal = unmarshal  # type: ignore[method-assign] # a patch, on purpose: see above


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
