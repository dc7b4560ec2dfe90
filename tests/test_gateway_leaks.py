"""What is withheld from a recipient is in no byte that it or anybody else can see: bodies, headers, queues, logs, metrics, errors, disk."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import msgspec
import pytest
from aiohttp import web
from multidict import CIMultiDict
from world import FORMAT, PATIENCE_SECONDS, World, example, open_world

from gateway.app import build_metrics_app
from gateway.broker import ROUTING_KEY
from gateway.demo.vlinderstad import FINN_CHOICES, MARLOES_CHOICES

Document = dict[str, Any]

CANARY = "kanarie"
"""Part of every canary, in whatever case."""

SEEN: dict[str, tuple[int, ...]] = {
    "ondersteuningsvragen": (0, 1),
    "krachten": (0,),
    "doelen": (0, 1),
    "acties": (0, 2, 4),
    "voorzieningen": (0, 2),
    "evaluaties": (0, 1),
    "besluiten": (0,),
    "scores": (0,),
    "betrokkenen": (1,),
}
"""What the family's choices and the law let Kompas see, beside Marloes herself: list → positions."""

LISTS = (*SEEN, "netwerk", "aanleiding", "zorgen", "eerdereHulp", "analyse", "gewenstResultaat", "akkoord", "signalen")
PLACES = ("tekst", "gevolg", "naam", "telefoon", "functie", "omschrijving", "wat", "reden", "hoeVaak", "resultaat")
TEXTS = {*PLACES, "zienswijze", "kenmerk", "schaal"}
HIDDEN_KEYS = ("vader", "oma", "yasmin", "anouk", "zorg-1", "zorg-2", "zorg-3", "analyse-1", "hulp-1", "signaal-1")
PEOPLE = ("marloes", "jansen", "finn", "ria ", "yasmin", "joost", "anouk", "999900006", "999900018", "koninginnenpage")
"""Names, numbers and an address of the family and its helpers, in lower case."""

FORBIDDEN = (CANARY, *PEOPLE)


def with_canaries(document: Document) -> None:
    """Put a canary of its own in every text that Kompas may not see, and in the keys of the source."""
    numbers = iter(range(1000))

    def canary() -> str:
        return f"Kanarie-{next(numbers):03d}-zingt"

    for name in LISTS:
        for position, part in enumerate(document[name]):
            if position in SEEN.get(name, ()):
                continue
            part.update({field: canary() for field in TEXTS & part.keys()})
    document["planNummer"] = canary()
    document["doelen"][1]["omschrijving"] = "In dit huis blijven wonen."
    document["bewoners"][1].update(voornaam=canary(), achternaam=canary(), telefoon=canary(), email=canary())
    document["bewoners"][1]["adres"].update(straat=canary(), plaats=canary())
    document["netwerk"][0]["email"] = canary()
    document["eerdereHulp"][0]["door"] = canary()
    text = json.dumps(document)
    for key in HIDDEN_KEYS:
        text = text.replace(f'"{key}"', f'"Kanarie-{key}"')
    document.clear()
    document.update(json.loads(text))


def canaries_of(document: Any) -> set[str]:
    """Return every canary in a document."""
    return set(re.findall(r"Kanarie-\d{3}-zingt", json.dumps(document)))


def assert_silent(place: str, text: bytes | str, forbidden: tuple[str, ...] = FORBIDDEN) -> None:
    """Fail, naming the place only, when a text holds what it must not."""
    low = (text if isinstance(text, bytes) else text.encode(errors="surrogateescape")).lower()
    found = [word for word in forbidden if word.encode() in low]
    assert not found, f"{place} holds {found}"


def headers_of(headers: Any) -> str:
    """Return headers as text."""
    return "\n".join(f"{name}: {value}" for name, value in headers.items())


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[list[str]]:
    """Collect a copy of every message of the internal exchange, with its properties and headers."""
    heard: list[str] = []
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("planbrug.internal", ROUTING_KEY)

        async def hear(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            heard.append(f"{message.info()} {message.body.decode()}")

        await queue.consume(hear, no_ack=True)
        yield heard


@asynccontextmanager
async def not_listening() -> AsyncIterator[None]:
    """Do nothing where there is no queue to listen to."""
    yield None


class TestCanaries:
    """Every text that Kompas may not see sings, and is not heard."""

    @pytest.mark.parametrize("broker", ["embedded", "rabbitmq"])
    async def test_no_canary_is_heard_outside(
        self, tmp_path: Path, broker: str, request: pytest.FixtureRequest
    ) -> None:
        """Not by Kompas, in no queue, log line or metric, and nothing readable is on the disk, open or closed."""
        url = request.getfixturevalue("rabbitmq_url") if broker == "rabbitmq" else ""
        document = example(edit=with_canaries)
        assert len(canaries_of(document)) > 40
        async with (
            open_world(tmp_path, amqp_url=url) as world,
            listening(url) if url else not_listening() as heard,
        ):
            sent = await world.send(document)
            assert sent.status == 201, sent.body
            plan_id, residents = sent.body["planId"], {row["reference"]: row["id"] for row in sent.body["residents"]}
            await world.rest(plan_id)
            await world.choose(residents["marloes"], MARLOES_CHOICES)
            await world.choose(residents["finn"], FINN_CHOICES)
            rows = await world.rest(plan_id)
            path = f"/v1/plans/{plan_id}?format={FORMAT}"
            recorded = [(await world.clients[name].ask("GET", path)).body for name in ("team", "backoffice")]
            assert canaries_of(recorded) == canaries_of(document), "a canary that never came in proves nothing"
            assert CANARY in world.receivers["provider-b"].last.body.decode().lower()
            await self.assert_kompas_hears_nothing(world, plan_id)
            if heard is not None:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while not {row["id"] for row in rows} <= {word for line in heard for word in ids_in(line)}:
                        await asyncio.sleep(0.02)
                assert_silent("a broker message", "\n".join(heard))
            assert_silent("the metrics page", await metrics_page(world))
            assert_silent("the logs", world.logs())
            assert (tmp_path / "planbrug.db-wal").stat().st_size > 0
            assert_disk_is_silent(tmp_path)
        assert_disk_is_silent(tmp_path)

    async def assert_kompas_hears_nothing(self, world: World, plan_id: str) -> None:
        """Look at every byte that was pushed to Kompas, and at every byte that it can ask for."""
        others = (CANARY, "finn", "999900018", "yasmin", "anouk", "ria ")
        receiver, caller = world.receivers["provider-a"], world.clients["provider-a"]
        assert len(receiver.arrivals) >= 2
        for arrival in receiver.arrivals:
            assert_silent("a body to Kompas", arrival.body, others)
        for each in world.receivers.values():
            for arrival in each.arrivals:
                assert_silent("a header", headers_of(arrival.headers) + arrival.path)
        assert b"Marloes" in receiver.last.body
        paths = [f"/v1/plans/{plan_id}", f"/v1/plans/{plan_id}?format={FORMAT}", "/v1/deliveries", "/v1/receipts"]
        paths += [f"/v1/deliveries/{row['id']}" for row in await world.deliveries(plan_id)]
        for path in paths:
            told = await caller.ask("GET", path)
            assert_silent(path, json.dumps(told.body), others)
            assert_silent(f"a header of {path}", headers_of(told.headers))

    async def test_no_answer_repeats_what_was_sent_wrong(self, tmp_path: Path) -> None:
        """At every place of the document a text or an object that does not belong there: it is not said again, nor logged."""
        async with open_world(tmp_path) as world:
            for entry in (await world.gateway.directory.now()).entries.values():
                await world.gateway.directory.put(msgspec.structs.replace(entry, endpoints=()))
            statuses = []
            for pointer, wrong in misfits(example()):
                told = await world.send(wrong)
                statuses.append(told.status)
                assert told.status in {200, 201, 422}, pointer
                if pointer[0] != "bewoners" or pointer[-1] != "ref":  # a resident's reference is told back
                    assert_silent(f"the answer about {pointer}", json.dumps(told.body), (CANARY,))
            assert statuses.count(422) > 100
            assert_silent("the logs", world.logs())
            assert_silent("the metrics page", await metrics_page(world))

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/v1/resident-queries", '{"bsn": "KANARIE-999900006"}'),
            ("POST", "/v1/resident-queries", '{"bsn": {"KANARIE": "KANARIE"}}'),
            ("POST", "/v1/resident-queries", '{"bsn": "999900007"}'),
            ("POST", "/v1/resident-queries", '"KANARIE'),
            ("POST", "/v1/residents/{id}/choices", '{"effect": "KANARIE"}'),
            ("POST", "/v1/residents/{id}/choices", '{"KANARIE": 1}'),
            ("POST", "/v1/residents/{id}/choices", '{"effect": "permit", "givenBy": "KANARIE"}'),
            ("POST", "/v1/residents/{id}/choices", '{"effect": "permit", "until": "KANARIE"}'),
            ("GET", "/v1/deliveries?limit=KANARIE", ""),
            ("GET", "/v1/deliveries?state=KANARIE", ""),
            ("GET", "/v1/plans/KANARIE", ""),
            ("GET", "/KANARIE", ""),
            ("POST", "/v1/plans?format=KANARIE", "{}"),
        ],
    )
    async def test_no_problem_repeats_a_value(self, tmp_path: Path, method: str, path: str, body: str) -> None:
        """Neither the answer nor the logs nor the metrics."""
        async with open_world(tmp_path) as world:
            sent = await world.send(example(case="alleen-het-nodige"))
            resident = sent.body["residents"][0]["id"]
            told = await world.team.ask(
                method, path.format(id=resident) if "{id}" in path else path, body=body.encode()
            )
            assert told.status >= 400
            assert_silent("the answer", json.dumps(told.body), (CANARY, "99990000"))
            assert_silent("the headers", headers_of(told.headers))
            assert_silent("the logs", world.logs())
            assert_silent("the metrics page", await metrics_page(world))


def ids_in(text: str) -> list[str]:
    """Return the ids in a text."""
    return re.findall(UUID, text)


async def metrics_page(world: World) -> bytes:
    """Return what Prometheus would read."""
    runner = web.AppRunner(build_metrics_app(world.gateway), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
        async with world.session.get(url) as response:
            page = await response.read()
    finally:
        await runner.cleanup()
    assert b"planbrug_requests_total" in page
    return page


def assert_disk_is_silent(folder: Path) -> None:
    """Look through every byte of every file of a data folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"planbrug.db", "keys.db", "planbrug.jsonl"} <= {path.name for path in files}
    for path in files:
        assert_silent(path.name, path.read_bytes(), (*FORBIDDEN, "gesprek aan huis", "formulier 2026"))


def misfits(document: Document) -> Iterator[tuple[tuple[Any, ...], Document]]:
    """Yield (path, document) with something that does not fit, once for every kind of place."""
    seen = set()
    for path in paths_of(document):
        shape = tuple("*" if isinstance(step, int) else step for step in path)
        if shape in seen:
            continue
        seen.add(shape)
        for wrong in ("KANARIE", {"x": "KANARIE"}):
            copy = json.loads(json.dumps(document))
            node = copy
            for step in path[:-1]:
                node = node[step]
            node[path[-1]] = wrong
            yield path, copy


def paths_of(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, child in items:
        yield (*path, step)
        yield from paths_of(child, (*path, step))


ABOUT_THE_REQUEST = ("X-Request-Id", "X-Correlation-Id", "traceparent")
ABOUT_THE_RATE = ("RateLimit", "RateLimit-Remaining", "RateLimit-Reset")
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_CHANGING = re.compile(
    rf"(?P<time>\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(?:Z|[+]00:00))|(?P<id>{UUID}|\b[a-z2-7]{{26}}\b)"
    r"|(?P<hash>\b[0-9a-f]{64}\b)|(?P<group>\b[0-9a-f]{32}\b)|(?P<port>127\.0\.0\.1:\d+)"
    r"|(?P<trace>\b00-[0-9a-f]{32}-[0-9a-f]{16}-01\b)"
    r"|(?P<rate>(?<=;)r=\d+;t=\d+|(?<=RateLimit-)(?:Remaining|Reset): \d+)"
)


def levelled(text: str) -> str:
    """Replace what is different in any two worlds: moments, ids, hashes of bytes that hold them, ports."""
    return _CHANGING.sub(lambda found: f"<{found.lastgroup}>", text)


def without_hidden(document: Document) -> None:
    """Leave out everything that Kompas may not see; who is named in a visible part stays as the kind of person."""
    for name in LISTS:
        document[name] = [part for position, part in enumerate(document[name]) if position in SEEN.get(name, ())]
    finn = document["bewoners"][1]
    document["bewoners"][1] = {name: finn[name] for name in ("ref", "bsn", "geboortedatum")}
    for part, field in ((document["krachten"][0], "spreker"), (document["acties"][2], "wie")):
        assert part[field].pop("ref") == "yasmin"


class TestTwoWorlds:
    """A plan with hidden parts looks to Kompas exactly like one that never had them."""

    async def test_a_recipient_cannot_tell_that_something_is_hidden(self, tmp_path: Path) -> None:
        """Every byte pushed and every answer is equal, also after edits of hidden parts, but for ids and moments."""
        full = await self.lived(tmp_path / "full", hidden=True)
        bare = await self.lived(tmp_path / "bare", hidden=False)
        assert full.keys() == bare.keys()
        for place in full:
            assert full[place] == bare[place], place

    async def lived(self, folder: Path, *, hidden: bool) -> dict[str, str]:
        """Live the same story, with or without hidden parts and edits of them; return what Kompas sees of it."""
        folder.mkdir()
        async with open_world(folder) as world:

            async def send(goal: str, worry: str) -> str:
                def edit(document: Document) -> None:
                    document["doelen"][0]["omschrijving"] = goal
                    document["zorgen"][0]["tekst"] = worry
                    if not hidden:
                        without_hidden(document)

                told = await world.send(example(edit=edit))
                assert told.status in {200, 201}
                await world.rest(told.body["planId"])
                residents.update({row["reference"]: row["id"] for row in told.body["residents"]})
                return str(told.body["planId"])

            residents: dict[str, str] = {}
            plan_id = await send("Een doel.", "Een zorg.")
            for resident, choices in (("marloes", MARLOES_CHOICES), ("finn", FINN_CHOICES)):
                await world.choose(residents[resident], choices)
                await world.rest(plan_id)
            seen: dict[str, str] = {}
            await self.look(world, plan_id, seen, "first")
            if hidden:
                await send("Een doel.", "Een andere zorg.")
                await send("Een doel.", "Weer een andere zorg.")
            await self.look(world, plan_id, seen, "second")
            await send("Een ander doel.", "Nog een zorg.")
            await self.look(world, plan_id, seen, "third")
            for number, arrival in enumerate(world.receivers["provider-a"].arrivals):
                seen[f"push {number}"] = levelled(headers_of(arrival.headers) + arrival.body.decode())
            return seen

    async def look(self, world: World, plan_id: str, seen: dict[str, str], moment: str) -> None:
        """Ask everything that Kompas may ask; keep status, headers and body, levelled."""
        paths = {
            "plan": f"/v1/plans/{plan_id}",
            "plan in a format": f"/v1/plans/{plan_id}?format={FORMAT}",
            "deliveries": "/v1/deliveries",
            "deliveries by plan": f"/v1/deliveries?planId={plan_id}&limit=1",
            "withheld deliveries": "/v1/deliveries?state=withheld",
            "unchanged deliveries": "/v1/deliveries?state=unchanged",
            "receipts": "/v1/receipts?limit=200",
        }
        for name, path in paths.items():
            status, headers, body = await asked(world, "provider-a", path)
            headers.pop("Date")
            text = body.decode()
            if name == "receipts":
                text = json.dumps([in_level_order(row) for row in json.loads(text)["items"]])
            assert status == 200
            seen[f"{moment} {name}"] = levelled(headers_of(headers)) + levelled(text)

    async def test_who_may_see_nothing_is_answered_as_if_there_is_nothing(self, tmp_path: Path) -> None:
        """For a caller without any part, a plan, a delivery or a resident that exists is like one that does not."""
        async with open_world(tmp_path) as world:
            plan_id, residents = await world.family()
            await world.choose(residents["marloes"], [])
            nothing = world.gateway.clock.new_id()
            (row, *_) = [row for row in await world.deliveries(plan_id) if row["recipient"] == "kompas"]
            linde, kompas = "provider-b", "provider-a"
            school = msgspec.structs.replace(
                (await world.gateway.directory.now()).entries["kompas"], kind="school", endpoints=()
            )
            await world.gateway.directory.put(school)
            pairs = [
                (kompas, f"/v1/plans/{plan_id}", f"/v1/plans/{nothing}"),
                (kompas, f"/v1/plans/{plan_id}?format={FORMAT}", f"/v1/plans/{nothing}?format={FORMAT}"),
                (kompas, f"/v1/plans/{plan_id}?format=zilver", f"/v1/plans/{nothing}?format=zilver"),
                (linde, f"/v1/deliveries/{row['id']}", f"/v1/deliveries/{nothing}"),
                (linde, f"/v1/deliveries?planId={plan_id}&recipient=kompas", f"/v1/deliveries?planId={nothing}"),
                (linde, f"/v1/receipts?planId={plan_id}&recipient=kompas", f"/v1/receipts?planId={nothing}"),
            ]
            for name, there, not_there in pairs:
                first, second = await asked(world, name, there), await asked(world, name, not_there)
                assert first[0] == second[0]
                assert first[2].replace(request_id(first), b"") == second[2].replace(request_id(second), b"")
                for _, headers, _ in (first, second):
                    headers.popall("Date")
                    for changing in (*ABOUT_THE_REQUEST, *ABOUT_THE_RATE):
                        headers.popall(changing)
                assert headers_of(first[1]) == headers_of(second[1])


def in_level_order(receipt: Document) -> Document:
    """Sort a receipt's parts and choices by what is left when their ids are levelled."""
    return {
        **receipt,
        "parts": sorted(receipt["parts"], key=lambda part: levelled(json.dumps(part))),
        "choices": sorted(receipt["choices"], key=lambda choice: str(choice["version"])),
    }


def request_id(answer: tuple[int, CIMultiDict[str], bytes]) -> bytes:
    """Return the id of a request, which is the one thing that may differ."""
    return answer[1]["X-Request-Id"].encode()


async def asked(world: World, name: str, path: str) -> tuple[int, CIMultiDict[str], bytes]:
    """GET as one of the callers; return status, headers and raw body."""
    headers = world.clients[name]._headers
    async with world.session.get(f"{world.gateway.public_url}{path}", headers=headers) as response:
        return response.status, CIMultiDict(response.headers), await response.read()
