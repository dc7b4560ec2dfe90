"""Part of a resource, as `_summary` and `_elements` ask for it (https://hl7.org/fhir/R4/search.html#summary).

The tables hold the elements of R4 4.0.1 that are marked as summary (Σ), and those that always stay: the mandatory ones, by R4, by
our own profiles and by org-1, and those that modify the meaning of others
(https://hl7.org/fhir/R4/conformance-rules.html#isModifier). A summary element stays whole: half of a Consent's provision would say
that a choice about one organisation is about everybody.

What is left carries the tag SUBSETTED, so that nobody writes it back for the whole (https://hl7.org/fhir/R4/resource.html#Meta).
"""

from mappings.elements import Resource
from mappings.search.query import Query

SUBSETTED: Resource = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}

_ALWAYS = frozenset({"resourceType", "id", "meta", "implicitRules", "modifierExtension"})
_CHOICES = (
    "abatement",
    "asNeeded",
    "deceased",
    "effective",
    "occurrence",
    "occurred",
    "onset",
    "quantity",
    "source",
    "start",
    "value",
)
_TYPES = (
    "Age",
    "Boolean",
    "CodeableConcept",
    "Date",
    "DateTime",
    "Instant",
    "Integer",
    "Period",
    "Quantity",
    "Range",
    "Ratio",
)
_MORE_TYPES = ("Attachment", "Reference", "SampledData", "String", "Time", "Timing")
_CHOICE = {f"{name}{of}": name for name in _CHOICES for of in (*_TYPES, *_MORE_TYPES)}
"""Property → element: `valueString` is one of `value[x]`. `multipleBirth[x]`, which nothing renders, is not here."""

_KEPT = {
    "AuditEvent": "type recorded agent source",
    "CarePlan": "status intent subject category title",
    "CareTeam": "status",
    "ClinicalImpression": "status subject",
    "Condition": "clinicalStatus verificationStatus subject",
    "Consent": "status scope category",
    "Goal": "lifecycleStatus description subject",
    "Group": "type actual",
    "Observation": "status code",
    "Organization": "active name",
    "Patient": "active deceased link",
    "Practitioner": "",
    "PractitionerRole": "",
    "Provenance": "target recorded agent",
    "RelatedPerson": "active patient",
    "ServiceRequest": "status intent doNotPerform subject",
    "Task": "status intent code for",
}
_SUMMARY = {
    "AuditEvent": "type subtype action recorded outcome outcomeDesc purposeOfEvent",
    "CarePlan": "identifier instantiatesCanonical instantiatesUri basedOn replaces partOf status intent category title description"
    " subject encounter period created author addresses",
    "CareTeam": "identifier status category name subject encounter period managingOrganization",
    "ClinicalImpression": "identifier status code description subject encounter effective date assessor problem",
    "Condition": "identifier clinicalStatus verificationStatus code bodySite subject encounter onset recordedDate recorder asserter",
    "Consent": "identifier status scope category patient dateTime performer organization source policyRule verification provision",
    "Goal": "lifecycleStatus achievementStatus category priority description subject start statusDate expressedBy",
    "Group": "identifier active type actual code name quantity managingEntity",
    "Observation": "identifier basedOn partOf status code subject focus encounter effective issued performer value hasMember"
    " derivedFrom component",
    "Organization": "identifier active type name partOf",
    "Patient": "identifier active name telecom gender birthDate deceased address managingOrganization link",
    "Practitioner": "identifier active name telecom address gender birthDate",
    "PractitionerRole": "identifier active period practitioner organization code specialty location telecom",
    "Provenance": "target recorded",
    "RelatedPerson": "identifier active patient relationship name telecom gender birthDate address",
    "ServiceRequest": "identifier instantiatesCanonical instantiatesUri basedOn replaces requisition status intent category priority"
    " doNotPerform code orderDetail quantity subject encounter occurrence asNeeded authoredOn requester performerType performer"
    " locationCode locationReference reasonCode reasonReference specimen bodySite patientInstruction",
    "Task": "instantiatesCanonical instantiatesUri basedOn groupIdentifier partOf status statusReason businessStatus intent code"
    " description focus for encounter executionPeriod lastModified requester owner location",
}


def projected(resource: Resource, query: Query) -> Resource:
    """Return as much of a resource as the search asks for; the resource itself stays as it is.

    `_elements` is about the type that is searched, not about what comes along, and gives way to a `_summary`. Of `_summary=count`, which
    shows no resource at all, what remains is what always stays. A type without a table is returned whole.
    """
    resource_type = resource["resourceType"]
    if resource_type not in _KEPT:
        return resource
    match query.summary:
        case "true":
            return _only(resource, _SUMMARY[resource_type].split())
        case "text":
            return _only(resource, ["text"])
        case "count":
            return _only(resource, [])
        case "data":
            return _tagged({name: value for name, value in resource.items() if name.removeprefix("_") != "text"})
    if query.elements and resource_type == query.type:
        return _only(resource, list(query.elements))
    return resource


def _only(resource: Resource, elements: list[str]) -> Resource:
    wanted = _ALWAYS.union(elements, _KEPT[resource["resourceType"]].split())
    return _tagged({name: value for name, value in resource.items() if wanted & {name, _element(name)}})


def _element(name: str) -> str:
    """Return the element of a JSON property: without the `_` of its extensions, and without the type of a choice."""
    plain = name.removeprefix("_")
    return _CHOICE.get(plain, plain)


def _tagged(resource: Resource) -> Resource:
    meta = resource.get("meta", {})
    tags = meta.get("tag", [])
    return resource | {"meta": {**meta, "tag": tags if SUBSETTED in tags else [*tags, SUBSETTED]}}
