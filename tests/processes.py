"""A gateway in a process of its own, that can be killed at a failpoint and started again on the same data."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import aiohttp
import msgspec

from gateway.callers import new_key, public_jwks, read_private_key, write_private_key
from gateway.client import GatewayClient, Known, fetch_token
from gateway.demo.vlinderstad import GROUNDS, PARTIES, Party, entry_of, key_file

PATIENCE_SECONDS = 60


class GatewayProcess:
    """One data folder, and whichever process serves it now. Another gateway may share the folder, and then its address."""

    def __init__(
        self,
        folder: Path,
        receivers: str | Mapping[str, str],
        *,
        parties: Sequence[Party] = PARTIES,
        beside: "GatewayProcess | None" = None,
        **settings: str,
    ) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listening:
            self.port = int(listening.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.token_url = beside.token_url if beside else f"{self.url}/oauth/token"
        self._parties = parties
        if beside is None:
            self._write_scene(receivers)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PLANBRUG_")},
            "PLANBRUG_MODE": "demo",
            "PLANBRUG_PORT": str(self.port),
            "PLANBRUG_PUBLIC_URL": self.token_url.removesuffix("/oauth/token"),
            "PLANBRUG_DATA_DIR": str(folder),
            "PLANBRUG_DIRECTORY_FILE": str(folder / "directory.json"),
            "PLANBRUG_GROUNDS_FILE": str(folder / "grounds.json"),
            "PLANBRUG_RETRY_SECONDS": "0.2,0.2,0.2,0.5,1,1,1,1,1,1",
            "PLANBRUG_SEND_TIMEOUT_SECONDS": "5",
            **{f"PLANBRUG_{name.upper()}": value for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths: list[int] = []

    async def start(self, failpoint: str = "") -> None:
        """Start a process, and wait until it is ready, or dead at its failpoint (`name`, or `name:k` for its k-th reach)."""
        if self.process is not None:
            self.deaths.append(self.process.wait())
        environment = {**self._environment, "PLANBRUG_FAILPOINT": failpoint}
        command = [sys.executable, "-m", "gateway", "serve"]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        async with asyncio.timeout(PATIENCE_SECONDS), aiohttp.ClientSession() as session:
            while self.process.poll() is None:
                try:
                    async with session.get(f"{self.url}/health/ready") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)

    @property
    def alive(self) -> bool:
        """Tell whether a process serves."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """Kill the process, when there is one."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    async def client(self, session: aiohttp.ClientSession, name: str) -> GatewayClient:
        """Call the gateway as one of the demo's clients."""
        contacts = {
            party.client: {
                "clientId": f"{party.organisation}-{party.client}",
                "keyFile": str(key_file(self.folder, party.client)),
                "scope": " ".join(party.scopes),
            }
            for party in self._parties
        }
        known = Known(self.url, self.token_url, contacts, {}, {})
        return GatewayClient(session, self.url, await fetch_token(session, known, name))

    def _write_scene(self, receivers: str | Mapping[str, str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        entries = []
        for party in self._parties:
            url = receivers if isinstance(receivers, str) else receivers.get(party.organisation, "")
            path = key_file(self.folder, party.client)
            write_private_key(path, new_key())
            entries.append(entry_of(party, public_jwks(read_private_key(path)), url))
        (self.folder / "directory.json").write_bytes(msgspec.json.encode(entries))
        (self.folder / "grounds.json").write_bytes(msgspec.json.encode(GROUNDS))
