"""`/fhir/Consent`: residents' choices, each as one Consent of our profile (https://hl7.org/fhir/R4/consent.html).

Read, search, create, update; an update to `inactive` withdraws. They are the choices of `/v1/residents/{id}/choices` and under its rules:
for who made a plan with the resident, with its scopes beside those of FHIR, kept and planned again by `gateway.choosing`.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from consent.choice import Choice
from consent.errors import ConsentError
from consent.fhir import choice_to_consent, consent_to_choice, place_in_consent, resident_of
from gateway.api.call import Call
from gateway.api.edits import as_preferred, only_format, sent, version_wanted
from gateway.api.fhir import as_fhir
from gateway.api.records import is_count, is_match, page_of, question_of, require_scopes
from gateway.api.residents import plans_made
from gateway.api.resources import only, place_of, require_json, told, type_of
from gateway.errors import Refusal, refusal
from gateway.searching import Answer
from gateway.store import choices as rows
from gateway.store.plans import PlanRow
from mappings.codes import Kind
from mappings.elements import Resource
from mappings.errors import Finding
from mappings.outcome import issue, outcome
from mappings.search.query import Ids, Query, References

READ, WRITE = "choices:read", "choices:write"
RESIDENTS_MOST = 20
"""Of how many residents one search may ask."""

_UNSAYABLE = "read it at /v1/residents/{id}/choices: FHIR cannot say it"
_KEPT = issue("information", "informational", "Kept as it was sent.")
_WITHDRAWN = issue("information", "informational", "Withdrawn; what went out on it stays in the receipts.")
_POSITION = re.compile(r"/choices/[0-9]+")

_T = TypeVar("_T")


class _Kept(Struct, frozen=True, kw_only=True):
    """A choice as it is now, whose it is, and the plans that the caller made with them."""

    resident: str
    plans: tuple[PlanRow, ...]
    choice: Choice


async def read_consent(call: Call) -> web.Response:
    """GET /fhir/Consent/{id}; 304 when If-None-Match names the version that there is."""
    _, choice_id = place_of(call, "read")
    require_scopes(call, "Consent", "r", READ)
    require_json(call)
    only(call, "_format", "_pretty", "_summary", "_elements")
    kept = await _kept(call, choice_id)
    (consent,) = await _rendered(call, kept.resident, kept.plans, [kept.choice])
    if consent is None:
        raise refusal("not-acceptable", "", _UNSAYABLE)
    return told(call, _answer(consent))


async def search_consents(call: Call) -> web.Response:
    """GET /fhir/Consent, POST /fhir/Consent/_search: of the residents that `patient`, or the choices that `_id`, names."""
    type_of(call, "search-type")
    require_scopes(call, "Consent", "s", READ)
    query, after = await question_of(call, "Consent")
    matching: list[Resource] = []
    left_out = False
    for resident in await _residents(call, query):
        with suppress(Refusal):  # who has no plan with the resident finds what there is for it: nothing
            plans = await plans_made(call, resident)
            choices = [each for each in (await call.gateway.choosing.get(resident)).choices if _is_named(each, query)]
            consents = await _rendered(call, resident, plans, choices)
            left_out = left_out or None in consents
            matching += (each for each in consents if each is not None and is_match(call, each, query))
    matching.sort(key=lambda each: str(each["id"]))
    remarks = (issue("warning", "not-supported", f"A choice was left out; {_UNSAYABLE}."),) if left_out else ()
    if is_count(query):
        return page_of(call, query, [], place=None, total=len(matching), remarks=remarks)
    rest = [each for each in matching if after is None or each["id"] > str(after[0])]
    shown = rest[: query.count]
    place = shown[-1]["id"] if len(rest) > query.count else None
    return page_of(call, query, shown, place=place, total=len(matching), remarks=remarks)


async def create_consent(call: Call) -> web.Response:
    """POST /fhir/Consent: one more choice of the resident that it names."""
    type_of(call, "create")
    require_scopes(call, "Consent", "cr", READ, WRITE)
    require_json(call)
    only_format(call)
    for name in ("If-None-Exist", "Idempotency-Key"):
        if name in call.http.headers:
            raise refusal(
                "parameter", f"/{name}", "leave this header out: each Consent that is sent is one choice more"
            )
    resource = await sent(call, "Consent")
    resident = await _of(resident_of, resource)
    choice = await _of(consent_to_choice, resource)
    plans = await plans_made(call, resident)
    _, made = await _pointed(call.gateway.choosing.add(resident, choice, call.by))
    return await _told(call, _Kept(resident=resident, plans=plans, choice=made), status=201)


async def update_consent(call: Call) -> web.Response:
    """PUT /fhir/Consent/{id}: needs If-Match; with status inactive it is withdrawn."""
    _, choice_id = place_of(call, "update")
    require_scopes(call, "Consent", "ru", READ, WRITE)
    require_json(call)
    only_format(call)
    wanted = version_wanted(call)
    resource = await sent(call, "Consent")
    if resource.get("id") != choice_id:
        raise refusal("identity", "/id", "send Consent with the id that the URL has")
    kept = await _kept(call, choice_id)
    if await _of(resident_of, resource) != kept.resident:
        raise refusal("document", "/patient", "leave the resident as it is: a choice of another is another choice")
    if wanted != str(kept.choice.version):
        raise Refusal("stale")
    if resource.get("status") == "inactive":
        return await _withdrawn(call, kept)
    choice = replace(await _of(consent_to_choice, resource), id=choice_id)
    change = call.gateway.choosing.change(kept.resident, choice, kept.choice.version, call.by)
    _, made = await _pointed(change)
    return await _told(call, replace(kept, choice=made), status=200)


async def _withdrawn(call: Call, kept: _Kept) -> web.Response:
    """Withdraw a choice, whatever else its Consent says; the answer shows it for the last time."""
    left = await call.gateway.choosing.withdraw(kept.resident, kept.choice.id, call.by, kept.choice.version)
    last = replace(kept, choice=replace(kept.choice, version=left.version))
    return await _told(call, last, status=200, active=False)


async def _kept(call: Call, choice_id: str) -> _Kept:
    """Return a choice that there is, for who made a plan with its resident. Raises Refusal: not-found."""
    whose = await call.gateway.store.read(lambda tx: rows.residents_of_choices(tx, [choice_id]))
    resident = whose.get(choice_id, "")
    plans = await plans_made(call, resident)
    for choice in (await call.gateway.choosing.get(resident)).choices:
        if choice.id == choice_id:
            return _Kept(resident=resident, plans=plans, choice=choice)
    raise Refusal("not-found")


async def _residents(call: Call, query: Query) -> tuple[str, ...]:
    """Return whose choices a search is about. Raises Refusal: without a name it would open everybody's."""
    found: tuple[str, ...] | None = None
    for condition in query.conditions:
        if isinstance(condition, References) and condition.param == "patient":
            found = tuple(each.removeprefix("Patient/") for each in condition.any_of)
            break
        if isinstance(condition, Ids):
            ids = condition.any_of
            whose = await call.gateway.store.read(partial(rows.residents_of_choices, choice_ids=ids))
            found = tuple(dict.fromkeys(whose.values()))
    if found is None or len(found) > RESIDENTS_MOST:
        raise refusal("too-broad", "/patient", f"name 1 to {RESIDENTS_MOST} residents as patient=id, or choices by _id")
    return found


def _is_named(choice: Choice, query: Query) -> bool:
    return all(choice.id in each.any_of for each in query.conditions if isinstance(each, Ids))


async def _rendered(
    call: Call, resident: str, plans: Iterable[PlanRow], choices: Sequence[Choice], *, active: bool = True
) -> list[Resource | None]:
    """Return choices of a resident as Consents, each with the moment of its version; None for one that FHIR cannot say."""
    versions = {choice.version for choice in choices}
    moments = await call.gateway.store.read(partial(rows.moments_of, resident=resident, versions=versions))
    named = any(selector.part_ids for choice in choices for selector in choice.parts)
    kinds = await _kinds(call, resident, plans) if named else {}
    found: list[Resource | None] = []
    for choice in choices:
        try:
            at = moments.get(choice.version)
            found.append(choice_to_consent(choice, resident=resident, changed_at=at, active=active, kinds=kinds))
        except ConsentError:
            found.append(None)
    return found


async def _kinds(call: Call, resident: str, plans: Iterable[PlanRow]) -> dict[str, Kind]:
    """Return the kind of each part about a resident: what the choices of its plans may name, and `/v1` tells with each view."""
    loaded = [await call.gateway.sight.load(row.id) for row in plans]
    parts = (part for plan in loaded if plan for part in plan.parts)
    return {part.id: part.kind for part in parts if resident in part.label.subjects}


async def _told(call: Call, kept: _Kept, status: int, *, active: bool = True) -> web.Response:
    (consent,) = await _rendered(call, kept.resident, kept.plans, [kept.choice], active=active)
    remark = _KEPT if active else _WITHDRAWN
    if consent is None:
        return as_fhir(outcome([remark]), status)
    return as_preferred(call, f"Consent/{kept.choice.id}", _answer(consent), [remark], status)


def _answer(consent: Resource) -> Answer:
    meta = consent["meta"]
    return Answer(body=msgspec.json.encode(consent), version=meta["versionId"], changed_at=meta["lastUpdated"])


async def _of(read: Callable[[Resource], _T], resource: Resource) -> _T:
    """Return what is read out of a Consent. Raises Refusal, with pointers into it."""
    try:
        return await asyncio.to_thread(read, resource)
    except ConsentError as error:
        raise Refusal("document", error.findings) from error


async def _pointed(kept: Awaitable[_T]) -> _T:
    """Return what was kept. Raises Refusal with pointers into the Consent, instead of into the set of choices."""
    try:
        return await kept
    except Refusal as error:
        found = [
            Finding(
                pointer=place_in_consent(_POSITION.sub("", each.pointer, count=1)), code=each.code, remedy=each.remedy
            )
            for each in error.findings
        ]
        raise Refusal(error.code, found, error.headers) from error
