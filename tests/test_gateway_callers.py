"""Who calls is proved by a signature, for this gateway, now, and once; what a token allows is judged at every request."""

import asyncio
import base64
import hmac
import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from world import World, open_world

from gateway.app import ROUTES, Route, build_app
from gateway.callers import ASSERTION_TYPE, new_key, public_jwks, read_private_key
from gateway.clock import Clock
from gateway.directory import Client, Entry, PublicKeys
from gateway.server import serving
from gateway.settings import load_settings
from gateway.wiring import open_gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

Claims = dict[str, Any]
CLIENT = "kompas-provider-a"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world for the whole file."""
    async with open_world(tmp_path_factory.mktemp("callers")) as opened:
        yield opened


def key_of(world: World, name: str = "provider-a") -> ECKey:
    """Return a client's private key."""
    return read_private_key(Path(world.known.clients[name]["keyFile"]))


def claims_for(world: World, **changed: Any) -> Claims:
    """Return good claims, changed; what is None is left out."""
    clock = Clock()
    now = int(clock.now().timestamp())
    good = {
        "iss": CLIENT,
        "sub": CLIENT,
        "aud": world.known.token_url,
        "iat": now,
        "exp": now + 120,
        "jti": clock.new_id(),
    }
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def signed(claims: Claims, key: Any, alg: str = "ES384", **header: Any) -> str:
    """Sign claims."""
    return jwt.encode({"alg": alg, **header}, claims, key, algorithms=[alg])


def unsigned(claims: Claims, signature: str = "") -> str:
    """Return claims under alg none."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)
    ]
    return ".".join([*parts, signature])


def form_of(assertion: str | None, **changed: str | None) -> dict[str, str]:
    """Return a token request, changed; what is None is left out."""
    good = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        "scope": "plans:read",
        **changed,
    }
    return {name: value for name, value in good.items() if value is not None}


async def asked(world: World, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """POST a token request; return status and body."""
    async with world.session.post(world.known.token_url, data=form) as response:
        assert response.headers["Cache-Control"] == "no-store"
        return response.status, await response.json()


def seconds_from_now(seconds: int) -> int:
    """Return a NumericDate."""
    return int(Clock().now().timestamp()) + seconds


@dataclass(frozen=True)
class Bad:
    """An assertion that is refused."""

    sentence: str
    made: Callable[[World], str]


def claiming(sentence: str, **changed: Any) -> Bad:
    """Return a well signed assertion with other claims; a callable value is called when the test runs."""

    def made(world: World) -> str:
        found = {name: value(world) if callable(value) else value for name, value in changed.items()}
        return signed(claims_for(world, **found), key_of(world))

    return Bad(sentence, made)


def hmac_signed(claims: Claims, public: ECKey) -> str:
    """Sign with a public key as if it were a shared secret (the confusion of RFC 8725 section 2.1)."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"at+jwt"}').decode()
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    tag = hmac.digest(public.as_pem(private=False), f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{base64.urlsafe_b64encode(tag).decode().rstrip('=')}"


def other_curve(world: World) -> str:
    """Sign with an algorithm that is not offered."""
    return signed(claims_for(world), ECKey.generate_key("P-256"), "ES256")


def tampered(world: World) -> str:
    """Change the claims after signing."""
    head, _, signature = signed(claims_for(world), key_of(world)).split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims_for(world, exp=seconds_from_now(200))).encode()).decode()
    return ".".join([head, body.rstrip("="), signature])


def signed_with_own_header_key(world: World) -> str:
    """Offer the key to judge with (RFC 8725 section 3.10 warns of it)."""
    key = new_key()
    return signed(claims_for(world), key, jwk=key.as_dict(private=False))


BAD = [
    Bad("alg none", lambda world: unsigned(claims_for(world))),
    Bad("alg none with a signature", lambda world: unsigned(claims_for(world), "AAAA")),
    Bad("the public key as HMAC secret", lambda world: hmac_signed(claims_for(world), key_of(world))),
    Bad("an algorithm that is not offered", other_curve),
    Bad("a key that nobody knows", lambda world: signed(claims_for(world), new_key())),
    Bad("the key of another organisation", lambda world: signed(claims_for(world), key_of(world, "provider-b"))),
    Bad("a key sent along in the header", signed_with_own_header_key),
    Bad("claims changed after signing", tampered),
    Bad("an unknown client", lambda world: signed(claims_for(world, iss="x", sub="x"), key_of(world))),
    Bad("no JWT", lambda _: "Zilverkanarie"),
    Bad("a JWT of three dots", lambda _: "..."),
    Bad("a payload that is no object", lambda _: "e30.W10.e30"),
    Bad("nothing", lambda _: ""),
    claiming("another audience", aud="https://elders.example/oauth/token"),
    claiming("the issuer as audience", aud=lambda world: world.gateway.public_url),
    claiming("no audience", aud=None),
    claiming("another issuer", iss="de-linde-provider-b"),
    claiming("no issuer", iss=None),
    claiming("an expiry in the past", exp=lambda _: seconds_from_now(-1)),
    claiming("no expiry", exp=None),
    claiming("an expiry as text", exp="morgen"),
    claiming("an expiry too far ahead", exp=lambda _: seconds_from_now(900)),
    claiming("an issue in the future", iat=lambda _: seconds_from_now(120)),
    claiming("a start in the future", nbf=lambda _: seconds_from_now(120)),
    claiming("no jti", jti=None),
    claiming("an empty jti", jti=""),
    claiming("a jti that is too long", jti="x" * 65),
    claiming("a jti that is a number", jti=7),
]


class TestTokens:
    """A token is given for a good assertion, used once, and for no more scopes than the client has."""

    @pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.sentence)
    async def test_an_assertion_that_is_not_right_gets_no_token(self, world: World, bad: Bad) -> None:
        """Always invalid_client, and the log tells why without the assertion."""
        assertion = bad.made(world)
        status, body = await asked(world, form_of(assertion))
        assert (status, body) == (401, {"error": "invalid_client"})
        assert json.loads(world.logs().splitlines()[-2])["event"] == "token_refused"
        assert len(assertion) < 5 or assertion not in world.logs()

    async def test_a_good_assertion_gets_a_token_of_five_minutes(self, world: World) -> None:
        """With the scope that was asked."""
        status, body = await asked(world, form_of(signed(claims_for(world), key_of(world))))
        assert (status, body.keys()) == (200, {"access_token", "token_type", "expires_in", "scope"})
        assert (body["token_type"], body["expires_in"], body["scope"]) == ("bearer", 300, "plans:read")

    async def test_an_audience_may_be_a_list_and_the_key_may_be_named(self, world: World) -> None:
        """Both forms of RFC 7519, and the `kid` of the directory."""
        key = key_of(world)
        claims = claims_for(world, aud=["https://elders.example", world.known.token_url])
        assert (await asked(world, form_of(signed(claims, key, kid=key.kid))))[0] == 200

    async def test_an_assertion_is_used_once(self, world: World) -> None:
        """The second time it is refused, also when both come at the same moment."""
        form = form_of(signed(claims_for(world), key_of(world)))
        found = await asyncio.gather(*(asked(world, form) for _ in range(5)))
        assert sorted(status for status, _ in found) == [200, 401, 401, 401, 401]
        assert (await asked(world, form))[0] == 401

    async def test_a_jti_belongs_to_its_client(self, world: World) -> None:
        """Two clients may happen on the same one."""
        first = claims_for(world)
        name = "de-linde-provider-b"
        second = claims_for(world, iss=name, sub=name, jti=first["jti"])
        assert (await asked(world, form_of(signed(first, key_of(world)))))[0] == 200
        assert (await asked(world, form_of(signed(second, key_of(world, "provider-b")))))[0] == 200

    @pytest.mark.parametrize(
        ("scope", "status", "error"),
        [
            pytest.param("plans:write", 400, "invalid_scope", id="a scope of others"),
            pytest.param("plans:read organisations:write", 400, "invalid_scope", id="one scope too many"),
            pytest.param("zilver:kanarie", 400, "invalid_scope", id="no scope at all"),
            pytest.param("system/Patient.c", 400, "invalid_scope", id="a FHIR scope that it lacks"),
        ],
    )
    async def test_a_scope_too_large_is_refused_whole(self, world: World, scope: str, status: int, error: str) -> None:
        """Not narrowed in silence."""
        form = form_of(signed(claims_for(world), key_of(world)), scope=scope)
        assert await asked(world, form) == (status, {"error": error})

    async def test_asking_for_nothing_gets_what_the_client_has(self, world: World) -> None:
        """RFC 6749 3.3: a default is allowed, and told."""
        status, body = await asked(world, form_of(signed(claims_for(world), key_of(world)), scope=None))
        assert (status, body["scope"]) == (
            200,
            "plans:read deliveries:read receipts:read system/*.rs system/Task.u system/Goal.u",
        )

    @pytest.mark.parametrize(
        ("changed", "status", "error"),
        [
            pytest.param({"grant_type": None}, 400, "unsupported_grant_type", id="no grant type"),
            pytest.param({"grant_type": "password"}, 400, "unsupported_grant_type", id="another grant type"),
            pytest.param({"client_assertion_type": None}, 401, "invalid_client", id="no assertion type"),
            pytest.param({"client_assertion_type": "saml"}, 401, "invalid_client", id="another assertion type"),
            pytest.param({"client_assertion": None}, 401, "invalid_client", id="no assertion"),
        ],
    )
    async def test_a_parameter_that_is_missing_is_refused(
        self, world: World, changed: dict[str, str | None], status: int, error: str
    ) -> None:
        """In the words of RFC 6749 section 5.2."""
        form = form_of(signed(claims_for(world), key_of(world)), **changed)
        assert await asked(world, form) == (status, {"error": error})

    async def test_an_rsa_key_may_sign_too(self, world: World) -> None:
        """RS384, as SMART Backend Services asks of servers."""
        key = RSAKey.generate_key(2048)
        client = Client(
            client_id="rsa",
            purpose="support",
            scopes=("plans:read",),
            jwks=PublicKeys([dict(key.as_dict(private=False))]),
        )
        await world.gateway.directory.put(Entry(id="rsa-org", name="RSA", kind="school", clients=(client,)))
        claims = claims_for(world, iss="rsa", sub="rsa")
        assert (await asked(world, form_of(signed(claims, key, "RS384"))))[0] == 200
        assert (await asked(world, form_of(signed({**claims, "jti": "anders"}, key, "RS256"))))[0] == 401

    async def test_a_client_without_keys_gets_nothing(self, world: World) -> None:
        """An empty key set judges nothing right."""
        client = Client(client_id="leeg", purpose="support", scopes=("plans:read",), jwks=PublicKeys([]))
        await world.gateway.directory.put(Entry(id="leeg", name="Leeg", kind="school", clients=(client,)))
        claims = claims_for(world, iss="leeg", sub="leeg")
        assert (await asked(world, form_of(signed(claims, new_key()))))[0] == 401


async def token(world: World, name: str, scope: str) -> str:
    """Return an access token of a demo client with this scope."""
    client = world.known.clients[name]["clientId"]
    assertion = signed(claims_for(world, iss=client, sub=client), key_of(world, name))
    status, body = await asked(world, form_of(assertion, scope=scope))
    assert status == 200
    return str(body["access_token"])


async def get(
    world: World, path: str, authorization: str | None, *, method: str = "GET", url: str = ""
) -> aiohttp.ClientResponse:
    """Ask with this Authorization header; return the answer, read."""
    headers = {"Authorization": authorization} if authorization is not None else {}
    base = url or world.gateway.public_url
    async with world.session.request(method, f"{base}{path}", headers=headers) as response:
        await response.read()
        return response


@asynccontextmanager
async def later(world: World, seconds: int) -> AsyncIterator[str]:
    """Serve the same data folder with a clock that is ahead; yield the address."""
    settings = load_settings(None, mode="demo", data_dir=world.data_dir, clock_offset_seconds=seconds)
    async with open_gateway(settings, world.gateway.public_url) as gateway:
        runner = aiohttp.web.AppRunner(build_app(gateway), access_log=None)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


class TestAccessTokens:
    """A token is ours, unaltered and fresh, and its client is still in the directory."""

    async def test_a_token_ends_after_five_minutes(self, world: World) -> None:
        """Good just before, refused just after."""
        bearer = f"Bearer {await token(world, 'provider-a', 'deliveries:read')}"
        async with later(world, 270) as url:
            assert (await get(world, "/v1/deliveries", bearer, url=url)).status == 200
        async with later(world, 301) as url:
            assert (await get(world, "/v1/deliveries", bearer, url=url)).status == 401

    async def test_a_token_of_another_gateway_is_refused(self, world: World, tmp_path: Path) -> None:
        """Even one with the same clients and the same address in it."""
        settings = load_settings(None, mode="demo", data_dir=tmp_path)
        async with open_gateway(settings, world.gateway.public_url) as second:
            entries = (await world.gateway.directory.now()).entries
            await second.directory.put(entries["kompas"])
            assertion = signed(claims_for(world), key_of(world))
            foreign = (await second.gatekeeper.token(form_of(assertion, scope="deliveries:read")))["access_token"]
            assert (await second.gatekeeper.caller(f"Bearer {foreign}")).organisation == "kompas"
        assert (await get(world, "/v1/deliveries", f"Bearer {foreign}")).status == 401

    @pytest.mark.parametrize("position", [0, 1, 2], ids=["header", "claims", "signature"])
    async def test_a_token_that_was_altered_is_refused(self, world: World, position: int) -> None:
        """Every part is signed, or is the signature."""
        parts = (await token(world, "provider-a", "deliveries:read")).split(".")
        middle = len(parts[position]) // 2
        flipped = "A" if parts[position][middle] != "A" else "B"
        parts[position] = parts[position][:middle] + flipped + parts[position][middle + 1 :]
        assert (await get(world, "/v1/deliveries", f"Bearer {'.'.join(parts)}")).status == 401

    async def test_scopes_cannot_be_added_to_a_token(self, world: World) -> None:
        """Claims of a good token under alg none, or under HMAC with our public key, are refused."""
        good = await token(world, "provider-a", "deliveries:read")
        body = good.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        claims["scope"] = "deliveries:read deliveries:write"
        own = ECKey.import_key(world.gateway.gatekeeper.public_keys()[0])
        for forged in (unsigned(claims), hmac_signed(claims, own), signed(claims, key_of(world), typ="at+jwt")):
            assert (await get(world, "/v1/deliveries", f"Bearer {forged}")).status == 401

    async def test_an_assertion_is_no_access_token(self, world: World) -> None:
        """Nor is one that a client of ours signs with the right claims."""
        claims = claims_for(world, aud=world.gateway.public_url, iss=world.gateway.public_url, scope="deliveries:read")
        for typ in ("at+jwt", "JWT"):
            forged = signed(claims, key_of(world), typ=typ)
            assert (await get(world, "/v1/deliveries", f"Bearer {forged}")).status == 401

    async def test_a_client_that_is_removed_is_refused_at_once(self, world: World) -> None:
        """Its tokens do not outlive it; and when it loses a scope, its tokens lose it too."""
        key = new_key()
        client = Client(
            client_id="tijdelijk", purpose="support", scopes=("deliveries:read", "receipts:read"), jwks=public_jwks(key)
        )
        entry = Entry(id="tijdelijk", name="Tijdelijk", kind="school", clients=(client,))
        await world.gateway.directory.put(entry)
        claims = claims_for(world, iss="tijdelijk", sub="tijdelijk")
        _, body = await asked(world, form_of(signed(claims, key), scope=None))
        bearer = f"Bearer {body['access_token']}"
        assert (await get(world, "/v1/receipts", bearer)).status == 200
        less = msgspec.structs.replace(client, scopes=("deliveries:read",))
        await world.gateway.directory.put(msgspec.structs.replace(entry, clients=(less,)))
        assert (await get(world, "/v1/receipts", bearer)).status == 403
        assert (await get(world, "/v1/deliveries", bearer)).status == 200
        await world.gateway.directory.put(msgspec.structs.replace(entry, clients=()))
        assert (await get(world, "/v1/deliveries", bearer)).status == 401
        again = claims_for(world, iss="tijdelijk", sub="tijdelijk")
        assert (await asked(world, form_of(signed(again, key), scope=None)))[0] == 401

    @pytest.mark.parametrize(
        "authorization",
        ["", "Bearer", "Bearer ", "Bearer x", "Basic eDp4", "Token {good}", "{good}", "Bearer {good} x"],
    )
    async def test_a_header_that_is_no_bearer_is_refused(self, world: World, authorization: str) -> None:
        """With the challenge of RFC 6750."""
        good = await token(world, "provider-a", "deliveries:read")
        answer = await get(world, "/v1/deliveries", authorization.format(good=good))
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="planbrug"')


CLOSED = [route for route in ROUTES if route.scope is not None]


def named(route: Route) -> str:
    """Name a route in a test id."""
    return f"{route.method} {route.path}"


def filled(route: Route) -> str:
    """Return the path of a route with ids in it."""
    return route.path.format(id="x", choiceId="y", organisationId="z", type="Task", version="1")


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ("system/*.cu", 200),
        ("system/CarePlan.c system/Goal.u", 200),
        ("system/CarePlan.cu plans:read", 200),
        ("system/*.d", 400),
        ("system/CarePlan.cud", 400),
        ("system/CarePlan.", 400),
        ("system/CarePlan", 400),
        ("system/", 400),
        ("user/CarePlan.c", 400),
    ],
)
async def test_a_smart_scope_may_ask_for_less(world: World, scope: str, status: int) -> None:
    """The team holds `system/*.crus`: some types or letters of it are granted, and nothing beyond it."""
    client = world.known.clients["team"]["clientId"]
    assertion = signed(claims_for(world, iss=client, sub=client), key_of(world, "team"))
    assert (await asked(world, form_of(assertion, scope=scope)))[0] == status


class TestRoutes:
    """Every route but the documented few needs a token with its scope."""

    @pytest.mark.parametrize("route", CLOSED, ids=named)
    async def test_a_route_refuses_who_has_no_token(self, world: World, route: Route) -> None:
        """401 with a challenge, before anything is looked up."""
        answer = await get(world, filled(route), None, method=route.method)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="planbrug"')

    @pytest.mark.parametrize("route", CLOSED, ids=named)
    async def test_a_route_refuses_a_token_without_its_scope(self, world: World, route: Route) -> None:
        """403 naming the scope, though the client would have it."""
        holder = "admin" if route.scope == "organisations:write" else "team"
        other = "deliveries:write" if route.scope == "plans:read" or holder == "admin" else "plans:read"
        bearer = f"Bearer {await token(world, holder, other)}"
        async with world.session.request(
            route.method, f"{world.gateway.public_url}{filled(route)}", headers={"Authorization": bearer}
        ) as response:
            told = await response.json()
        assert response.status == 403
        if route.path.startswith("/fhir"):
            assert (told["issue"][0]["code"], str(route.scope) in told["issue"][0]["details"]["text"]) == (
                "forbidden",
                True,
            )
        else:
            assert (told["code"], str(route.scope) in told["errors"][0]["remedy"]) == ("scope", True)

    async def test_the_open_routes_are_the_documented_ones(self) -> None:
        """Tokens, keys, discovery and health; a new open route must be written here and in INTERFACE.md."""
        documented = {
            "POST /oauth/token",
            "GET /.well-known/jwks.json",
            "GET /fhir/.well-known/smart-configuration",
            "GET /health/live",
            "GET /health/ready",
            "GET /v1/asyncapi.json",
        }
        may_come = {"GET /fhir/metadata", "GET /v1/openapi.json", "GET /v1/docs"}
        found = {named(route) for route in ROUTES if route.scope is None}
        assert documented <= found <= documented | may_come

    async def test_discovery_names_where_and_how(self, world: World) -> None:
        """What a SMART client reads first."""
        async with world.session.get(f"{world.gateway.public_url}/fhir/.well-known/smart-configuration") as response:
            found = await response.json()
        assert found["token_endpoint"] == world.known.token_url
        assert found["jwks_uri"] == f"{world.gateway.public_url}/.well-known/jwks.json"
        assert found["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
        assert set(found["token_endpoint_auth_signing_alg_values_supported"]) == {"ES384", "RS384"}


class TestKeys:
    """Private keys stay where they are made."""

    async def test_published_keys_have_no_private_part(self, world: World) -> None:
        """Exactly the public members of an EC key (RFC 7518 section 6.2.1)."""
        async with world.session.get(f"{world.gateway.public_url}/.well-known/jwks.json") as response:
            keys = (await response.json())["keys"]
        assert [key.keys() for key in keys] == [{"kty", "crv", "x", "y", "kid", "use", "alg"}] * 2
        assert [(key["use"], key["alg"]) for key in keys] == [("sig", "ES384"), ("enc", "ECDH-ES+A256KW")]
        assert keys[0]["x"] != keys[1]["x"]

    async def test_key_files_are_for_their_owner_only(self, world: World) -> None:
        """Every private key and the master key have mode 0600."""
        files = [*(world.data_dir / "keys").iterdir(), world.data_dir / "master.key"]
        assert len(files) == 8
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}

    async def test_the_signing_key_stays(self, world: World, tmp_path: Path) -> None:
        """A restart keeps it, another gateway has another."""
        first = world.gateway.gatekeeper.public_keys()[0]
        settings = load_settings(None, mode="demo", port=0, data_dir=world.data_dir)
        async with serving(settings) as again:
            assert again.gatekeeper.public_keys()[0] == first
        async with serving(load_settings(None, mode="demo", port=0, data_dir=tmp_path)) as other:
            assert other.gatekeeper.public_keys()[0] != first
