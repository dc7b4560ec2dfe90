"""A contestant as a process of its own: where it runs, how it is started, asked what it used, and ended."""

import asyncio
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import aiohttp
import asyncpg
import childs
import msgspec
from machine import Used, used_by
from scene import BYSTANDER, SOURCE

from gateway.callers import new_key, public_jwks, read_private_key, write_private_key
from gateway.client import Known, fetch_token
from gateway.demo.vlinderstad import GROUNDS, WMO_BSN_ARTICLE
from gateway.directory import Client, Endpoint, Entry
from mappings.identifiers import OIN_SYSTEM
from mappings.plan import Identifier

READY_SECONDS = 60


class Place:
    """Where a contestant runs in one trial."""

    def __init__(self, folder: Path, database_url: str, amqp_url: str, ports: dict[str, int], recorded: Path) -> None:
        self.folder, self.database_url, self.amqp_url, self.recorded = folder, database_url, amqp_url, recorded
        self.receivers = {name: f"http://127.0.0.1:{port}/{name}" for name, port in ports.items()}


class Running:
    """One contestant as a process, with a port and a database of its own."""

    ready_path = "/health/ready"

    def __init__(self, name: str, place: Place, port: int) -> None:
        self.name, self.place, self.port = name, place, port
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def root_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def used(self) -> Used:
        """Return what the process has used."""
        return used_by(self.pid)

    async def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            await childs.stop(self._process)

    async def begin(self, command: list[str], settings: dict[str, str], folder: Path) -> None:
        """Start the process and wait until it is ready. Raises ChildError."""
        log = self.place.folder / "output.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PLANBRUG_")}
        self._process = await childs.start(command, {**environment, **settings}, log, folder)
        async with asyncio.timeout(READY_SECONDS), aiohttp.ClientSession() as session:
            while self._process.returncode is None:
                try:
                    async with session.get(f"{self.root_url}{self.ready_path}") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)
        raise childs.ChildError(f"{self.name} did not start: {log.read_text()[-2000:]}")

    async def count(self, query: str) -> int:
        """Ask the contestant's own database."""
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


class RunningGateway(Running):
    """The gateway itself, `python -m gateway serve`, with one team that sends and a partner per receiver."""

    scopes = ("plans:write", "plans:read", "choices:read", "choices:write", "deliveries:read")

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
        await self.begin([sys.executable, "-m", "gateway", "serve"], named, childs.HERE.parent)

    @property
    def _key(self) -> Path:
        return self.place.folder / "team.jwk"

    async def token(self, session: aiohttp.ClientSession) -> str:
        """Return a fresh token of the team."""
        team = {"clientId": "team", "keyFile": str(self._key), "scope": " ".join(self.scopes)}
        known = Known(self.root_url, f"{self.root_url}/oauth/token", {"team": team}, {}, {})
        return await fetch_token(session, known, "team")

    def _write_scene(self, folder: Path) -> None:
        write_private_key(self._key, new_key())
        client = Client(
            client_id="team", purpose="support", scopes=self.scopes, jwks=public_jwks(read_private_key(self._key))
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
