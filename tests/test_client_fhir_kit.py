"""fhir-kit-client, as its users have it in Node: unmodified, both majors, against a running gateway (https://github.com/Vermonster/fhir-kit-client).

`tests/clients/fhir_kit.mjs` asks everything in one go, as the team and then as who carries a task out; each test is about what it saw.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conftest import not_run
from services import MissingServiceError, needed_binary
from test_gateway_fhir import posted
from world import World, open_world

from gateway.demo.vlinderstad import FINN_CHOICES, MARLOES_CHOICES

CLIENTS = Path(__file__).parent / "clients"
PATIENCE_SECONDS = 60
Saw = dict[str, Any]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world for this file."""
    async with open_world(tmp_path_factory.mktemp("fhir-kit")) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["fhir-kit-client", "fhir-kit-client-1"])
async def team(request: pytest.FixtureRequest, world: World) -> Saw:
    """What the team saw, with each major of the client."""
    try:
        return await driven(world, request.param, "team", scope="system/*.crus", transaction=posted())
    except MissingServiceError as missing:
        not_run(missing)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(request: pytest.FixtureRequest, world: World, team: Saw) -> Saw:
    """What Kompas saw of the team's plan after the family's choices, with the same major."""
    marloes, finn = team["ids"]["residents"][:2]
    await world.choose(marloes, MARLOES_CHOICES)
    await world.choose(finn, FINN_CHOICES)
    scope, plan = "system/*.rs system/Task.u", team["ids"]["plan"]
    return await driven(world, team["library"], "provider", scope=scope, plan=plan)


async def driven(world: World, library: str, role: str, scope: str, **asked: Any) -> Saw:
    """Run the script to its end and return what it printed. Raises MissingServiceError."""
    node = needed_binary("node", "Node")
    if not (CLIENTS / "node_modules" / library).exists():
        raise MissingServiceError("fhir-kit-client")
    client = world.known.clients["team" if role == "team" else "provider-a"]
    key = json.loads(Path(client["keyFile"]).read_text())
    told = {
        "base": f"{world.gateway.public_url}/fhir",
        "client": {"clientId": client["clientId"], "key": key, "scope": scope},
        **asked,
    }
    pipe = asyncio.subprocess.PIPE
    script = await asyncio.create_subprocess_exec(
        node, "fhir_kit.mjs", library, role, stdin=pipe, stdout=pipe, stderr=pipe, cwd=CLIENTS
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            printed, complaint = await script.communicate(json.dumps(told).encode())
    finally:
        if script.returncode is None:
            script.kill()
    assert (script.returncode, complaint) == (0, b""), complaint.decode()
    return {"library": library, **json.loads(printed)}


def code(refused: Saw) -> tuple[int, str]:
    """Return the status of an error, and what its OperationOutcome says it is."""
    assert refused["outcome"]["resourceType"] == "OperationOutcome", refused
    assert refused["outcome"]["issue"][0]["details"]["text"]
    return refused["status"], refused["outcome"]["issue"][0]["code"]


async def test_it_finds_where_tokens_are_had_and_what_is_offered(world: World, team: Saw) -> None:
    """By its own discovery, under a base address with a slash or without."""
    assert team["metadata"] == {"fhirVersion": "4.0.1", "url": f"{world.gateway.public_url}/fhir"}


async def test_it_sends_a_plan_and_follows_what_it_reads(team: Saw) -> None:
    """The answer names what was made; references resolve; all of a resident comes in one Bundle."""
    assert set(team["transaction"]) == {"201 Created"}
    assert (team["goal"], team["everything"]) == ("Goal", "searchset")


async def test_it_pages_to_the_end(world: World, team: Saw) -> None:
    """nextPage gives every task once, and then nothing; the links are absolute, under the public address."""
    found = [task for page in team["pages"] for task in page["tasks"]]
    assert {len(page["tasks"]) for page in team["pages"][:-1]} == {3}
    base = f"{world.gateway.public_url}/fhir/Task?"
    assert all(link.startswith(base) for page in team["pages"] for link in page["links"])
    assert sorted(found) == sorted(team["ids"]["tasks"])


async def test_it_searches(team: Saw) -> None:
    """By POST as well; a chain narrows, an include adds, and a parameter that is not offered empties nothing."""
    assert team["posted"] == len(team["ids"]["tasks"])
    assert 0 < team["chained"] < team["posted"]
    assert team["included"] == {"Task": "match", "Goal": "include"}
    assert team["unknown"] == {"Task": "match", "OperationOutcome": "outcome"}


async def test_it_updates_what_it_read(team: Saw) -> None:
    """The answer has the new version, body and header alike; the old one is stale, and none at all is refused."""
    updated, resource = team["updated"], team["updated"]["resource"]
    assert (updated["status"], resource["description"]) == (200, "Samen bellen.")
    assert updated["headers"]["etag"] == f'W/"{resource["meta"]["versionId"]}"'
    assert code(team["stale"]) == (412, "conflict")
    assert code(team["unmatched"]) == (428, "required")


async def test_it_patches_and_reads_what_was(team: Saw) -> None:
    """JSON Patch makes a version; the history has each, newest first, and the first one still reads."""
    assert (team["patched"]["status"], team["patched"]["resource"]["status"]) == (200, "accepted")
    assert team["history"] == ["3", "2", "1"]
    assert team["version"]["headers"]["etag"] == 'W/"1"'
    assert team["version"]["resource"]["description"] != "Samen bellen."


async def test_it_creates_once(world: World, team: Saw) -> None:
    """201 with body, Location and ETag; a second time 200 with the same; and no condition on what is not kept."""
    created, made = team["created"], team["created"]["resource"]
    version = made["meta"]["versionId"]
    place = f"{world.gateway.public_url}/fhir/Task/{made['id']}/_history/{version}"
    media = "application/fhir+json"
    assert (created["status"], created["headers"]) == (
        201,
        {"location": place, "etag": f'W/"{version}"', "content-type": media},
    )
    assert (team["again"]["status"], team["again"]["resource"]["id"]) == (200, made["id"])
    assert code(team["unkept"]) == (400, "invalid")


async def test_it_is_told_what_is_wrong(team: Saw) -> None:
    """Every error has an OperationOutcome, with the place when there is one; $validate says the same beforehand."""
    assert code(team["wrong"]) == (422, "invariant")
    assert team["wrong"]["outcome"]["issue"][0]["expression"] == ["Task.status"]
    assert [issue["expression"] for issue in team["validated"]["issue"]] == [["Task.status"]]
    assert code(team["nothing"]) == (404, "not-found")
    assert code(team["deleted"]) == (405, "not-supported")
    assert code(team["xml"]) == (406, "not-supported")
    assert code(team["anonymous"]) == (401, "login")


async def test_a_content_type_on_a_get_is_tolerated(team: Saw) -> None:
    """Many clients send one with everything."""
    assert team["tolerated"] == 200


async def test_who_carries_a_task_out_completes_it(world: World, team: Saw, provider: Saw) -> None:
    """Its own, and how far it is only; the team reads it."""
    assert provider["before"] == "in-progress"
    assert code(provider["forbidden"]) == (403, "forbidden")
    assert (provider["completed"]["status"], provider["completed"]["resource"]["status"]) == (200, "completed")
    read = await world.team.ask("GET", f"/fhir/Task/{provider['completed']['resource']['id']}")
    assert read.body["status"] == "completed"
