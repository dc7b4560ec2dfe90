"""One resource under FHIR: its version, what is not there, what several plans share, and the receipts that each answer leaves."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from asking import Seen, ask, entries, found, name_of, pages, seen_by
from world import World, example, open_world

from gateway.seal import sha256_hex

pytestmark = pytest.mark.asyncio(loop_scope="module")

KOMPAS = "provider-a"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def family(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[World, str, str]]:
    """A world with two plans of one family, in rest."""
    async with open_world(tmp_path_factory.mktemp("read")) as world:
        first, _ = await world.family()
        second = await send_second(world)
        yield world, first, second


async def send_second(world: World, **changed: Any) -> str:
    """Send the family's second plan, and wait until it is delivered."""
    sent = await world.send(example(edit=lambda document: document.update(planNummer="VL-2", **changed)))
    await world.rest(sent.body["planId"])
    return str(sent.body["planId"])


async def receipts(world: World, plan: str) -> list[dict[str, Any]]:
    """Return every receipt of what Kompas had of a plan, oldest first, as its team may know them."""
    place, found = f"/v1/receipts?planId={plan}&recipient=kompas&limit=200", []
    while place:
        told = await world.team.want("GET", place)
        found += told["items"]
        cursor = told.get("next")
        place = f"/v1/receipts?planId={plan}&recipient=kompas&limit=200&cursor={cursor}" if cursor else ""
    return found


async def new_receipts(
    world: World, plans: tuple[str, ...], path: str, **asked: Any
) -> tuple[Any, list[list[dict[str, Any]]]]:
    """Ask as Kompas; return the answer, and per plan the receipts that it left."""
    before = [len(await receipts(world, plan)) for plan in plans]
    answered = await ask(world, KOMPAS, path, **asked)
    return answered, [(await receipts(world, plan))[count:] for plan, count in zip(plans, before, strict=True)]


def parts_of(receipt: dict[str, Any]) -> set[str]:
    """Return the parts that a receipt names."""
    return {part["partId"] for part in receipt["parts"]}


def part_ids(names: Seen | set[tuple[str, str]]) -> set[str]:
    """Return the parts that resources show: a Patient shows who somebody is and where they live."""
    ids = {end for kind, end in names if kind not in {"Patient", "Group", "Organization", "CareTeam", "CarePlan"}}
    return ids | {f"{end}.{kind}" for of, end in names if of == "Patient" for kind in ("identity", "contact")}


async def test_every_resource_reads_as_it_stands_in_the_plan(family: tuple[World, str, str]) -> None:
    """With its version as ETag and its date as Last-Modified; with If-None-Match of that version a 304 without a body."""
    world, first, second = family
    for client in (KOMPAS, "provider-b", "team"):
        seen = await seen_by(world, client, [first, second])
        for (kind, end), resource in seen.items():
            read = await ask(world, client, f"{kind}/{end}")
            assert (read.status, read.headers["ETag"]) == (200, f'W/"{read.body["meta"]["versionId"]}"')
            assert read.headers["Last-Modified"].endswith(" GMT")
            if kind not in {"Patient", "Group", "Organization"}:
                assert read.body == resource
        for tag in (read.headers["ETag"], read.headers["ETag"].removeprefix("W/"), f'"x", {read.headers["ETag"]}'):
            same = await ask(world, client, f"{kind}/{end}", headers={"If-None-Match": tag})
            assert (same.status, same.body, same.headers["ETag"]) == (304, b"", read.headers["ETag"])
        other = await ask(world, client, f"{kind}/{end}", headers={"If-None-Match": 'W/"999"'})
        assert other.status == 200


async def test_a_read_leaves_one_receipt_with_the_part_that_it_shows(family: tuple[World, str, str]) -> None:
    """Its ground, and the hash of what went out; in the plan that it is of, and in no other."""
    world, first, second = family
    seen = await seen_by(world, KOMPAS, [first])
    for kind in ("Goal", "Task", "Observation", "ServiceRequest", "PractitionerRole"):
        name = next(each for each in seen if each[0] == kind)
        answered, (left, others) = await new_receipts(world, (first, second), "/".join(name))
        assert answered.status == 200
        assert others == []
        (receipt,) = left
        assert (receipt["exit"], receipt["refused"], receipt["code"]) == ("read", False, "read")
        assert parts_of(receipt) == {name[1]}
        (part,) = receipt["parts"]
        assert part["ground"]
        assert bool(part["choiceIds"]) == (part["ground"] == "consent")


async def test_a_search_leaves_a_receipt_per_plan_with_what_its_page_shows(family: tuple[World, str, str]) -> None:
    """Matches and what comes along, page by page, and no part that is not on it."""
    world, first, second = family
    plans = (first, second)
    of_plan = [await seen_by(world, KOMPAS, [plan]) for plan in plans]
    for path in ("Task?_include=Task:focus&_count=3", "Goal", "Observation?_revinclude=Task:focus", "ServiceRequest"):
        answered, left = await new_receipts(world, plans, path)
        shown = {name_of(each) for mode in ("match", "include") for each in entries(answered.body, mode)}
        for seen, own in zip(of_plan, left, strict=True):
            wanted = part_ids(shown & seen.keys())
            assert [parts_of(each) for each in own] == ([wanted] if wanted else []), path
            assert {each["exit"] for each in own} <= {"search"}


async def test_the_plan_as_a_care_plan_names_every_part_that_it_lists(family: tuple[World, str, str]) -> None:
    """Also in a history, which leaves a receipt of its own."""
    world, first, _ = family
    whole = {part["partId"] for part in (await receipts(world, first))[-1]["parts"]}
    _, (left,) = await new_receipts(world, (first,), f"CarePlan/{first}")
    (receipt,) = left
    assert parts_of(receipt) >= whole
    told, (left,) = await new_receipts(world, (first,), f"CarePlan/{first}/_history")
    assert told.status == 200
    assert [each["exit"] for each in left] == ["read", "history"]
    assert parts_of(left[-1]) == parts_of(receipt)


async def test_a_hash_is_that_of_the_bytes(family: tuple[World, str, str]) -> None:
    """Whoever keeps the answer can prove what it was."""
    world, first, _ = family
    url = f"{world.gateway.public_url}/fhir/Goal"
    async with world.session.get(url, headers=world.clients[KOMPAS]._headers) as response:
        body = await response.read()
    assert (await receipts(world, first))[-1]["sha256"] == sha256_hex(body)


async def test_what_is_not_there_leaves_no_receipt_and_what_is_unchanged_does(family: tuple[World, str, str]) -> None:
    """A 404 disclosed nothing; a 304 told that the part is there, and as it was."""
    world, first, second = family
    whole = await world.gateway.sight.load(first)
    assert whole is not None
    seen = await seen_by(world, KOMPAS, [first])
    hidden = next(part.id for part in whole.parts if part.kind == "goal" and ("Goal", part.id) not in seen)
    for path in (f"Goal/{hidden}", "Goal/nergens", f"Goal/{hidden}/_history", f"Goal?_id={hidden}"):
        _, left = await new_receipts(world, (first, second), path)
        assert left == [[], []], path
    goal = next(end for kind, end in seen if kind == "Goal")
    tag = (await ask(world, KOMPAS, f"Goal/{goal}")).headers["ETag"]
    same, (left, _) = await new_receipts(world, (first, second), f"Goal/{goal}", headers={"If-None-Match": tag})
    assert same.status == 304
    assert [parts_of(each) for each in left] == [{goal}]


async def test_who_stands_in_two_plans_is_found_once_and_stays_when_one_goes(family: tuple[World, str, str]) -> None:
    """Read from the other plan it has another ETag, though it may say the same; when both are gone it is not there."""
    world, first, second = family
    both = await seen_by(world, KOMPAS, [first, second])
    shared = {name for name in both if name[0] in {"Patient", "Group", "Organization"}}
    assert {kind for kind, _ in shared} == {"Patient", "Group", "Organization"}

    async def tags() -> dict[tuple[str, str], str]:
        told = {}
        for kind, end in shared:
            read = await ask(world, KOMPAS, f"{kind}/{end}")
            assert read.status == 200, kind
            told[kind, end] = read.headers["ETag"]
            listed = [each["id"] for page in await pages(world, KOMPAS, kind) for each in entries(page)]
            assert listed.count(end) == 1
        return told

    seen = [await tags()]
    await world.send(example(edit=lambda document: document.update(planNummer="VL-2", status="concept")))
    assert set(await found(world, KOMPAS, "CarePlan")) == {first}
    seen.append(await tags())
    await send_second(world)
    await world.send(example(edit=lambda document: document.update(status="concept")))
    assert set(await found(world, KOMPAS, "CarePlan")) == {second}
    seen.append(await tags())
    for name in shared:
        assert seen[1][name] != seen[2][name]
    await world.send(example(edit=lambda document: document.update(planNummer="VL-2", status="concept")))
    for kind, end in shared:
        assert (await ask(world, KOMPAS, f"{kind}/{end}")).status == 404
        assert await found(world, KOMPAS, kind) == set()


async def test_every_type_that_has_a_history_has_one_after_a_first_read(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Of each type one resource, and nothing else of its plan was ever given: its only version is the one that was read."""
    async with open_world(tmp_path_factory.mktemp("history")) as world:
        sent = (await world.send(example())).body
        group = (await world.team.ask("GET", "/fhir/Group")).body["entry"][0]["resource"]["id"]
        for name in ("Organization/wijkteam-noord", f"Group/{group}", f"Provenance/{sent['planId']}"):
            read = await world.team.ask("GET", f"/fhir/{name}")
            told = await world.team.ask("GET", f"/fhir/{name}/_history")
            assert (read.status, told.status) == (200, 200), name
            assert [each["response"]["etag"] for each in told.body["entry"]] == [read.headers["ETag"]]
