"""At the edges: odd documents, odd answers, odd requests and slow receivers change nothing that was promised."""

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import services
from aiohttp import web
from receivers import Answerer, receipt, status
from sqlalchemy import func, select
from world import PATIENCE_SECONDS, World, example, open_world

from adapters.outbound_http import GuardedResolver
from gateway.app import ROUTES
from gateway.callers import ASSERTION_TYPE, client_assertion, new_key
from gateway.client import Answered
from gateway.clock import Clock
from gateway.crowds import Gates
from gateway.directory import Client, Entry
from gateway.seal import sha256_hex
from gateway.store import tables

KOMPAS, LINDE = "kompas", "de-linde"
LATER = (3600.0,)
SOON = (0.05, 0.05)
BSNS = ("999900006", "999900018", "999900031")
COUNTED = (tables.plan, tables.plan_version, tables.plan_resident, tables.resident_identifier, tables.delivery)

Row = dict[str, Any]
Document = dict[str, Any]
Edit = Callable[[Document], object]


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is not empty, and return it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := await condition()):
            await asyncio.sleep(0.01)
        return found


async def of_recipient(world: World, plan_id: str, recipient: str) -> list[Row]:
    """Return the deliveries of a plan to one recipient as the team sees them, oldest first."""
    rows = [row for row in await world.deliveries(plan_id) if row["recipient"] == recipient]
    return sorted(rows, key=lambda row: str(row["id"]))


async def in_state(world: World, delivery_id: str, *states: str) -> Row:
    """Wait until a delivery is in one of these states."""

    async def there() -> Row | None:
        row = dict(await world.team.want("GET", f"/v1/deliveries/{delivery_id}"))
        return row if row["state"] in states else None

    return dict(await until(there))


async def newest_in_state(world: World, plan_id: str, recipient: str, *states: str) -> Row:
    """Wait until the newest delivery to a recipient is in one of these states."""
    return await in_state(world, (await of_recipient(world, plan_id, recipient))[-1]["id"], *states)


async def seen_by(world: World, client: str) -> list[Row]:
    """Return the deliveries that a recipient sees."""
    return list((await world.clients[client].want("GET", "/v1/deliveries?limit=200"))["items"])


async def counts(world: World) -> dict[str, int]:
    """Return how many rows the tables of plans have."""

    def count(tx: Any) -> dict[str, int]:
        return {table.name: tx.execute(select(func.count()).select_from(table)).scalar_one() for table in COUNTED}

    return await world.gateway.store.read(count)


def numbered(number: str, edit: Edit | None = None) -> Document:
    """Return the example under this plan number, edited."""

    def both(document: Document) -> None:
        document["planNummer"] = number
        if edit:
            edit(document)

    return example(edit=both)


def visible(document: Document) -> None:
    """Change what Kompas may see."""
    document["voorzieningen"][0]["wat"] = "Budgetcoaching"


def hidden(document: Document) -> None:
    """Change what Kompas may not see."""
    document["zorgen"][0]["tekst"] = "Iets heel anders."


def has_bsn(*numbers: str | None) -> Edit:
    """Return an edit that gives the residents these BSNs, or none."""

    def edit(document: Document) -> None:
        for resident, number in zip(document["bewoners"], numbers, strict=False):
            resident.pop("bsn", None)
            resident.update({"bsn": number} if number else {})

    return edit


def residents_of(sent: Answered) -> dict[str, str]:
    """Return the resident ids in an answer, by reference."""
    assert sent.status in {200, 201}, sent.body
    return {row["reference"]: row["id"] for row in sent.body["residents"]}


def permit(organisation: str = KOMPAS) -> Row:
    """Return a choice of Marloes herself."""
    return {
        "recipient": {"type": "organisation", "organisation": organisation},
        "parts": [{"domains": ["finances"]}],
        "effect": "permit",
        "givenBy": {"capacity": "resident", "person": "marloes"},
        "evidence": "gesprek aan huis",
    }


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world for every claim that needs no receiver of its own, with the family's plan delivered."""
    async with open_world(tmp_path_factory.mktemp("edges"), retry_seconds=LATER, send_timeout_seconds=10) as world:
        await world.family()
        yield world


def number_of(world: World) -> str:
    """Return a plan number that is used nowhere else."""
    return str(world.gateway.clock.new_id())


@pytest.mark.asyncio(loop_scope="module")
class TestWhoAResidentIs:
    """A BSN is one person everywhere; a reference is one person in one plan, until it gets another BSN."""

    async def test_one_reference_in_two_plans_is_two_residents(self, shared: World) -> None:
        """Without a BSN nothing says that they are one, so what one chooses is not the other's choice."""
        one, other = [residents_of(await shared.send(numbered(number_of(shared), has_bsn(None)))) for _ in range(2)]
        assert one["marloes"] != other["marloes"]
        assert one["finn"] == other["finn"]
        assert (await shared.choose(one["marloes"], [permit()])).status == 200
        chosen = [
            len((await shared.team.want("GET", f"/v1/residents/{who['marloes']}/choices"))["choices"])
            for who in (one, other)
        ]
        assert chosen == [1, 0]

    async def test_a_resident_keeps_its_id_when_its_bsn_becomes_known(self, shared: World) -> None:
        """The next version of the plan has the number; choices stay with the person, and the number finds the person."""
        number = number_of(shared)
        before = residents_of(await shared.send(numbered(number, has_bsn(None))))["marloes"]
        await shared.choose(before, [permit()])
        after = residents_of(await shared.send(numbered(number, has_bsn(BSNS[2]))))["marloes"]
        assert after == before
        assert len((await shared.team.want("GET", f"/v1/residents/{after}/choices"))["choices"]) == 1
        found = await shared.team.want("POST", "/v1/resident-queries", json_body={"bsn": BSNS[2]})
        assert found["id"] == before

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            pytest.param("999900043", "999900067", id="somebody new here"),
            pytest.param("999900055", BSNS[0], id="somebody known here"),
        ],
    )
    async def test_a_reference_with_another_bsn_is_another_resident(
        self, shared: World, first: str, second: str
    ) -> None:
        """Who reuses a reference does not hand one person's choices to another."""
        number = number_of(shared)
        nameless = residents_of(await shared.send(numbered(number, has_bsn(None))))["marloes"]
        before = residents_of(await shared.send(numbered(number, has_bsn(first))))["marloes"]
        assert before == nameless
        made = (await shared.choose(before, [permit()])).body["choices"]
        after = residents_of(await shared.send(numbered(number, has_bsn(second))))["marloes"]
        assert after != before
        theirs = (await shared.team.want("GET", f"/v1/residents/{after}/choices"))["choices"]
        assert len(made) == 1
        assert made[0]["id"] not in {choice["id"] for choice in theirs}

    async def test_one_bsn_on_two_residents_is_refused(self, shared: World) -> None:
        """The answer points at the second of them, and nothing is kept."""
        before = await counts(shared)
        refused = await shared.send(numbered(number_of(shared), has_bsn(BSNS[0], BSNS[0])))
        assert (refused.status, refused.body["code"]) == (422, "document")
        assert [row["pointer"] for row in refused.body["errors"]] == ["/bewoners/1"]
        assert BSNS[0] not in json.dumps(refused.body)
        assert await counts(shared) == before


@pytest.mark.asyncio(loop_scope="module")
class TestWhichPlanADocumentIs:
    """A plan is found by its number or by its id, and the two may not point at different plans."""

    async def test_an_id_with_the_number_of_another_plan_is_refused(self, shared: World) -> None:
        """Neither plan gets a version."""
        one, other = number_of(shared), number_of(shared)
        plan_id = (await shared.send(numbered(one))).body["planId"]
        await shared.send(numbered(other))
        before = await counts(shared)
        refused = await shared.send(numbered(other, lambda document: document.update(planId=plan_id)))
        assert (refused.status, refused.body["code"]) == (422, "document")
        assert [row["pointer"] for row in refused.body["errors"]] == ["/planId"]
        assert await counts(shared) == before

    async def test_a_plan_with_a_new_number_is_found_by_the_new_number(self, shared: World) -> None:
        """From then on the new number alone is enough."""
        old, new = number_of(shared), number_of(shared)
        plan_id = (await shared.send(numbered(old))).body["planId"]
        renumbered = await shared.send(numbered(new, lambda document: document.update(planId=plan_id)))
        assert (renumbered.status, renumbered.body["planId"]) == (200, plan_id)
        told = []
        for edit in (None, visible):
            sent = await shared.send(numbered(new, edit))
            told.append((sent.status, sent.body["planId"], sent.body["outcome"]))
        assert told == [(200, plan_id, "unchanged"), (200, plan_id, "changed")]

    async def test_a_key_that_comes_again_is_answered_as_the_first_time(self, shared: World) -> None:
        """Choices that changed meanwhile plan deliveries of their own; the answer to the old request has the old list."""
        document, key = numbered(number_of(shared)), number_of(shared)
        first = await shared.send(document, key=key)
        who = residents_of(first)["marloes"]
        await shared.rest(first.body["planId"])
        await shared.choose(who, [permit()])
        await shared.choose(who, [])
        await shared.rest(first.body["planId"])
        planned = await shared.deliveries(first.body["planId"])
        again = await shared.send(document, key=key)
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers["Location"] == first.headers["Location"]
        assert 0 < len(first.body["deliveries"]) < len(planned)
        assert [row["id"] for row in await shared.deliveries(first.body["planId"])] == [row["id"] for row in planned]


async def entries(world: World) -> dict[str, Entry]:
    """Return the directory."""
    return (await world.gateway.directory.now()).entries


def in_two_pieces(world: World) -> Answerer:
    """Give a good receipt in two pieces; between them the gateway answers a request, so it had its chance to read the first."""

    async def answer(request: web.Request, body: bytes) -> web.StreamResponse:
        good = {"deliveryId": request.headers["Planbrug-Delivery"], "sha256": sha256_hex(body)}
        text = json.dumps(good).encode()
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(text[:20])
        for _ in range(3):
            await world.team.want("GET", "/v1/formats")
        await response.write(text[20:])
        await response.write_eof()
        return response

    return answer


async def in_many_words(_request: web.Request, body: bytes) -> web.StreamResponse:
    """Answer as a FHIR server that explains at length what it stored."""
    issue = {"severity": "information", "code": "informational", "diagnostics": "Opgeslagen. " * 3000}
    outcome = {"resourceType": "OperationOutcome", "issue": [issue]}
    entry = {"response": {"status": "201 Created", "outcome": outcome}}
    told = [entry for _ in json.loads(body)["entry"]]
    text = json.dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": told})
    assert len(text) > 200_000
    return web.Response(text=text, content_type="application/fhir+json")


def raw(text: str) -> Answerer:
    """Answer 200 with this text."""

    async def answer(_request: web.Request, _body: bytes) -> web.StreamResponse:
        return web.Response(text=text, content_type="application/json")

    return answer


DEEP = "[" * 200_000


@pytest.mark.asyncio(loop_scope="module")
class TestOddAnswers:
    """Whatever a receiver answers, the delivery comes to a state that says what happened."""

    @pytest.mark.parametrize(
        ("client", "recipient", "answer", "state", "reason"),
        [
            pytest.param("provider-b", LINDE, in_many_words, "acknowledged", None, id="200 kB of OperationOutcomes"),
            pytest.param("provider-a", KOMPAS, raw(DEEP), "waiting", "no-receipt", id="depth instead of a receipt"),
            pytest.param("provider-b", LINDE, raw(DEEP), "waiting", "no-receipt", id="depth instead of a bundle"),
            pytest.param(
                "provider-a",
                KOMPAS,
                status(503, {"Retry-After": "²"}),
                "waiting",
                "receiver-failed",
                id="a Retry-After that is a digit and no number",
            ),
        ],
    )
    async def test_an_answer_has_an_outcome(
        self, shared: World, client: str, recipient: str, answer: Answerer, state: str, reason: str | None
    ) -> None:
        """A good receipt is accepted in any packing; nonsense waits for another attempt, by the schedule."""
        shared.receivers[client].answer = answer
        try:
            plan_id = (await shared.send(numbered(number_of(shared)))).body["planId"]
            row = await newest_in_state(shared, plan_id, recipient, "acknowledged", "waiting", "parked")
        finally:
            shared.receivers[client].answer = receipt
        assert (row["state"], row["reason"], row["attempts"]) == (state, reason, 1)
        if state == "waiting":
            pause = datetime.fromisoformat(row["nextAttemptAt"]) - datetime.fromisoformat(row["updatedAt"])
            assert timedelta(hours=1) <= pause <= timedelta(hours=1.25)

    async def test_a_receipt_in_two_pieces_is_a_receipt(self, shared: World) -> None:
        """What is read first is not taken for all there is."""
        shared.receivers["provider-a"].answer = in_two_pieces(shared)
        try:
            plan_id = (await shared.send(numbered(number_of(shared)))).body["planId"]
            row = await newest_in_state(shared, plan_id, KOMPAS, "acknowledged", "waiting", "parked")
        finally:
            shared.receivers["provider-a"].answer = receipt
        assert (row["state"], row["reason"], row["attempts"]) == ("acknowledged", None, 1)


class TestNumbers:
    """A number under which bytes left is used for one delivery only; a number under which nothing left is no gap."""

    async def test_a_number_that_was_seen_is_not_used_again(self, tmp_path: Path) -> None:
        """The older delivery ends with its number, which its recipient keeps seeing; the newer has the next."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            receiver = world.receivers["provider-a"]
            receiver.answers.append(status(503))
            plan_id = (await world.send(example())).body["planId"]
            older = await newest_in_state(world, plan_id, KOMPAS, "waiting")
            await world.send(example(edit=visible))
            newer = await newest_in_state(world, plan_id, KOMPAS, "acknowledged")
            ended = await in_state(world, older["id"], "superseded")
            assert (older["sequence"], ended["sequence"], newer["sequence"]) == (1, 1, 2)
            told = {row["id"]: (row["state"], row["sequence"]) for row in await seen_by(world, "provider-a")}
            assert told == {older["id"]: ("superseded", 1), newer["id"]: ("acknowledged", 2)}
            assert [(each.delivery, each.sequence) for each in receiver.arrivals] == [
                (older["id"], 1),
                (newer["id"], 2),
            ]

    async def test_what_never_left_leaves_no_gap(self, tmp_path: Path) -> None:
        """Nothing listened until a person was needed; the first that arrives is number one."""
        async with open_world(tmp_path, retry_seconds=SOON) as world:
            (closed,) = services.free_ports(1)
            kompas = (await entries(world))[KOMPAS]
            nowhere = msgspec.structs.replace(kompas.endpoints[0], url=f"http://127.0.0.1:{closed}/in")
            await world.gateway.directory.put(msgspec.structs.replace(kompas, endpoints=(nowhere,)))
            plan_id = (await world.send(example())).body["planId"]
            older = await newest_in_state(world, plan_id, KOMPAS, "parked")
            assert (older["reason"], older["receiptId"]) == ("attempts-used", None)
            await world.gateway.directory.put(kompas)
            await world.send(example(edit=visible))
            newer = await newest_in_state(world, plan_id, KOMPAS, "acknowledged")
            assert newer["sequence"] == 1
            assert [each.sequence for each in world.receivers["provider-a"].arrivals] == [1]
            listed = [(row["id"], row["sequence"]) for row in await seen_by(world, "provider-a")]
            assert listed == [(newer["id"], 1)]


MOVES = {"attempts", "updatedAt", "nextAttemptAt", "state"}
"""What a recipient may see move of a delivery that waits."""


class TestHiddenEdits:
    """While a receiver is down, an edit of what it may not see is an edit that it does not see."""

    async def test_a_hidden_edit_does_not_show_while_a_delivery_waits(self, tmp_path: Path) -> None:
        """Its list stays as it was, and what arrives is the delivery that it knew, once; the team sees the new version."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            receiver = world.receivers["provider-a"]
            receiver.answers.append(status(503))
            plan_id = (await world.send(example())).body["planId"]
            row = await newest_in_state(world, plan_id, KOMPAS, "waiting")
            before = await seen_by(world, "provider-a")
            assert (await world.send(example(edit=hidden))).body["outcome"] == "changed"

            async def settled() -> bool:
                found = await of_recipient(world, plan_id, KOMPAS)
                return len(found) > 1 and found[-1]["state"] not in {"planned", "queued", "sent"}

            await until(settled)
            assert [still(each) for each in await seen_by(world, "provider-a")] == [still(each) for each in before]
            assert [each["id"] for each in before] == [row["id"]]
            await world.team.ask("POST", f"/v1/deliveries/{row['id']}/retries")
            arrived = await in_state(world, row["id"], "acknowledged")
            assert arrived["planVersion"] == 2
            await world.rest(plan_id, {"acknowledged", "unchanged", "superseded", "withheld"})
            assert [each.delivery for each in receiver.arrivals] == [row["id"]] * 2
            assert [still(each) for each in await seen_by(world, "provider-a")] == [
                {**still(each), "reason": None, "receiptId": arrived["receiptId"]} for each in before
            ]
            assert receiver.arrivals[0].body == receiver.arrivals[1].body


def still(row: Row) -> Row:
    """Return what may not move of a delivery."""
    return {name: value for name, value in row.items() if name not in MOVES}


@pytest.mark.asyncio(loop_scope="module")
class TestNumbersOfResidents:
    """Every recipient knows a resident by a number of its own; the team by the gateway's own id."""

    async def test_no_two_organisations_have_one_id_for_a_resident(self, shared: World) -> None:
        """References, Patient ids, what is read and what receipts name agree per organisation, and differ between them."""
        sent = await shared.send(numbered(number_of(shared)))
        plan_id, marloes = sent.body["planId"], residents_of(sent)["marloes"]
        rows = {row["recipient"]: row for row in await shared.rest(plan_id)}
        assert {rows[KOMPAS]["state"], rows[LINDE]["state"]} == {"acknowledged"}
        kompas = body_of(shared, "provider-a", rows[KOMPAS]["id"])
        own = {each["ref"] for each in kompas["bewoners"]}
        linde = patients(body_of(shared, "provider-b", rows[LINDE]["id"]))
        team = patients(await shared.team.want("GET", f"/v1/plans/{plan_id}"))
        assert marloes in team
        assert team == set(residents_of(sent).values())
        assert own
        assert linde
        assert len(own | linde | team) == len(own) + len(linde) + len(team)
        read = patients(await shared.clients["provider-a"].want("GET", f"/v1/plans/{plan_id}"))
        assert read == own
        receipts = (await shared.clients["provider-a"].want("GET", f"/v1/receipts?planId={plan_id}"))["items"]
        named = {part["partId"] for row in receipts for part in row["parts"] if part["partId"].endswith(".identity")}
        assert named
        assert named <= {f"{number}.identity" for number in own}
        assert not any(who in json.dumps(receipts) for who in team)


def body_of(world: World, client: str, delivery_id: str) -> Document:
    """Return what arrived under a delivery id."""
    (found,) = (each.body for each in world.receivers[client].arrivals if each.delivery == delivery_id)
    return dict(json.loads(found))


def patients(bundle: Document) -> set[str]:
    """Return the ids of the Patients in a bundle."""
    resources = (entry["resource"] for entry in bundle["entry"])
    return {resource["id"] for resource in resources if resource["resourceType"] == "Patient"}


async def by_hand(world: World, *lines: bytes) -> int:
    """Send an empty POST /v1/plans with these header lines as they stand; return the status."""
    url = world.gateway.public_url.removeprefix("http://")
    host, _, port = url.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    token = world.team._headers["Authorization"].encode()
    head = [
        b"POST /v1/plans?format=plan-van-aanpak HTTP/1.1",
        b"Host: " + url.encode(),
        b"Authorization: " + token,
        b"Content-Type: application/json",
        b"Content-Length: 2",
        b"Connection: close",
        *lines,
    ]
    writer.write(b"\r\n".join(head) + b"\r\n\r\n{}")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            answered = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    return int(answered.split(b" ", 2)[1])


def keyed_by(world: World, jwks: object) -> Document:
    """Return a directory entry whose client has this as its keys."""
    client = {"clientId": "apotheek", "purpose": "support", "scopes": ["plans:read"], "jwks": jwks}
    return {"id": "apotheek", "name": f"Apotheek {number_of(world)}", "kind": "other", "clients": [client]}


@pytest.mark.asyncio(loop_scope="module")
class TestOddRequests:
    """What no caller should send is refused as the caller's fault, not as ours."""

    async def test_gzip_that_is_none(self, shared: World) -> None:
        """400, like any other body that cannot be read."""
        headers = {"Content-Encoding": "gzip"}
        refused = await shared.team.ask("POST", "/v1/plans?format=plan-van-aanpak", body=b"junk" * 9, headers=headers)
        assert refused.status == 400

    @pytest.mark.parametrize("key", ["sleutél".encode(), "sleutél".encode("latin-1"), b"\xff\xfe"])
    async def test_a_key_that_is_not_ascii(self, shared: World, key: bytes) -> None:
        """400, in whatever encoding it comes."""
        assert await by_hand(shared, b"Idempotency-Key: " + key) == 400

    async def test_an_assertion_that_is_all_depth(self, shared: World) -> None:
        """401 invalid_client, like any assertion that is no JWT."""
        deep = base64.urlsafe_b64encode(DEEP.encode()).decode().rstrip("=")
        assert await token_for(shared, f"e30.{deep}.e30") == (401, {"error": "invalid_client"})

    @pytest.mark.parametrize("jwks", [{"keys": [1]}, {"keys": 5}, {"keys": [[]]}, 5])
    async def test_keys_that_are_none(self, shared: World, jwks: object) -> None:
        """422 with a pointer into the keys, and the directory stays as it was."""
        before = (await shared.gateway.directory.now()).version
        body = keyed_by(shared, jwks)
        refused = await shared.clients["admin"].ask("PUT", "/v1/organisations/apotheek", json_body=body)
        assert (refused.status, refused.body["code"]) == (422, "document")
        assert refused.body["errors"][0]["pointer"].startswith("/clients/0/jwks")
        assert (await shared.gateway.directory.now()).version == before

    async def test_keys_that_cannot_be_fetched(self, shared: World) -> None:
        """401 invalid_client: who cannot be recognised is not let in, and nothing of ours has failed."""
        (closed,) = services.free_ports(1)
        client = Client(
            client_id="drogist",
            purpose="support",
            scopes=("plans:read",),
            jwks_url=f"http://127.0.0.1:{closed}/jwks.json",
        )
        await shared.gateway.directory.put(Entry(id="drogist", name="Drogist", kind="gp", clients=(client,)))
        clock = Clock()
        assertion = client_assertion(new_key(), "drogist", shared.known.token_url, clock.now(), clock.new_id())
        assert await token_for(shared, assertion) == (401, {"error": "invalid_client"})

    @pytest.mark.parametrize("asked", ["limit=1&limit=2", "limit=1&limit=1", "planId=a&planId=b", "planId=%00"])
    async def test_a_parameter_twice_or_unprintable(self, shared: World, asked: str) -> None:
        """400 with the name of the parameter."""
        refused = await shared.team.ask("GET", f"/v1/deliveries?{asked}")
        assert (refused.status, refused.body["code"]) == (400, "parameter")
        assert refused.body["errors"][0]["pointer"] == f"/{asked.partition('=')[0]}"


async def test_an_id_that_cannot_be_one_is_not_there(tmp_path: Path, postgres_url: str) -> None:
    """404, like any id that is not there: PostgreSQL, which takes no NUL in a text, is never asked."""
    places = ("/v1/plans/{}", "/v1/deliveries/{}", "/v1/residents/{}/choices")
    async with open_world(tmp_path, database_url=postgres_url) as world:
        asked = [place.format(odd) for place in places for odd in ("%00", "a%00b", "x" * 300, "%C3%A9")]
        refused = {path: await world.team.ask("GET", path) for path in asked}
        told = {path: (each.status, each.body["code"]) for path, each in refused.items()}
        assert told == dict.fromkeys(asked, (404, "not-found"))


async def token_for(world: World, assertion: str) -> tuple[int, Any]:
    """Ask for a token with this assertion; return status and body."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        "scope": "plans:read",
    }
    async with world.session.post(world.known.token_url, data=form) as response:
        return response.status, await response.json()


@pytest.mark.asyncio(loop_scope="module")
async def test_every_answer_under_v1_tells_its_version(shared: World) -> None:
    """Every route of the table, in every form, when it answers and when it refuses."""
    sent = await shared.send(numbered(number_of(shared)))
    plan_id, who = sent.body["planId"], residents_of(sent)["marloes"]
    delivery_id = (await shared.rest(plan_id))[0]["id"]
    choices, team, admin = f"/v1/residents/{who}/choices", shared.team, shared.clients["admin"]
    made = await team.ask("POST", choices, json_body=permit())
    version = (await team.ask("GET", choices)).headers["ETag"]
    kompas = json.loads(msgspec.json.encode((await entries(shared))[KOMPAS]))
    view = f"/v1/residents/{who}/views/{KOMPAS}?planId={plan_id}"
    current = (await team.ask("GET", f"/v1/plans/{plan_id}")).headers["ETag"]
    answered = {
        "GET /v1/formats": await team.ask("GET", "/v1/formats"),
        "GET /v1/asyncapi.json": await team.ask("GET", "/v1/asyncapi.json"),
        "GET /v1/openapi.json": await team.ask("GET", "/v1/openapi.json"),
        "GET /v1/docs": await team.ask("GET", "/v1/docs"),
        "POST /v1/plans": sent,
        "GET /v1/plans/{id}": await team.ask("GET", f"/v1/plans/{plan_id}"),
        "POST /v1/resident-queries": await team.ask("POST", "/v1/resident-queries", json_body={"bsn": BSNS[0]}),
        "POST /v1/residents/{id}/choices": made,
        "GET /v1/residents/{id}/choices": await team.ask("GET", choices),
        "PUT /v1/residents/{id}/choices": await team.ask(
            "PUT", choices, json_body={"choices": [permit()]}, headers={"If-Match": version}
        ),
        "GET /v1/residents/{id}/views/{organisationId}": await team.ask("GET", view),
        "GET /v1/deliveries": await team.ask("GET", "/v1/deliveries"),
        "GET /v1/deliveries/{id}": await team.ask("GET", f"/v1/deliveries/{delivery_id}"),
        "GET /v1/receipts": await team.ask("GET", "/v1/receipts"),
        "PUT /v1/organisations/{id}": await admin.ask("PUT", f"/v1/organisations/{KOMPAS}", json_body=kompas),
    }
    last = (await team.want("GET", choices))["choices"][0]["id"]
    answered["DELETE /v1/residents/{id}/choices/{choiceId}"] = await team.ask("DELETE", f"{choices}/{last}")
    as_fhir = await team.ask("GET", view, headers={"Accept": "application/fhir+json"})
    unchanged = await team.ask("GET", f"/v1/plans/{plan_id}", headers={"If-None-Match": current})
    refused = {
        "POST /v1/deliveries/{id}/retries": await team.ask("POST", f"/v1/deliveries/{delivery_id}/retries"),
        "POST /v1/deliveries/{id}/stops": await team.ask("POST", f"/v1/deliveries/{delivery_id}/stops"),
        "GET /v1/deliveries/{id}/document": await team.ask("GET", f"/v1/deliveries/{delivery_id}/document"),
        "POST /v1/deliveries/{id}/receipts": await team.ask(
            "POST", f"/v1/deliveries/{delivery_id}/receipts", json_body={"sha256": "0" * 64}
        ),
        "nowhere": await team.ask("GET", "/v1/nergens"),
        "another method": await team.ask("DELETE", "/v1/formats"),
        "another's scope": await shared.clients["provider-a"].ask("GET", choices),
    }
    statuses = {name: each.status for name, each in answered.items()}
    assert set(statuses.values()) <= {200, 201, 204}, statuses
    assert (as_fhir.status, as_fhir.body["resourceType"], unchanged.status) == (200, "Bundle", 304)
    assert [each.status for each in refused.values()] == [409, 409, 404, 404, 404, 405, 403]
    asked = {**answered, **refused, "as FHIR": as_fhir, "unchanged": unchanged}
    assert {f"{route.method} {route.path}" for route in ROUTES if route.path.startswith("/v1")} <= set(asked)
    assert {name: each.headers.getall("API-Version") for name, each in asked.items()} == {
        name: ["1.0.0"] for name in asked
    }


def always_later() -> Callable[[], float]:
    """Return a clock on which a minute goes by from one look to the next."""
    return itertools.count(0, 60).__next__


class TestSlowRecipients:
    """A recipient that does not answer takes a few places, and none of anybody else's."""

    async def test_a_gate_lets_a_few_through_at_a_time(self) -> None:
        """The next waits its turn, one more is told to come back, and another recipient notices nothing."""
        gates = Gates(at_once=2, waiting=1, most=9, ticks=always_later())
        inside: list[int] = []
        entered = [asyncio.Event() for _ in range(3)]
        leave = [asyncio.Event() for _ in range(3)]

        async def visit(number: int) -> None:
            async with gates.through(KOMPAS):
                inside.append(number)
                entered[number].set()
                await leave[number].wait()

        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            visits = [group.create_task(visit(number)) for number in range(2)]
            await asyncio.gather(*(event.wait() for event in entered[:2]))
            assert not gates.crowded(KOMPAS)
            third = group.create_task(visit(2))
            async with gates.through(LINDE):
                await asyncio.sleep(0)
                assert (inside, gates.crowded(KOMPAS), gates.crowded(LINDE)) == ([0, 1], True, False)
            leave[0].set()
            await entered[2].wait()
            await visits[0]
            assert not gates.crowded(KOMPAS)
            leave[1].set()
            leave[2].set()
            await third
        assert not gates.crowded(KOMPAS)

    async def test_a_quick_recipient_may_have_more_in_hand(self) -> None:
        """A crowd at the gate is no reason to turn anybody away while the recipient answers; there is a bound all the same."""
        gates = Gates(at_once=1, waiting=1, most=3, ticks=lambda: 0.0)
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            go_on = asyncio.Event()

            async def visit() -> None:
                async with gates.through(KOMPAS):
                    await go_on.wait()

            told = []
            for _ in range(3):
                group.create_task(visit())
                await asyncio.sleep(0)
                told.append((gates.crowded(KOMPAS), gates.has_room(KOMPAS)))
            assert told == [(False, False), (False, False), (True, False)]
            go_on.set()
        assert gates.has_room(KOMPAS)

    async def test_who_gives_up_waiting_leaves_its_place(self) -> None:
        """A visit that is cancelled at the gate is counted no more, and takes nobody's turn."""
        gates = Gates(at_once=1, waiting=1, most=9, ticks=always_later())
        async with asyncio.timeout(PATIENCE_SECONDS):
            async with gates.through(KOMPAS):
                entering = gates.through(KOMPAS)
                waiting = asyncio.ensure_future(entering.__aenter__())
                await asyncio.sleep(0)
                assert gates.crowded(KOMPAS)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert not gates.crowded(KOMPAS)
            async with gates.through(KOMPAS):
                assert not gates.crowded(KOMPAS)

    async def test_a_recipient_that_hangs_delays_no_other(self, tmp_path: Path) -> None:
        """Twelve plans go to one that takes everything and answers nothing; the other has all twelve before that is over."""
        async with open_world(tmp_path, retry_seconds=LATER, send_timeout_seconds=3) as world:
            over = asyncio.Event()

            async def hangs(request: web.Request, body: bytes) -> web.StreamResponse:
                await over.wait()
                return await receipt(request, body)

            world.receivers["provider-a"].answer = hangs
            plans = [(await world.send(numbered(f"traag-{number}"))).body["planId"] for number in range(12)]

            async def all_there() -> list[Row]:
                rows = [row for plan_id in plans for row in await of_recipient(world, plan_id, LINDE)]
                return rows if all(row["state"] == "acknowledged" for row in rows) else []

            assert len(await until(all_there)) == 12
            rows = [row for plan_id in plans for row in await of_recipient(world, plan_id, KOMPAS)]
            hanging = {"planned", "queued", "sent", "waiting"}
            assert len(rows) == 12
            assert {row["state"] for row in rows} <= hanging
            assert any(row["state"] == "sent" for row in rows)
            assert any(row["attempts"] == 0 or row["state"] in {"planned", "queued"} for row in rows)
            over.set()

    async def test_what_was_put_off_is_called_back_when_there_is_room(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More than may wait for one that hangs is put off in the database, and goes as soon as it answers, not when it is due again."""
        monkeypatch.setattr("gateway.delivery.WAITING_PER_RECIPIENT", 1)
        monkeypatch.setattr("gateway.delivery.SENDS_PER_RECIPIENT", 1)
        monkeypatch.setattr("gateway.crowds.SLOW_SECONDS", 0)
        monkeypatch.setattr("gateway.crowds.PUT_OFF_SECONDS", 100 * PATIENCE_SECONDS)
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            over = asyncio.Event()

            async def hangs(request: web.Request, body: bytes) -> web.StreamResponse:
                await over.wait()
                return await receipt(request, body)

            world.receivers["provider-a"].answer = hangs
            plans = [(await world.send(numbered(f"druk-{number}"))).body["planId"] for number in range(8)]

            async def rows() -> list[Row]:
                return [row for plan_id in plans for row in await of_recipient(world, plan_id, KOMPAS)]

            async def some_are_put_off() -> list[Row]:
                return [row for row in await rows() if row["reason"] == "recipient-busy"]

            async def all_there() -> list[Row]:
                found = await rows()
                return found if all(row["state"] == "acknowledged" for row in found) else []

            assert len(await until(some_are_put_off)) >= 1
            over.set()
            assert len(await until(all_there)) == 8


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "224.0.0.1",
        "::ffff:10.0.0.1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",
        "ff0e::1",
    ],
)
async def test_an_address_in_disguise_is_judged_by_where_it_leads(address: str) -> None:
    """A private network behind NAT64, 6to4, Teredo or a mapped address stays private, and multicast is no receiver."""
    assert GuardedResolver([]).allows(address) is False
