"""Asking under `/fhir`, and what must come back: `from asking import seen_by, found, meets`.

The oracle is the Bundle that `GET /v1/plans/{id}?format=fhir` gives the same caller: what stands in none of them must be found by nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from searches import matches
from world import World

from gateway.client import Answered
from mappings.elements import Resource
from mappings.search.dates import span_of
from mappings.search.parsing import parse_query
from mappings.search.query import Chained, Condition, Dates, Has, Include, Query
from mappings.search.values import values_of

Name = tuple[str, str]
"""(type, id)."""

Seen = dict[Name, Resource]
Pairs = Sequence[tuple[str, str]]

MOST_PAGES = 100


async def ask(world: World, client: str, path: str, pairs: Pairs = (), **asked: Any) -> Answered:
    """GET a path under /fhir; `pairs` become its parameters."""
    query = f"?{urlencode(pairs)}" if pairs else ""
    return await world.clients[client].ask("GET", f"/fhir/{path}{query}", **asked)


async def post(world: World, client: str, path: str, pairs: Pairs) -> Answered:
    """Search by POST, the parameters in the body."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await world.clients[client].ask("POST", f"/fhir/{path}", body=urlencode(pairs).encode(), headers=headers)


async def seen_by(world: World, client: str, plans: Iterable[str]) -> Seen:
    """Return everything in the Bundles of these plans, as this caller reads them; the later plan wins where two have it."""
    found: Seen = {}
    for plan in plans:
        read = await world.clients[client].ask("GET", f"/v1/plans/{plan}?format=fhir")
        for entry in read.body["entry"] if read.status == 200 else ():
            found[name_of(entry["resource"])] = entry["resource"]
    return found


def name_of(resource: Resource) -> Name:
    """Return (type, id)."""
    return resource["resourceType"], resource["id"]


def entries(body: Any, mode: str = "match") -> list[Resource]:
    """Return the resources of a searchset with this mode."""
    return [each["resource"] for each in body.get("entry", ()) if each["search"]["mode"] == mode]


def next_link(world: World, body: Any) -> str | None:
    """Return the path of the next page, None on the last."""
    urls = [link["url"] for link in body["link"] if link["relation"] == "next"]
    return urls[0].removeprefix(world.gateway.public_url) if urls else None


async def pages(world: World, client: str, path: str, pairs: Pairs = ()) -> list[Any]:
    """Return every page of a search, following the links as they are."""
    answered = await ask(world, client, path, pairs)
    assert answered.status == 200, answered.body
    found = [answered.body]
    while place := next_link(world, found[-1]):
        assert len(found) < MOST_PAGES
        answered = await world.clients[client].ask("GET", place)
        assert answered.status == 200, answered.body
        found.append(answered.body)
    return found


async def found(world: World, client: str, path: str, pairs: Pairs = ()) -> set[str]:
    """Return the ids that a search finds, over all its pages."""
    return {each["id"] for page in await pages(world, client, path, pairs) for each in entries(page)}


def parsed(world: World, resource_type: str, pairs: Pairs, *, is_post: bool = False) -> Query:
    """Return what a search asks, as the gateway understands it."""
    return parse_query(
        resource_type,
        pairs,
        base_url=f"{world.gateway.public_url}/fhir",
        is_strict=False,
        is_post=is_post,
        hashed=hashing(world),
    )


def hashing(world: World) -> Callable[[str], str]:
    """Return how this world's index keeps a BSN."""
    return lambda number: world.gateway.master.fingerprint("bsn", number)


def matching(query: Query, seen: Seen, hashed: Callable[[str], str]) -> set[Name]:
    """Return what a search must find of what its caller sees: every condition, judged on these resources alone."""
    return {
        name
        for name, resource in seen.items()
        if name[0] == query.type and all(meets(resource, each, seen, hashed) for each in query.conditions)
    }


def meets(resource: Resource, condition: Condition, seen: Seen, hashed: Callable[[str], str]) -> bool:
    """Say whether a resource meets a condition among what is seen."""
    match condition:
        case Chained(param=param, target=target, condition=inner):
            ends = [seen[end] for end in ends_of(resource, param) if end[0] == target and end in seen]
            return any(meets(each, inner, seen, hashed) for each in ends)
        case Has(source=source, param=param, condition=inner):
            sources = [each for name, each in seen.items() if name[0] == source]
            return any(
                name_of(resource) in ends_of(each, param) and meets(each, inner, seen, hashed) for each in sources
            )
        case Dates(param="_lastUpdated"):
            changed = span_of(resource["meta"]["lastUpdated"])
            assert changed is not None
            return any(_COMPARE[prefix](changed[0], span) for prefix, span in condition.any_of)
    return matches(resource, (condition,), hashed)


_COMPARE: dict[str, Callable[[int, tuple[int, int]], bool]] = {
    "eq": lambda moment, span: span[0] <= moment <= span[1],
    "ne": lambda moment, span: not span[0] <= moment <= span[1],
    "gt": lambda moment, span: moment > span[1],
    "lt": lambda moment, span: moment < span[0],
    "ge": lambda moment, span: moment >= span[0],
    "le": lambda moment, span: moment <= span[1],
    "sa": lambda moment, span: moment > span[1],
    "eb": lambda moment, span: moment < span[0],
}
"""https://hl7.org/fhir/R4/search.html#prefix, for a moment."""


def ends_of(resource: Resource, param: str) -> set[Name]:
    """Return what a resource refers to by a parameter."""
    codes = [value.code or "" for value in values_of(resource, lambda _: "") if value.param == param]
    return {(kind, end) for kind, slash, end in (code.partition("/") for code in codes) if slash}


def included(query: Query, matched: set[Name], seen: Seen) -> set[Name]:
    """Return what must come along with these matches, of what is seen."""
    added: set[Name] = set()
    for include in query.includes:
        added |= {end for name in matched for end in ends_of(seen[name], include.param) if _wanted(include, end)}
    for include in query.revincludes:
        added |= {
            name for name, each in seen.items() if name[0] == include.source and ends_of(each, include.param) & matched
        }
    return (added & seen.keys()) - matched


def _wanted(include: Include, end: Name) -> bool:
    return include.target in {None, end[0]}


def without_version(resource: Resource) -> Resource:
    """Return a resource without what says from which plan it was read, and when that changed."""
    return resource | {"meta": {key: value for key, value in resource["meta"].items() if key not in _OF_VERSION}}


_OF_VERSION = frozenset({"versionId", "lastUpdated"})
