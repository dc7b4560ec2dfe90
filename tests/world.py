"""A small world for tests: one real gateway over real HTTP, the organisations of Vlinderstad, and their receivers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from described import DescribedClient
from receivers import Receiver

from gateway.callers import new_key, public_jwks, read_private_key, write_private_key
from gateway.client import Answered, GatewayClient, Known, fetch_token
from gateway.demo.vlinderstad import FINN_CHOICES, GROUNDS, MARLOES_CHOICES, PARTIES, entry_of, key_file
from gateway.server import serving
from gateway.settings import load_settings
from gateway.wiring import Gateway

RESTING = {"acknowledged", "withheld", "unchanged", "superseded", "parked", "recalled", "waiting"}
PATIENCE_SECONDS = 30
FORMAT = "plan-van-aanpak"

Edit = Callable[[dict[str, Any]], None]


def example(case: str = "samen-op-orde", edit: Edit | None = None, form: str = FORMAT) -> dict[str, Any]:
    """Return an example document, edited."""
    path = files("mappings") / "formats" / form / "examples" / case / "source.json"
    document: dict[str, Any] = json.loads(path.read_bytes())
    if edit:
        edit(document)
    return document


@dataclass
class World:
    """A gateway, its callers by demo name, and the receivers of its partners by demo name."""

    gateway: Gateway
    data_dir: Path
    clients: dict[str, GatewayClient]
    receivers: dict[str, Receiver]
    known: Known
    session: aiohttp.ClientSession

    @property
    def team(self) -> GatewayClient:
        return self.clients["team"]

    async def send(self, document: dict[str, Any] | bytes, *, key: str | None = None, form: str = FORMAT) -> Answered:
        """POST a plan as the team."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        headers = {"Idempotency-Key": key} if key else {}
        return await self.team.ask("POST", f"/v1/plans?format={form}", body=body, headers=headers)

    async def choose(self, resident: str, choices: list[dict[str, Any]]) -> Answered:
        """Make these a resident's choices, as the team."""
        place = f"/v1/residents/{resident}/choices"
        current = await self.team.ask("GET", place)
        headers = {"If-Match": current.headers["ETag"]}
        return await self.team.ask("PUT", place, json_body={"choices": choices}, headers=headers)

    async def family(self) -> tuple[str, dict[str, str]]:
        """Send the rich example with the family's choices, wait until all is delivered; return plan id and residents."""
        sent = (await self.send(example())).body
        residents = {row["reference"]: row["id"] for row in sent["residents"]}
        await self.choose(residents["marloes"], MARLOES_CHOICES)
        await self.choose(residents["finn"], FINN_CHOICES)
        await self.rest(sent["planId"])
        return sent["planId"], residents

    async def deliveries(self, plan_id: str) -> list[dict[str, Any]]:
        """Return every delivery of a plan, oldest first."""
        rows = (await self.team.want("GET", f"/v1/deliveries?planId={plan_id}&limit=200"))["items"]
        return list(rows)

    async def rest(self, plan_id: str, resting: set[str] | None = None) -> list[dict[str, Any]]:
        """Wait until every delivery of a plan is in a state in which nothing happens by itself at once; return them."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                rows = await self.deliveries(plan_id)
                if all(row["state"] in (resting or RESTING) for row in rows):
                    return rows
                await asyncio.sleep(0.02)

    def logs(self) -> str:
        """Return every line that was logged."""
        return (self.data_dir / "logs" / "planbrug.jsonl").read_text()


@asynccontextmanager
async def open_world(tmp_path: Path, **known: Any) -> AsyncIterator[World]:
    """Open a world on free ports; `known` are settings such as database_url, amqp_url, retry_seconds."""
    tmp_path.mkdir(parents=True, exist_ok=True)
    grounds = tmp_path / "grounds.json"
    grounds.write_bytes(msgspec.json.encode(GROUNDS))
    asked: dict[str, Any] = {"mode": "demo", "port": 0, "data_dir": tmp_path, "grounds_file": grounds, **known}
    settings = load_settings(None, **asked)
    async with receiving() as (receivers, url), serving(settings) as gateway, aiohttp.ClientSession() as session:
        gateway.started.set()
        for party in PARTIES:
            path = key_file(tmp_path, party.client)
            if not path.exists():
                write_private_key(path, new_key())
            await gateway.directory.put(entry_of(party, public_jwks(read_private_key(path)), url))
        contacts = {
            party.client: {
                "clientId": f"{party.organisation}-{party.client}",
                "keyFile": str(key_file(tmp_path, party.client)),
                "scope": " ".join(party.scopes),
                "organisation": party.organisation,
            }
            for party in PARTIES
        }
        about = Known(gateway.public_url, gateway.gatekeeper.token_url, contacts, {}, {})
        clients: dict[str, GatewayClient] = {
            name: DescribedClient(session, gateway, await fetch_token(session, about, name)) for name in contacts
        }
        yield World(gateway, tmp_path, clients, receivers, about, session)


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[dict[str, Receiver], str]]:
    """Start a receiver per party on a free port; yield them by demo name, and their address."""
    receivers = {party.client: Receiver() for party in PARTIES}
    app = web.Application(client_max_size=50_000_000)
    for name, receiver in receivers.items():
        app.router.add_post(f"/{name}/{{adapter}}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield receivers, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
