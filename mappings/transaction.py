"""A FHIR R4 transaction as a plan document: one CarePlan, with everything that belongs to it (https://hl7.org/fhir/R4/http.html#transaction).

A transaction becomes one version of one plan. What that cannot express is refused with its place: other verbs, conditions, a second plan.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from mappings.bundle import as_listed, bundle_to_plan, check_bundle
from mappings.document import MAX_FINDINGS, parse_document
from mappings.draft import Draft, Loss
from mappings.edge import check_resource
from mappings.elements import RESOURCE_TYPE, Resource
from mappings.errors import Finding, MappingError
from mappings.identifiers import Bsn, IdentifierError
from mappings.plan import AnyPart, Identity, SupportPlan, contact_id, identity_id
from mappings.references import broken_references, renamed

Verb = Literal["POST", "PUT"]

MAX_ENTRIES = 5_000
TYPES = tuple(sorted({*RESOURCE_TYPE.values(), "CarePlan", "CareTeam", "Group", "Organization", "Practitioner"}))
"""The resource types of which a plan is made."""

_CONDITIONS = ("ifMatch", "ifNoneMatch", "ifNoneExist", "ifModifiedSince")
_CONDITIONS_OF_PARTS = ("ifNoneMatch", "ifNoneExist", "ifModifiedSince")
_ONE_PART = frozenset({"Practitioner", "PractitionerRole"})
"""Types that share an id, because together they are one part."""

_HEADERS = frozenset({"CarePlan", "CareTeam"})


class Entry(Struct, frozen=True, kw_only=True):
    """One entry of a transaction; `id` is the resource's own, or its fullUrl's uuid; `pointer` is where its resource stands.

    `if_match`: the ETag of what was read, where a transaction of parts says it.
    """

    type: str
    id: str
    verb: Verb
    pointer: str
    if_match: str | None = None


class TransactionForm:
    """The format of a plan that comes in as FHIR."""

    name = "fhir"
    version = "4.0.1"
    is_slow = True

    def read(self, body: bytes) -> Draft:
        """Return the draft plan in `body`. Raises MappingError with at most 100 findings."""
        bundle = parse_document(body)
        entries = entries_of(bundle)
        self.check(bundle)
        plan, lost = bundle_to_plan(bundle)
        places = {f"{entry.type}/{entry.id}": entry.pointer for entry in entries}
        plan = as_listed(_checked(plan, places))
        header = next(entry for entry in entries if entry.type == "CarePlan")
        names = _draft_ids(plan)
        draft = replace(renamed(plan, names), id="" if header.verb == "POST" else plan.id, version=0, changed_at=None)
        pointers = {names[part.id]: _place(part, places) for part in plan.parts}
        pointers |= {names[who]: places[f"Patient/{who}"] for who in plan.residents}
        pointers |= {names[each.id]: places[f"Organization/{each.id}"] for each in plan.organisations}
        return Draft(
            plan=draft,
            pointers=pointers,
            references={names[who]: who for who in plan.residents},
            loss=tuple(Loss(pointer=pointer, reason="not-mapped") for pointer in lost),
            id_pointer=f"{header.pointer}/id",
            view_version=None if header.verb == "POST" else plan.version,
        )

    def check(self, bundle: Resource) -> None:
        """Check what came from outside. Raises MappingError."""
        check_bundle(bundle)


class EditForm(TransactionForm):
    """A view of which the entries at `positions` were edited or added: the rest was rendered here and is checked in tests."""

    def __init__(self, *positions: int) -> None:
        self._positions = positions

    def check(self, bundle: Resource) -> None:
        """Check the entries that were edited. Raises MappingError."""
        found: list[Finding] = []
        for position in self._positions:
            found += check_resource(bundle["entry"][position]["resource"], f"/entry/{position}/resource")
        if found:
            raise MappingError(*found[:MAX_FINDINGS])


def entries_of(bundle: Any) -> tuple[Entry, ...]:
    """Return what a transaction asks for. Raises MappingError with everything that is no transaction of a plan."""
    if not isinstance(bundle, dict) or (bundle.get("resourceType"), bundle.get("type")) != ("Bundle", "transaction"):
        raise MappingError(Finding(pointer="", code="transaction", remedy="send a Bundle of type transaction"))
    listed = bundle.get("entry")
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_ENTRIES:
        remedy = f"give a list of 1 to {MAX_ENTRIES} entries"
        raise MappingError(Finding(pointer="/entry", code="entries", remedy=remedy))
    entries: list[Entry] = []
    findings: list[Finding] = []
    conditions = _CONDITIONS if any(_is_plan(item) for item in listed) else _CONDITIONS_OF_PARTS
    for position, item in enumerate(listed):
        found = list(_wrong(item, f"/entry/{position}", conditions))
        findings += found
        if not found:
            entries.append(_entry(item, f"/entry/{position}"))
    findings += _shared_ids(entries)
    if findings:
        raise MappingError(*findings[:MAX_FINDINGS])
    return tuple(entries)


def is_of_parts(entries: Iterable[Entry]) -> bool:
    """Return whether a transaction is about parts of a plan that is known already: it holds no CarePlan."""
    return not any(entry.type == "CarePlan" for entry in entries)


def _is_plan(item: Any) -> bool:
    resource = item.get("resource") if isinstance(item, dict) else None
    return isinstance(resource, dict) and resource.get("resourceType") == "CarePlan"


def _entry(item: dict[str, Any], pointer: str) -> Entry:
    resource = item["resource"]
    return Entry(
        type=resource["resourceType"],
        id=resource.get("id") or item.get("fullUrl", "").removeprefix("urn:uuid:"),
        verb=item["request"]["method"],
        pointer=f"{pointer}/resource",
        if_match=item["request"].get("ifMatch"),
    )


def _wrong(item: Any, pointer: str, conditions: Iterable[str]) -> Iterator[Finding]:
    """Yield what keeps an entry from being read, and every way in which its request is not ours."""
    if not isinstance(item, dict):
        yield Finding(pointer=pointer, code="type", remedy="make this an object")
        return
    resource, request = item.get("resource"), item.get("request")
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    if not isinstance(resource, dict) or kind not in TYPES:
        remedy = f"give a resource; a plan is made of {', '.join(TYPES)}"
        yield Finding(pointer=f"{pointer}/resource", code="resource-type", remedy=remedy)
        return
    own_id, full_url = resource.get("id"), item.get("fullUrl", "")
    if not isinstance(own_id, str | None) or not isinstance(full_url, str):
        yield Finding(pointer=pointer, code="type", remedy="give id and fullUrl as text")
        return
    if not isinstance(request, dict):
        yield Finding(pointer=f"{pointer}/request", code="required", remedy="say what to do: POST or PUT")
        return
    for name in conditions:
        if name in request:
            remedy = "leave conditions out of a transaction; here the plan is the unit of change"
            yield Finding(pointer=f"{pointer}/request/{name}", code="condition", remedy=remedy)
    if not isinstance(request.get("ifMatch"), str | None):
        yield Finding(pointer=f"{pointer}/request/ifMatch", code="type", remedy="give an ETag as text")
    wanted = {"POST": kind, "PUT": f"{kind}/{own_id}"}
    method = request.get("method")
    if not isinstance(method, str) or method not in wanted:
        remedy = "use POST or PUT: what a plan no longer holds is left out of its next version"
        yield Finding(pointer=f"{pointer}/request/method", code="verb", remedy=remedy)
    elif request.get("url") != wanted[method]:
        remedy = "POST goes to the type, PUT to the type and the id of the resource, relative to the base"
        yield Finding(pointer=f"{pointer}/request/url", code="url", remedy=remedy)


def _shared_ids(entries: list[Entry]) -> Iterator[Finding]:
    """Yield resources of different types under one id: a plan's parts are told apart by their ids alone."""
    owners: dict[str, str] = {}
    for entry in entries:
        kind = "Practitioner" if entry.type in _ONE_PART else entry.type
        if kind not in _HEADERS and owners.setdefault(entry.id, kind) != kind:
            remedy = "give resources of different types different ids, or a fullUrl with urn:uuid each"
            yield Finding(pointer=entry.pointer, code="duplicate", remedy=remedy)


def _checked(plan: SupportPlan, places: Mapping[str, str]) -> SupportPlan:
    """Return the plan with its BSNs in nine digits. Raises MappingError: a wrong one, or a reference to nothing in the Bundle."""
    findings: list[Finding] = []
    parts: list[AnyPart] = []
    by_id = {part.id: part for part in plan.parts}
    for part in plan.parts:
        try:
            parts.append(_with_own_number(part))
        except IdentifierError as error:
            findings.append(Finding(pointer=_place(part, places), code="bsn", remedy=str(error)))
    for part_id, field, wanted in broken_references(plan):
        remedy = f"let {field} refer to a {wanted} that stands in this Bundle"
        findings.append(Finding(pointer=_place(by_id[part_id], places), code="reference", remedy=remedy))
    for who in plan.residents:
        if f"Patient/{who}" not in places:
            remedy = "send the Patient of every resident along"
            findings.append(Finding(pointer="/entry", code="reference", remedy=remedy))
    if findings:
        raise MappingError(*findings[:MAX_FINDINGS])
    return replace(plan, parts=tuple(parts))


def _with_own_number(part: AnyPart) -> AnyPart:
    """Return a part without the numbers that a gateway makes for its readers, and with its BSN checked. Raises IdentifierError."""
    if not isinstance(part, Identity):
        return part
    return replace(part, bsn=str(Bsn(part.bsn)) if part.bsn else None, pseudonym=None)


def _place(part: AnyPart, places: Mapping[str, str]) -> str:
    """Return where the resource of a part stands; the Bundle itself for one that came along with another."""
    if part.kind in {"identity", "contact"}:
        return places.get(f"Patient/{part.label.subjects[0]}", "")
    found = places.get(f"{RESOURCE_TYPE[part.kind]}/{part.id}")
    return found if found is not None else places.get(f"Practitioner/{part.id}", "")


def _draft_ids(plan: SupportPlan) -> dict[str, str]:
    names = {who: f"resident:{who}" for who in plan.residents}
    for who, name in tuple(names.items()):
        names[identity_id(who)], names[contact_id(who)] = identity_id(name), contact_id(name)
    for organisation in plan.organisations:
        names[organisation.id] = f"organisation:{organisation.id}"
    for part in plan.parts:
        names.setdefault(part.id, f"{part.kind}:{part.id}")
    return names


def transaction_response(entries: list[Resource]) -> Resource:
    """Return the answer to a transaction: one entry for each that was sent, in the same order."""
    return {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}
