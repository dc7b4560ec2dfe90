"""The contestants: how each is started, prepared and asked how far it is. All run as real processes on one machine.

Each has a folder and a database of its own for every trial; the broker is shared, and only one contestant runs at a time.
"""

import asyncio
import json
import os
import sqlite3
import sys
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import asyncpg
import childs
import msgspec
from documents import filled
from machine import Used, used_by
from scene import BYSTANDER, RECIPIENTS, SOURCE, choices

from gateway.callers import new_key, public_jwks, read_private_key, write_private_key
from gateway.client import GatewayClient, Known, fetch_token
from gateway.demo.vlinderstad import GROUNDS, WMO_BSN_ARTICLE
from gateway.directory import Client, Endpoint, Entry
from mappings.identifiers import OIN_SYSTEM
from mappings.plan import Identifier

READY_SECONDS = 60
SETTLED_SECONDS = 300
TEAM_SCOPES = ("plans:write", "plans:read", "choices:read", "choices:write", "deliveries:read")


class Place:
    """Where a contestant runs in one trial."""

    def __init__(self, folder: Path, database_url: str, amqp_url: str, ports: dict[str, int], recorded: Path) -> None:
        self.folder, self.database_url, self.amqp_url, self.recorded = folder, database_url, amqp_url, recorded
        self.receivers = {name: f"http://127.0.0.1:{port}/{name}" for name, port in ports.items()}


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


class _Service:
    """What all contestants have in common: one process with a port and a database."""

    def __init__(self, name: str, place: Place, port: int) -> None:
        self.name, self.place, self.port = name, place, port
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def used(self) -> Used:
        """Return what the process has used."""
        return used_by(self.pid)

    async def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            await childs.stop(self._process)

    async def _begin(self, command: list[str], settings: dict[str, str], folder: Path) -> None:
        log = self.place.folder / "output.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PLANBRUG_")}
        self._process = await childs.start(command, {**environment, **settings}, log, folder)
        async with asyncio.timeout(READY_SECONDS), aiohttp.ClientSession() as session:
            while self._process.returncode is None:
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/health/ready") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)
        raise childs.ChildError(f"{self.name} did not start: {log.read_text()[-2000:]}")

    async def _count(self, query: str) -> int:
        url = self.place.database_url
        if url.startswith("sqlite:///"):
            with closing(
                sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True, timeout=30)
            ) as database:
                return int(database.execute(query).fetchone()[0])
        database = await asyncpg.connect(url)
        try:
            return int(await database.fetchval(query))
        finally:
            await database.close()


class Planbrug(_Service):
    """The gateway itself, `python -m gateway serve`, with its own tokens, sealing and receipts."""

    async def start(self) -> None:
        """Start the process and wait until it is ready."""
        folder = self.place.folder
        self._write_scene(folder)
        settings = {
            "MODE": "demo",
            "PORT": str(self.port),
            "DATA_DIR": str(folder),
            "DATABASE_URL": self.place.database_url,
            "AMQP_URL": self.place.amqp_url,
            "DIRECTORY_FILE": str(folder / "directory.json"),
            "GROUNDS_FILE": str(folder / "grounds.json"),
            "SEND_TIMEOUT_SECONDS": "600",
        }
        named = {f"PLANBRUG_{name}": value for name, value in settings.items()}
        await self._begin([sys.executable, "-m", "gateway", "serve"], named, childs.HERE.parent)

    async def prepare(self, forms: list[bytes], count: int) -> None:
        """Send one plan of every household, and let its residents choose."""
        made = choices(count)
        async with aiohttp.ClientSession() as session:
            team = GatewayClient(session, self._url, await self._token(session))
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
            headers = {"Authorization": f"Bearer {await self._token(session)}", "Content-Type": "application/json"}
        return {"port": self.port, "path": "/v1/plans?format=plan-van-aanpak", "headers": headers}

    async def open_deliveries(self) -> int:
        """Return how many deliveries are still planned, queued, sent or waiting."""
        return await self._count(
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

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def _key(self) -> Path:
        return self.place.folder / "team.jwk"

    async def _token(self, session: aiohttp.ClientSession) -> str:
        team = {"clientId": "team", "keyFile": str(self._key), "scope": " ".join(TEAM_SCOPES)}
        known = Known(self._url, f"{self._url}/oauth/token", {"team": team}, {}, {})
        return await fetch_token(session, known, "team")

    def _write_scene(self, folder: Path) -> None:
        write_private_key(self._key, new_key())
        client = Client(
            client_id="team", purpose="support", scopes=TEAM_SCOPES, jwks=public_jwks(read_private_key(self._key))
        )
        team = Entry(
            id=SOURCE,
            name="Wijkteam Noord",
            kind="neighbourhood-team",
            identifiers=(Identifier(system=OIN_SYSTEM, value="00000099000000001000"),),
            bsn_article=WMO_BSN_ARTICLE,
            clients=(client,),
        )
        partners = [
            Entry(
                id=name,
                name=name,
                kind="care-provider",
                endpoints=(Endpoint(adapter="webhook", url=url, format="fhir"),),
            )
            for name, url in self.place.receivers.items()
        ]
        bystander = Entry(id=BYSTANDER, name=BYSTANDER, kind="volunteers")
        (folder / "directory.json").write_bytes(msgspec.json.encode([team, *partners, bystander]))
        (folder / "grounds.json").write_bytes(msgspec.json.encode(GROUNDS))


class _Ours(_Service):
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
        await self._begin([str(childs.PYTHON), str(program)], settings, program.parent)

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
        return await self._count("SELECT count(*) FROM outbox WHERE state < 2")

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
        return await self._count("SELECT count(*) FROM delivery WHERE state < 2")


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
