"""What a receiver may answer beyond the plain rows: odd bytes, waits that it asks for, and the days of the default schedule."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from receivers import Answerer, status
from sqlalchemy import update
from world import World, example, open_world

from adapters.outbound_http import retry_after
from gateway.outcomes import next_wait
from gateway.seal import sha256_hex
from gateway.settings import Settings
from gateway.store.tables import delivery

KOMPAS, LINDE = "kompas", "de-linde"
SCHEDULE: tuple[float, ...] = Settings.model_fields["retry_seconds"].default
AGAIN, PERSON, DONE = "waiting", "parked", "acknowledged"

Row = dict[str, Any]
Raw = Callable[[asyncio.StreamWriter, str, bytes], Awaitable[None]]
"""(where to write, delivery id, body) → written as this receiver does."""


def pause_of(row: Row) -> timedelta:
    """Return how long a delivery waits."""
    return datetime.fromisoformat(row["nextAttemptAt"]) - datetime.fromisoformat(row["updatedAt"])


async def to(world: World, recipient: str) -> Row:
    """Send the example under a number of its own, and return the delivery to a recipient once it rests."""
    number = world.gateway.clock.new_id()
    sent = await world.send(example(edit=lambda document: document.update(planNummer=number)))
    return await rested(world, sent.body["planId"], recipient)


async def rested(world: World, plan_id: str, recipient: str) -> Row:
    """Return the delivery of a plan to a recipient once it rests."""
    return next(row for row in await world.rest(plan_id) if row["recipient"] == recipient)


async def receives_at(world: World, recipient: str, url: str) -> None:
    """Let a recipient receive at this address."""
    entry = (await world.gateway.directory.now()).entries[recipient]
    await world.gateway.directory.put(replace(entry, endpoints=(replace(entry.endpoints[0], url=url),)))


@asynccontextmanager
async def raw_receiver(answer: Raw, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Start a receiver that reads a request and then writes what it likes, to the byte."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = await reader.readexactly(int(fields["Content-Length"]))
            await answer(writer, fields["Planbrug-Delivery"], body)
            writer.close()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    scheme = "https" if context else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/in"
    finally:
        server.close()


def good(delivery_id: str, body: bytes) -> bytes:
    """Return a matching receipt."""
    return json.dumps({"deliveryId": delivery_id, "sha256": sha256_hex(body)}).encode()


def says(head: bytes, make: Callable[[bytes], bytes] = lambda good: good, *, length: bool = True) -> Raw:
    """Answer with this head and what is made of a good receipt."""

    async def answer(writer: asyncio.StreamWriter, delivery_id: str, body: bytes) -> None:
        content = make(good(delivery_id, body))
        lines = head + (b"Content-Length: %d\r\n" % len(content) if length else b"")
        writer.write(lines + b"\r\n" + content)
        await writer.drain()

    return answer


def over_and_over(head: bytes, piece: bytes, pause_seconds: float = 0) -> Raw:
    """Answer with this head and then the same piece for ever."""

    async def answer(writer: asyncio.StreamWriter, _delivery_id: str, _body: bytes) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return answer


def chunked(text: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text)


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n"
SQUEEZED = OK + b"Content-Encoding: gzip\r\n"

WIRE: list[tuple[str, Raw, str, str | None]] = [
    ("a plain receipt", says(OK), DONE, None),
    ("hints first, then a receipt", says(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + OK), DONE, None),
    ("a receipt in chunks", says(CHUNKED, lambda text: chunked(text) + b"0\r\n\r\n", length=False), DONE, None),
    ("a receipt in gzip", says(SQUEEZED, gzip.compress), DONE, None),
    ("a 101", says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n", length=False), PERSON, "rejected"),
    ("hints without an end", over_and_over(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.01), AGAIN, "timeout"),
    ("a receipt that lacks its last chunk", says(CHUNKED, chunked, length=False), AGAIN, "connection-cut"),
    ("a receipt in chunks that are none", says(CHUNKED, lambda text: b"zz\r\n" + text, length=False), AGAIN, "connection-cut"),
    ("a receipt that is shorter than promised", says(OK + b"Content-Length: 999\r\n", length=False), AGAIN, "connection-cut"),
    ("gzip that is none", says(SQUEEZED), AGAIN, "connection-cut"),
    ("6 MB around a receipt", says(OK, lambda text: text + b" " * 6_000_000), AGAIN, "no-receipt"),
    ("50 MB in a few bytes of gzip", says(SQUEEZED, lambda text: gzip.compress(text + b" " * 50_000_000)), AGAIN, "no-receipt"),
    ("much without an end", over_and_over(OK + b"\r\n", b" " * 100_000), AGAIN, "no-receipt"),
    ("little without an end", over_and_over(OK + b"\r\n", b" ", 0.05), AGAIN, "timeout"),
    ("a head without an end", over_and_over(OK, b"X-More: 1\r\n"), AGAIN, "connection-cut"),
    ("something that is not HTTP", says(b"SSH-2.0-OpenSSH_9.2\r\n", length=False), AGAIN, "connection-cut"),
    ("two lengths", says(OK + b"Content-Length: 3\r\n"), AGAIN, "connection-cut"),
    ("a status that is none", says(b"HTTP/1.1 2000 OK\r\n"), AGAIN, "connection-cut"),
    ("a 500 with a receipt in it", says(b"HTTP/1.1 500 Oops\r\n"), AGAIN, "receiver-failed"),
    ("a 404 that never ends", over_and_over(b"HTTP/1.1 404 Not Found\r\n\r\n", b" ", 0.05), AGAIN, "not-found"),
]  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world with the default schedule for all that is answered here."""
    async with open_world(tmp_path_factory.mktemp("wire"), send_timeout_seconds=2) as opened:
        await opened.family()
        yield opened


@pytest.mark.asyncio(loop_scope="module")
class TestOnTheWire:
    """Whatever bytes come back: only a whole, matching receipt is delivered, and nothing makes the attempt fail by itself."""

    @pytest.mark.parametrize(("answer", "state", "reason"), [pytest.param(*rest, id=name) for name, *rest in WIRE])
    async def test_a_receiver_writes(self, world: World, answer: Raw, state: str, reason: str | None) -> None:
        """State and reason follow; the first pause is that of the default schedule."""
        async with raw_receiver(answer) as url:
            await receives_at(world, KOMPAS, url)
            row = await to(world, KOMPAS)
        assert (row["state"], row["reason"], row["attempts"]) == (state, reason, 1)
        if state == AGAIN:
            assert timedelta(seconds=SCHEDULE[0]) <= pause_of(row) <= timedelta(seconds=SCHEDULE[0] * 1.25)
        else:
            assert row["nextAttemptAt"] is None
        assert "delivery_failed" not in world.logs()

    async def test_a_certificate_that_nobody_vouches_for_is_no_connection(self, world: World, tmp_path: Path) -> None:
        """Nothing goes to whom TLS does not prove."""
        async with raw_receiver(says(OK), self_signed(tmp_path)) as url:
            await receives_at(world, KOMPAS, url)
            row = await to(world, KOMPAS)
        assert (row["state"], row["reason"], row["receiptId"]) == (AGAIN, "not-connected", None)

    @pytest.mark.parametrize("url", ["http://", "http://:80/in", "http://[nee]/in", "http://kompas:poort/in"])
    async def test_an_address_that_is_none_is_no_connection(self, world: World, url: str) -> None:
        """A directory of before may hold one; nothing left, so there is no receipt."""
        await receives_at(world, KOMPAS, url)
        row = await to(world, KOMPAS)
        assert (row["state"], row["reason"], row["receiptId"]) == (AGAIN, "not-connected", None)
        assert "delivery_failed" not in world.logs()


STATUSES: list[tuple[int, str, str]] = [
    (302, PERSON, "redirected"),
    (400, PERSON, "rejected"),
    (401, AGAIN, "not-authorised"),
    (403, AGAIN, "not-authorised"),
    (404, AGAIN, "not-found"),
    (409, AGAIN, "conflict"),
    (410, PERSON, "gone"),
    (413, PERSON, "too-large"),
    (422, PERSON, "rejected"),
    (429, AGAIN, "busy"),
    (500, AGAIN, "receiver-failed"),
    (503, AGAIN, "receiver-failed"),
]


async def never(_request: web.Request, _body: bytes) -> web.StreamResponse:
    """Take everything and answer nothing."""
    await asyncio.Event().wait()
    return web.Response()


async def cut(request: web.Request, _body: bytes) -> web.StreamResponse:
    """Break the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


FHIR_ANSWERS: list[tuple[str, Answerer, str, str]] = [
    *((f"a {code}", status(code, {"Location": "/x"}), state, reason) for code, state, reason in STATUSES),
    ("no answer in time", never, AGAIN, "timeout"),
    ("a cut connection", cut, AGAIN, "connection-cut"),
]


@pytest.mark.asyncio(loop_scope="module")
class TestFhirServers:
    """A FHIR server is judged by the same table as a webhook."""

    @pytest.mark.parametrize(
        ("answer", "state", "reason"), [pytest.param(*rest, id=name) for name, *rest in FHIR_ANSWERS]
    )
    async def test_a_fhir_server_answers(self, world: World, answer: Answerer, state: str, reason: str) -> None:
        """State and reason follow; what waits comes back by the schedule, what is parked by a person only."""
        receiver = world.receivers["provider-b"]
        receiver.answers.append(answer)
        row = await to(world, LINDE)
        assert (row["state"], row["reason"], row["attempts"]) == (state, reason, 1)
        assert (row["nextAttemptAt"] is not None) == (state == AGAIN)
        if state == AGAIN:
            assert timedelta(seconds=SCHEDULE[0]) <= pause_of(row) <= timedelta(seconds=SCHEDULE[0] * 1.25)


DATE = "Mon, 02 Nov 2026 10:00:00 GMT"

RETRY_AFTER: list[tuple[str, dict[str, str], float | None]] = [
    ("seconds", {"Retry-After": "120"}, 120),
    ("nothing", {}, None),
    ("zero", {"Retry-After": "0"}, 0),
    ("a date", {"Date": DATE, "Retry-After": "Mon, 02 Nov 2026 11:00:00 GMT"}, 3600),
    ("a date that is past", {"Date": DATE, "Retry-After": "Mon, 02 Nov 2026 09:00:00 GMT"}, 0),
    ("a date without our knowing what time it is there", {"Retry-After": DATE}, None),
    ("a date without a zone", {"Date": DATE, "Retry-After": "Mon, 02 Nov 2026 11:00:00 -0000"}, None),
    ("a negative number", {"Retry-After": "-5"}, None),
    ("a fraction", {"Retry-After": "1.5"}, None),
    ("two numbers", {"Retry-After": "1, 7200"}, None),
    ("other digits", {"Retry-After": "٣٦٠٠"}, None),
    ("an exponent", {"Retry-After": "1e9"}, None),
    ("infinity", {"Retry-After": "inf"}, None),
    ("leading zeros", {"Retry-After": "0000000000120"}, 120),
    ("what would be another header", {"Retry-After": "5\r\nX-Other: 1"}, None),
]


@pytest.mark.parametrize(("headers", "seconds"), [pytest.param(*rest, id=name) for name, *rest in RETRY_AFTER])
def test_a_retry_after_is_read_in_both_forms_and_no_other(headers: dict[str, str], seconds: float | None) -> None:
    """RFC 9110 10.2.3; whatever else stands there counts as absent."""
    assert retry_after(headers) == seconds


@given(st.text(max_size=400), st.text(max_size=60))
def test_no_retry_after_breaks_an_attempt(text: str, date: str) -> None:
    """Whatever stands there, it is a number of seconds that is not negative, or nothing."""
    found = retry_after({"Retry-After": text, "Date": date})
    assert found is None or found >= 0


@given(
    attempts=st.integers(1, 12),
    schedule=st.lists(st.floats(0.01, 86_400), min_size=1, max_size=10).map(tuple),
    asked=st.none() | st.floats(0, 1e12),
)
def test_a_pause_stays_within_its_bounds(attempts: int, schedule: tuple[float, ...], asked: float | None) -> None:
    """At least the schedule's and at most a quarter more; a longer one only when it was asked for, and a day at most."""
    pause = next_wait(attempts, schedule, asked)
    if attempts > len(schedule):
        assert pause is None
        return
    assert pause is not None
    least = schedule[attempts - 1]
    floor = min(asked or 0, 86_400)
    assert max(least, floor) - 1e-5 <= pause.total_seconds() <= max(least * 1.25, floor) + 1e-5


def test_a_retry_after_of_years_is_a_day() -> None:
    """A receiver cannot make a delivery be forgotten."""
    assert next_wait(1, SCHEDULE, 1e9) == timedelta(days=1)


async def now_due(world: World, delivery_id: str) -> None:
    """Let the pause of a delivery be over."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    sooner = update(delivery).where(delivery.c.id == delivery_id).values(due_at=past)
    await world.gateway.store.write(lambda tx: tx.execute(sooner).rowcount)
    world.gateway.relay.nudge()


async def attempted(world: World, plan_id: str, attempts: int) -> Row:
    """Return the delivery to Kompas once it rests after so many attempts."""
    async with asyncio.timeout(30):
        while True:
            row = await rested(world, plan_id, KOMPAS)
            if row["attempts"] == attempts and row["state"] in {AGAIN, PERSON, DONE}:
                return row
            await asyncio.sleep(0.01)


async def test_the_default_schedule_takes_days_then_parks_and_starts_anew_on_a_retry(tmp_path: Path) -> None:
    """Nine attempts in close to three days, each pause in its bounds; then parked, visible, and never forgotten."""
    async with open_world(tmp_path) as world:
        receiver = world.receivers["provider-a"]
        receiver.answer = status(503)
        plan_id = (await world.send(example())).body["planId"]
        waited = timedelta()
        for attempts, seconds in enumerate(SCHEDULE, start=1):
            row = await attempted(world, plan_id, attempts)
            assert (row["state"], row["reason"]) == (AGAIN, "receiver-failed")
            assert timedelta(seconds=seconds) <= pause_of(row) <= timedelta(seconds=seconds * 1.25)
            waited += pause_of(row)
            await now_due(world, row["id"])
        row = await attempted(world, plan_id, len(SCHEDULE) + 1)
        assert (row["state"], row["reason"], row["nextAttemptAt"]) == (PERSON, "attempts-used", None)
        assert waited > timedelta(days=2)
        assert len(receiver.arrivals) == len(SCHEDULE) + 1
        listed = (await world.team.want("GET", "/v1/deliveries?state=parked"))["items"]
        assert row["id"] in {each["id"] for each in listed}
        assert (await world.team.ask("POST", f"/v1/deliveries/{row['id']}/retries")).status == 200
        fresh = await attempted(world, plan_id, 1)
        assert (fresh["state"], fresh["sequence"]) == (AGAIN, row["sequence"])
        assert timedelta(seconds=SCHEDULE[0]) <= pause_of(fresh) <= timedelta(seconds=SCHEDULE[0] * 1.25)


def self_signed(folder: Path) -> ssl.SSLContext:
    """Return a server's side of TLS with a certificate that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.pem").write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    return context
