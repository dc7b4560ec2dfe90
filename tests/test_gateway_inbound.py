"""A sealed plan that comes over AMQP is kept once, by the same intake as over HTTP; what cannot be kept is set aside, still sealed."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aio_pika
import asyncpg
import pytest
import services
from amqp_partners import KOMPAS, PLAN_TYPE, TEAM, PartnerHost, dead_letter, gateway_key, partner_host, sealed, send
from joserfc import jwe
from joserfc.jwk import ECKey
from world import PATIENCE_SECONDS, World, example, open_world

from adapters.inbound_amqp import Arrival, Fault, Letter, format_named, judge
from gateway.callers import new_key
from gateway.embedded_broker import BrokerUnavailable
from gateway.envelope import EncryptionKey, EnvelopeError, seal_to
from gateway.errors import ERRORS
from gateway.inbound import REASONS
from gateway.store.plans import count_plans


@pytest.fixture
def host(rabbitmq_server: services.RabbitMq, tmp_path: Path) -> PartnerHost:
    """The partners' virtual host of one test."""
    return partner_host(rabbitmq_server, tmp_path)


async def taken(world: World, times: int = 1) -> list[dict[str, Any]]:
    """Wait until so many messages were taken or set aside; return what was logged of them."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            rows = [json.loads(line) for line in world.logs().splitlines()]
            found = [row for row in rows if row["event"] == "message_taken"]
            if len(found) >= times:
                return found
            await asyncio.sleep(0.02)


async def plans_of(world: World) -> int:
    """Return how many plans are kept."""
    return await world.gateway.store.read(count_plans)


async def test_a_sealed_plan_becomes_a_plan_of_its_sender(host: PartnerHost, tmp_path: Path) -> None:
    """The same deliveries are planned as over HTTP, and the message is acknowledged."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        await send(host, await sealed(world, example()))
        (row,) = await taken(world)
        assert (row["outcome"], row["code"]) == ("created", "ok")
        found = (await world.team.want("GET", "/v1/deliveries?limit=200"))["items"]
        assert {row["recipient"] for row in found} >= {"kompas", "de-linde", "backoffice"}
    async with host.channel("guest") as channel:
        queue = await channel.get_queue("planbrug.inbound")
        assert queue.declaration_result.message_count == 0


async def test_a_message_that_comes_again_makes_no_second_plan(host: PartnerHost, tmp_path: Path) -> None:
    """Sealed anew under the same id it is the same message, also for a gateway that was started again, and over HTTP."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        await send(host, await sealed(world, example()), message_id="once")
        await taken(world)
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        await send(host, await sealed(world, example()), message_id="once")
        await send(host, await sealed(world, example()), message_id="once")
        assert [row["outcome"] for row in await taken(world, 3)] == ["created", "repeated", "repeated"]
        again = await world.send(json.dumps(example()).encode(), key="once")
        assert (again.status, again.body["outcome"], await plans_of(world)) == (201, "created", 1)


async def test_a_plan_that_was_kept_before_the_message_was_remembered_is_not_kept_twice(
    host: PartnerHost, tmp_path: Path
) -> None:
    """A death between the two leaves the key with the plan: the message that comes again finds it."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        await world.send(json.dumps(example()).encode(), key="once")
        await send(host, await sealed(world, json.dumps(example()).encode()), message_id="once")
        (row,) = await taken(world)
        assert (row["outcome"], await plans_of(world)) == ("created", 1)
        plan = (await world.team.want("GET", "/v1/deliveries?limit=1"))["items"][0]
        assert plan["planVersion"] == 1


async def test_another_body_under_the_same_id_is_set_aside(host: PartnerHost, tmp_path: Path) -> None:
    """The plan stays as it was."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        await send(host, await sealed(world, example()), message_id="once")
        other = await sealed(world, example(edit=lambda document: document["doelen"].pop()))
        await send(host, other, message_id="once")
        dead = await dead_letter(host)
        assert (dead.headers["reason"], dead.body) == ("key-reused", other)
        assert (dead.headers["sender"], dead.headers["message-id"], dead.user_id) == (TEAM, "once", None)


async def wrong_key(world: World) -> bytes:
    return seal_to(dict(new_key().as_dict(private=False)), json.dumps(example()).encode(), PLAN_TYPE)


async def altered(world: World) -> bytes:
    body = await sealed(world, example())
    return body[:-3] + (b"AAA" if body[-3:] != b"AAA" else b"BBB")


async def another_algorithm(world: World) -> bytes:
    key = ECKey.import_key(await gateway_key(world) | {"alg": "ECDH-ES"})
    header = {"alg": "ECDH-ES", "enc": "A256GCM", "cty": PLAN_TYPE}
    return jwe.encrypt_compact(header, b"{}", key, algorithms=["ECDH-ES", "A256GCM"]).encode()


async def compressed(world: World) -> bytes:
    key = ECKey.import_key(await gateway_key(world))
    header = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "zip": "DEF", "cty": PLAN_TYPE}
    return jwe.encrypt_compact(header, b" " * 1000, key, algorithms=["ECDH-ES+A256KW", "A256GCM", "DEF"]).encode()


async def too_large(world: World) -> bytes:
    return await sealed(world, b" " * 30_001)


async def far_too_large(world: World) -> bytes:
    return b"a" * 100_000


Make = Callable[[World], Awaitable[bytes]]


def of(document: dict[str, Any] | bytes, content_type: str = PLAN_TYPE) -> Make:
    async def make(world: World) -> bytes:
        return await sealed(world, document, content_type)

    return make


async def in_the_open(world: World) -> bytes:
    return json.dumps(example()).encode()


POISON = {
    "not sealed": (in_the_open, {}, "envelope"),
    "sealed to another key": (wrong_key, {}, "envelope"),
    "altered on the way": (altered, {}, "envelope"),
    "with another algorithm": (another_algorithm, {}, "envelope"),
    "compressed, which could unfold without end": (compressed, {}, "envelope"),
    "over the limit once opened": (too_large, {}, "too-large"),
    "over the limit while sealed": (far_too_large, {}, "too-large"),
    "without a usable id": (of(example()), {"message_id": "twee woorden"}, "parameter"),
    "without a user": (of(example()), {"user_id": None}, "unauthenticated"),
    "of a client that may not send plans": (of(example()), {"user": KOMPAS, "user_id": KOMPAS}, "scope"),
    "of another content type": (of(example()), {"content_type": "application/json"}, "media-type"),
    "without a format": (of(example(), ""), {}, "format"),
    "in a format that is not there": (of(example(), "application/vnd.planbrug.nergens+json"), {}, "format"),
    "with no JSON inside": (of(b"{"), {}, "json"),
    "with a document that is not right": (of({"planNummer": 1}), {}, "document"),
}


async def test_what_can_never_be_kept_is_set_aside_sealed_with_its_reason(host: PartnerHost, tmp_path: Path) -> None:
    """Each kind of poison; nothing is kept, nothing is opened in the dead letter, and the next message is taken."""
    async with open_world(tmp_path, partner_amqp_url=host.url(), max_body_bytes=30_000) as world:
        for name, (make, properties, reason) in POISON.items():
            body = await make(world)
            await send(host, body, **properties)
            dead = await dead_letter(host)
            assert (name, dead.headers["reason"], dead.body) == (name, reason, body)
        assert await plans_of(world) == 0
        await send(host, await sealed(world, example()))
        assert (await taken(world, len(POISON) + 1))[-1]["outcome"] == "created"


async def test_a_user_that_is_no_client_of_the_directory_is_set_aside(host: PartnerHost, tmp_path: Path) -> None:
    """RabbitMQ lets it in, the gateway does not."""
    host.server.control("set_permissions", "-p", host.vhost, "guest", ".*", ".*", ".*")
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        body = await sealed(world, example())
        async with host.channel("guest") as channel:
            exchange = await channel.get_exchange("planbrug.inbound", ensure=False)
            await exchange.publish(
                aio_pika.Message(body, content_type="application/jose", message_id="1", user_id="guest"), ""
            )
        assert (await dead_letter(host)).headers["reason"] == "unauthenticated"


async def test_versions_of_one_sender_are_taken_in_the_order_of_sending(host: PartnerHost, tmp_path: Path) -> None:
    """Twenty versions at once end with the last one."""
    async with open_world(tmp_path, partner_amqp_url=host.url()) as world:
        versions = [
            await sealed(
                world, example(edit=lambda document, n=n: document["doelen"][0].update(omschrijving=f"doel {n}"))
            )
            for n in range(12)
        ]
        async with host.channel(TEAM) as channel:
            exchange = await channel.get_exchange("planbrug.inbound", ensure=False)
            for number, body in enumerate(versions):
                message = aio_pika.Message(body, content_type="application/jose", message_id=str(number), user_id=TEAM)
                await exchange.publish(message, "")
        await taken(world, 12)
        plan_id = (await world.team.want("GET", "/v1/deliveries?limit=1"))["items"][0]["planId"]
        shown = await world.team.want("GET", f"/v1/plans/{plan_id}?format=plan-van-aanpak")
        assert "doel 11" in json.dumps(shown)


async def test_a_message_waits_while_the_database_is_away(
    host: PartnerHost, tmp_path: Path, postgres_server: services.PostgreSql, postgres_url: str
) -> None:
    """Nothing is set aside for what is no fault of the message; it is kept when the database is back."""
    name = postgres_url.rpartition("/")[2]
    administrator = await asyncpg.connect(postgres_server.url_of("postgres"))
    async with open_world(tmp_path, partner_amqp_url=host.url(), database_url=postgres_url) as world:
        body = await sealed(world, example())
        await administrator.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        await administrator.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await send(host, body)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while '"message_held"' not in world.logs():
                await asyncio.sleep(0.02)
        await administrator.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
        assert (await taken(world))[0]["outcome"] == "created"
        assert await plans_of(world) == 1
    await administrator.close()
    async with host.channel("guest") as channel:
        assert (await channel.get_queue("planbrug.dead")).declaration_result.message_count == 0


async def test_a_message_waits_while_there_is_no_room_for_another_plan(host: PartnerHost, tmp_path: Path) -> None:
    """What HTTP answers with 429 stays in the queue here, and is no fault of the message."""
    async with open_world(tmp_path, partner_amqp_url=host.url(), max_intake_at_once=1) as world:
        body = await sealed(world, example())
        with world.gateway.pressure.admitted():
            await send(host, body)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while '"message_held"' not in world.logs():
                    await asyncio.sleep(0.02)
        assert (await taken(world))[0]["outcome"] == "created"


async def test_a_gateway_does_not_start_on_another_topology(host: PartnerHost, tmp_path: Path) -> None:
    """A missing exchange is named, and so is a queue with other arguments for a user that may declare."""
    async with host.channel("guest") as channel:
        await channel.exchange_delete("planbrug.notifications")
    with pytest.raises(BrokerUnavailable, match=r"definitions\.json: .*planbrug\.notifications"):
        async with open_world(tmp_path / "a", partner_amqp_url=host.url()):
            pass
    as_administrator = host.server.url_of(user="guest", password="guest", vhost=host.vhost)
    async with host.channel("guest") as channel:
        await channel.queue_delete("planbrug.inbound")
        await channel.declare_queue("planbrug.inbound", durable=True)
    with pytest.raises(BrokerUnavailable, match=r"definitions\.json: .*planbrug\.inbound"):
        async with open_world(tmp_path / "b", partner_amqp_url=as_administrator):
            pass


async def test_a_user_that_may_declare_finds_the_shipped_topology_the_same(host: PartnerHost, tmp_path: Path) -> None:
    """Declaring proves that definitions.json and the code have the same arguments."""
    url = host.server.url_of(user="guest", password="guest", vhost=host.vhost)
    async with open_world(tmp_path, partner_amqp_url=url) as world:
        assert world.gateway.partners.ready


class TestWhatAPartnerCannotDo:
    """RabbitMQ holds every partner to its own."""

    async def test_read_anothers_notifications(self, host: PartnerHost) -> None:
        for queue in ("planbrug.kompas.notifications", "planbrug.inbound", "planbrug.dead"):
            async with host.channel(TEAM) as channel:
                found = await channel.get_queue(queue, ensure=False)
                with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
                    await found.get(fail=False)

    async def test_write_anywhere_but_to_the_gateway(self, host: PartnerHost) -> None:
        for exchange, key in (("planbrug.notifications", "planbrug.kompas.notifications"), ("planbrug.dead", "")):
            async with host.channel(TEAM) as channel:
                place = await channel.get_exchange(exchange, ensure=False)
                with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
                    await place.publish(aio_pika.Message(b"x"), key)
        async with host.channel(TEAM) as channel:
            with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
                await channel.default_exchange.publish(aio_pika.Message(b"x"), "planbrug.kompas.notifications")

    async def test_say_that_it_is_another(self, host: PartnerHost) -> None:
        with pytest.raises(aio_pika.exceptions.ChannelClosed, match="user_id"):
            await send(host, b"x", user=KOMPAS, user_id=TEAM)

    async def test_declare_bind_or_delete(self, host: PartnerHost) -> None:
        async with host.channel(KOMPAS) as channel:
            with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
                await channel.declare_queue("planbrug.elders", durable=True)
        async with host.channel(KOMPAS) as channel:
            with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
                await channel.queue_delete("planbrug.kompas.notifications")


class TestTheEnvelope:
    """Only what was sealed to this key, with these algorithms, opens."""

    def test_what_was_sealed_opens_with_its_type(self) -> None:
        key = EncryptionKey(new_key(), 100)
        opened = key.open(seal_to(key.public(), b"plan", PLAN_TYPE))
        assert (opened.body, opened.content_type) == (b"plan", PLAN_TYPE)

    def test_a_body_above_sixty_four_thousand_bytes_opens(self) -> None:
        key = EncryptionKey(new_key(), 200_000)
        assert len(key.open(seal_to(key.public(), b"p" * 200_000, PLAN_TYPE)).body) == 200_000

    @pytest.mark.parametrize(
        "body",
        [b"", b"....", b"a.b.c.d.e", b"\xff\xfe", b"e30....", b"bnVsbA....", b"eyJhbGciOjF9.a.b.c.d", b"W10.a.b.c.d"],
    )
    def test_garbage_is_refused_as_such(self, body: bytes) -> None:
        with pytest.raises(EnvelopeError):
            EncryptionKey(new_key(), 100).open(body)

    def test_a_former_key_is_refused(self) -> None:
        key = EncryptionKey(new_key(), 100)
        with pytest.raises(EnvelopeError):
            key.open(seal_to(key.public() | {"kid": "former"}, b"plan", PLAN_TYPE))


GOOD = Arrival(body=b"x", content_type="application/jose", message_id="1", user_id="team")


@pytest.mark.parametrize(
    ("arrival", "judged"),
    [
        (GOOD, Letter(sender="team", key="1", sealed=b"x")),
        (Arrival(body=b"x", content_type="application/jose", message_id=None, user_id="team"), Fault("parameter")),
        (Arrival(body=b"x", content_type="application/jose", message_id="a" * 256, user_id="team"), Fault("parameter")),
        (Arrival(body=b"x", content_type=None, message_id="1", user_id="team"), Fault("media-type")),
        (Arrival(body=b"x" * 11, content_type="application/jose", message_id="1", user_id="team"), Fault("too-large")),
        (Arrival(body=b"x", content_type="application/jose", message_id="1", user_id=None), Fault("unauthenticated")),
    ],
    ids=["whole", "without an id", "a long id", "without a type", "too large", "without a user"],
)
def test_a_message_is_judged_before_it_is_opened(arrival: Arrival, judged: Letter | Fault) -> None:
    assert judge(arrival, 10) == judged


@pytest.mark.parametrize(
    ("content_type", "name"),
    [
        ("application/vnd.planbrug.plan-van-aanpak+json", "plan-van-aanpak"),
        ("vnd.planbrug.plan-van-aanpak+json", "plan-van-aanpak"),
        ("application/json", None),
        ("application/vnd.planbrug.../x+json", None),
    ],
)
def test_the_format_stands_in_the_content_type(content_type: str, name: str | None) -> None:
    assert format_named(content_type) == name


def test_every_reason_of_a_dead_letter_is_a_row_of_the_table_of_errors() -> None:
    assert set(REASONS) <= ERRORS.keys()
    assert {reason for _, _, reason in POISON.values()} | {"key-reused", "internal"} == set(REASONS)
