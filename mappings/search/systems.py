"""The code system that R4 implies where an element is a bare `code` (https://hl7.org/fhir/R4/search.html#token).

Source: the required bindings of 4.0.1. Only elements that a search parameter leads to are here.
"""

_HL7 = "http://hl7.org/fhir/"
_GENDER = "administrative-gender"

BOOLEAN = "http://terminology.hl7.org/CodeSystem/special-values"
"""The implied system of true and false."""

_IMPLIED = {
    "AuditEvent.action": "audit-event-action",
    "AuditEvent.outcome": "audit-event-outcome",
    "CarePlan.intent": "request-intent",
    "CarePlan.status": "request-status",
    "CareTeam.status": "care-team-status",
    "ClinicalImpression.status": "event-status",
    "Consent.status": "consent-state-codes",
    "Goal.lifecycleStatus": "goal-status",
    "Group.type": "group-type",
    "Observation.status": "observation-status",
    "Patient.gender": _GENDER,
    "Practitioner.gender": _GENDER,
    "RelatedPerson.gender": _GENDER,
    "ServiceRequest.intent": "request-intent",
    "ServiceRequest.priority": "request-priority",
    "ServiceRequest.status": "request-status",
    "Task.intent": "request-intent",
    "Task.priority": "request-priority",
    "Task.status": "task-status",
}


def implied_system(element: str, code: str) -> str:
    """Return the system of a bare code in an element such as `Task.status`, "" where R4 fixes none (a uri, for one)."""
    if element == "Task.intent" and code == "unknown":
        return f"{_HL7}task-intent"
    name = _IMPLIED.get(element)
    return _HL7 + name if name else ""
