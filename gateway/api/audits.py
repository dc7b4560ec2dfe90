"""`/fhir/AuditEvent`: receipts, each as one AuditEvent (https://hl7.org/fhir/R4/auditevent.html): read and search.

Who may know of what is decided where `/v1/receipts` decides it, and no more is told here than there. A search names a plan, and its
receipts are looked at in the order in which they were kept.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import cast

import msgspec
from aiohttp import web

from gateway.api.call import Call
from gateway.api.deliveries import as_known, own_plans
from gateway.api.records import is_count, is_match, page_of, question_of, require_scopes
from gateway.api.resources import only, place_of, require_json, told, type_of
from gateway.errors import Refusal, refusal
from gateway.searching import Answer
from gateway.store import receipts as rows
from gateway.store.engine import Transaction
from gateway.store.receipts import PartLine, ReceiptRow
from mappings.audit import DisclosedPart, Disclosure, Exit, disclosure_to_auditevent
from mappings.codes import Domain, Kind
from mappings.elements import Resource
from mappings.search.query import Query, References

SCOPE = "receipts:read"
LOOKED_MOST = 1_000
"""Receipts that one request looks at; a search that found too little by then goes on with its next page."""

_TOGETHER = 200
_VERSION = "1"
"""A receipt never changes but for how a delivery ended: so nobody is told that what it has is the newest."""


async def read_auditevent(call: Call) -> web.Response:
    """GET /fhir/AuditEvent/{id}."""
    _, receipt_id = place_of(call, "read")
    require_scopes(call, "AuditEvent", "r", SCOPE)
    require_json(call)
    only(call, "_format", "_pretty", "_summary", "_elements")
    row = await call.gateway.store.read(lambda tx: rows.receipt_by_id(tx, receipt_id, _viewer(call)))
    if row is None:
        raise Refusal("not-found")
    event = _event(call, row, is_own=row.plan in await own_plans(call, {row.plan}))
    body = msgspec.json.encode(event)
    return told(call, Answer(body=body, version=_VERSION, changed_at=event["recorded"]), is_write=True)


async def search_auditevents(call: Call) -> web.Response:
    """GET /fhir/AuditEvent, POST /fhir/AuditEvent/_search: of the plan that `entity` names."""
    type_of(call, "search-type")
    require_scopes(call, "AuditEvent", "s", SCOPE)
    query, after = await question_of(call, "AuditEvent")
    plan_id, begin = _plan_of(query), str(after[0]) if after else ""
    wants_total = is_count(query) or (query.total != "none" and after is None)
    total = await _counted(call, query, plan_id) if wants_total else None
    if is_count(query):
        return page_of(call, query, [], place=None, total=total)
    found, place = await _found(call, query, plan_id, begin)
    if after is None and place is None:
        total = len(found)
    return page_of(call, query, found, place=place, total=total)


def _plan_of(query: Query) -> str:
    """Return the one plan that a search is about. Raises Refusal: without one it would read every receipt there is."""
    for condition in query.conditions:
        if isinstance(condition, References) and condition.param == "entity" and len(condition.any_of) == 1:
            resource_type, _, plan_id = condition.any_of[0].partition("/")
            if resource_type == "CarePlan":
                return plan_id
    raise refusal("too-broad", "/entity", "name one plan as entity=CarePlan/id, and narrow further if you like")


async def _found(call: Call, query: Query, plan_id: str, begin: str) -> tuple[list[Resource], str | None]:
    """Return a page of matches, and after which receipt the next one begins; None when there is no more to look at."""
    found: list[Resource] = []
    place, looked = begin, 0
    async for receipt_id, event in _events(call, plan_id, begin):
        if looked == LOOKED_MOST:
            return found, place
        if is_match(call, event, query):
            if len(found) == query.count:
                return found, place
            found.append(event)
        place, looked = receipt_id, looked + 1
    return found, None


async def _counted(call: Call, query: Query, plan_id: str) -> int:
    """Return how many match. Raises Refusal when that takes too much."""
    total, looked = 0, 0
    async for _, event in _events(call, plan_id, ""):
        if looked == LOOKED_MOST:
            name = "_total" if query.total != "none" else "_summary"
            raise refusal(
                "too-broad", f"/{name}", "there is too much to count here; leave this out and follow the link next"
            )
        total, looked = total + is_match(call, event, query), looked + 1
    return total


async def _events(call: Call, plan_id: str, begin: str) -> AsyncIterator[tuple[str, Resource]]:
    """Yield what the caller may know of a plan's receipts, after the id `begin`, each with its id."""
    is_own = plan_id in await own_plans(call, {plan_id})
    while True:
        shown = await call.gateway.store.read(partial(_listed, plan_id=plan_id, viewer=_viewer(call), after=begin))
        for row in shown:
            yield row.id, _event(call, row, is_own=is_own)
        if len(shown) < _TOGETHER:
            return
        begin = shown[-1].id


def _listed(tx: Transaction, plan_id: str, viewer: str | None, after: str) -> tuple[ReceiptRow, ...]:
    return rows.list_receipts(tx, plan_id=plan_id, recipient=None, viewer=viewer, after=after, limit=_TOGETHER)


def _viewer(call: Call) -> str | None:
    return None if call.by.is_admin else call.by.organisation


def _event(call: Call, row: ReceiptRow, *, is_own: bool) -> Resource:
    """Return a receipt as an AuditEvent. Which client asked is told to its own organisation only: `/v1/receipts` tells nobody else."""
    known = as_known(call, row, is_own=is_own)
    disclosure = Disclosure(
        id=row.id,
        at=row.at,
        exit=cast("Exit", row.exit),
        recipient=row.recipient,
        client=row.client if row.recipient == call.by.organisation else None,
        pulled=row.client is not None,
        plan=row.plan,
        plan_version=row.plan_version if is_own else row.view_version,
        refused=row.refused,
        code=row.code,
        sha256=row.sha256,
        parts=tuple(_part(line) for line in known.parts),
    )
    event = disclosure_to_auditevent(disclosure, call.gateway.public_url)
    return {**event, "meta": {"versionId": _VERSION, "lastUpdated": event["recorded"], **event["meta"]}}


def _part(line: PartLine) -> DisclosedPart:
    return DisclosedPart(
        id=line.part_id,
        kind=cast("Kind", line.kind),
        domain=cast("Domain | None", line.domain),
        ground=line.ground,
        article=line.article,
        choices=line.choices,
    )
