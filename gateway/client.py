"""A caller of a gateway, for the command line and the demo: gets a token with its own key, and asks over HTTP like anybody."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from msgspec import Struct

from gateway.callers import ASSERTION_TYPE, client_assertion, read_private_key
from gateway.clock import Clock


class Answered(Struct, frozen=True):
    """What a gateway answered."""

    status: int
    body: Any
    headers: Mapping[str, str]


class CallError(Exception):
    """The gateway refused, or does not answer; the message is for the person at the command line."""


class GatewayClient:
    """Calls one gateway as one of its clients."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, token: str) -> None:
        self._session = session
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        json_body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        """Ask, and return whatever comes back."""
        sent = {"Content-Type": "application/json", **self._headers, **(headers or {})}
        payload = json.dumps(json_body).encode() if json_body is not None else body
        async with self._session.request(method, f"{self._base_url}{path}", data=payload, headers=sent) as response:
            raw = await response.read()
            is_json = "json" in response.content_type
            return Answered(response.status, json.loads(raw) if is_json and raw else raw, response.headers)

    async def want(self, method: str, path: str, **asked: Any) -> Any:
        """Ask, and return the body of a 2xx. Raises CallError with what the gateway says to do."""
        answered = await self.ask(method, path, **asked)
        if answered.status >= 300:  # noqa: PLR2004 - beyond the 2xx class
            raise CallError(_told(answered))
        return answered.body


class Known(Struct, frozen=True):
    """What the data folder of a demo says about its gateway."""

    base_url: str
    token_url: str
    clients: dict[str, dict[str, str]]
    residents: dict[str, str]
    plans: dict[str, str]


def read_known(data_dir: Path) -> Known:
    """Read `demo.json`. Raises CallError when there is none."""
    path = data_dir / "demo.json"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CallError(
            f"no demo.json in {data_dir}; start one with `make run`, or name another with --data-dir"
        ) from error
    return Known(found["baseUrl"], found["tokenUrl"], found["clients"], found["residents"], found["plans"])


async def fetch_token(session: aiohttp.ClientSession, known: Known, name: str) -> str:
    """Get an access token for the client called `name`. Raises CallError."""
    client = known.clients.get(name)
    if client is None:
        raise CallError(f"no client {name}; there are {', '.join(sorted(known.clients))}")
    clock = Clock()
    assertion = client_assertion(
        read_private_key(Path(client["keyFile"])), client["clientId"], known.token_url, clock.now(), clock.new_id()
    )
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        "scope": client["scope"],
    }
    try:
        async with session.post(known.token_url, data=form) as response:
            answered = await response.json()
    except aiohttp.ClientError as error:
        raise CallError(f"no gateway answers at {known.base_url}; start it with `make run`") from error
    if "access_token" not in answered:
        raise CallError(f"the gateway gave no token: {answered.get('error')}")
    return str(answered["access_token"])


@asynccontextmanager
async def calling(data_dir: Path, name: str) -> AsyncIterator[GatewayClient]:
    """Call the gateway of a data folder as one of its clients."""
    known = read_known(data_dir)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield GatewayClient(session, known.base_url, await fetch_token(session, known, name))


def _told(answered: Answered) -> str:
    if not isinstance(answered.body, dict):
        return f"the gateway answered {answered.status}"
    lines = [f"{answered.body.get('title')} ({answered.status}): {answered.body.get('detail')}"]
    lines += [f"  {row['pointer'] or '/'}: {row['remedy']}" for row in answered.body.get("errors", [])]
    return "\n".join(lines)
