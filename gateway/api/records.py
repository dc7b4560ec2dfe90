"""What AuditEvent and Consent share: rendered when asked for, in no index, so searched in memory within what a search must name."""

from aiohttp import web

from gateway.api.call import Call
from gateway.api.resources import asked, composed, posted, require_json, told
from gateway.errors import Refusal
from gateway.searching import Answer
from gateway.store.search import Place
from mappings.elements import Resource
from mappings.errors import Finding
from mappings.search.matching import matches
from mappings.search.query import Query

_SHAPES = frozenset({"_sort", "_include", "_revinclude"})


def require_scopes(call: Call, resource_type: str, letters: str, *own: str) -> None:
    """Raise Refusal unless the token has these SMART letters, and the scopes that `/v1` asks for the same: there is no side door."""
    call.by.require_each((resource_type, letter) for letter in letters)
    for scope in own:
        call.by.require(scope)


async def question_of(call: Call, resource_type: str) -> tuple[Query, Place | None]:
    """Return what a search by GET or POST asks, and where it goes on. Raises Refusal."""
    is_post = call.http.method == "POST"
    pairs = await posted(call) if is_post else list(call.http.query.items())
    require_json(call)
    query, after = asked(call, resource_type, pairs, is_post=is_post)
    found = [
        Finding(
            pointer=f"/{name}", code="parameter", remedy=f"{resource_type} has no chains, order or includes; leave it"
        )
        for name, _ in query.said
        if name in _SHAPES or "." in name or name.startswith("_has:")
    ]
    if found:
        raise Refusal("parameter", found)
    return query, after


def is_match(call: Call, resource: Resource, query: Query) -> bool:
    """Return whether a resource is what is asked for."""
    return matches(resource, query.conditions, lambda number: call.gateway.master.fingerprint("bsn", number))


def is_count(query: Query) -> bool:
    """Return whether a search asks how many there are, and for none of them."""
    return query.summary == "count" or query.count == 0


def page_of(
    call: Call,
    query: Query,
    found: list[Resource],
    *,
    place: str | None,
    total: int | None,
    remarks: tuple[Resource, ...] = (),
) -> web.Response:
    """Return a page of a search; the next one begins after the id `place`."""
    cursor = call.gateway.searching.cursor(query, (place,), call.by) if place is not None else None
    compose = composed(call, query.type, query, total, cursor, remarks)
    return told(call, Answer(body=compose([(each, True) for each in found])))
