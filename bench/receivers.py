"""The receivers of the four recipients, one process with a port for each: take a view, hash it, answer with a receipt.

Commands come as JSON lines on standard input, one answer line each: `hold` (answer nobody from now), `release`, `keep` (keep bodies),
`forget`, `wait` {count, seconds}, `dump` {file}. The process ends with its standard input.
"""

import asyncio
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import uvloop
from scene import RECIPIENTS
from wire import HEAD_ENDS, header


class Shelf:
    """What has arrived, and whether anybody is answered."""

    def __init__(self) -> None:
        self.arrivals: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.keeps = False
        self.open = asyncio.Event()
        self.open.set()
        self.more = asyncio.Event()

    def forget(self) -> None:
        """Begin anew."""
        self.arrivals, self.bodies, self.keeps = [], [], False


class Receiving(asyncio.Protocol):
    """One connection of one sender."""

    def __init__(self, recipient: str, shelf: Shelf) -> None:
        self._recipient = recipient
        self._shelf = shelf
        self._buffer = bytearray()
        self._waiting: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember whom to answer."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take every whole request out of the buffer."""
        self._buffer += data
        while (end := self._buffer.find(HEAD_ENDS)) >= 0:
            head = bytes(self._buffer[:end])
            length = int(header(head, b"content-length") or 0)
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            self._take(head, body)

    def _take(self, head: bytes, body: bytes) -> None:
        if self._shelf.open.is_set():
            self._answer(head, body)
            return
        task = asyncio.ensure_future(self._answer_later(head, body))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _answer_later(self, head: bytes, body: bytes) -> None:
        await self._shelf.open.wait()
        self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        delivery = header(head, b"planbrug-delivery").decode()
        sha256 = hashlib.sha256(body).hexdigest()
        told = b'{"deliveryId":"%b","sha256":"%b"}' % (delivery.encode(), sha256.encode())
        self._transport.write(  # type: ignore[attr-defined]
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told)
        )
        self._shelf.arrivals.append(
            {
                "at": time.monotonic(),
                "recipient": self._recipient,
                "delivery": delivery,
                "sequence": int(header(head, b"planbrug-sequence") or 0),
                "whole": header(head, b"planbrug-sha256").decode() == sha256,
                "sha256": sha256,
                "bytes": len(body),
                "marks": body.count(b"mark-"),
            }
        )
        if self._shelf.keeps:
            self._shelf.bodies.append(body)
        self._shelf.more.set()


async def obey(shelf: Shelf, asked: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked, and say how many views have arrived."""
    match asked["do"]:
        case "hold":
            shelf.open.clear()
        case "release":
            shelf.open.set()
        case "forget":
            shelf.forget()
        case "keep":
            shelf.keeps = True
        case "wait":
            await _until(shelf, asked["count"], asked["seconds"])
        case "dump":
            bodies = [body.decode() for body in shelf.bodies]
            Path(asked["file"]).write_bytes(  # noqa: ASYNC240 - between loads
                orjson.dumps({"arrivals": shelf.arrivals, "bodies": bodies})
            )
    return {"count": len(shelf.arrivals)}


async def _until(shelf: Shelf, count: int, seconds: float) -> None:
    """Wait until so many views arrived, at most so long without any new one."""
    while len(shelf.arrivals) < count:
        shelf.more.clear()
        try:
            await asyncio.wait_for(shelf.more.wait(), seconds)
        except TimeoutError:
            return


async def main() -> None:
    """Listen, say on which ports, and obey until standard input ends."""
    loop, shelf = asyncio.get_running_loop(), Shelf()
    servers = [
        await loop.create_server(lambda name=name: Receiving(name, shelf), "127.0.0.1", 0)  # type: ignore[misc]
        for name in RECIPIENTS
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    print(json.dumps(dict(zip(RECIPIENTS, ports, strict=True))), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        print(json.dumps(await obey(shelf, json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
