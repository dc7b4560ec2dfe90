"""`/fhir`: a plan comes in as a transaction, whole or not at all, and is the same plan as any other."""

import json
import random
import uuid
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any

import pytest
import pytest_asyncio
from fhir.resources.R4B import get_fhir_model_class
from msgspec import structs
from world import FORMAT, World, open_world

from gateway.api.interactions import INTERACTIONS
from gateway.client import Answered, GatewayClient, Known, fetch_token
from gateway.demo.vlinderstad import FINN_CHOICES, MARLOES_CHOICES
from gateway.store.plans import count_plans
from mappings.outcome import expression_of
from mappings.transaction import MAX_ENTRIES

Bundle = dict[str, Any]
FHIR = {"Content-Type": "application/fhir+json"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world for this file; every test sends plans of its own."""
    async with open_world(tmp_path_factory.mktemp("fhir")) as opened:
        yield opened


def posted(case: str = "samen-op-orde") -> Bundle:
    """Return an example as a client would make it: everything new, under uuids of its own."""
    path = files("mappings") / "formats" / FORMAT / "examples" / case / "bundle.json"
    bundle: Bundle = json.loads(path.read_bytes())
    names = {}
    for entry in bundle["entry"]:
        kind, old = entry["resource"]["resourceType"], entry["resource"].pop("id")
        entry["fullUrl"] = names[f"{kind}/{old}"] = f"urn:uuid:{uuid.uuid4()}"
        entry["request"] = {"method": "POST", "url": kind}
    for place in references(bundle):
        place["reference"] = names[place["reference"]]
    plan_of(bundle)["identifier"][0]["value"] = f"nummer {uuid.uuid4()}"
    return bundle


def references(value: Any) -> list[dict[str, Any]]:
    """Return every Reference in a resource."""
    if isinstance(value, list):
        return [found for item in value for found in references(item)]
    if not isinstance(value, dict):
        return []
    below = [found for item in value.values() for found in references(item)]
    return [value, *below] if isinstance(value.get("reference"), str) else below


def of_type(bundle: Bundle, kind: str) -> list[dict[str, Any]]:
    """Return the resources of a type."""
    return [each["resource"] for each in bundle["entry"] if each["resource"]["resourceType"] == kind]


def plan_of(bundle: Bundle) -> dict[str, Any]:
    """Return the CarePlan."""
    return of_type(bundle, "CarePlan")[0]


async def send(world: World, bundle: Any, client: str = "team", **headers: str) -> Answered:
    """POST a transaction."""
    body = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
    return await world.clients[client].ask("POST", "/fhir", body=body, headers=FHIR | headers)


def plan_id(answered: Answered) -> str:
    """Return the id under which a plan was kept."""
    assert answered.status == 200, answered.body
    places = [each["response"].get("location", "") for each in answered.body["entry"]]
    return next(place for place in places if place.startswith("CarePlan/")).partition("/")[2]


async def test_a_transaction_becomes_a_plan(world: World) -> None:
    """Each entry is answered in its place, and the plan reads back with everything in it."""
    bundle = posted()
    answered = await send(world, bundle)
    assert answered.headers["Content-Type"] == "application/fhir+json"
    assert answered.body["type"] == "transaction-response"
    assert [each["response"]["status"] for each in answered.body["entry"]] == ["201 Created"] * len(bundle["entry"])
    read = (await world.team.ask("GET", f"/v1/plans/{plan_id(answered)}")).body
    for kind in ("Goal", "Task", "Condition", "ServiceRequest", "RelatedPerson", "PractitionerRole"):
        assert len(of_type(read, kind)) == len(of_type(bundle, kind)), kind
    there = {f"{each['resource']['resourceType']}/{each['resource']['id']}" for each in read["entry"]}
    told = [each["response"].get("location", "") for each in answered.body["entry"]]
    assert {place for place in told if place.startswith(("CarePlan", "Patient", "Goal", "Task"))} <= there


async def test_what_was_read_and_sent_back_is_unchanged(world: World) -> None:
    """PUT of the team's own view is the same version; one edit is the next one."""
    made = plan_id(await send(world, posted()))
    read = (await world.team.ask("GET", f"/v1/plans/{made}")).body
    before = await world.rest(made)
    again = await send(world, read)
    assert plan_id(again) == made
    assert {each["response"]["status"] for each in again.body["entry"]} == {"200 OK"}
    assert await world.deliveries(made) == before
    of_type(read, "Goal")[0]["description"]["text"] = "Iets anders."
    assert plan_id(await send(world, read)) == made
    edited = (await world.team.ask("GET", f"/v1/plans/{made}")).body
    assert "Iets anders." in {goal["description"]["text"] for goal in of_type(edited, "Goal")}


async def test_what_the_writer_cannot_see_stays(world: World) -> None:
    """A part that another organisation wrote down is not in the team's view; writing the view back erases nothing of it."""
    made = plan_id(await send(world, posted()))
    whole = await world.gateway.sight.load(made)
    read = (await world.team.ask("GET", f"/v1/plans/{made}")).body
    assert whole is not None
    seen = {each["resource"]["id"] for each in read["entry"]}
    hidden = {part.id: part for part in whole.parts if part.kind in {"signal", "decision"} and part.id not in seen}
    assert hidden
    gone = next(each for each in read["entry"] if each["resource"]["resourceType"] == "Condition")
    read["entry"].remove(gone)
    info = plan_of(read)["supportingInfo"]
    info.remove({"reference": f"Condition/{gone['resource']['id']}"})
    assert plan_id(await send(world, read)) == made
    now = await world.gateway.sight.load(made)
    assert now is not None
    parts = {part.id: part for part in now.parts}
    assert {name: parts.get(name) for name in hidden} == hidden
    assert gone["resource"]["id"] not in parts
    assert len(now.parts) == len(whole.parts) - 1


async def test_what_was_read_before_a_change_is_stale(world: World) -> None:
    """412: the writer has not seen what it would overwrite."""
    made = plan_id(await send(world, posted()))
    old = (await world.team.ask("GET", f"/v1/plans/{made}")).body
    new = json.loads(json.dumps(old))
    of_type(new, "Goal")[0]["description"]["text"] = "Iets anders."
    assert plan_id(await send(world, new)) == made
    refused = await send(world, old)
    assert (refused.status, refused.body["issue"][0]["code"]) == (412, "conflict")


async def test_the_order_of_entries_says_nothing(world: World) -> None:
    """The same entries in any order are the same plan."""
    made = plan_id(await send(world, posted()))
    read = (await world.team.ask("GET", f"/v1/plans/{made}")).body
    version = (await world.team.ask("GET", f"/v1/plans/{made}")).headers["ETag"]
    for seed in range(4):
        random.Random(seed).shuffle(read["entry"])
        assert plan_id(await send(world, read)) == made
        assert (await world.team.ask("GET", f"/v1/plans/{made}")).headers["ETag"] == version


async def test_it_goes_out_by_the_residents_choices(world: World) -> None:
    """A plan that came in as FHIR is decided, redacted and delivered like any other."""
    answered = await send(world, posted())
    made = plan_id(answered)
    locations = [each["response"].get("location", "") for each in answered.body["entry"]]
    marloes, finn = [place.partition("/")[2] for place in locations if place.startswith("Patient/")][:2]
    await world.choose(marloes, MARLOES_CHOICES)
    await world.choose(finn, FINN_CHOICES)
    await world.rest(made)
    received = [json.loads(each.body) for each in world.receivers["provider-a"].arrivals]
    kompas = [each for each in received if each.get("planId") == made][-1]
    assert {goal["leefgebied"] for goal in kompas["doelen"]} == {"financien", "wonen"}
    assert "zorgen" not in kompas


async def test_a_key_makes_it_once(world: World) -> None:
    """The same transaction under one Idempotency-Key makes one plan, though its resources have new ids each time."""
    bundle, key = posted(), {"Idempotency-Key": uuid.uuid4().hex}
    del plan_of(bundle)["identifier"]
    first, second = await send(world, bundle, **key), await send(world, bundle, **key)
    assert plan_id(first) == plan_id(second)
    assert (await send(world, posted(), **key)).status == 409


async def test_a_key_lets_a_view_come_back_twice(world: World) -> None:
    """What was kept under the key is answered again, and is not held against the version that it made itself."""
    made, key = plan_id(await send(world, posted())), {"Idempotency-Key": uuid.uuid4().hex}
    read = (await world.team.ask("GET", f"/v1/plans/{made}")).body
    of_type(read, "Goal")[0]["description"]["text"] = "Iets anders."
    first, again = await send(world, read, **key), await send(world, read, **key)
    assert (plan_id(first), first.body) == (made, again.body)


async def test_remarks_and_loss_stand_with_their_entry(world: World) -> None:
    """What the plan does not carry is named as FHIRPath; a remark of quality is a warning."""
    bundle = posted()
    goal = of_type(bundle, "Goal")[0]
    goal["note"] = [{"text": "nergens plaats voor"}]
    del goal["expressedBy"]
    position = next(number for number, each in enumerate(bundle["entry"]) if each["resource"] is goal)
    answered = await send(world, bundle)
    plan_id(answered)
    told = answered.body["entry"][position]["response"]["outcome"]["issue"]
    lost = [each for each in told if each["code"] == "not-supported"]
    assert [each["expression"] for each in lost] == [[f"Bundle.entry[{position}].resource.note[0].text"]]
    assert "nergens plaats voor" not in json.dumps(answered.body)


def without_entries(bundle: Bundle) -> None:
    bundle["entry"] = []


def too_many(bundle: Bundle) -> None:
    bundle["entry"] = [{}] * (MAX_ENTRIES + 1)


def request(**changed: Any) -> Callable[[Bundle], None]:
    """Return an edit of the second entry's request."""
    return lambda bundle: bundle["entry"][1]["request"].update(changed)


def collection(bundle: Bundle) -> None:
    bundle["type"] = "collection"


def another_plan(bundle: Bundle) -> None:
    bundle["entry"].append(json.loads(json.dumps(bundle["entry"][0])) | {"fullUrl": f"urn:uuid:{uuid.uuid4()}"})


def no_plan(bundle: Bundle) -> None:
    bundle["entry"].pop(0)


def wrong_bsn(bundle: Bundle) -> None:
    of_type(bundle, "Patient")[0]["identifier"] = [
        {"system": "http://fhir.nl/fhir/NamingSystem/bsn", "value": "999900007"}
    ]


def lost_goal(bundle: Bundle) -> None:
    task = next(task for task in of_type(bundle, "Task") if "focus" in task)
    task["focus"]["reference"] = "Goal/nergens"


def medication(bundle: Bundle) -> None:
    bundle["entry"][1]["resource"] = {"resourceType": "Medication"}


def one_id_for_two(bundle: Bundle) -> None:
    for kind in ("Goal", "Task"):
        of_type(bundle, kind)[0]["id"] = "dezelfde"


def an_unknown_plan(bundle: Bundle) -> None:
    plan_of(bundle)["id"] = "nergens"
    bundle["entry"][0]["request"] = {"method": "PUT", "url": "CarePlan/nergens"}


def a_status_that_is_none(bundle: Bundle) -> None:
    plan_of(bundle)["status"] = "bogus"


def a_script(bundle: Bundle) -> None:
    xhtml = '<div xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script></div>'
    plan_of(bundle)["text"] = {"status": "generated", "div": xhtml}


def a_goal_as_author(bundle: Bundle) -> None:
    plan_of(bundle)["author"] = {"reference": "Goal/x"}


def a_null(bundle: Bundle) -> None:
    plan_of(bundle)["note"] = None


WRONG = [
    pytest.param(a_status_that_is_none, "Bundle.entry[0].resource.status", id="a status that does not exist"),
    pytest.param(a_script, "Bundle.entry[0].resource.text.div", id="a script in the narrative"),
    pytest.param(a_goal_as_author, "Bundle.entry[0].resource.author.reference", id="a reference to another type"),
    pytest.param(a_null, "Bundle.entry[0].resource.note", id="a null"),
    pytest.param(collection, None, id="a collection"),
    pytest.param(without_entries, "Bundle.entry", id="no entries"),
    pytest.param(too_many, "Bundle.entry", id="too many entries"),
    pytest.param(request(method="DELETE"), "Bundle.entry[1].request.method", id="DELETE"),
    pytest.param(request(method=["PUT"]), "Bundle.entry[1].request.method", id="a method that is a list"),
    pytest.param(request(url="Patient/../x"), "Bundle.entry[1].request.url", id="a path"),
    pytest.param(request(ifMatch='W/"1"'), "Bundle.entry[1].request.ifMatch", id="a condition"),
    pytest.param(another_plan, None, id="two plans"),
    pytest.param(no_plan, "Bundle.entry[0].resource", id="no plan, nor parts of one"),
    pytest.param(wrong_bsn, None, id="a BSN that fails its test"),
    pytest.param(lost_goal, None, id="a reference to nothing"),
    pytest.param(medication, "Bundle.entry[1].resource", id="a type that is no part of a plan"),
    pytest.param(one_id_for_two, None, id="one id for two types"),
    pytest.param(an_unknown_plan, "Bundle.entry[0].resource.id", id="PUT of an unknown plan"),
]


@pytest.mark.parametrize(("edit", "expression"), WRONG)
async def test_what_is_wrong_is_refused_whole(
    world: World, edit: Callable[[Bundle], None], expression: str | None
) -> None:
    """422 with an OperationOutcome that says where and what to do; nothing is kept, and no value is repeated."""
    bundle = posted()
    edit(bundle)
    before = await world.gateway.store.read(count_plans)
    refused = await send(world, bundle)
    assert (refused.status, refused.body["resourceType"]) == (422, "OperationOutcome")
    told = refused.body["issue"]
    assert all(each["severity"] == "error" and each["details"]["text"] for each in told)
    if expression:
        assert [expression] in [each.get("expression") for each in told]
    assert "999900007" not in json.dumps(told)
    assert await world.gateway.store.read(count_plans) == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"geen json", 400),
        (b'{"resourceType":"Bundle","resourceType":"Bundle"}', 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"resourceType":"Bundle","type":"transaction","entry":{}}', 422),
        (b'{"resourceType":"Bundle","type":"transaction","entry":[null,1,[]]}', 422),
        (b"[" * 5_000, 422),
    ],
)
async def test_what_is_no_transaction_is_told_so(world: World, body: bytes, status: int) -> None:
    """Whatever the body is, the answer is an OperationOutcome."""
    refused = await send(world, body)
    assert (refused.status, refused.body["resourceType"]) == (status, "OperationOutcome")


async def test_another_media_type_is_refused(world: World) -> None:
    """415; a charset beside ours is fine, and so is plain JSON, with the base's slash or without."""
    body = json.dumps(posted()).encode()
    refused = await world.team.ask("POST", "/fhir", body=body, headers={"Content-Type": "application/xml"})
    assert (refused.status, refused.body["issue"][0]["code"]) == (415, "not-supported")
    for media in ("application/json", "application/fhir+json; charset=utf-8"):
        assert (await world.team.ask("POST", "/fhir/", body=body, headers={"Content-Type": media})).status == 200


def with_scope(known: Known, scope: str) -> Known:
    """Return the demo's contacts with a smaller scope for the team."""
    return structs.replace(known, clients=known.clients | {"team": known.clients["team"] | {"scope": scope}})


async def test_each_type_needs_its_scope(world: World) -> None:
    """403 names the first scope that is lacking; without a token it is 401."""
    asked = "system/CarePlan.cu system/Patient.u system/Goal.cu"
    token = await fetch_token(world.session, with_scope(world.known, asked), "team")
    few = GatewayClient(world.session, world.gateway.public_url, token)
    refused = await few.ask("POST", "/fhir", json_body=posted(), headers=FHIR)
    assert (refused.status, refused.body["issue"][0]["code"]) == (403, "forbidden")
    assert "system/CareTeam.c" in refused.body["issue"][0]["details"]["text"]
    assert (await send(world, posted(), client="provider-a")).status == 403
    url = f"{world.gateway.public_url}/fhir"
    async with world.session.post(url, data=b"{}", headers=FHIR) as anonymous:
        assert (anonymous.status, (await anonymous.json())["issue"][0]["code"]) == (401, "login")


async def test_metadata_says_what_is_offered(world: World) -> None:
    """A CapabilityStatement that the FHIR models take, for anybody, and that our own edge finds nothing wrong with."""
    async with world.session.get(f"{world.gateway.public_url}/fhir/metadata") as answered:
        told = await answered.json()
    get_fhir_model_class("CapabilityStatement").model_validate(told)
    assert told["fhirVersion"] == "4.0.1"
    assert told["rest"][0]["interaction"] == [{"code": "transaction"}, {"code": "batch"}]
    assert {each["type"]: [one["code"] for one in each["interaction"]] for each in told["rest"][0]["resource"]} == {
        name: list(offered) for name, offered in INTERACTIONS.items()
    }


@pytest.mark.parametrize(
    ("pointer", "expression"),
    [
        ("", "Bundle"),
        ("/entry/3/resource/status", "Bundle.entry[3].resource.status"),
        ("/entry/0/resource/_given/1", "Bundle.entry[0].resource._given[1]"),
        ("/entry/0/a b/c", "Bundle.entry[0]"),
        ("/a~1b", "Bundle"),
    ],
)
async def test_a_pointer_as_fhirpath(pointer: str, expression: str) -> None:
    """Names and positions only."""
    assert expression_of(pointer, "Bundle") == expression
