"""Death at every step of the exchange with partners over AMQP: a real SIGKILL, and after the restart nothing is lost or doubled."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import services
from amqp_partners import PLAN_TYPE, PartnerHost, partner_host, send
from processes import GatewayProcess
from world import example, receiving

from gateway.client import CallError, GatewayClient
from gateway.envelope import seal_to
from gateway.failpoints import PARTNER_FAILPOINTS

PATIENCE_SECONDS = 60

Ask = Callable[[GatewayClient], Awaitable[Any]]


class Partner:
    """Kompas and the team, who ask again until there is an answer, and somebody who starts a gateway that died."""

    def __init__(self, gateway: GatewayProcess, session: aiohttp.ClientSession) -> None:
        self._gateway = gateway
        self._session = session

    async def until(self, name: str, ask: Ask) -> Any:
        """Ask as a client until the answer is something."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with suppress(aiohttp.ClientError, CallError):
                    answer = await ask(await self._gateway.client(self._session, name))
                    if answer:
                        return answer
                if not self._gateway.alive:
                    await self._gateway.start()
                await asyncio.sleep(0.05)

    async def key(self) -> dict[str, Any]:
        """Return the key that plans are sealed to."""
        async with self._session.get(f"{self._gateway.url}/.well-known/jwks.json") as response:
            (key,) = [key for key in (await response.json())["keys"] if key["use"] == "enc"]
        return dict(key)


def kompas_receives_over_amqp(folder: Path) -> None:
    """Let the directory file say so, from the first start on."""
    path = folder / "directory.json"
    entries = json.loads(path.read_bytes())
    for entry in entries:
        if entry["id"] == "kompas":
            entry["endpoints"] = [{"adapter": "amqp", "format": "plan-van-aanpak"}]
    path.write_text(json.dumps(entries))


async def left_in(host: PartnerHost, *queues: str) -> list[int]:
    """Return how many messages these queues hold."""
    async with host.channel("guest") as channel:
        return [int((await channel.get_queue(name)).declaration_result.message_count or 0) for name in queues]


async def to_kompas(client: GatewayClient) -> list[dict[str, Any]]:
    """Return every delivery to Kompas that it may know of."""
    return list((await client.want("GET", "/v1/deliveries?recipient=kompas&limit=200"))["items"])


async def pulled(client: GatewayClient, delivery_id: str) -> str:
    """Pull the document; return the hash that came with it."""
    answered = await client.ask("GET", f"/v1/deliveries/{delivery_id}/document")
    return answered.headers.get("Planbrug-Sha256", "")


async def acknowledged(client: GatewayClient, delivery_id: str) -> bool:
    """Say whether a delivery ended well."""
    row = await client.want("GET", f"/v1/deliveries/{delivery_id}")
    return bool(row["state"] == "acknowledged")


@pytest.mark.parametrize("failpoint", PARTNER_FAILPOINTS)
async def test_a_partner_notices_nothing_of_a_death(
    tmp_path: Path, rabbitmq_server: services.RabbitMq, failpoint: str
) -> None:
    """One plan, one version, one delivery with one number, acknowledged; nothing is left in a queue, and nothing set aside."""
    await die_on_the_way(tmp_path, partner_host(rabbitmq_server, tmp_path), failpoint)


async def die_on_the_way(folder: Path, host: PartnerHost, failpoint: str) -> None:
    """Send a sealed plan, pull and confirm, over a death."""
    async with receiving() as (_, url), aiohttp.ClientSession() as session:
        gateway = GatewayProcess(folder / "gateway", url, partner_amqp_url=host.url())
        kompas_receives_over_amqp(gateway.folder)
        partner = Partner(gateway, session)
        try:
            await gateway.start(failpoint)
            sealed = seal_to(await partner.key(), json.dumps(example()).encode(), PLAN_TYPE)
            await send(host, sealed, message_id="once")
            rows = await partner.until("provider-a", to_kompas)
            sha256 = await partner.until("provider-a", lambda kompas: pulled(kompas, rows[0]["id"]))
            place = f"/v1/deliveries/{rows[0]['id']}/receipts"
            await partner.until("provider-a", lambda kompas: kompas.ask("POST", place, json_body={"sha256": sha256}))
            await partner.until("provider-a", lambda kompas: acknowledged(kompas, rows[0]["id"]))
            await send(host, sealed, message_id="once")
            admin = await gateway.client(session, "admin")
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await left_in(host, "planbrug.inbound") != [0]:
                    await asyncio.sleep(0.05)
            everything = (await admin.want("GET", "/v1/deliveries?limit=200"))["items"]
            receipts = (await admin.want("GET", "/v1/receipts?recipient=kompas&limit=200"))["items"]
        finally:
            gateway.kill()
    assert gateway.deaths == [-9]
    assert len({(row["planId"], row["planVersion"]) for row in everything}) == 1
    (row,) = [row for row in everything if row["recipient"] == "kompas"]
    assert (row["state"], row["sequence"]) == ("acknowledged", 1)
    assert [receipt["sha256"] for receipt in receipts if receipt["id"] == row["receiptId"]] == [sha256]
    assert {receipt["exit"] for receipt in receipts} == {"delivery"}
    assert await left_in(host, "planbrug.dead") == [0]
