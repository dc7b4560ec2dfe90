"""Pages of a FHIR search while everything changes: what stays is neither missed nor doubled, and what goes is not shown any more."""

import random
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from asking import ask, entries, found, name_of, next_link, pages, seen_by
from households import bsns
from world import World, example, open_world

from gateway.demo.vlinderstad import MARLOES_CHOICES

pytestmark = pytest.mark.asyncio(loop_scope="module")

KOMPAS = "provider-a"
DOMAINS = ("finances", "housing", "parenting", "social-network", "education")

Edit = Callable[[dict[str, Any]], None]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world for this file; every test sends plans of its own household."""
    async with open_world(tmp_path_factory.mktemp("paging")) as opened:
        yield opened


class Household:
    """A household of which plans come and change, and whose choices too."""

    def __init__(self, world: World, number: int, bsns: tuple[str, str], chance: random.Random) -> None:
        self.world, self.number, self.bsns, self.chance = world, number, bsns, chance
        self.plans: dict[int, str] = {}
        self.residents: dict[str, str] = {}

    async def send(self, plan: int, edit: Edit | None = None) -> str:
        """Send a plan of this household, edited."""

        def edited(document: dict[str, Any]) -> None:
            document["planNummer"] = f"P-{self.number}-{plan}"
            for resident, bsn in zip(document["bewoners"], self.bsns, strict=True):
                resident["bsn"] = bsn
            if edit:
                edit(document)

        sent = await self.world.send(example(edit=edited))
        assert sent.status in {200, 201}, sent.body
        self.residents = {row["reference"]: row["id"] for row in sent.body["residents"]}
        self.plans[plan] = sent.body["planId"]
        return str(sent.body["planId"])

    async def choose(self, *domains: str) -> None:
        """Let Kompas see these life domains, and nothing else by choice."""
        choice = MARLOES_CHOICES[0] | {"parts": [{"domains": list(domains)}]}
        for who, capacity in (("marloes", "resident"), ("finn", "parent")):
            given = choice | {"givenBy": {"capacity": capacity, "person": "marloes"}}
            kept = await self.world.choose(self.residents[who], [given] if domains else [])
            assert kept.status == 200, kept.body

    async def change(self) -> None:
        """Change something: the choices, a part, the number of parts, or the number of plans."""
        roll = self.chance.randrange(4)
        if roll == 0:
            await self.choose(*self.chance.sample(DOMAINS, self.chance.randint(0, 4)))
        elif roll == 1:
            text = f"Tekst {self.chance.random()}"
            await self.send(self.chance.choice(list(self.plans)), lambda doc: doc["acties"][2].update(wat=text))
        elif roll == 2:
            gone = self.chance.randrange(5)
            await self.send(self.chance.choice(list(self.plans)), lambda doc: doc["acties"].pop(gone))
        else:
            await self.send(3)


def people() -> tuple[str, str]:
    """Return numbers that no other household of this file has."""
    return next(NUMBERS), next(NUMBERS)


NUMBERS = iter(bsns()[10:])
QUERIES = ["", "_sort=-_id", "_sort=-period,_id", "status:not=completed", "intent=order,plan,proposal&_sort=period"]


@pytest.mark.parametrize("query", QUERIES)
async def test_what_stays_is_neither_missed_nor_doubled(world: World, query: str) -> None:
    """Tasks in pages of three, with a change before each next page; a page shows nothing that may not be seen when it is asked."""
    chance = random.Random(f"paging {query}")
    home = Household(world, chance.randrange(10**9), people(), chance)
    await home.send(1)
    await home.send(2)
    await home.choose("finances", "housing", "parenting")
    pairs = [tuple(each.split("=", 1)) for each in query.split("&") if each]
    stays = await found(world, KOMPAS, "Task", [pair for pair in pairs if pair[0] != "_sort"])
    told: list[str] = []
    place: str | None = f"/fhir/Task?{urlencode([*pairs, ('_count', '3')])}"
    while place:
        body = (await world.clients[KOMPAS].ask("GET", place)).body
        shown = [each["id"] for each in entries(body)]
        seen = await found(world, KOMPAS, "Task")
        assert set(shown) <= seen
        stays &= seen
        told += shown
        place = next_link(world, body)
        if place:
            await home.change()
    assert stays - set(told) == set()
    assert [each for each in stays if told.count(each) > 1] == []
    assert len(told) > 3


async def test_a_resident_of_two_plans_is_on_one_page_also_when_one_goes(world: World) -> None:
    """Whoever was on a page comes on no other, though it is read from another plan from now on; and is there once in all."""
    chance = random.Random(5)
    home = Household(world, 77, people(), chance)
    first, second = await home.send(1), await home.send(2)
    await home.choose("finances", "housing")
    both = {end for kind, end in await seen_by(world, KOMPAS, [first, second]) if kind == "Patient"}
    assert len(both) == 2
    for gone in (2, 1):
        whole = await found(world, KOMPAS, "Patient")
        assert both <= whole
        page = (await ask(world, KOMPAS, "Patient", [("_count", str(len(whole) - 1))])).body
        told = [each["id"] for each in entries(page)]
        assert both & set(told)
        await home.send(gone, lambda document: document.update(status="concept"))
        while place := next_link(world, page):
            page = (await world.clients[KOMPAS].ask("GET", place)).body
            told += [each["id"] for each in entries(page)]
        assert sorted(told) == sorted(whole)
        await home.send(gone)


async def test_the_pages_of_everything_hold_while_it_changes(world: World) -> None:
    """The same for everything about a resident."""
    chance = random.Random(6)
    home = Household(world, 78, people(), chance)
    plan = await home.send(1)
    await home.choose("finances", "housing")
    patient = world.gateway.master.pseudonym("kompas", home.residents["marloes"])
    stays = {
        name_of(each) for page in await pages(world, KOMPAS, f"Patient/{patient}/$everything") for each in entries(page)
    }
    page = (await ask(world, KOMPAS, f"Patient/{patient}/$everything", [("_count", "6")])).body
    told = [name_of(each) for each in entries(page)]
    await home.choose("finances")
    while place := next_link(world, page):
        page = (await world.clients[KOMPAS].ask("GET", place)).body
        told += [name_of(each) for each in entries(page)]
        await home.send(1, lambda document: document["acties"][2].update(wat=f"Tekst {chance.random()}"))
    now = {name_of(each) for each in await everything(world, patient)}
    assert sorted(told) == sorted(set(told))
    assert stays & now <= set(told)
    assert plan


async def everything(world: World, patient: str) -> list[Any]:
    """Return everything about a resident, as Kompas may see it now."""
    return [each for page in await pages(world, KOMPAS, f"Patient/{patient}/$everything") for each in entries(page)]
