"""A delivery carries what may be seen at that moment, arrives once a receipt says so, and waits, parks or ends otherwise."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import services
from aiohttp import web
from receivers import Answerer, receipt, status
from sqlalchemy import update
from world import PATIENCE_SECONDS, World, example, open_world

from adapters.outbound_http import GuardedResolver, TargetNotAllowedError, open_session
from consent.choice import Choice
from gateway.callers import new_key, public_jwks, write_private_key
from gateway.client import GatewayClient, fetch_token
from gateway.directory import Client, Endpoint, Entry
from gateway.outcomes import BY_SIGNAL, BY_STATUS, outcome_of
from gateway.seal import sha256_hex
from gateway.store import choices as choice_rows
from gateway.store.choices import ChoicesRow
from gateway.store.tables import delivery

KOMPAS, LINDE, DOCTOR = "kompas", "de-linde", "huisarts"
LATER = (3600.0,)
SOON = (0.05, 0.05)

Row = dict[str, Any]


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is not empty, and return it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := await condition()):
            await asyncio.sleep(0.01)
        return found


async def newest(world: World, plan_id: str, recipient: str) -> Row:
    """Return the newest delivery of a plan to one recipient."""
    rows = [row for row in await world.deliveries(plan_id) if row["recipient"] == recipient]
    return max(rows, key=lambda row: row["id"])


async def shown(world: World, delivery_id: str) -> Row:
    """Return a delivery as the team sees it."""
    return dict(await world.team.want("GET", f"/v1/deliveries/{delivery_id}"))


async def in_state(world: World, delivery_id: str, *states: str) -> Row:
    """Wait until a delivery is in one of these states."""

    async def there() -> Row | None:
        row = await shown(world, delivery_id)
        return row if row["state"] in states else None

    return dict(await until(there))


async def receipts_of(world: World, delivery_id: str) -> list[Row]:
    """Return the receipts of a delivery, oldest first."""
    found = (await world.team.want("GET", "/v1/receipts?limit=200"))["items"]
    return [row for row in found if row["deliveryId"] == delivery_id]


def permit(organisation: str, *parts: dict[str, Any], effect: str = "permit") -> dict[str, Any]:
    """Return a choice of Marloes herself."""
    return {
        "recipient": {"type": "organisation", "organisation": organisation},
        "parts": list(parts),
        "effect": effect,
        "givenBy": {"capacity": "resident", "person": "marloes"},
        "evidence": "gesprek aan huis",
    }


def deny(organisation: str, *parts: dict[str, Any]) -> dict[str, Any]:
    """Return an objection of Marloes herself."""
    return permit(organisation, *parts, effect="deny")


MONEY = {"domains": ["finances"]}
MONEY_GOAL = {"domains": ["finances"], "kinds": ["goal"]}
MONEY_ACTION = {"domains": ["finances"], "kinds": ["action"]}


def entry_at(url: str | None, *, name: str = DOCTOR, client: Client | None = None) -> Entry:
    """Return a general practice, which no ground in law lets see anything, receiving at `url`."""
    endpoints = (Endpoint(adapter="webhook", url=url),) if url else ()
    clients = (client,) if client else ()
    return Entry(id=name, name="Huisartsenpraktijk De Vlinder", kind="gp", clients=clients, endpoints=endpoints)


async def receiver_url(world: World, name: str = "admin") -> str:
    """Return the webhook address of a receiver of the world."""
    kompas = (await world.gateway.directory.now()).entries[KOMPAS]
    return kompas.endpoints[0].url.replace("/provider-a/webhook", f"/{name}/webhook")


async def with_doctor(world: World) -> GatewayClient:
    """Add a general practice that receives at `receivers["admin"]`, and return its caller."""
    path = world.data_dir / "keys" / f"{DOCTOR}.jwk"
    key = new_key()
    write_private_key(path, key)
    scopes = ("plans:read", "deliveries:read", "receipts:read")
    client = Client(client_id=DOCTOR, purpose="support", scopes=scopes, jwks=public_jwks(key))
    await world.gateway.directory.put(entry_at(await receiver_url(world), client=client))
    world.known.clients[DOCTOR] = {
        "clientId": DOCTOR,
        "keyFile": str(path),
        "scope": " ".join(scopes),
        "organisation": DOCTOR,
    }
    return GatewayClient(world.session, world.gateway.public_url, await fetch_token(world.session, world.known, DOCTOR))


async def marloes_permits(world: World, *choices: dict[str, Any]) -> tuple[str, str]:
    """Send the rich example with these choices of Marloes; return plan id and her id."""
    sent = (await world.send(example())).body
    marloes = next(row["id"] for row in sent["residents"] if row["reference"] == "marloes")
    assert (await world.choose(marloes, list(choices))).status == 200
    return sent["planId"], marloes


async def waiting_for_doctor(world: World, *choices: dict[str, Any]) -> tuple[str, str, Row]:
    """Have a delivery to the doctor wait after one refused attempt; return plan id, Marloes' id and the delivery."""
    world.receivers["admin"].answers.append(status(503))
    plan_id, marloes = await marloes_permits(world, *(choices or (permit(DOCTOR, MONEY),)))
    await world.rest(plan_id)
    row = await newest(world, plan_id, DOCTOR)
    assert row["state"] == "waiting"
    return plan_id, marloes, row


async def keep_choices_only(world: World, resident: str, choices: list[dict[str, Any]]) -> None:
    """Keep choices as a crash before the planning leaves them: in the database, with nothing planned or stopped."""
    gateway = world.gateway
    version = (await gateway.choosing.get(resident)).version + 1
    made = tuple(
        msgspec.structs.replace(choice, id=gateway.clock.new_id(), version=version)
        for choice in msgspec.convert(choices, list[Choice])
    )
    body = await gateway.choosing._vault.seal_choices(resident, version, made)
    row = ChoicesRow(resident=resident, version=version, body=body, at=gateway.clock.now(), changed_by="test")
    assert await gateway.store.write(lambda tx: choice_rows.add_choices(tx, row))


async def moved(world: World, delivery_id: str, what: str) -> int:
    """POST …/retries or …/stops; return the status."""
    return (await world.team.ask("POST", f"/v1/deliveries/{delivery_id}/{what}")).status


def carried(world: World, receiver: str, delivery_id: str) -> list[bytes]:
    """Return the bodies that arrived under a delivery id."""
    return [arrival.body for arrival in world.receivers[receiver].arrivals if arrival.delivery == delivery_id]


def held() -> tuple[Answerer, asyncio.Event, asyncio.Event]:
    """Return an answerer that waits, the event that it came, and the event that lets it answer."""
    came, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request, body: bytes) -> web.StreamResponse:
        came.set()
        await go_on.wait()
        return await receipt(request, body)

    return answer, came, go_on


class TestConsentIsDecidedAtTheLastMoment:
    """What a resident says between the planning and the sending counts."""

    @pytest.mark.parametrize(
        ("choices", "reason"),
        [
            pytest.param([], "no-choice", id="every choice is withdrawn"),
            pytest.param([permit(DOCTOR, MONEY), deny(DOCTOR, MONEY)], "objection", id="an objection joins the permit"),
        ],
    )
    async def test_a_withdrawal_between_two_attempts_leaves_nothing_to_send(
        self, tmp_path: Path, choices: list[dict[str, Any]], reason: str
    ) -> None:
        """The waiting delivery becomes withheld with the reason, and nothing more arrives."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            await with_doctor(world)
            _, marloes, row = await waiting_for_doctor(world)
            await world.choose(marloes, choices)
            after = await shown(world, row["id"])
            assert (after["state"], after["reason"], after["nextAttemptAt"]) == ("withheld", reason, None)
            assert len(carried(world, "admin", row["id"])) == 1

    @pytest.mark.parametrize(
        ("choices", "reason"),
        [
            pytest.param([], "no-choice", id="every choice is withdrawn"),
            pytest.param([deny(DOCTOR, MONEY)], "objection", id="an objection takes its place"),
        ],
    )
    async def test_the_attempt_itself_decides(self, tmp_path: Path, choices: list[dict[str, Any]], reason: str) -> None:
        """Even when nothing stopped the delivery after the choice was kept, the attempt finds out before it sends."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            await with_doctor(world)
            _, marloes, row = await waiting_for_doctor(world)
            await keep_choices_only(world, marloes, choices)
            assert (await shown(world, row["id"]))["state"] == "waiting"
            assert await moved(world, row["id"], "retries") == 200
            after = await in_state(world, row["id"], "withheld", "acknowledged")
            assert (after["state"], after["reason"]) == ("withheld", reason)
            assert len(carried(world, "admin", row["id"])) == 1

    async def test_a_recipient_that_lost_its_kind_loses_the_ground(self, tmp_path: Path) -> None:
        """The directory is asked again too: who is no care provider any more gets nothing by the law for care providers."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            world.receivers["provider-a"].answer = status(503)
            sent = (await world.send(example())).body
            await world.rest(sent["planId"])
            row = await newest(world, sent["planId"], KOMPAS)
            assert row["state"] == "waiting"
            kompas = (await world.gateway.directory.now()).entries[KOMPAS]
            await world.gateway.directory.put(msgspec.structs.replace(kompas, kind="volunteers"))
            await moved(world, row["id"], "retries")
            after = await in_state(world, row["id"], "withheld", "acknowledged")
            assert (after["state"], len(carried(world, "provider-a", row["id"]))) == ("withheld", 1)

    async def test_a_later_permit_plans_a_new_delivery(self, tmp_path: Path) -> None:
        """A withheld delivery never revives: what is permitted later goes under an id of its own."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            await with_doctor(world)
            plan_id, marloes, row = await waiting_for_doctor(world)
            await world.choose(marloes, [])
            await world.choose(marloes, [permit(DOCTOR, MONEY)])
            await world.rest(plan_id)
            fresh = await newest(world, plan_id, DOCTOR)
            assert (fresh["state"], fresh["id"] != row["id"]) == ("acknowledged", True)
            assert (await shown(world, row["id"]))["state"] == "withheld"
            assert await moved(world, row["id"], "retries") == 409
            assert len(carried(world, "admin", row["id"])) == 1

    async def test_a_withdrawal_stops_what_is_queued_behind_a_send(self, tmp_path: Path) -> None:
        """What is in flight ends and is listed; what waits for its turn never leaves."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            await with_doctor(world)
            answer, came, go_on = held()
            world.receivers["admin"].answers.append(answer)
            plan_id, marloes = await marloes_permits(world, permit(DOCTOR, MONEY))
            await asyncio.wait_for(came.wait(), PATIENCE_SECONDS)
            first = await newest(world, plan_id, DOCTOR)
            await world.send(example(edit=lambda document: document["doelen"][0].update(omschrijving="Anders.")))
            second = await newest(world, plan_id, DOCTOR)
            await in_state(world, second["id"], "queued")
            await asyncio.wait_for(world.choose(marloes, []), PATIENCE_SECONDS)
            assert (await shown(world, second["id"]))["state"] == "withheld"
            go_on.set()
            ended = await in_state(world, first["id"], "acknowledged", "superseded")
            assert [row["code"] for row in await receipts_of(world, ended["id"])] == ["acknowledged"]
            assert carried(world, "admin", second["id"]) == []

    async def test_a_withdrawal_ends_reading_and_the_refused_attempt_has_a_receipt(self, tmp_path: Path) -> None:
        """The reader gets 404; the team sees that it tried, and the reader does not see that there was something."""
        async with open_world(tmp_path) as world:
            doctor = await with_doctor(world)
            plan_id, marloes = await marloes_permits(world, permit(DOCTOR, MONEY))
            await world.rest(plan_id)
            assert (await doctor.ask("GET", f"/v1/plans/{plan_id}")).status == 200
            await world.choose(marloes, [])
            assert (await doctor.ask("GET", f"/v1/plans/{plan_id}")).status == 404
            seen = (await world.team.want("GET", f"/v1/receipts?planId={plan_id}&recipient={DOCTOR}"))["items"]
            told = [(row["exit"], row["refused"], row["code"], row["sha256"], row["parts"]) for row in seen]
            assert told[-1] == ("read", True, "no-choice", None, [])
            own = (await doctor.want("GET", "/v1/receipts"))["items"]
            assert [row["refused"] for row in own] == [False, False]
            assert {row["exit"] for row in own} == {"delivery", "read"}

    async def test_a_retry_never_widens(self, tmp_path: Path) -> None:
        """A permit that came meanwhile adds nothing to the old delivery; it goes under a new id."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            await with_doctor(world)
            plan_id, marloes, row = await waiting_for_doctor(world, permit(DOCTOR, MONEY_GOAL))
            await keep_choices_only(world, marloes, [permit(DOCTOR, MONEY)])
            await moved(world, row["id"], "retries")
            await in_state(world, row["id"], "acknowledged")
            first, second = await receipts_of(world, row["id"])
            assert {part["kind"] for part in second["parts"]} == {"goal"}
            assert [part["partId"] for part in second["parts"]] == [part["partId"] for part in first["parts"]]
            await world.gateway.choosing.replan(marloes)
            await world.rest(plan_id)
            fresh = await newest(world, plan_id, DOCTOR)
            assert fresh["id"] != row["id"]
            assert len((await receipts_of(world, fresh["id"]))[0]["parts"]) > 1
            assert len(carried(world, "admin", row["id"])) == 2

    async def test_a_permit_while_waiting_supersedes_the_narrow_delivery(self, tmp_path: Path) -> None:
        """The old delivery id never carries more parts, not even by a retry that a person asks for."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            await with_doctor(world)
            plan_id, marloes, row = await waiting_for_doctor(world, permit(DOCTOR, MONEY_GOAL))
            await world.choose(marloes, [permit(DOCTOR, MONEY)])
            await world.rest(plan_id)
            assert (await shown(world, row["id"]))["state"] == "superseded"
            assert await moved(world, row["id"], "retries") == 409
            assert len(carried(world, "admin", row["id"])) == 1

    async def test_a_retry_narrows(self, tmp_path: Path) -> None:
        """What is withdrawn from the delivery while it waits does not go at the next attempt."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            await with_doctor(world)
            choices = (permit(DOCTOR, MONEY_GOAL), permit(DOCTOR, MONEY_ACTION))
            plan_id, marloes, row = await waiting_for_doctor(world, *choices)
            await world.choose(marloes, list(choices[:1]))
            await world.rest(plan_id)
            await moved(world, row["id"], "retries")
            await in_state(world, row["id"], "acknowledged")
            first, second = (json.loads(body) for body in carried(world, "admin", row["id"]))
            assert "Task" in kinds_in(first)
            assert "Task" not in kinds_in(second)
            assert {part["kind"] for part in (await receipts_of(world, row["id"]))[-1]["parts"]} == {"goal"}


def kinds_in(bundle: dict[str, Any]) -> set[str]:
    """Return the resource types in a bundle."""
    return {entry["resource"]["resourceType"] for entry in bundle["entry"]}


class TestOrder:
    """Per recipient and plan the newest goes, in order and numbered without gaps; nobody waits for another."""

    async def test_a_newer_version_supersedes_a_waiting_older_one(self, tmp_path: Path) -> None:
        """The older delivery ends, and only the newer version arrives from then on."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            world.receivers["provider-a"].answers.append(status(503))
            plan_id = (await world.send(example())).body["planId"]
            await world.rest(plan_id)
            older = await newest(world, plan_id, KOMPAS)

            def edit(document: dict[str, Any]) -> None:
                document["voorzieningen"][0]["wat"] = "Budgetcoaching"

            await world.send(example(edit=edit))
            await world.rest(plan_id)
            newer = await newest(world, plan_id, KOMPAS)
            ended = await shown(world, older["id"])
            assert (ended["state"], ended["reason"]) == ("superseded", "newer-version")
            assert (newer["state"], newer["planVersion"]) == ("acknowledged", 2)
            assert await moved(world, older["id"], "retries") == 409
            arrivals = world.receivers["provider-a"].arrivals
            assert [arrival.delivery for arrival in arrivals] == [older["id"], newer["id"]]

    async def test_a_send_that_fails_after_a_newer_version_came_is_superseded(self, tmp_path: Path) -> None:
        """An older delivery in flight when the newer is planned gets no second attempt."""
        async with open_world(tmp_path, retry_seconds=SOON) as world:
            came, go_on = asyncio.Event(), asyncio.Event()

            async def fails_late(_request: web.Request, _body: bytes) -> web.StreamResponse:
                came.set()
                await go_on.wait()
                return web.Response(status=503)

            world.receivers["provider-a"].answers.append(fails_late)
            plan_id = (await world.send(example())).body["planId"]
            await asyncio.wait_for(came.wait(), PATIENCE_SECONDS)
            older = await newest(world, plan_id, KOMPAS)

            def edit(document: dict[str, Any]) -> None:
                document["voorzieningen"][0]["wat"] = "Budgetcoaching"

            await world.send(example(edit=edit))
            go_on.set()
            await world.rest(plan_id)
            newer = await in_state(world, (await newest(world, plan_id, KOMPAS))["id"], "acknowledged")
            assert (await shown(world, older["id"]))["state"] == "superseded"
            arrivals = [arrival.delivery for arrival in world.receivers["provider-a"].arrivals]
            assert arrivals == [older["id"], newer["id"]]

    async def test_a_parked_delivery_does_not_overtake_a_newer_one(self, tmp_path: Path) -> None:
        """Tried again by a person after a newer version arrived, it is superseded and sends nothing."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            world.receivers["provider-a"].answers.append(status(422))
            plan_id = (await world.send(example())).body["planId"]
            await world.rest(plan_id)
            older = await newest(world, plan_id, KOMPAS)
            assert older["state"] == "parked"

            def edit(document: dict[str, Any]) -> None:
                document["voorzieningen"][0]["wat"] = "Budgetcoaching"

            await world.send(example(edit=edit))
            await world.rest(plan_id)
            assert await moved(world, older["id"], "retries") == 200
            after = await in_state(world, older["id"], "superseded", "acknowledged")
            assert (after["state"], after["reason"]) == ("superseded", "newer-version")
            assert len(carried(world, "provider-a", older["id"])) == 1

    async def test_sequence_numbers_have_no_gap(self, tmp_path: Path) -> None:
        """New plans, new versions, hidden edits, withheld views and retries between: the arrivals count 1, 2, 3, …"""
        async with open_world(tmp_path, retry_seconds=SOON) as world:
            plan_id, residents = await world.family()
            plans = [plan_id]
            for number in range(3):

                def seen(document: dict[str, Any], number: int = number) -> None:
                    document["doelen"][0]["omschrijving"] = f"Doel nummer {number}."

                def hidden(document: dict[str, Any], number: int = number) -> None:
                    seen(document)
                    document["zorgen"][0]["tekst"] = f"Zorg nummer {number}."

                def other(document: dict[str, Any], number: int = number) -> None:
                    document["planNummer"] = f"ander-{number}"

                world.receivers["provider-a"].answers.append(status(503))
                for edit in (seen, hidden, other):
                    plans.append((await world.send(example(edit=edit))).body["planId"])
                    await until(lambda: all_settled(world, plans[-1]))
            await world.choose(residents["marloes"], [])
            for each in set(plans):
                await until(lambda each=each: all_settled(world, each))
            numbers: dict[str, int] = {}
            for arrival in world.receivers["provider-a"].arrivals:
                assert numbers.setdefault(arrival.delivery, arrival.sequence) == arrival.sequence
            assert list(numbers.values()) == list(range(1, len(numbers) + 1))
            assert len(numbers) >= 8
            listed = (await world.clients["provider-a"].want("GET", "/v1/deliveries?limit=200"))["items"]
            assert sorted(row["sequence"] for row in listed) == sorted(numbers.values())

    async def test_a_recipient_that_never_answers_delays_nobody_else(self, tmp_path: Path) -> None:
        """While Kompas holds a request, De Linde gets this version and the next."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            answer, came, go_on = held()
            world.receivers["provider-a"].answer = answer
            plan_id = (await world.send(example())).body["planId"]
            await asyncio.wait_for(came.wait(), PATIENCE_SECONDS)
            first = await in_state(world, (await newest(world, plan_id, LINDE))["id"], "acknowledged")

            def edit(document: dict[str, Any]) -> None:
                document["voorzieningen"][1]["wat"] = "Begeleiding thuis"

            await world.send(example(edit=edit))
            second = await in_state(world, (await newest(world, plan_id, LINDE))["id"], "acknowledged")
            assert first["id"] != second["id"]
            assert {row["state"] for row in await world.deliveries(plan_id) if row["recipient"] == KOMPAS} <= {
                "sent",
                "planned",
                "queued",
            }
            go_on.set()
            await world.rest(plan_id)

    async def test_a_restart_loses_nothing(self, tmp_path: Path) -> None:
        """What waits when the gateway stops goes out under the same id when it starts again."""
        async with open_world(tmp_path, retry_seconds=(0.3,)) as world:
            world.receivers["provider-a"].answer = status(503)
            plan_id = (await world.send(example())).body["planId"]
            await world.rest(plan_id)
            row = await newest(world, plan_id, KOMPAS)
            assert row["state"] == "waiting"
        async with open_world(tmp_path, retry_seconds=(0.3,)) as world:
            after = await in_state(world, row["id"], "acknowledged")
            assert (after["attempts"], after["sequence"]) == (2, row["sequence"])
            assert len(carried(world, "provider-a", row["id"])) == 1


async def all_settled(world: World, plan_id: str) -> bool:
    """Say whether every delivery of a plan has come to its end."""
    ended = {"acknowledged", "withheld", "unchanged", "superseded"}
    return all(row["state"] in ended for row in await world.deliveries(plan_id))


def receipt_of(**changed: str) -> Answerer:
    """Answer 200 with a receipt in which something is changed."""

    async def answer(request: web.Request, body: bytes) -> web.StreamResponse:
        good = {"deliveryId": request.headers["Planbrug-Delivery"], "sha256": sha256_hex(body)}
        return web.json_response({**good, **changed})

    return answer


def raw(text: str, code: int = 200) -> Answerer:
    """Answer with this text."""

    async def answer(_request: web.Request, _body: bytes) -> web.StreamResponse:
        return web.Response(status=code, text=text, content_type="application/json")

    return answer


async def cut_before(request: web.Request, _body: bytes) -> web.StreamResponse:
    """Break the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut_halfway(request: web.Request, body: bytes) -> web.StreamResponse:
    """Promise a receipt, and break the connection before a byte of it came."""
    response = web.StreamResponse(headers={"Content-Length": "200", "Content-Type": "application/json"})
    await response.prepare(request)
    assert request.transport is not None
    request.transport.abort()
    return response


async def never(_request: web.Request, _body: bytes) -> web.StreamResponse:
    """Take everything and answer nothing."""
    await asyncio.Event().wait()
    return web.Response()


def bundle_of(statuses: Callable[[int], list[Any]]) -> Answerer:
    """Answer as a FHIR server with these entry statuses for a bundle of so many entries."""

    async def answer(_request: web.Request, body: bytes) -> web.StreamResponse:
        entries = [{"response": {"status": each}} for each in statuses(len(json.loads(body)["entry"]))]
        return web.json_response({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

    return answer


AGAIN, PERSON, DONE = "waiting", "parked", "acknowledged"

WEBHOOK: list[tuple[str, Answerer, str, str | None]] = [
    ("a matching receipt", receipt, DONE, None),
    ("a 200 without a body", status(200), AGAIN, "no-receipt"),
    ("a 204", status(204), AGAIN, "no-receipt"),
    ("a 200 with other JSON", raw("{}"), AGAIN, "no-receipt"),
    ("a 200 with a list", raw("[]"), AGAIN, "no-receipt"),
    ("a 200 with text", raw("ok"), AGAIN, "no-receipt"),
    ("a 200 without the hash", raw('{"deliveryId": "x"}'), AGAIN, "no-receipt"),
    ("a receipt for another delivery", receipt_of(deliveryId="ander"), AGAIN, "wrong-receipt"),
    ("a receipt for other bytes", receipt_of(sha256="0" * 64), AGAIN, "wrong-receipt"),
    ("an upper-case hash", receipt_of(sha256="A" * 64), AGAIN, "wrong-receipt"),
    ("a 302", status(302, {"Location": "/admin/webhook"}), PERSON, "redirected"),
    ("a 307", status(307, {"Location": "/admin/webhook"}), PERSON, "redirected"),
    ("a 400", status(400), PERSON, "rejected"),
    ("a 401", status(401), AGAIN, "not-authorised"),
    ("a 403", status(403), AGAIN, "not-authorised"),
    ("a 404", status(404), AGAIN, "not-found"),
    ("a 405", status(405), PERSON, "rejected"),
    ("a 406", status(406), PERSON, "rejected"),
    ("a 408", status(408), AGAIN, "timeout"),
    ("a 409", status(409), AGAIN, "conflict"),
    ("a 410", status(410), PERSON, "gone"),
    ("a 413", status(413), PERSON, "too-large"),
    ("a 415", status(415), PERSON, "rejected"),
    ("a 418, which has no row", status(418), PERSON, "rejected"),
    ("a 422", status(422), PERSON, "rejected"),
    ("a 425", status(425), AGAIN, "busy"),
    ("a 429", status(429), AGAIN, "busy"),
    ("a 500", status(500), AGAIN, "receiver-failed"),
    ("a 501", status(501), AGAIN, "receiver-failed"),
    ("a 503", status(503), AGAIN, "receiver-failed"),
    ("no answer in time", never, AGAIN, "timeout"),
    ("a connection cut before the answer", cut_before, AGAIN, "connection-cut"),
    ("a connection cut in the answer", cut_halfway, AGAIN, "connection-cut"),
]
FHIR: list[tuple[str, Answerer, str, str | None]] = [
    ("every entry a 2xx", bundle_of(lambda count: ["201 Created"] * count), DONE, None),
    ("one entry short", bundle_of(lambda count: ["201 Created"] * (count - 1)), AGAIN, "wrong-receipt"),
    ("one entry more", bundle_of(lambda count: ["201 Created"] * (count + 1)), AGAIN, "wrong-receipt"),
    ("one entry a 4xx", bundle_of(lambda count: ["201"] * (count - 1) + ["422"]), AGAIN, "wrong-receipt"),
    ("one entry without a status", bundle_of(lambda count: ["201"] * (count - 1) + [None]), AGAIN, "wrong-receipt"),
    ("a bundle without entries", raw('{"resourceType": "Bundle"}'), AGAIN, "no-receipt"),
    ("entries that are none", raw('{"entry": [1]}'), AGAIN, "no-receipt"),
    ("a webhook's receipt", receipt_of(), AGAIN, "no-receipt"),
    ("a 200 with text", raw("ok"), AGAIN, "no-receipt"),
    ("a 422", status(422), PERSON, "rejected"),
    ("a 503", status(503), AGAIN, "receiver-failed"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def answered(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world for the whole outcome table, with the family's choices made."""
    folder = tmp_path_factory.mktemp("outcomes")
    async with open_world(folder, retry_seconds=LATER, send_timeout_seconds=2) as world:
        await world.family()
        yield world


def _rows(table: list[tuple[str, Answerer, str, str | None]]) -> list[Any]:
    return [pytest.param(*row[1:], id=row[0]) for row in table]


@asynccontextmanager
async def another_plan(world: World, name: str, answer: Answerer) -> AsyncIterator[str]:
    """Send the example under a number of its own while one receiver answers like this; restore it after."""
    number = world.gateway.clock.new_id()
    world.receivers[name].answer = answer
    try:
        sent = await world.send(example(edit=lambda document: document.update(planNummer=number)))
        assert sent.status == 201
        yield sent.body["planId"]
    finally:
        world.receivers[name].answer = receipt


async def expect(world: World, plan_id: str, recipient: str, state: str, reason: str | None) -> Row:
    """Check the state of the one delivery to a recipient, its next attempt and its receipt."""
    await world.rest(plan_id)
    row = await newest(world, plan_id, recipient)
    (left,) = await receipts_of(world, row["id"])
    assert (row["state"], row["reason"]) == (state, reason)
    assert (row["attempts"], row["receiptId"], left["refused"]) == (1, left["id"], False)
    assert left["code"] == (reason or state)
    assert left["parts"]
    if state == AGAIN:
        pause = datetime.fromisoformat(row["nextAttemptAt"]) - datetime.fromisoformat(row["updatedAt"])
        assert timedelta(hours=1) <= pause <= timedelta(hours=1.25)
    else:
        assert row["nextAttemptAt"] is None
    return row


@pytest.mark.asyncio(loop_scope="module")
class TestOnlyAMatchingReceiptIsDelivered:
    """Every row of the outcome table, by what a real receiver answers."""

    @pytest.mark.parametrize(("answer", "state", "reason"), _rows(WEBHOOK))
    async def test_a_webhook_answers(self, answered: World, answer: Answerer, state: str, reason: str | None) -> None:
        """State, reason, receipt and next attempt follow from what came back; nothing was followed elsewhere."""
        elsewhere = len(answered.receivers["admin"].arrivals)
        async with another_plan(answered, "provider-a", answer) as plan_id:
            row = await expect(answered, plan_id, KOMPAS, state, reason)
        assert len(carried(answered, "provider-a", row["id"])) == 1
        assert len(answered.receivers["admin"].arrivals) == elsewhere

    @pytest.mark.parametrize(("answer", "state", "reason"), _rows(FHIR))
    async def test_a_fhir_server_answers(
        self, answered: World, answer: Answerer, state: str, reason: str | None
    ) -> None:
        """A transaction is delivered only when as many entries come back as went, each a 2xx."""
        async with another_plan(answered, "provider-b", answer) as plan_id:
            await expect(answered, plan_id, LINDE, state, reason)

    @pytest.mark.parametrize("code", [429, 503])
    async def test_a_retry_after_is_a_minimum(self, answered: World, code: int) -> None:
        """Two hours asked is two hours waited, where the schedule says one."""
        async with another_plan(answered, "provider-a", status(code, {"Retry-After": "7200"})) as plan_id:
            await answered.rest(plan_id)
            row = await newest(answered, plan_id, KOMPAS)
        pause = datetime.fromisoformat(row["nextAttemptAt"]) - datetime.fromisoformat(row["updatedAt"])
        assert timedelta(hours=2) <= pause < timedelta(hours=2.1)

    async def test_a_retry_after_may_be_a_date(self, answered: World) -> None:
        """The other form of RFC 9110, judged by the receiver's own clock."""
        headers = {"Date": "Mon, 02 Nov 2026 10:00:00 GMT", "Retry-After": "Mon, 02 Nov 2026 13:00:00 GMT"}
        async with another_plan(answered, "provider-a", status(503, headers)) as plan_id:
            await answered.rest(plan_id)
            row = await newest(answered, plan_id, KOMPAS)
        pause = datetime.fromisoformat(row["nextAttemptAt"]) - datetime.fromisoformat(row["updatedAt"])
        assert timedelta(hours=3) <= pause < timedelta(hours=3.1)

    @pytest.mark.parametrize(
        ("url", "state", "reason"),
        [
            pytest.param("http://127.0.0.1:{closed}/in", AGAIN, "not-connected", id="nothing listens there"),
            pytest.param("http://[::1]:{closed}/in", PERSON, "target-not-allowed", id="a literal that is not allowed"),
        ],
    )
    async def test_what_never_left_has_no_receipt(self, answered: World, url: str, state: str, reason: str) -> None:
        """Without a connection nothing was disclosed, so nothing says that it was."""
        (closed,) = services.free_ports(1)
        directory = answered.gateway.directory
        before = (await directory.now()).entries[KOMPAS]
        there = msgspec.structs.replace(before.endpoints[0], url=url.format(closed=closed))
        await directory.put(msgspec.structs.replace(before, endpoints=(there,)))
        try:
            async with another_plan(answered, "provider-a", receipt) as plan_id:
                await answered.rest(plan_id)
                row = await newest(answered, plan_id, KOMPAS)
        finally:
            await directory.put(before)
        assert (row["state"], row["reason"], row["receiptId"]) == (state, reason, None)
        assert await receipts_of(answered, row["id"]) == []
        assert (row["nextAttemptAt"] is None) == (state == PERSON)


def test_every_row_of_the_outcome_table_is_in_the_table_here() -> None:
    """A new row there asks for a new row here."""
    here = {int(row[0].split()[1].strip(",")) for row in WEBHOOK if row[0].startswith("a ") and row[0][2].isdigit()}
    reasons = {row[3] for row in WEBHOOK} | {"not-connected", "target-not-allowed"}
    reasons |= {"token-refused", "token-unreachable"}  # test_gateway_tokens.py
    over_amqp = {"notified", "no-queue"}  # tests/test_gateway_pulling.py
    assert set(BY_STATUS) <= here
    assert {row.reason for row in BY_SIGNAL.values()} <= reasons | over_amqp


class TestRetries:
    """A schedule that ends with a person, who may try again or stop."""

    async def test_a_schedule_that_is_used_up_parks(self, tmp_path: Path) -> None:
        """Two pauses are three attempts; then the delivery is parked, stays visible, and a person lets it go on."""
        async with open_world(tmp_path, retry_seconds=SOON) as world:
            receiver = world.receivers["provider-a"]
            receiver.answer = status(503)
            plan_id = (await world.send(example())).body["planId"]
            row = await in_state(world, (await newest(world, plan_id, KOMPAS))["id"], "parked")
            assert (row["reason"], row["attempts"], row["nextAttemptAt"]) == ("attempts-used", 3, None)
            assert len(carried(world, "provider-a", row["id"])) == 3
            assert {row["code"] for row in await receipts_of(world, row["id"])} == {"receiver-failed"}
            receiver.answer = receipt
            asked = await world.team.ask("POST", f"/v1/deliveries/{row['id']}/retries")
            assert (asked.status, asked.body["attempts"]) == (200, 0)
            after = await in_state(world, row["id"], "acknowledged")
            assert (after["sequence"], after["reason"]) == (row["sequence"], None)
            assert {arrival.sequence for arrival in receiver.arrivals} == {row["sequence"]}

    async def test_a_delivery_moves_only_where_its_state_lets_it(self, tmp_path: Path) -> None:
        """Waiting may be stopped, parked may be tried again, and what has ended may do neither."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            receiver = world.receivers["provider-a"]
            receiver.answers.append(status(503))
            plan_id = (await world.send(example())).body["planId"]
            await world.rest(plan_id)
            row = await newest(world, plan_id, KOMPAS)
            assert await moved(world, row["id"], "stops") == 200
            stopped = await shown(world, row["id"])
            assert (stopped["state"], stopped["reason"], stopped["nextAttemptAt"]) == ("parked", "stopped", None)
            assert await moved(world, row["id"], "stops") == 409
            assert await moved(world, row["id"], "retries") == 200
            await in_state(world, row["id"], "acknowledged")
            for what in ("retries", "stops"):
                refused = await world.team.ask("POST", f"/v1/deliveries/{row['id']}/{what}")
                assert (refused.status, refused.body["code"]) == (409, "state")
            assert len(receiver.arrivals) == 2

    async def test_only_the_source_and_the_administrator_move_deliveries(self, tmp_path: Path) -> None:
        """For a recipient, and for who does not exist, there is nothing to move."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            world.receivers["provider-a"].answer = status(503)
            plan_id = (await world.send(example())).body["planId"]
            await world.rest(plan_id)
            row = await newest(world, plan_id, KOMPAS)
            doctor = await with_doctor(world)
            for what in ("retries", "stops"):
                path = f"/v1/deliveries/{row['id']}/{what}"
                assert (await world.clients["provider-a"].ask("POST", path)).status == 403
                assert (await doctor.ask("POST", path)).status == 403
                assert (await world.team.ask("POST", f"/v1/deliveries/nergens/{what}")).status == 404
            assert (await world.clients["admin"].ask("POST", f"/v1/deliveries/{row['id']}/stops")).status == 200

    async def test_an_endpoint_that_moved_is_used_and_the_old_one_is_not(self, tmp_path: Path) -> None:
        """The address is read from the directory at every attempt."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            old, new = world.receivers["provider-a"], world.receivers["admin"]
            old.answer = status(503)
            plan_id = (await world.send(example())).body["planId"]
            await world.rest(plan_id)
            row = await newest(world, plan_id, KOMPAS)
            kompas = (await world.gateway.directory.now()).entries[KOMPAS]
            there = msgspec.structs.replace(kompas.endpoints[0], url=await receiver_url(world))
            await world.gateway.directory.put(msgspec.structs.replace(kompas, endpoints=(there,)))
            await moved(world, row["id"], "retries")
            await in_state(world, row["id"], "acknowledged")
            assert ([len(old.arrivals), len(new.arrivals)], new.last.delivery) == ([1, 1], row["id"])
            assert new.last.path == "/admin/webhook"

    async def test_an_endpoint_that_is_gone_parks(self, tmp_path: Path) -> None:
        """Without an address a person must look; when it is back, a retry goes there."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            receiver = world.receivers["provider-a"]
            receiver.answers.append(status(503))
            plan_id = (await world.send(example())).body["planId"]
            await world.rest(plan_id)
            row = await newest(world, plan_id, KOMPAS)
            kompas = (await world.gateway.directory.now()).entries[KOMPAS]
            await world.gateway.directory.put(msgspec.structs.replace(kompas, endpoints=()))
            await moved(world, row["id"], "retries")
            gone = await in_state(world, row["id"], "parked")
            assert (gone["reason"], len(receiver.arrivals)) == ("endpoint-gone", 1)
            await world.gateway.directory.put(kompas)
            await moved(world, row["id"], "retries")
            await in_state(world, row["id"], "acknowledged")


class TestLeases:
    """A process that dies in the middle leaves a lease, and the lease brings the delivery back."""

    @pytest.mark.parametrize("state", ["sent", "queued"])
    async def test_an_expired_lease_is_attempted_again_under_the_same_id(self, tmp_path: Path, state: str) -> None:
        """The receiver sees id and number that it knows, with the same bytes, and can tell that it has them."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            receiver = world.receivers["provider-a"]
            plan_id = (await world.send(example())).body["planId"]
            await world.rest(plan_id)
            row = await newest(world, plan_id, KOMPAS)
            past = datetime.now(UTC) - timedelta(seconds=1)
            back = update(delivery).where(delivery.c.id == row["id"]).values(state=state, due_at=past)
            await world.gateway.store.write(lambda tx: tx.execute(back).rowcount)
            world.gateway.relay.nudge()
            after = await in_state(world, row["id"], "acknowledged")
            assert (after["attempts"], after["sequence"]) == (2, row["sequence"])
            first, second = receiver.arrivals
            assert (second.delivery, second.sequence, second.body) == (first.delivery, first.sequence, first.body)

    async def test_a_lease_that_runs_is_left_alone(self, tmp_path: Path) -> None:
        """What somebody is sending now is not sent beside."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            plan_id = (await world.send(example())).body["planId"]
            await world.rest(plan_id)
            row = await newest(world, plan_id, KOMPAS)
            later = datetime.now(UTC) + timedelta(minutes=1)
            back = update(delivery).where(delivery.c.id == row["id"]).values(state="sent", due_at=later)
            await world.gateway.store.write(lambda tx: tx.execute(back).rowcount)
            assert await world.gateway.relay.relay_once() is False
            assert (await shown(world, row["id"]))["state"] == "sent"
            assert len(world.receivers["provider-a"].arrivals) == 1

    async def test_a_wake_up_that_comes_twice_sends_once(self, tmp_path: Path) -> None:
        """The broker may repeat itself and come late."""
        async with open_world(tmp_path, retry_seconds=LATER) as world:
            plan_id = (await world.send(example())).body["planId"]
            await world.rest(plan_id)
            row = await newest(world, plan_id, KOMPAS)
            await asyncio.gather(*(world.gateway.deliverer.attempt(row["id"]) for _ in range(5)))
            await world.gateway.deliverer.attempt("nergens")
            assert len(world.receivers["provider-a"].arrivals) == 1


class TestTargets:
    """Outgoing calls reach public addresses and the allowed networks, nothing else."""

    @pytest.mark.parametrize(
        ("address", "allowed"),
        [
            ("10.0.0.1", False),
            ("172.16.0.1", False),
            ("192.168.1.1", False),
            ("100.64.0.1", False),
            ("127.0.0.1", False),
            ("0.0.0.0", False),
            ("169.254.169.254", False),
            ("::1", False),
            ("::", False),
            ("fe80::1", False),
            ("fe80::1%eth0", False),
            ("fc00::1", False),
            ("::ffff:10.0.0.1", False),
            ("::ffff:127.0.0.1", False),
            ("10.1.2.3", True),
            ("fd12::9", True),
            ("93.184.216.34", True),
            ("2606:4700::1111", True),
        ],
    )
    async def test_an_address_is_judged_by_its_network(self, address: str, allowed: bool) -> None:
        """Private, local and metadata addresses are refused unless their network is named."""
        assert guard(["10.1.2.0/24", "fd12::/16"]).allows(address) is allowed

    async def test_a_name_keeps_its_allowed_addresses_only(self) -> None:
        """A name that resolves to loopback is refused; where loopback is allowed, its address is what is connected to."""
        with pytest.raises(TargetNotAllowedError):
            await guard([]).resolve("localhost", 80)
        kept = await guard(["127.0.0.0/8"]).resolve("localhost", 80)
        assert {result["host"] for result in kept} == {"127.0.0.1"}

    @pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::1", "127.0.0.2"])
    async def test_a_literal_address_is_judged_before_anything_is_sent(self, address: str) -> None:
        """aiohttp asks no resolver for a literal, so the connector judges it."""
        async with open_session([ip_network("127.0.0.1/32")], 1) as session:
            with pytest.raises(TargetNotAllowedError):
                await session.connector._resolve_host(address, 80)  # type: ignore[union-attr]


def guard(networks: list[str]) -> GuardedResolver:
    """Return a resolver that allows these networks beside public addresses."""
    return GuardedResolver([ip_network(network) for network in networks])


def test_an_outcome_is_read_from_the_table() -> None:
    """The three kinds of ending are all that there is."""
    from adapters.interface import Answer

    outcomes = {outcome_of(Answer(signal="status", status=code)).state for code in range(300, 600)}
    assert outcomes == {AGAIN, PERSON}
