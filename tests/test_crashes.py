"""Death at every step: a real SIGKILL at each failpoint, and after the restart nothing is lost and nothing is doubled."""

import ast
import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from processes import GatewayProcess
from stage import Servers
from world import RESTING, example, receiving

from gateway.client import CallError, GatewayClient
from gateway.demo.vlinderstad import FINN_CHOICES, MARLOES_CHOICES
from gateway.failpoints import FAILPOINTS, PARTNER_FAILPOINTS, is_failpoint

GATEWAY = Path(__file__).parents[1] / "gateway"
PATIENCE_SECONDS = 60
REPRESENTATIVES = ("intake-committed", "relay-claimed", "delivery-begun", "delivery-sent", "choices-committed")
"""Where a death hurts most; `make soak` dies at every failpoint, on both databases."""
ENDED = RESTING - {"waiting"}


def reached(path: Path) -> list[str]:
    """Return the failpoints that a source file gets to: the only argument of each call of `reach` or `_reach`."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    called = [(getattr(node.func, "attr", getattr(node.func, "id", "")), node.args) for node in calls]
    return [
        argument.value if isinstance(argument, ast.Constant) else f"{path.name}: not a constant"
        for name, arguments in called
        if name in {"reach", "_reach"}
        for argument in arguments
    ]


def test_every_failpoint_is_in_the_code_once_and_listed() -> None:
    """The list and the calls in the code name the same places."""
    assert sorted(name for path in GATEWAY.rglob("*.py") for name in reached(path)) == sorted(
        (*FAILPOINTS, *PARTNER_FAILPOINTS)
    )


@pytest.mark.parametrize("text", ["delivery-sent", "delivery-sent:3"])
def test_a_failpoint_may_say_which_time(text: str) -> None:
    """`name`, or `name:k`."""
    assert is_failpoint(text)


@pytest.mark.parametrize("text", ["", "nowhere", "delivery-sent:", "delivery-sent:often", "delivery-sent:-1"])
def test_what_is_no_failpoint_is_refused(text: str) -> None:
    """A misspelt one would silently do nothing."""
    assert not is_failpoint(text)


class Resident:
    """What the team does, again and again until the gateway has answered: a client that survives the gateway's death."""

    def __init__(self, gateway: GatewayProcess, session: aiohttp.ClientSession) -> None:
        self._gateway = gateway
        self._session = session

    async def until_done(self, ask: Any) -> Any:
        """Ask until there is an answer; start the gateway again when it died."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    team = await self._gateway.client(self._session, "team")
                    return await ask(team)
                except (aiohttp.ClientError, CallError):
                    if self._gateway.process is not None and self._gateway.process.poll() is not None:
                        await self._gateway.start()


async def send(team: GatewayClient) -> Any:
    """Send the rich example under one key."""
    body = json.dumps(example()).encode()
    return await team.want("POST", "/v1/plans?format=plan-van-aanpak", body=body, headers={"Idempotency-Key": "once"})


async def choose(team: GatewayClient, resident: str, wanted: list[dict[str, Any]]) -> None:
    """Make these the choices, unless they are."""
    place = f"/v1/residents/{resident}/choices"
    current = await team.ask("GET", place)
    if len(current.body["choices"]) != len(wanted):
        await team.want("PUT", place, json_body={"choices": wanted}, headers={"If-Match": current.headers["ETag"]})


async def rest(team: GatewayClient, plan_id: str) -> list[dict[str, Any]]:
    """Wait until every delivery has ended."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            rows = (await team.want("GET", f"/v1/deliveries?planId={plan_id}&limit=200"))["items"]
            if rows and all(row["state"] in ENDED for row in rows):
                return list(rows)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("failpoint", REPRESENTATIVES)
async def test_after_a_death_nothing_is_lost_or_doubled(tmp_path: Path, failpoint: str) -> None:
    """Everything embedded."""
    await die_and_account(tmp_path, failpoint, {})


@pytest.mark.parametrize("failpoint", ["intake-committed:1", "delivery-sent:2"])
async def test_after_a_death_over_rabbitmq_nothing_is_lost_or_doubled(
    tmp_path: Path, servers: Servers, failpoint: str
) -> None:
    """On PostgreSQL and RabbitMQ, also the second time that a failpoint is reached."""
    await die_and_account(tmp_path, failpoint, servers.settings())


async def die_and_account(tmp_path: Path, failpoint: str, settings: dict[str, str]) -> None:
    """One plan, one version, each party's newest view acknowledged, sequences whole, and the process really died."""
    async with receiving() as (receivers, url), aiohttp.ClientSession() as session:
        gateway = GatewayProcess(tmp_path, url, **settings)
        resident = Resident(gateway, session)
        try:
            await gateway.start(failpoint)
            sent = await resident.until_done(send)
            ids = {row["reference"]: row["id"] for row in sent["residents"]}
            await resident.until_done(lambda team: choose(team, ids["marloes"], MARLOES_CHOICES))
            await resident.until_done(lambda team: choose(team, ids["finn"], FINN_CHOICES))
            rows = await resident.until_done(lambda team: rest(team, sent["planId"]))
            repeated = await resident.until_done(send)
            admin = await gateway.client(session, "admin")
            everything = (await admin.want("GET", "/v1/deliveries?limit=200"))["items"]
        finally:
            gateway.kill()
    assert gateway.deaths == [-9]
    assert (repeated["planId"], repeated["version"], repeated["outcome"]) == (sent["planId"], 1, "created")
    assert {row["planId"] for row in everything} == {sent["planId"]}
    assert {row["state"] for row in rows} <= {"acknowledged", "superseded", "unchanged"}
    for organisation, client in (("kompas", "provider-a"), ("de-linde", "provider-b"), ("backoffice", "backoffice")):
        acknowledged = {row["id"]: row for row in rows if row["recipient"] == organisation and row["sequence"]}
        arrived = {arrival.delivery: arrival for arrival in receivers[client].arrivals}
        confirmed = {name for name, row in acknowledged.items() if row["state"] == "acknowledged"}
        assert (
            confirmed <= arrived.keys() <= acknowledged.keys()
        )  # one that had begun may be superseded before its bytes left
        assert sorted(row["sequence"] for row in acknowledged.values()) == list(range(1, len(acknowledged) + 1))
        newest = arrived[max(confirmed)]
        assert newest.sequence == len(acknowledged)
    assert b"vaste lasten" in receivers["provider-a"].last.body
    assert b"rustig en duidelijk" in receivers["provider-b"].last.body
