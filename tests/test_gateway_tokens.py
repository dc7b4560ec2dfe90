"""An endpoint that asks for a token gets a fresh one at every attempt; without a token no byte of a plan goes out."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import services
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import KeySet
from msgspec.structs import replace
from receivers import receipt, status
from world import PATIENCE_SECONDS, World, example, open_world

from gateway.callers import ASSERTION_TYPE, client_assertion, new_key

KOMPAS = "kompas"
LATER = (3600.0,)
SCOPE = "system/Bundle.c"

Row = dict[str, Any]
TokenAnswer = Callable[[web.Request, dict[str, str]], Awaitable[web.StreamResponse]]


class TokenEndpoint:
    """The token endpoint of Kompas: judges the assertion by the gateway's published keys, and gives tokens that are used up at once."""

    def __init__(self) -> None:
        self.url = ""
        self.forms: list[dict[str, str]] = []
        self.given: list[str] = []
        self.expired: set[str] = set()
        self.answers: list[TokenAnswer] = []
        self.keys: dict[str, Any] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        if self.answers:
            return await self.answers.pop(0)(request, form)
        return self.give()

    def give(self) -> web.StreamResponse:
        token = f"geheim-toegangsbewijs-{len(self.given)}"
        self.given.append(token)
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": 300})

    async def admitted(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """Answer as a receiver that admits only who has a token that is good now."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.given or token in self.expired:
            return web.Response(status=401)
        return await receipt(request, body)

    def claims(self, position: int) -> dict[str, Any]:
        """Return what an assertion says, its signature verified."""
        keys = KeySet.import_key_set(self.keys)  # type: ignore[arg-type]
        decoded = jwt.decode(self.forms[position]["client_assertion"], keys, algorithms=["ES384"])
        return {**decoded.claims, "alg": decoded.header["alg"]}


@asynccontextmanager
async def asked_for_tokens(tmp_path: Path, **known: Any) -> AsyncIterator[tuple[World, TokenEndpoint]]:
    """Open a world in which Kompas admits only who has a token."""
    endpoint = TokenEndpoint()
    app = web.Application()
    app.router.add_post("/token", endpoint.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    try:
        async with open_world(tmp_path, **{"retry_seconds": LATER, "send_timeout_seconds": 3, **known}) as world:
            async with world.session.get(f"{world.gateway.public_url}/.well-known/jwks.json") as answered:
                endpoint.keys = await answered.json()
            await wants_token(world, endpoint.url)
            world.receivers["provider-a"].answer = endpoint.admitted
            yield world, endpoint
    finally:
        await runner.cleanup()


async def wants_token(world: World, token_url: str) -> None:
    """Let the directory say where Kompas' tokens are had."""
    kompas = (await world.gateway.directory.now()).entries[KOMPAS]
    there = replace(kompas.endpoints[0], token_url=token_url, client_id="planbrug-vlinderstad", scope=SCOPE)
    await world.gateway.directory.put(replace(kompas, endpoints=(there,)))


async def to_kompas(world: World) -> Row:
    """Send the example, wait until nothing happens by itself, and return the delivery to Kompas."""
    plan_id = (await world.send(example())).body["planId"]
    return await rested(world, plan_id)


async def rested(world: World, plan_id: str) -> Row:
    """Return the delivery of a plan to Kompas once it rests."""
    return next(row for row in await world.rest(plan_id) if row["recipient"] == KOMPAS)


async def again(world: World, row: Row) -> Row:
    """Let it be tried again, and return it once it rests."""
    assert (await world.team.ask("POST", f"/v1/deliveries/{row['id']}/retries")).status == 200
    return await rested(world, row["planId"])


async def receipts_of(world: World, row: Row) -> list[Row]:
    found = (await world.team.want("GET", "/v1/receipts?limit=200"))["items"]
    return [each for each in found if each["deliveryId"] == row["id"]]


async def test_a_delivery_carries_a_token_that_the_gateway_asked_for_with_its_own_key(tmp_path: Path) -> None:
    """The assertion is ES384, signed by a published key, addressed to the token endpoint, and names the agreed client and scope."""
    async with asked_for_tokens(tmp_path) as (world, endpoint):
        row = await to_kompas(world)
        assert row["state"] == "acknowledged"
        assert world.receivers["provider-a"].last.headers["Authorization"] == f"Bearer {endpoint.given[-1]}"
        claims = endpoint.claims(0)
        assert (claims["iss"], claims["sub"], claims["aud"]) == ("planbrug-vlinderstad",) * 2 + (endpoint.url,)
        assert (claims["alg"], claims["exp"] - claims["iat"] <= 300) == ("ES384", True)
        form = endpoint.forms[0]
        assert (form["grant_type"], form["client_assertion_type"], form["scope"]) == (
            "client_credentials",
            ASSERTION_TYPE,
            SCOPE,
        )


async def test_every_attempt_fetches_a_token_of_its_own(tmp_path: Path) -> None:
    """A token of the first attempt that expired while the delivery waited is not used again."""
    async with asked_for_tokens(tmp_path) as (world, endpoint):
        receiver = world.receivers["provider-a"]
        receiver.answers.append(status(503))
        row = await to_kompas(world)
        assert (row["state"], row["reason"]) == ("waiting", "receiver-failed")
        endpoint.expired.update(endpoint.given)
        after = await again(world, row)
        assert (after["state"], after["sequence"]) == ("acknowledged", row["sequence"])
        sent = [arrival.headers["Authorization"] for arrival in receiver.arrivals]
        assert sent == [f"Bearer {token}" for token in endpoint.given]
        assert len(set(sent)) == 2
        assert endpoint.claims(0)["jti"] != endpoint.claims(1)["jti"]


async def test_a_token_that_is_not_admitted_waits_and_the_next_one_is_tried(tmp_path: Path) -> None:
    """401 is `not-authorised`, with a receipt: the body went out with it."""
    async with asked_for_tokens(tmp_path) as (world, endpoint):
        endpoint.expired.add("geheim-toegangsbewijs-0")
        row = await to_kompas(world)
        assert (row["state"], row["reason"]) == ("waiting", "not-authorised")
        assert [each["code"] for each in await receipts_of(world, row)] == ["not-authorised"]
        assert (await again(world, row))["state"] == "acknowledged"


def given(body: object, code: int = 200, headers: dict[str, str] | None = None) -> TokenAnswer:
    """Answer the token request with this JSON."""

    async def answer(_request: web.Request, _form: dict[str, str]) -> web.StreamResponse:
        return web.Response(
            status=code, body=json.dumps(body).encode(), headers={"Content-Type": "application/json", **(headers or {})}
        )

    return answer


async def hanging(_request: web.Request, _form: dict[str, str]) -> web.StreamResponse:
    """Take the request and answer nothing."""
    await asyncio.Event().wait()
    return web.Response()


async def cut(request: web.Request, _form: dict[str, str]) -> web.StreamResponse:
    """Break the connection."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def endless(request: web.Request, _form: dict[str, str]) -> web.StreamResponse:
    """Answer without an end."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 10_000)


GOOD = {"access_token": "geheim", "token_type": "bearer"}
WITHOUT_TOKEN: list[tuple[str, TokenAnswer, str]] = [
    ("a 400", given({"error": "invalid_client"}, 400), "token-refused"),
    ("a 401", given({"error": "invalid_client"}, 401), "token-refused"),
    ("a 404", given({}, 404), "token-refused"),
    ("a redirect", given(GOOD, 307, {"Location": "/token"}), "token-refused"),
    ("a 200 without a token", given({"token_type": "bearer"}), "token-refused"),
    ("a 200 with a list", given([]), "token-refused"),
    ("another kind of token", given({**GOOD, "token_type": "mac"}), "token-refused"),
    ("no kind of token", given({"access_token": "geheim"}), "token-refused"),
    ("a token that would end the header", given({**GOOD, "access_token": "geheim\r\nX-Other: 1"}), "token-refused"),
    ("an empty token", given({**GOOD, "access_token": ""}), "token-refused"),
    ("a token that is a number", given({**GOOD, "access_token": 7}), "token-refused"),
    ("an answer without an end", endless, "token-refused"),
    ("a 429", given({}, 429), "token-unreachable"),
    ("a 500", given(GOOD, 500), "token-unreachable"),
    ("a 503", given({}, 503), "token-unreachable"),
    ("a cut connection", cut, "token-unreachable"),
    ("no answer in time", hanging, "token-unreachable"),
]


@pytest.mark.parametrize(
    ("answer", "reason"), [pytest.param(answer, reason, id=name) for name, answer, reason in WITHOUT_TOKEN]
)
async def test_without_a_token_nothing_goes_out(tmp_path: Path, answer: TokenAnswer, reason: str) -> None:
    """The delivery waits with the reason, leaves no receipt, and goes under the same number when there is a token."""
    async with asked_for_tokens(tmp_path, send_timeout_seconds=1) as (world, endpoint):
        endpoint.answers.append(answer)
        row = await to_kompas(world)
        assert (row["state"], row["reason"], row["receiptId"], row["attempts"]) == ("waiting", reason, None, 1)
        assert row["nextAttemptAt"] is not None
        assert world.receivers["provider-a"].arrivals == []
        assert await receipts_of(world, row) == []
        after = await again(world, row)
        assert (after["state"], after["sequence"]) == ("acknowledged", 1)
        assert "geheim" not in world.logs()


async def test_a_token_endpoint_that_is_down_is_waited_for(tmp_path: Path) -> None:
    """Nothing listens there: waiting, and nothing went out."""
    (closed,) = services.free_ports(1)
    async with asked_for_tokens(tmp_path) as (world, endpoint):
        await wants_token(world, f"http://127.0.0.1:{closed}/token")
        row = await to_kompas(world)
        assert (row["state"], row["reason"], row["receiptId"]) == ("waiting", "token-unreachable", None)
        await wants_token(world, endpoint.url)
        assert (await again(world, row))["state"] == "acknowledged"


async def test_a_token_endpoint_that_may_not_be_reached_parks(tmp_path: Path) -> None:
    """The guard of outgoing calls holds for token endpoints too."""
    async with asked_for_tokens(tmp_path) as (world, endpoint):
        await wants_token(world, "http://[::1]:9/token")
        row = await to_kompas(world)
        assert (row["state"], row["reason"], row["receiptId"]) == ("parked", "target-not-allowed", None)
        assert (endpoint.forms, world.receivers["provider-a"].arrivals) == ([], [])


async def test_a_retry_after_of_the_token_endpoint_is_honoured(tmp_path: Path) -> None:
    """Two hours asked is two hours waited."""
    async with asked_for_tokens(tmp_path) as (world, endpoint):
        endpoint.answers.append(given({}, 503, {"Retry-After": "7200"}))
        row = await to_kompas(world)
        pause = datetime.fromisoformat(row["nextAttemptAt"]) - datetime.fromisoformat(row["updatedAt"])
        assert timedelta(hours=2) <= pause < timedelta(hours=2.1)


async def test_a_token_stands_nowhere_but_in_its_header(tmp_path: Path) -> None:
    """Not in logs, deliveries, receipts or the database, and neither does an assertion."""
    async with asked_for_tokens(tmp_path) as (world, endpoint):
        world.receivers["provider-a"].answers.append(status(401))
        row = await to_kompas(world)
        await again(world, row)
        seen = [await world.team.want("GET", path) for path in ("/v1/deliveries?limit=200", "/v1/receipts?limit=200")]
        secrets = [*endpoint.given, *(form["client_assertion"] for form in endpoint.forms)]
        assert len(secrets) == 4
        kept = b"".join(path.read_bytes() for path in tmp_path.glob("*.db*"))
        for secret in secrets:
            assert secret not in world.logs()
            assert secret not in json.dumps(seen)
            assert secret.encode() not in kept


@pytest.mark.parametrize(
    ("changed", "pointers"),
    [
        pytest.param({"tokenUrl": "https://kompas.example/token"}, {"clientId"}, id="no client id"),
        pytest.param({"clientId": "planbrug"}, {"tokenUrl"}, id="no token endpoint"),
        pytest.param({"scope": "system/Bundle.c"}, {"tokenUrl"}, id="a scope alone"),
        pytest.param({"tokenUrl": "ftp://kompas.example", "clientId": "p"}, {"tokenUrl"}, id="another scheme"),
        pytest.param({"tokenUrl": "https://a:b@kompas.example", "clientId": "p"}, {"tokenUrl"}, id="a user in it"),
        pytest.param({"tokenUrl": "https://k.example", "clientId": "a b"}, {"clientId"}, id="a client id with a space"),
        pytest.param(
            {"tokenUrl": "https://k.example", "clientId": "p", "scope": 'a  "'}, {"scope"}, id="a scope that is none"
        ),
        pytest.param(
            {"tokenUrl": "https://k.example", "clientId": "p", "url": "https://u:p@k.example/in"},
            {"url"},
            id="two ways to say who calls",
        ),
        pytest.param({"tokenUrl": "https://k.example:8443/t?a=b", "clientId": "p", "scope": "a b"}, set(), id="right"),
    ],
)
async def test_what_is_wrong_with_an_endpoint_is_named_by_its_place(
    tmp_path: Path, changed: Row, pointers: set[str]
) -> None:
    """PUT of the organisation answers 422 with a pointer to each."""
    entry = {
        "id": "school",
        "name": "Basisschool De Rups",
        "kind": "school",
        "endpoints": [{"adapter": "webhook", "url": "https://school.example/in", **changed}],
    }
    async with open_world(tmp_path) as world:
        put = await world.clients["admin"].ask("PUT", "/v1/organisations/school", json_body=entry)
        if not pointers:
            assert put.status < 300
            return
        assert put.status == 422
        assert {row["pointer"] for row in put.body["errors"]} == {f"/endpoints/0/{name}" for name in pointers}


async def _endless_keys(request: web.Request) -> web.StreamResponse:
    return await endless(request, {})


async def _large_keys(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"keys": [{"kty": "EC", "x": "a" * 200_000}]})


async def _hanging_keys(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


@pytest.mark.parametrize("keys", [_endless_keys, _large_keys, _hanging_keys], ids=["endless", "large", "hanging"])
async def test_a_clients_key_set_is_read_within_bounds(
    tmp_path: Path, keys: Callable[[web.Request], Awaitable[web.StreamResponse]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A jwksUrl that answers without an end, too much, or nothing, refuses the client and nobody else."""
    monkeypatch.setattr("gateway.wiring.KEYS_TIMEOUT_SECONDS", 0.5)
    app = web.Application()
    app.router.add_get("/jwks", keys)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with open_world(tmp_path) as world, asyncio.timeout(PATIENCE_SECONDS):
            kompas = (await world.gateway.directory.now()).entries[KOMPAS]
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
            client = replace(kompas.clients[0], jwks=None, jwks_url=url)
            await world.gateway.directory.put(replace(kompas, clients=(client,)))
            assertion = client_assertion(
                new_key(), client.client_id, world.known.token_url, world.gateway.clock.now(), "jti"
            )
            form = {
                "grant_type": "client_credentials",
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": assertion,
            }
            async with world.session.post(world.known.token_url, data=form) as answered:
                assert (answered.status, (await answered.json())["error"]) == (401, "invalid_client")
            assert "keys-unreachable" in world.logs()
    finally:
        await runner.cleanup()
