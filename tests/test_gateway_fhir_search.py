"""A FHIR search finds what its caller may see and nothing else: held against the Bundles of `/v1/plans` on both databases."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
import services
from asking import (
    Name,
    Pairs,
    Seen,
    ask,
    ends_of,
    entries,
    found,
    hashing,
    included,
    matching,
    name_of,
    pages,
    parsed,
    post,
    seen_by,
    without_version,
)
from world import World, example, open_world

from mappings.bundle import plan_to_resources
from mappings.elements import Resource
from mappings.search.dates import BEGINNING, END
from mappings.search.parameters import PARAMETERS, may_refer
from mappings.search.values import Value, values_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLERS = ("team", "provider-a", "provider-b", "backoffice")
ON_SQLITE = pytest.mark.parametrize("town", ["sqlite"], indirect=True, scope="module")
ON_BOTH = pytest.mark.parametrize("town", ["sqlite", "postgresql"], indirect=True, scope="module")

QUERIES = 60
"""How many random queries each caller asks."""

BSN = "http://fhir.nl/fhir/NamingSystem/bsn"
MARLOES, NOBODY = "999900006", "999900031"


@dataclass
class Town:
    """A world with three plans: two of one family, which shows two providers different parts, and one of somebody who chose nothing."""

    world: World
    plans: list[str]
    residents: dict[str, str]
    everything: dict[str, list[Resource]] = field(default_factory=dict)
    """Caller → every resource of every plan, what it may not see too, under the ids that it would know."""

    def seen(self, client: str) -> Any:
        return seen_by(self.world, client, self.plans)


def second_plan(document: dict[str, Any]) -> None:
    document["planNummer"] = "VL-2026-00999"
    document["doelen"][0]["omschrijving"] = "Een tweede plan."


def of_another(document: dict[str, Any]) -> None:
    document["planNummer"] = "VL-2026-01000"
    document["bewoners"][0]["bsn"] = NOBODY


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """One town for this file on each database."""
    known, drop = {}, None
    if request.param == "postgresql":
        server: services.PostgreSql = request.getfixturevalue("postgres_server")
        name = server.create_database()
        known, drop = {"database_url": server.url_of(name)}, name
    async with open_world(tmp_path_factory.mktemp("town"), **known) as world:
        first, residents = await world.family()
        second = (await world.send(example(edit=second_plan))).body["planId"]
        third = (await world.send(example("alleen-het-nodige", edit=of_another))).body["planId"]
        made = Town(world, [first, second, third], residents)
        for client in CALLERS:
            made.everything[client] = [each for plan in made.plans for each in await whole_of(made, plan, client)]
        for plan in made.plans:
            await world.rest(plan)
        for client in CALLERS:
            assert await found(world, client, "CarePlan"), "what others may see is in the same index"
        yield made
    if drop:
        server.drop_database(drop)


async def whole_of(town: Town, plan_id: str, client: str) -> list[Resource]:
    """Return every resource of a plan as if nothing were hidden, with its residents named as this caller knows them."""
    gateway = town.world.gateway
    plan = await gateway.sight.load(plan_id)
    assert plan is not None
    entry, _ = (await gateway.directory.now()).clients[town.world.known.clients[client]["clientId"]]
    text = plan_to_resources(plan)
    if entry.id == plan.source:
        return text
    names = {who: gateway.master.pseudonym(entry.id, who) for who in plan.residents}
    return [renamed(each, names) for each in text]


def renamed(value: Any, names: dict[str, str]) -> Any:
    """Return a resource with residents named otherwise."""
    if isinstance(value, dict):
        return {key: renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [renamed(each, names) for each in value]
    if isinstance(value, str):
        for old, new in names.items():
            value = value.replace(old, new)
    return value


async def check(town: Town, client: str, resource_type: str, pairs: Pairs, seen: Seen, *, is_post: bool = False) -> int:
    """Ask, and hold every page against what the caller sees; return how many were found."""
    world = town.world
    query = parsed(world, resource_type, pairs, is_post=is_post)
    wanted = matching(query, seen, hashing(world))
    if is_post:
        answered = await post(world, client, f"{resource_type}/_search", pairs)
        assert answered.status == 200, (pairs, answered.body)
        told = [answered.body]
    else:
        told = await pages(world, client, resource_type, pairs)
    totals = {page["total"] for page in told if "total" in page}
    assert totals <= {len(wanted)}, pairs
    if query.total == "accurate" or query.summary == "count":
        assert totals == {len(wanted)}, pairs
    if query.summary == "count" or query.count == 0:
        assert [page for page in told if "entry" in page] == []
        return len(wanted)
    matches = [name_of(each) for page in told for each in entries(page)]
    assert sorted(matches) == sorted(wanted), pairs
    for page in told:
        on_page = {name_of(each) for each in entries(page)}
        along = [name_of(each) for each in entries(page, "include")]
        assert sorted(along) == sorted(included(query, on_page, seen)), pairs
        for each in (*entries(page), *entries(page, "include")):
            if query.summary == "false" and not query.elements:
                shared = each["resourceType"] in {"Patient", "Group", "Organization"}
                assert shared or without_version(each) == without_version(seen[name_of(each)])
    return len(wanted)


class Asking:
    """Makes queries of values that stand anywhere, whether their caller may see them or not."""

    def __init__(self, resources: list[Resource], chance: random.Random) -> None:
        self.chance = chance
        self.types = sorted({each["resourceType"] for each in resources})
        self.names = [name_of(each) for each in resources]
        self.values: dict[tuple[str, str], list[Value]] = {}
        for each in resources:
            for value in values_of(each, lambda _: ""):
                self.values.setdefault((each["resourceType"], value.param), []).append(value)

    def query(self) -> tuple[str, list[tuple[str, str]]]:
        """Return a type with one to three conditions and some of what shapes an answer."""
        kind = self.chance.choice(self.types)
        pairs = [self.condition(kind) for _ in range(self.chance.choice((0, 1, 1, 1, 2, 3)))]
        for shaping in (self.count, self.sort, self.total, self.include, self.revinclude):
            pairs += shaping(kind) if self.chance.random() < 0.4 else []
        if self.chance.random() < 0.1:
            pairs = [pair for pair in pairs if "clude" not in pair[0] and pair[0] != "_count"] + [("_summary", "count")]
        return kind, pairs

    def condition(self, kind: str) -> tuple[str, str]:
        roll = self.chance.random()
        if roll < 0.1:
            ids = [end for source, end in self.names if source == kind] or ["x"]
            return "_id", ",".join(self.chance.sample(ids, min(len(ids), 2)))
        if roll < 0.15:
            return "_lastUpdated", self.chance.choice(("ge2020", "lt2020", "ne2020-01-01", "sa2026"))
        if roll < 0.35 and (chain := self.chain(kind)):
            return chain
        if roll < 0.55 and (has := self.has(kind)):
            return has
        return self.simple(kind)

    def simple(self, kind: str) -> tuple[str, str]:
        """Return a condition on one parameter; one that says nothing anywhere is asked whether it is missing."""
        known = [param for source, param in self.values if source == kind]
        param = self.chance.choice(known if self.chance.random() < 0.9 else list(PARAMETERS[kind]))
        if param not in known or self.chance.random() < 0.1:
            return f"{param}:missing", self.chance.choice(("true", "false"))
        values = self.chance.sample(self.values[kind, param], min(2, len(self.values[kind, param])))
        values = values[: self.chance.choice((1, 1, 2))]
        parameter = PARAMETERS[kind][param]
        if parameter.kind == "date":
            return param, ",".join(self.date(value) for value in values)
        if parameter.kind == "reference":
            return param, ",".join(self.reference(value) for value in values)
        modifier = ":not" if self.chance.random() < 0.25 else ""
        return f"{param}{modifier}", ",".join(self.token(param, value) for value in values)

    def token(self, param: str, value: Value) -> str:
        system, code = escaped(value.system or ""), escaped(value.code or "x")
        if param == "_profile":
            return code
        if system.endswith("bsn"):
            return f"{system}|"
        return self.chance.choice((code, f"{system}|{code}", f"{system}|" if system else code))

    def reference(self, value: Value) -> str:
        code = value.code or ""
        return self.chance.choice((code, code.partition("/")[2]))

    def date(self, value: Value) -> str:
        edge = self.chance.choice((value.low, value.high))
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=within(edge or 0))
        text = self.chance.choice((moment.strftime("%Y-%m-%d"), moment.strftime("%Y-%m"), moment.isoformat()))
        return self.chance.choice(("", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb")) + text

    def links(self, kind: str) -> list[tuple[str, str, str]]:
        """Return (source, parameter, target) of the references that lead from or to a type."""
        found = {(source, param, (value.code or "").partition("/")[0]) for (source, param), values in self.values.items()
                 for value in values if PARAMETERS[source][param].kind == "reference"}  # fmt: skip
        return sorted(each for each in found if kind in {each[0], each[2]})

    def chain(self, kind: str) -> tuple[str, str] | None:
        ways = [each for each in self.links(kind) if each[0] == kind]
        if not ways:
            return None
        _, param, target = self.chance.choice(ways)
        name, value = self.simple(target)
        return f"{param}:{target}.{name}", value

    def has(self, kind: str) -> tuple[str, str] | None:
        ways = [each for each in self.links(kind) if each[2] == kind]
        if not ways:
            return None
        source, param, _ = self.chance.choice(ways)
        name, value = self.simple(source)
        return f"_has:{source}:{param}:{name}", value

    def count(self, kind: str) -> list[tuple[str, str]]:
        return [("_count", str(self.chance.choice((1, 2, 3, 7, 200))))]

    def sort(self, kind: str) -> list[tuple[str, str]]:
        dates = [each.name for each in PARAMETERS[kind].values() if each.kind == "date"]
        chosen = self.chance.sample(["_id", "_lastUpdated", *dates], self.chance.choice((1, 2)))
        return [("_sort", ",".join(self.chance.choice(("", "-")) + each for each in chosen))]

    def total(self, kind: str) -> list[tuple[str, str]]:
        return [("_total", self.chance.choice(("none", "accurate", "estimate")))]

    def include(self, kind: str) -> list[tuple[str, str]]:
        ways = [each for each in self.links(kind) if each[0] == kind]
        each = self.chance.choice(ways) if ways else None
        return [("_include", ":".join(each[: self.chance.choice((2, 3))]))] if each else []

    def revinclude(self, kind: str) -> list[tuple[str, str]]:
        ways = [each for each in self.links(kind) if each[2] == kind]
        return [("_revinclude", ":".join(self.chance.choice(ways)[:2]))] if ways else []


def within(edge: int) -> int:
    """Return an edge that a datetime can hold."""
    return 0 if edge in {BEGINNING, END} else min(max(edge, -(10**15)), 10**16)


def escaped(text: str) -> str:
    r"""Return a value as it stands in a parameter."""
    for sign in "\\,|$":
        text = text.replace(sign, f"\\{sign}")
    return text


@ON_BOTH
@pytest.mark.parametrize("client", CALLERS)
async def test_any_search_finds_what_the_caller_sees_and_nothing_else(town: Town, client: str) -> None:
    """Matches, totals, pages and what comes along, for queries made of values that stand in visible and in hidden parts."""
    seen = await town.seen(client)
    asking = Asking(town.everything[client], random.Random(f"{client}-1"))
    counts = []
    for _ in range(QUERIES):
        kind, pairs = asking.query()
        counts.append(await check(town, client, kind, pairs, seen))
    assert sum(map(bool, counts)) > QUERIES / 10


@ON_SQLITE
async def test_every_parameter_of_every_type_finds_what_it_must(town: Town) -> None:
    """Values that stand under it, in a part that is seen or hidden, and whether it is missing."""
    client = "provider-a"
    seen = await town.seen(client)
    asking = Asking(town.everything[client], random.Random(2))
    for kind, parameters in PARAMETERS.items():
        if kind in {"Consent", "Provenance", "AuditEvent"}:
            continue
        for param in parameters:
            await check(town, client, kind, [(f"{param}:missing", "true")], seen)
            values = asking.values.get((kind, param), [])
            for value in dict.fromkeys((*values[:1], *values[-1:])):
                text = {"date": asking.date, "reference": asking.reference}.get(parameters[param].kind)
                await check(town, client, kind, [(param, text(value) if text else asking.token(param, value))], seen)


@ON_SQLITE
async def test_what_is_hidden_is_found_by_nothing(town: Town) -> None:
    """By its id it is not read, not found, not counted, not included, not chained through, and has no history."""
    client, world = "provider-a", town.world
    seen = await town.seen(client)
    hidden = [name_of(each) for each in town.everything[client] if name_of(each) not in seen]
    assert {kind for kind, _ in hidden} >= {"Goal", "Task", "Condition", "Observation", "RelatedPerson"}
    nothing = await ask(world, client, "Goal/nergens")
    for kind, end in hidden:
        for path in (f"{kind}/{end}", f"{kind}/{end}/_history", f"{kind}/{end}/_history/1"):
            answered = await ask(world, client, path)
            assert (answered.status, answered.body) == (404, nothing.body), path
            assert "ETag" not in answered.headers
        counted = await ask(world, client, kind, [("_id", end), ("_summary", "count")])
        assert (counted.status, counted.body["total"]) == (200, 0)
    one_of_each = dict(hidden)
    for kind, end in one_of_each.items():
        for source, parameters in PARAMETERS.items():
            for param, each in parameters.items():
                if source in asking_types(seen) and may_refer(each, kind):
                    assert await found(world, client, source, [(param, f"{kind}/{end}")]) == {
                        name for of, name in seen if of == source and (kind, end) in ends_of(seen[of, name], param)
                    }


def asking_types(seen: Seen) -> set[str]:
    """Return the types of what is seen."""
    return {kind for kind, _ in seen}


@ON_BOTH
async def test_everything_is_everything_seen_of_the_plans_of_a_resident(town: Town) -> None:
    """In pages of any size, each resource once; of somebody who may not be seen it is a 404."""
    for client in CALLERS:
        seen = await town.seen(client)
        family = set((await seen_by(town.world, client, town.plans[:2])).keys())
        patients = [end for kind, end in family if kind == "Patient"]
        assert len(patients) == 2
        for resident in patients:
            for size in ("5", "200"):
                told = await pages(town.world, client, f"Patient/{resident}/$everything", [("_count", size)])
                assert max(len(entries(page)) for page in told) <= int(size)
                names = [name_of(each) for page in told for each in entries(page)]
                origins = [("Provenance", plan_id) for kind, plan_id in family & seen.keys() if kind == "CarePlan"]
                assert sorted(names) == sorted([*(family & seen.keys()), *origins])
        other = (await ask(town.world, client, "Patient/nergens/$everything")).status
        stranger = next(each["id"] for each in town.everything[client][::-1] if each["resourceType"] == "Patient")
        hidden = ("Patient", stranger) not in seen
        told_status = (await ask(town.world, client, f"Patient/{stranger}/$everything")).status
        assert (other, told_status) == (404, 404 if hidden else 200)


@ON_BOTH
async def test_sorting_follows_the_dates_that_are_seen(town: Town) -> None:
    """In either direction, over all pages, with an index that leads and without."""
    for client in ("team", "provider-a"):
        seen = await town.seen(client)
        for sign in ("", "-"):
            for more in (
                [],
                [("status", "requested,accepted,in-progress,completed,on-hold")],
                [("_lastUpdated", "gt2020")],
            ):
                told = await pages(town.world, client, "Task", [("_sort", f"{sign}period,_id"), ("_count", "2"), *more])
                names = [each for page in told for each in entries(page)]
                starts = [low_of(each, "period") for each in names]
                assert starts == sorted(starts, reverse=bool(sign))
                for first, second in pairwise(names):
                    if low_of(first, "period") == low_of(second, "period"):
                        assert first["id"] < second["id"]
                assert len(names) == sum(kind == "Task" for kind, _ in seen)


def low_of(resource: Resource, param: str) -> int:
    """Return what a resource is sorted by."""
    return min((value.low or 0 for value in values_of(resource, lambda _: "") if value.param == param), default=0)


@ON_SQLITE
async def test_a_bsn_finds_by_post_whom_its_asker_may_know_by_it(town: Town) -> None:
    """Kompas may have Marloes' BSN by law, De Linde none; by GET nobody may ask, also in a chain, and the link never says it."""
    for client in CALLERS:
        seen = await town.seen(client)
        for number in (MARLOES, NOBODY, "999900018"):
            for value in (f"{BSN}|{number}", number, f"urn:oid:2.16.840.1.113883.2.4.6.3|{number}"):
                await check(town, client, "Patient", [("identifier", value)], seen, is_post=True)
                await check(town, client, "Task", [("patient.identifier", value)], seen, is_post=True)
                for kind, param in (("Patient", "identifier"), ("Task", "patient.identifier")):
                    refused = await ask(town.world, client, kind, [(param, value)])
                    assert (refused.status, refused.body["issue"][0]["code"]) == (400, "invalid")
                    assert number not in str(refused.body)
                told = await post(town.world, client, "Patient/_search", [("identifier", value)])
                assert number not in str(told.body["link"])
    by_law: Name = ("Patient", town.world.gateway.master.pseudonym("kompas", town.residents["marloes"]))
    told = await post(town.world, "provider-a", "Patient/_search", [("identifier", f"{BSN}|{MARLOES}")])
    assert [name_of(each) for each in entries(told.body)] == [by_law]
    told = await post(town.world, "provider-b", "Patient/_search", [("identifier", f"{BSN}|{MARLOES}")])
    assert (told.body["total"], entries(told.body)) == (0, [])


@ON_SQLITE
async def test_last_updated_finds_what_it_says_in_any_precision(town: Town) -> None:
    """Exact, in minutes, and as a window of two."""
    client = "provider-a"
    seen = await town.seen(client)
    for name, resource in seen.items():
        changed = datetime.fromisoformat(resource["meta"]["lastUpdated"])
        minute = changed.strftime("%Y-%m-%dT%H:%M") + "Z"
        later = (changed + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M") + "Z"
        for window in ([changed.isoformat()], [minute], [f"ge{minute}"], [f"ge{minute}", f"lt{later}"]):
            pairs = [("_lastUpdated", each) for each in window]
            if name[0] not in {"Patient", "Group", "Organization"}:
                assert name[1] in await found(town.world, client, name[0], pairs), pairs
        assert name[1] not in await found(town.world, client, name[0], [("_lastUpdated", f"gt{later}")])
