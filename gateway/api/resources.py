"""`/fhir/{type}`: read and search (https://hl7.org/fhir/R4/http.html#read, https://hl7.org/fhir/R4/search.html)."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import msgspec
from aiohttp import web

from gateway.api.call import Call
from gateway.api.interactions import INTERACTIONS, RECORDS, require_offered
from gateway.errors import Refusal, refusal
from gateway.render import FHIR_JSON
from gateway.searching import Answer, Compose
from gateway.store.search import Place
from mappings.elements import Resource
from mappings.errors import Finding, MappingError
from mappings.outcome import issue, outcome
from mappings.search.links import query_string
from mappings.search.parameters import PARAMETERS, may_refer
from mappings.search.parsing import parse_query
from mappings.search.projection import projected
from mappings.search.query import Chained, Has, Include, Query

CURSOR = "_cursor"

_AS_IT_IS = "follow the next link as it is, without other parameters"
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_ACCEPTED = re.compile(r"\s*(\*/\*|application/(\*|json|fhir\+json|json\+fhir)|text/html)\s*(;.*)?", re.IGNORECASE)
_ETAG = re.compile(r'\s*(?:W/)?"([^"]*)"\s*')


async def read_resource(call: Call) -> web.Response:
    """GET /fhir/{type}/{id}; 304 when If-None-Match names the version that there is."""
    resource_type, resource_id = place_of(call, "read")
    call.by.require_each([(resource_type, "r")])
    require_json(call)
    only(call, "_format", "_pretty", "_summary", "_elements")
    return told(call, await call.gateway.searching.read(call.by, resource_type, resource_id))


async def search_by_get(call: Call) -> web.Response:
    """GET /fhir/{type}: search."""
    return await _searched(call, list(call.http.query.items()), is_post=False)


async def search_by_post(call: Call) -> web.Response:
    """POST /fhir/{type}/_search: the same, with parameters in the body, where a BSN may stand."""
    return await _searched(call, await posted(call), is_post=True)


async def posted(call: Call) -> list[tuple[str, str]]:
    """Return the parameters of a search by POST. Raises Refusal."""
    if call.http.content_type != "application/x-www-form-urlencoded":
        raise refusal("media-type", "", "send application/x-www-form-urlencoded")
    try:
        form = [(name, value) for name, value in (await call.http.post()).items() if isinstance(value, str)]
    except (UnicodeDecodeError, LookupError) as error:
        raise refusal("media-type", "", "send the parameters in UTF-8") from error
    return [*call.http.query.items(), *form]


async def everything_of(call: Call) -> web.Response:
    """GET /fhir/Patient/{id}/$everything: all that the caller sees of the plans of a resident."""
    require_json(call)
    call.by.require_each((name, "r") for name in INTERACTIONS if name not in RECORDS)
    resident = resource_id_of(call.path("id"))
    after = None
    if CURSOR in call.http.query:
        cursor = call.gateway.searching.opened(call.http.query[CURSOR], call.by, resident)
        query, after = cursor.query, cursor.place
        if len(call.http.query) > 1:
            raise refusal("parameter", f"/{CURSOR}", _AS_IT_IS)
    else:
        query = parsed(call, "Patient", list(call.http.query.items()), is_post=False)
    if query.conditions or query.sort or query.includes or query.revincludes or query.count == 0:
        raise refusal("parameter", "/$everything", "this takes _count only")
    place = f"Patient/{resident}/$everything"
    answer = await call.gateway.searching.everything(
        call.by, resident, query, after, lambda total, cursor: composed(call, place, query, total, cursor)
    )
    return told(call, answer)


async def _searched(call: Call, pairs: list[tuple[str, str]], *, is_post: bool) -> web.Response:
    resource_type = type_of(call, "search-type")
    require_json(call)
    query, after = asked(call, resource_type, pairs, is_post=is_post)
    _require_no_records(query)
    call.by.require_each((name, "s") for name in _types_of(query))
    answer = await call.gateway.searching.search(
        call.by, query, after, lambda total, cursor: composed(call, resource_type, query, total, cursor)
    )
    return told(call, answer)


def asked(
    call: Call, resource_type: str, pairs: Sequence[tuple[str, str]], *, is_post: bool
) -> tuple[Query, Place | None]:
    """Return what a search asks, and where it goes on. Raises Refusal."""
    cursors = [value for name, value in pairs if name == CURSOR]
    if not cursors:
        return parsed(call, resource_type, pairs, is_post=is_post), None
    cursor = call.gateway.searching.opened(cursors[0], call.by)
    if len(pairs) > 1 or cursor.query.type != resource_type:
        raise refusal("parameter", f"/{CURSOR}", _AS_IT_IS)
    return cursor.query, cursor.place


def parsed(call: Call, resource_type: str, pairs: Sequence[tuple[str, str]], *, is_post: bool) -> Query:
    """Return what parameters ask. Raises Refusal with every parameter that is not right."""
    handling = re.search(r"handling\s*=\s*(strict|lenient)", ",".join(call.http.headers.getall("Prefer", ())))
    try:
        return parse_query(
            resource_type,
            pairs,
            base_url=base_url(call),
            is_strict=handling is not None and handling.group(1) == "strict",
            is_post=is_post,
            hashed=lambda number: call.gateway.master.fingerprint("bsn", number),
        )
    except MappingError as error:
        raise Refusal("parameter", error.findings) from error


def composed(
    call: Call, place: str, query: Query, total: int | None, cursor: str | None, remarks: Sequence[Resource] = ()
) -> Compose:
    """Return what makes a searchset of resources (https://hl7.org/fhir/R4/bundle.html#searchset); `remarks` are issues to tell."""
    base = base_url(call)
    asked = query_string(query)
    links = [{"relation": "self", "url": f"{base}/{place}?{asked}" if asked else f"{base}/{place}"}]
    if cursor is not None:
        links.append({"relation": "next", "url": f"{base}/{place}?{CURSOR}={cursor}"})

    def compose(resources: Sequence[tuple[Resource, bool]]) -> bytes:
        bundle: Resource = {"resourceType": "Bundle", "type": "searchset"}
        if total is not None:
            bundle["total"] = total
        bundle["link"] = links
        entries = [_entry(base, query, resource, is_match=is_match) for resource, is_match in resources]
        if issues := [*_ignored(query.ignored), *remarks]:
            entries.append({"resource": outcome(issues), "search": {"mode": "outcome"}})
        if entries:
            bundle["entry"] = entries
        return msgspec.json.encode(bundle)

    return compose


def _entry(base: str, query: Query, resource: Resource, *, is_match: bool) -> Resource:
    return {
        "fullUrl": f"{base}/{resource['resourceType']}/{resource['id']}",
        "resource": projected(resource, query) if is_match else resource,
        "search": {"mode": "match" if is_match else "include"},
    }


def _ignored(names: Iterable[str]) -> list[Resource]:
    """Say which parameters were left out, as R4 has it for lenient handling."""
    return [
        issue("warning", "not-supported", "This parameter is not offered here and was left out.", f"http.{name}")
        for name in names
    ]


def told(call: Call, answer: Answer, *, is_write: bool = False) -> web.Response:
    """Return an answer with its ETag; nothing but that when who reads has this version already."""
    headers: dict[str, str] = {"Content-Type": FHIR_JSON}
    if answer.version:
        headers["ETag"] = f'W/"{answer.version}"'
        headers["Last-Modified"] = format_datetime(
            datetime.fromisoformat(answer.changed_at).astimezone(UTC), usegmt=True
        )
    known = _ETAG.findall(call.http.headers.get("If-None-Match", ""))
    if answer.version and answer.version in known and not is_write:
        return web.Response(status=304, headers={name: headers[name] for name in ("ETag", "Last-Modified")})
    return web.Response(body=answer.body, headers=headers)


def base_url(call: Call) -> str:
    """Return the FHIR base that callers know."""
    return f"{call.gateway.public_url}/fhir"


def type_of(call: Call, interaction: Any) -> str:
    """Return the type in the path, when it offers this. Raises Refusal."""
    resource_type = call.http.match_info["type"]
    require_offered(resource_type, interaction)
    return resource_type


def place_of(call: Call, interaction: Any) -> tuple[str, str]:
    """Return (type, id) of the path. Raises Refusal."""
    return type_of(call, interaction), resource_id_of(call.http.match_info["id"])


def resource_id_of(text: str) -> str:
    """Return a FHIR id. Raises Refusal: an id that is none names nothing."""
    if not _ID.fullmatch(text):
        raise Refusal("not-found")
    return text


def require_json(call: Call) -> None:
    """Raise Refusal when the caller takes no JSON."""
    accepted = call.http.headers.get("Accept", "*/*").split(",")
    if not any(_ACCEPTED.fullmatch(each) for each in accepted):
        raise refusal("not-acceptable", "", f"accept {FHIR_JSON}")


def only(call: Call, *names: str) -> None:
    """Raise Refusal on a parameter that is not one of these."""
    for name in call.http.query:
        if name not in names:
            raise refusal("parameter", f"/{name}", f"this takes {', '.join(names) or 'no parameters'}")


def _require_no_records(query: Query) -> None:
    """Raise Refusal when a search leads to what stands in no index: it would find nothing, and not because there is nothing."""
    found = []
    for name, value in query.said:
        words = f"{name}:{value}" if name in {"_include", "_revinclude"} else name
        if RECORDS & set(re.split("[:.]", words)):
            remedy = f"search {' and '.join(sorted(RECORDS))} by themselves"
            found.append(Finding(pointer=f"/{name}", code="parameter", remedy=remedy))
    if found:
        raise Refusal("parameter", found)


def _types_of(query: Query) -> set[str]:
    """Return the types that a search asks about, or that may come along: of each the caller needs the scope."""
    types = {query.type}.union(*map(_targets_of, query.includes), (each.source for each in query.revincludes))
    for condition in query.conditions:
        if isinstance(condition, Chained):
            types.add(condition.target)
        elif isinstance(condition, Has):
            types.add(condition.source)
    return types


def _targets_of(include: Include) -> set[str]:
    if include.target:
        return {include.target}
    parameter = PARAMETERS[include.source][include.param]
    return {name for name in INTERACTIONS if name not in RECORDS and may_refer(parameter, name)}


async def history_of(call: Call) -> web.Response:
    """GET /fhir/{type}/{id}/_history: the versions that the caller was given, newest first."""
    name = place_of(call, "history-instance")
    call.by.require_each([(name[0], "r")])
    require_json(call)
    only(call, "_format", "_pretty", "_count")
    place = f"{base_url(call)}/{name[0]}/{name[1]}"

    def compose(resources: list[Resource]) -> bytes:
        entries = [_past(place, name, resource) for resource in resources]
        link = [{"relation": "self", "url": f"{place}/_history"}]
        bundle = {"resourceType": "Bundle", "type": "history", "total": len(entries), "link": link, "entry": entries}
        return msgspec.json.encode(bundle)

    body = await call.gateway.history.tell(call.by, name, lambda _version: True, compose)
    return web.Response(body=body, headers={"Content-Type": FHIR_JSON})


async def read_version(call: Call) -> web.Response:
    """GET /fhir/{type}/{id}/_history/{version}."""
    name = place_of(call, "vread")
    call.by.require_each([(name[0], "r")])
    require_json(call)
    only(call, "_format", "_pretty")
    version = resource_id_of(call.http.match_info["version"])
    changed: list[str] = []

    def compose(resources: list[Resource]) -> bytes:
        changed.append(resources[0]["meta"]["lastUpdated"])
        return msgspec.json.encode(resources[0])

    body = await call.gateway.history.tell(call.by, name, lambda each: each == version, compose)
    return told(call, Answer(body=body, version=version, changed_at=changed[-1]))


def _past(place: str, name: tuple[str, str], resource: Resource) -> Resource:
    """Return an entry of a history; how a version came to be is told as an update, but for the first."""
    is_first = resource["meta"]["versionId"].partition(".")[0] == "1"
    return {
        "fullUrl": place,
        "resource": resource,
        "request": {"method": "POST" if is_first else "PUT", "url": name[0] if is_first else "/".join(name)},
        "response": {
            "status": "201" if is_first else "200",
            "etag": f'W/"{resource["meta"]["versionId"]}"',
            "lastModified": resource["meta"]["lastUpdated"],
        },
    }
