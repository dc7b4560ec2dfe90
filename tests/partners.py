"""Receivers with a port each that can go down: connection refused, 503 to everything, or accept and hang. They note every arrival."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

from accounting import Arrived
from aiohttp import web
from households import SEES, marks_in
from receivers import receipt

from gateway.demo.vlinderstad import PARTIES, Party
from mappings.identifiers import AGB_SYSTEM
from mappings.plan import Identifier

Down = Literal["refused", "503", "hangs"]

_BY_CLIENT = {party.client: party for party in PARTIES}


def parties(recipients: tuple[str, ...]) -> tuple[Party, ...]:
    """Return who takes part: the team, the administrator and these recipients, one of them a FHIR server."""
    return (_BY_CLIENT["team"], _BY_CLIENT["admin"], *(_provider(name) for name in recipients))


def _provider(name: str) -> Party:
    position = list(SEES).index(name)
    return Party(
        client=name,
        organisation=name,
        name=name,
        kind="care-provider",
        purpose="support",
        scopes=("deliveries:read",),
        identifier=Identifier(system=AGB_SYSTEM, value=f"4141000{position + 1}"),
        endpoint=(("webhook", "plan-van-aanpak"), ("fhir", "fhir"), ("webhook", "fhir"))[position % 3],
    )


class Partners:
    """The receivers of a run, by organisation, and everything that came to them in the order in which it came."""

    def __init__(self, recipients: tuple[str, ...]) -> None:
        self.recipients = recipients
        self.arrived: list[Arrived] = []
        self.came = asyncio.Event()
        self._down: dict[str, Down] = {}
        self._hanging: dict[str, asyncio.Event] = {}
        self._ports: dict[str, int] = {}
        self._runners: dict[str, web.AppRunner] = {}

    @property
    def urls(self) -> dict[str, str]:
        """Recipient → where it listens."""
        return {name: f"http://127.0.0.1:{port}" for name, port in self._ports.items()}

    async def open(self, name: str) -> None:
        """Let one listen, on the port that it had before."""
        app = web.Application(client_max_size=50_000_000)
        app.router.add_post("/{client}/{adapter}", partial(self._take, name))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._ports.get(name, 0), reuse_address=True).start()
        self._ports[name] = runner.addresses[0][1]
        self._runners[name] = runner

    async def close(self, name: str) -> None:
        """Let one listen no longer: connections to it are refused."""
        if name in self._hanging:
            self._hanging[name].set()
        if runner := self._runners.pop(name, None):
            await runner.cleanup()

    async def go_down(self, name: str, how: Down) -> None:
        """Take one down."""
        self._down[name] = how
        self._hanging[name] = asyncio.Event()
        if how == "refused":
            await self.close(name)

    async def come_back(self, name: str) -> None:
        """Bring one back; whoever still hangs on it is answered with 503 or cut off."""
        self._down.pop(name)
        self._hanging[name].set()
        if name not in self._runners:
            await self.open(name)

    async def next_arrival(self) -> None:
        """Wait until something arrives."""
        self.came.clear()
        await self.came.wait()

    async def _take(self, name: str, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        down = self._down.get(name)
        arrival = Arrived(
            recipient=name,
            delivery=request.headers["Planbrug-Delivery"],
            sequence=int(request.headers["Planbrug-Sequence"]),
            marks=marks_in(body),
            at=time.monotonic(),
            receipted=down is None,
        )
        self.arrived.append(arrival)
        self.came.set()
        if down == "hangs":
            await self._hanging[name].wait()
        return web.Response(status=503) if down else await receipt(request, body)


@asynccontextmanager
async def listening(recipients: tuple[str, ...]) -> AsyncIterator[Partners]:
    """Let all of them listen."""
    partners = Partners(recipients)
    try:
        for name in recipients:
            await partners.open(name)
        yield partners
    finally:
        for name in recipients:
            await partners.close(name)
