"""fhirpy, as its users have it: its async client, unmodified, against a running gateway (https://github.com/beda-software/fhir-py).

The token is had without a line of ours: discovery, an assertion signed with joserfc, a form. What fhirpy has no argument for goes in
`extra_headers` of a client made for that request, which is how its users do it.
"""

import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fhirpy import AsyncFHIRClient
from fhirpy.base.exceptions import AuthorizationError, MultipleResourcesFound, OperationOutcome, ResourceNotFound
from joserfc import jwt
from joserfc.jwk import ECKey
from test_gateway_fhir import posted
from world import World, open_world

from gateway.demo.vlinderstad import FINN_CHOICES, MARLOES_CHOICES

BASES = ["/fhir", "/fhir/"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world for this file; every test sends plans of its own."""
    async with open_world(tmp_path_factory.mktemp("fhirpy")) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plan(world: World) -> dict[str, list[str]]:
    """The ids per type of a plan that tests only read."""
    return await sent(world)


async def token_of(world: World, name: str) -> str:
    """Return an access token: SMART Backend Services, as the client of an organisation does it (RFC 7523)."""
    async with world.session.get(f"{world.gateway.public_url}/fhir/.well-known/smart-configuration") as found:
        token_url = (await found.json())["token_endpoint"]
    client, now = world.known.clients[name], int(time.time())
    key = ECKey.import_key(json.loads(Path(client["keyFile"]).read_text()))
    claims = {"iss": client["clientId"], "sub": client["clientId"], "aud": token_url, "exp": now + 120, "iat": now}
    header = {"alg": "ES384", "kid": key.kid}
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode(header, claims | {"jti": str(uuid.uuid4())}, key, algorithms=["ES384"]),
        "scope": "system/*.rs" if name != "team" else "system/*.crus",
    }
    if name == "provider-a":
        form["scope"] += " system/Task.u"
    async with world.session.post(token_url, data=form) as answered:
        return str((await answered.json())["access_token"])


async def connect(world: World, name: str = "team", base: str = "/fhir", **headers: str) -> AsyncFHIRClient:
    """Return a client of fhirpy with a token of this organisation."""
    told = {field.replace("_", "-"): value for field, value in headers.items()}
    url, token = f"{world.gateway.public_url}{base}", await token_of(world, name)
    return AsyncFHIRClient(url, authorization=f"Bearer {token}", extra_headers=told)


async def sent(world: World, base: str = "/fhir") -> dict[str, list[str]]:
    """Send a plan as a transaction, with what fhirpy has for that: saving a Bundle; return the ids per type."""
    client = await connect(world, base=base)
    bundle = client.resource("Bundle", **{name: value for name, value in posted().items() if name != "resourceType"})
    answered = await bundle.save()
    ids: dict[str, list[str]] = {}
    for entry in answered["entry"]:
        assert entry["response"]["status"] == "201 Created"
        kind, _, made = entry["response"].get("location", "").partition("/")
        ids.setdefault(kind, []).append(made)
    return ids


def tasks_of(client: AsyncFHIRClient, ids: dict[str, list[str]]) -> Any:
    """Return the search for the Tasks of a plan."""
    return client.resources("Task").has("CarePlan", "activity-reference", _id=ids["CarePlan"][0])


async def first_task(client: AsyncFHIRClient, ids: dict[str, list[str]], **wanted: Any) -> Any:
    """Return one Task of a plan."""
    return await tasks_of(client, ids).search(**wanted).first()


@pytest.mark.parametrize("base", BASES)
async def test_it_reads_metadata(world: World, base: str) -> None:
    """The base address may end in a slash or not, and everything that is offered is named in it without two."""
    client = await connect(world, base=base)
    told = await client.execute("metadata", method="get")
    assert (told.fhirVersion, told.implementation.url) == ("4.0.1", f"{world.gateway.public_url}/fhir")


@pytest.mark.parametrize("base", BASES)
async def test_it_sends_a_plan_and_reads_it(world: World, base: str) -> None:
    """What the answer to a transaction names is there, and a reference is followed."""
    ids = await sent(world, base)
    client = await connect(world, base=base)
    plan = client.resource("CarePlan", **await client.get("CarePlan", ids["CarePlan"][0]))
    assert plan.status == "active"
    goal = await plan["goal"][0].to_resource()
    assert (goal.resource_type, goal.id in ids["Goal"]) == ("Goal", True)
    again = await plan.refresh()
    assert again.serialize() == plan.serialize()


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("size", [1, 3, 100])
async def test_it_pages_to_the_end(world: World, plan: dict[str, list[str]], base: str, size: int) -> None:
    """fetch_all follows every next link: each task once, none left out, at every size of page."""
    tasks = tasks_of(await connect(world, base=base), plan)
    assert await tasks.count() == len(plan["Task"])
    found = [task.id for task in await tasks.limit(size).fetch_all()]
    assert sorted(found) == sorted(plan["Task"])


async def test_it_searches_through_references(world: World, plan: dict[str, list[str]]) -> None:
    """A chain, a sort, an include: fhirpy writes them, and what comes back is what it asks."""
    every = tasks_of(await connect(world), plan)
    chained = await every.search(focus__Goal__lifecycle_status="active").sort("-_lastUpdated").fetch_all()
    assert chained
    raw = await every.include("Task", "focus").fetch_raw()
    modes = {entry.resource.resourceType: entry.search.mode for entry in raw.entry}
    assert modes == {"Task": "match", "Goal": "include"}
    goals = {entry.resource.id: entry.resource for entry in raw.entry if entry.search.mode == "include"}
    assert {goals[task.focus.id].lifecycleStatus for task in chained} == {"active"}


async def test_a_parameter_that_is_not_offered_empties_nothing(world: World, plan: dict[str, list[str]]) -> None:
    """It is left out and named in an OperationOutcome, which fhirpy passes over; asked to be strict, it is refused."""
    tasks = tasks_of(await connect(world), plan)
    assert len(await tasks.search(description="bellen").fetch_all()) == len(plan["Task"])
    strict = await connect(world, Prefer="handling=strict")
    with pytest.raises(OperationOutcome) as refused:
        await strict.resources("Task").search(description="bellen").fetch()
    assert refused.value.resource["issue"][0]["expression"] == ["http.description"]


async def test_it_updates_what_it_read(world: World) -> None:
    """With If-Match the save is a new version, which it holds afterwards; the same save again is stale, without one refused."""
    ids = await sent(world)
    task = await first_task(await connect(world), ids)
    before = task.meta.versionId
    client = await connect(world, If_Match=f'W/"{before}"')
    held = client.resource("Task", **(task.serialize() | {"description": "Samen bellen."}))
    await held.save()
    assert held.meta.versionId == str(int(before) + 1)
    reader = await connect(world)
    assert (await reader.get("Task", task.id))["description"] == "Samen bellen."
    with pytest.raises(MultipleResourcesFound) as stale:  # fhirpy's name for every 412
        await held.save()
    assert json.loads(str(stale.value))["issue"][0]["code"] == "conflict"
    with pytest.raises(OperationOutcome) as refused:
        await reader.resource("Task", **held.serialize()).save()
    assert refused.value.resource["issue"][0]["code"] == "required"


async def test_it_reads_history_and_a_version(world: World) -> None:
    """Newest first, with every version that it names there to read."""
    ids = await sent(world)
    reader = await connect(world)
    task = await first_task(reader, ids)
    client = await connect(world, If_Match=f'W/"{task.meta.versionId}"')
    await client.resource("Task", **(task.serialize() | {"description": "Samen bellen."})).save()
    history = await reader.resource("Task", id=task.id).execute("_history", method="get")
    assert [entry.resource.meta.versionId for entry in history.entry] == ["2", "1"]
    old = await reader.execute(f"Task/{task.id}/_history/1", method="get")
    assert (old.description, old.meta.versionId) == (task.description, "1")


async def test_it_patches(world: World) -> None:
    """JSON Patch goes by `execute`; what fhirpy itself calls a patch is no format of R4, and is told which one is."""
    ids = await sent(world)
    reader = await connect(world)
    task = await first_task(reader, ids, status="requested")
    match = f'W/"{task.meta.versionId}"'
    patching = await connect(world, If_Match=match, Content_Type="application/json-patch+json")
    operations: Any = [{"op": "replace", "path": "/status", "value": "accepted"}]
    done = await patching.execute(f"Task/{task.id}", method="patch", data=operations)
    assert done.status == "accepted"
    merging = await connect(world, If_Match=f'W/"{done.meta.versionId}"')
    with pytest.raises(OperationOutcome, match="application/json-patch"):
        await merging.patch("Task", task.id, status="completed")


async def test_who_carries_a_task_out_completes_it(world: World) -> None:
    """Kompas finds its own Task after the family's choices, completes it, and the team sees that; another's it cannot."""
    ids = await sent(world)
    marloes, finn = ids["Patient"][:2]
    await world.choose(marloes, MARLOES_CHOICES)
    await world.choose(finn, FINN_CHOICES)
    kompas = await connect(world, "provider-a")
    task = await first_task(kompas, ids, owner=kompas.reference("Organization", "kompas"))
    assert task.status == "in-progress"
    completing = await connect(
        world, "provider-a", If_Match=f'W/"{task.meta.versionId}"', Content_Type="application/json-patch+json"
    )
    operations: Any = [{"op": "replace", "path": "/status", "value": "completed"}]
    assert (await completing.execute(f"Task/{task.id}", method="patch", data=operations)).status == "completed"
    team = await connect(world)
    assert (await team.get("Task", task.id))["status"] == "completed"
    theirs = await first_task(team, ids, owner=team.reference("Organization", "de-linde"))
    with pytest.raises(ResourceNotFound) as hidden:
        await kompas.get("Task", theirs.id)
    assert json.loads(str(hidden.value))["resourceType"] == "OperationOutcome"


async def test_it_creates_once(world: World) -> None:
    """A second create under the same If-None-Exist answers the first one."""
    ids = await sent(world)
    task = new_task(ids)
    condition = f"focus={task['focus']['reference']}&owner={task['owner']['reference']}"
    client = await connect(world, If_None_Exist=condition)
    made = client.resource("Task", **task)
    first, is_first_new = await client.resources("Task").get_or_create(made)
    second, is_second_new = await client.resources("Task").get_or_create(made)
    assert (is_first_new, is_second_new, second.id) == (True, False, first.id)


async def test_a_condition_that_cannot_hold_makes_nothing(world: World) -> None:
    """One in the URL, as fhirpy has it for another server, and one on an identifier, which a Task does not keep."""
    ids = await sent(world)
    reader = await connect(world)
    made = reader.resource("Task", **new_task(ids))
    with pytest.raises(OperationOutcome, match="header If-None-Exist"):
        await reader.resources("Task").search(identifier="1").get_or_create(made)
    client = await connect(world, If_None_Exist="identifier=https://voorbeeld.nl/taken|1")
    with pytest.raises(OperationOutcome, match="no identifier is kept"):
        await client.resources("Task").get_or_create(made)
    assert await tasks_of(reader, ids).count() == len(ids["Task"])


async def test_a_format_stands_with_anything(world: World, plan: dict[str, list[str]]) -> None:
    """_format and _pretty, which some clients send with each request, are taken by a write as by a read."""
    answer = {"_format": "json", "_pretty": "true"}
    client = await connect(world)
    task = await first_task(client, plan)
    matching = await connect(world, If_Match=f'W/"{task.meta.versionId}"')
    assert (await matching.resource("Task", **task.serialize()).save(search_params=answer)).id == task.id
    valid = await client.execute("Task/$validate", data=task.serialize(), params=answer)
    assert valid.issue[0].severity == "information"


async def test_it_validates(world: World, plan: dict[str, list[str]]) -> None:
    """is_valid is what $validate says, and the outcome of one that is not right names the place."""
    client = await connect(world)
    right = client.resource("Task", **new_task(plan))
    assert await right.is_valid()
    wrong = client.resource("Task", **(new_task(plan) | {"status": "klaar"}))
    with pytest.raises(OperationOutcome) as refused:
        await wrong.is_valid(raise_exception=True)
    assert [issue["expression"] for issue in refused.value.resource["issue"]] == [["Task.status"]]


async def test_every_error_holds_an_outcome(world: World) -> None:
    """Whatever fhirpy makes of the status, what it holds is an OperationOutcome with what to do."""
    client = await connect(world)
    with pytest.raises(ResourceNotFound) as nothing:
        await client.get("Task", "nergens")
    nobody = AsyncFHIRClient(f"{world.gateway.public_url}/fhir", authorization="Bearer x")
    with pytest.raises(AuthorizationError) as unknown:
        await nobody.get("Task", "nergens")
    for error, code in ((nothing, "not-found"), (unknown, "login")):
        told = json.loads(str(error.value))
        assert (told["resourceType"], told["issue"][0]["code"]) == ("OperationOutcome", code)
    with pytest.raises(OperationOutcome) as refused:
        await client.delete("Task", "nergens")
    assert refused.value.resource["issue"][0]["code"] == "not-supported"


def new_task(ids: dict[str, list[str]]) -> dict[str, Any]:
    """Return a Task of a plan that the resident does, for a goal for which she does nothing yet."""
    resident = {"reference": f"Patient/{ids['Patient'][0]}"}
    return {
        "basedOn": [{"reference": f"CarePlan/{ids['CarePlan'][0]}"}],
        "status": "requested",
        "intent": "plan",
        "for": resident,
        "owner": resident,
        "focus": {"reference": f"Goal/{ids['Goal'][2]}"},
        "description": "Samen bellen.",
    }
