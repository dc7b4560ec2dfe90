"""Receivers of other organisations: real HTTP servers that record what came, and answer as a test says."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from gateway.seal import sha256_hex

Answerer = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclass
class Arrival:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def delivery(self) -> str:
        return self.headers["Planbrug-Delivery"]

    @property
    def sequence(self) -> int:
        return int(self.headers["Planbrug-Sequence"])


async def receipt(request: web.Request, body: bytes) -> web.StreamResponse:
    """Answer as a good receiver does."""
    if request.path.endswith("/fhir"):
        entries = [{"response": {"status": "201 Created"}} for _ in json.loads(body)["entry"]]
        return web.json_response({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})
    return web.json_response({"deliveryId": request.headers["Planbrug-Delivery"], "sha256": sha256_hex(body)})


@dataclass
class Receiver:
    """One organisation's receiver. `answers` are used up first, then `answer` for ever."""

    answer: Answerer = receipt
    answers: list[Answerer] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.arrivals.append(Arrival(request.path, dict(request.headers), body))
        self.came.set()
        answer = self.answers.pop(0) if self.answers else self.answer
        return await answer(request, body)

    @property
    def last(self) -> Arrival:
        return self.arrivals[-1]


def status(code: int, headers: dict[str, str] | None = None) -> Answerer:
    """Answer with a bare status."""

    async def answer(_request: web.Request, _body: bytes) -> web.StreamResponse:
        return web.Response(status=code, headers=headers)

    return answer
