"""How a FHIR read or search may be asked: forms, sizes, mistakes. Never a 5xx, and no answer says a value again."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from asking import ask, entries, found, next_link, pages, post, seen_by
from msgspec import structs
from world import World, open_world

from gateway.api.capabilities import capability_statement
from gateway.client import Answered, GatewayClient, fetch_token
from gateway.server import serving
from gateway.settings import load_settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

KOMPAS = "provider-a"
FORM = "application/x-www-form-urlencoded"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world with the family in it."""
    async with open_world(tmp_path_factory.mktemp("requests"), public_url="") as opened:
        await opened.family()
        yield opened


async def get(world: World, path: str, **headers: str) -> Answered:
    """GET as Kompas."""
    return await world.clients[KOMPAS].ask("GET", f"/fhir/{path}", headers=headers)


def code(answered: Answered) -> tuple[int, Any]:
    """Return the status and the issue code of a refusal."""
    assert answered.body["resourceType"] == "OperationOutcome", answered.body
    return answered.status, answered.body["issue"][0]["code"]


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/*",
        "application/json",
        "application/fhir+json",
        "application/fhir+json; fhirVersion=4.0",
        "application/xml;q=0.1, application/fhir+json",
        "text/html, */*;q=0.1",
    ],
)
async def test_whoever_takes_json_is_answered(world: World, accept: str) -> None:
    """And a Content-Type on a GET, which has no body, says nothing."""
    answered = await get(world, "Task", Accept=accept, **{"Content-Type": "text/plain"})
    assert (answered.status, answered.headers["Content-Type"]) == (200, "application/fhir+json")


@pytest.mark.parametrize("accept", ["application/fhir+xml", "text/turtle, application/xml", "application/jsonp"])
async def test_whoever_takes_no_json_is_refused(world: World, accept: str) -> None:
    """406, for a search, a read and a history alike."""
    (task, *_) = await found(world, KOMPAS, "Task")
    for path in ("Task", f"Task/{task}", f"Task/{task}/_history"):
        assert code(await get(world, path, Accept=accept)) == (406, "not-supported")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        pytest.param("_count=-1", "_count", id="a count below zero"),
        pytest.param("_count=1e3", "_count", id="a count that is no number"),
        pytest.param("_sort=status", "_sort", id="a sort by a code"),
        pytest.param("_sort=-", "_sort", id="a sort by nothing"),
        pytest.param("_format=xml", "_format", id="XML"),
        pytest.param("_include=Task:*", "_include", id="everything along"),
        pytest.param("_include:iterate=Task:focus", "_include:iterate", id="along, and on"),
        pytest.param("_revinclude=Goal:subject", "_revinclude", id="what cannot refer here"),
        pytest.param("status:text=x", "status:text", id="a modifier"),
        pytest.param("status:missing=maybe", "status:missing", id="a missing that is neither"),
        pytest.param("status=a,,b", "status", id="an empty value"),
        pytest.param("period=morgen", "period", id="a date that is none"),
        pytest.param("period=ap2026", "period", id="an approximate date"),
        pytest.param("_id=%27%20OR%201=1", "_id", id="SQL as an id"),
        pytest.param("_id=..%2F..%2Fetc", "_id", id="a path as an id"),
        pytest.param("_id=%00", "_id", id="a NUL"),
        pytest.param("owner=https://elders.nl/fhir/Organization/x", "owner", id="another server's URL"),
        pytest.param("focus.identifier=x", "focus.identifier", id="a chain to no type"),
        pytest.param("owner:Organization.partof.identifier=x", "owner:Organization.partof.identifier", id="two steps"),
        pytest.param("_has:Goal:subject:status=x", "_has:Goal:subject:status", id="a _has of what cannot refer here"),
        pytest.param("patient.name=x", "patient.name", id="a name in a chain"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(world: World, query: str, named: str) -> None:
    """400 for strict and lenient clients alike; the value is not said again."""
    for prefer in ("handling=lenient", "handling=strict"):
        refused = await get(world, f"Task?{query}", Prefer=prefer)
        assert code(refused) == (400, "invalid")
        assert refused.body["issue"][0]["expression"] == [f"http.{named}"]
        assert not any(value in str(refused.body["issue"]) for value in ("elders", "etc", "OR 1", "maybe", "morgen"))


async def test_an_unknown_parameter_is_left_out_or_refused(world: World) -> None:
    """As the client prefers; left out it is said so in the Bundle, and stands not in the self link."""
    lenient = await get(world, "Task?kleur=rood&status=completed")
    assert (lenient.status, lenient.body["total"], len(entries(lenient.body))) == (200, 1, 1)
    (remark,) = entries(lenient.body, "outcome")
    assert (remark["issue"][0]["severity"], remark["issue"][0]["expression"]) == ("warning", ["http.kleur"])
    assert lenient.body["link"][0]["url"].endswith("/fhir/Task?status=completed")
    strict = await get(world, "Task?kleur=rood&status=completed", Prefer="respond-async, handling=strict")
    assert code(strict) == (400, "invalid")
    for name in ("name", "family", "address-city", "phone", "_text", "_content"):
        assert code(await get(world, f"Patient?{name}=x")) == (400, "invalid")


async def test_a_page_holds_what_is_asked_up_to_a_limit(world: World) -> None:
    """A count beyond it is that limit; 0 is a total without resources."""
    most = await get(world, "Task?_count=100000000")
    assert (most.body["total"], most.body["link"][0]["url"][-10:]) == (len(most.body["entry"]), "_count=200")
    none = await get(world, "Task?_count=0")
    assert (none.body["total"], "entry" in none.body) == (most.body["total"], False)


async def test_too_much_is_refused_before_it_is_looked_for(world: World) -> None:
    """More than 100 parameters, 100 values in one, or 300 in all: each is a piece of SQL. Ids are not, 100 of them at a time."""
    many = [("status", f"s{number}") for number in range(101)]
    wide = [("status", ",".join(f"s{number}" for number in range(101)))]
    together = [("status", ",".join(f"s{row}-{number}" for number in range(76))) for row in range(4)]
    for pairs in (many, wide, together):
        assert code(await post(world, KOMPAS, "Task/_search", pairs)) == (400, "invalid")
    ids = [("_id", ",".join(f"x{row}-{number}" for number in range(100))) for row in range(10)]
    assert (await post(world, KOMPAS, "Task/_search", ids)).status == 200
    assert (await post(world, KOMPAS, "Task/_search", together[:3])).status == 200
    assert (await get(world, "Task?" + "a=1&" * 2_000)).status == 400


@pytest.mark.parametrize(
    "name", ["' OR 1=1 --", "..%2F..%2Fetc%2Fpasswd", "x%00y", "a" * 65, "x;drop", "%F0%9F%92%A9", "_history"]
)
async def test_an_id_that_is_none_names_nothing(world: World, name: str) -> None:
    """A 404 like that of any other that is not there."""
    assert code(await get(world, f"Task/{name}")) == (404, "not-found")
    assert code(await get(world, f"Patient/{name}/$everything")) == (404, "not-found")


async def test_a_reference_is_found_by_id_by_type_and_by_url(world: World) -> None:
    """A goal's tasks, with the base as the gateway writes it and with a slash too many."""
    tasks = (await get(world, "Task?focus:missing=false")).body["entry"]
    kind, _, goal = tasks[0]["resource"]["focus"]["reference"].partition("/")
    assert kind == "Goal"
    base = f"{world.gateway.public_url}/fhir"
    forms = (f"Goal/{goal}", goal, f"{base}/Goal/{goal}")
    answers = [await found(world, KOMPAS, "Task", [("focus", form)]) for form in forms]
    answers.append(await found(world, KOMPAS, "Task", [("focus:Goal", goal)]))
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert tasks[0]["resource"]["id"] in answers[0]
    assert await found(world, KOMPAS, "Task", [("focus:Task", goal)]) == set()


async def test_the_base_is_the_same_with_and_without_a_slash(tmp_path: Any) -> None:
    """A public URL that ends in one makes no other links."""
    told = []
    for number, url in enumerate(("https://planbrug.voorbeeld.nl/", "https://planbrug.voorbeeld.nl")):
        settings = load_settings(None, mode="demo", port=0, data_dir=tmp_path / str(number), public_url=url)
        async with serving(settings) as gateway:
            told.append(capability_statement(f"{gateway.public_url}/fhir", "")["implementation"]["url"])
    assert told == ["https://planbrug.voorbeeld.nl/fhir"] * 2


async def test_a_search_by_post_is_the_search(world: World) -> None:
    """With parameters in the body, in the URL, or in both; another body than a form is a 415."""
    by_get = await found(world, KOMPAS, "Task", [("status", "completed")])
    assert len(by_get) == 1
    for path, pairs in (
        ("", [("status", "completed")]),
        ("?status=completed", []),
        ("?_count=5", [("status", "completed")]),
    ):
        told = await post(world, KOMPAS, f"Task/_search{path}", pairs)
        assert {each["id"] for each in entries(told.body)} == by_get
    sent = await world.clients[KOMPAS].ask("POST", "/fhir/Task/_search", body=b"{}")
    assert code(sent) == (415, "not-supported")


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b"\xff\xfe=1", FORM, 415),
        (b"_id=x", f"{FORM}; charset=bogus", 415),
        (b"_id=%ff%fe", FORM, 400),
        (b"identifier=%ed%a0%80", FORM, 200),
        (b"&&==&%", FORM, 200),
        (b"", FORM, 200),
    ],
)
async def test_a_body_in_no_known_letters_is_refused(world: World, body: bytes, media: str, status: int) -> None:
    """Or finds nothing; never a 5xx."""
    sent = await world.clients[KOMPAS].ask("POST", "/fhir/Patient/_search", body=body, headers={"Content-Type": media})
    assert sent.status == status


@pytest.mark.parametrize("known", ['W/""', '""', "*", "onzin", '"1", W/""', 'W/"' + "9" * 500 + '"'])
async def test_a_search_has_no_version_to_compare(world: World, known: str) -> None:
    """If-None-Match changes nothing about it, whatever stands in it."""
    assert (await get(world, "Task", **{"If-None-Match": known})).status == 200


@pytest.mark.parametrize("cursor", ["", "A", "AAAA", "%C3%A9", "A" * 5_000, "%00", "../..", "e30"])
async def test_what_is_no_cursor_of_ours_is_gone(world: World, cursor: str) -> None:
    """410, as for one that is too old."""
    (patient, *_) = await found(world, KOMPAS, "Patient")
    for path in ("Task", f"Patient/{patient}/$everything"):
        assert code(await get(world, f"{path}?_cursor={cursor}")) == (410, "expired")


async def test_a_cursor_goes_on_where_it_was_made_and_nowhere_else(world: World) -> None:
    """Not at another type, another resident, with other parameters, altered, or for another organisation."""
    patients = sorted(await found(world, KOMPAS, "Patient"))
    search = next_link(world, (await ask(world, KOMPAS, "Task", [("_count", "1"), ("_sort", "_id")])).body)
    whole = next_link(world, (await ask(world, KOMPAS, f"Patient/{patients[0]}/$everything", [("_count", "2")])).body)
    assert search is not None
    assert whole is not None
    cursors = [place.partition("_cursor=")[2] for place in (search, whole)]
    assert (await get(world, search.removeprefix("/fhir/"))).status == 200
    wrong = [
        f"Goal?_cursor={cursors[0]}",
        f"Task?_cursor={cursors[0]}&status=completed",
        f"Task?_cursor={cursors[0]}&_cursor={cursors[0]}",
        f"Patient/{patients[0]}/$everything?_cursor={cursors[1]}&_count=1",
    ]
    for path in wrong:
        assert code(await get(world, path)) == (400, "invalid"), path
    gone = [
        f"Task?_cursor={cursors[0][:-2]}{'A' if cursors[0][-2] != 'A' else 'B'}{cursors[0][-1]}",
        f"Patient?_cursor={cursors[1]}",
        f"Patient/{patients[0]}/$everything?_cursor={cursors[0]}",
        f"Patient/{patients[1]}/$everything?_cursor={cursors[1]}",
    ]
    for path in gone:
        assert code(await get(world, path)) == (410, "expired"), path
    for other in ("provider-b", "team"):
        assert code(await world.clients[other].ask("GET", search)) == (410, "expired")


async def test_a_page_of_everything_has_the_size_that_was_asked(world: World) -> None:
    """Also the second and the third, of which the link says no size."""
    (patient, *_) = await found(world, KOMPAS, "Patient")
    sizes = [
        len(entries(page)) for page in await pages(world, KOMPAS, f"Patient/{patient}/$everything", [("_count", "4")])
    ]
    assert set(sizes[:-1]) == {4}
    assert len(sizes) > 3


async def test_scopes_hold_for_every_type_that_a_search_touches(world: World) -> None:
    """Whoever may search tasks only may not chain through or include anything else, nor read."""
    token = world.clients[KOMPAS]
    few = await with_scope(world, "system/Task.s")
    (task, *_) = await found(world, KOMPAS, "Task")
    assert (await few.ask("GET", "/fhir/Task?status=completed")).status == 200
    for path in (
        "Goal",
        "Task?_include=Task:focus:Goal",
        "Task?focus:Goal.lifecycle-status=active",
        "Task?_has:Observation:focus:status=final",
        f"Task/{task}",
        f"Task/{task}/_history",
    ):
        assert code(await few.ask("GET", f"/fhir/{path}")) == (403, "forbidden"), path
        assert (await token.ask("GET", f"/fhir/{path}")).status == 200, path


async def with_scope(world: World, scope: str) -> Any:
    """Return Kompas with a token for less."""
    contacts = world.known.clients | {KOMPAS: world.known.clients[KOMPAS] | {"scope": scope}}
    held = await fetch_token(world.session, structs.replace(world.known, clients=contacts), KOMPAS)
    return GatewayClient(world.session, world.gateway.public_url, held)


async def test_types_that_are_not_offered_are_not_there(world: World) -> None:
    """404; and what is offered in another way is a 405 that is told."""
    for path in ("Medication", "Medication/x", "Questionnaire", "AuditEvent/x", "task"):
        assert code(await get(world, path)) == (404, "not-found")
    assert set(await seen_by(world, KOMPAS, [])) == set()


async def test_what_may_come_along_needs_its_scope_too(world: World) -> None:
    """An `_include` without a type is of every type that it may bring; the one that is named may be enough."""
    few = await with_scope(world, "system/Task.s system/Goal.s")
    assert code(await few.ask("GET", "/fhir/Task?_include=Task:focus")) == (403, "forbidden")
    assert code(await few.ask("GET", "/fhir/Task?_include=Task:owner")) == (403, "forbidden")
    told = await few.ask("GET", "/fhir/Task?_include=Task:focus:Goal")
    assert {each["resourceType"] for each in entries(told.body, "include")} == {"Goal"}
    assert code(await few.ask("GET", "/fhir/Goal?_revinclude=Observation:focus")) == (403, "forbidden")
