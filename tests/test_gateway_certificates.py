"""A token that is bound to a client certificate is good with that certificate only; without one there is no token (RFC 8705)."""

import base64
import hashlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey
from msgspec.structs import replace
from world import World, open_world

from gateway.callers import ASSERTION_TYPE, client_assertion, new_key, public_jwks
from gateway.clock import Clock
from gateway.directory import Client, Entry
from gateway.peers import forwarded_certificate, thumbprint
from gateway.server import serving
from gateway.settings import SettingsError, load_settings
from gateway.signatures import unverified
from gateway.wiring import Gateway

PEM = serialization.Encoding.PEM
HEADER = "X-Client-Cert"
NAME = "Marloes BV"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(PEM).decode()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def escaped(self) -> str:
        return quote(self.pem, safe="")

    def written(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write both as PEM."""
        private = self.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        paths = folder / f"{name}.pem", folder / f"{name}.key"
        paths[0].write_text(self.pem)
        paths[1].write_bytes(private)
        return paths


def issued(name: str, by: Pair | None = None) -> Pair:
    """Issue a certificate; without an issuer one of an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    return Pair(builder.sign(by.key if by else key, hashes.SHA256()), key)


AUTHORITY = issued("Vlinderstad CA")
MINE, OTHER = issued(NAME, AUTHORITY), issued("School", AUTHORITY)


class TestThumbprint:
    """What a proxy passes on is the certificate itself, or nothing."""

    def test_it_is_the_hash_of_the_certificate(self) -> None:
        """SHA-256 of the DER, base64url without padding (RFC 8705 3.1)."""
        digest = hashlib.sha256(MINE.der).digest()
        assert thumbprint(MINE.der) == base64.urlsafe_b64encode(digest).decode().rstrip("=")

    @pytest.mark.parametrize(
        ("headers", "found"),
        [
            pytest.param([MINE.escaped], MINE.der, id="escaped PEM"),
            pytest.param([quote(MINE.pem + AUTHORITY.pem, safe="")], MINE.der, id="the first of a chain"),
            pytest.param([MINE.pem.replace("\n", "\t ")], MINE.der, id="PEM that was folded"),
            pytest.param([f":{base64.b64encode(MINE.der).decode()}:"], MINE.der, id="as RFC 9440 has it"),
            pytest.param([], None, id="no header"),
            pytest.param([""], None, id="an empty header"),
            pytest.param(["(null)"], None, id="what some proxies write for none"),
            pytest.param([MINE.escaped, MINE.escaped], None, id="two headers"),
            pytest.param([MINE.escaped[:-40]], None, id="cut off"),
            pytest.param([f"x{MINE.escaped}"], None, id="something before it"),
            pytest.param([MINE.escaped.replace("MII", "M=I=I", 1)], None, id="broken base64"),
            pytest.param([MINE.escaped.replace("MII", "M*II", 1)], None, id="what is no base64"),
            pytest.param(["-----BEGIN CERTIFICATE----- -----END CERTIFICATE-----"], None, id="nothing in it"),
            pytest.param([":====:"], None, id="no base64"),
            pytest.param(["::"], None, id="no bytes"),
        ],
    )
    def test_a_header_is_a_certificate_or_none(self, headers: list[str], found: bytes | None) -> None:
        assert forwarded_certificate(headers) == found


KEY = new_key()
BOUND = Client(client_id="bound", purpose="support", scopes=("deliveries:read",), jwks=public_jwks(KEY), mtls=True)
FREE = replace(BOUND, client_id="free", mtls=False)


async def register(gateway: Gateway, *clients: Client) -> None:
    """Put the two clients in the directory, or these."""
    await gateway.directory.put(Entry(id="school", name="School", kind="school", clients=clients or (BOUND, FREE)))


def form_of(gateway: Gateway, client: str, key: ECKey = KEY) -> dict[str, str]:
    """Return a token request."""
    clock = Clock()
    assertion = client_assertion(key, client, gateway.gatekeeper.token_url, clock.now(), clock.new_id())
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
    }


class Asking:
    """A caller behind a proxy."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def token(self, client: str, certificate: str | None) -> tuple[int, dict[str, Any]]:
        headers = {HEADER: certificate} if certificate is not None else {}
        gateway = self.world.gateway
        form = form_of(gateway, client)
        async with self.world.session.post(gateway.gatekeeper.token_url, data=form, headers=headers) as response:
            return response.status, await response.json()

    async def get(
        self, token: str, certificate: str | None, path: str = "/v1/deliveries"
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}", **({HEADER: certificate} if certificate is not None else {})}
        async with self.world.session.get(f"{self.world.gateway.public_url}{path}", headers=headers) as response:
            return response.status, await response.json()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def asking(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Asking]:
    """A gateway behind a proxy at 127.0.0.1 that passes certificates on."""
    folder = tmp_path_factory.mktemp("certificates")
    async with open_world(folder, client_cert_header=HEADER, trusted_proxies="127.0.0.0/8") as world:
        await register(world.gateway)
        yield Asking(world)


@pytest.mark.asyncio(loop_scope="module")
class TestBehindAProxy:
    """The proxy says which certificate the client showed."""

    async def test_a_bound_client_gets_a_token_for_its_certificate_only(self, asking: Asking) -> None:
        """And each request must show that one."""
        status, body = await asking.token("bound", MINE.escaped)
        assert status == 200
        token = body["access_token"]
        assert unverified(token, 1)["cnf"] == {"x5t#S256": thumbprint(MINE.der)}
        assert (await asking.get(token, MINE.escaped))[0] == 200
        for shown in (None, "", "onzin", OTHER.escaped, AUTHORITY.escaped, thumbprint(MINE.der)):
            refused = await asking.get(token, shown)
            assert (refused[0], refused[1]["code"], refused[1]["errors"][0]["code"]) == (
                401,
                "unauthenticated",
                "certificate",
            )

    @pytest.mark.parametrize("shown", [None, "", "onzin"])
    async def test_a_bound_client_without_a_certificate_gets_no_token(self, asking: Asking, shown: str | None) -> None:
        """However good its assertion is."""
        assert await asking.token("bound", shown) == (401, {"error": "invalid_client"})
        assert '"reason":"no-certificate"' in asking.world.logs()

    async def test_a_client_that_is_not_bound_needs_none(self, asking: Asking) -> None:
        """Its token is good with and without one."""
        for shown in (None, MINE.escaped):
            status, body = await asking.token("free", shown)
            assert (status, "cnf" in unverified(body["access_token"], 1)) == (200, False)
            assert (await asking.get(body["access_token"], OTHER.escaped))[0] == 200

    async def test_a_client_that_becomes_bound_loses_its_free_tokens(self, asking: Asking) -> None:
        """And a bound token stays bound when its client no longer needs to be."""
        free = (await asking.token("free", None))[1]["access_token"]
        bound = (await asking.token("bound", MINE.escaped))[1]["access_token"]
        await register(asking.world.gateway, replace(FREE, mtls=True), replace(BOUND, mtls=False))
        try:
            assert [(await asking.get(free, shown))[0] for shown in (None, MINE.escaped)] == [401, 401]
            assert [(await asking.get(bound, shown))[0] for shown in (None, OTHER.escaped)] == [401, 401]
            assert (await asking.get(bound, MINE.escaped))[0] == 200
        finally:
            await register(asking.world.gateway)

    async def test_no_certificate_reaches_a_log(self, asking: Asking) -> None:
        """Nor its thumbprint, nor the name in it."""
        await asking.token("bound", MINE.escaped)
        logs = asking.world.logs()
        assert not [text for text in (NAME, MINE.escaped[60:120], thumbprint(MINE.der)) if text in logs]

    async def test_discovery_says_that_tokens_can_be_bound(self, asking: Asking) -> None:
        """RFC 8705 3.3."""
        _, found = await asking.get("x", None, "/fhir/.well-known/smart-configuration")
        assert found["tls_client_certificate_bound_access_tokens"] is True


async def test_a_certificate_from_a_stranger_is_not_there(tmp_path: Path) -> None:
    """Who is no proxy of ours cannot pass one on."""
    async with open_world(tmp_path, client_cert_header=HEADER, trusted_proxies="10.0.0.0/8") as world:
        await register(world.gateway)
        asking = Asking(world)
        assert await asking.token("bound", MINE.escaped) == (401, {"error": "invalid_client"})
        gatekeeper = world.gateway.gatekeeper
        given = await gatekeeper.token(form_of(world.gateway, "bound"), thumbprint(MINE.der))
        assert (await asking.get(given["access_token"], MINE.escaped))[0] == 401


async def test_a_gateway_that_sees_no_certificates_gives_a_bound_client_nothing(tmp_path: Path) -> None:
    """And says so in its discovery."""
    async with open_world(tmp_path) as world:
        await register(world.gateway)
        asking = Asking(world)
        assert (await asking.token("bound", MINE.escaped))[0] == 401
        _, found = await asking.get("x", None, "/fhir/.well-known/smart-configuration")
        assert found["tls_client_certificate_bound_access_tokens"] is False


def tls_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a gateway that speaks TLS itself."""
    certificate, key = issued("localhost", AUTHORITY).written(folder, "server")
    authority, _ = AUTHORITY.written(folder, "authority")
    return {"tls_cert_file": certificate, "tls_key_file": key, "tls_client_ca_file": authority}


class TestOwnTls:
    """The gateway speaks TLS itself, and sees the certificate of the connection."""

    async def test_a_token_is_bound_to_the_certificate_of_the_connection(self, tmp_path: Path) -> None:
        """A header says nothing here; who shows no certificate may call, and a bound client may not."""
        settings = load_settings(
            None, mode="demo", port=0, data_dir=tmp_path, bind="localhost", **tls_settings(tmp_path)
        )

        async def ask(pair: Pair | None, token: str | None = None) -> tuple[int, str]:
            side = ssl.create_default_context(cadata=AUTHORITY.pem)
            if pair is not None:
                side.load_cert_chain(*pair.written(tmp_path, "client"))
            headers = {HEADER: MINE.escaped, **({"Authorization": f"Bearer {token}"} if token else {})}
            url = gateway.gatekeeper.token_url if token is None else f"{gateway.public_url}/v1/deliveries"
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=side)) as session:
                form = form_of(gateway, "bound") if token is None else None
                asked = session.request("GET" if token else "POST", url, data=form, headers=headers)
                async with asked as response:
                    return response.status, str((await response.json()).get("access_token"))

        async with serving(settings) as gateway:
            assert gateway.public_url.startswith("https://localhost:")
            await register(gateway)
            status, token = await ask(MINE)
            assert (status, (await ask(MINE, token))[0]) == (200, 200)
            assert [(await ask(pair, token))[0] for pair in (OTHER, None)] == [401, 401]
            assert (await ask(None))[0] == 401
            stranger = issued(NAME)
            with pytest.raises(aiohttp.ClientError):
                await ask(stranger)

    @pytest.mark.parametrize("wrong", ["tls_cert_file", "tls_key_file", "tls_client_ca_file"])
    @pytest.mark.parametrize("content", [None, "geheim"])
    async def test_files_that_are_not_right_are_refused_before_anything_starts(
        self, tmp_path: Path, wrong: str, content: str | None
    ) -> None:
        """Absent, or no PEM."""
        known = tls_settings(tmp_path)
        known[wrong].unlink() if content is None else known[wrong].write_text(content)
        with pytest.raises(SettingsError, match="TLS_CERT_FILE"):
            async with serving(load_settings(None, mode="demo", port=0, data_dir=tmp_path, **known)):
                pass
