"""What a proof plays on: gateways as processes, partners that note what comes, a steady load, and real servers."""

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

import aiohttp
import services
from households import SEES, Wish
from msgspec import Struct
from partners import Partners, listening, parties
from processes import GatewayProcess
from steady import Load

Backend = Literal["sqlite", "postgresql"]
DELIVERIES = "planbrug.deliveries"
RECIPIENTS = ("kompas", "de-linde", "noorderlicht")
ALL_RECIPIENTS = tuple(SEES)
RETRIES = ",".join(["0.2"] * 3 + ["0.5"] * 4 + ["1"] * 200)
"""Often enough to see an end of it; never used up, so nothing is parked."""


class Servers(Struct, frozen=True, kw_only=True):
    """The database and the broker of a run; none of them when everything is embedded."""

    postgresql: services.PostgreSql | None = None
    rabbitmq: services.RabbitMq | None = None

    @property
    def backend(self) -> Backend:
        """What the gateways run on."""
        return "postgresql" if self.postgresql else "sqlite"

    def settings(self) -> dict[str, str]:
        """Return the settings of a gateway with databases of its own."""
        if self.postgresql is None or self.rabbitmq is None:
            return {}
        plans, keys = self.postgresql.create_database(), self.postgresql.create_database()
        return {
            "database_url": self.postgresql.url_of(plans),
            "keys_database_url": self.postgresql.url_of(keys),
            "amqp_url": self.rabbitmq.url,
        }


EMBEDDED = Servers()


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Run a PostgreSQL that keeps what it commits, and a RabbitMQ."""
    with services.running_postgresql(durable=True) as postgresql, services.running_rabbitmq() as rabbitmq:
        yield Servers(postgresql=postgresql, rabbitmq=rabbitmq)


class Stage:
    """Everything of one proof."""

    def __init__(self, servers: Servers, gateways: Sequence[GatewayProcess], partners: Partners, load: Load) -> None:
        self.servers = servers
        self.gateways = gateways
        self.partners = partners
        self.load = load

    @property
    def gateway(self) -> GatewayProcess:
        """The first gateway, or the only one."""
        return self.gateways[0]

    async def raise_the_dead(self) -> None:
        """Start every gateway that does not run."""
        for gateway in self.gateways:
            if not gateway.alive:
                await gateway.start()
                assert gateway.alive, "a gateway does not start"


@asynccontextmanager
async def staged(
    folder: Path,
    servers: Servers,
    *,
    seed: int = 1,
    recipients: tuple[str, ...] = RECIPIENTS,
    wish: Wish | None = None,
    gateways: int = 1,
) -> AsyncIterator[Stage]:
    """Set a stage, with the gateways started and the load not yet."""
    who = parties(recipients)
    async with listening(recipients) as partners, aiohttp.ClientSession() as session:
        folder = folder / uuid.uuid4().hex
        asked = {"retry_seconds": RETRIES, "send_timeout_seconds": "3", **servers.settings()}
        first = GatewayProcess(folder, partners.urls, parties=who, **asked)
        others = [
            GatewayProcess(folder, partners.urls, parties=who, beside=first, **asked) for _ in range(gateways - 1)
        ]
        every = (first, *others)
        load = Load(session, every, {party.client: party for party in who}, recipients, seed, wish or Wish())
        stage = Stage(servers, every, partners, load)
        try:
            for gateway in every:
                await gateway.start()
                assert gateway.alive, "a gateway does not start"
            yield stage
        finally:
            for gateway in every:
                gateway.kill()
            await load.abandon()
