"""POST /fhir: a Bundle of type transaction, or of type batch, whose entries are answered each by itself (https://hl7.org/fhir/R4/http.html#transaction)."""

import re
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import unquote

import msgspec
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy
from yarl import URL

from gateway.api.call import Call
from gateway.api.dispatch import RESOURCE_ROUTES
from gateway.api.fhir import MEDIA_TYPES, as_fhir, outcome_of, receive_transaction
from gateway.api.resources import base_url
from gateway.api.route import Route
from gateway.errors import Refusal, refusal, refused
from gateway.render import FHIR_JSON
from mappings.document import parse_document
from mappings.elements import Resource
from mappings.errors import MappingError

MAX_ENTRIES = 200
"""Entries of a batch: each is a request of its own, with a transaction and a receipt of its own."""

_CONDITIONS = {"ifMatch": "If-Match", "ifNoneMatch": "If-None-Match", "ifNoneExist": "If-None-Exist"}
_ROUTES = tuple(
    (route, re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(route.path.removeprefix("/fhir")))))
    for route in RESOURCE_ROUTES
)


async def receive_bundle(call: Call) -> web.Response:
    """POST /fhir."""
    if call.http.content_type not in MEDIA_TYPES:
        raise refusal("media-type", "", f"send {FHIR_JSON}")
    try:
        bundle = parse_document(await call.http.read())
    except MappingError as error:
        raise refused(error) from error
    if not isinstance(bundle, dict) or (bundle.get("resourceType"), bundle.get("type")) != ("Bundle", "batch"):
        return await receive_transaction(call)
    entries = bundle.get("entry", [])
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise refusal("document", "/entry", f"give a list of at most {MAX_ENTRIES} entries")
    answers = [await _answered(call, entry, f"Bundle.entry[{position}]") for position, entry in enumerate(entries)]
    return as_fhir({"resourceType": "Bundle", "type": "batch-response", "entry": answers})


class EntryRequest:
    """An entry of a batch as the request that it stands for: what handlers ask of a request, and no more."""

    def __init__(self, call: Call, entry: Any) -> None:
        """Read an entry. Raises Refusal when it asks for nothing that is offered."""
        request = entry.get("request") if isinstance(entry, dict) else None
        method = request.get("method") if isinstance(request, dict) else None
        url = request.get("url") if isinstance(request, dict) else None
        if not isinstance(request, dict) or not isinstance(method, str) or not isinstance(url, str):
            raise refusal("document", "/request", "give request.method and request.url")
        relative = _relative(url, base_url(call))
        self.query = MultiDictProxy(MultiDict(relative.query))
        self.method, self._resource = method, entry.get("resource")
        self.route, self.match_info = _route(method, f"/{unquote(relative.path).lstrip('/')}")
        headers = CIMultiDict({"Accept": FHIR_JSON})
        for name, header in _CONDITIONS.items():
            if isinstance(request.get(name), str):
                headers[header] = request[name]
        self.headers = CIMultiDictProxy(headers)
        self.content_type = FHIR_JSON

    async def read(self) -> bytes:
        """Return the body."""
        return msgspec.json.encode(self._resource)


def _relative(url: str, base: str) -> URL:
    """Return a URL relative to the base. Raises Refusal: another server's, or none at all."""
    try:
        found = URL(url.removeprefix(f"{base}/"))
    except ValueError as error:
        raise refusal("document", "/request/url", _URL) from error
    if found.absolute or found.scheme:
        raise refusal("document", "/request/url", _URL)
    return found


_URL = "give a url relative to the base of this server, or one below it"


def _route(method: str, path: str) -> tuple[Route, dict[str, str]]:
    for route, pattern in _ROUTES:
        if route.method == method and (found := pattern.fullmatch(path)):
            return route, found.groupdict()
    raise refusal("method", "/request", "a batch takes GET, POST and PUT of what is offered on its own")


async def _answered(call: Call, entry: Any, place: str) -> Resource:
    """Answer one entry; what is wrong with it is its own."""
    root = place
    try:
        request = EntryRequest(call, entry)
        root = f"{place}.resource"
        http = cast("web.Request", request)
        asked = Call(gateway=call.gateway, http=http, route=request.route, caller=call.caller)
        response = await request.route.handler(asked)
    except Refusal as error:
        told = outcome_of(error, root)
        return {"response": {"status": str(told.status), "outcome": _body(told)}}
    answered: Resource = {"response": dict(_said(response))}
    if response.body:
        answered["resource"] = _body(response)
    return answered


def _said(response: web.Response) -> Iterator[tuple[str, str]]:
    yield "status", str(response.status)
    for name, header in (("location", "Location"), ("etag", "ETag")):
        if header in response.headers:
            yield name, response.headers[header]


def _body(response: web.Response) -> msgspec.Raw:
    return msgspec.Raw(cast("bytes", response.body))
