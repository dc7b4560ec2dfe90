"""The FHIR R4 datatypes that every resource shares, and the label of a part. `node.py` reads them back.

Rendering makes plain dicts and leaves out what the part does not say.
What a label says goes where R4 has a place for it (table below) and else into a published extension.

| label | R4 |
|---|---|
| domain, law | `meta.tag` (https://hl7.org/fhir/R4/resource.html#Meta) |
| sensitivity | `meta.security`, v3-Confidentiality N or R (https://hl7.org/fhir/R4/security-labels.html) |
| subjects | the subject element: one Patient, or a Group; extension `subject` on PractitionerRole and RelatedPerson |
| speaker | performer, asserter, assessor, expressedBy or requester where R4 allows its type; else extension `speaker` |
| mentioned, recorded by | extensions `mentioned`, `recorded-by`, `recorded-under-secrecy` |

All element names are of 4.0.1; R4B changed none of the types used here (https://hl7.org/fhir/R4B/diff.html).
"""

from datetime import date
from functools import lru_cache
from hashlib import sha256
from typing import Any

from mappings.codes import BASE, DOMAINS, ActorType, Domain, Kind
from mappings.plan import Actor, AnyPart, Label

Resource = dict[str, Any]

CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
NL_CORE = "http://nictiz.nl/fhir/StructureDefinition/nl-core-"
PART_SYSTEM = f"{BASE}/NamingSystem/part"
"""The ids of parts, which stay the same in every version of a plan."""

RESOURCE_TYPE: dict[Kind, str] = {
    "identity": "Patient",
    "contact": "Patient",
    "household": "RelatedPerson",
    "team": "PractitionerRole",
    "occasion": "Observation",
    "support-question": "Observation",
    "strength": "Observation",
    "worry": "Condition",
    "earlier-help": "Observation",
    "analysis": "ClinicalImpression",
    "desired-result": "Observation",
    "goal": "Goal",
    "action": "Task",
    "provision": "ServiceRequest",
    "evaluation": "Task",
    "score": "Observation",
    "safety": "Observation",
    "agreement": "Observation",
    "decision": "Observation",
    "signal": "Observation",
}

_ACTOR_TYPE: dict[ActorType, str] = {
    "resident": "Patient",
    "relative": "RelatedPerson",
    "professional": "PractitionerRole",
    "organisation": "Organization",
}
ACTOR_OF: dict[str, ActorType] = {name: actor for actor, name in _ACTOR_TYPE.items()} | {"Practitioner": "professional"}
_ACTOR_NL: dict[ActorType, str] = {
    "resident": "inwoner",
    "relative": "naaste",
    "professional": "professional",
    "organisation": "organisatie",
}
_ANYBODY: frozenset[ActorType] = frozenset(_ACTOR_TYPE)
_NO_ORGANISATION = _ANYBODY - {"organisation"}

SPEAKER: dict[str, tuple[str, frozenset[ActorType]]] = {
    "Observation": ("performer", _ANYBODY),
    "Condition": ("asserter", _NO_ORGANISATION),
    "ClinicalImpression": ("assessor", frozenset({"professional"})),
    "Goal": ("expressedBy", _NO_ORGANISATION),
    "Task": ("requester", _ANYBODY),
    "ServiceRequest": ("requester", _ANYBODY),
}
"""The element for who said it, and whom R4 allows in it."""

SUBJECT = {"Task": "for"}
NO_SUBJECT = frozenset({"RelatedPerson", "PractitionerRole", "Practitioner"})


def code_system(name: str) -> str:
    """Return the canonical URL of one of our code systems."""
    return f"{BASE}/CodeSystem/{name}"


def definition(name: str) -> str:
    """Return the canonical URL of one of our profiles or extensions."""
    return f"{BASE}/StructureDefinition/{name}"


def filled(element: Resource) -> Resource:
    """Return the element without what is absent: FHIR JSON knows no null, empty text, list or object."""
    return {name: value for name, value in element.items() if value or isinstance(value, int)}


def coding(system: str, code: str) -> Resource:
    """Return a Coding of one of our own systems; the display stands in the published CodeSystem."""
    return {"system": code_system(system), "code": code}


def concept(system: str, code: str | None, text: str | None = None) -> Resource:
    """Return a CodeableConcept of one of our own systems; empty when it would say nothing."""
    found: Resource = {"coding": [coding(system, code)]} if code else {}
    if text:
        found["text"] = text
    return found


def extension(name: str, **value: Any) -> Resource:
    """Return one of our published extensions."""
    return {"url": definition(name), **value}


def reference(resource_type: str, resource_id: str) -> Resource:
    """Return a relative reference."""
    return {"reference": f"{resource_type}/{resource_id}"}


def part_reference(part_id: str, resource_type: str | None) -> Resource:
    """Return a reference to a part by its id, and to the resource that it is; of a Patient, who is two parts, the type only."""
    found: Resource = {"identifier": {"system": PART_SYSTEM, "value": part_id}}
    if resource_type == "Patient":
        return {"type": resource_type, **found}
    return {**reference(resource_type, part_id), **found} if resource_type else found


def actor_reference(actor: Actor) -> Resource:
    """Return who it is; only the kind of person in a generic word when the reader may not know who."""
    resource_type = _ACTOR_TYPE[actor.type]
    if actor.ref is None:
        return {"type": resource_type, "display": _ACTOR_NL[actor.type]}
    return reference(resource_type, actor.ref)


def day(moment: date | None) -> str | None:
    """Return an ISO date."""
    return moment.isoformat() if moment else None


def period(start: date | None, end: date | None) -> Resource:
    """Return a Period; empty when neither day is known."""
    found: Resource = {"start": start.isoformat()} if start else {}
    if end:
        found["end"] = end.isoformat()
    return found


@lru_cache(maxsize=64)
def group_id(subjects: tuple[str, ...]) -> str:
    """Return the id of the Group of these residents: the same for the same people, in whatever order.

    Kept in hand because every part about the household asks for it; a view has few such groups.
    """
    return sha256("\n".join(sorted(subjects)).encode()).hexdigest()[:32]


def subject_reference(subjects: tuple[str, ...]) -> Resource:
    """Return the one Patient, or the Group of several."""
    return reference("Patient", subjects[0]) if len(subjects) == 1 else reference("Group", group_id(subjects))


_NORMAL: Resource = {"system": CONFIDENTIALITY, "code": "N"}
_RESTRICTED: Resource = {"system": CONFIDENTIALITY, "code": "R"}
_DOMAIN: dict[Domain, Resource] = {domain: coding("life-domain", domain) for domain in DOMAINS}


def security(label: Label) -> Resource:
    """Return the confidentiality of a part."""
    return _RESTRICTED if label.sensitivity == "restricted" else _NORMAL


def part_to_element(resource_type: str, part: AnyPart, stamp: Resource, profile: str | None = None) -> Resource:
    """Return what every part becomes alike: type, id, meta (over `stamp`, the plan's version), subject, speaker, extensions."""
    label = part.label
    element, allowed = SPEAKER.get(resource_type, ("", frozenset()))
    native = label.speaker is not None and label.speaker.type in allowed
    resource: Resource = {"resourceType": resource_type, "id": part.id, "meta": _meta(label, stamp, profile)}
    if extensions := [*_subject_extension(resource_type, label), *label_extensions(label, speaker=not native)]:
        resource["extension"] = extensions
    if resource_type not in NO_SUBJECT:
        resource[SUBJECT.get(resource_type, "subject")] = subject_reference(label.subjects)
    if native and label.speaker:
        speaker = actor_reference(label.speaker)
        resource[element] = [speaker] if element == "performer" else speaker
    return resource


def label_extensions(label: Label, *, speaker: bool = True) -> list[Resource]:
    """Return what R4 has no element for: who is mentioned, who recorded it, and the speaker where no element takes them."""
    found = [
        extension("mentioned", valueReference=reference("RelatedPerson", relative)) for relative in label.mentioned
    ]
    if speaker and label.speaker:
        found.append(extension("speaker", valueReference=actor_reference(label.speaker)))
    if label.recorded_by:
        recorder = reference("Organization", label.recorded_by.organisation)
        found.append(extension("recorded-by", valueReference=recorder))
        if label.recorded_by.secrecy:
            found.append(extension("recorded-under-secrecy", valueBoolean=True))
    return found


def _meta(label: Label, stamp: Resource, profile: str | None) -> Resource:
    meta = {**stamp, "security": [security(label)]}
    tags = [_DOMAIN[label.domain]] if label.domain else []
    if label.law != "none":
        tags.append(coding("law", label.law))
    if tags:
        meta["tag"] = tags
    if profile:
        meta["profile"] = [profile]
    return meta


def _subject_extension(resource_type: str, label: Label) -> list[Resource]:
    one_patient = resource_type == "RelatedPerson" and len(label.subjects) == 1
    if resource_type not in NO_SUBJECT or one_patient:
        return []
    return [extension("subject", valueReference=subject_reference(label.subjects))]
