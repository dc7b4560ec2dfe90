"""A token that is not right opens nothing: 401 as each face tells it, in bounded time, and nothing of it in the log."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import ECKey
from world import World, open_world

from gateway.callers import new_key, read_private_key
from gateway.clock import Clock

pytestmark = pytest.mark.asyncio(loop_scope="module")

FACES = {"/v1/deliveries": "application/problem+json", "/fhir": "application/fhir+json"}
BOUND_SECONDS = 2.0
"""A good token is judged in a millisecond; the machine of a test may be busy."""

MARK = "Zilverkanarie"

Made = Callable[[World], str]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world for the whole file."""
    async with open_world(tmp_path_factory.mktemp("bad-tokens")) as opened:
        yield opened


def own_key(world: World) -> ECKey:
    """Return the gateway's own signing key: what it signs is wrong in one claim only."""
    return world.gateway.gatekeeper._keys.now()[0]


def another_s_key(world: World) -> ECKey:
    """Return the key of a client."""
    return read_private_key(Path(world.known.clients["provider-b"]["keyFile"]))


def claims(world: World, **changed: Any) -> dict[str, Any]:
    """Return the claims of a good token of the team, changed; what is None is left out."""
    now = int(Clock().now().timestamp())
    good = {
        "iss": world.gateway.public_url,
        "aud": world.gateway.public_url,
        "sub": world.known.clients["team"]["clientId"],
        "iat": now,
        "exp": now + 300,
        "jti": Clock().new_id(),
        "scope": "deliveries:read system/*.cu",
        "mark": MARK,
    }
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def seconds_from_now(seconds: int) -> int:
    """Return a NumericDate."""
    return int(Clock().now().timestamp()) + seconds


def signed(world: World, key: ECKey | None = None, header: dict[str, Any] | None = None, **changed: Any) -> str:
    """Sign as the gateway does, changed."""
    ours = own_key(world)
    whole = {"alg": "ES384", "typ": "at+jwt", "kid": ours.kid, **(header or {})}
    return jwt.encode(whole, claims(world, **changed), key or ours, algorithms=["ES384"])


def part(content: Any) -> str:
    """Encode a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def unsigned(world: World, alg: str = "none", signature: str = "") -> str:
    """Return good claims without a signature."""
    return f"{part({'alg': alg, 'typ': 'at+jwt', 'kid': own_key(world).kid})}.{part(claims(world))}.{signature}"


def with_public_key_as_secret(world: World) -> str:
    """Sign with the published key as if it were a shared secret."""
    text = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': own_key(world).kid})}.{part(claims(world))}"
    tag = hmac.digest(own_key(world).as_pem(private=False), text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(tag).decode().rstrip('=')}"


def with_header(**header: Any) -> Made:
    """Sign with a key of one's own, and offer it in the header."""

    def made(world: World) -> str:
        return signed(world, new_key(), header)

    return made


def with_its_own_key(world: World) -> str:
    """Offer the key to judge with (RFC 8725 section 3.10 warns of it)."""
    key = new_key()
    return signed(world, key, {"jwk": key.as_dict(private=False)})


def claiming(**changed: Any) -> Made:
    """Sign with the gateway's key claims that are wrong in one place; a callable value is called when the test runs."""

    def made(world: World) -> str:
        return signed(world, **{name: value() if callable(value) else value for name, value in changed.items()})

    return made


BAD: dict[str, Made] = {
    "alg none": unsigned,
    "alg None": lambda world: unsigned(world, "None"),
    "alg none with a signature": lambda world: unsigned(world, signature="AAAA"),
    "ES384 without a signature": lambda world: unsigned(world, "ES384"),
    "HS256 with the public key": with_public_key_as_secret,
    "another audience": claiming(aud="https://elders.example"),
    "two audiences": lambda world: signed(world, aud=[world.gateway.public_url, "https://elders.example"]),
    "no audience": claiming(aud=None),
    "another issuer": claiming(iss="https://elders.example"),
    "no issuer": claiming(iss=None),
    "expired": claiming(exp=lambda: seconds_from_now(-1)),
    "no expiry": claiming(exp=None),
    "an expiry as text": claiming(exp="9999999999"),
    "an expiry that is true": claiming(exp=True),
    "a start in the future": claiming(nbf=lambda: seconds_from_now(120)),
    "an issue in the future": claiming(iat=lambda: seconds_from_now(120)),
    "an issue as text": claiming(iat="nu"),
    "an unknown client": claiming(sub="niemand"),
    "a client that is an object": claiming(sub={"$ne": ""}),
    "no client": claiming(sub=None),
    "bound to a certificate that is not shown": claiming(cnf={"x5t#S256": "AAAA"}),
    "bound in a way that we do not know": claiming(cnf={"jkt": "AAAA"}),
    "another organisation's key": lambda world: signed(world, another_s_key(world)),
    "another organisation's key by its own name": lambda world: signed(
        world, another_s_key(world), {"kid": another_s_key(world).kid}
    ),
    "an assertion of a client": lambda world: signed(world, another_s_key(world), {"typ": "JWT"}),
    "our own assertion for another": lambda world: signed(world, None, {"typ": "JWT"}),
    "a key of its own in the header": with_its_own_key,
    "an address of keys in the header": with_header(jku="http://127.0.0.1:1/keys"),
    "a certificate in the header": with_header(x5c=["MIIB"]),
    "a path as the name of the key": with_header(kid="../../keys/gateway"),
    "SQL as the name of the key": with_header(kid="' OR 1=1 --"),
    "a line feed in the name of the key": with_header(kid="x\r\nX-Client-Cert: y"),
    "a list as the name of the key": lambda world: f"{part({'alg': 'ES384', 'kid': []})}.{part(claims(world))}.AAAA",
    "something critical that we do not know": lambda world: (
        f"{part({'alg': 'ES384', 'kid': own_key(world).kid, 'crit': ['zilver'], 'zilver': 1})}.{part(claims(world))}.AA"
    ),
    "truncated": lambda world: signed(world)[:-4],
    "without its signature": lambda world: signed(world).rpartition(".")[0],
    "its first part only": lambda world: signed(world).partition(".")[0],
    "a part too many": lambda world: f"{signed(world)}.AAAA",
    "a good one with a space": lambda world: f"{signed(world)} x",
    "10 kB, well signed": claiming(filling="x" * 10_000),
    "10 kB of nothing": lambda _: "A" * 10_000,
    "10 kB of dots": lambda _: "." * 10_000,
    "20 kB of brackets": lambda _: f"{base64.b64encode(b'[' * 15_000).decode()}.e30.AAAA",
    "nothing": lambda _: "",
    "not base64": lambda _: "é.ü.ß",
    "JSON": lambda _: '{"sub":"team"}',
}


async def answered(world: World, path: str, token: str) -> tuple[int, dict[str, str], Any, float]:
    """Ask with this token; return status, headers, body and seconds."""
    started = time.monotonic()
    method = "POST" if path == "/fhir" else "GET"
    headers = {"Authorization": f"Bearer {token}"}
    async with world.session.request(method, f"{world.gateway.public_url}{path}", headers=headers) as response:
        body = await response.json(content_type=None)
        return response.status, dict(response.headers), body, time.monotonic() - started


@pytest.mark.parametrize("path", FACES)
@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_token_opens_nothing(world: World, path: str, bad: str) -> None:
    """401 with a challenge, told as its face tells it, without a limit, and soon."""
    token, before = BAD[bad](world), len(world.logs())
    status, headers, body, seconds = await answered(world, path, token)
    assert (status, headers["Content-Type"], headers["WWW-Authenticate"]) == (
        401,
        FACES[path],
        'Bearer realm="planbrug"',
    )
    if path == "/fhir":
        assert (body["resourceType"], body["issue"][0]["code"]) == ("OperationOutcome", "login")
    else:
        assert (body["status"], body["code"]) == (401, "unauthenticated")
    assert "RateLimit" not in headers
    assert seconds < BOUND_SECONDS
    logged = world.logs()[before:]
    assert not [text for text in (MARK, "x5t", "eyJ", token) if text and text in logged]


@pytest.mark.parametrize("path", FACES)
async def test_a_good_one_made_in_the_same_way_opens(world: World, path: str) -> None:
    """So that each of the above is refused for what is wrong with it."""
    status, *_ = await answered(world, path, signed(world))
    assert status == (415 if path == "/fhir" else 200)
    assert (await answered(world, "/v1/deliveries", signed(world, nbf=seconds_from_now(30))))[0] == 200


async def test_a_token_that_carries_a_header_along_sets_none(world: World) -> None:
    """What breaks the lines of HTTP is refused by the server before anything is judged, and closes the connection."""
    address = world.gateway.public_url.removeprefix("http://").split(":")
    good = signed(world)
    for broken in (f"x\rX-Request-Id: {MARK}", f"x\x00{MARK}", f"{good}\r X-Request-Id: {MARK}"):
        reader, writer = await asyncio.open_connection(address[0], int(address[1]))
        asked = f"GET /v1/deliveries HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {broken}\r\n\r\n"
        writer.write(asked.encode())
        head, _, _ = (await asyncio.wait_for(reader.read(), BOUND_SECONDS)).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        assert head.split()[1] == b"400"
        assert MARK.encode() not in head
    assert MARK not in world.logs()


async def test_hundreds_of_bad_tokens_are_refused_in_bounded_time(world: World) -> None:
    """And leave the good one good."""
    team = world.team
    forged = [signed(world, new_key()) for _ in range(10)]
    started = time.monotonic()
    statuses = {(await answered(world, "/v1/deliveries", forged[number % 10]))[0] for number in range(300)}
    assert (statuses, time.monotonic() - started < 30) == ({401}, True)
    assert (await team.ask("GET", "/v1/deliveries")).status == 200
