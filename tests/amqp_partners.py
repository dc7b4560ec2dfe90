"""Partners over AMQP: the shipped topology in a virtual host of a test's own, and a partner as a bare AMQP client."""

import asyncio
import base64
import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import services
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from world import PATIENCE_SECONDS, World

from gateway.envelope import seal_to
from gateway.partner_definitions import VHOST
from gateway.render import media_type

DEFINITIONS = Path(__file__).parents[1] / "deploy" / "rabbitmq" / "definitions.json"
PASSWORD = "vlinder"
TEAM, KOMPAS = "wijkteam-noord-team", "kompas-provider-a"
PLAN_TYPE = media_type("plan-van-aanpak")


@dataclass
class PartnerHost:
    """One virtual host with the topology and users of the shipped definitions."""

    server: services.RabbitMq
    vhost: str

    def url(self, user: str = "planbrug") -> str:
        """Return the URL of one user."""
        return self.server.url_of(user=user, password=PASSWORD, vhost=self.vhost)

    @asynccontextmanager
    async def channel(self, user: str) -> AsyncIterator[AbstractChannel]:
        """Open a channel as one user; guest administers."""
        url = self.url(user) if user != "guest" else self.server.url_of(user=user, password=user, vhost=self.vhost)
        async with await aio_pika.connect(url) as connection, connection.channel() as opened:
            await opened.set_qos(prefetch_count=1)
            yield opened


def partner_host(server: services.RabbitMq, folder: Path) -> PartnerHost:
    """Import the shipped definitions into a new virtual host, with a password for every user."""
    host = PartnerHost(server, f"partners-{uuid.uuid4().hex[:8]}")
    found = json.loads(DEFINITIONS.read_text().replace(f'"{VHOST}"', f'"{host.vhost}"'))
    for user in found["users"]:
        user["password_hash"] = _hashed(PASSWORD)
    found["permissions"].append({"user": "guest", "vhost": host.vhost, "configure": ".*", "write": ".*", "read": ".*"})
    file = folder / "definitions.json"
    file.write_text(json.dumps(found))
    file.chmod(0o644)
    server.control("import_definitions", str(file))
    return host


def _hashed(password: str) -> str:
    """Hash as https://www.rabbitmq.com/docs/passwords says."""
    salt = b"salt"
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


async def gateway_key(world: World) -> dict[str, Any]:
    """Return the key that the gateway publishes for sealing."""
    async with world.session.get(f"{world.gateway.public_url}/.well-known/jwks.json") as response:
        (key,) = [key for key in (await response.json())["keys"] if key["use"] == "enc"]
    return dict(key)


async def sealed(world: World, document: dict[str, Any] | bytes, content_type: str = PLAN_TYPE) -> bytes:
    """Seal a document to the gateway, as a partner does."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return seal_to(await gateway_key(world), body, content_type)


async def send(host: PartnerHost, body: bytes, *, user: str = TEAM, **properties: Any) -> None:
    """Publish a message as a partner, confirmed; what is None is left out."""
    known = {"content_type": "application/jose", "message_id": uuid.uuid4().hex, "user_id": user, **properties}
    message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **known)
    async with host.channel(user) as channel:
        exchange = await channel.get_exchange("planbrug.inbound", ensure=False)
        await exchange.publish(message, "", mandatory=True)


async def next_of(queue: AbstractQueue) -> AbstractIncomingMessage:
    """Wait for the next message of a queue, and take it."""
    arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    tag = await queue.consume(arrived.put)
    async with asyncio.timeout(PATIENCE_SECONDS):
        message = await arrived.get()
    await queue.cancel(tag)
    await message.ack()
    return message


async def dead_letter(host: PartnerHost) -> AbstractIncomingMessage:
    """Wait for the next dead letter, as an administrator."""
    async with host.channel("guest") as channel:
        return await next_of(await channel.get_queue("planbrug.dead", ensure=False))
