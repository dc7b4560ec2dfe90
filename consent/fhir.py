"""One `Choice` as one R4 Consent of our own profile, and back (https://hl7.org/fhir/R4/consent.html).

The shape is that of IHE PCF (https://profiles.ihe.net/ITI/PCF/): one provision with one actor, a period, a purpose and data. Elements of
a provision are joined by and, repetitions of one element by or, as the lists of a `PartSelector` are.

| choice | Consent |
|---|---|
| resident, id, version | patient, id, meta.versionId |
| given by | performer: a Patient or RelatedPerson with `identifier` (person) and extensions `capacity`, `mandate` |
| evidence, recorded by | verification with extension `evidence`; extension `choice-recorder` |
| organisation; role or person in it | actor: Organization; a contained PractitionerRole with `code.text` or `practitioner` |
| kind of organisation, all | actor: a Reference with extension `recipient` only |
| effect, from and until, purpose | provision.type, period (days, both inclusive), purpose |
| kinds, domains, part ids | code, class, data |
| several selectors | nested provisions, all of one type, under a provision without one |

`policyRule` is a code of ours, since no code of HL7 says what holds beside the choices. Whom an actor means is never in an extension that a
reader may skip: who does not know it has a reference to nobody, and grants nothing.

INVARIANT: a Consent is read whole or refused. What was read is written again and compared, so whatever a Choice does not hold is
refused with its pointer; let be are `display`, a generated narrative, `language`, `dateTime` and the server's own `meta`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from consent import fhir_reading, fhir_writing
from consent.choice import Choice, unsayable
from consent.errors import ConsentError
from mappings import edge
from mappings.codes import Kind
from mappings.elements import RESOURCE_TYPE, Resource
from mappings.errors import MappingError
from mappings.inbound import refuse_modifiers
from mappings.node import Index, Node

PROFILE = fhir_writing.PROFILE

_NOWHERE = Index(targets={}, resources={}, members={}, roles={}, listed={})


def choice_to_consent(
    choice: Choice,
    *,
    resident: str,
    changed_at: datetime | None = None,
    active: bool = True,
    kinds: Mapping[str, Kind] | None = None,
) -> Resource:
    """Render a choice of `resident`. `active` is False once it is withdrawn; `kinds` are those of parts, for literal references.

    Raises ConsentError for a choice that FHIR cannot say, with pointers into the choice: an id that is no FHIR id, text that is blank.
    """
    if found := [*unsayable(choice, ""), *fhir_writing.no_fhir_ids(choice)]:
        raise ConsentError(*found)
    types = {
        part_id: RESOURCE_TYPE[kind]
        for part_id, kind in (kinds or {}).items()
        if RESOURCE_TYPE[kind] == "Patient" or fhir_writing.FHIR_ID.fullmatch(part_id)
    }
    at = changed_at.isoformat() if changed_at else None
    around = fhir_writing.Around(
        resident=resident, at=at, types=types, active=active, nested=fhir_writing.must_nest(choice.parts)
    )
    consent = fhir_writing.rendered(choice, around)
    if at:
        consent["meta"]["lastUpdated"] = at
    return consent


def consent_to_choice(resource: Any) -> Choice:
    """Read a Consent that is in force. Raises ConsentError, with pointers into the resource, for whatever a Choice cannot hold.

    An id and a version are read as they stand: who keeps the choice says whether they are known, and `check_choices` whether it is one.
    """
    if found := edge.check_resource(resource):
        raise ConsentError(*found)
    try:
        refuse_modifiers(resource)
        return fhir_reading.read(Node(resource, "", _NOWHERE))
    except MappingError as error:
        raise ConsentError(*error.findings) from error


def place_in_consent(pointer: str) -> str:
    """Return where a Consent says what stands at this pointer of a choice: the nearest element that it has for it, "" for the whole."""
    first = pointer.removeprefix("/").partition("/")[0]
    return _PLACES.get(first, "")


_PLACES = {
    "id": "/id",
    "recipient": "/provision/actor/0/reference",
    "effect": "/provision/type",
    "givenBy": "/performer/0",
    "parts": "/provision",
    "purpose": "/provision/purpose",
    "from": "/provision/period/start",
    "until": "/provision/period/end",
    "evidence": "/verification",
    "recordedBy": "/extension",
}


def resident_of(resource: Any) -> str:
    """Return the id of the Patient whose choice a Consent is. Raises ConsentError."""
    found = Node(resource, "", _NOWHERE)
    try:
        return fhir_reading.resident_of(found)
    except MappingError as error:
        raise ConsentError(*error.findings) from error
