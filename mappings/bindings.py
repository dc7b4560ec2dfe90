"""The required bindings of R4 4.0.1: which codes an element may hold, by type and element.

Source: the StructureDefinitions and value sets of 4.0.1 (https://hl7.org/fhir/R4/terminologies.html#required), for the resources that
make up a plan, a choice or an account of what was shared, and for the datatypes in them. `fhir.resources` knows part of these codes as
a remark and enforces none. Types go by the name of their model: `CarePlanActivityDetail` is CarePlan.activity.detail.

Left out, since their value sets are grammars or lists of others: MIME types (Attachment.contentType, Signature), languages (BCP 47),
currencies (ISO 4217).
"""

from collections.abc import Iterator
from typing import Any

from mappings.errors import Finding

_GENDER = "male female other unknown"
_REQUEST = "draft active on-hold revoked completed entered-in-error unknown"
_PRIORITY = "routine urgent asap stat"
_COMPARATOR = "< <= >= >"
_UNITS = "s min h d wk mo a"
_DAYS = "mon tue wed thu fri sat sun"
_EVENTS = (
    "MORN MORN.early MORN.late NOON AFT AFT.early AFT.late EVE EVE.early EVE.late NIGHT PHS"
    " HS WAKE C CM CD CV AC ACM ACD ACV PC PCM PCD PCV"
)

_CODES = {
    "CarePlan.status": _REQUEST,
    "CarePlan.intent": "proposal plan order option",
    "CarePlanActivityDetail.kind": "Appointment CommunicationRequest DeviceRequest MedicationRequest NutritionOrder Task ServiceRequest"
    " VisionPrescription",
    "CarePlanActivityDetail.status": "not-started scheduled in-progress on-hold completed cancelled stopped unknown entered-in-error",
    "Goal.lifecycleStatus": "proposed planned accepted active on-hold completed cancelled entered-in-error rejected",
    "Task.status": "draft requested received accepted rejected ready cancelled in-progress on-hold failed completed entered-in-error",
    "Task.intent": "unknown proposal plan order original-order reflex-order filler-order instance-order option",
    "Task.priority": _PRIORITY,
    "Consent.status": "draft proposed active rejected inactive entered-in-error",
    "ConsentProvision.type": "deny permit",
    "ConsentProvisionData.meaning": "instance related dependents authoredby",
    "Patient.gender": _GENDER,
    "PatientContact.gender": _GENDER,
    "PatientLink.type": "replaced-by replaces refer seealso",
    "RelatedPerson.gender": _GENDER,
    "Practitioner.gender": _GENDER,
    "PractitionerRoleAvailableTime.daysOfWeek": _DAYS,
    "CareTeam.status": "proposed active suspended inactive entered-in-error",
    "Observation.status": "registered preliminary final amended corrected cancelled entered-in-error unknown",
    "ClinicalImpression.status": "in-progress completed entered-in-error",
    "ServiceRequest.status": _REQUEST,
    "ServiceRequest.intent": "proposal plan directive order original-order reflex-order filler-order instance-order option",
    "ServiceRequest.priority": _PRIORITY,
    "Group.type": "person animal practitioner device medication substance",
    "ProvenanceEntity.role": "derivation revision quotation source removal",
    "AuditEvent.action": "C R U D E",
    "AuditEvent.outcome": "0 4 8 12",
    "AuditEventAgentNetwork.type": "1 2 3 4 5",
    "Bundle.type": "document message transaction transaction-response batch batch-response history searchset collection",
    "BundleEntrySearch.mode": "match include outcome",
    "BundleEntryRequest.method": "GET HEAD POST PUT DELETE PATCH",
    "Address.use": "home work temp old billing",
    "Address.type": "postal physical both",
    "ContactPoint.system": "phone fax email pager url sms other",
    "ContactPoint.use": "home work temp old mobile",
    "HumanName.use": "usual official temp nickname anonymous old maiden",
    "Identifier.use": "usual official temp secondary old",
    "Narrative.status": "generated extensions additional empty",
    "Quantity.comparator": _COMPARATOR,
    "Age.comparator": _COMPARATOR,
    "Count.comparator": _COMPARATOR,
    "Distance.comparator": _COMPARATOR,
    "Duration.comparator": _COMPARATOR,
    "TimingRepeat.durationUnit": _UNITS,
    "TimingRepeat.periodUnit": _UNITS,
    "TimingRepeat.dayOfWeek": _DAYS,
    "TimingRepeat.when": _EVENTS,
    "Contributor.type": "author editor reviewer endorser",
    "DataRequirementSort.direction": "ascending descending",
    "ParameterDefinition.use": "in out",
    "RelatedArtifact.type": "documentation justification citation predecessor successor derived-from depends-on composed-of",
    "TriggerDefinition.type": "named-event periodic data-changed data-added data-modified data-removed data-accessed data-access-ended",
}
REQUIRED: dict[str, frozenset[str]] = {element: frozenset(codes.split()) for element, codes in _CODES.items()}
"""Type and element → the codes that it may hold."""

CONCEPTS: dict[str, tuple[str, frozenset[str]]] = {
    "Condition.clinicalStatus": (
        "http://terminology.hl7.org/CodeSystem/condition-clinical",
        frozenset({"active", "recurrence", "relapse", "inactive", "remission", "resolved"}),
    ),
    "Condition.verificationStatus": (
        "http://terminology.hl7.org/CodeSystem/condition-ver-status",
        frozenset({"unconfirmed", "provisional", "differential", "confirmed", "refuted", "entered-in-error"}),
    ),
}
"""Type and element → code system and codes, of which a CodeableConcept must hold at least one."""


def findings(place: str, value: Any, pointer: str) -> Iterator[Finding]:
    """Yield what a required binding forbids in the element `place`, such as `Goal.lifecycleStatus`."""
    if codes := REQUIRED.get(place):
        several = isinstance(value, list)
        for at, code in enumerate(value if several else [value]):
            if isinstance(code, str) and code not in codes:
                remedy = f"give a code that R4 allows here: {', '.join(sorted(codes))}"
                yield Finding(pointer=f"{pointer}/{at}" if several else pointer, code="code", remedy=remedy)
    elif place in CONCEPTS and not _holds(value, *CONCEPTS[place]):
        system, codes = CONCEPTS[place]
        remedy = f"give a coding of {system} with one of: {', '.join(sorted(codes))}"
        yield Finding(pointer=pointer, code="code", remedy=remedy)


def _holds(concept: Any, system: str, codes: frozenset[str]) -> bool:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return any(
        isinstance(each, dict) and each.get("system") == system and str(each.get("code")) in codes
        for each in (codings if isinstance(codings, list) else ())
    )
