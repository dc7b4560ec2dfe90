"""`/fhir`: plans in as transactions, and how FHIR is answered (https://hl7.org/fhir/R4/http.html)."""

import asyncio
from collections.abc import Iterator

import msgspec
from aiohttp import web

from gateway.api.call import Call, idempotency_key
from gateway.api.interactions import INTERACTIONS, Interaction, version_in
from gateway.errors import ERRORS, Refusal, refusal, refused
from gateway.intake import Received
from gateway.render import FHIR_JSON
from gateway.writing import Change
from mappings.document import parse_document
from mappings.edge import check_bundle
from mappings.elements import Resource
from mappings.errors import Finding, MappingError
from mappings.outcome import expression_of, issue, outcome
from mappings.transaction import Entry, TransactionForm, entries_of, is_of_parts, transaction_response

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
            bundle = parse_document(body)
            entries = entries_of(bundle)
        except MappingError as error:
            raise refused(error) from error
        call.by.require_each((entry.type, _LETTER[entry.verb]) for entry in entries)
        if is_of_parts(entries):
            return as_fhir(transaction_response(await _parts_written(call, bundle, entries, body)))
        received = await call.gateway.intake.receive(body, _FORM, call.by, idempotency_key(call))
    return as_fhir(transaction_response(list(_answers(entries, received))))


async def _parts_written(call: Call, bundle: Resource, entries: tuple[Entry, ...], body: bytes) -> list[Resource]:
    """Make all changes to parts of one plan as one version of it, and return the answer to each entry. Raises Refusal."""
    try:
        await asyncio.to_thread(check_bundle, bundle)
    except MappingError as error:
        raise refused(error) from error
    changes = [_change(bundle, entry, number) for number, entry in enumerate(entries)]
    ids, received = await call.gateway.writing.write(call.by, changes, idempotency_key(call), body)
    answers: list[Resource] = []
    for entry, name in zip(entries, ids, strict=True):
        status = "201 Created" if entry.verb == "POST" else "200 OK"
        response: Resource = {"status": status, "location": f"{entry.type}/{name}"}
        if received is not None and (issues := list(_issues(entry, received))):
            response["outcome"] = outcome(issues)
        answers.append({"response": response})
    return answers


def _change(bundle: Resource, entry: Entry, number: int) -> Change:
    """Return what an entry asks for. Raises Refusal: it is not offered, or it was read at no version of ours."""
    wanted: Interaction = "create" if entry.verb == "POST" else "update"
    if wanted not in INTERACTIONS.get(entry.type, ()):
        remedy = f"a transaction without a CarePlan changes parts of a plan; it can {wanted} no {entry.type}"
        raise refusal("document", entry.pointer, remedy)
    version = version_in(entry.if_match) if entry.if_match is not None else None
    if entry.if_match is not None and version is None:
        raise refusal("stale", entry.pointer, ERRORS["stale"].remedy)
    sent = bundle["entry"][number]
    full_url = sent.get("fullUrl", "") if entry.verb == "POST" else ""
    own = entry.id if entry.verb == "PUT" else ""
    return Change(
        type=entry.type, id=own, resource=sent["resource"], version=version, full_url=full_url, place=entry.pointer
    )


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
