"""The contestants: how each is started, prepared and asked how far it is. All run as real processes on one machine.

Each has a folder and a database of its own for every trial; the broker is shared, and only one contestant runs at a time.
"""

import asyncio
import json
import time
from datetime import datetime
from typing import Any, Protocol

import aiohttp
import childs
from documents import filled
from machine import Used
from running import Place, Running, RunningGateway
from scene import RECIPIENTS, choices

from gateway.client import GatewayClient

SETTLED_SECONDS = 300


class Contestant(Protocol):
    """One contestant in one trial."""

    name: str
    port: int

    async def start(self) -> None:
        """Start the process and wait until it is ready."""
        ...

    async def prepare(self, forms: list[bytes], count: int) -> None:
        """Let every resident of these plans make so many choices."""
        ...

    async def job(self) -> dict[str, Any]:
        """Return how a plan is posted: port, path, headers."""
        ...

    async def open_deliveries(self) -> int:
        """Return how many deliveries have no receipt yet, by the contestant's own books."""
        ...

    def confirmed(self, rows: list[dict[str, Any]]) -> list[float]:
        """Return when the broker had confirmed all of each plan, in the order of `rows`; shorter when it has not yet."""
        ...

    def used(self) -> Used:
        """Return what the process has used."""
        ...

    async def stop(self) -> None:
        """End the process."""
        ...


class Planbrug(RunningGateway):
    """The gateway itself, with its own tokens, sealing and receipts."""

    async def prepare(self, forms: list[bytes], count: int) -> None:
        """Send one plan of every household, and let its residents choose."""
        made = choices(count)
        async with aiohttp.ClientSession() as session:
            team = GatewayClient(session, self.root_url, await self.token(session))
            for number, form in enumerate(forms):
                body = filled(form, f"first-{number}")
                sent = await team.want("POST", "/v1/plans?format=plan-van-aanpak", body=body)
                for row in sent["residents"]:
                    place = f"/v1/residents/{row['id']}/choices"
                    now = await team.ask("GET", place)
                    await team.want(
                        "PUT", place, json_body={"choices": made}, headers={"If-Match": now.headers["ETag"]}
                    )
        await settled(self)

    async def job(self) -> dict[str, Any]:
        """Return how a plan is posted, with a fresh token."""
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": f"Bearer {await self.token(session)}", "Content-Type": "application/json"}
        return {"port": self.port, "path": "/v1/plans?format=plan-van-aanpak", "headers": headers}

    async def open_deliveries(self) -> int:
        """Return how many deliveries are still planned, queued, sent or waiting."""
        return await self.count(
            "SELECT count(*) FROM delivery WHERE state IN ('planned', 'queued', 'sent', 'waiting', 'parked')"
        )

    def confirmed(self, rows: list[dict[str, Any]]) -> list[float]:
        """Read the confirms out of the gateway's own log: the relay publishes what was planned first, first."""
        offset = time.time() - time.monotonic()
        since = min(row["due"] for row in rows) + offset
        moments: list[float] = []
        with (self.place.folder / "logs" / "planbrug.jsonl").open() as lines:
            for line in lines:
                if '"relay_published"' not in line:
                    continue
                told = json.loads(line)
                at = datetime.fromisoformat(told["timestamp"]).timestamp()
                if at >= since:
                    moments += [at - offset] * told["confirmed"]
        each = len(RECIPIENTS)
        whole = moments[each - 1 :: each]
        if len(whole) < len(rows):
            return whole
        by_answer = sorted(range(len(rows)), key=lambda position: rows[position]["answered"])
        found = dict(zip(by_answer, whole, strict=False))
        return [found[position] for position in range(len(rows))]


class _Ours(Running):
    """A contestant of this folder: answers a plan when the broker has confirmed it."""

    settings: dict[str, str]
    program: str

    async def start(self) -> None:
        """Start the process and wait until it is ready."""
        settings = {
            "PORT": str(self.port),
            "DATABASE_URL": self._database(),
            "AMQP_URL": self.place.amqp_url,
            "RECEIVERS": json.dumps(self.place.receivers),
            "RECORDED": str(self.place.recorded),
            **self.settings,
        }
        program = childs.HERE / self.program / "app.py"
        await self.begin([str(childs.PYTHON), str(program)], settings, program.parent)

    async def job(self) -> dict[str, Any]:
        """Return how a plan is posted."""
        return {"port": self.port, "path": "/plans", "headers": {"Content-Type": "application/json"}}

    def confirmed(self, rows: list[dict[str, Any]]) -> list[float]:
        """Return when each plan was answered."""
        return [row["answered"] for row in rows]

    def _database(self) -> str:
        return self.place.database_url


class Naive(_Ours):
    """FastAPI and its friends, with or without the four usual mistakes."""

    program = "naive"

    def __init__(self, name: str, place: Place, port: int, *, mistakes: bool) -> None:
        super().__init__(name, place, port)
        self.settings = {"MISTAKES": "yes" if mistakes else "no"}

    async def prepare(self, forms: list[bytes], count: int) -> None:
        """Keep the choices of every resident."""
        body = json.dumps({"choices": choices(count)}).encode()
        async with aiohttp.ClientSession() as session:
            for form in forms:
                for row in json.loads(form)["bewoners"]:
                    url = f"http://127.0.0.1:{self.port}/residents/{row['ref']}/choices"
                    async with session.put(url, data=body) as response:
                        response.raise_for_status()

    async def open_deliveries(self) -> int:
        """Return how many views have no receipt."""
        return await self.count("SELECT count(*) FROM outbox WHERE state < 2")

    def _database(self) -> str:
        url = self.place.database_url
        return url.replace("sqlite://", "sqlite+aiosqlite://").replace("postgresql://", "postgresql+asyncpg://")


class Limit(_Ours):
    """The same bytes, no logic."""

    program = "limit"

    def __init__(self, name: str, place: Place, port: int, *, client: str) -> None:
        super().__init__(name, place, port)
        self.settings = {"CLIENT": client}

    async def prepare(self, forms: list[bytes], count: int) -> None:
        """There is nothing to prepare: the bytes were recorded."""

    async def open_deliveries(self) -> int:
        """Return how many deliveries have no receipt."""
        return await self.count("SELECT count(*) FROM delivery WHERE state < 2")


NAMES = ("planbrug", "naive", "naive without its mistakes", "limit, aio-pika", "limit, bare client")


def contestant(name: str, place: Place, port: int) -> Contestant:
    """Return the contestant of this name."""
    match name:
        case "planbrug":
            return Planbrug(name, place, port)
        case "naive":
            return Naive(name, place, port, mistakes=True)
        case "naive without its mistakes":
            return Naive(name, place, port, mistakes=False)
        case "limit, aio-pika":
            return Limit(name, place, port, client="aio-pika")
        case _:
            return Limit(name, place, port, client="bare")


async def settled(who: Contestant) -> None:
    """Wait until a contestant's own books say that everything is receipted. Raises ChildError: something was lost."""
    try:
        async with asyncio.timeout(SETTLED_SECONDS):
            while await who.open_deliveries():  # noqa: ASYNC110 - the books are another process's
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise childs.ChildError(f"{who.name}: {await who.open_deliveries()} deliveries are never receipted") from error
