"""Move delivery ids from the relay to the delivery step, over RabbitMQ or inside the process.

The broker moves ids only; truth and schedule are in the database, so an id may come twice and may get lost here.
Messages are the CloudEvents of `gateway/due_event.py`; the topology is explained in `deploy/rabbitmq/README.md`.
The connection is kept by `gateway/rabbit.py`.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import DeliveryError, PublishError

from gateway.due_event import CONTENT_TYPE, due_event, read_due_event
from gateway.embedded_broker import BrokerUnavailable, EmbeddedBroker, Report, RunningWakes, Wake, report_nothing
from gateway.rabbit import KeptConnection, Session, Topology, publish_confirmed, unavailable_when_lost

__all__ = ["Broker", "BrokerUnavailable", "EmbeddedBroker", "RabbitBroker", "Report", "Wake", "open_broker"]

ROUTING_KEY = "delivery-due"
DELIVERY_COUNT = "x-delivery-count"
DELIVERY_LIMIT = 20
DEAD_LETTERS_KEPT = 100_000
IN_FLIGHT = 100
IDS_PER_MESSAGE = 20
"""How many ids travel in one message: a confirm and an acknowledgement cost more than an id."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
STOP_TIMEOUT_SECONDS = 10.0


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


class Waking:
    """One message, and how many of its ids are not done yet."""

    __slots__ = ("failed", "left", "message")

    def __init__(self, message: AbstractIncomingMessage, left: int) -> None:
        self.message = message
        self.left = left
        self.failed = False


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
        self._source = source
        self._confirm_timeout_seconds = confirm_timeout_seconds
        self._prefix = prefix
        self._delivery_limit = delivery_limit
        self._first_pause_seconds = first_pause_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        self._report = report
        topology = Topology(
            declare=partial(declare_topology, prefix=prefix, delivery_limit=delivery_limit),
            exchanges=(f"{prefix}.internal",),
            queues=(f"{prefix}.deliveries",),
        )
        self._running: RunningWakes | None = None
        self._kept = KeptConnection(
            url, topology, f"{prefix}.deliveries", reconnect_seconds=reconnect_seconds, report=report
        )

    @property
    def ready(self) -> bool:
        """Tell whether the broker is connected and hands out ids."""
        return self._kept.session is not None

    async def start(self, wake: Wake, *, prefetch: int = 50) -> None:
        """Connect to the first host that answers and stay connected; BrokerUnavailable when none answers now."""
        self._wake, self._running = wake, RunningWakes(prefetch)
        await self._kept.start(partial(self._on_message, running=self._running), prefetch=prefetch)

    async def publish(self, delivery_ids: Sequence[str]) -> frozenset[str]:
        """Publish the ids, some to a message, 100 messages in flight; answer with those that the broker confirmed to have in a queue."""
        session = self._kept.session
        if session is None:
            raise BrokerUnavailable("RabbitMQ is not connected: publish again when ready")
        distinct = list(dict.fromkeys(delivery_ids))
        groups = [distinct[first : first + IDS_PER_MESSAGE] for first in range(0, len(distinct), IDS_PER_MESSAGE)]
        waiting, confirmed = iter(groups), set[str]()
        await asyncio.gather(*(self._publish_some(session, waiting, confirmed) for _ in groups[:IN_FLIGHT]))
        if len(confirmed) < len(distinct):
            self._report("publish_unconfirmed", {"count": len(distinct) - len(confirmed)})
        return frozenset(confirmed)

    async def stop(self) -> None:
        """Consume nothing more, let the running wakes end and be acknowledged, and disconnect."""
        await self._kept.stop_consuming()
        if self._running is not None:
            await self._running.finish(self._stop_timeout_seconds)
        await self._kept.close()

    async def _publish_some(self, session: Session, waiting: Iterator[list[str]], confirmed: set[str]) -> None:
        """Take ids from the shared iterator until it is empty or the connection fails."""
        for ids in waiting:
            try:
                await self._publish_together(session, ids)
            except (PublishError, DeliveryError):  # returned as unroutable, or refused: the next may fare better
                continue
            except BrokerUnavailable:
                return
            confirmed.update(ids)

    async def _publish_together(self, session: Session, ids: Sequence[str]) -> None:
        event_id = str(uuid.uuid4())
        message = aio_pika.Message(
            due_event(event_id, self._source, ids),
            content_type=CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=event_id,
        )
        await publish_confirmed(
            session,
            message,
            exchange=f"{self._prefix}.internal",
            routing_key=ROUTING_KEY,
            timeout_seconds=self._confirm_timeout_seconds,
        )

    async def _on_message(self, message: AbstractIncomingMessage, running: RunningWakes) -> None:
        """Start the wakes in a task of our own: they must survive the loss of the channel, whose tasks are cancelled."""
        ids = read_due_event(message.body)
        if not ids:
            self._report("delivery_dead_lettered", {"reason": "malformed"})
            await message.reject(requeue=False)
            return
        waking = Waking(message, len(ids))
        for delivery_id in ids:
            await running.start(partial(self._wake_one, waking, delivery_id))

    async def _wake_one(self, waking: Waking, delivery_id: str) -> None:
        try:
            await self._wake(delivery_id)
        except Exception as error:  # noqa: BLE001 - the top of a loop: one wake never ends the others
            self._report("wake_failed", {"error": type(error).__name__})
            waking.failed = True
        waking.left -= 1
        if not waking.left:
            await self._settle(waking)

    async def _settle(self, waking: Waking) -> None:
        """Acknowledge a message whose ids are all done. When one failed all come again; those that were done find nothing to do."""
        if waking.failed:
            await self._give_back(waking.message)
            return
        with contextlib.suppress(BrokerUnavailable), unavailable_when_lost():
            await waking.message.ack()

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
