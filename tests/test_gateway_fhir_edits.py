"""`/fhir/{type}`: one resource is created, changed and patched; nobody writes by one door what another refuses."""

import asyncio
import io
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace
from receivers import status
from world import FORMAT, World, example, open_world

from gateway.api.interactions import INTERACTIONS
from gateway.client import Answered, GatewayClient, fetch_token
from gateway.demo.vlinderstad import FINN_CHOICES, MARLOES_CHOICES
from gateway.directory import Endpoint
from gateway.patching import MAX_OPERATIONS
from gateway.store.plans import count_plans
from gateway.writing import PLAN_EXTENSION
from mappings.transaction import MAX_ENTRIES

Resource = dict[str, Any]
FHIR = {"Content-Type": "application/fhir+json"}
PATCH = {"Content-Type": "application/json-patch+json"}
TEAM, KOMPAS, LINDE = "wijkteam-noord", "kompas", "de-linde"
ORGANISATION = {"team": TEAM, "provider-a": KOMPAS, "provider-b": LINDE, "backoffice": "backoffice"}
SECRET = "ditwoordstaatnergens"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world for this file, in which the team receives too, and Kompas and De Linde may ask for every scope; each test has its plan."""
    async with open_world(tmp_path_factory.mktemp("edits"), retry_seconds=(60,)) as opened:
        directory = opened.gateway.directory
        entries = (await directory.now(fresh=True)).entries
        url = entries[KOMPAS].endpoints[0].url.partition("/provider-a/")[0]
        endpoint = Endpoint(adapter="webhook", url=f"{url}/team/webhook")
        await directory.put(replace(entries[TEAM], endpoints=(endpoint,)))
        for name, organisation in (("provider-a", KOMPAS), ("provider-b", LINDE)):
            entry, asked = entries[organisation], opened.known.clients[name]
            client = entry.clients[0]
            client = replace(client, scopes=(*client.scopes, "plans:write", "system/*.crus"))
            await directory.put(replace(entry, clients=(client,)))
            known = replace(opened.known, clients={name: asked | {"scope": ""}})
            token = await fetch_token(opened.session, known, name)
            opened.clients[f"{name}, all scopes"] = GatewayClient(opened.session, opened.gateway.public_url, token)
        yield opened


@dataclass
class Plan:
    """A plan of one family, and what each caller sees of it."""

    world: World
    id: str

    async def view(self, client: str = "team") -> Resource:
        """Return the Bundle that a caller sees."""
        bundle: Resource = await self.world.clients[client].want("GET", f"/v1/plans/{self.id}")
        return bundle

    async def of(self, kind: str, client: str = "team", words: str = "") -> Resource:
        """Return the first resource of a type that a caller sees and that holds these words."""
        return next(
            each["resource"]
            for each in (await self.view(client))["entry"]
            if each["resource"]["resourceType"] == kind and words in json.dumps(each["resource"], ensure_ascii=False)
        )

    async def whole(self) -> dict[str, Any]:
        """Return every part by its id, and the version."""
        plan = await self.world.gateway.sight.load(self.id)
        assert plan is not None
        return {part.id: part for part in plan.parts} | {"version": plan.version}

    async def version(self) -> int:
        return int((await self.whole())["version"])


async def new_plan(world: World) -> Plan:
    """Send the rich example as another plan of the same family, with its choices, and wait until all is delivered."""

    def edit(document: dict[str, Any]) -> None:
        document["planNummer"] = f"VL-{uuid.uuid4()}"

    sent = (await world.send(example(edit=edit))).body
    residents = {row["reference"]: row["id"] for row in sent["residents"]}
    for name, choices in (("marloes", MARLOES_CHOICES), ("finn", FINN_CHOICES)):
        current = await world.team.want("GET", f"/v1/residents/{residents[name]}/choices")
        if not current["choices"]:
            await world.choose(residents[name], choices)
    await world.rest(sent["planId"])
    return Plan(world, sent["planId"])


@pytest_asyncio.fixture(loop_scope="module")
async def plan(world: World) -> Plan:
    """A plan of this test alone."""
    return await new_plan(world)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calm(world: World) -> Plan:
    """A plan that nobody changes."""
    return await new_plan(world)


async def ask(world: World, method: str, path: str, body: Any = None, client: str = "team", **headers: str) -> Answered:
    """Ask something under /fhir."""
    kind = PATCH if method == "PATCH" else FHIR
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    return await world.clients[client].ask(method, f"/fhir{path}", body=raw, headers=kind | named)


async def put(world: World, resource: Resource, client: str = "team", **headers: str) -> Answered:
    """PUT a resource as it was read, in the version that it was read in."""
    name = f"/{resource['resourceType']}/{resource['id']}"
    version = headers.pop("version", resource["meta"]["versionId"])
    return await ask(world, "PUT", name, resource, client, If_Match=f'W/"{version}"', **headers)


async def read(world: World, name: str, client: str = "team") -> Resource:
    """GET a resource."""
    answered = await ask(world, "GET", f"/{name}", client=client)
    assert answered.status == 200, answered.body
    found: Resource = answered.body
    return found


async def patch(world: World, resource: Resource, operations: Any, client: str = "team", **headers: str) -> Answered:
    """PATCH a resource."""
    name = f"/{resource['resourceType']}/{resource['id']}"
    version = resource["meta"]["versionId"]
    return await ask(world, "PATCH", name, operations, client, If_Match=f'W/"{version}"', **headers)


def replaced(path: str, value: Any) -> list[dict[str, Any]]:
    """Return a JSON Patch of one replacement."""
    return [{"op": "replace", "path": path, "value": value}]


def told(answered: Answered, code: int) -> list[dict[str, Any]]:
    """Return the issues of an OperationOutcome: each says what to do, and none repeats what was sent."""
    assert (answered.status, answered.body.get("resourceType")) == (code, "OperationOutcome"), answered.body
    assert all(each["details"]["text"] and each["code"] for each in answered.body["issue"])
    assert SECRET not in json.dumps(answered.body)
    issues: list[dict[str, Any]] = answered.body["issue"]
    return issues


def expressions(issues: list[dict[str, Any]]) -> list[str]:
    """Return where issues are."""
    return [place for each in issues for place in each.get("expression", [])]


def task(plan_id: str, subject: Resource, **more: Any) -> Resource:
    """Return a new task of a plan."""
    return {
        "resourceType": "Task",
        "basedOn": [{"reference": f"CarePlan/{plan_id}"}],
        "status": "requested",
        "intent": "plan",
        "for": subject,
        "owner": subject,
        "description": "Een nieuwe taak.",
    } | more


async def new_task(plan: Plan, **more: Any) -> Resource:
    """Return a new task about the resident of another task."""
    of_resident = await plan.of("Task", words="Alle post")
    return task(plan.id, of_resident["for"], **more)


class TestCreate:
    """POST /fhir/{type}."""

    async def test_is_a_201_that_says_where_and_which_version(self, world: World, plan: Plan) -> None:
        """The body is what its maker sees of it, Location and ETag name it, and it reads back the same."""
        made = await ask(world, "POST", "/Task", await new_task(plan))
        assert made.status == 201, made.body
        version = made.body["meta"]["versionId"]
        assert made.headers["ETag"] == f'W/"{version}"'
        assert made.headers["Location"] == (
            f"{world.gateway.public_url}/fhir/Task/{made.body['id']}/_history/{version}"
        )
        assert made.body == await read(world, f"Task/{made.body['id']}")
        assert made.body["description"] == "Een nieuwe taak."
        assert await plan.version() == 2

    @pytest.mark.parametrize(
        ("wanted", "kind"), [("minimal", None), ("representation", "Task"), ("OperationOutcome", "OperationOutcome")]
    )
    async def test_answers_as_preferred(self, world: World, plan: Plan, wanted: str, kind: str | None) -> None:
        """With where it is and its version, whatever the body."""
        made = await ask(world, "POST", "/Task", await new_task(plan), Prefer=f"return={wanted}")
        assert made.status == 201
        assert all(name in made.headers for name in ("ETag", "Last-Modified", "Location"))
        assert (made.body["resourceType"] if kind else made.body or None) == kind

    async def test_names_what_found_no_place(self, world: World, plan: Plan) -> None:
        """As an expression within the resource, without its words."""
        made = await ask(
            world, "POST", "/Task", await new_task(plan, note=[{"text": SECRET}]), Prefer="return=OperationOutcome"
        )
        assert expressions(told(made, 201)) == ["Task.note[0].text"]

    @pytest.mark.parametrize("place", ["none", "unseen", "unknown", "two"])
    async def test_asks_for_one_plan_that_its_maker_sees(self, world: World, plan: Plan, place: str) -> None:
        """422; a plan that is not visible is told as one that does not exist, word for word."""
        client = "provider-b, all scopes" if place == "unseen" else "team"
        other = await hidden_plan(world) if place == "unseen" else str(uuid.uuid4())
        named = {"none": [], "unseen": [other], "unknown": [other], "two": [plan.id, other]}[place]
        sent = await new_task(plan, basedOn=[{"reference": f"CarePlan/{each}"} for each in named])
        if not named:
            del sent["basedOn"]
        issues = told(await ask(world, "POST", "/Task", sent, client), 422)
        unknown = await new_task(plan, basedOn=[{"reference": "CarePlan/nergens"}])
        assert issues == told(await ask(world, "POST", "/Task", unknown, client), 422)

    async def test_takes_a_goal_by_the_extension(self, world: World, plan: Plan) -> None:
        """What has no basedOn names its plan in an extension, which does not come back."""
        subject = (await plan.of("Task", words="Alle post"))["for"]
        goal = {
            "resourceType": "Goal",
            "extension": [{"url": PLAN_EXTENSION, "valueReference": {"reference": f"CarePlan/{plan.id}"}}],
            "lifecycleStatus": "active",
            "description": {"text": "Rust in huis."},
            "subject": subject,
        }
        made = await ask(world, "POST", "/Goal", goal)
        assert made.status == 201, made.body
        assert PLAN_EXTENSION not in json.dumps(made.body)
        assert made.body["id"] in json.dumps(await plan.of("CarePlan"))

    async def test_with_a_condition_makes_what_is_not_there(self, world: World, plan: Plan) -> None:
        """None matches: 201; one: 200 with that one and no new version; several: 412."""
        sent = await new_task(plan)
        first = await ask(world, "POST", "/Task", sent, If_None_Exist=f"_id={uuid.uuid4()}")
        assert first.status == 201
        again = await ask(world, "POST", "/Task", sent, If_None_Exist=f"_id={first.body['id']}")
        assert (again.status, again.body["id"], await plan.version()) == (200, first.body["id"], 2)
        issues = told(await ask(world, "POST", "/Task", sent, If_None_Exist="status=requested"), 412)
        assert issues[0]["code"] == "multiple-matches"
        for condition in ("", f"{SECRET}=x", f"_lastUpdated={SECRET}"):
            told(await ask(world, "POST", "/Task", sent, If_None_Exist=condition), 400)
        assert await plan.version() == 2

    async def test_under_a_key_is_made_once(self, world: World, plan: Plan) -> None:
        """Sent again it is answered with what it made, also when the plan went on; another body under the key is a 409."""
        sent, key = await new_task(plan), uuid.uuid4().hex
        first = await ask(world, "POST", "/Task", sent, Idempotency_Key=key)
        assert (await ask(world, "POST", "/Task", sent)).status == 201
        again = await ask(world, "POST", "/Task", sent, Idempotency_Key=key)
        assert (first.status, again.status, again.body["id"]) == (201, 201, first.body["id"])
        assert await plan.version() == 3
        told(await ask(world, "POST", "/Task", sent | {"description": "Anders."}, Idempotency_Key=key), 409)

    async def test_of_what_its_maker_may_not_see_is_a_201_all_the_same(self, world: World, plan: Plan) -> None:
        """The team writes down what the backoffice recorded: it is kept, once, and neither shown nor told as absent."""
        seen = await plan.of("Observation")
        recorder = {
            "url": "https://planbrug.nl/fhir/StructureDefinition/recorded-by",
            "valueReference": {"reference": "Organization/backoffice"},
        }
        sent = {name: value for name, value in seen.items() if name not in {"id", "meta"}}
        sent |= {"extension": [recorder], "basedOn": [{"reference": f"CarePlan/{plan.id}"}], "valueString": SECRET}
        made = await ask(world, "POST", "/Observation", sent)
        assert told(made, 201)[0]["severity"] == "information"
        name = made.headers["Location"].partition("/fhir/")[2]
        assert (await plan.whole())[name.partition("/")[2]].text == SECRET
        assert (await ask(world, "GET", f"/{name}")).status == 404
        assert "ETag" not in made.headers

    async def test_by_another_provider_is_refused(self, world: World, plan: Plan) -> None:
        """Only who made the plan adds to it, whatever scopes another has."""
        seen = await plan.of("Task", "provider-a")
        sent = task(plan.id, seen["for"])
        issues = told(await ask(world, "POST", "/Task", sent, "provider-a, all scopes"), 403)
        assert (issues[0]["code"], expressions(issues)) == ("forbidden", ["Task"])
        assert await plan.version() == 1


async def hidden_plan(world: World) -> str:
    """Return the id of a plan of which De Linde sees nothing: it is not about parenting, and does not name it."""
    document = example("alleen-het-nodige")
    document["planNummer"] = f"VL-{uuid.uuid4()}"
    return str((await world.send(document)).body["planId"])


class TestUpdate:
    """PUT /fhir/{type}/{id}."""

    async def test_makes_a_new_version(self, world: World, plan: Plan) -> None:
        """200 with what it is now, a new ETag, and the version before it still in the history."""
        goal = await plan.of("Goal")
        changed = await put(world, goal | {"description": {"text": "Iets anders."}})
        assert (changed.status, changed.body["description"]["text"]) == (200, "Iets anders.")
        assert (
            changed.headers["ETag"] == f'W/"{changed.body["meta"]["versionId"]}"' != f'W/"{goal["meta"]["versionId"]}"'
        )
        assert "Location" not in changed.headers
        name = f"Goal/{goal['id']}"
        assert await read(world, name) == changed.body
        past = await read(world, f"{name}/_history/{goal['meta']['versionId']}")
        assert past | {"meta": None} == goal | {"meta": None}

    async def test_asks_for_the_version_that_was_read(self, world: World, plan: Plan) -> None:
        """428 without If-Match; 412 with another version, with what is none, and with a star."""
        goal = await plan.of("Goal") | {"description": {"text": SECRET}}
        issues = told(await ask(world, "PUT", f"/Goal/{goal['id']}", goal), 428)
        assert issues[0]["code"] == "required"
        for version in ('W/"999"', '"x"', "*", "1", 'W/"1", W/"2"', "'; DROP TABLE plan; --"):
            issues = told(await ask(world, "PUT", f"/Goal/{goal['id']}", goal, If_Match=version), 412)
            assert issues[0]["code"] == "conflict"
        assert await plan.version() == 1

    async def test_is_about_the_resource_in_the_url(self, world: World, calm: Plan) -> None:
        """400 for another id, no id and another type."""
        goal = await calm.of("Goal")
        etag = f'W/"{goal["meta"]["versionId"]}"'
        other = goal | {"id": SECRET}
        nameless = {name: value for name, value in goal.items() if name != "id"}
        for sent in (other, nameless, await calm.of("Task")):
            issues = told(await ask(world, "PUT", f"/Goal/{goal['id']}", sent, If_Match=etag), 400)
            assert issues[0]["code"] == "invalid"
            assert expressions(issues)[0] in {"Goal.id", "Goal.resourceType"}

    async def test_leaves_what_its_writer_does_not_see(self, world: World, plan: Plan) -> None:
        """Parts and fields: Kompas says how far its task is, of which it sees less than there is."""
        seen = await plan.of("Task", "provider-a", "overzicht van inkomsten")
        before = await plan.whole()
        changed = await put(world, seen | {"status": "on-hold", "statusReason": {"text": "Wacht."}}, "provider-a")
        assert changed.status == 200, changed.body
        after = await plan.whole()
        expected = replace(before[seen["id"]], status="on-hold", status_reason="Wacht.")
        assert after == before | {seen["id"]: expected, "version": 2}
        assert len(before) > len((await plan.view("provider-a"))["entry"])

    async def test_that_contradicts_what_is_hidden_names_the_place(self, world: World, plan: Plan) -> None:
        """409 at the resident of whom De Linde would make somebody else; the number it sent is not repeated."""
        seen = await plan.of("Patient", "provider-b")
        shown = await read(world, f"Patient/{seen['id']}", "provider-b")
        number = {"system": "http://fhir.nl/fhir/NamingSystem/bsn", "value": "999900092"}
        refused = await put(world, shown | {"identifier": [number]}, "provider-b, all scopes")
        issues = told(refused, 409)
        assert ({each["code"] for each in issues}, "Patient" in expressions(issues)) == ({"conflict"}, True)
        assert number["value"] not in json.dumps(refused.body)

    async def test_of_what_is_not_seen_is_a_404(self, world: World, plan: Plan) -> None:
        """A hidden task and none at all are told alike."""
        hidden = await plan.of("Task", words="betalingsregeling")
        seen = await plan.of("Task", "provider-b")
        etag = seen["meta"]["versionId"]
        for name in (hidden["id"], "nergens"):
            issues = told(await put(world, seen | {"id": name}, "provider-b", version=etag), 404)
            assert issues == told(await put(world, seen | {"id": "niets"}, "provider-b", version=etag), 404)

    @pytest.mark.parametrize("kind", [name for name, offered in INTERACTIONS.items() if "update" in offered])
    async def test_of_what_was_read_changes_nothing(self, world: World, calm: Plan, kind: str) -> None:
        """200, the same version, no delivery: for every resource of the type, by who made the plan and by who may see it."""
        before = await calm.version(), await world.deliveries(calm.id)
        for client in ("team", "provider-a, all scopes", "provider-b, all scopes"):
            seen = [each["resource"] for each in (await calm.view(client))["entry"]]
            for resource in [each for each in seen if each["resourceType"] == kind]:
                shown = await read(world, f"{kind}/{resource['id']}", client)
                again = await put(world, shown, client)
                assert (again.status, again.body) == (200, shown), (client, again.body)
        assert (await calm.version(), await world.deliveries(calm.id)) == before

    async def test_under_a_key_is_done_once(self, world: World, plan: Plan) -> None:
        """Sent again it is answered, though its version has gone by; another body under the key is a 409."""
        goal, key = await plan.of("Goal"), uuid.uuid4().hex
        sent = goal | {"description": {"text": "Iets anders."}}
        first, again = [await put(world, sent, Idempotency_Key=key) for _ in range(2)]
        assert (first.status, again.status, again.body) == (200, 200, first.body)
        assert await plan.version() == 2
        told(await put(world, goal | {"description": {"text": "Nog iets."}}, Idempotency_Key=key), 409)

    async def test_of_two_at_once_one_is_told_to_read_again(self, world: World, plan: Plan) -> None:
        """One 200, the others 412, and one new version."""
        goal = await plan.of("Goal")
        texts = [f"Van schrijver {number}." for number in range(4)]
        answers = await asyncio.gather(*(put(world, goal | {"description": {"text": text}}) for text in texts))
        assert sorted(each.status for each in answers) == [200, 412, 412, 412]
        kept = next(each.body for each in answers if each.status == 200)
        assert await read(world, f"Goal/{goal['id']}") == kept
        assert await plan.version() == 2


class TestPatch:
    """PATCH /fhir/{type}/{id}."""

    @pytest.mark.parametrize(
        ("kind", "words", "operations"),
        [
            ("Task", "overzicht van inkomsten", replaced("/status", "completed")),
            ("Goal", "vaste lasten", replaced("/lifecycleStatus", "on-hold")),
        ],
    )
    async def test_by_who_carries_it_out_is_kept(
        self, world: World, plan: Plan, kind: str, words: str, operations: list[dict[str, Any]]
    ) -> None:
        """Of a task and of a goal, with a test that holds."""
        seen = await plan.of(kind, "provider-a", words)
        test = {"op": "test", "path": "/id", "value": seen["id"]}
        changed = await patch(world, seen, [test, *operations], "provider-a")
        assert changed.status == 200, changed.body
        assert changed.body[operations[0]["path"][1:]] == operations[0]["value"]
        assert changed.body == await read(world, f"{kind}/{seen['id']}", "provider-a")

    async def test_that_cannot_be_done_is_named(self, world: World, calm: Plan) -> None:
        """422 with the operation that does not hold or cannot be, never with what it says."""
        seen = await calm.of("Task")
        fine = {"op": "test", "path": "/id", "value": seen["id"]}
        for wrong in (
            {"op": "test", "path": "/status", "value": SECRET},
            {"op": SECRET, "path": "/status"},
            {"op": "replace", "path": f"/{SECRET}", "value": 1},
            {"op": "remove", "path": "/input/99"},
            {"op": "add", "path": "status", "value": 1},
            {"op": "add", "path": "/status"},
            {"op": "add", "path": 5, "value": 1},
            {"op": ["add"], "path": "/status", "value": 1},
            {"op": "copy", "from": f"/{SECRET}", "path": "/status"},
            {"op": "add", "path": "/status/x", "value": 1},
            {"op": "add", "path": "/~2", "value": 1},
            {"path": "/status"},
            {},
        ):
            issues = told(await patch(world, seen, [fine, wrong]), 422)
            assert expressions(issues) == ["Task[1]"], wrong

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", 400),
            (b"geen json", 400),
            (b'[{"op":"add","op":"test","path":"/x","value":1}]', 400),
            (b'[{"op":"add","path":"/x","value":' + b"[" * 5_000, 422),
            (b'[{"op":"add","path":"/x","value":"\\ud800"}]', 422),
            (b"[" * 5_000, 422),
            (b"{}", 422),
            (b"null", 422),
            (b"[1]", 422),
            (b"[[]]", 422),
            (b"[{}]" + b" " * 10, 422),
        ],
    )
    async def test_that_is_none_is_told_so(self, world: World, calm: Plan, body: bytes, code: int) -> None:
        """Whatever was sent."""
        told(await patch(world, await calm.of("Task"), body), code)

    async def test_does_not_grow_without_end(self, world: World, calm: Plan) -> None:
        """Copies of copies are stopped before they fill the memory."""
        bomb = [{"op": "add", "path": "/note", "value": [{"text": "x" * 100}]}]
        bomb += [{"op": "copy", "from": "/note", "path": "/note/-"}] * 40
        async with asyncio.timeout(5):
            told(await patch(world, await calm.of("Task"), bomb), 422)
        many = [{"op": "test", "path": "/status", "value": SECRET}] * (MAX_OPERATIONS + 1)
        assert expressions(told(await patch(world, await calm.of("Task"), many), 422)) == ["Task"]

    async def test_changes_neither_type_nor_id(self, world: World, calm: Plan) -> None:
        """422; nor does it leave no resource at all."""
        seen = await calm.of("Task")
        for path, value in (("/id", SECRET), ("/resourceType", "Goal")):
            assert expressions(told(await patch(world, seen, replaced(path, value)), 422)) == ["Task.id"]
        for value in (None, [], SECRET, {}):
            told(await patch(world, seen, replaced("", value)), 422)

    @pytest.mark.parametrize("media", ["application/json", "application/fhir+json", "application/xml"])
    async def test_of_another_media_type_is_a_415(self, world: World, calm: Plan, media: str) -> None:
        """A JSON Patch says that it is one."""
        seen = await calm.of("Task")
        answered = await patch(world, seen, replaced("/status", "completed"), Content_Type=media)
        assert told(answered, 415)[0]["code"] == "not-supported"

    async def test_asks_for_the_version_that_was_read(self, world: World, calm: Plan) -> None:
        """428 without, 412 with another."""
        seen = await calm.of("Task")
        operations = replaced("/status", "completed")
        told(await ask(world, "PATCH", f"/Task/{seen['id']}", operations), 428)
        told(await ask(world, "PATCH", f"/Task/{seen['id']}", operations, If_Match='W/"77"'), 412)

    @pytest.mark.parametrize(
        ("words", "operations", "code", "where"),
        [
            ("overzicht", replaced("/description", SECRET), 403, "Task"),
            ("overzicht", replaced("/status", "accepted"), 422, "Task"),
            ("overzicht", replaced("/status", "on-hold"), 422, "Task"),
            ("overzicht", replaced("/status", SECRET), 422, "Task.status"),
            ("overzicht", replaced("/owner/reference", "Goal/x"), 422, "Task.owner.reference"),
            ("overzicht", replaced("/status", None), 422, "Task.status"),
            ("Alle post", replaced("/statusReason", {"text": SECRET}), 403, "Task"),
        ],
    )
    async def test_of_more_than_is_theirs_is_refused_with_its_place(
        self, world: World, calm: Plan, words: str, operations: Any, code: int, where: str
    ) -> None:
        """Another's text, a step that the state machine has not, a reason that is lacking, a wrong value."""
        if operations[0]["path"] == "/statusReason":
            operations = [operations[0] | {"op": "add"}]
        seen = await calm.of("Task", "provider-a", words)
        assert where in expressions(told(await patch(world, seen, operations, "provider-a"), code))
        assert await calm.version() == 1


METHODS = {
    ("GET", "/{type}"): "search-type",
    ("POST", "/{type}"): "create",
    ("GET", "/{type}/x"): "read",
    ("PUT", "/{type}/x"): "update",
    ("PATCH", "/{type}/x"): "patch",
    ("DELETE", "/{type}/x"): None,
    ("DELETE", "/{type}"): None,
    ("PUT", "/{type}"): None,
    ("PATCH", "/{type}"): None,
    ("POST", "/{type}/x"): None,
    ("PUT", "/{type}/x/_history/1"): None,
    ("DELETE", "/{type}/x/_history/1"): None,
    ("GET", "/{type}/$validate"): None,
}


@pytest.mark.parametrize("kind", INTERACTIONS)
async def test_what_is_not_offered_is_a_405(world: World, kind: str) -> None:
    """Every method of every type: an OperationOutcome, and never a 405 for what is offered."""
    for (method, path), interaction in METHODS.items():
        answered = await ask(world, method, path.format(type=kind), {}, If_Match='W/"1"')
        if interaction in INTERACTIONS[kind]:
            assert answered.status != 405, (method, path)
        elif path.endswith("$validate"):
            told(answered, 404)
        else:
            assert told(answered, 405)[0]["code"] == "not-supported"
            assert answered.headers["Allow"], (method, path)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("kind", ["Medication", "task", "Task%2Fx", "%00", "Bundle"])
async def test_a_type_that_is_not_kept_is_a_404(world: World, method: str, kind: str) -> None:
    """Whatever is done with it; a method that no type has is a 405."""
    answered = await ask(world, method, f"/{kind}/x", {}, If_Match='W/"1"')
    told(answered, answered.status)
    assert answered.status in ({405} if method in {"DELETE", "POST"} else {404})


async def receives(world: World, plan: Plan) -> dict[str, int]:
    """Return how many deliveries of a plan each organisation was sent."""
    rows = await world.deliveries(plan.id)
    sent = [row["recipient"] for row in rows if row["state"] == "acknowledged"]
    return {name: sent.count(name) for name in set(sent)}


@pytest.mark.parametrize(
    ("client", "words", "operations"),
    [
        ("provider-a", "overzicht van inkomsten", replaced("/status", "completed")),
        ("provider-b", "rustig grenzen", replaced("/status", "accepted")),
    ],
)
async def test_progress_goes_to_who_may_see_it_and_to_nobody_else(
    world: World, plan: Plan, client: str, words: str, operations: Any
) -> None:
    """To who made the plan, and to every party that sees the task; no receiver of another is sent a thing."""
    seen = await plan.of("Task", client, words)
    who_sees = {
        organisation for name, organisation in ORGANISATION.items() if seen["id"] in json.dumps(await plan.view(name))
    }
    before, arrived = await receives(world, plan), {name: len(each.arrivals) for name, each in world.receivers.items()}
    assert (await patch(world, seen, operations, client)).status == 200
    await world.rest(plan.id)
    after = await receives(world, plan)
    assert {name for name, count in after.items() if count > before.get(name, 0)} == who_sees
    assert {TEAM, ORGANISATION[client]} <= who_sees
    came = {name for name, each in world.receivers.items() if len(each.arrivals) > arrived[name]}
    assert came == {name for name, organisation in ORGANISATION.items() if organisation in who_sees}
    body = json.loads(world.receivers["team"].last.body)
    (kept,) = [each["resource"] for each in body["entry"] if each["resource"]["id"] == seen["id"]]
    assert kept["status"] == operations[0]["value"]


async def test_a_choice_does_not_end_what_waits_for_who_made_the_plan(world: World, plan: Plan) -> None:
    """The team's receiver is away; a resident chooses meanwhile; the team is still sent what Kompas wrote."""
    residents = [
        each["resource"]["id"] for each in (await plan.view())["entry"] if each["resource"]["resourceType"] == "Patient"
    ]
    receiver = world.receivers["team"]
    receiver.answers = [status(503)]
    receiver.came.clear()
    seen = await plan.of("Task", "provider-a", "overzicht van inkomsten")
    assert (await patch(world, seen, replaced("/status", "completed"), "provider-a")).status == 200
    async with asyncio.timeout(20):
        await receiver.came.wait()

    async def to_team() -> list[dict[str, Any]]:
        return [row for row in await world.deliveries(plan.id) if row["recipient"] == TEAM]

    place = f"/v1/residents/{residents[0]}/choices"
    current = await world.team.ask("GET", place)
    less = current.body["choices"][:-1]
    try:
        assert (await world.choose(residents[0], less)).status == 200
        rows = await to_team()
        assert [row["state"] for row in rows] not in (["withheld"], ["superseded"])
        assert len(rows) == 1
        arrived = len(receiver.arrivals)
        if rows[0]["state"] != "acknowledged":
            await world.team.ask("POST", f"/v1/deliveries/{rows[0]['id']}/retries")
            await world.rest(plan.id, {"acknowledged", "withheld", "unchanged", "superseded", "parked", "recalled"})
            assert len(receiver.arrivals) > arrived
        assert [row["state"] for row in await to_team()] == ["acknowledged"]
    finally:
        await world.choose(residents[0], [each | {"id": ""} for each in current.body["choices"]])


async def by_transaction(world: World, plan: Plan, changed: Resource) -> Answered:
    """Send the view with a resource changed."""
    view = await plan.view("provider-a")
    for entry in view["entry"]:
        if entry["resource"]["id"] == changed["id"] and entry["resource"]["resourceType"] == changed["resourceType"]:
            entry["resource"] = changed
    return await ask(world, "POST", "", view, "provider-a, all scopes")


async def by_put(world: World, _plan: Plan, changed: Resource) -> Answered:
    """PUT the resource."""
    return await put(world, changed, "provider-a, all scopes")


async def by_batch(world: World, _plan: Plan, changed: Resource) -> Answered:
    """PUT the resource in a batch."""
    request = {
        "method": "PUT",
        "url": f"{changed['resourceType']}/{changed['id']}",
        "ifMatch": f'W/"{changed["meta"]["versionId"]}"',
    }
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": changed, "request": request}]}
    answered = await ask(world, "POST", "", bundle, "provider-a, all scopes")
    response = answered.body["entry"][0]["response"]
    return Answered(int(response["status"]), response["outcome"], answered.headers)


FORBIDDEN: list[tuple[str, str, str, Callable[[Resource], None]]] = [
    ("the plan's status", "CarePlan", "", lambda it: it.update(status="completed")),
    ("the order of the goals", "CarePlan", "", lambda it: it["goal"].reverse()),
    ("the text of its task", "Task", "overzicht van", lambda it: it.update(description=SECRET)),
    ("the owner of its task", "Task", "overzicht van", lambda it: it.update(owner=it["for"])),
    ("who may see its task", "Task", "overzicht van", lambda it: it["meta"]["security"][0].update(code="R")),
    ("another's task", "Task", "Alle post", lambda it: it.update(status="in-progress")),
    ("the text of a goal", "Goal", "vaste lasten", lambda it: it.update(description={"text": SECRET})),
    ("a provision", "ServiceRequest", "Budgetcoaching", lambda it: it.update(status="revoked")),
    ("the address of a resident", "Patient", "Marloes", lambda it: it["address"][0].update(city=SECRET)),
    ("the name of a professional", "Practitioner", "", lambda it: it.update(name=[{"text": SECRET}])),
]


@pytest.mark.parametrize("door", [by_transaction, by_put, by_batch])
@pytest.mark.parametrize(("kind", "words", "change"), [row[1:] for row in FORBIDDEN], ids=[row[0] for row in FORBIDDEN])
async def test_a_provider_writes_by_no_door_what_is_not_its_own(
    world: World, calm: Plan, door: Any, kind: str, words: str, change: Callable[[Resource], None]
) -> None:
    """403 by a PUT, a view that comes back and a batch, with every scope there is; nothing is kept."""
    seen = await calm.of(kind, "provider-a", words)
    if door is not by_transaction:
        seen = await read(world, f"{kind}/{seen['id']}", "provider-a")
    before = await calm.whole()
    change(seen)
    assert told(await door(world, calm, seen), 403)[0]["code"] == "forbidden"
    assert await calm.whole() == before


async def test_a_provider_sends_no_version_of_anothers_plan(world: World, calm: Plan) -> None:
    """Not as a plan document that names it, nor as a transaction that takes an organisation's name, a part out or one in."""
    kompas = world.clients["provider-a, all scopes"]
    document = await kompas.want("GET", f"/v1/plans/{calm.id}?format=plan-van-aanpak")
    assert document["planId"] == calm.id
    before, count = await calm.whole(), await world.gateway.store.read(count_plans)
    refused = await kompas.ask("POST", "/v1/plans?format=plan-van-aanpak", json_body=document)
    assert refused.status == 422
    for kind in ("Organization", "Goal", "Task"):
        view = await calm.view("provider-a")
        entry = next(each for each in view["entry"] if each["resource"]["resourceType"] == kind)
        if kind == "Organization":
            view["entry"].append(
                {
                    "fullUrl": "urn:uuid:6f0d3b0e-6c0e-4b1c-9a3e-0d7c7f2f9b11",
                    "resource": {"resourceType": "Organization", "name": SECRET},
                    "request": {"method": "POST", "url": "Organization"},
                }
            )
        else:
            view["entry"].remove(entry)
        answered = await ask(world, "POST", "", view, "provider-a, all scopes")
        told(answered, answered.status)
        assert answered.status in {403, 409, 422}, kind
    assert (await calm.whole(), await world.gateway.store.read(count_plans)) == (before, count)


async def test_a_providers_edit_makes_no_resident_and_tells_none(world: World, plan: Plan) -> None:
    """De Linde knows Finn by a number of its own: what it writes is about the same Finn, and no answer has the gateway's id."""
    before = await world.gateway.sight.load(plan.id)
    assert before is not None
    seen = await plan.of("Task", "provider-b", "rustig grenzen")
    answered = await patch(world, seen, replaced("/status", "in-progress"), "provider-b")
    assert answered.status == 200
    after = await world.gateway.sight.load(plan.id)
    assert after is not None
    assert (after.residents, after.version) == (before.residents, 2)
    everything = json.dumps([answered.body, await plan.view("provider-b")])
    assert not [who for who in before.residents if who in everything]
    refused = await patch(
        world, answered.body, replaced("/for", {"reference": f"Patient/{before.residents[0]}"}), "provider-b"
    )
    told(refused, refused.status)
    assert refused.status in {403, 422}
    now = await world.gateway.sight.load(plan.id)
    assert now is not None
    assert now.residents == before.residents


def right(kind: str) -> Resource:
    """Return a resource of a type that R4 finds nothing wrong with."""
    return {"resourceType": kind} | {
        "Goal": {
            "lifecycleStatus": "active",
            "description": {"text": "Rust."},
            "subject": {"reference": "Patient/1"},
        },
        "Task": {
            "status": "requested",
            "intent": "plan",
            "owner": {"reference": "Patient/1"},
            "description": "Bellen.",
        },
    }.get(kind, {})


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({}, []),
        ({"status": SECRET}, ["Task.status"]),
        ({"status": None}, ["Task.status"]),
        ({"input": []}, ["Task.input"]),
        ({SECRET: 1}, [f"Task.{SECRET}"]),
        ({"owner": {"reference": "Goal/x"}}, ["Task.owner.reference"]),
        ({"text": {"status": "generated", "div": f"<div><script>{SECRET}</script></div>"}}, ["Task.text.div"]),
    ],
)
async def test_validate_says_what_is_wrong_and_keeps_nothing(world: World, change: Resource, where: list[str]) -> None:
    """200 with an OperationOutcome, for the resource itself and as a parameter, of which the place is named."""
    count = await world.gateway.store.read(count_plans)
    sent = right("Task") | change
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "mode"}, {"name": "resource", "resource": sent}]}
    for body, inside in ((sent, ""), (parameters, ".parameter[1].resource")):
        answered = await ask(world, "POST", "/Task/$validate", body)
        assert answered.status == 200
        wanted = [each.replace("Task", f"Task{inside}", 1) for each in where]
        assert set(wanted) <= set(expressions(answered.body["issue"]))
        severity = "error" if where else "information"
        assert {each["severity"] for each in answered.body["issue"]} == {severity}
        if SECRET not in change:
            assert SECRET not in json.dumps(answered.body)
    assert await world.gateway.store.read(count_plans) == count


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/Task/$validate", right("Goal"), 400),
        ("/Task/$validate", {"resourceType": "Parameters"}, 422),
        ("/Task/$validate", {"resourceType": "Parameters", "parameter": [None, 1, {"name": "resource"}]}, 422),
        ("/Task/$validate", [], 422),
        ("/Task/$validate", b"geen json", 400),
        ("/Task/$validate?resource=x", right("Task"), 400),
        ("/Medication/$validate", right("Medication"), 404),
    ],
)
async def test_validate_of_nothing_is_refused(world: World, path: str, body: Any, code: int) -> None:
    """Another type, no resource, no JSON."""
    told(await ask(world, "POST", path, body), code)


def batch(*entries: Any) -> Resource:
    """Return a batch."""
    return {"resourceType": "Bundle", "type": "batch", "entry": list(entries)}


def entry(method: str, url: str, resource: Resource | None = None, **request: str) -> Resource:
    """Return an entry of a batch."""
    made: Resource = {"request": {"method": method, "url": url} | request}
    return made | ({"resource": resource} if resource is not None else {})


async def statuses(world: World, bundle: Resource, client: str = "team") -> list[int]:
    """Return the status of each entry; an error has an outcome, and the answer repeats nothing."""
    answered = await ask(world, "POST", "", bundle, client)
    assert (answered.status, answered.body["type"]) == (200, "batch-response"), answered.body
    assert SECRET not in json.dumps(answered.body)
    for each in answered.body["entry"]:
        if int(each["response"]["status"]) >= 400:
            issues = each["response"]["outcome"]["issue"]
            assert all(one["code"] and one["details"]["text"] for one in issues)
    return [int(each["response"]["status"]) for each in answered.body["entry"]]


class TestBatch:
    """POST /fhir with a Bundle of type batch."""

    async def test_answers_each_entry_by_itself(self, world: World, plan: Plan) -> None:
        """What is wrong with one says nothing of the next, and each is a version of its own."""
        seen, sent = await plan.of("Goal"), await new_task(plan)
        changed = seen | {"description": {"text": "Iets anders."}}
        bundle = batch(
            entry("GET", f"Goal/{seen['id']}"),
            entry("PUT", f"Goal/{seen['id']}", changed, ifMatch='W/"1"'),
            entry("PUT", f"Goal/{seen['id']}", changed, ifMatch='W/"1"'),
            entry("PUT", f"Goal/{seen['id']}", changed),
            entry("POST", "Task", sent),
            entry("POST", "Task", sent, ifNoneExist="status=requested"),
            entry("GET", f"Task/{SECRET}"),
            entry("GET", "Task?_count=0"),
        )
        assert await statuses(world, bundle) == [200, 200, 412, 428, 201, 412, 404, 200]
        assert await plan.version() == 3

    async def test_takes_a_url_in_every_form(self, world: World, calm: Plan) -> None:
        """Absolute within this base, relative, with a leading slash; another server's is not ours."""
        place = f"Goal/{(await calm.of('Goal'))['id']}"
        base = world.gateway.public_url
        fine = [place, f"/{place}", f"{base}/fhir/{place}", f"{place}?_summary=true", f"Goal?_id={place[5:]}"]
        assert await statuses(world, batch(*(entry("GET", url) for url in fine))) == [200] * len(fine)
        others = [
            f"https://elders.voorbeeld.nl/fhir/{place}",
            f"https://elders.voorbeeld.nl/{place}",
            f"//elders/{place}",
        ]
        others += [
            f"{base}/{place}",
            f"{base}/v1/plans/{calm.id}",
            "http://[::1",
            "http://x:y/Goal/1",
            "",
            "/",
            "?",
            "Goal/a/b",
        ]
        others += [
            "../v1/plans",
            f"Goal/../{place}",
            "%2e%2e/v1/plans",
            "Goal%00",
            "metadata/x/y",
            "mailto:x",
            "http:Goal",
        ]
        assert not {200, 500} & set(await statuses(world, batch(*(entry("GET", url) for url in others))))

    async def test_names_what_is_wrong_within_its_entry(self, world: World, calm: Plan) -> None:
        """As an expression of the Bundle that was sent."""
        seen = await calm.of("Goal")
        wrong = seen | {"lifecycleStatus": SECRET}
        bundle = batch(
            entry("GET", f"Goal/{seen['id']}"),
            entry("PUT", f"Goal/{seen['id']}", wrong, ifMatch='W/"1"'),
            entry("DELETE", f"Goal/{seen['id']}"),
        )
        answered = await ask(world, "POST", "", bundle)
        where = [expressions(each["response"].get("outcome", {}).get("issue", [])) for each in answered.body["entry"]]
        assert where == [[], ["Bundle.entry[1].resource.lifecycleStatus"], ["Bundle.entry[2].request"]]

    async def test_offers_no_more_than_its_entries_would(self, world: World, calm: Plan) -> None:
        """No search by POST, no batch in a batch, no transaction, no patch, no other verb; scopes count per entry."""
        seen = await calm.of("Task")
        entries = [
            entry("POST", "Task/_search", {"resourceType": "Parameters"}),
            entry("POST", "", batch()),
            entry("POST", "Bundle", batch()),
            entry("DELETE", f"Task/{seen['id']}"),
            entry("PATCH", f"Task/{seen['id']}", seen, ifMatch='W/"1"'),
            entry("HEAD", f"Task/{seen['id']}"),
            entry("get", f"Task/{seen['id']}"),
            None,
            {},
            {"request": None},
            {"request": {"method": ["GET"], "url": "Task"}},
            {"request": {"method": "GET", "url": {}}},
            entry("PUT", f"Task/{seen['id']}", ifMatch='W/"1"'),
            entry("PUT", f"Task/{seen['id']}", [], ifMatch='W/"1"'),  # type: ignore[arg-type]
        ]
        assert all(400 <= each < 500 for each in await statuses(world, batch(*entries)))
        mine = [entry("GET", "Goal?_count=0"), entry("POST", "Goal", right("Goal")), entry("PUT", "Condition/x", {})]
        assert await statuses(world, batch(*mine), "provider-a") == [200, 403, 403]

    async def test_has_at_most_two_hundred_entries(self, world: World) -> None:
        """422 above; an empty one is answered empty."""
        many = [entry("GET", "Task/nergens")] * 200
        assert await statuses(world, batch(*many)) == [404] * 200
        assert expressions(told(await ask(world, "POST", "", batch(*many, many[0])), 422)) == ["Bundle.entry"]
        assert expressions(told(await ask(world, "POST", "", batch() | {"entry": {}}), 422)) == ["Bundle.entry"]
        assert await statuses(world, batch()) == []


WRONG: list[tuple[str, Resource, int, str]] = [
    ("an id that looks like SQL", {"id": "x'; DROP TABLE plan; --"}, 422, "Task.id"),
    ("an id that looks like a path", {"id": "../../etc/passwd"}, 422, "Task.id"),
    ("a null", {"note": None}, 422, "Task.note"),
    ("a null in a list", {"input": [None]}, 422, "Task.input[0]"),
    ("an empty list", {"note": []}, 422, "Task.note"),
    ("an empty object", {"owner": {}}, 422, "Task.owner"),
    ("an empty text", {"description": ""}, 422, "Task.description"),
    ("an unknown element", {"plan": 1}, 422, "Task.plan"),
    ("a text for a list", {"note": SECRET}, 422, "Task.note"),
    ("a modifier", {"implicitRules": "https://x"}, 422, "Task.implicitRules"),
    ("a script", {"text": {"status": "generated", "div": "<div><script>x</script></div>"}}, 422, "Task.text.div"),
    ("an owner that is a goal", {"owner": {"reference": "Goal/x"}}, 422, "Task.owner.reference"),
    ("a goal that is not there", {"focus": {"reference": f"Goal/{SECRET}"}}, 422, "Task"),
    ("a reference that is a path", {"focus": {"reference": "Goal/../Task/x"}}, 422, "Task.focus.reference"),
    ("a plan by NUL", {"basedOn": [{"reference": "CarePlan/\x00"}]}, 422, "Task"),
    ("a plan by SQL", {"basedOn": [{"reference": "CarePlan/' OR 1=1 --"}]}, 422, "Task"),
    ("entered in error", {"status": "entered-in-error"}, 422, "Task.status"),
]


@pytest.mark.parametrize(("change", "code", "where"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
async def test_what_is_wrong_is_refused_with_its_place(
    world: World, calm: Plan, change: Resource, code: int, where: str
) -> None:
    """By POST and by PUT; nothing is kept and nothing that was sent is repeated."""
    before = await calm.whole()
    sent = await new_task(calm, note=[{"text": SECRET}]) | change
    issues = told(await ask(world, "POST", "/Task", sent), code)
    assert [each for each in expressions(issues) if each.startswith(where)], issues
    seen = await calm.of("Task")
    if not {"id", "basedOn"} & set(change):
        told(await put(world, seen | change), code)
    assert await calm.whole() == before


@pytest.mark.parametrize("name", ["x'; DROP TABLE plan; --", "..%2F..%2Fetc", "%00", "a" * 65, "a b", "<script>", "é"])
async def test_an_id_that_is_none_is_a_404(world: World, name: str) -> None:
    """By every method, without repeating it."""
    for method in ("GET", "PUT", "PATCH"):
        answered = await ask(world, method, f"/Task/{name}", right("Task") | {"id": name}, If_Match='W/"1"')
        assert name not in json.dumps(told(answered, 404))


async def test_what_is_new_takes_no_others_place(world: World, plan: Plan) -> None:
    """A urn:uuid that made a task of this plan before makes no second one in a view that comes back: 422 at its entry."""
    name, sent = f"urn:uuid:{uuid.uuid4()}", await new_task(plan)
    del sent["basedOn"]
    for status_wanted in (200, 422):
        view = await plan.view()
        view["entry"].append(entry("POST", "Task", sent) | {"fullUrl": name})
        answered = await ask(world, "POST", "", view)
        assert answered.status == status_wanted, answered.body
    assert expressions(told(answered, 422)) == [f"Bundle.entry[{len(view['entry']) - 1}].resource"]
    assert await plan.version() == 2


async def test_tasks_that_refer_to_each_other_are_one_plan(world: World) -> None:
    """A cycle of references in a transaction ends: what a plan does not carry is named, the rest is kept."""
    bundle = posted()
    first, second = [each for each in bundle["entry"] if each["resource"]["resourceType"] == "Task"][:2]
    first["resource"]["partOf"] = [{"reference": second["fullUrl"]}]
    second["resource"]["partOf"] = [{"reference": first["fullUrl"]}]
    answered = await ask(world, "POST", "", bundle)
    assert answered.status == 200, answered.body
    assert "Task" in json.dumps(answered.body)


async def test_entries_in_any_order_are_the_same_plan(world: World) -> None:
    """The same transaction shuffled is unchanged, by its plan number, from the first to the last."""
    bundle = posted(keep_ids=True)
    made = await ask(world, "POST", "", bundle)
    assert made.status == 200, made.body
    name = next(each["response"]["location"] for each in made.body["entry"])
    plan = Plan(world, name.partition("/")[2])
    before = await plan.whole()
    for seed in range(4):
        random.Random(seed).shuffle(bundle["entry"])
        again = await ask(world, "POST", "", bundle)
        assert again.status == 200, again.body
        assert await plan.whole() == before, seed


async def test_five_thousand_entries_take_seconds(world: World) -> None:
    """The most that a transaction may have is answered in bounded time, and one more is refused at once."""
    bundle = posted()
    patient = next(each["fullUrl"] for each in bundle["entry"] if each["resource"]["resourceType"] == "Patient")
    resource = right("Goal") | {"subject": {"reference": patient}}
    goal = {"resource": resource, "request": {"method": "POST", "url": "Goal"}}
    while len(bundle["entry"]) < MAX_ENTRIES:
        bundle["entry"].append(goal | {"fullUrl": f"urn:uuid:{uuid.uuid4()}"})
    began = time.process_time()
    answered = await world.team.ask("POST", "/fhir", body=large(bundle), headers=FHIR)
    assert answered.status == 200, answered.body
    assert time.process_time() - began < 20
    bundle["entry"].append(goal | {"fullUrl": f"urn:uuid:{uuid.uuid4()}"})
    refused = await world.team.ask("POST", "/fhir", body=large(bundle), headers=FHIR)
    assert expressions(told(refused, 422)) == ["Bundle.entry"]


def large(bundle: Resource) -> Any:
    """Return a body that aiohttp sends piece by piece."""
    return io.BytesIO(json.dumps(bundle).encode())


@pytest.mark.parametrize(
    ("scope", "method", "path", "lacking"),
    [
        ("system/Goal.rs", "GET", "/Task/x", "system/Task.r"),
        ("system/Task.s", "GET", "/Task/x/_history", "system/Task.r"),
        ("system/Task.r", "GET", "/Task", "system/Task.s"),
        ("system/Task.rs", "GET", "/Task?_include=Task:focus:Goal", "system/Goal.s"),
        ("system/Task.rs", "GET", "/Task?_include=Task:focus", "system/CarePlan.s"),
        ("system/Task.rus", "POST", "/Task", "system/Task.c"),
        ("system/Task.c", "POST", "/Task", "system/Task.r"),
        ("system/Task.crs", "PUT", "/Task/x", "system/Task.u"),
        ("system/Task.u", "PUT", "/Task/x", "system/Task.r"),
        ("system/Task.crs", "PATCH", "/Task/x", "system/Task.u"),
        ("plans:write", "POST", "/Task", "system/TYPE.crus"),
    ],
)
async def test_each_interaction_asks_for_its_scope(
    world: World, scope: str, method: str, path: str, lacking: str
) -> None:
    """403 that names the scope."""
    known = replace(world.known, clients={"team": world.known.clients["team"] | {"scope": scope}})
    client = GatewayClient(world.session, world.gateway.public_url, await fetch_token(world.session, known, "team"))
    body = json.dumps(right("Task")).encode() if method != "GET" else None
    answered = await client.ask(method, f"/fhir{path}", body=body, headers=FHIR | {"If-Match": 'W/"1"'})
    issues = told(answered, 403)
    assert (issues[0]["code"], lacking in issues[0]["details"]["text"]) == ("forbidden", True)


def posted(*, keep_ids: bool = False) -> Resource:
    """Return an example as a client would make it: everything new, under uuids of its own, or under ids that stay."""
    path = files("mappings") / "formats" / FORMAT / "examples" / "samen-op-orde" / "bundle.json"
    bundle: Resource = json.loads(path.read_bytes())
    names = {}
    for each in bundle["entry"]:
        kind, old = each["resource"]["resourceType"], each["resource"].pop("id")
        made = uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{old}") if keep_ids else uuid.uuid4()
        each["fullUrl"] = names[f"{kind}/{old}"] = f"urn:uuid:{made}"
        each["request"] = {"method": "POST", "url": kind}
    made_text = json.dumps(bundle)
    for old, new in names.items():
        made_text = made_text.replace(f'"reference": "{old}"', f'"reference": "{new}"')
    made_bundle: Resource = json.loads(made_text)
    plan = next(each["resource"] for each in made_bundle["entry"] if each["resource"]["resourceType"] == "CarePlan")
    plan["identifier"][0]["value"] = f"nummer {uuid.uuid4()}"
    return made_bundle


def transaction(*entries: Resource) -> Resource:
    """Return a transaction."""
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def changed(resource: Resource, version: str | None = None, **change: Any) -> Resource:
    """Return an entry that puts a resource back with a change."""
    condition = {} if version is None else {"ifMatch": f'W/"{version}"'}
    return entry("PUT", f"{resource['resourceType']}/{resource['id']}", resource | change, **condition)


class TestParts:
    """POST /fhir with a transaction that holds no CarePlan: parts of one plan that its writer sees."""

    async def test_are_one_new_version(self, world: World, plan: Plan) -> None:
        """What is new refers to what is new and to what was there; each entry is answered in its place."""
        seen, other = await plan.of("Goal"), await plan.of("Task")
        uuids = [f"urn:uuid:{uuid.uuid4()}" for _ in range(2)]
        extension = [{"url": PLAN_EXTENSION, "valueReference": {"reference": f"CarePlan/{plan.id}"}}]
        goal = {
            "resourceType": "Goal",
            "extension": extension,
            "lifecycleStatus": "active",
            "description": {"text": "Een nieuw doel."},
            "subject": other["for"],
        }
        first = await new_task(plan, focus={"reference": uuids[0]})
        bundle = transaction(
            entry("POST", "Task", first) | {"fullUrl": uuids[1]},
            changed(seen, "1", description={"text": "Iets anders."}),
            entry("POST", "Goal", goal) | {"fullUrl": uuids[0]},
            changed(other, focus={"reference": uuids[0]}),
        )
        answered = await ask(world, "POST", "", bundle)
        assert answered.status == 200, answered.body
        told_of = [each["response"] for each in answered.body["entry"]]
        assert [each["status"] for each in told_of] == ["201 Created", "200 OK", "201 Created", "200 OK"]
        made, put_back, made_goal, moved = [await read(world, each["location"]) for each in told_of]
        assert (made["focus"]["reference"], moved["focus"]["reference"]) == (told_of[2]["location"],) * 2
        assert (put_back["description"]["text"], made_goal["description"]["text"]) == (
            "Iets anders.",
            "Een nieuw doel.",
        )
        assert put_back["id"] == seen["id"]
        assert await plan.version() == 2
        again = await ask(world, "POST", "", transaction(entry("POST", "Goal", goal) | {"fullUrl": uuids[0]}))
        assert again.status == 200
        assert again.body["entry"][0]["response"]["location"] != told_of[2]["location"]

    async def test_of_several_plans_are_refused_by_name(self, world: World, plan: Plan, calm: Plan) -> None:
        """422 at every entry that belongs to another plan than the first; nothing is kept."""
        one, other = await plan.of("Goal"), await calm.of("Goal")
        bundle = transaction(
            changed(one, description={"text": SECRET}),
            changed(other, description={"text": SECRET}),
            entry("POST", "Task", await new_task(plan)),
            entry("POST", "Task", await new_task(calm)),
        )
        issues = told(await ask(world, "POST", "", bundle), 422)
        assert expressions(issues) == ["Bundle.entry[1].resource", "Bundle.entry[3].resource"]
        assert (await plan.version(), await calm.version()) == (1, 1)

    async def test_are_all_kept_or_none(self, world: World, plan: Plan) -> None:
        """A wrong one, a stale one, one unseen, one twice, one of a type that is not made: each is named, and nothing is kept."""
        goal, other = await plan.of("Goal"), await plan.of("Task")
        fine = changed(goal, "1", description={"text": "Iets anders."})
        nothing = entry("PUT", "Task/nergens", other | {"id": "nergens"})
        group = await plan.of("Group")
        for wrong, code in (
            (changed(other, status=SECRET), 422),
            (changed(other, meta=SECRET), 422),
            (changed(other, focus={"reference": "Goal/nergens"}), 422),
            (changed(other, "7"), 412),
            (changed(other, 'x" "'), 412),
            (nothing, 404),
            (changed(goal), 422),
            (changed(group), 422),
            (entry("POST", "Task", (await new_task(plan)) | {"basedOn": [{"reference": "CarePlan/nergens"}]}), 422),
            (entry("DELETE", f"Task/{other['id']}", other), 422),
            (entry("POST", "Task", await new_task(plan), ifNoneExist="status=requested"), 422),
        ):
            issues = told(await ask(world, "POST", "", transaction(fine, wrong)), code)
            assert all(place.startswith("Bundle.entry[1].re") for place in expressions(issues)), issues
            assert expressions(issues), issues
        assert await plan.version() == 1

    async def test_under_a_key_are_made_once(self, world: World, plan: Plan) -> None:
        """Also when they only change what was there."""
        goal, sent = await plan.of("Goal"), await new_task(plan)
        for version, bundle in (
            (2, transaction(entry("POST", "Task", sent), changed(goal, "1", description={"text": "Iets anders."}))),
            (3, transaction(changed(goal, "2", description={"text": "Nog iets."}))),
        ):
            key = uuid.uuid4().hex
            first, again = [await ask(world, "POST", "", bundle, Idempotency_Key=key) for _ in range(2)]
            places = [[each["response"]["location"] for each in one.body["entry"]] for one in (first, again)]
            assert (first.status, again.status, places[1]) == (200, 200, places[0])
            assert await plan.version() == version

    async def test_are_held_to_who_may_write_what(self, world: World, plan: Plan) -> None:
        """Kompas says how far its task and a goal are, in one version; with another's task in it nothing is kept."""
        mine = await plan.of("Task", "provider-a", "overzicht van inkomsten")
        goal = await plan.of("Goal", "provider-a", "vaste lasten")
        another = await plan.of("Task", "provider-a", "Alle post")
        fine = [changed(mine, "1", status="completed"), changed(goal, "1", lifecycleStatus="on-hold")]
        wrong = transaction(*fine, changed(another, description=SECRET))
        issues = told(await ask(world, "POST", "", wrong, "provider-a"), 403)
        assert expressions(issues) == ["Bundle.entry[2].resource"]
        assert await plan.version() == 1
        assert (await ask(world, "POST", "", transaction(*fine), "provider-a")).status == 200
        assert await plan.version() == 2
        new = transaction(entry("POST", "Task", await new_task(plan)))
        assert told(await ask(world, "POST", "", new, "provider-a"), 403)[0]["code"] == "forbidden"
