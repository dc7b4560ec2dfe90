"""A partner over AMQP is notified, pulls what it may see at that moment, and confirms; the notification itself tells nothing."""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import services
from aio_pika.abc import AbstractIncomingMessage
from amqp_partners import KOMPAS as KOMPAS_USER
from amqp_partners import PartnerHost, next_of, partner_host
from world import PATIENCE_SECONDS, World, example, open_world

from adapters.interface import Answer, Parcel, Written
from consent.choice import Choice
from gateway.api.asyncapi import described
from gateway.callers import Caller
from gateway.client import Answered, GatewayClient
from gateway.demo.vlinderstad import FINN_CHOICES, MARLOES_CHOICES
from gateway.directory import Endpoint
from gateway.seal import sha256_hex
from gateway.store.choices import ChoicesRow, add_choices
from mappings.codes import OrganisationKind

KOMPAS = "kompas"
QUEUE = "planbrug.kompas.notifications"
OPEN = {"acknowledged", "withheld", "unchanged", "superseded", "parked", "waiting", "sent"}
LATER = (3600.0,)

Row = dict[str, Any]


@pytest.fixture
def host(rabbitmq_server: services.RabbitMq, tmp_path: Path) -> PartnerHost:
    """The partners' virtual host of one test."""
    return partner_host(rabbitmq_server, tmp_path)


NO_GOALS = {**MARLOES_CHOICES[1], "parts": [{"kinds": ["goal"]}]}


async def over_amqp(world: World, kind: OrganisationKind = "care-provider") -> GatewayClient:
    """Let Kompas receive over AMQP, and return its caller."""
    kompas = (await world.gateway.directory.now()).entries[KOMPAS]
    endpoints = (Endpoint(adapter="amqp", format="plan-van-aanpak"),)
    await world.gateway.directory.put(msgspec.structs.replace(kompas, kind=kind, endpoints=endpoints))
    return world.clients["provider-a"]


async def family(world: World) -> tuple[str, str]:
    """Send the rich example with the family's choices; return plan id and Marloes' id."""
    sent = (await world.send(example())).body
    residents = {row["reference"]: row["id"] for row in sent["residents"]}
    await world.choose(residents["marloes"], MARLOES_CHOICES)
    await world.choose(residents["finn"], FINN_CHOICES)
    await world.rest(sent["planId"], OPEN)
    return sent["planId"], residents["marloes"]


async def to_kompas(world: World, plan_id: str) -> list[Row]:
    """Return the deliveries to Kompas that are not over and done with, oldest first."""
    return [row for row in await world.deliveries(plan_id) if row["recipient"] == KOMPAS]


async def settled(world: World, plan_id: str, state: str, reason: str | None) -> Row:
    """Wait until the newest delivery to Kompas is in this state for this reason."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            row = (await to_kompas(world, plan_id))[-1]
            if (row["state"], row["reason"]) == (state, reason):
                return row
            await asyncio.sleep(0.02)


async def notification(host: PartnerHost) -> AbstractIncomingMessage:
    """Wait for the next notification to Kompas, as Kompas."""
    async with host.channel(KOMPAS_USER) as channel:
        return await next_of(await channel.get_queue(QUEUE, ensure=False))


async def waiting_notifications(host: PartnerHost) -> int:
    """Return how many notifications wait for Kompas."""
    async with host.channel(KOMPAS_USER) as channel:
        return int((await channel.get_queue(QUEUE)).declaration_result.message_count or 0)


async def pull(client: GatewayClient, delivery_id: str) -> tuple[int, bytes, dict[str, str]]:
    """GET the document; return status, bytes and headers."""
    url = f"{client._base_url}/v1/deliveries/{delivery_id}/document"
    async with client._session.get(url, headers=client._headers) as response:
        return response.status, await response.read(), dict(response.headers)


async def confirm(client: GatewayClient, delivery_id: str, sha256: str) -> Answered:
    """POST the receipt."""
    return await client.ask("POST", f"/v1/deliveries/{delivery_id}/receipts", json_body={"sha256": sha256})


async def receipts_of(world: World, plan_id: str) -> list[Row]:
    """Return the receipts of a plan at Kompas, as the team sees them."""
    found = await world.team.want("GET", f"/v1/receipts?planId={plan_id}&recipient={KOMPAS}&limit=200")
    return list(found["items"])


async def carried(world: World, plan_id: str) -> list[set[str]]:
    """Return the kinds of parts in each receipt of a plan at Kompas."""
    return [{part["kind"] for part in each["parts"]} for each in await receipts_of(world, plan_id)]


async def keep_choices_only(world: World, resident: str, choices: list[dict[str, Any]]) -> None:
    """Keep choices as a crash before the planning leaves them: in the database, with nothing planned or ended."""
    gateway = world.gateway
    version = (await gateway.choosing.get(resident)).version + 1
    made = tuple(
        msgspec.structs.replace(choice, id=gateway.clock.new_id(), version=version)
        for choice in msgspec.convert(choices, list[Choice])
    )
    body = await gateway.choosing._vault.seal_choices(resident, version, made)
    row = ChoicesRow(resident=resident, version=version, body=body, at=gateway.clock.now(), changed_by="test")
    assert await gateway.store.write(lambda tx: add_choices(tx, row))


def has_ended(world: World, delivery_id: str) -> bool:
    """Say whether an attempt at a delivery has ended, which is logged with the time that it took."""
    lines = [json.loads(line) for line in world.logs().splitlines()]
    return any(line.get("delivery") == delivery_id and "seconds" in line for line in lines)


def changed(number: int) -> dict[str, Any]:
    """Return the example with a change that Kompas sees."""
    return example(edit=lambda document: document["doelen"][0].update(omschrijving=f"Schulden regelen, stap {number}."))


async def test_a_notification_a_pull_and_a_receipt_make_a_delivery(host: PartnerHost, tmp_path: Path) -> None:
    """Nothing is disclosed until the pull; its bytes are what a push would carry; the receipt acknowledges."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        kompas = await over_amqp(world)
        plan_id, _ = await family(world)
        row = await settled(world, plan_id, "sent", "notified")
        assert await receipts_of(world, plan_id) == []

        status, body, headers = await pull(kompas, row["id"])
        assert (status, headers["Planbrug-Delivery"]) == (200, row["id"])
        assert (headers["Planbrug-Sequence"], headers["Planbrug-Sha256"]) == ("1", sha256_hex(body))
        assert (await settled(world, plan_id, "sent", "pulled"))["id"] == row["id"]
        assert [(each["exit"], each["code"], each["deliveryId"]) for each in await receipts_of(world, plan_id)] == [
            ("delivery", "pulled", row["id"])
        ]

        answered = await confirm(kompas, row["id"], sha256_hex(body))
        assert (answered.status, answered.body["state"]) == (200, "acknowledged")
        (receipt,) = await receipts_of(world, plan_id)
        assert (receipt["code"], receipt["sha256"], bool(receipt["parts"])) == ("acknowledged", sha256_hex(body), True)
        assert json.loads(body) == await kompas.want("GET", f"/v1/plans/{plan_id}?format=plan-van-aanpak")


async def test_a_notification_says_where_and_nothing_else(host: PartnerHost, tmp_path: Path) -> None:
    """No plan, no person, no number; persistent, and structured as CloudEvents wants it."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        await over_amqp(world)
        plan_id, _ = await family(world)
        row = await settled(world, plan_id, "sent", "notified")
        while True:  # deliveries before the choices were made have notifications of their own
            message = await notification(host)
            event = json.loads(message.body)
            if event["dataref"].split("/")[-2] == row["id"]:
                break
        assert event == {
            "specversion": "1.0",
            "id": event["id"],
            "source": "urn:nld:planbrug",
            "type": "nl.planbrug.plan-changed.v1",
            "dataref": f"{world.gateway.public_url}/v1/deliveries/{row['id']}/document",
        }
        assert (message.content_type, message.delivery_mode, message.headers) == ("application/cloudevents+json", 2, {})
        assert plan_id not in message.body.decode()


async def test_nobody_else_pulls_or_confirms(host: PartnerHost, tmp_path: Path) -> None:
    """For everybody but the recipient there is no such delivery; nor is there one that is pushed."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        kompas = await over_amqp(world)
        plan_id, _ = await family(world)
        row = await settled(world, plan_id, "sent", "notified")
        for name in ("team", "provider-b", "admin"):
            assert (await pull(world.clients[name], row["id"]))[0] == 404
            assert (await confirm(world.clients[name], row["id"], "0" * 64)).status == 404
        assert (await pull(kompas, "nergens"))[0] == 404
        pushed = [each for each in await world.deliveries(plan_id) if each["recipient"] == "de-linde"][-1]
        assert (await pull(world.clients["provider-b"], pushed["id"]))[0] == 404


async def test_a_withdrawal_after_the_notification_leaves_nothing_to_pull(host: PartnerHost, tmp_path: Path) -> None:
    """The delivery is withheld, the pull finds nothing, and the next delivery has the number that it would have had."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        kompas = await over_amqp(world, kind="volunteers")
        sent = (await world.send(example())).body
        marloes = next(row["id"] for row in sent["residents"] if row["reference"] == "marloes")
        plan_id = sent["planId"]
        await world.choose(marloes, MARLOES_CHOICES)
        row = await settled(world, plan_id, "sent", "notified")
        await world.choose(marloes, [])
        assert (await settled(world, plan_id, "withheld", "no-choice"))["id"] == row["id"]
        assert ((await pull(kompas, row["id"]))[0], await receipts_of(world, plan_id)) == (404, [])
        await world.choose(marloes, MARLOES_CHOICES)
        fresh = await settled(world, plan_id, "sent", "notified")
        assert (await pull(kompas, fresh["id"]))[2]["Planbrug-Sequence"] == "1"


async def test_the_pull_itself_decides(host: PartnerHost, tmp_path: Path) -> None:
    """Even when nothing ended the delivery before: who lost its ground meanwhile gets a 404, and the delivery is withheld."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        kompas = await over_amqp(world)
        sent = (await world.send(example())).body
        row = await settled(world, sent["planId"], "sent", "notified")
        entry = (await world.gateway.directory.now()).entries[KOMPAS]
        await world.gateway.directory.put(msgspec.structs.replace(entry, kind="volunteers"))
        assert (await pull(kompas, row["id"]))[0] == 404
        assert (await settled(world, sent["planId"], "withheld", "no-choice"))["id"] == row["id"]
        assert await receipts_of(world, sent["planId"]) == []


async def test_a_no_after_the_notification_narrows_the_pull(host: PartnerHost, tmp_path: Path) -> None:
    """The same delivery carries less, and nobody is notified again."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        kompas = await over_amqp(world)
        plan_id, marloes = await family(world)
        row = await settled(world, plan_id, "sent", "notified")
        before = await waiting_notifications(host)
        await world.choose(marloes, [*MARLOES_CHOICES, NO_GOALS])
        assert (await settled(world, plan_id, "sent", "notified"))["id"] == row["id"]
        assert (await pull(kompas, row["id"]))[0] == 200
        assert "goal" not in (await carried(world, plan_id))[-1]
        assert await waiting_notifications(host) == before


async def test_a_second_pull_may_narrow_and_never_widens(host: PartnerHost, tmp_path: Path) -> None:
    """Each pull decides and has its receipt; only the hash of the last one confirms."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        kompas = await over_amqp(world)
        plan_id, marloes = await family(world)
        row = await settled(world, plan_id, "sent", "notified")
        bodies = []
        for choices in (MARLOES_CHOICES, [*MARLOES_CHOICES, NO_GOALS], MARLOES_CHOICES):
            await keep_choices_only(world, marloes, choices)
            bodies.append((await pull(kompas, row["id"]))[1])
        assert [("goal" in kinds) for kinds in await carried(world, plan_id)] == [True, False, False]
        refused = await confirm(kompas, row["id"], sha256_hex(bodies[0]))
        assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, "/sha256")
        assert (await confirm(kompas, row["id"], sha256_hex(bodies[2]))).status == 200
        assert [each["code"] for each in await receipts_of(world, plan_id)] == ["pulled", "pulled", "acknowledged"]


async def test_a_receipt_is_taken_once_and_only_after_a_pull(host: PartnerHost, tmp_path: Path) -> None:
    """The same receipt again changes nothing; another one, or one before the pull, is refused."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        kompas = await over_amqp(world)
        plan_id, _ = await family(world)
        row = await settled(world, plan_id, "sent", "notified")
        assert (await confirm(kompas, row["id"], "0" * 64)).status == 409
        assert (await confirm(kompas, row["id"], "geen hash")).status == 422
        _, body, _ = await pull(kompas, row["id"])
        ended = (await confirm(kompas, row["id"], sha256_hex(body))).body
        again = await confirm(kompas, row["id"], sha256_hex(body).upper())
        assert (again.status, again.body) == (200, ended)
        assert (await confirm(kompas, row["id"], "0" * 64)).status == 422
        assert (await pull(kompas, row["id"]))[0] == 409


@pytest.mark.parametrize("what", ["nothing", "a choice", "the directory", "a receipt"])
async def test_a_pull_looks_again_when_something_changed_since_the_look(tmp_path: Path, what: str) -> None:
    """As another process can do it between the look and the transaction; the control is that nothing happened."""
    async with open_world(tmp_path, retry_seconds=LATER) as world:
        await over_amqp(world)
        plan_id, marloes = await family(world)
        row_id = (await settled(world, plan_id, "waiting", "not-connected"))["id"]
        gateway = world.gateway
        entry, client = (await gateway.directory.now()).clients[KOMPAS_USER]
        caller = Caller(entry=entry, client=client, scopes=frozenset(client.scopes))
        row, loaded = await gateway.pulling._open_row(row_id, caller), await gateway.sight.load(plan_id)
        assert loaded is not None
        look = partial(gateway.pulling._disclosed, pull=await gateway.pulling._look(row, loaded, caller))
        if what == "a choice":
            await keep_choices_only(world, marloes, [])
        elif what == "the directory":
            await gateway.directory.put(msgspec.structs.replace(entry, name="Kompas Zorg"))
        elif what == "a receipt":
            body = (await gateway.pulling.pull(row_id, caller)).body
            await gateway.pulling.confirm(row_id, sha256_hex(body), caller)
        assert (await gateway.store.write(look) is not None) == (what == "nothing")


async def test_who_pulls_before_the_notification_is_settled_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partner may be quicker than our own bookkeeping, which then leaves the pull as it is."""
    async with open_world(tmp_path, retry_seconds=LATER) as world:
        kompas = await over_amqp(world)
        came, go_on = asyncio.Event(), asyncio.Event()

        async def slow(_parcel: Parcel, _written: Written) -> Answer:
            came.set()
            await go_on.wait()
            return Answer(signal="notified", left=False)

        monkeypatch.setitem(world.gateway.deliverer._senders, "amqp", slow)
        sent = (await world.send(example())).body
        await asyncio.wait_for(came.wait(), PATIENCE_SECONDS)
        row = (await to_kompas(world, sent["planId"]))[-1]
        status, body, _ = await pull(kompas, row["id"])
        assert (status, (await confirm(kompas, row["id"], sha256_hex(body))).status) == (200, 200)
        go_on.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not has_ended(world, row["id"]):
                await asyncio.sleep(0.02)
        row = (await to_kompas(world, sent["planId"]))[-1]
        assert (row["state"], [each["code"] for each in await receipts_of(world, sent["planId"])]) == (
            "acknowledged",
            ["acknowledged"],
        )


@pytest.mark.parametrize("was_pulled", [False, True], ids=["notified", "pulled"])
async def test_a_newer_version_takes_the_place_of_one_that_was_not_confirmed(
    host: PartnerHost, tmp_path: Path, was_pulled: bool
) -> None:
    """It does not wait for it. A number that was never seen is used again, one that was is not."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        kompas = await over_amqp(world)
        plan_id, _ = await family(world)
        old = await settled(world, plan_id, "sent", "notified")
        if was_pulled:
            assert (await pull(kompas, old["id"]))[0] == 200
        await world.send(changed(2))
        await world.rest(plan_id, OPEN)
        new = await settled(world, plan_id, "sent", "notified")
        rows = {row["id"]: (row["state"], row["reason"]) for row in await to_kompas(world, plan_id)}
        assert rows[old["id"]] == ("superseded", "newer-version")
        status, body, headers = await pull(kompas, new["id"])
        assert (status, headers["Planbrug-Sequence"]) == (200, "2" if was_pulled else "1")
        assert "stap 2" in body.decode()


async def test_an_edit_that_the_recipient_cannot_see_notifies_nobody(host: PartnerHost, tmp_path: Path) -> None:
    """The delivery that was notified stays, for the newer version."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        kompas = await over_amqp(world)
        plan_id, _ = await family(world)
        old = await settled(world, plan_id, "sent", "notified")
        before = await waiting_notifications(host)
        hidden = example(edit=lambda document: document["zorgen"][0].update(tekst="Iets anders."))
        assert (await world.send(hidden)).body["outcome"] == "changed"
        assert (await settled(world, plan_id, "unchanged", "same-view"))["id"] != old["id"]
        assert await waiting_notifications(host) == before
        assert (await pull(kompas, old["id"]))[0] == 200


async def test_whoever_does_not_pull_is_notified_again_and_then_it_is_parked(host: PartnerHost, tmp_path: Path) -> None:
    """As often as the schedule has waits, and once more; a retry by a person begins anew."""
    async with open_world(
        tmp_path, partner_amqp_url=host.url(), receipt_deadline_seconds=0.3, retry_seconds=(0.05, 0.05)
    ) as world:
        kompas = await over_amqp(world)
        sent = (await world.send(example())).body
        row = await settled(world, sent["planId"], "parked", "no-receipt")
        assert (row["attempts"], await waiting_notifications(host)) == (3, 3)
        assert (await receipts_of(world, sent["planId"]), (await pull(kompas, row["id"]))[0]) == ([], 404)
        await world.team.want("POST", f"/v1/deliveries/{row['id']}/retries")
        assert (await settled(world, sent["planId"], "sent", "notified"))["attempts"] == 1


async def test_without_a_queue_the_delivery_waits_for_one(host: PartnerHost, tmp_path: Path) -> None:
    """The reason says so; once the queue is there the notification comes."""
    async with host.channel("guest") as channel:
        await channel.queue_delete(QUEUE)
    async with open_world(tmp_path, partner_amqp_url=host.url(), retry_seconds=LATER) as world:
        await over_amqp(world)
        sent = (await world.send(example())).body
        row = await settled(world, sent["planId"], "waiting", "no-queue")
        async with host.channel("guest") as channel:
            queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
            await queue.bind("planbrug.notifications", QUEUE)
        await world.team.want("POST", f"/v1/deliveries/{row['id']}/retries")
        await settled(world, sent["planId"], "sent", "notified")
        assert await waiting_notifications(host) == 1


async def test_without_a_partner_broker_the_delivery_waits(tmp_path: Path) -> None:
    """And may be pulled all the same, by who asks for its deliveries."""
    async with open_world(tmp_path, retry_seconds=LATER) as world:
        kompas = await over_amqp(world)
        sent = (await world.send(example())).body
        row = await settled(world, sent["planId"], "waiting", "not-connected")
        assert (await receipts_of(world, sent["planId"]), (await pull(kompas, row["id"]))[0]) == ([], 200)


async def test_a_restart_notifies_nobody_again(host: PartnerHost, tmp_path: Path) -> None:
    """What is in the recipient's hands keeps its deadline."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        await over_amqp(world)
        plan_id, _ = await family(world)
        row = await settled(world, plan_id, "sent", "notified")
        before = await waiting_notifications(host)
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        kompas = await over_amqp(world)
        await world.send(example("concept-zonder-akkoord"))
        assert (await to_kompas(world, plan_id))[-1]["attempts"] == row["attempts"]
        assert await waiting_notifications(host) == before
        assert (await pull(kompas, row["id"]))[0] == 200


async def test_who_was_notified_finds_nothing_after_a_stop(host: PartnerHost, tmp_path: Path) -> None:
    """A person may stop it; what was pulled before can still be confirmed."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        kompas = await over_amqp(world)
        sent = (await world.send(example())).body
        row = await settled(world, sent["planId"], "sent", "notified")
        await world.team.want("POST", f"/v1/deliveries/{row['id']}/stops")
        assert (await pull(kompas, row["id"]))[0] == 404
        await world.team.want("POST", f"/v1/deliveries/{row['id']}/retries")
        await settled(world, sent["planId"], "sent", "notified")
        _, body, _ = await pull(kompas, row["id"])
        assert (await world.team.ask("POST", f"/v1/deliveries/{row['id']}/stops")).status == 200
        assert (await pull(kompas, row["id"]))[0] == 409
        assert (await confirm(kompas, row["id"], sha256_hex(body))).status == 200


async def test_on_postgresql_it_is_the_same(host: PartnerHost, tmp_path: Path, postgres_url: str) -> None:
    """Notified, pulled, confirmed."""
    async with open_world(tmp_path, partner_amqp_url=host.url(), database_url=postgres_url) as world:
        kompas = await over_amqp(world)
        plan_id, _ = await family(world)
        row = await settled(world, plan_id, "sent", "notified")
        _, body, _ = await pull(kompas, row["id"])
        assert (await confirm(kompas, row["id"], sha256_hex(body))).body["state"] == "acknowledged"


def references(value: Any) -> list[str]:
    """Return every $ref in a document."""
    if isinstance(value, dict):
        return [value["$ref"]] if "$ref" in value else [ref for each in value.values() for ref in references(each)]
    return [ref for each in value for ref in references(each)] if isinstance(value, list) else []


async def test_the_exchange_is_described_to_anybody(tmp_path: Path) -> None:
    """AsyncAPI 3.0, whose references lead somewhere, and whose names are those of the exchange."""
    async with open_world(tmp_path) as world:
        async with world.session.get(f"{world.gateway.public_url}/v1/asyncapi.json") as response:
            assert response.status == 200
            document = await response.json()
        assert document == json.loads(
            msgspec.json.encode(described(world.gateway.public_url, world.gateway.shelf.names()))
        )
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= document["info"].keys()
    assert references(document)
    for reference in references(document):
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    assert document["channels"]["inbound"]["address"] == "planbrug.inbound"
    assert document["channels"]["notifications"]["address"] == "planbrug.{organisation}.notifications"
    assert {each["action"] for each in document["operations"].values()} == {"send", "receive"}
