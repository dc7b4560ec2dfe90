"""`/fhir/{type}`: create, update, patch and validate one resource (https://hl7.org/fhir/R4/http.html#create)."""

import asyncio
import re
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.api.call import Call, idempotency_key
from gateway.api.fhir import MEDIA_TYPES, as_fhir
from gateway.api.interactions import INTERACTIONS, version_in
from gateway.api.resources import base_url, only, parsed, place_of, require_json, told, type_of
from gateway.errors import Refusal, refusal, refused
from gateway.render import FHIR_JSON
from gateway.searching import Answer
from gateway.writing import Written
from mappings.document import parse_document
from mappings.edge import check_resource
from mappings.elements import Resource
from mappings.errors import MappingError
from mappings.outcome import expression_of, issue, outcome
from mappings.search.query import Condition, Tokens

JSON_PATCH = "application/json-patch+json"

_RETURN = re.compile(r"return\s*=\s*(minimal|representation|OperationOutcome)")

_FORMAT = ("_format", "_pretty")
"""Parameters that stand with any interaction (https://hl7.org/fhir/R4/http.html#general)."""

_WITHOUT_IDENTIFIER = frozenset({"ClinicalImpression", "Condition", "Goal", "RelatedPerson", "ServiceRequest", "Task"})
"""Types that a plan keeps without their identifier: a condition on it would never match, and each repeat would make one more."""


async def create_resource(call: Call) -> web.Response:
    """POST /fhir/{type}: add a resource to the plan that it names; with If-None-Exist only when none matches."""
    resource_type = type_of(call, "create")
    call.by.require_each([(resource_type, "c"), (resource_type, "r")])
    require_json(call)
    only_format(call, "put what must not exist yet in the header If-None-Exist")
    resource = await sent(call, resource_type)
    if (condition := call.http.headers.get("If-None-Exist")) is not None:
        call.by.require_each([(resource_type, "s")])
        query = parsed(call, resource_type, parse_qsl(condition, keep_blank_values=True), is_post=True)
        if not query.conditions or query.ignored:
            raise refusal("parameter", "/If-None-Exist", "give search parameters that this type has")
        if resource_type in _WITHOUT_IDENTIFIER and any(_is_identifier(each) for each in query.conditions):
            raise refusal(
                "parameter",
                "/If-None-Exist",
                f"of {resource_type} no identifier is kept: give what is (focus, owner, code), or send an Idempotency-Key",
            )
        found = await call.gateway.searching.matching(call.by, query)
        if len(found) > 1:
            raise Refusal("several")
        if found:
            return told(call, await call.gateway.searching.read(call.by, resource_type, found[0]))
    with call.gateway.pressure.admitted():
        written = await call.gateway.writing.create(call.by, resource_type, resource, idempotency_key(call))
    return await _answered(call, resource_type, written, status=201)


async def update_resource(call: Call) -> web.Response:
    """PUT /fhir/{type}/{id}: needs If-Match."""
    resource_type, resource_id = place_of(call, "update")
    call.by.require_each([(resource_type, "u"), (resource_type, "r")])
    require_json(call)
    only_format(call)
    version = version_wanted(call)
    resource = await sent(call, resource_type)
    if resource.get("id") != resource_id:
        raise refusal("identity", "/id", f"send {resource_type} with the id that the URL has")
    with call.gateway.pressure.admitted():
        written = await call.gateway.writing.update(call.by, resource_type, resource, version, idempotency_key(call))
    return await _answered(call, resource_type, written, status=200)


async def patch_resource(call: Call) -> web.Response:
    """PATCH /fhir/{type}/{id}: a JSON Patch (RFC 6902); needs If-Match."""
    name = place_of(call, "patch")
    call.by.require_each([(name[0], "u"), (name[0], "r")])
    require_json(call)
    only_format(call)
    version = version_wanted(call)
    if call.http.content_type != JSON_PATCH:
        raise refusal("media-type", "", f"send {JSON_PATCH}")
    with call.gateway.pressure.admitted():
        body = await call.http.read()
        written = await call.gateway.writing.patch(call.by, name, body, version, idempotency_key(call))
    return await _answered(call, name[0], written, status=200)


async def validate_resource(call: Call) -> web.Response:
    """POST /fhir/{type}/$validate: what is wrong with a resource, as a 200; nothing is kept."""
    resource_type = call.http.match_info["type"]
    if resource_type not in INTERACTIONS:
        raise Refusal("not-found")
    require_json(call)
    only(call, "mode", "profile", *_FORMAT)
    resource, root = await _document(call), ""
    if resource.get("resourceType") == "Parameters":
        resource, root = _parameter(resource)
    if resource.get("resourceType") != resource_type:
        raise refusal("identity", "/resourceType", f"send {resource_type}, or Parameters with it as resource")
    found = await asyncio.to_thread(check_resource, resource, root)
    issues = [issue("error", "invalid", each.remedy, expression_of(each.pointer, resource_type)) for each in found]
    return as_fhir(outcome(issues or [issue("information", "informational", "This resource is right.")]))


async def sent(call: Call, resource_type: str) -> Resource:
    """Return the resource that a request holds, held to R4 and our profiles. Raises Refusal."""
    resource = await _document(call)
    if resource.get("resourceType") != resource_type:
        raise refusal("identity", "/resourceType", f"send {resource_type}")
    if found := await asyncio.to_thread(check_resource, resource):
        raise Refusal("document", found)
    return resource


async def _document(call: Call) -> Resource:
    if call.http.content_type not in MEDIA_TYPES:
        raise refusal("media-type", "", f"send {FHIR_JSON}")
    try:
        document: Any = parse_document(await call.http.read())
    except MappingError as error:
        raise refused(error) from error
    if not isinstance(document, dict):
        raise refusal("document", "", "send a FHIR resource as a JSON object")
    return document


def _parameter(parameters: Resource) -> tuple[Resource, str]:
    listed = parameters.get("parameter")
    for position, each in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(each, dict) and each.get("name") == "resource" and isinstance(each.get("resource"), dict):
            return each["resource"], f"/parameter/{position}/resource"
    raise refusal("document", "/parameter", "give a parameter named resource")


def only_format(call: Call, remedy: str = "leave it out: what to do stands in the body") -> None:
    """Raise Refusal on a parameter that says anything but how to answer."""
    for name in call.http.query:
        if name not in _FORMAT:
            raise refusal("parameter", f"/{name}", remedy)


def _is_identifier(condition: Condition) -> bool:
    return isinstance(condition, Tokens) and condition.param == "identifier"


def version_wanted(call: Call) -> str:
    """Return the version that If-Match names. Raises Refusal: precondition when it is absent, stale when it is none of ours."""
    text = call.http.headers.get("If-Match")
    if text is None:
        raise Refusal("precondition")
    version = version_in(text)
    if version is None:
        raise Refusal("stale")
    return version


async def _answered(call: Call, resource_type: str, written: Written, status: int) -> web.Response:
    """Return what was written as its writer sees it now."""
    try:
        answer = await call.gateway.searching.read(call.by, resource_type, written.id)
    except Refusal as error:
        if error.code not in _KEPT_ALL_THE_SAME:
            raise
        return _unshown(call, resource_type, written, status)
    return as_preferred(call, f"{resource_type}/{written.id}", answer, _remarks(resource_type, written), status)


def as_preferred(call: Call, place: str, answer: Answer, remarks: list[Resource], status: int) -> web.Response:
    """Return a resource as it is now, or what Prefer asks instead (https://hl7.org/fhir/R4/http.html#ops); 201 with its place."""
    preference = _RETURN.search(",".join(call.http.headers.getall("Prefer", ())))
    wanted = preference.group(1) if preference else "representation"
    response = told(call, answer, is_write=True)
    if wanted == "minimal":
        response = web.Response(
            headers={"ETag": response.headers["ETag"], "Last-Modified": response.headers["Last-Modified"]}
        )
    elif wanted == "OperationOutcome":
        made = as_fhir(outcome(remarks))
        made.headers.update({name: response.headers[name] for name in ("ETag", "Last-Modified")})
        response = made
    response.set_status(status)
    if status == 201:  # noqa: PLR2004 - created
        response.headers["Location"] = f"{base_url(call)}/{place}/_history/{answer.version}"
    return response


_KEPT_ALL_THE_SAME = frozenset({"not-found", "indexing", "busy"})
"""Why what was written cannot be shown: it is another's to see, or not at this moment. A refusal would ask to write it again."""


def _unshown(call: Call, resource_type: str, written: Written, status: int) -> web.Response:
    """Return that it was kept, and no more: no version, for whoever sees nothing has none."""
    remark = issue("information", "informational", "Kept. It is not shown to you, or not at this moment.")
    response = as_fhir(outcome([remark]), status)
    if status == 201:  # noqa: PLR2004 - created
        response.headers["Location"] = f"{base_url(call)}/{resource_type}/{written.id}"
    return response


def _remarks(resource_type: str, written: Written) -> list[Resource]:
    received = written.received
    if received is None:
        return [issue("information", "informational", "Kept under this Idempotency-Key before.")]
    found = [
        issue("information", "not-supported", "This element found no place in the plan, and is never shared.", place)
        for place in (expression_of(each.pointer, resource_type) for each in received.loss)
    ]
    found += [issue(each.severity, "business-rule", each.nl) for each in received.quality if each.part == written.id]
    return found or [issue("information", "informational", "Kept as it was sent.")]
