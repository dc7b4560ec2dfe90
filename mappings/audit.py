"""AuditEvent: one disclosure of a plan, or one refusal, as a receipt tells it (https://hl7.org/fhir/R4/auditevent.html).

Like IHE BasicAudit (https://profiles.ihe.net/ITI/BasicAudit/): the gateway is the source, the recipient the destination. Two things
differ: residents are no entities, since a receipt names parts and not people; and a refusal is told in the same shape.

| exit | type, subtype | action | asked for by |
|---|---|---|---|
| delivery | Export, transmit | C: the recipient has a new version | the gateway, or the client that pulled it |
| read | rest, read | R | the recipient |
| search | rest, search-type | E: it was found by a question | the recipient |
| history | rest, history | R | the recipient |
| view | rest, operation | E: it was computed for whoever looked | the recipient |

Each part is an entity, whose details are what the decision rested on: `kind`, `domain`, `ground`, `article`, and per choice the Consent
with its version. R4 has `securityLabel` for how secret an entity is; a ground is no such label, so it is a detail.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from msgspec import Struct

from mappings.codes import Domain, Kind, Purpose
from mappings.elements import RESOURCE_TYPE, Resource, concept, definition, filled, part_reference, reference

PROFILE = definition("planbrug-auditevent")

Exit = Literal["delivery", "read", "search", "history", "view"]

_HL7 = "http://terminology.hl7.org/CodeSystem"
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_REST: Resource = {"system": f"{_HL7}/audit-event-type", "code": "rest"}
_EXPORT: Resource = {"system": _DICOM, "code": "110106"}
_READ: Resource = {"system": "http://hl7.org/fhir/restful-interaction", "code": "read"}
_SEARCH: Resource = {"system": "http://hl7.org/fhir/restful-interaction", "code": "search-type"}
_HISTORY: Resource = {"system": "http://hl7.org/fhir/restful-interaction", "code": "history"}
_OPERATION: Resource = {"system": "http://hl7.org/fhir/restful-interaction", "code": "operation"}
_TRANSMIT: Resource = {"system": f"{_HL7}/iso-21089-lifecycle", "code": "transmit"}
_EVENT: dict[Exit, tuple[Resource, Resource, str]] = {
    "delivery": (_EXPORT, _TRANSMIT, "C"),
    "read": (_REST, _READ, "R"),
    "search": (_REST, _SEARCH, "E"),
    "history": (_REST, _HISTORY, "R"),
    "view": (_REST, _OPERATION, "E"),
}
_DONE, _FAILED = "0", "8"
"""Codes of AuditEvent.outcome: success; serious failure, which is what a refusal is to whoever asked."""

_SOURCE: Resource = {"coding": [{"system": _DICOM, "code": "110153"}]}
_DESTINATION: Resource = {"coding": [{"system": _DICOM, "code": "110152"}]}
_APPLICATION_SERVER: Resource = {"system": f"{_HL7}/security-source-type", "code": "4"}
_DOMAIN_RESOURCE: Resource = {"system": f"{_HL7}/object-role", "code": "4"}


class DisclosedPart(Struct, frozen=True, kw_only=True):
    """One part that left, and on which ground; `choices` are ids with versions."""

    id: str
    kind: Kind
    ground: str
    article: str
    domain: Domain | None = None
    choices: tuple[tuple[str, int], ...] = ()


class Disclosure(Struct, frozen=True, kw_only=True):
    """One disclosure or refusal.

    `plan_version` is a version that the reader of this event may know, `code` how it ended or why it was refused, `client` who asked,
    when the reader may know, `pulled` whether the recipient asked for a delivery, `sha256` of the body that left.
    """

    id: str
    at: datetime
    exit: Exit
    recipient: str
    plan: str
    refused: bool
    code: str
    plan_version: int | None = None
    client: str | None = None
    pulled: bool = False
    purpose: Purpose | None = None
    sha256: str | None = None
    parts: tuple[DisclosedPart, ...] = ()


def disclosure_to_auditevent(disclosure: Disclosure, gateway: str) -> Resource:
    """Render a disclosure; `gateway` is the public URL of the gateway that made it."""
    kind, subtype, action = _EVENT[disclosure.exit]
    observer = {"identifier": {"system": "urn:ietf:rfc:3986", "value": gateway}, "display": "Planbrug"}
    return filled(
        {
            "resourceType": "AuditEvent",
            "id": disclosure.id,
            "meta": {"profile": [PROFILE]},
            "type": kind,
            "subtype": [subtype],
            "action": action,
            "recorded": disclosure.at.isoformat(),
            "outcome": _FAILED if disclosure.refused else _DONE,
            "outcomeDesc": disclosure.code,
            "purposeOfEvent": [concept("purpose", disclosure.purpose)] if disclosure.purpose else None,
            "agent": [*_agents(disclosure, observer)],
            "source": {"observer": observer, "type": [_APPLICATION_SERVER]},
            "entity": [_plan_entity(disclosure), *map(_part_entity, disclosure.parts)],
        }
    )


def _agents(disclosure: Disclosure, observer: Resource) -> Iterator[Resource]:
    """Yield who received and who gave. One of them asked for it: of a delivery that nobody pulled, the gateway."""
    asked = disclosure.exit != "delivery" or disclosure.pulled or disclosure.client is not None
    yield filled(
        {
            "type": _DESTINATION,
            "who": reference("Organization", disclosure.recipient),
            "altId": disclosure.client,
            "requestor": asked,
        }
    )
    yield {"type": _SOURCE, "who": observer, "requestor": not asked}


def _plan_entity(disclosure: Disclosure) -> Resource:
    what = reference("CarePlan", disclosure.plan)
    if disclosure.plan_version:
        what["reference"] += f"/_history/{disclosure.plan_version}"
    details = [_detail("sha256", disclosure.sha256)] if disclosure.sha256 else None
    return filled({"what": what, "type": _type("CarePlan"), "role": _DOMAIN_RESOURCE, "detail": details})


def _part_entity(part: DisclosedPart) -> Resource:
    resource_type = RESOURCE_TYPE[part.kind]
    details = [_detail("kind", part.kind)]
    if part.domain:
        details.append(_detail("domain", part.domain))
    details += [_detail("ground", part.ground), _detail("article", part.article)]
    details += [_detail("choice", f"Consent/{choice}/_history/{version}") for choice, version in part.choices]
    return {
        "what": part_reference(part.id, resource_type),
        "type": _type(resource_type),
        "role": _DOMAIN_RESOURCE,
        "detail": details,
    }


def _type(name: str) -> Resource:
    return {"system": "http://hl7.org/fhir/resource-types", "code": name}


def _detail(name: str, value: str) -> Resource:
    return {"type": name, "valueString": value}
