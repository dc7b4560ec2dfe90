"""Keys change while the gateway runs: a new one is found, an old one is refused soon after, and nobody can make it fetch in a storm."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from world import World, open_world

from gateway.callers import (
    ALGORITHMS,
    ASSERTION_TYPE,
    client_assertion,
    new_key,
    public_jwks,
    read_private_key,
    write_private_key,
)
from gateway.clock import Clock
from gateway.directory import Client, Entry, PublicKeys
from gateway.logs import open_log
from gateway.published import FETCHES_PER_MINUTE, SPACING_SECONDS, Document, Published
from gateway.signatures import LONGEST_TOKEN, SignatureError, UnknownKeyError, verified
from gateway.signing import OLDER_KEYS_STAY, SigningKeys

URL = "https://school.example/keys"


class Place:
    """An address of others: what stands there, how often it was asked, and a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.asked = 0
        self.document: Document | None = {"version": 1}
        self.hangs: asyncio.Event | None = None
        self.published = Published(self.fetch, lambda: self.seconds)

    async def fetch(self, _url: str) -> Document:
        self.asked += 1
        if self.hangs:
            await self.hangs.wait()
        if self.document is None:
            raise TimeoutError
        return self.document


class TestPublished:
    """A document is kept for a moment, and fetched a few times a minute whatever is asked."""

    async def test_it_is_fetched_once_while_it_is_kept(self) -> None:
        """And again when it is older than that."""
        place = Place()
        for _ in range(50):
            assert await place.published.get(URL, 10) == {"version": 1}
        assert place.asked == 1
        place.seconds += 10
        place.document = {"version": 2}
        assert await place.published.get(URL, 10) == {"version": 2}

    async def test_a_newer_one_is_found_at_once(self) -> None:
        """Though the kept one is not old yet; and it is kept too."""
        place = Place()
        await place.published.get(URL, 10)
        place.document = {"version": 2}
        assert await place.published.newer(URL) == {"version": 2}
        assert (await place.published.get(URL, 10), place.asked) == ({"version": 2}, 2)

    async def test_who_wants_a_newer_one_all_the_time_gets_none(self) -> None:
        """After a few, until a moment has gone by; the kept one stays good."""
        place = Place()
        answers = [await place.published.newer(URL) for _ in range(100)]
        assert (place.asked, answers[-1]) == (FETCHES_PER_MINUTE, None)
        assert await place.published.get(URL, 10) == {"version": 1}
        place.seconds += SPACING_SECONDS + 0.1
        place.document = {"version": 2}
        assert await place.published.newer(URL) == {"version": 2}
        assert await place.published.newer("https://another.example") == {"version": 2}

    async def test_what_everybody_wants_at_once_is_fetched_once(self) -> None:
        """Who waited takes what came."""
        place = Place()
        place.hangs = asyncio.Event()
        asked = [asyncio.create_task(place.published.get(URL, 10)) for _ in range(20)]
        asked += [asyncio.create_task(place.published.newer(URL)) for _ in range(20)]
        await asyncio.sleep(0)
        place.hangs.set()
        assert (await asyncio.gather(*asked), place.asked) == ([{"version": 1}] * 40, 1)

    async def test_a_failure_is_shared_too(self) -> None:
        """Nobody waits for the same failure again."""
        place = Place()
        place.hangs, place.document = asyncio.Event(), None
        asked = [asyncio.create_task(place.published.get(URL, 10)) for _ in range(20)]
        await asyncio.sleep(0)
        place.hangs.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert ({type(each) for each in answers}, place.asked) == ({OSError}, 1)

    async def test_what_cannot_be_fetched_any_more_is_believed_a_moment_longer(self) -> None:
        """And then no more."""
        place = Place()
        await place.published.get(URL, 10)
        place.document = None
        place.seconds += 10 + SPACING_SECONDS - 1
        assert await place.published.get(URL, 10) == {"version": 1}
        assert await place.published.newer(URL) is None
        place.seconds += 1
        with pytest.raises(OSError, match="no document"):
            await place.published.get(URL, 10)

    async def test_no_more_places_are_kept_than_the_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The directory may change its addresses for ever."""
        monkeypatch.setattr("gateway.published.MOST_PLACES", 5)
        place = Place()
        for number in range(20):
            await place.published.get(f"{URL}/{number}", 10)
        assert len(place.published._places) == 5


def public(key: ECKey | RSAKey, **more: str) -> dict[str, Any]:
    """Return the public half of a key, with more members."""
    return {**key.as_dict(private=False), **more}


def signed(key: ECKey | RSAKey, alg: str = "ES384", **header: Any) -> str:
    """Sign something."""
    return jwt.encode({"alg": alg, **header}, {"sub": "x"}, key, algorithms=[alg])


class TestSignatures:
    """A token is judged by the key that it names, or by each that could have signed it."""

    def test_the_key_that_is_named_judges(self) -> None:
        """By its `kid`, or by its thumbprint where it has none; not by another one."""
        first, second = new_key(), new_key()
        keys = [public(first), public(second)]
        assert verified(signed(second, kid=second.kid), keys, ALGORITHMS).claims == {"sub": "x"}
        with pytest.raises(SignatureError, match="does not hold"):
            verified(signed(second, kid=first.kid), keys, ALGORITHMS)
        nameless = {name: value for name, value in public(first).items() if name != "kid"}
        assert verified(signed(first, kid=first.thumbprint()), [nameless], ALGORITHMS)

    def test_a_token_that_names_no_key_is_judged_by_each(self) -> None:
        """So that it holds while a client has two keys."""
        first, second = new_key(), new_key()
        for key in (first, second):
            assert verified(signed(key), [public(first), public(second)], ALGORITHMS)
        with pytest.raises(UnknownKeyError):
            verified(signed(new_key()), [public(first), public(second)], ALGORITHMS)

    def test_a_key_that_is_of_no_use_is_passed_over(self) -> None:
        """One to seal to, of another kind, curve or algorithm, or no key at all: the good one beside it judges."""
        good, rsa = new_key(), RSAKey.generate_key(2048)
        useless: list[dict[str, Any]] = [
            public(good, use="enc"),
            public(good, alg="ES256"),
            public(rsa),
            public(ECKey.generate_key("P-256")),
            {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
            {"kty": "EC", "crv": "P-384"},
            {"kty": "EC", "crv": "zilver", "x": 1, "y": []},
            {"kty": "oct", "k": "AAAA"},
            {"kty": "AKP"},
            {},
        ]
        assert verified(signed(good), [*useless[2:], public(good)], ALGORITHMS)
        with pytest.raises(UnknownKeyError):
            verified(signed(good), useless, ALGORITHMS)
        assert verified(signed(rsa, "RS384"), [public(rsa, kid="r"), public(good)], ALGORITHMS)

    def test_no_more_than_a_few_keys_are_tried(self) -> None:
        """A set of a thousand keys is no way to keep the gateway at work."""
        last = new_key()
        with pytest.raises(UnknownKeyError):
            verified(signed(last), [*[public(new_key())] * 10, public(last)], ALGORITHMS)
        assert verified(signed(last, kid=last.kid), [*[public(new_key())] * 10, public(last)], ALGORITHMS)

    @pytest.mark.parametrize(
        "token", ["", "x", "..", "e30.e30.e30", "W10.e30.e30", "{}", "é.é.é", "[" * 5000, "e30" * LONGEST_TOKEN]
    )
    def test_what_is_no_token_is_refused(self, token: str) -> None:
        with pytest.raises(SignatureError):
            verified(token, [public(new_key())], ALGORITHMS)

    def test_a_token_that_is_too_long_is_not_read(self) -> None:
        """Though its signature holds."""
        key = new_key()
        long = jwt.encode({"alg": "ES384"}, {"sub": "x" * LONGEST_TOKEN}, key, algorithms=ALGORITHMS)
        with pytest.raises(SignatureError, match="not a signed token"):
            verified(long, [public(key)], ALGORITHMS)


class TestSigningKeys:
    """The gateway's own key changes without a restart, and what the former one signed stays good until it expires."""

    def keys(self, folder: Path, offset: timedelta = timedelta()) -> SigningKeys:
        """Open the keys of a folder."""
        return SigningKeys(folder, Clock(offset), open_log(None, strict=True))

    def change(self, folder: Path, name: str = "gateway-oud.jwk") -> None:
        """Put a new key in the place of the one that signs."""
        (folder / "gateway.jwk").rename(folder / name)
        write_private_key(folder / "gateway.jwk", new_key())

    def test_the_new_key_signs_and_the_old_one_is_published_beside_it(self, tmp_path: Path) -> None:
        """Seen within a second; the key to seal to is not among them."""
        keys = self.keys(tmp_path)
        write_private_key(tmp_path / "gateway-enc.jwk", new_key())
        (first,) = keys.public()
        self.change(tmp_path)
        keys._looked_at -= 1
        now = keys.public()
        assert (len(now), now[1]) == (2, first)
        assert now[0]["kid"] == keys.now()[0].kid == read_private_key(tmp_path / "gateway.jwk").kid

    def test_the_old_key_is_gone_when_what_it_signed_has_expired(self, tmp_path: Path) -> None:
        """Though its file is still there."""
        keys = self.keys(tmp_path)
        self.change(tmp_path)
        assert len(self.keys(tmp_path, OLDER_KEYS_STAY - timedelta(seconds=10)).now()) == 2
        assert len(self.keys(tmp_path, OLDER_KEYS_STAY + timedelta(seconds=10)).now()) == 1
        (tmp_path / "gateway-oud.jwk").unlink()
        keys._looked_at -= 1
        assert len(keys.now()) == 1

    def test_files_are_looked_at_once_a_second(self, tmp_path: Path) -> None:
        """However often a signature is judged."""
        keys = self.keys(tmp_path)
        first = keys.now()
        self.change(tmp_path)
        assert keys.now() == first

    @pytest.mark.parametrize("content", [None, "", '{"kty": "EC", "crv": "P-3', "{}", '{"kty": "RSA"}', "[]"])
    def test_a_key_that_is_being_written_changes_nothing_yet(self, tmp_path: Path, content: str | None) -> None:
        """The one that signed goes on signing; a whole file is taken when it is there."""
        keys = self.keys(tmp_path)
        first = keys.now()
        path = tmp_path / "gateway.jwk"
        path.unlink()
        if content is not None:
            path.write_text(content)
        keys._looked_at -= 1
        assert keys.now() == first
        write_private_key(path, new_key())
        keys._looked_at -= 1
        assert keys.now()[0].kid != first[0].kid


class KeyServer:
    """The address of a client's keys."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[dict[str, Any]] = []
        self.asked = 0
        self.status = 200

    async def handle(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response({"keys": self.keys}, status=self.status)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world for the whole file."""
    async with open_world(tmp_path_factory.mktemp("keys")) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def server(world: World) -> AsyncIterator[KeyServer]:
    """A key server, and a client `school` whose keys stand there."""
    served = KeyServer()
    app = web.Application()
    app.router.add_get("/keys/{name}", served.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys/{Clock().new_id()}"
    client = Client(client_id="school", purpose="support", scopes=("deliveries:read",), jwks_url=served.url)
    await world.gateway.directory.put(Entry(id="school", name="School", kind="school", clients=(client,)))
    try:
        yield served
    finally:
        await runner.cleanup()


async def asks(world: World, key: ECKey, client: str = "school") -> int:
    """Ask a token with an assertion that names its key; return the status."""
    clock = Clock()
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": client_assertion(key, client, world.known.token_url, clock.now(), clock.new_id()),
    }
    async with world.session.post(world.known.token_url, data=form) as response:
        return response.status


@pytest.mark.asyncio(loop_scope="module")
class TestClients:
    """A client changes its keys by itself at its address, or in the directory."""

    async def test_a_new_key_at_the_address_is_found_and_the_old_one_refused(
        self, world: World, server: KeyServer
    ) -> None:
        """The new one at once, also beside the old one; the removed one as soon as the new one was looked for."""
        first, second = new_key(), new_key()
        server.keys = [public(first)]
        assert await asks(world, first) == 200
        server.keys = [public(first), public(second)]
        assert [await asks(world, key) for key in (second, first)] == [200, 200]
        third = new_key()
        server.keys = [public(third)]
        assert [await asks(world, key) for key in (third, second, first)] == [200, 401, 401]

    async def test_a_key_that_was_removed_is_refused_soon_after(self, world: World, server: KeyServer) -> None:
        """Within seconds, though nobody asks with another one; and when the address fails too."""
        key, published = new_key(), world.gateway.gatekeeper._published
        server.keys = [public(key)]
        assert await asks(world, key) == 200
        ticks = published._ticks
        published._ticks = lambda: ticks() + 10
        server.keys = [public(new_key())]
        assert await asks(world, key) == 401
        server.keys = [public(key)]
        published._ticks = lambda: ticks() + 20
        assert await asks(world, key) == 200
        server.status = 500
        published._ticks = lambda: ticks() + 41
        assert await asks(world, key) == 401
        published._ticks = ticks

    async def test_unknown_keys_make_no_storm(self, world: World, server: KeyServer) -> None:
        """Anybody may name a client; its address is asked a few times, and its own key stays good."""
        key = new_key()
        server.keys = [public(key)]
        assert await asks(world, key) == 200
        together = await asyncio.gather(*[asks(world, new_key()) for _ in range(20)])
        after = [await asks(world, new_key()) for _ in range(20)]
        assert {*together, *after} == {401}
        assert server.asked <= FETCHES_PER_MINUTE + 1
        assert await asks(world, key) == 200

    @pytest.mark.parametrize("keys", [None, "zilver", [1, None, "x"], {"keys": []}])
    async def test_an_address_without_a_key_set_opens_nothing(self, world: World, server: KeyServer, keys: Any) -> None:
        """And is no error of ours."""
        server.keys = keys
        assert await asks(world, new_key()) == 401

    async def test_keys_in_the_directory_change_with_it(self, world: World) -> None:
        """At once, in both directions."""
        first, second = new_key(), new_key()

        async def put(*keys: ECKey) -> None:
            jwks = PublicKeys([key for each in keys for key in public_jwks(each).keys])
            client = Client(client_id="waarde", purpose="support", scopes=("deliveries:read",), jwks=jwks)
            await world.gateway.directory.put(Entry(id="waarde", name="Waarde", kind="school", clients=(client,)))

        await put(first)
        assert [await asks(world, key, "waarde") for key in (first, second)] == [200, 401]
        await put(first, second)
        assert [await asks(world, key, "waarde") for key in (first, second)] == [200, 200]
        await put(second)
        assert [await asks(world, key, "waarde") for key in (first, second)] == [401, 200]

    async def test_a_token_outlives_the_key_that_signed_it(self, world: World) -> None:
        """For its five minutes; new ones are signed by the new key, and both keys are published until then."""

        async def status_and_kids() -> tuple[int, list[str]]:
            world.gateway.gatekeeper._keys._looked_at -= 1
            status = (await world.team.ask("GET", "/v1/formats")).status
            async with world.session.get(f"{world.gateway.public_url}/.well-known/jwks.json") as response:
                return status, [key["kid"] for key in (await response.json())["keys"] if key["use"] == "sig"]

        folder = world.data_dir / "keys"
        _, (before,) = await status_and_kids()
        (folder / "gateway.jwk").rename(folder / "gateway-oud.jwk")
        write_private_key(folder / "gateway.jwk", new_key())
        status, (after, older) = await status_and_kids()
        assert (status, older, after == before) == (200, before, False)
        assert json.loads(world.logs().splitlines()[-3])["event"] == "signing_keys_changed"
        os.utime(folder / "gateway.jwk", (0, 0))
        assert await status_and_kids() == (401, [after])
