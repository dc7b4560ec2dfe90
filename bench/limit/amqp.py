"""A bare AMQP 0-9-1 client for the limit: hand-packed publishes written together, confirms and deliveries read without objects.

One connection, one channel. Grammar: https://www.rabbitmq.com/amqp-0-9-1-reference. No product would live with so little.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from pamqp import commands, frame

GREETING = b"AMQP\x00\x00\x09\x01"
METHOD, HEADER, BODY, END = 1, 2, 3, b"\xce"
ACK, NACK, DELIVER = 0x003C0050, 0x003C0078, 0x003C003C


class BareChannel(asyncio.Protocol):
    """A channel that publishes to one queue, or consumes from one."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._frames: asyncio.Queue[Any] = asyncio.Queue()
        self._fast = False
        self._oldest, self._out_of_order = 1, set[int]()
        self._unconfirmed: deque[asyncio.Future[None]] = deque()
        self._out: list[bytes] = []
        self._on_body: Callable[[int, bytes], None] | None = None
        self._tag = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the broker."""
        self._transport: Any = transport
        transport.write(GREETING)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Take every whole frame out of the buffer."""
        buffer, start = self._buffer, 0
        buffer += data
        while len(buffer) - start >= 8:
            size = int.from_bytes(buffer[start + 3 : start + 7], "big")
            if len(buffer) - start < size + 8:
                break
            if self._fast:
                self._take(buffer[start], bytes(buffer[start + 7 : start + 7 + size]))
            else:
                self._frames.put_nowait(frame.unmarshal(bytes(buffer[start : start + size + 8]))[2])
            start += size + 8
        del buffer[:start]

    async def open(self, url: str) -> None:
        """Shake hands and open the channel."""
        parts = urlsplit(url)
        await self._frames.get()
        self._say(0, commands.Connection.StartOk({}, "PLAIN", f"\0{parts.username}\0{parts.password}", "en_US"))
        tune = await self._frames.get()
        self._say(0, commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
        await self._ask(0, commands.Connection.Open("/"))
        await self._ask(1, commands.Channel.Open())

    async def publish_to(self, queue: str) -> None:
        """Declare a quorum queue and publish to it, with confirms, from now."""
        arguments = {"x-queue-type": "quorum"}
        await self._ask(1, commands.Queue.Declare(0, queue, durable=True, arguments=arguments))
        await self._ask(1, commands.Confirm.Select())
        name = queue.encode()
        method = struct.pack(">HHH", 60, 40, 0) + b"\x00" + bytes([len(name)]) + name + b"\x00"
        self._publish_frame = struct.pack(">BHI", METHOD, 1, len(method)) + method + END
        self._fast = True

    def publish(self, body: bytes) -> asyncio.Future[None]:
        """Publish one persistent message; the future is done when the broker has confirmed it."""
        head = struct.pack(">HHQHB", 60, 0, len(body), 1 << 12, 2)
        confirmed = asyncio.get_running_loop().create_future()
        self._unconfirmed.append(confirmed)
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out += (
            self._publish_frame,
            struct.pack(">BHI", HEADER, 1, len(head)) + head + END,
            struct.pack(">BHI", BODY, 1, len(body)) + body + END,
        )
        return confirmed

    async def consume(self, queue: str, prefetch: int, on_body: Callable[[int, bytes], None]) -> None:
        """Hand the messages of a queue to `on_body` (delivery tag, body)."""
        self._on_body = on_body
        await self._ask(1, commands.Basic.Qos(0, prefetch))
        self._fast = True
        self._say(1, commands.Basic.Consume(0, queue, "limit", nowait=True))

    def ack(self, tag: int) -> None:
        """Acknowledge one message."""
        self._transport.write(struct.pack(">BHIHHQBB", METHOD, 1, 13, 60, 80, tag, 0, 0xCE))

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == BODY and self._on_body:
            self._on_body(self._tag, payload)
        if kind != METHOD:
            return
        method = int.from_bytes(payload[:4], "big")
        if method == DELIVER:
            length = payload[4]
            self._tag = int.from_bytes(payload[5 + length : 13 + length], "big")
        elif method == ACK:
            self._confirm(int.from_bytes(payload[4:12], "big"), multiple=bool(payload[12] & 1))
        elif method == NACK:
            raise RuntimeError("the broker refused a message")

    def _confirm(self, tag: int, *, multiple: bool) -> None:
        if not multiple:
            self._out_of_order.add(tag)
        while self._unconfirmed and (self._oldest in self._out_of_order or (multiple and self._oldest <= tag)):
            self._out_of_order.discard(self._oldest)
            self._unconfirmed.popleft().set_result(None)
            self._oldest += 1

    def _flush(self) -> None:
        self._transport.write(b"".join(self._out))
        self._out.clear()

    def _say(self, channel: int, method: Any) -> None:
        self._transport.write(frame.marshal(method, channel))

    async def _ask(self, channel: int, method: Any) -> Any:
        self._say(channel, method)
        return await self._frames.get()


async def connect(url: str) -> BareChannel:
    """Connect to the broker of an AMQP URL."""
    parts = urlsplit(url)
    _, channel = await asyncio.get_running_loop().create_connection(BareChannel, parts.hostname, parts.port)
    await channel.open(url)
    return channel
