"""`/fhir`: plans in as transactions, and what this gateway offers of FHIR R4 (https://hl7.org/fhir/R4/http.html)."""

from collections.abc import Iterator
from importlib.metadata import version

import msgspec
from aiohttp import web

from gateway.api.call import Call, idempotency_key
from gateway.errors import refusal, refused
from gateway.intake import Received
from gateway.render import FHIR_JSON
from mappings.document import parse_document
from mappings.elements import Resource
from mappings.errors import MappingError
from mappings.outcome import expression_of, issue, outcome
from mappings.transaction import TYPES, Entry, TransactionForm, entries_of, transaction_response

MEDIA_TYPES = frozenset({FHIR_JSON, "application/json"})

_FORM = TransactionForm()
_LETTER = {"POST": "c", "PUT": "u"}
_PUBLISHED_ON = "2026-11-25"
"""When what is offered here last changed."""


async def receive_transaction(call: Call) -> web.Response:
    """POST /fhir: take a plan in, whole or not at all."""
    if call.http.content_type not in MEDIA_TYPES:
        raise refusal("media-type", "", f"send {FHIR_JSON}")
    with call.gateway.pressure.admitted():
        body = await call.http.read()
        try:
            entries = entries_of(parse_document(body))
        except MappingError as error:
            raise refused(error) from error
        call.by.require_each((entry.type, _LETTER[entry.verb]) for entry in entries)
        received = await call.gateway.intake.receive(body, _FORM, call.by, idempotency_key(call))
    return as_fhir(transaction_response(list(_answers(entries, received))))


async def show_capabilities(call: Call) -> web.Response:
    """GET /fhir/metadata: a CapabilityStatement (https://hl7.org/fhir/R4/capabilitystatement.html)."""
    gateway = call.gateway
    return as_fhir(capability_statement(f"{gateway.public_url}/fhir", gateway.gatekeeper.token_url))


def as_fhir(resource: Resource, status: int = 200) -> web.Response:
    """Return a resource as an answer."""
    return web.Response(body=msgspec.json.encode(resource), status=status, headers={"Content-Type": FHIR_JSON})


def capability_statement(base_url: str, token_url: str) -> Resource:
    """Return what is offered here, and no more."""
    oauth = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
    service = {"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _PUBLISHED_ON,
        "kind": "instance",
        "software": {"name": "Planbrug", "version": version("planbrug")},
        "implementation": {"description": "Planbrug, a gateway for support plans", "url": base_url},
        "fhirVersion": _FORM.version,
        "format": [FHIR_JSON],
        "rest": [
            {
                "mode": "server",
                "documentation": "A plan comes in as one transaction: a CarePlan and everything that belongs to it.",
                "security": {
                    "extension": [{"url": oauth, "extension": [{"url": "token", "valueUri": token_url}]}],
                    "service": [{"coding": [service]}],
                },
                "resource": [{"type": name} for name in TYPES],
                "interaction": [{"code": "transaction"}],
            }
        ],
    }


def _answers(entries: tuple[Entry, ...], received: Received) -> Iterator[Resource]:
    """Yield the answer to each entry: what became of it, where it is now, and what is to be said about it."""
    status = "201 Created" if received.outcome == "created" else "200 OK"
    ids = _ids_by_place(received)
    for entry in entries:
        response: Resource = {"status": status}
        own_id = received.plan_id if entry.type in _OF_THE_PLAN else ids.get(entry.pointer)
        if own_id:
            response["location"] = f"{entry.type}/{own_id}"
        if issues := list(_issues(entry, received)):
            response["outcome"] = outcome(issues)
        yield {"response": response}


_OF_THE_PLAN = frozenset({"CarePlan", "CareTeam"})


def _ids_by_place(received: Received) -> dict[str, str]:
    """Return the id of what stands at each place; a resident's own rather than those of the parts in the same Patient."""
    found = {pointer: name for name, pointer in received.pointers.items()}
    return found | {received.pointers[who]: who for who in received.residents}


def _issues(entry: Entry, received: Received) -> Iterator[Resource]:
    """Yield remarks about a resource, and each of its elements that found no place; about the plan whole at its CarePlan."""
    for remark in received.quality:
        pointer = received.pointers.get(remark.part or "", "")
        if pointer == entry.pointer or (not pointer and entry.type == "CarePlan"):
            yield issue(remark.severity, "business-rule", remark.nl, expression_of(entry.pointer, "Bundle"))
    inside = f"{entry.pointer}/"
    for loss in received.loss:
        if loss.pointer.startswith(inside):
            text = "This element found no place in the plan, and is never shared."
            yield issue("information", "not-supported", text, expression_of(loss.pointer, "Bundle"))
