"""`/fhir`: plans in as transactions, and how FHIR is answered (https://hl7.org/fhir/R4/http.html)."""

from collections.abc import Iterator

import msgspec
from aiohttp import web

from gateway.api.call import Call, idempotency_key
from gateway.errors import ERRORS, Refusal, refusal, refused
from gateway.intake import Received
from gateway.render import FHIR_JSON
from mappings.document import parse_document
from mappings.elements import Resource
from mappings.errors import Finding, MappingError
from mappings.outcome import expression_of, issue, outcome
from mappings.transaction import Entry, TransactionForm, entries_of, transaction_response

MEDIA_TYPES = frozenset({FHIR_JSON, "application/json"})

_FORM = TransactionForm()
_LETTER = {"POST": "c", "PUT": "u"}


async def receive_transaction(call: Call) -> web.Response:
    """Take a plan in, whole or not at all."""
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


def as_fhir(resource: Resource, status: int = 200) -> web.Response:
    """Return a resource as an answer."""
    return web.Response(body=msgspec.json.encode(resource), status=status, headers={"Content-Type": FHIR_JSON})


def outcome_of(error: Refusal, root: str) -> web.Response:
    """Return an error as an OperationOutcome (https://hl7.org/fhir/R4/operationoutcome.html); pointers are into a `root`."""
    row = ERRORS[error.code]
    findings = error.findings or (Finding(pointer="", code=error.code, remedy=row.remedy),)
    issues = [
        issue("error", row.issue, f"{row.title}: {finding.remedy}", _expression(error, finding, root))
        for finding in findings
    ]
    response = as_fhir(outcome(issues), row.status)
    response.headers.update(error.headers)
    return response


_ABOUT_BODY = frozenset({"document", "conflict", "not-yours", "identity"})


def _expression(error: Refusal, finding: Finding, root: str) -> str | None:
    """Return where it is: `http.` and the name for a parameter or a header (R4, OperationOutcome.issue), FHIRPath in a body."""
    if not finding.pointer:
        return root if error.code in _ABOUT_BODY else None
    is_parameter = error.code in {"parameter", "too-broad"}
    return f"http.{finding.pointer[1:]}" if is_parameter else expression_of(finding.pointer, root)


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
