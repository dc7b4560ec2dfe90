"""What the HTTP interface takes, what it refuses and how it says so, and who sees what: the shapes of INTERFACE.md."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import func, select
from world import World, example, open_world

from consent.choice import Choice
from gateway.app import ROUTES
from gateway.callers import new_key, public_jwks, write_private_key
from gateway.client import Answered, GatewayClient, fetch_token
from gateway.directory import Client, Entry
from gateway.seal import sha256_hex
from gateway.store import tables
from mappings.identifiers import Bsn, IdentifierError

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = "Zilverkanarie"


def passes(number: int) -> bool:
    """Say whether a number passes the 11-test."""
    try:
        Bsn(str(number))
    except IdentifierError:
        return False
    return True


OUTSIDE = str(next(number for number in range(999_900_005, 0, -1) if passes(number)))
"""The last number before the test range that passes the 11-test: made here, so that none stands in this repository."""

LIMIT = 60_000
COUNTED = (
    tables.plan,
    tables.plan_version,
    tables.plan_resident,
    tables.delivery,
    tables.resident_identifier,
    tables.choices,
    tables.idempotency,
    tables.organisation,
    tables.wakeup,
)

Document = dict[str, Any]
Edit = Callable[[Document], object]

PLANS = "/v1/plans?format=plan-van-aanpak"
CHOICES = "/v1/residents/{marloes}/choices"

CHOICE: Document = {
    "recipient": {"type": "organisation", "organisation": "kompas"},
    "parts": [{"domains": ["finances"]}],
    "effect": "permit",
    "givenBy": {"capacity": "resident", "person": "marloes"},
    "evidence": "formulier 12",
}


class Home:
    """One world for the whole file, with the family's plan delivered."""

    def __init__(self, world: World, plan_id: str, residents: dict[str, str]) -> None:
        self.world = world
        self.plan_id = plan_id
        self.residents = residents
        self.marloes = residents["marloes"]

    def at(self, path: str) -> str:
        """Fill in the ids of a path."""
        return path.format(plan=self.plan_id, **self.residents)

    async def counts(self) -> dict[str, int]:
        """Return how many rows each table has."""

        def count(tx: Any) -> dict[str, int]:
            return {table.name: tx.execute(select(func.count()).select_from(table)).scalar_one() for table in COUNTED}

        return await self.world.gateway.store.read(count)

    async def receipts(self) -> int:
        """Return how many receipts the family's plan has."""
        return len((await self.world.team.want("GET", self.at("/v1/receipts?planId={plan}&limit=200")))["items"])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """Open the world, and rest."""
    async with open_world(tmp_path_factory.mktemp("api"), max_body_bytes=LIMIT) as world:
        plan_id, residents = await world.family()
        yield Home(world, plan_id, residents)


def numbered(edit: Edit | None = None, number: str | None = None) -> Document:
    """Return the example under a plan number of its own, edited."""

    def both(document: Document) -> None:
        document["planNummer"] = number or uuid.uuid4().hex
        if edit:
            edit(document)

    return example(edit=both)


def body_of(edit: Edit) -> bytes:
    """Return an edited example as bytes."""
    return json.dumps(numbered(edit)).encode()


def choice_of(**changed: Any) -> bytes:
    """Return a choice in which something is changed, or left out when it is None."""
    made = {name: value for name, value in {**CHOICE, **changed}.items() if value is not None}
    return json.dumps(made).encode()


def set_of(*choices: bytes) -> bytes:
    """Return a body for PUT …/choices."""
    return json.dumps({"choices": [json.loads(choice) for choice in choices]}).encode()


def fault(
    sentence: str,
    asked: str,
    status: int,
    code: str,
    *pointers: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Any:
    """Return a row: what is asked, and how it is refused. `asked` is method and path."""
    method, path = asked.split(" ", 1)
    return pytest.param(method, path, body, headers or {}, status, code, pointers, id=sentence)


def is_about(name: str, value: Any) -> Edit:
    """Return an edit of the first resident."""
    return lambda document: document["bewoners"][0].update({name: value})


def both_bsns(value: str) -> Edit:
    """Return an edit of one BSN, with a canary in the name beside it."""
    return lambda document: document["bewoners"][0].update(bsn=value, voornaam=CANARY)


OWN_TYPE = {"Content-Type": "application/vnd.planbrug.plan-van-aanpak+json"}
STALE = {"If-Match": 'W/"0"'}

FAULTS = [
    fault("an unknown format", "POST /v1/plans?format=Zilverkanarie", 415, "format", "/format", body=b"{}"),
    fault("no format", "POST /v1/plans", 415, "format", "/format", body=b"{}"),
    fault("an unknown format as media type", "POST /v1/plans", 415, "format", "/format", body=b"{}",
          headers={"Content-Type": "application/vnd.planbrug.zilver+json"}),
    fault("a wrong media type", f"POST {PLANS}", 415, "media-type", "", body=b"<a/>",
          headers={"Content-Type": "text/xml"}),
    fault("no JSON", f"POST {PLANS}", 400, "json", "", body=b'{"Zilverkanarie": '),
    fault("nothing", f"POST {PLANS}", 400, "json", "", body=b""),
    fault("no UTF-8", f"POST {PLANS}", 400, "json", "", body=b'{"Zilverkanarie": "\xff"}'),
    fault("NaN", f"POST {PLANS}", 400, "json", "", body=b'{"planNummer": NaN}'),
    fault("infinity", f"POST {PLANS}", 400, "json", "", body=b'{"planNummer": 1e999}'),
    fault("a key twice", f"POST {PLANS}", 400, "json", "/status", body=b'{"status": "a", "status": "Zilverkanarie"}'),
    fault("too deep", f"POST {PLANS}", 422, "document", "", body=b"[" * 100 + b"]" * 100),
    fault("far too deep", f"POST {PLANS}", 422, "document", "", body=b"[" * 25_000 + b"]" * 25_000),
    fault("a receipt that is no hash", "POST /v1/deliveries/{marloes}/receipts", 422, "document", "/sha256",
          body=b'{"sha256": "Zilverkanarie"}'),
    fault("a list", f"POST {PLANS}", 422, "document", "", body=b"[]"),
    fault("a NUL", f"POST {PLANS}", 422, "document", "/bewoners/0/voornaam",
          body=body_of(is_about("voornaam", CANARY + "\x00"))),
    fault("a BSN that fails the 11-test", f"POST {PLANS}", 422, "document", "/bewoners/0/bsn",
          body=body_of(both_bsns("999900007"))),
    fault("a BSN of letters", f"POST {PLANS}", 422, "document", "/bewoners/0/bsn", body=body_of(both_bsns(CANARY))),
    fault("a BSN outside the test range", f"POST {PLANS}", 422, "document", "/bewoners/0/bsn",
          body=body_of(both_bsns(OUTSIDE))),
    fault("a day that does not exist", f"POST {PLANS}", 422, "document", "/bewoners/0/geboortedatum",
          body=body_of(is_about("geboortedatum", "2026-02-30"))),
    fault("a date in another order", f"POST {PLANS}", 422, "document", "/begindatum",
          body=body_of(lambda document: document.update(begindatum="01-09-2026"))),
    fault("a name that is a number", f"POST {PLANS}", 422, "document", "/bewoners/0/voornaam",
          body=body_of(is_about("voornaam", 999900006))),
    fault("an unknown status", f"POST {PLANS}", 422, "document", "/status",
          body=body_of(lambda document: document.update(status=CANARY))),
    fault("an action without an owner", f"POST {PLANS}", 422, "document", "/acties/0",
          body=body_of(lambda document: document["acties"][0].pop("wie"))),
    fault("an action for a goal that is not there", f"POST {PLANS}", 422, "document", "/acties/0/doelen/0",
          body=body_of(lambda document: document["acties"][0].update(doelen=[99]))),
    fault("a planId of nobody", f"POST {PLANS}", 422, "document", "/planId",
          body=body_of(lambda document: document.update(planId=str(uuid.uuid4())))),
    fault("an empty idempotency key", f"POST {PLANS}", 400, "parameter", "/Idempotency-Key",
          body=body_of(lambda _: None), headers={"Idempotency-Key": ""}),
    fault("a long idempotency key", f"POST {PLANS}", 400, "parameter", "/Idempotency-Key",
          body=body_of(lambda _: None), headers={"Idempotency-Key": "x" * 256}),
    fault("an unknown parameter", f"POST {PLANS}&Zilver=1", 400, "parameter", "/Zilver", body=b"{}"),
    fault("a parameter that a read does not know", "GET /v1/plans/{plan}?versie=1", 400, "parameter", "/versie"),
    fault("an unknown format to read", "GET /v1/plans/{plan}?format=zilver", 406, "not-acceptable", "/format"),
    fault("a limit of 0", "GET /v1/deliveries?limit=0", 400, "parameter", "/limit"),
    fault("a negative limit", "GET /v1/receipts?limit=-1", 400, "parameter", "/limit"),
    fault("a limit of letters", "GET /v1/deliveries?limit=Zilverkanarie", 400, "parameter", "/limit"),
    fault("an unknown state", "GET /v1/deliveries?state=Zilverkanarie", 400, "parameter", "/state"),
    fault("an unknown purpose", "GET /v1/residents/{marloes}/views/kompas?planId={plan}&purpose=Zilver", 400,
          "parameter", "/purpose"),
    fault("a view for nobody", "GET /v1/residents/{marloes}/views/nergens?planId={plan}", 404, "not-found"),
    fault("a view of another plan", "GET /v1/residents/{marloes}/views/kompas?planId=nergens", 404, "not-found"),
    fault("an id like SQL", "GET /v1/plans/1'%20OR%20'1'='1", 404, "not-found"),
    fault("an id like SQL that ends it", "GET /v1/deliveries/x';DROP%20TABLE%20plan;--", 404, "not-found"),
    fault("an id like a path", "GET /v1/plans/..%2F..%2Fetc%2Fpasswd", 404, "not-found"),
    fault("an id with a NUL", "GET /v1/residents/a%00b/choices", 404, "not-found"),
    fault("a long id", f"GET /v1/plans/{'x' * 3000}", 404, "not-found"),
    fault("an unknown path", "GET /v1/Zilverkanarie", 404, "not-found"),
    fault("an unknown face", "GET /Zilverkanarie", 404, "not-found"),
    fault("a wrong method", "DELETE /v1/plans/{plan}", 405, "method"),
    fault("a choice for an unknown organisation", f"POST {CHOICES}", 422, "document",
          "/choices/3/recipient/organisation",
          body=choice_of(recipient={"type": "organisation", "organisation": CANARY})),
    fault("a set with an unknown organisation", f"PUT {CHOICES}", 422, "document",
          "/choices/1/recipient/organisation", headers={"If-Match": "current"},
          body=set_of(choice_of(), choice_of(recipient={"type": "organisation", "organisation": CANARY}))),
    fault("a choice without evidence", f"PUT {CHOICES}", 422, "document", "/choices/0/evidence",
          headers={"If-Match": "current"}, body=set_of(choice_of(evidence=None))),
    fault("a choice with blank evidence", f"PUT {CHOICES}", 422, "document", "/choices/0/evidence",
          headers={"If-Match": "current"}, body=set_of(choice_of(evidence="  "))),
    fault("a choice without a giver", f"POST {CHOICES}", 422, "document", "", body=choice_of(givenBy=None)),
    fault("a choice by a blank giver", f"PUT {CHOICES}", 422, "document", "/choices/0/givenBy/person",
          headers={"If-Match": "current"},
          body=set_of(choice_of(givenBy={"capacity": "resident", "person": " "}))),
    fault("a representative without a mandate", f"PUT {CHOICES}", 422, "document", "/choices/0/givenBy/mandate",
          headers={"If-Match": "current"},
          body=set_of(choice_of(givenBy={"capacity": "representative", "person": CANARY}))),
    fault("a period that ends before it begins", f"PUT {CHOICES}", 422, "document", "/choices/0/until",
          headers={"If-Match": "current"},
          body=set_of(choice_of(**{"from": "2026-10-02", "until": "2026-10-01"}))),
    fault("a choice until a day that does not exist", f"POST {CHOICES}", 422, "document", "/until",
          body=choice_of(until="2026-02-30")),
    fault("a choice of an unknown kind of part", f"POST {CHOICES}", 422, "document", "/parts/0/kinds/0",
          body=choice_of(parts=[{"kinds": [CANARY]}])),
    fault("a choice of another type", f"POST {CHOICES}", 422, "document", "/effect", body=choice_of(effect=1)),
    fault("a choice with an unknown field", f"POST {CHOICES}", 422, "document", "", body=choice_of(toelichting=CANARY)),
    fault("a choice with an id of its own", f"PUT {CHOICES}", 422, "document", "/choices/0/id",
          headers={"If-Match": "current"}, body=set_of(choice_of(id="zelfbedacht"))),
    fault("a choice that is no JSON", f"POST {CHOICES}", 400, "json", body=b'{"evidence": "Zilverkanarie'),
    fault("choices as text", f"POST {CHOICES}", 415, "media-type", "", body=b"{}",
          headers={"Content-Type": "text/plain"}),
    fault("choices without If-Match", f"PUT {CHOICES}", 428, "precondition", body=set_of(choice_of())),
    fault("choices with a stale If-Match", f"PUT {CHOICES}", 412, "stale", body=set_of(), headers=STALE),
    fault("choices with a strange If-Match", f"PUT {CHOICES}", 412, "stale", body=set_of(),
          headers={"If-Match": "Zilverkanarie"}),
    fault("choices with If-Match: *", f"PUT {CHOICES}", 412, "stale", body=set_of(), headers={"If-Match": "*"}),
    fault("choices of nobody", "GET /v1/residents/nergens/choices", 404, "not-found"),
    fault("a withdrawal of no choice", f"DELETE {CHOICES}/nergens", 404, "not-found"),
    fault("a question with a bad BSN", "POST /v1/resident-queries", 422, "document", "/bsn", body=b'{"bsn":"123"}'),
    fault("a question about a stranger", "POST /v1/resident-queries", 404, "not-found", body=b'{"bsn":"999900420"}'),
    fault("a question without a BSN", "POST /v1/resident-queries", 422, "document", "", body=b"{}"),
]  # fmt: skip


def assert_problem(answered: Answered, status: int, code: str) -> list[str]:
    """Check that an answer is a whole problem document (RFC 9457); return its pointers."""
    problem = answered.body
    assert (answered.status, answered.headers["Content-Type"]) == (status, "application/problem+json")
    assert problem.keys() == {"type", "title", "status", "detail", "instance", "code", "errors"}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"].endswith(f"/{code}")
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"] == f"urn:uuid:{answered.headers['X-Request-Id']}"
    assert answered.headers["API-Version"] == "1.0.0"
    assert answered.headers["Cache-Control"] == "no-store"
    assert all(row.keys() == {"pointer", "code", "remedy"} and row["remedy"] for row in problem["errors"])
    return [row["pointer"] for row in problem["errors"]]


class TestRefusals:
    """Whatever is wrong is said in one shape, with the place and the remedy, and nothing of it is kept or repeated."""

    @pytest.mark.parametrize(("method", "path", "body", "headers", "status", "code", "pointers"), FAULTS)
    async def test_a_refusal_says_where_and_keeps_nothing(
        self,
        home: Home,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        status: int,
        code: str,
        pointers: tuple[str, ...],
    ) -> None:
        """The status, the code and every pointer are as the row says; no row of any table is added."""
        if headers.get("If-Match") == "current":
            version = (await home.world.team.want("GET", home.at(CHOICES)))["version"]
            headers = {"If-Match": f'W/"{version}"'}
        before = await home.counts()
        asked = home.at(path) if "{" in path else path
        answered = await home.world.team.ask(method, asked, body=body, headers=headers)
        found = assert_problem(answered, status, code)
        assert set(pointers) <= set(found)
        assert CANARY not in json.dumps(answered.body)
        assert await home.counts() == before

    async def test_a_body_over_the_limit_is_refused_and_the_server_goes_on(self, home: Home) -> None:
        """The limit holds with and without a length announced; the next request is answered."""
        before = await home.counts()
        for _ in range(3):
            answered = await home.world.send(b'{"x": "' + b"a" * LIMIT + b'"}')
            assert_problem(answered, 413, "too-large")
        assert await home.counts() == before
        assert (await home.world.send(numbered())).status == 201

    async def test_every_fault_of_a_document_is_named_at_once(self, home: Home) -> None:
        """A sender sees all places in one answer, in the order of the document."""

        def edit(document: Document) -> None:
            document["bewoners"][0]["geboortedatum"] = "2026-02-30"
            document["acties"][0].pop("wie")
            document["acties"][1]["status"] = CANARY

        pointers = assert_problem(await home.world.send(numbered(edit)), 422, "document")
        assert pointers == ["/bewoners/0/geboortedatum", "/acties/0", "/acties/1/status"]

    @pytest.mark.parametrize(
        ("path", "allow"),
        [
            ("/v1/plans", "POST"),
            ("/v1/plans/x", "GET"),
            ("/v1/deliveries", "GET"),
            ("/v1/deliveries/x/stops", "POST"),
            ("/v1/residents/x/choices", "GET,POST,PUT"),
            ("/v1/residents/x/choices/y", "DELETE"),
            ("/v1/organisations/x", "PUT"),
            ("/v1/resident-queries", "POST"),
            ("/health/live", "GET"),
            ("/oauth/token", "POST"),
        ],
    )
    async def test_a_method_that_is_not_offered_names_those_that_are(self, home: Home, path: str, allow: str) -> None:
        """405 with Allow, before anything else is judged."""
        answered = await home.world.team.ask("PATCH", path, body=b"{}")
        assert_problem(answered, 405, "method")
        assert answered.headers["Allow"] == allow

    async def test_the_fhir_face_speaks_operation_outcome(self, home: Home) -> None:
        """What is not found under /fhir is told as FHIR tells it."""
        answered = await home.world.team.ask("GET", "/fhir/Patient/x")
        assert (answered.status, answered.headers["Content-Type"]) == (404, "application/fhir+json")
        assert answered.body["resourceType"] == "OperationOutcome"
        assert answered.body["issue"][0]["code"] == "not-found"

    async def test_every_answer_forbids_caching_and_sniffing(self, home: Home) -> None:
        """Also those that anybody may ask."""
        for path in ("/health/live", "/.well-known/jwks.json", home.at("/v1/plans/{plan}"), "/v1/nergens"):
            headers = (await home.world.team.ask("GET", path)).headers
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Request-Id"]


def without(name: str) -> Edit:
    """Return an edit that leaves a property of the plan out."""
    return lambda document: document.pop(name)


class TestWhichPlanItIs:
    """A plan is known by its source and number, else by planId, else it is new."""

    async def test_the_same_number_is_the_same_plan(self, home: Home) -> None:
        """Created once, unchanged when equal to the current version, changed otherwise; back again is a change too."""
        number = uuid.uuid4().hex
        first = await home.world.send(numbered(number=number))
        again = await home.world.send(numbered(number=number))
        other = await home.world.send(numbered(lambda document: document.update(status="beeindigd"), number))
        back = await home.world.send(numbered(number=number))
        told = [(each.status, each.body["outcome"], each.body["version"]) for each in (first, again, other, back)]
        assert told == [(201, "created", 1), (200, "unchanged", 1), (200, "changed", 2), (200, "changed", 3)]
        assert len({each.body["planId"] for each in (first, again, other, back)}) == 1
        assert (again.body["deliveries"], again.body["residents"]) == ([], first.body["residents"])
        assert first.headers["Location"].endswith(f"/v1/plans/{first.body['planId']}")
        assert len(first.body["deliveries"]) == 3

    async def test_an_unknown_number_leaves_it_to_the_plan_id(self, home: Home) -> None:
        """A plan that got another number is the same plan when its id is with it, and another plan when it is not."""
        first = (await home.world.send(numbered())).body
        second = (await home.world.send(numbered(lambda document: document.update(planId=first["planId"])))).body
        assert (second["planId"], second["outcome"], second["version"]) == (first["planId"], "changed", 2)
        third = (await home.world.send(numbered())).body
        assert (third["planId"] != first["planId"], third["outcome"]) == (True, "created")

    async def test_what_finds_no_place_is_told_and_never_shared(self, home: Home) -> None:
        """A property that the format does not know is a loss, named by its place and not by what it says."""
        told = await home.world.send(numbered(is_about("bijzonder", CANARY)))
        assert (told.status, [row["pointer"] for row in told.body["loss"]]) == (201, ["/bewoners/0/bijzonder"])
        assert CANARY not in json.dumps(told.body)
        await home.world.rest(told.body["planId"])
        assert not any(CANARY.encode() in row.body for each in home.world.receivers.values() for row in each.arrivals)

    async def test_another_source_has_plans_of_its_own(self, home: Home) -> None:
        """The same number elsewhere is another plan, and a planId of another source is refused like one of nobody."""
        south = await another_team(home.world)
        number = uuid.uuid4().hex
        own = await home.world.send(numbered(number=number))
        theirs = await south.ask("POST", PLANS, json_body=numbered(number=number))
        assert (theirs.status, theirs.body["planId"] != own.body["planId"]) == (201, True)
        before = await home.counts()
        stolen = numbered(lambda document: document.update(planId=own.body["planId"]))
        assert assert_problem(await south.ask("POST", PLANS, json_body=stolen), 422, "document") == ["/planId"]
        assert await home.counts() == before
        residents = {row["reference"]: row["id"] for row in theirs.body["residents"]}
        assert residents["marloes"] == home.marloes

    async def test_a_team_reads_only_its_own_plans(self, home: Home) -> None:
        """Of another team's plan there is nothing: no plan, no delivery, no receipt, no view."""
        south = await another_team(home.world)
        assert_problem(await south.ask("GET", home.at("/v1/plans/{plan}")), 404, "not-found")
        for path in ("/v1/deliveries?planId={plan}", "/v1/receipts?planId={plan}"):
            assert (await south.want("GET", home.at(path)))["items"] == []
        (row, *_) = await home.world.deliveries(home.plan_id)
        assert_problem(await south.ask("GET", f"/v1/deliveries/{row['id']}"), 404, "not-found")
        assert_problem(await south.ask("POST", f"/v1/deliveries/{row['id']}/retries"), 404, "not-found")


async def another_team(world: World) -> GatewayClient:
    """Return the caller of another team, added to the directory once."""
    name = "team-zuid"
    path = world.data_dir / "keys" / f"{name}.jwk"
    verbs = [f"{noun}:{verb}" for noun in ("plans", "choices", "deliveries") for verb in ("read", "write")]
    scopes = (*verbs, "receipts:read")
    if name not in world.known.clients:
        key = new_key()
        write_private_key(path, key)
        client = Client(client_id=name, purpose="support", scopes=scopes, jwks=public_jwks(key))
        entry = Entry(id="wijkteam-zuid", name="Wijkteam Zuid", kind="neighbourhood-team", clients=(client,))
        await world.gateway.directory.put(entry)
        world.known.clients[name] = {"clientId": name, "keyFile": str(path), "scope": " ".join(scopes)}
    token = await fetch_token(world.session, world.known, name)
    return GatewayClient(world.session, world.gateway.public_url, token)


class TestIdempotency:
    """A key names one request: said again it is answered as before, and for another body it is refused."""

    async def test_the_same_body_gets_the_same_answer(self, home: Home) -> None:
        """Status and body are those of the first time, also after the plan changed."""
        document, key = numbered(), uuid.uuid4().hex
        first = await home.world.send(document, key=key)
        before = await home.counts()
        again = await home.world.send(document, key=key)
        assert (again.status, again.body) == (201, first.body)
        assert await home.counts() == before
        await home.world.send({**document, "status": "beeindigd"})
        later = await home.world.send(document, key=key)
        assert (later.status, later.body) == (201, first.body)

    async def test_another_body_is_a_conflict(self, home: Home) -> None:
        """Even when it means the same; and nothing is kept."""
        document, key = numbered(), uuid.uuid4().hex
        await home.world.send(document, key=key)
        before = await home.counts()
        for body in (numbered(), json.dumps(document, indent=1).encode()):
            assert_problem(await home.world.send(body, key=key), 409, "key-reused")
        assert await home.counts() == before

    async def test_a_key_belongs_to_its_client(self, home: Home) -> None:
        """Another client may use the same word."""
        south, key = await another_team(home.world), uuid.uuid4().hex
        await home.world.send(numbered(), key=key)
        theirs = await south.ask("POST", PLANS, json_body=numbered(), headers={"Idempotency-Key": key})
        assert theirs.status == 201

    async def test_a_refused_request_does_not_use_its_key(self, home: Home) -> None:
        """The corrected body goes under the same key."""
        key = uuid.uuid4().hex
        assert (await home.world.send(numbered(without("bewoners")), key=key)).status == 422
        assert (await home.world.send(numbered(), key=key)).status == 201

    @pytest.mark.parametrize("key", [None, "samen"], ids=["without a key", "with one key"])
    async def test_twenty_at_once_make_one_version(self, home: Home, key: str | None) -> None:
        """Whoever is first creates the plan; all get the same plan and version."""
        document = numbered()
        key = key and uuid.uuid4().hex
        all_told = await asyncio.gather(*(home.world.send(document, key=key) for _ in range(20)))
        assert {each.status for each in all_told} <= {200, 201}
        assert {(each.body["planId"], each.body["version"]) for each in all_told} == {(all_told[0].body["planId"], 1)}
        outcomes = [each.body["outcome"] for each in all_told]
        assert outcomes.count("created") == (1 if key is None else 20)
        assert len(await home.world.rest(all_told[0].body["planId"])) == 3


DELIVERY_KEYS = {
    "id",
    "planId",
    "planVersion",
    "recipient",
    "adapter",
    "state",
    "reason",
    "sequence",
    "attempts",
    "nextAttemptAt",
    "createdAt",
    "updatedAt",
    "receiptId",
}
RECEIPT_KEYS = {
    "id",
    "exit",
    "deliveryId",
    "recipient",
    "planId",
    "planVersion",
    "parts",
    "ground",
    "article",
    "choices",
    "sha256",
    "at",
    "refused",
    "code",
}
PART_KEYS = {"partId", "kind", "domain", "permitted", "code", "ground", "article", "choiceIds", "from", "until"}


class TestShapes:
    """The keys of every answer are those of INTERFACE.md, no more and no fewer."""

    async def test_a_plan_received(self, home: Home) -> None:
        """With findings about quality as sentences in two languages, and what was not carried."""
        told = (await home.world.send(numbered())).body
        assert told.keys() == {"planId", "version", "outcome", "residents", "deliveries", "quality", "loss"}
        assert all(row.keys() == {"id", "reference"} for row in told["residents"])
        assert all(row.keys() == {"code", "severity", "pointer", "nl", "en"} for row in told["quality"])
        assert all(row.keys() == {"pointer", "reason"} for row in told["loss"])

    async def test_choices_and_their_etag(self, home: Home) -> None:
        """GET and PUT tell the same; POST adds one and says where; DELETE withdraws it."""
        sent = await home.world.send(numbered(lambda document: document["bewoners"][0].update(bsn="999900031")))
        resident = next(row["id"] for row in sent.body["residents"] if row["reference"] == "marloes")
        place = f"/v1/residents/{resident}/choices"
        empty = await home.world.team.ask("GET", place)
        assert (empty.body, empty.headers["ETag"]) == ({"version": 0, "choices": []}, 'W/"0"')
        put = await home.world.team.ask("PUT", place, json_body={"choices": [CHOICE]}, headers={"If-Match": 'W/"0"'})
        assert (put.status, put.headers["ETag"]) == (200, 'W/"1"')
        assert (await home.world.team.ask("GET", place)).body == put.body
        (kept,) = put.body["choices"]
        assert kept.items() >= CHOICE.items()
        assert kept["recordedBy"] == "wijkteam-noord-team"
        assert kept.keys() <= {field.encode_name for field in msgspec.structs.fields(Choice)}
        added = await home.world.team.ask("POST", place, json_body={**CHOICE, "evidence": "formulier 13"})
        assert (added.status, added.headers["ETag"]) == (201, 'W/"2"')
        assert added.headers["Location"].endswith(f"{place}/{added.body['id']}")
        gone = await home.world.team.ask("DELETE", f"{place}/{added.body['id']}")
        assert (gone.status, gone.headers["ETag"], gone.body) == (204, 'W/"3"', b"")
        now = (await home.world.team.want("GET", place))["choices"]
        assert now == [kept]

    async def test_twenty_choices_added_at_once_are_all_kept(self, home: Home) -> None:
        """Each gets an id, none is lost, and the version counts them; who was never first is asked to repeat."""
        sent = await home.world.send(numbered(lambda document: document["bewoners"][0].update(bsn="999900043")))
        resident = next(row["id"] for row in sent.body["residents"] if row["reference"] == "marloes")
        place = f"/v1/residents/{resident}/choices"

        async def add(number: int) -> int:
            told = await home.world.team.ask("POST", place, json_body={**CHOICE, "evidence": f"formulier {number}"})
            assert told.status in {201, 409}
            return told.status

        made = (await asyncio.gather(*(add(number) for number in range(20)))).count(201)
        kept = await home.world.team.want("GET", place)
        assert (len({choice["id"] for choice in kept["choices"]}), kept["version"]) == (made, made)
        assert made >= 8

    async def test_deliveries_and_receipts(self, home: Home) -> None:
        """One by one as in the list, page by page as at once."""
        rows = await home.world.deliveries(home.plan_id)
        assert all(row.keys() == DELIVERY_KEYS for row in rows)
        for row in rows:
            assert await home.world.team.want("GET", f"/v1/deliveries/{row['id']}") == row
        receipts = (await home.world.team.want("GET", home.at("/v1/receipts?planId={plan}&limit=200")))["items"]
        assert all(row.keys() == RECEIPT_KEYS for row in receipts)
        parts = [part for row in receipts for part in row["parts"]]
        assert parts
        assert all(
            part.keys() == {"partId", "kind", "domain", "ground", "article", "choiceIds"} and part["ground"]
            for part in parts
        )
        assert all(choice.keys() == {"id", "version"} for row in receipts for choice in row["choices"])

    @pytest.mark.parametrize("path", ["/v1/deliveries?planId={plan}", "/v1/receipts?planId={plan}"])
    async def test_pages_join_to_the_whole(self, home: Home, path: str) -> None:
        """Each page ends with the cursor of the next, the last with null."""
        whole = await home.world.team.want("GET", home.at(path) + "&limit=200")
        assert whole["next"] is None
        found: list[Document] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await home.world.team.want("GET", home.at(path) + f"&limit=2&cursor={cursor}")
            assert len(page["items"]) <= 2
            found, cursor = found + page["items"], page["next"]
        assert found == whole["items"]

    async def test_filters_of_deliveries_narrow(self, home: Home) -> None:
        """By recipient and by state; together they hold together."""
        path = home.at("/v1/deliveries?planId={plan}&limit=200")
        rows = (await home.world.team.want("GET", path))["items"]
        some = (await home.world.team.want("GET", f"{path}&recipient=kompas&state=acknowledged"))["items"]
        assert some == [row for row in rows if (row["recipient"], row["state"]) == ("kompas", "acknowledged")]
        assert some
        assert (await home.world.team.want("GET", f"{path}&state=recalled"))["items"] == []

    async def test_a_view_explains_every_part(self, home: Home) -> None:
        """Per part whether, why, on which ground and how the resident is told."""
        view = await home.world.team.want("GET", home.at("/v1/residents/{marloes}/views/kompas?planId={plan}"))
        assert view.keys() == {"planId", "version", "sha256", "parts"}
        assert all(part.keys() == PART_KEYS | {"nl", "en"} for part in view["parts"])
        assert {part["permitted"] for part in view["parts"]} == {True, False}
        for part in view["parts"]:
            assert part["nl"]
            assert part["en"]
            assert (part["ground"] is not None) == part["permitted"]
            assert bool(part["choiceIds"]) == (part["code"] in {"consent", "objection"})

    async def test_a_resident_is_found_by_bsn_in_the_body(self, home: Home) -> None:
        """And only by whom has a plan with them."""
        found = await home.world.team.ask("POST", "/v1/resident-queries", json_body={"bsn": "999900006"})
        assert (found.status, found.body) == (200, {"id": home.marloes})

    async def test_an_organisation_is_added_and_changed(self, home: Home) -> None:
        """201 the first time, 200 after; the shape goes in and out."""
        entry = {
            "id": "buurthuis",
            "name": "Buurthuis De Pop",
            "kind": "volunteers",
            "identifiers": [],
            "clients": [],
            "endpoints": [{"adapter": "webhook", "url": "https://pop.example/in", "format": "fhir"}],
        }
        admin = home.world.clients["admin"]
        first = await admin.ask("PUT", "/v1/organisations/buurthuis", json_body=entry)
        assert (first.status, first.body.keys() >= {"id", "name", "kind", "endpoints"}) == (201, True)
        second = await admin.ask("PUT", "/v1/organisations/buurthuis", json_body=first.body)
        assert (second.status, second.body) == (200, first.body)

    @pytest.mark.parametrize(
        ("changed", "pointer"),
        [
            pytest.param({"id": "anders"}, "/id", id="another id than the address"),
            pytest.param({"kind": CANARY}, "/kind", id="an unknown kind"),
            pytest.param(
                {"endpoints": [{"adapter": "webhook", "url": "ftp://Zilverkanarie"}]},
                "/endpoints/0/url",
                id="an address that is not http",
            ),
            pytest.param(
                {"endpoints": [{"adapter": "fhir", "url": "https://x.example", "format": "anders"}]},
                "/endpoints/0/format",
                id="a FHIR server with another format",
            ),
            pytest.param(
                {"identifiers": [{"system": "urn:nld:oin", "value": CANARY}]}, "/identifiers/0/value", id="a bad OIN"
            ),
            pytest.param(
                {"identifiers": [{"system": "urn:nld:oin", "value": "00000099000000001000"}]},
                "/identifiers/0/value",
                id="the OIN of another",
            ),
            pytest.param(
                {"clients": [{"clientId": "c", "purpose": "support", "scopes": [CANARY], "jwks": {"keys": []}}]},
                "/clients/0/scopes",
                id="an unknown scope",
            ),
            pytest.param(
                {"clients": [{"clientId": "c", "purpose": "support", "scopes": []}]},
                "/clients/0/jwks",
                id="a client without keys",
            ),
            pytest.param(
                {
                    "clients": [
                        {
                            "clientId": "c",
                            "purpose": "support",
                            "scopes": [],
                            "jwks": {"keys": [{"kty": "EC", "d": CANARY}]},
                        }
                    ]
                },
                "/clients/0/jwks",
                id="a private key",
            ),
            pytest.param(
                {
                    "clients": [
                        {"clientId": "kompas-provider-a", "purpose": "support", "scopes": [], "jwks": {"keys": []}}
                    ]
                },
                "/clients/0/clientId",
                id="the client of another",
            ),
        ],
    )
    async def test_an_organisation_that_is_not_right_is_refused(
        self, home: Home, changed: Document, pointer: str
    ) -> None:
        """With the place, without the value, and the directory stays as it was."""
        before = await home.counts()
        entry = {"id": "school", "name": "School", "kind": "school", **changed}
        told = await home.world.clients["admin"].ask("PUT", "/v1/organisations/school", json_body=entry)
        assert assert_problem(told, 422, "document") == [pointer]
        assert CANARY not in json.dumps(told.body)
        assert await home.counts() == before


class TestViews:
    """What a view shows is what goes."""

    async def test_a_view_is_the_next_delivery_byte_for_byte(self, tmp_path: Path) -> None:
        """Asked before, and asked after, it has the bytes and the hash of the delivery."""
        async with open_world(tmp_path) as world:
            sent = (await world.send(example())).body
            await world.rest(sent["planId"])
            marloes = next(row["id"] for row in sent["residents"] if row["reference"] == "marloes")
            doctor = Entry(id="huisarts", name="Huisarts", kind="gp")
            await world.gateway.directory.put(doctor)
            choice = {**CHOICE, "recipient": {"type": "organisation", "organisation": "huisarts"}}
            assert (await world.choose(marloes, [choice])).status == 200
            place = f"/v1/residents/{marloes}/views/huisarts?planId={sent['planId']}"
            as_fhir = {"Accept": "application/fhir+json"}
            before = await raw_get(world, place, as_fhir)
            explained = await world.team.want("GET", place)
            kompas = (await world.gateway.directory.now()).entries["kompas"].endpoints[0]
            endpoint = msgspec.structs.replace(
                kompas, url=kompas.url.replace("/provider-a/webhook", "/admin/webhook"), format="fhir"
            )
            await world.gateway.directory.put(msgspec.structs.replace(doctor, endpoints=(endpoint,)))
            await world.gateway.choosing.replan(marloes)
            await world.rest(sent["planId"])
            assert world.receivers["admin"].last.body == before
            assert explained["sha256"] == sha256_hex(before) == world.receivers["admin"].last.headers["Planbrug-Sha256"]
            assert await raw_get(world, place, as_fhir) == before

    async def test_a_view_of_nothing_has_no_body(self, home: Home) -> None:
        """As FHIR there is nothing; as JSON every part is refused with its reason."""
        await home.world.gateway.directory.put(Entry(id="leeg", name="Leeg", kind="school"))
        place = home.at("/v1/residents/{marloes}/views/leeg?planId={plan}")
        told = await home.world.team.ask("GET", place, headers={"Accept": "application/fhir+json"})
        assert_problem(told, 404, "not-found")
        view = await home.world.team.want("GET", place)
        assert (view["version"], view["sha256"]) == (None, None)
        assert {part["permitted"] for part in view["parts"]} == {False}

    async def test_looking_counts_nothing(self, home: Home) -> None:
        """A view is no disclosure: no receipt, and the reader's version stays."""
        place = home.at("/v1/residents/{marloes}/views/kompas?planId={plan}")
        first, before = await home.world.team.want("GET", place), (await home.counts(), await home.receipts())
        assert await home.world.team.want("GET", place) == first
        assert (await home.counts(), await home.receipts()) == before


async def raw_get(world: World, path: str, headers: dict[str, str]) -> bytes:
    """GET as the team; return the bytes."""
    sent = {**world.team._headers, **headers}
    async with world.session.get(f"{world.gateway.public_url}{path}", headers=sent) as response:
        assert response.status == 200
        return await response.read()


class TestWhoSeesWhat:
    """A recipient sees what was sent to it, the source what it sent, the administrator all; nobody content."""

    @pytest.mark.parametrize("name", ["provider-a", "provider-b", "backoffice"])
    async def test_a_recipient_sees_its_own_that_have_a_number(self, home: Home, name: str) -> None:
        """No other recipient's, none that was withheld or unchanged, and versions of its own view only."""
        own = home.world.known.clients[name]["organisation"]
        rows = (await home.world.clients[name].want("GET", "/v1/deliveries?limit=200"))["items"]
        assert rows
        assert {row["recipient"] for row in rows} == {own}
        assert all(row["sequence"] for row in rows)
        every = (await home.world.clients["admin"].want("GET", f"/v1/deliveries?recipient={own}&limit=200"))["items"]
        assert {row["id"] for row in rows} == {row["id"] for row in every if row["sequence"]}
        for other in [row for row in await home.world.deliveries(home.plan_id) if row["recipient"] != own]:
            told = await home.world.clients[name].ask("GET", f"/v1/deliveries/{other['id']}")
            assert_problem(told, 404, "not-found")
        receipts = (await home.world.clients[name].want("GET", "/v1/receipts?limit=200"))["items"]
        assert {(row["recipient"], row["refused"]) for row in receipts} == {(own, False)}
        asked = await home.world.clients[name].want("GET", "/v1/deliveries?recipient=wijkteam-noord")
        assert asked["items"] == []

    async def test_the_administrator_sees_all_and_reads_no_plan(self, home: Home) -> None:
        """Every delivery of every recipient, without content; the plan itself is not for the administrator."""
        rows = (await home.world.clients["admin"].want("GET", home.at("/v1/deliveries?planId={plan}&limit=200")))[
            "items"
        ]
        assert rows == await home.world.deliveries(home.plan_id)
        assert {row["recipient"] for row in rows} == {"kompas", "de-linde", "backoffice"}
        told = await home.world.clients["admin"].ask("GET", home.at("/v1/plans/{plan}"))
        assert_problem(told, 403, "scope")

    async def test_the_team_reads_its_whole_plan_back(self, home: Home) -> None:
        """What it recorded itself it may read, with a version and an ETag that answers If-None-Match."""
        path = home.at("/v1/plans/{plan}?format=plan-van-aanpak")
        read = await home.world.team.ask("GET", path)
        assert read.headers["Content-Type"] == "application/vnd.planbrug.plan-van-aanpak+json"
        assert len(read.body["zorgen"]) == 3
        again = await home.world.team.ask("GET", path, headers={"If-None-Match": read.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")

    async def test_routes_and_refusals_cover_each_other(self) -> None:
        """Every route under /v1 that reads a body or a parameter has a fault above."""
        asked = {row.values[0] + " " + row.values[1].partition("?")[0] for row in FAULTS}
        writing = {route.path for route in ROUTES if route.method in {"POST", "PUT"} and route.path.startswith("/v1")}
        tried = {path.replace("{marloes}", "{id}") for path in (each.split(" ", 1)[1] for each in asked)}
        assert writing - tried == {
            "/v1/organisations/{id}",  # its own table
            "/v1/deliveries/{id}/retries",  # takes no body
            "/v1/deliveries/{id}/stops",
        }
