"""The writing half of `fhir.py`: a Choice, and what a Consent says beside it, as the elements of a Consent."""

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from consent.choice import Choice, GivenBy, PartSelector, RecipientSelector
from mappings.codes import BASE
from mappings.elements import (
    Resource,
    coding,
    concept,
    definition,
    extension,
    filled,
    part_reference,
    period,
    reference,
)
from mappings.errors import Finding

PROFILE = definition("planbrug-consent")
PERSON_SYSTEM = f"{BASE}/NamingSystem/person"
CONTAINED = "recipient"
"""The id of the contained resource of a role or a person."""
FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")

_HL7 = "http://terminology.hl7.org/CodeSystem"
_SCOPE: Resource = {"coding": [{"system": f"{_HL7}/consentscope", "code": "patient-privacy"}]}
_CATEGORY: Resource = {"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}
_RECEIVES: Resource = {"coding": [{"system": f"{_HL7}/v3-ParticipationType", "code": "IRCP"}]}


class Around(Struct, frozen=True, kw_only=True):
    """What a Consent says that a Choice does not hold; `types`: the resource type of a part, by its id, where it is known."""

    resident: str
    at: str | None = None
    types: Mapping[str, str]
    active: bool = True
    nested: bool = False


def no_fhir_ids(choice: Choice) -> Iterator[Finding]:
    """Yield the ids that FHIR cannot refer to; those of parts can be any text, since they stand in identifiers."""
    organisation = choice.recipient.organisation
    for pointer, said in (("/id", choice.id or None), ("/recipient/organisation", organisation)):
        if said is not None and not FHIR_ID.fullmatch(said):
            yield Finding(pointer=pointer, code="id", remedy="give an id of 1 to 64 letters, digits, dots and dashes")


def must_nest(parts: tuple[PartSelector, ...]) -> bool:
    """Say whether selectors need provisions of their own: several do, and one that selects everything, to tell it from none."""
    return len(parts) > 1 or parts == (PartSelector(),)


def rendered(choice: Choice, around: Around) -> Resource:
    """Return the Consent."""
    meta: Resource = {"versionId": str(choice.version)} if choice.version else {}
    evidence = [extension("evidence", valueString=choice.evidence)] if choice.evidence else None
    recorder = [extension("choice-recorder", valueString=choice.recorded_by)] if choice.recorded_by else None
    contained, actor = _recipient(choice.recipient)
    return filled(
        {
            "resourceType": "Consent",
            "id": choice.id,
            "meta": {**meta, "profile": [PROFILE]},
            "contained": contained,
            "extension": recorder,
            "status": "active" if around.active else "inactive",
            "scope": _SCOPE,
            "category": [_CATEGORY],
            "patient": reference("Patient", around.resident),
            "dateTime": around.at,
            "performer": [_performer(choice.given_by, around.resident)],
            "policyRule": concept("consent-policy", "silence-is-no"),
            "verification": [{"extension": evidence, "verified": True}] if evidence else None,
            "provision": _provision(choice, actor, around),
        }
    )


def _performer(given_by: GivenBy, resident: str) -> Resource:
    own = given_by.capacity == "resident"
    said = [extension("capacity", valueCoding=coding("capacity", given_by.capacity))]
    if given_by.mandate:
        said.append(extension("mandate", valueString=given_by.mandate))
    return {
        "extension": said,
        **(reference("Patient", resident) if own else {"type": "RelatedPerson"}),
        "identifier": {"system": PERSON_SYSTEM, "value": given_by.person},
    }


def _recipient(recipient: RecipientSelector) -> tuple[list[Resource], Resource]:
    """Return the contained resource of a role or person in an organisation, and the reference to whom it is about."""
    organisation = reference("Organization", recipient.organisation or "")
    match recipient.type:
        case "organisation":
            return [], organisation
        case "kind":
            of_kind = coding("organisation-kind", recipient.kind or "")
            return [], {"extension": [extension("recipient", valueCoding=of_kind)], "type": "Organization"}
        case "all":
            everybody = coding("recipient-set", "all")
            return [], {"extension": [extension("recipient", valueCoding=everybody)]}
    who: Resource = {"code": [{"text": recipient.role}]}
    if recipient.type == "person":
        who = {"practitioner": {"identifier": {"system": PERSON_SYSTEM, "value": recipient.person}}}
    role = {"resourceType": "PractitionerRole", "id": CONTAINED, "organization": organisation, **who}
    return [role], {"reference": f"#{CONTAINED}"}


def _provision(choice: Choice, actor: Resource, around: Around) -> Resource:
    selected = [_selection(selector, around.types) for selector in choice.parts]
    effect = {"type": choice.effect}
    return filled(
        {
            **({} if around.nested else effect),
            "period": period(choice.starts_on, choice.ends_on),
            "actor": [{"role": _RECEIVES, "reference": actor}],
            "purpose": [coding("purpose", choice.purpose)] if choice.purpose else None,
            **(selected[0] if selected and not around.nested else {}),
            "provision": [effect | each for each in selected] if around.nested else None,
        }
    )


def _selection(selector: PartSelector, types: Mapping[str, str]) -> Resource:
    return filled(
        {
            "class": [coding("life-domain", domain) for domain in selector.domains],
            "code": [concept("part-kind", kind) for kind in selector.kinds],
            "data": [
                {"meaning": "instance", "reference": part_reference(part_id, types.get(part_id))}
                for part_id in selector.part_ids
            ],
        }
    )
