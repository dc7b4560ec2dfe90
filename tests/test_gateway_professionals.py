"""A professional who logged in at the municipality's OpenID provider is a person of an organisation, and may do what it may."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from msgspec.structs import replace
from world import World, open_world

from gateway.callers import new_key, public_jwks
from gateway.clock import Clock
from gateway.directory import Client, Entry
from gateway.errors import Refusal
from gateway.professionals import Professionals
from gateway.professionals import Provider as TrustedProvider
from gateway.published import Published

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUDIENCE = "https://planbrug.example"
PERSON = "5f0c2f5e-behandelaar"
ISSUED_TO = Client(client_id="oidc:kompas", purpose="support", scopes=("plans:read", "deliveries:read"))


class Provider:
    """Somebody else's OpenID provider: its discovery, its keys, and the tokens that it gives."""

    def __init__(self) -> None:
        self.issuer = ""
        self.key: ECKey | RSAKey = new_key()
        self.alg = "ES384"
        self.keys: list[dict[str, Any]] = []
        self.discovery: dict[str, Any] = {}
        self.is_up = True
        self.asked: list[str] = []

    def starts_at(self, issuer: str) -> None:
        """Publish at this address."""
        self.issuer = issuer
        self.discovery = {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}
        self.rotate(self.key, self.alg)

    def rotate(self, key: ECKey | RSAKey, alg: str) -> None:
        """Sign with another key from now on, and publish that one only."""
        self.key, self.alg = key, alg
        self.keys = [{**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig"}]

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if not self.is_up:
            return web.Response(status=503)
        return web.json_response(self.discovery if "well-known" in request.path else {"keys": self.keys})

    def gives(self, header: dict[str, Any] | None = None, **changed: Any) -> str:
        """Give a token for a professional of Kompas, changed; what is None is left out."""
        now = int(Clock().now().timestamp())
        good = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": PERSON,
            "iat": now,
            "exp": now + 300,
            "organisation": "kompas",
            "role": "behandelaar",
            "scope": "openid deliveries:read receipts:read",
        }
        claims = {name: value for name, value in {**good, **changed}.items() if value is not None}
        whole = {"alg": self.alg, "typ": "at+jwt", "kid": self.key.thumbprint(), **(header or {})}
        return jwt.encode(whole, claims, self.key, algorithms=[self.alg])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[World, Provider]]:
    """A world that trusts a provider, whose professionals of Kompas may read plans and deliveries."""
    provider = Provider()
    app = web.Application()
    app.router.add_get("/realm/{tail:.*}", provider.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.starts_at(f"http://127.0.0.1:{runner.addresses[0][1]}/realm")
    known = {"oidc_issuer": provider.issuer, "oidc_audience": AUDIENCE}
    try:
        async with open_world(tmp_path_factory.mktemp("professionals"), **known) as world:
            await allow(world, ISSUED_TO)
            yield world, provider
    finally:
        await runner.cleanup()


async def allow(world: World, *clients: Client) -> None:
    """Let the directory say what Kompas' professionals may do, beside its own system."""
    kompas = (await world.gateway.directory.now()).entries["kompas"]
    own = tuple(client for client in kompas.clients if not client.client_id.startswith("oidc:"))
    await world.gateway.directory.put(replace(kompas, clients=(*own, *clients)))


@pytest.fixture
def world(both: tuple[World, Provider]) -> World:
    return both[0]


@pytest.fixture
def provider(both: tuple[World, Provider]) -> Provider:
    return both[1]


async def asked(world: World, token: str, path: str = "/v1/deliveries") -> int:
    """GET with this token; return the status."""
    headers = {"Authorization": f"Bearer {token}"}
    async with world.session.get(f"{world.gateway.public_url}{path}", headers=headers) as response:
        return response.status


class TestWhoItIs:
    """The token says who; the directory says what an organisation's professionals may do."""

    async def test_a_professional_is_a_person_in_a_role_of_an_organisation(
        self, world: World, provider: Provider
    ) -> None:
        """With the purpose of the directory, and the scopes that both give."""
        caller = await world.gateway.gatekeeper.caller(f"Bearer {provider.gives()}")
        who = caller.recipient
        assert (who.organisation, who.kind, who.role, who.person) == ("kompas", "care-provider", "behandelaar", PERSON)
        assert (caller.client.purpose, caller.scopes) == ("support", {"deliveries:read"})

    @pytest.mark.parametrize(
        ("scope", "status"),
        [
            ("deliveries:read", 200),
            ("plans:read", 403),
            ("receipts:read", 403),
            ("", 403),
            (None, 403),
            (["deliveries:read"], 403),
        ],
    )
    async def test_no_more_is_open_than_the_token_says(
        self, world: World, provider: Provider, scope: Any, status: int
    ) -> None:
        """A token without scopes opens nothing."""
        assert await asked(world, provider.gives(scope=scope)) == status

    async def test_no_more_is_open_than_the_directory_says(self, world: World, provider: Provider) -> None:
        """Whatever the token says; and who administers as a system does not as a person without that scope."""
        assert await asked(world, provider.gives(scope="receipts:read"), "/v1/receipts") == 403
        await allow(world, replace(ISSUED_TO, scopes=("deliveries:read", "organisations:write")))
        for scope, is_admin in (("deliveries:read", False), ("deliveries:read organisations:write", True)):
            caller = await world.gateway.gatekeeper.caller(f"Bearer {provider.gives(scope=scope)}")
            assert caller.is_admin is is_admin
        await allow(world, ISSUED_TO)

    async def test_a_professional_without_a_role_has_none(self, world: World, provider: Provider) -> None:
        """The claim may be absent."""
        caller = await world.gateway.gatekeeper.caller(f"Bearer {provider.gives(role=None)}")
        assert (caller.recipient.role, caller.recipient.person) == (None, PERSON)

    async def test_an_organisation_s_professionals_can_be_shut_out(self, world: World, provider: Provider) -> None:
        """At once, by taking their client out of the directory."""
        token = provider.gives()
        assert await asked(world, token) == 200
        await allow(world)
        assert await asked(world, token) == 401
        await allow(world, ISSUED_TO)
        assert await asked(world, token) == 200

    async def test_the_log_says_which_organisation_and_not_who(self, world: World, provider: Provider) -> None:
        """The person is in no line."""
        await asked(world, provider.gives())
        line = json.loads(world.logs().splitlines()[-1])
        assert (line["client"], PERSON in world.logs()) == ("oidc:kompas", False)


def seconds_from_now(seconds: int) -> int:
    """Return a NumericDate."""
    return int(Clock().now().timestamp()) + seconds


Made = Callable[[Provider, World], str]


def claiming(**changed: Any) -> Made:
    """Return a well signed token with other claims; a callable value is called when the test runs."""
    return lambda provider, _: provider.gives(
        **{name: value() if callable(value) else value for name, value in changed.items()}
    )


def signed_by(key: ECKey | RSAKey, alg: str, **header: Any) -> Made:
    """Return good claims under another key."""

    def made(provider: Provider, _: World) -> str:
        other = Provider()
        other.issuer, other.key, other.alg = provider.issuer, key, alg
        return other.gives(header)

    return made


def under_the_name_of_ours(provider: Provider, _: World) -> str:
    """Sign with another key under the name of the provider's."""
    return signed_by(new_key(), "ES384", kid=provider.key.thumbprint())(provider, _)


BAD: dict[str, Made] = {
    "another issuer": claiming(iss="https://elders.example"),
    "the issuer with a slash": lambda provider, _: provider.gives(iss=f"{provider.issuer}/"),
    "another audience": claiming(aud="https://elders.example"),
    "no audience": claiming(aud=None),
    "the gateway's address as audience": lambda provider, world: provider.gives(aud=world.gateway.public_url),
    "expired": claiming(exp=lambda: seconds_from_now(-1)),
    "no expiry": claiming(exp=None),
    "a start in the future": claiming(nbf=lambda: seconds_from_now(120)),
    "an issue in the future": claiming(iat=lambda: seconds_from_now(120)),
    "an unknown organisation": claiming(organisation="niemand"),
    "an organisation whose professionals have no place": claiming(organisation="de-linde"),
    "no organisation": claiming(organisation=None),
    "two organisations": claiming(organisation=["kompas", "de-linde"]),
    "no person": claiming(sub=None),
    "an empty person": claiming(sub=""),
    "a person with a slash": claiming(sub="a/b"),
    "a person that is too long": claiming(sub="x" * 65),
    "a role with a slash": claiming(role="a/b"),
    "two roles": claiming(role=["behandelaar", "regisseur"]),
    "an empty role": claiming(role=""),
    "bound to a certificate that is not shown": claiming(cnf={"x5t#S256": "AAAA"}),
    "another type": lambda provider, _: provider.gives({"typ": "id_token"}),
    "a logout token": lambda provider, _: provider.gives({"typ": "logout+jwt"}),
    "a key that nobody knows": signed_by(new_key(), "ES384"),
    "another key under the same name": under_the_name_of_ours,
    "an algorithm that is not offered": signed_by(RSAKey.generate_key(2048), "RS512"),
    "another length": signed_by(RSAKey.generate_key(2048), "PS384"),
    "10 kB": claiming(filling="x" * 10_000),
}


class TestBadTokens:
    """A token of the provider is judged as strictly as one of ours."""

    @pytest.mark.parametrize("bad", BAD)
    async def test_a_bad_token_opens_nothing(self, world: World, provider: Provider, bad: str) -> None:
        """401, whatever is wrong with it; the good one beside it opens."""
        assert await asked(world, BAD[bad](provider, world)) == 401
        assert await asked(world, provider.gives()) == 200

    async def test_the_client_of_professionals_gets_no_token_of_ours(self, world: World) -> None:
        """It has no keys, so nothing can be signed in its name; nor does our own key make one of it."""
        gatekeeper = world.gateway.gatekeeper
        key = gatekeeper._keys.now()[0]
        now = int(Clock().now().timestamp())
        claims = {"iss": "oidc:kompas", "sub": "oidc:kompas", "aud": gatekeeper.token_url, "iat": now, "exp": now + 60}
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode({"alg": "ES384"}, {**claims, "jti": "1"}, key, algorithms=["ES384"]),
        }
        async with world.session.post(gatekeeper.token_url, data=form) as response:
            assert (response.status, await response.json()) == (401, {"error": "invalid_client"})


class TestTheProvider:
    """Its keys change and it fails, without a restart of ours."""

    @pytest.mark.parametrize("alg", ["ES256", "ES384", "RS256", "PS256"])
    async def test_a_new_key_is_found_and_the_old_one_refused(self, world: World, provider: Provider, alg: str) -> None:
        """In each algorithm that is offered."""
        world.gateway.gatekeeper._published._rates._buckets.clear()
        old = provider.gives()
        assert await asked(world, old) == 200
        keys = {"ES256": "P-256", "ES384": "P-384"}
        key = ECKey.generate_key(keys[alg]) if alg in keys else RSAKey.generate_key(2048)
        provider.rotate(key, alg)
        assert [await asked(world, provider.gives()), await asked(world, old)] == [200, 401]

    async def test_requests_do_not_ask_the_provider_each_time(self, world: World, provider: Provider) -> None:
        """Its discovery and keys are kept."""
        world.gateway.gatekeeper._published._rates._buckets.clear()
        await asked(world, provider.gives())
        before = len(provider.asked)
        assert {await asked(world, provider.gives()) for _ in range(20)} == {200}
        assert len(provider.asked) == before

    @pytest.mark.parametrize("wrong", ["down", "another issuer", "no keys", "keys elsewhere"])
    async def test_a_provider_that_cannot_be_asked_is_no_fault_of_the_caller(
        self, world: World, provider: Provider, wrong: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """503 with when to come back, once what was kept is too old; and good again when it is."""
        published = world.gateway.gatekeeper._published
        discovery = provider.discovery
        found = {
            "down": discovery,
            "another issuer": {**discovery, "issuer": "https://elders.example"},
            "no keys": {"issuer": provider.issuer},
            "keys elsewhere": {**discovery, "jwks_uri": "file:///etc/passwd"},
        }
        provider.discovery, provider.is_up = found[wrong], wrong != "down"
        monkeypatch.setattr(published, "_places", {})
        published._rates._buckets.clear()
        with pytest.raises(Refusal) as refused:
            await world.gateway.gatekeeper.caller(f"Bearer {provider.gives()}")
        assert (refused.value.code, refused.value.headers) == ("unavailable", {"Retry-After": "10"})
        provider.discovery, provider.is_up = discovery, True
        monkeypatch.setattr(published, "_places", {})
        assert await asked(world, provider.gives()) == 200

    async def test_keys_are_not_taken_from_an_address_without_tls(self, world: World, provider: Provider) -> None:
        """A provider with https has keys with https; anybody on the way could put others in their place."""
        issuer, asked_for = "https://id.example", []

        async def fetch(url: str) -> dict[str, Any]:
            asked_for.append(url)
            return {"issuer": issuer, "jwks_uri": "http://id.example/keys", "keys": provider.keys}

        clock = Clock()
        trusted = TrustedProvider(
            issuer=issuer, audience=AUDIENCE, organisation_claim="organisation", role_claim="role"
        )
        professionals = Professionals(trusted, world.gateway.directory, clock, Published(fetch, clock.ticks))
        with pytest.raises(Refusal) as refused:
            await professionals.caller(provider.gives(iss=issuer), None)
        assert (refused.value.code, asked_for) == ("unavailable", [f"{issuer}/.well-known/openid-configuration"])


class TestDirectory:
    """The client of an organisation's professionals says what they may do, and nothing that a token says."""

    @pytest.mark.parametrize(
        ("changed", "place"),
        [
            ({"client_id": "oidc:de-linde"}, "/clients/0/clientId"),
            ({"jwks": public_jwks(new_key())}, "/clients/0/jwks"),
            ({"jwks_url": "https://kompas.example/keys"}, "/clients/0/jwks"),
            ({"person": "x"}, "/clients/0/person"),
            ({"role": "x"}, "/clients/0/role"),
            ({"scopes": ("alles",)}, "/clients/0/scopes"),
        ],
    )
    async def test_what_is_not_right_is_refused_by_its_place(
        self, world: World, changed: dict[str, Any], place: str
    ) -> None:
        client = replace(ISSUED_TO, **{"client_id": "oidc:nieuw", **changed})
        entry = Entry(id="nieuw", name="Nieuw", kind="school", clients=(client,))
        with pytest.raises(Refusal) as refused:
            await world.gateway.directory.put(entry)
        assert place in {finding.pointer for finding in refused.value.findings}
