"""The two ways of the limit to move ids: aio-pika, or the bare client."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import aio_pika
from amqp import BareChannel, connect

QUEUE = "limit.deliveries"
PREFETCH = 500

OnMessage = Callable[[bytes, Callable[[], None]], None]
"""(body, acknowledge)"""


class Mover(Protocol):
    """Publishes with confirms and consumes."""

    def publish(self, body: bytes) -> "asyncio.Future[Any]":
        """Publish; done when confirmed."""
        ...

    async def consume(self, on_message: OnMessage) -> None:
        """Consume from now."""
        ...


class Bare:
    """Over the bare client, a connection each way."""

    def __init__(self, out: BareChannel, back: BareChannel) -> None:
        self._out, self._back = out, back

    def publish(self, body: bytes) -> "asyncio.Future[Any]":
        """Publish; done when confirmed."""
        return self._out.publish(body)

    async def consume(self, on_message: OnMessage) -> None:
        """Consume from now."""
        await self._back.consume(QUEUE, PREFETCH, lambda tag, body: on_message(body, lambda: self._back.ack(tag)))


class Pika:
    """Over aio-pika, the way that is fastest there: publishes that do not wait for the socket."""

    def __init__(self, out: Any, queue: Any) -> None:
        self._out, self._queue = out, queue
        self._acks: set[asyncio.Task[None]] = set()

    def publish(self, body: bytes) -> "asyncio.Future[Any]":
        """Publish; done when confirmed."""
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        sending = self._out.basic_publish(body, routing_key=QUEUE, properties=message.properties, wait=False)
        return asyncio.ensure_future(sending)

    async def consume(self, on_message: OnMessage) -> None:
        """Consume from now."""

        async def take(message: Any) -> None:
            on_message(message.body, lambda: self._ack(message))

        await self._queue.consume(take)

    def _ack(self, message: Any) -> None:
        task = asyncio.ensure_future(message.ack())
        self._acks.add(task)
        task.add_done_callback(self._acks.discard)


async def open_mover(url: str, *, bare: bool) -> Mover:
    """Connect, and declare the one quorum queue."""
    if bare:
        out, back = await connect(url), await connect(url)
        await out.publish_to(QUEUE)
        return Bare(out, back)
    connection = await aio_pika.connect(url)
    channel = await connection.channel(publisher_confirms=True)
    consumer = await connection.channel()
    await consumer.set_qos(prefetch_count=PREFETCH)
    queue = await consumer.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    return Pika(await channel.get_underlay_channel(), queue)
