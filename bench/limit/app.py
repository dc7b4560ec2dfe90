"""The limit: the same bytes in, stored, published, pushed and receipted, with no logic at all.

The sealed rows and the views are the gateway's own, recorded beforehand (RECORDED: a JSON file); what comes in is read and dropped.
Commits are batched, publishes pipelined, each recipient's views pushed in order. Environment: PORT, DATABASE_URL, AMQP_URL, RECEIVERS,
RECORDED, CLIENT (bare or aio-pika).
"""

import asyncio
import hashlib
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from aiohttp import web
from publishing import Mover, open_mover
from storing import Storage, open_storage

URLS: list[str] = list(json.loads(os.environ["RECEIVERS"]).values())


class Recorded:
    """What the gateway made of one plan: two sealed rows, and the view of each recipient."""

    def __init__(self, path: Path) -> None:
        found = json.loads(path.read_text())
        self.body, self.source_body = bytes(found["body"]), bytes(found["source_body"])
        self.views = [view.encode() for view in found["views"]]
        self.sums = [hashlib.sha256(view).hexdigest() for view in self.views]


class Limit:
    """Moves bytes."""

    def __init__(self, storage: Storage, mover: Mover, http: aiohttp.ClientSession, recorded: Recorded) -> None:
        self._storage, self._mover, self._http, self._recorded = storage, mover, http, recorded
        self._numbers = itertools.count(1)
        self._lanes: list[asyncio.Queue[tuple[int, Callable[[], None]]]] = [asyncio.Queue() for _ in URLS]
        self._receipting: set[asyncio.Future[None]] = set()

    async def start(self) -> list["asyncio.Task[None]"]:
        """Consume and push from now."""
        await self._mover.consume(self._sort)
        return [asyncio.create_task(self._push_forever(position)) for position in range(len(URLS))]

    async def receive(self, request: web.Request) -> web.Response:
        """Store a plan with its deliveries, publish their ids, and answer when all is confirmed."""
        await request.read()
        numbers = [next(self._numbers) for _ in URLS]
        plan = f"plan-{numbers[0]:012}"
        rows = [(seq, _id(seq), position, 1) for position, seq in enumerate(numbers)]
        await self._storage.keep((plan, self._recorded.body, self._recorded.source_body, rows))
        await asyncio.gather(*(self._mover.publish(_message(seq, position)) for seq, _, position, _ in rows))
        return web.json_response({"planId": plan, "deliveries": [row[1] for row in rows]}, status=201)

    def _sort(self, body: bytes, ack: Callable[[], None]) -> None:
        told = json.loads(body)
        self._lanes[told["recipient"]].put_nowait((told["seq"], ack))

    async def _push_forever(self, position: int) -> None:
        lane, sha256 = self._lanes[position], self._recorded.sums[position]
        while True:
            seq, ack = await lane.get()
            headers = {
                "Content-Type": "application/fhir+json",
                "Planbrug-Delivery": _id(seq),
                "Planbrug-Sequence": str(seq),
                "Planbrug-Sha256": sha256,
            }
            async with self._http.post(
                URLS[position], data=self._recorded.views[position], headers=headers
            ) as answered:
                await answered.read()
            kept = self._storage.keep((seq, _id(seq), sha256))
            self._receipting.add(kept)
            kept.add_done_callback(lambda done, ack=ack: self._receipted(done, ack))  # type: ignore[misc]

    def _receipted(self, kept: "asyncio.Future[None]", ack: Callable[[], None]) -> None:
        self._receipting.discard(kept)
        ack()


def _id(seq: int) -> str:
    return f"00000000-0000-7000-8000-{seq:012}"


def _message(seq: int, position: int) -> bytes:
    """Return a message as long as the gateway's CloudEvent."""
    told: dict[str, Any] = {"seq": seq, "recipient": position, "id": _id(seq), "type": "nl.planbrug.delivery-due.v1"}
    return json.dumps(told | {"filler": "x" * 120}).encode()


async def main() -> None:
    """Serve until the process is ended."""
    storage = await open_storage(os.environ["DATABASE_URL"])
    mover = await open_mover(os.environ["AMQP_URL"], bare=os.environ["CLIENT"] == "bare")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as http:
        limit = Limit(storage, mover, http, Recorded(Path(os.environ["RECORDED"])))
        tasks = await limit.start()
        app = web.Application(client_max_size=5_000_000)
        app.router.add_post("/plans", limit.receive)
        app.router.add_get("/health/ready", _ready)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(os.environ["PORT"])).start()
        await asyncio.gather(*tasks)


async def _ready(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


if __name__ == "__main__":
    uvloop.run(main())
