"""Exchange with partners over RabbitMQ, in a virtual host of their own: sealed plans come in, notifications go out.

What comes in is acknowledged when it is kept, or when it stands confirmed among the dead letters, still sealed; otherwise it comes
again. What goes out says only that there is something to pull. `deploy/rabbitmq/README.md` explains the topology and its users.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from functools import partial

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import DeliveryError, PublishError

from adapters import inbound_amqp, outbound_amqp
from adapters.inbound_amqp import Arrival, Fault
from adapters.interface import Answer
from gateway.embedded_broker import BrokerUnavailable, Report, RunningWakes, report_nothing
from gateway.locks import LaneLocks
from gateway.rabbit import KeptConnection, Topology, publish_confirmed, unavailable_when_lost

Take = Callable[[Arrival], Awaitable[Fault | None]]
"""Take one message in: None when it is kept, a fault when it never will be; raises when it may go better later."""

PREFETCH = 20
DELIVERY_LIMIT = 1_000
INBOUND_KEPT = 100_000
DEAD_LETTERS_KEPT = 100_000
HOLD_SECONDS = 300.0
"""How long a message that cannot be taken now is held and tried again before it goes back to its queue; well within
`consumer_timeout`. Holding it keeps the order of its sender, and its deliveries few."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
STOP_TIMEOUT_SECONDS = 10.0


class PartnerBroker:
    """The partners' virtual host: takes what they send, and notifies them."""

    def __init__(
        self,
        url: str,
        *,
        confirm_timeout_seconds: float = 10,
        hold_seconds: float = HOLD_SECONDS,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        reconnect_seconds: float = 1,
        stop_timeout_seconds: float = STOP_TIMEOUT_SECONDS,
        report: Report = report_nothing,
    ) -> None:
        """Take one URL, or the URLs of one cluster's nodes with commas between."""
        topology = Topology(
            declare=declare_topology,
            exchanges=(inbound_amqp.EXCHANGE, outbound_amqp.EXCHANGE, inbound_amqp.DEAD),
            queues=(inbound_amqp.QUEUE, inbound_amqp.DEAD),
        )
        self._kept = KeptConnection(
            url, topology, inbound_amqp.QUEUE, reconnect_seconds=reconnect_seconds, report=report
        )
        self._confirm_timeout_seconds = confirm_timeout_seconds
        self._hold_seconds = hold_seconds
        self._first_pause_seconds = first_pause_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        self._report = report
        self._senders = LaneLocks()
        self._running: RunningWakes | None = None

    @property
    def ready(self) -> bool:
        """Tell whether partners are heard and can be notified."""
        return self._kept.session is not None

    async def start(self, take: Take) -> None:
        """Connect, and hand what comes to `take`, in order per sender; BrokerUnavailable when that cannot be done now."""
        self._running = RunningWakes(PREFETCH)
        self._take = take
        await self._kept.start(partial(self._on_message, running=self._running), prefetch=PREFETCH)

    async def stop(self) -> None:
        """Take nothing more, let what is being taken end, and disconnect; the rest stays in its queue."""
        await self._kept.stop_consuming()
        if self._running is not None:
            await self._running.finish(self._stop_timeout_seconds)
        await self._kept.close()

    async def notify(self, queue: str, event: bytes) -> Answer:
        """Put an event in a partner's queue, confirmed; nothing of a plan left here, however it ends."""
        message = aio_pika.Message(
            event,
            content_type=outbound_amqp.CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=str(uuid.uuid4()),
        )
        try:
            await self._publish(message, outbound_amqp.EXCHANGE, queue)
        except PublishError:
            return Answer(signal="unroutable", left=False)
        except (DeliveryError, BrokerUnavailable):
            return Answer(signal="not-connected", left=False)
        return Answer(signal="notified", left=False)

    async def _publish(self, message: aio_pika.Message, exchange: str, routing_key: str) -> None:
        session = self._kept.session
        if session is None:
            raise BrokerUnavailable("RabbitMQ is not connected")
        await publish_confirmed(
            session,
            message,
            exchange=exchange,
            routing_key=routing_key,
            timeout_seconds=self._confirm_timeout_seconds,
        )

    async def _on_message(self, message: AbstractIncomingMessage, running: RunningWakes) -> None:
        """Take it in a task of our own, which survives the loss of the channel."""
        await running.start(partial(self._take_and_settle, message))

    async def _take_and_settle(self, message: AbstractIncomingMessage) -> None:
        async with self._senders.hold(message.user_id or ""):  # a later version must not overtake an earlier one
            settled = await self._settled_in_time(message)
        with contextlib.suppress(BrokerUnavailable), unavailable_when_lost():
            await (message.ack() if settled else message.nack(requeue=True))

    async def _settled_in_time(self, message: AbstractIncomingMessage) -> bool:
        """Try until the message is kept or set aside, or has been held for long enough."""
        arrival = Arrival(
            body=message.body,
            content_type=message.content_type,
            message_id=message.message_id,
            user_id=message.user_id,
        )
        held, pause = 0.0, self._first_pause_seconds
        while True:
            try:
                await self._settle(message, arrival)
            except Exception as error:  # noqa: BLE001 - the top of a loop: one message never ends the others
                self._report("message_held", {"error": type(error).__name__})
            else:
                return True
            if held >= self._hold_seconds or self._kept.session is None:
                return False
            await asyncio.sleep(pause)
            held, pause = held + pause, min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _settle(self, message: AbstractIncomingMessage, arrival: Arrival) -> None:
        fault = await self._take(arrival)
        if fault is not None:
            await self._publish(_dead_letter(message, fault), inbound_amqp.DEAD, "")


class NoPartners:
    """No partners are connected over AMQP: nothing comes, and nobody can be notified."""

    ready = False

    async def start(self, take: Take) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""

    async def notify(self, _queue: str, _event: bytes) -> Answer:
        """Say that there is no connection."""
        return Answer(signal="not-connected", left=False)


def _dead_letter(message: AbstractIncomingMessage, fault: Fault) -> aio_pika.Message:
    """Return the original bytes with the reason. Its sender stands in a header: only the sender itself may have it as `user_id`."""
    told = {"sender": message.user_id, "message-id": message.message_id}
    return aio_pika.Message(
        message.body,
        content_type=message.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=str(uuid.uuid4()),
        headers={inbound_amqp.REASON_HEADER: fault.code, **{name: value for name, value in told.items() if value}},
    )


async def declare_topology(channel: AbstractChannel) -> None:
    """Declare what `deploy/rabbitmq/definitions.json` says of the partners' virtual host, but for the partners' own queues.

    INVARIANT: planbrug.notifications has no alternate exchange: a partner without a queue must be seen.
    """
    inbound = await channel.declare_exchange(inbound_amqp.EXCHANGE, aio_pika.ExchangeType.FANOUT, durable=True)
    dead = await channel.declare_exchange(inbound_amqp.DEAD, aio_pika.ExchangeType.FANOUT, durable=True)
    await channel.declare_exchange(outbound_amqp.EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True)
    dead_letters = await channel.declare_queue(
        inbound_amqp.DEAD, durable=True, arguments={"x-queue-type": "quorum", "x-max-length": DEAD_LETTERS_KEPT}
    )
    await dead_letters.bind(dead)
    sealed_plans = await channel.declare_queue(
        inbound_amqp.QUEUE,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": inbound_amqp.DEAD,
            "x-max-length": INBOUND_KEPT,
            "x-overflow": "reject-publish",
        },
    )
    await sealed_plans.bind(inbound)
