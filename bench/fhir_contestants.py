"""The FHIR servers: how each is started, who asks it, and how plans come into it. Each is one process on the loopback.

What none of them is asked to do here: deliver anything to anybody.
"""

from dataclasses import dataclass
from importlib.metadata import distribution
from typing import Any, Literal, Protocol

import aiohttp
import childs
import yaml
from machine import Used
from running import Place, Running, RunningGateway

WayIn = Literal["transaction", "one by one"]


class Server(Protocol):
    """One FHIR server of the comparison."""

    name: str
    way_in: WayIn
    may_load_seconds: float | None
    """How long it may take to load; None: as long as it takes."""
    documents_url: str
    """Where plans may come in quicker than as FHIR; empty where there is no such way."""

    @property
    def base_url(self) -> str:
        """The base of its FHIR addresses."""
        ...

    async def start(self) -> None:
        """Start the process and wait until it is ready."""
        ...

    async def headers(self) -> dict[str, str]:
        """Return what every request carries, with a token that has just been made."""
        ...

    def used(self) -> Used:
        """Return what the process has used."""
        ...

    async def stop(self) -> None:
        """End the process."""
        ...


class Planbrug(RunningGateway):
    """The gateway: a token per client, sealed plans, decisions for every reader, a log line per request. No partners, so no deliveries."""

    scopes = (*RunningGateway.scopes, "system/*.cruds")
    way_in: WayIn = "transaction"
    may_load_seconds: float | None = None

    @property
    def documents_url(self) -> str:
        """The same plan as the team's own system would send it: the municipal way in, which needs no check of FHIR."""
        return self.root_url

    @property
    def base_url(self) -> str:
        """The base of its FHIR addresses."""
        return f"{self.root_url}/fhir"

    async def headers(self) -> dict[str, str]:
        """Return a fresh token; it lives for 300 s."""
        async with aiohttp.ClientSession() as session:
            return {"Authorization": f"Bearer {await self.token(session)}"}


class _Other(Running):
    may_load_seconds: float | None = 120
    documents_url = ""

    async def headers(self) -> dict[str, str]:
        """It asks for no token."""
        return {}


class Fhirstarter(_Other):
    """FastAPI and fhir.resources; our handlers of `starter/app.py` over dicts in memory."""

    ready_path = "/metadata"
    way_in: WayIn = "one by one"

    @property
    def base_url(self) -> str:
        """The base of its FHIR addresses."""
        return self.root_url

    async def start(self) -> None:
        """Start the process and wait until it is ready."""
        folder = childs.HERE / "starter"
        settings = {"FHIR_SEQUENCE": "R4B", "PORT": str(self.port)}
        await self.begin([str(childs.PYTHON), "app.py"], settings, folder)


class Sekmet(_Other):
    """`sekmet serve`: a hospital for testing others, on SQLite in WAL mode with `synchronous=FULL`.

    Its traffic log, which keeps every body, is off, as its own settings advise for load; so is its simulator, which would work on our
    Tasks.
    """

    ready_path = "/fhir/metadata"
    way_in: WayIn = "transaction"

    @property
    def base_url(self) -> str:
        """The base of its FHIR addresses."""
        return f"{self.root_url}/fhir"

    async def start(self) -> None:
        """Start the process and wait until it is ready."""
        folder = self.place.folder
        told: dict[str, Any] = {
            "base_url": self.base_url,
            "host": "127.0.0.1",
            "port": self.port,
            "data_dir": str(folder),
            "log_inbound": False,
            "simulator": {"enabled": False},
        }
        (folder / "settings.yaml").write_text(yaml.safe_dump(told))
        program = childs.PYTHON.parent / "sekmet"
        await self.begin([str(program), "serve", "--config", str(folder / "settings.yaml")], {}, folder)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a contestant of a name is made, and on which store."""

    make: type[Planbrug] | type[Fhirstarter] | type[Sekmet]
    store: Literal["sqlite", "postgresql", "own"]


KINDS = {
    "planbrug, SQLite": Kind(make=Planbrug, store="sqlite"),
    "planbrug, PostgreSQL": Kind(make=Planbrug, store="postgresql"),
    "fhirstarter": Kind(make=Fhirstarter, store="own"),
    "sekmet-fhir": Kind(make=Sekmet, store="own"),
}


def server(name: str, place: Place, port: int) -> Server:
    """Return the contestant of this name."""
    return KINDS[name].make(name, place, port)


def versions() -> dict[str, str]:
    """Return which version of each was measured."""
    found = (childs.HERE / ".venv").glob("lib/python*/site-packages/*.dist-info")
    others = [each.name.removesuffix(".dist-info").rpartition("-") for each in found]
    named = {name.replace("_", "-").replace(".", "-"): version for name, _, version in others}
    return {"planbrug": distribution("planbrug").version} | {
        name: named[name] for name in ("fhirstarter", "sekmet-fhir", "fhir-resources", "fastapi", "uvicorn")
    }
