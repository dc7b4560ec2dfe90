"""What FHIR from outside must be: every refusal has its pointer, its code and a remedy, and never repeats the value."""

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plans import support_plans

import mappings
from mappings import bindings, conformance, invariants
from mappings.bundle import encode_bundle, plan_to_bundle
from mappings.document import MAX_FINDINGS
from mappings.edge import check_bundle, check_resource
from mappings.errors import MappingError
from mappings.plan import SupportPlan

EXAMPLES = Path(mappings.__file__).parent / "profiles" / "examples"
BUNDLES = sorted((Path(mappings.__file__).parent / "formats").glob("*/examples/*/bundle.json"))
OWN = "https://planbrug.nl/fhir"
XHTML = "http://www.w3.org/1999/xhtml"
SECRET = "geheim-999900006"
UCUM = "http://unitsofmeasure.org"
VALUED = {"url": "https://voorbeeld.nl/waarde"}
HL7 = "http://terminology.hl7.org/CodeSystem"

PATIENT = {"reference": "Patient/anna"}
TEXT = {"text": "x"}
CAREPLAN = {"resourceType": "CarePlan", "id": "plan", "status": "active", "intent": "plan", "subject": PATIENT}
GOAL = {"resourceType": "Goal", "id": "doel", "lifecycleStatus": "active", "description": TEXT, "subject": PATIENT}
TASK = {"resourceType": "Task", "id": "actie", "status": "requested", "intent": "plan"}
OBSERVATION = {"resourceType": "Observation", "id": "o", "status": "final", "code": TEXT}
CONDITION = {"resourceType": "Condition", "id": "c", "subject": PATIENT}
ORDER = {"resourceType": "ServiceRequest", "id": "v", "status": "active", "intent": "order", "subject": PATIENT}
ANNA = {"resourceType": "Patient", "id": "anna"}
ORGANISATION = {"resourceType": "Organization", "id": "wijkteam", "name": "Wijkteam"}
GROUP = {"resourceType": "Group", "id": "g", "type": "person", "actual": True}
TEAM = {"resourceType": "CareTeam", "id": "team"}
CONSENT = {
    "resourceType": "Consent",
    "id": "keuze",
    "status": "active",
    "scope": TEXT,
    "category": [TEXT],
    "policyRule": TEXT,
}
AUDIT = {
    "resourceType": "AuditEvent",
    "id": "a",
    "type": {"system": "https://voorbeeld.nl", "code": "x"},
    "recorded": "2026-09-01T12:00:00Z",
    "agent": [{"requestor": True}],
    "source": {"observer": {"reference": "Organization/wijkteam"}},
}
PROVENANCE = {
    "resourceType": "Provenance",
    "id": "p",
    "target": [PATIENT],
    "recorded": "2026-09-01T12:00:00Z",
    "agent": [{"who": {"reference": "Organization/wijkteam"}}],
}
BUNDLE = {"resourceType": "Bundle", "type": "collection"}


def extension(value: str = "x") -> dict[str, Any]:
    """Return an extension of somebody else, which is allowed."""
    return {"url": "https://voorbeeld.nl/iets", "valueString": value}


def own(name: str, **value: Any) -> dict[str, Any]:
    """Return one of our own extensions."""
    return {"url": f"{OWN}/StructureDefinition/{name}", **value}


def concept(system: str, code: str) -> dict[str, Any]:
    """Return a CodeableConcept of one coding."""
    return {"coding": [{"system": system, "code": code}]}


def told(inner: str) -> dict[str, Any]:
    """Return a Patient with this in its narrative."""
    return ANNA | {"text": {"status": "generated", "div": f'<div xmlns="{XHTML}">{inner}</div>'}}


def profiled(change: dict[str, Any], *lacking: str) -> dict[str, Any]:
    """Return a CarePlan that claims our profile, with a change and without some elements."""
    careplan = CAREPLAN | {
        "meta": {"profile": [f"{OWN}/StructureDefinition/planbrug-careplan"]},
        "category": [
            concept(f"{OWN}/CodeSystem/plan-phase", "agreed"),
            concept(f"{OWN}/CodeSystem/instrument", "plan-van-aanpak"),
        ],
        "title": "Ondersteuningsplan",
    }
    return {name: value for name, value in (careplan | change).items() if name not in lacking}


def profiled_task(change: dict[str, Any], *lacking: str) -> dict[str, Any]:
    """Return a Task that claims our profile, with a change and without some elements."""
    task = TASK | {
        "meta": {"profile": [f"{OWN}/StructureDefinition/planbrug-task|0.1.0"]},
        "code": concept(f"{OWN}/CodeSystem/part-kind", "action"),
        "for": PATIENT,
    }
    return {name: value for name, value in (task | change).items() if name not in lacking}


def field(code: str) -> dict[str, Any]:
    """Return the type of an input or output of a Task."""
    return concept(f"{OWN}/CodeSystem/plan-field", code)


def containing(*inner: dict[str, Any], **change: Any) -> dict[str, Any]:
    """Return a CarePlan with contained resources."""
    return CAREPLAN | {"contained": list(inner)} | change


def nested(levels: int) -> dict[str, Any]:
    """Return a Patient with an extension in an extension, and so on."""
    inner: dict[str, Any] = extension()
    for _ in range(levels):
        inner = {"url": "https://voorbeeld.nl/iets", "extension": [inner]}
    return ANNA | {"extension": [inner]}


def entry(resource: dict[str, Any], **change: Any) -> dict[str, Any]:
    """Return an entry of a collection."""
    return {
        "fullUrl": f"https://voorbeeld.nl/fhir/{resource['resourceType']}/{resource['id']}",
        "resource": resource,
        **change,
    }


def bundled(*entries: dict[str, Any], **change: Any) -> dict[str, Any]:
    """Return a collection."""
    return BUNDLE | {"entry": list(entries)} | change


def example(path: str) -> dict[str, Any]:
    """Return one of our own examples."""
    found: dict[str, Any] = json.loads((EXAMPLES / path).read_bytes())
    return found


def _without(resource: dict[str, Any], *path: Any) -> dict[str, Any]:
    """Return a copy of a resource without one element."""
    found: Any = copy.deepcopy(resource)
    place = found
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return dict(found)


CONSENT_OF_OURS = example("een-doel-voor-een-aanbieder/consent.json")
AUDIT_OF_OURS = example("afgeleverd-met-toestemming/auditevent.json")
PROVENANCE_OF_OURS = example("herkomst-van-een-deelweergave/provenance.json")

VALID = {
    "a Consent of ours": CONSENT_OF_OURS,
    "an AuditEvent of ours": AUDIT_OF_OURS,
    "a Provenance of ours": PROVENANCE_OF_OURS,
    "a CarePlan": CAREPLAN,
    "a Goal": GOAL,
    "a Task": TASK,
    "an Observation": OBSERVATION,
    "a Condition": CONDITION,
    "a ServiceRequest": ORDER,
    "a Patient": ANNA,
    "an Organization": ORGANISATION,
    "a Group": GROUP,
    "a CareTeam": TEAM,
    "a Consent": CONSENT,
    "an AuditEvent": AUDIT,
    "a Provenance": PROVENANCE,
    "an empty Bundle": BUNDLE,
    "a CarePlan of our profile": profiled({}),
    "a Task of our profile": profiled_task({}),
    "an extension of others": ANNA | {"extension": [extension()]},
    "an unknown extension under our own base": ANNA | {"extension": [own("nog-onbekend", valueString="x")]},
    "a null beside its reason": ANNA
    | {"name": [{"given": ["Anna", None], "_given": [None, {"extension": [extension()]}]}]},
    "an id beside its value": ANNA | {"birthDate": "1990-01-01", "_birthDate": {"id": "x"}},
    "a value that only an extension tells": ANNA | {"_birthDate": {"extension": [extension()]}},
    "a contained resource that is used": containing(
        {"resourceType": "Goal", "id": "g", "lifecycleStatus": "active", "description": TEXT, "subject": PATIENT},
        goal=[{"reference": "#g"}],
    ),
    "a contained resource that refers to its container": ANNA | {"contained": [GOAL | {"subject": {"reference": "#"}}]},
    "a version of a resource": CAREPLAN | {"subject": {"reference": "Patient/anna/_history/2"}},
    "a reference elsewhere": CAREPLAN | {"subject": {"reference": "https://voorbeeld.nl/fhir/Patient/anna"}},
    "a search for a resource": CAREPLAN | {"subject": {"reference": "Patient?identifier=x"}},
    "a logical reference": CAREPLAN | {"subject": {"type": "Patient", "identifier": {"value": "x"}}},
    "a canonical type": CAREPLAN
    | {"subject": {"type": "http://hl7.org/fhir/StructureDefinition/Patient", "display": "x"}},
    "an age and a duration": CONDITION
    | {"onsetAge": {"value": 3, "code": "a", "system": UCUM}, "abatementString": "x"}
    | {"clinicalStatus": concept(f"{HL7}/condition-clinical", "resolved")},
    "a count": ANNA | {"extension": [VALUED | {"valueCount": {"value": 3, "code": "1", "system": UCUM}}]},
    "a period in one day": CAREPLAN | {"period": {"start": "2026-09-01T10:00:00+02:00", "end": "2026-09-01"}},
    "text with white space around it": ANNA | {"name": [{"text": " Anna "}]},
    "formatted text": told(
        '<p style="color: red" class="x">Anna<br/><b>en</b> <a href="#x">Bas</a> <a href="Patient/b">b</a></p>'
    ),
    "a picture in it": told('<img alt="x" src="data:image/png;base64,AAAA"/>'),
    "a link to a mailbox": told('<a href="mailto:anna@voorbeeld.nl">a</a> <a href="tel:+31600000000">b</a>'),
    "an actor of a component": OBSERVATION
    | {"component": [{"code": TEXT, "extension": [own("actor", valueReference=PATIENT)]}]},
    "resources by urn": bundled(
        {"fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000000", "resource": {"resourceType": "Patient"}},
        entry(CAREPLAN | {"subject": {"reference": "urn:uuid:00000000-0000-4000-8000-000000000000"}}),
    ),
}
"""What must not be refused, though some of it looks as if it should."""

SHAPE = [
    (ANNA | {"gender": None}, "/gender", "null"),
    (ANNA | {"name": [None]}, "/name/0", "null"),
    (ANNA | {"name": [{"given": ["Anna", None, "Maria"]}]}, "/name/0/given/1", "null"),
    (ANNA | {"name": [{"given": ["Anna", None], "_given": [{"id": "x"}, None]}]}, "/name/0/_given/1", "null"),
    (ANNA | {"name": []}, "/name", "empty"),
    (ANNA | {"name": [{}]}, "/name/0", "empty"),
    (ANNA | {"name": [{"family": ""}]}, "/name/0/family", "empty"),
    (ANNA | {"maritalStatus": {}}, "/maritalStatus", "empty"),
    (ANNA | {"name": [{"family": " \n"}]}, "/name/0/family", "blank"),
    (ANNA | {"maritalStatus": {"id": "x"}}, "/maritalStatus", "ele-1"),
    (ANNA | {"_birthDate": {"id": "x"}}, "/_birthDate", "ele-1"),
    (ANNA | {"name": [{"family": "a\x00b"}]}, "/name/0/family", "text"),
    (ANNA | {"name": [{"family": "\ud800"}]}, "/name/0/family", "text"),
    (ANNA | {"name": [{"\udfff": "x"}]}, "/name/0", "text"),
    (ANNA | {"name": [[["\udfff"]]]}, "/name/0/0/0", "text"),
    (ANNA | {"n" * 200: {"x": None}}, "", "name"),
    (nested(40), "", "depth"),
]
STRUCTURE = [
    *(
        ({name: value for name, value in resource.items() if name != lacking}, f"/{lacking}", "required")
        for resource, *required in (
            (CONSENT, "status", "scope", "category"),
            (AUDIT, "type", "recorded", "agent", "source"),
            (PROVENANCE, "target", "recorded", "agent"),
        )
        for lacking in required
    ),
    (CONSENT | {"provision": {"actor": [{"role": TEXT}]}}, "/provision/actor/0/reference", "required"),
    (CONSENT | {"verification": [{"verificationDate": "2026-09-01"}]}, "/verification/0/verified", "required"),
    (CONSENT | {"sourceReference": {"display": "x"}, "sourceAttachment": {"title": "x"}}, "", "choice"),
    (AUDIT | {"entity": [{"detail": [{"type": "x"}]}]}, "/entity/0/detail/0", "choice"),
    ({"resourceType": "Bogus"}, "/resourceType", "resource-type"),
    ({"resourceType": "Identifier"}, "/resourceType", "resource-type"),
    ({"resourceType": "SubscriptionTopic"}, "/resourceType", "resource-type"),
    ({"active": True}, "/resourceType", "resource-type"),
    ({"resourceType": ["Patient"]}, "/resourceType", "resource-type"),
    (ANNA | {SECRET: "x"}, f"/{SECRET}", "extra-forbidden"),
    (ANNA | {"a/b~c": "x"}, "/a~1b~0c", "extra-forbidden"),
    (ANNA | {"fhir_comments": "x"}, "/fhir_comments", "extra-forbidden"),
    (TASK | {"for_fhir": PATIENT}, "/for_fhir", "extra-forbidden"),
    (TASK | {"status__ext": {"extension": [extension()]}}, "/status__ext", "extra-forbidden"),
    (CAREPLAN | {"subject": PATIENT | {"resourceType": "Reference"}}, "/subject/resourceType", "extra-forbidden"),
    (ANNA | {"name": {"family": "Berg"}}, "/name", "type"),
    (ANNA | {"gender": ["female"]}, "/gender", "type"),
    (ANNA | {"active": "true"}, "/active", "type"),
    (ANNA | {"active": 1}, "/active", "type"),
    (ANNA | {"birthDate": 19900101}, "/birthDate", "type"),
    (ANNA | {"multipleBirthInteger": "2"}, "/multipleBirthInteger", "type"),
    (ANNA | {"multipleBirthInteger": True}, "/multipleBirthInteger", "type"),
    (OBSERVATION | {"valueQuantity": {"value": "3"}}, "/valueQuantity/value", "type"),
    (CAREPLAN | {"subject": json.dumps(PATIENT)}, "/subject", "type"),
    (CAREPLAN | {"contained": ["x"]}, "/contained/0", "type"),
    (ANNA | {"birthDate": "1990-02-31"}, "/birthDate", "format"),
    (ANNA | {"id": "met spatie"}, "/id", "format"),
    (ANNA | {"id": "a" * 65}, "/id", "format"),
    (OBSERVATION | {"effectiveDateTime": "2026-09-01T10:00:00"}, "/effectiveDateTime", "format"),
    (ANNA | {"telecom": [{"system": "phone", "rank": 0}]}, "/telecom/0/rank", "format"),
    (
        ANNA | {"extension": [{"url": "https://voorbeeld.nl/x", "valueRatioRange": {"lowNumerator": {"value": 1}}}]},
        "/extension/0/valueRatioRange",
        "extra-forbidden",
    ),
    (ANNA | {"meta": {"source": "geen adres"}}, "/meta/source", "format"),
    (ANNA | {"gender": " female"}, "/gender", "code"),
    (ANNA | {"deceasedBoolean": True, "deceasedDateTime": "2026-01-01"}, "", "choice"),
    ({"resourceType": "CarePlan", "status": "active", "intent": "plan"}, "/subject", "required"),
    ({"resourceType": "CarePlan", "intent": "plan", "subject": PATIENT}, "/status", "required"),
    (GROUP | {"characteristic": [{"code": TEXT, "exclude": False}]}, "/characteristic/0", "choice"),
    (containing({"resourceType": "Bogus", "id": "b"}), "/contained/0/resourceType", "resource-type"),
    (bundled({"resource": {"resourceType": "Bogus"}}), "/entry/0/resource/resourceType", "resource-type"),
    (
        {"resourceType": "Parameters", "parameter": [{"name": "x", "resource": {"resourceType": "Bogus"}}]},
        "/parameter/0/resource/resourceType",
        "resource-type",
    ),
]
CODES = [
    (CAREPLAN | {"status": SECRET}, "/status", "code"),
    (CAREPLAN | {"intent": "directive"}, "/intent", "code"),
    (CAREPLAN | {"activity": [{"detail": {"status": "bogus"}}]}, "/activity/0/detail/status", "code"),
    (GOAL | {"lifecycleStatus": "bogus"}, "/lifecycleStatus", "code"),
    (TASK | {"status": "bogus"}, "/status", "code"),
    (OBSERVATION | {"status": "bogus"}, "/status", "code"),
    (ANNA | {"gender": "F"}, "/gender", "code"),
    (ANNA | {"name": [{"use": "bogus"}]}, "/name/0/use", "code"),
    (ANNA | {"telecom": [{"system": "telefoon"}]}, "/telecom/0/system", "code"),
    (ANNA | {"text": {"status": "bogus", "div": told("x")["text"]["div"]}}, "/text/status", "code"),
    (CONDITION | {"clinicalStatus": TEXT}, "/clinicalStatus", "code"),
    (CONDITION | {"verificationStatus": concept("https://voorbeeld.nl", "confirmed")}, "/verificationStatus", "code"),
    (
        CONDITION
        | {"verificationStatus": {"coding": [{"system": f"{HL7}/condition-ver-status", "code": ["confirmed"]}]}},
        "/verificationStatus/coding/0/code",
        "type",
    ),
    (
        {"resourceType": "PractitionerRole", "availableTime": [{"daysOfWeek": ["mon", "ma"]}]},
        "/availableTime/0/daysOfWeek/1",
        "code",
    ),
    (OBSERVATION | {"valueQuantity": {"value": 1, "comparator": "~"}}, "/valueQuantity/comparator", "code"),
    (
        OBSERVATION | {"effectiveTiming": {"repeat": {"period": 1, "periodUnit": "week"}}},
        "/effectiveTiming/repeat/periodUnit",
        "code",
    ),
    (BUNDLE | {"type": "bogus"}, "/type", "code"),
    (AUDIT | {"outcome": "1"}, "/outcome", "code"),
    (AUDIT | {"action": "X"}, "/action", "code"),
    (AUDIT | {"agent": [{"requestor": True, "network": {"type": "6"}}]}, "/agent/0/network/type", "code"),
    (PROVENANCE | {"entity": [{"role": "bogus", "what": PATIENT}]}, "/entity/0/role", "code"),
    (CONSENT | {"status": "ended"}, "/status", "code"),
    (CONSENT | {"provision": {"type": "allow"}}, "/provision/type", "code"),
    (CONSENT | {"provision": {"provision": [{"type": "allow"}]}}, "/provision/provision/0/type", "code"),
    (
        CONSENT | {"provision": {"data": [{"meaning": "all", "reference": PATIENT}]}},
        "/provision/data/0/meaning",
        "code",
    ),
    (
        containing(GOAL | {"lifecycleStatus": "bogus"}, goal=[{"reference": "#doel"}]),
        "/contained/0/lifecycleStatus",
        "code",
    ),
]
TARGETS = [
    (CAREPLAN | {"subject": {"reference": "Goal/doel"}}, "/subject/reference", "reference-type"),
    (CAREPLAN | {"subject": {"reference": "Bogus/x"}}, "/subject/reference", "reference-type"),
    (
        CAREPLAN | {"subject": {"reference": "https://voorbeeld.nl/fhir/Goal/doel"}},
        "/subject/reference",
        "reference-type",
    ),
    (CAREPLAN | {"subject": {"reference": "Goal?identifier=x"}}, "/subject/reference", "reference-type"),
    (CAREPLAN | {"subject": {"reference": "anna"}}, "/subject/reference", "reference"),
    (CAREPLAN | {"subject": {"type": "Goal", "display": "x"}}, "/subject/type", "reference-type"),
    (CAREPLAN | {"subject": PATIENT | {"type": "Group"}}, "/subject/type", "reference-type"),
    (CAREPLAN | {"goal": [{"reference": "Goal/a"}, {"reference": "Task/b"}]}, "/goal/1/reference", "reference-type"),
    (OBSERVATION | {"subject": {"reference": "Organization/x"}}, "/subject/reference", "reference-type"),
    (
        GROUP | {"member": [{"entity": {"reference": "RelatedPerson/x"}}]},
        "/member/0/entity/reference",
        "reference-type",
    ),
    (CONSENT | {"performer": [{"reference": "Device/x"}]}, "/performer/0/reference", "reference-type"),
    (
        CONSENT | {"provision": {"actor": [{"role": TEXT, "reference": {"reference": "Task/x"}}]}},
        "/provision/actor/0/reference/reference",
        "reference-type",
    ),
    (
        CONSENT | {"verification": [{"verified": True, "verifiedWith": {"reference": "Practitioner/x"}}]},
        "/verification/0/verifiedWith/reference",
        "reference-type",
    ),
    (
        AUDIT | {"agent": [{"requestor": True, "who": {"reference": "CareTeam/x"}}]},
        "/agent/0/who/reference",
        "reference-type",
    ),
    (AUDIT | {"source": {"observer": {"reference": "Group/x"}}}, "/source/observer/reference", "reference-type"),
    (PROVENANCE | {"agent": [{"who": {"reference": "Group/x"}}]}, "/agent/0/who/reference", "reference-type"),
    (TASK | {"focus": {"reference": "Bogus/x"}}, "/focus/reference", "reference-type"),
    (TASK | {"focus": {"type": "Bogus"}}, "/focus/type", "reference-type"),
    (containing(ANNA, goal=[{"reference": "#anna"}]), "/goal/0/reference", "reference-type"),
    (
        bundled(
            {"fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000000", "resource": GOAL},
            entry(CAREPLAN | {"subject": {"reference": "urn:uuid:00000000-0000-4000-8000-000000000000"}}),
        ),
        "/entry/1/resource/subject/reference",
        "reference-type",
    ),
]
RULES = [
    (
        CAREPLAN | {"activity": [{"reference": {"reference": "Task/a"}, "detail": {"status": "unknown"}}]},
        "/activity/0",
        "cpl-3",
    ),
    (GOAL | {"target": [{"detailString": "x"}]}, "/target/0", "gol-1"),
    (TASK | {"authoredOn": "2026-09-02", "lastModified": "2026-09-01"}, "", "inv-1"),
    ({name: value for name, value in CONSENT.items() if name != "policyRule"}, "", "ppc-1"),
    (CONSENT | {"scope": concept(f"{HL7}/consentscope", "patient-privacy")}, "", "ppc-2"),
    (CONSENT | {"scope": concept(f"{HL7}/consentscope", "research")}, "", "ppc-3"),
    (CONSENT | {"scope": concept(f"{HL7}/consentscope", "adr")}, "", "ppc-4"),
    (CONSENT | {"scope": concept(f"{HL7}/consentscope", "treatment")}, "", "ppc-5"),
    (CONDITION | {"stage": [{"type": TEXT}]}, "/stage/0", "con-1"),
    (CONDITION | {"evidence": [{"extension": [extension()]}]}, "/evidence/0", "con-2"),
    (CONDITION | {"abatementString": "x"}, "", "con-4"),
    (
        CONDITION | {"abatementString": "x", "clinicalStatus": concept(f"{HL7}/condition-clinical", "active")},
        "",
        "con-4",
    ),
    (
        CONDITION
        | {
            "clinicalStatus": concept(f"{HL7}/condition-clinical", "active"),
            "verificationStatus": concept(f"{HL7}/condition-ver-status", "entered-in-error"),
        },
        "",
        "con-5",
    ),
    (ANNA | {"contact": [{"gender": "female"}]}, "/contact/0", "pat-1"),
    ({"resourceType": "Organization"}, "", "org-1"),
    (ORGANISATION | {"address": [{"use": "home", "city": "x"}]}, "", "org-2"),
    (ORGANISATION | {"telecom": [{"use": "home", "system": "phone", "value": "x"}]}, "", "org-3"),
    (
        TEAM | {"participant": [{"member": PATIENT, "onBehalfOf": {"reference": "Organization/wijkteam"}}]},
        "/participant/0",
        "ctm-1",
    ),
    (OBSERVATION | {"referenceRange": [{"age": {"high": {"value": 3}}}]}, "/referenceRange/0", "obs-3"),
    (OBSERVATION | {"dataAbsentReason": TEXT, "valueString": "x"}, "", "obs-6"),
    (
        OBSERVATION
        | {
            "code": concept("https://voorbeeld.nl", "x"),
            "valueString": "x",
            "component": [{"code": concept("https://voorbeeld.nl", "x"), "valueString": "x"}],
        },
        "",
        "obs-7",
    ),
    (ORDER | {"orderDetail": [TEXT]}, "", "prr-1"),
    (GROUP | {"actual": False, "member": [{"entity": PATIENT}]}, "", "grp-1"),
    (AUDIT | {"entity": [{"name": "x", "query": "eA=="}]}, "/entity/0", "sev-1"),
    (CAREPLAN | {"subject": {"reference": "#weg"}}, "/subject", "ref-1"),
    (CAREPLAN | {"basedOn": [{"reference": "#"}]}, "/basedOn/0", "ref-1"),
    (CAREPLAN | {"period": {"start": "2026-09-02", "end": "2026-09-01"}}, "/period", "per-1"),
    (
        CAREPLAN | {"period": {"start": "2026-09-01T10:00:00Z", "end": "2026-09-01T11:59:00+02:00"}},
        "/period",
        "per-1",
    ),
    (ANNA | {"extension": [extension() | {"extension": [extension()]}]}, "/extension/0", "ext-1"),
    (ANNA | {"extension": [{"url": "https://voorbeeld.nl/leeg"}]}, "/extension/0", "ext-1"),
    (containing({"resourceType": "Goal", **GOAL}), "/contained/0", "dom-3"),
    (containing(GOAL | {"contained": [ANNA]}, goal=[{"reference": "#doel"}]), "/contained/0", "dom-2"),
    (containing(GOAL | {"meta": {"versionId": "1"}}, goal=[{"reference": "#doel"}]), "/contained/0", "dom-4"),
    (
        containing(GOAL | {"meta": {"security": [{"code": "R"}]}}, goal=[{"reference": "#doel"}]),
        "/contained/0",
        "dom-5",
    ),
    (OBSERVATION | {"valueQuantity": {"value": 1, "code": "kg"}}, "/valueQuantity", "qty-3"),
    (
        GOAL | {"target": [{"dueDuration": {"value": 1, "code": "d", "system": "https://voorbeeld.nl"}}]},
        "/target/0/dueDuration",
        "drt-1",
    ),
    (ANNA | {"extension": [VALUED | {"valueCount": {"value": 3}}]}, "/extension/0/valueCount", "cnt-3"),
    (
        ANNA | {"extension": [VALUED | {"valueCount": {"value": 1.5, "code": "1", "system": UCUM}}]},
        "/extension/0/valueCount",
        "cnt-3",
    ),
    (ANNA | {"extension": [VALUED | {"valueDistance": {"value": 3}}]}, "/extension/0/valueDistance", "dis-1"),
    (
        ANNA | {"extension": [VALUED | {"valueExpression": {"language": "text/fhirpath"}}]},
        "/extension/0/valueExpression",
        "exp-1",
    ),
    (CONDITION | {"onsetAge": {"value": 0, "code": "a", "system": UCUM}}, "/onsetAge", "age-1"),
    (CONDITION | {"onsetAge": {"value": 3}}, "/onsetAge", "age-1"),
    (
        GOAL | {"target": [{"dueDuration": {"code": "d", "system": UCUM}}]},
        "/target/0/dueDuration",
        "drt-1",
    ),
    (OBSERVATION | {"valueRange": {"low": {"value": 2}, "high": {"value": 1}}}, "/valueRange", "rng-2"),
    (OBSERVATION | {"valueRange": {"low": {"value": 2, "comparator": "<"}}}, "/valueRange", "sqt-1"),
    (OBSERVATION | {"valueRatio": {"numerator": {"value": 2}}}, "/valueRatio", "rat-1"),
    (ANNA | {"photo": [{"data": "eA=="}]}, "/photo/0", "att-1"),
    (ANNA | {"telecom": [{"value": "0612345678"}]}, "/telecom/0", "cpt-2"),
    *(
        (OBSERVATION | {"effectiveTiming": {"repeat": repeat}}, "/effectiveTiming/repeat", key)
        for repeat, key in (
            ({"duration": 1}, "tim-1"),
            ({"period": 1}, "tim-2"),
            ({"duration": -1, "durationUnit": "d"}, "tim-4"),
            ({"period": -1, "periodUnit": "d"}, "tim-5"),
            ({"periodMax": 1}, "tim-6"),
            ({"durationMax": 1}, "tim-7"),
            ({"countMax": 1}, "tim-8"),
            ({"offset": 1}, "tim-9"),
            ({"offset": 1, "when": ["CM"]}, "tim-9"),
            ({"timeOfDay": ["12:00:00"], "when": ["CM"]}, "tim-10"),
        )
    ),
    (BUNDLE | {"total": 1}, "", "bdl-1"),
    (bundled(entry(ANNA, search={"mode": "match"})), "/entry/0", "bdl-2"),
    (bundled(entry(ANNA), type="transaction"), "/entry/0", "bdl-3"),
    (bundled(entry(ANNA, request={"method": "PUT", "url": "Patient/anna"})), "/entry/0", "bdl-3"),
    (bundled(entry(ANNA), type="batch-response"), "/entry/0", "bdl-4"),
    (bundled({"fullUrl": "https://voorbeeld.nl/fhir/Patient/x"}), "/entry/0", "bdl-5"),
    (bundled(entry(ANNA), entry(ANNA)), "", "bdl-7"),
    (
        bundled({"fullUrl": "https://voorbeeld.nl/fhir/Patient/anna/_history/1", "resource": ANNA}),
        "/entry/0",
        "bdl-8",
    ),
    (BUNDLE | {"type": "document", "timestamp": "2026-09-01T12:00:00Z"}, "", "bdl-9"),
    (BUNDLE | {"type": "document", "identifier": {"system": "https://voorbeeld.nl", "value": "x"}}, "", "bdl-10"),
    (bundled(entry(ANNA), type="document"), "", "bdl-11"),
    (bundled(entry(ANNA), type="message"), "", "bdl-12"),
]
ENTITIES = "".join(f'<!ENTITY {b} "{f"&{a};" * 9}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
BOMB = f'<!DOCTYPE d [<!ENTITY a "x">{ENTITIES}]>'
"""A narrative that would grow to gigabytes."""
NARRATIVE = [
    (told("<script>x</script>"), "txt-1"),
    (told("<iframe/>x"), "txt-1"),
    (told("<form>x</form>"), "txt-1"),
    (told("<style>x</style>x"), "txt-1"),
    (told('<svg xmlns="http://www.w3.org/2000/svg">x</svg>'), "txt-1"),
    (told("<SCRIPT>x</SCRIPT>"), "txt-1"),
    (told('<p onclick="x()">x</p>'), "txt-1"),
    (told('<p xmlns:x="https://voorbeeld.nl" x:title="x">x</p>'), "txt-1"),
    (told("<p> </p>"), "txt-2"),
    (told('<a href="javascript:x()">x</a>'), "narrative-link"),
    (told('<a href=" java&#10;script:x()">x</a>'), "narrative-link"),
    (told('<a href="https://voorbeeld.nl">x</a>'), "narrative-link"),
    (told('<a href="//voorbeeld.nl">x</a>'), "narrative-link"),
    (told('<q cite="mailto:x">x</q>'), "narrative-link"),
    (told('<img src="https://voorbeeld.nl/x.png"/>'), "narrative-link"),
    (told('<img src="data:image/svg+xml;base64,AAAA"/>'), "narrative-link"),
    (told('<p style="background: URL (x)">x</p>'), "narrative-link"),
    (told('<p style="b\\61ckground: x">x</p>'), "narrative-link"),
    (told("<b>x"), "xhtml"),
    (told("&nbsp;x"), "xhtml"),
    (told("<?php x ?>x"), "xhtml"),
    (told("<b>" * 200 + "x" + "</b>" * 200), "xhtml"),
    (ANNA | {"text": {"status": "generated", "div": "<div>zonder naamruimte</div>"}}, "xhtml"),
    (ANNA | {"text": {"status": "generated", "div": f'<p xmlns="{XHTML}">geen div</p>'}}, "xhtml"),
    (ANNA | {"text": {"status": "generated", "div": f'{BOMB}<div xmlns="{XHTML}">&i;</div>'}}, "xhtml"),
    (
        ANNA
        | {
            "text": {
                "status": "generated",
                "div": f'<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/hostname">]><div xmlns="{XHTML}">&x;</div>',
            }
        },
        "xhtml",
    ),
]
PROFILES = [
    (profiled({"intent": "order"}), "/intent", "profile-fixed"),
    (profiled({"title": "Zorgplan"}), "/title", "profile-fixed"),
    (profiled({}, "title"), "/title", "profile-required"),
    (profiled({}, "category"), "/category", "profile-required"),
    (profiled({"category": [TEXT, concept(f"{OWN}/CodeSystem/instrument", "x")]}), "/category", "profile-required"),
    (
        profiled({"category": [*profiled({})["category"], concept(f"{OWN}/CodeSystem/plan-phase", "ended")]}),
        "/category/2",
        "profile-max",
    ),
    (profiled({"author": PATIENT}), "/author/reference", "reference-type"),
    (
        profiled({"activity": [{"reference": {"reference": "Appointment/x"}}]}),
        "/activity/0/reference/reference",
        "reference-type",
    ),
    (profiled({"activity": [{"detail": {"status": "unknown"}}]}), "/activity/0/detail", "profile-max"),
    (profiled_task({"intent": "order"}), "/intent", "profile-fixed"),
    (profiled_task({}, "for"), "/for", "profile-required"),
    (profiled_task({}, "code"), "/code", "profile-required"),
    (profiled_task({"code": concept("https://voorbeeld.nl", "x")}), "/code/coding/0/system", "profile-fixed"),
    (profiled_task({"for": {"reference": "Organization/x"}}), "/for/reference", "reference-type"),
    (
        profiled_task({"input": [{"type": field("goal"), "valueReference": PATIENT}]}),
        "/input/0/valueReference/reference",
        "reference-type",
    ),
    (
        profiled_task({"input": [{"type": field("frequency"), "valueInteger": 1}]}),
        "/input/0/valueInteger",
        "profile-type",
    ),
    (
        profiled_task({"output": [{"type": field("outcome"), "valueString": "x"}] * 2}),
        "/output/1",
        "profile-max",
    ),
    *(
        (_without(CONSENT_OF_OURS, *path), pointer, "profile-required")
        for *path, pointer in (
            ("patient", "/patient"),
            ("performer", "/performer"),
            ("performer", 0, "extension", "/performer/0/extension"),
            ("performer", 0, "identifier", "/performer/0/identifier"),
            ("provision", "/provision"),
            ("provision", "actor", "/provision/actor"),
            ("provision", "purpose", 0, "code", "/provision/purpose/0/code"),
        )
    ),
    (_without(AUDIT_OF_OURS, "outcomeDesc"), "/outcomeDesc", "profile-required"),
    (_without(AUDIT_OF_OURS, "entity", 1, "what"), "/entity/1/what", "profile-required"),
    (AUDIT_OF_OURS | {"agent": [AUDIT_OF_OURS["agent"][0], {"requestor": True}]}, "/agent", "profile-required"),
    (PROVENANCE_OF_OURS | {"target": [PATIENT]}, "/target/0/reference", "reference-type"),
    (PROVENANCE_OF_OURS | {"agent": [{"who": {"reference": "Organization/x"}}]}, "/agent/0/type", "profile-required"),
    (PROVENANCE_OF_OURS | {"entity": [{"role": "source", "what": PATIENT}]}, "/entity/0", "profile-max"),
    (GOAL | {"meta": {"profile": [f"{OWN}/StructureDefinition/planbrug-task"]}}, "/meta/profile/0", "profile-type"),
    (GOAL | {"extension": [own("agreed", valueBoolean=True)]}, "/extension/0", "extension-context"),
    (CONDITION | {"extension": [own("consequence", valueInteger=1)]}, "/extension/0/valueInteger", "profile-type"),
    (CONDITION | {"extension": [own("consequence", valueString="x")] * 2}, "/extension/1", "profile-max"),
    (
        CONDITION | {"extension": [own("consequence", extension=[extension()])]},
        "/extension/0/valueString",
        "profile-required",
    ),
    (
        GOAL | {"extension": [own("mentioned", valueReference=PATIENT)]},
        "/extension/0/valueReference/reference",
        "reference-type",
    ),
    (ANNA | {"extension": [own("part", extension=[extension()])]}, "/extension/0/extension", "profile-required"),
    (
        ANNA
        | {
            "extension": [
                own(
                    "part",
                    extension=[own("kind", valueCoding={"system": "https://voorbeeld.nl", "code": "identity"})],
                )
            ]
        },
        "/extension/0/extension/0/valueCoding/system",
        "profile-fixed",
    ),
    (
        ANNA
        | {
            "name": [
                {
                    "extension": [
                        {"url": "http://hl7.org/fhir/StructureDefinition/humanname-own-name", "valueString": "x"}
                    ]
                }
            ]
        },
        "/name/0/extension/0",
        "extension-context",
    ),
    (GOAL | {"category": [concept(f"{OWN}/CodeSystem/term", "eeuwig")]}, "/category/0/coding/0/code", "own-code"),
    (GOAL | {"meta": {"tag": [{"system": f"{OWN}/CodeSystem/law", "code": "x"}]}}, "/meta/tag/0/code", "own-code"),
]
FOLLOWS = {
    ("/verificationStatus/coding/0/code", "type"): [("/verificationStatus", "code")],
    ("/name/0/_given/1", "null"): [("/name/0/given/1", "null")],
    ("/contained/0", "dom-2"): [("/contained/0/contained/0", "dom-3")],
    ("", "bdl-9"): [("", "bdl-11")],
    ("", "bdl-10"): [("", "bdl-11")],
    ("", "bdl-11"): [("", "bdl-9"), ("", "bdl-10")],
    ("/patient", "profile-required"): [("", "ppc-2")],
    ("/activity/0/detail", "profile-max"): [("/activity/0/reference", "profile-required")],
    ("/extension/0/valueString", "profile-required"): [("/extension/0/extension/0", "profile-max")],
}
"""What a mistake brings with it, where that cannot be otherwise."""
REFUSED = [
    *SHAPE,
    *STRUCTURE,
    *CODES,
    *TARGETS,
    *RULES,
    *((each, "/text/div", code) for each, code in NARRATIVE),
    *PROFILES,
]


def findings(resource: Any) -> set[tuple[str, str]]:
    """Return pointer and code of what is wrong."""
    return {(each.pointer, each.code) for each in check_resource(resource)}


@pytest.mark.parametrize("name", VALID)
def test_what_r4_allows_passes(name: str) -> None:
    assert check_resource(VALID[name]) == []


@pytest.mark.parametrize(
    ("resource", "pointer", "code"), REFUSED, ids=[f"{code} at {pointer or 'the root'}" for _, pointer, code in REFUSED]
)
def test_what_r4_or_a_profile_forbids_is_refused_at_its_place(resource: Any, pointer: str, code: str) -> None:
    """And nothing else is: whoever gets ten findings for one mistake reads none."""
    assert findings(resource) == {(pointer, code), *FOLLOWS.get((pointer, code), ())}


def test_every_invariant_has_a_row_that_breaks_it() -> None:
    rules = [*invariants.CONTAINED, *(each for rules in invariants.INVARIANTS.values() for each in rules)]
    assert {rule.key for rule in rules} <= {code for _, _, code in RULES}


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.parent.name)
def test_what_we_render_of_an_example_passes(path: Path) -> None:
    assert check_resource(json.loads(path.read_bytes())) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(support_plans())
def test_what_we_render_of_any_plan_passes(plan: SupportPlan) -> None:
    """A period that ends before it starts stands so in the plan itself; whoever wrote it must mend it."""
    bundle = json.loads(encode_bundle(plan_to_bundle(plan, "https://planbrug.voorbeeld.nl/fhir")))
    assert [each for each in check_resource(bundle) if each.code != "per-1"] == []


def test_a_bundle_is_refused_with_all_findings_in_the_order_of_the_document() -> None:
    bundle = bundled(
        entry(GOAL | {"lifecycleStatus": SECRET, "note": []}), entry(ANNA | {"gender": SECRET, SECRET: None})
    )
    with pytest.raises(MappingError) as refused:
        check_bundle(bundle)
    assert [(each.pointer, each.code) for each in refused.value.findings] == [
        ("/entry/0/resource/lifecycleStatus", "code"),
        ("/entry/0/resource/note", "empty"),
        ("/entry/1/resource/gender", "code"),
        (f"/entry/1/resource/{SECRET}", "null"),
        (f"/entry/1/resource/{SECRET}", "extra-forbidden"),
    ]


@pytest.mark.parametrize(
    "document", [None, [], "x", {}, ANNA], ids=["nothing", "a list", "text", "no type", "a Patient"]
)
def test_only_a_bundle_is_a_bundle(document: Any) -> None:
    with pytest.raises(MappingError) as refused:
        check_bundle(document)
    assert [each.code for each in refused.value.findings] == ["bundle"]


def test_who_renders_does_not_pay_for_the_models() -> None:
    """They cost a third of a second and 33 MB: only a process that takes FHIR in imports them."""
    program = (
        "import mappings.bundle, sys; print(any(name.split('.')[0] in {'fhir', 'fhir_core'} for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_everything_that_lacks_is_told_at_once() -> None:
    """The models tell of some only when others are there."""
    lacking = {("/status", "required"), ("/intent", "required"), ("/subject", "required")}
    assert findings({"resourceType": "CarePlan"}) == lacking


def test_a_pointer_begins_where_the_resource_stands() -> None:
    (found,) = check_resource(GOAL | {"lifecycleStatus": "bogus"}, "/input/0/resource")
    assert found.pointer == "/input/0/resource/lifecycleStatus"


def test_the_first_hundred_findings_are_told() -> None:
    names = [{"use": "bogus"} for _ in range(MAX_FINDINGS + 20)]
    assert [f"/name/{at}/use" for at in range(MAX_FINDINGS)] == [
        each.pointer for each in check_resource(ANNA | {"name": names, "gender": "bogus"})
    ]


@pytest.mark.parametrize("resource", [each for each, _, _ in REFUSED])
def test_no_remedy_repeats_what_the_document_says(resource: Any) -> None:
    """Every value of one's own is a secret here; codes of others are not."""
    marked = json.loads(json.dumps(resource).replace('"bogus"', f'"{SECRET}"').replace('"x"', f'"{SECRET}"'))
    assert not any(SECRET in each.remedy for each in check_resource(marked))


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", " ", "x", "#", "#a", "Goal/x", "\ud800"])
)
WORDS = (
    "resourceType id meta contained extension url reference type entry resource fullUrl coding system code text div start end given"
    " _given profile valueCoding category x"
)
NAMES = st.sampled_from(WORDS.split())
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to everything in a document."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for step, item in steps for each in places(item, (*path, step)))]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.sampled_from([*VALID.values(), *(each for each, _, _ in REFUSED)]), st.data())
def test_anything_anywhere_gives_findings_and_never_an_error(resource: Any, data: st.DataObject) -> None:
    broken = json.loads(json.dumps(resource))
    path = data.draw(st.sampled_from(places(broken)))
    new = data.draw(JSON)
    if path:
        holder = broken
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = new
    for found in check_resource(broken if path else new):
        assert found.code
        assert found.remedy


def seconds(check: Callable[[], Any]) -> float:
    """Return the processor time of the best of three."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        check()
        taken.append(time.process_time() - began)
    return min(taken)


@pytest.mark.parametrize(
    "grown",
    [
        lambda size: ANNA | {"name": [{"family": "x"}] * size},
        lambda size: ANNA | {"name": [{"given": [None] * size}]},
        lambda size: ANNA | {"name": [{"use": "bogus"}] * size},
        lambda size: ANNA | {f"eigen-{number}": "x" for number in range(size)},
        lambda size: ANNA | {"x" * size: {str(number): None for number in range(size)}},
        lambda size: ANNA | {"x" * 100: {"y" * 100: {"z" * 100: [None] * size}}},
        lambda size: OBSERVATION | {"valueString": "x", "component": [{"code": TEXT, "valueString": "x"}] * size},
        lambda size: containing(
            *(ANNA | {"id": f"p{number}"} for number in range(size)),
            addresses=[{"reference": f"#p{number}"} for number in range(size)],
        ),
        lambda size: bundled(*(entry(ANNA | {"id": f"p{number}"}) for number in range(size))),
        lambda size: told("<b>x</b>" * size),
        lambda size: told("&#32;" * size + "x"),
    ],
    ids=[
        "names",
        "nulls",
        "bad codes",
        "unknown elements",
        "a long name around nulls",
        "long names around nulls",
        "components",
        "contained resources",
        "entries",
        "narrative elements",
        "narrative text",
    ],
)
def test_the_work_grows_with_the_document_and_no_faster(grown: Callable[[int], Any]) -> None:
    """Sixteen times the document takes about sixteen times as long, not 256 times."""
    small, large = grown(100), grown(1600)
    check_resource(small)
    assert seconds(lambda: check_resource(large)) < 80 * max(seconds(lambda: check_resource(small)), 0.0005)


@pytest.mark.parametrize("levels", [5_000, 100_000])
def test_a_deep_document_is_refused_before_anything_follows_it_down(levels: int) -> None:
    inner: Any = []
    for _ in range(levels):
        inner = [inner]
    assert findings(ANNA | {"name": inner}) == {("", "depth")}


def shared(folder: str) -> list[Path]:
    """Return the published files of others to hold our tables against; none where they are not at hand, which CI does not take."""
    beside = Path(__file__).parents[2] / "shared"
    found = sorted(Path(os.environ.get("PLANBRUG_SHARED", beside), "data", folder).glob("*.json"))
    if not found and os.environ.get("CI") == "true":
        raise FileNotFoundError("PLANBRUG_SHARED names no folder with data/" + folder)
    return found


PROFILES_OF_OTHERS = shared("nl-core/profiles")
EXAMPLES_OF_OTHERS = shared("nl-core/examples")


@pytest.mark.skipif(not PROFILES_OF_OTHERS, reason="PLANBRUG_SHARED names no folder with R4 snapshots")
def test_the_tables_hold_every_rule_of_r4_that_a_snapshot_repeats() -> None:
    """A snapshot of a Dutch profile repeats the required bindings and invariants of the R4 type that it is based on."""
    elements = [each for path in PROFILES_OF_OTHERS for each in json.loads(path.read_bytes())["snapshot"]["element"]]
    keys = {
        rule["key"]
        for each in elements
        for rule in each.get("constraint", ())
        if rule["severity"] == "error" and rule.get("source", "").startswith("http://hl7.org/fhir/")
    }
    known = {rule.key for rules in (invariants.CONTAINED, *invariants.INVARIANTS.values()) for rule in rules}
    assert keys - known == {"ele-1"}
    bound = {
        _model_name(each["path"])
        for each in elements
        if each.get("binding", {}).get("strength") == "required"
        and "extension" not in each["path"]
        and each["binding"].get("valueSet", "").startswith("http://hl7.org/fhir/ValueSet/")
    }
    assert bound
    assert bound <= {*bindings.REQUIRED, *bindings.CONCEPTS}


def _model_name(path: str) -> str:
    *holder, element = path.split(".")
    return "".join(step[0].upper() + step[1:] for step in holder) + f".{element}"


@pytest.mark.skipif(not EXAMPLES_OF_OTHERS, reason="PLANBRUG_SHARED names no folder with R4 examples")
@pytest.mark.parametrize("path", EXAMPLES_OF_OTHERS, ids=lambda path: path.stem)
def test_an_example_of_nl_core_passes(path: Path) -> None:
    assert check_resource(json.loads(path.read_bytes())) == []


def test_every_rule_of_our_definitions_is_one_that_is_judged() -> None:
    """A key that nobody reads would be published and not held to."""
    judged = {"id", "path", "short", "sliceName", "slicing", "min", "max", "type"}
    paths = list((Path(mappings.__file__).parent / "profiles").glob("StructureDefinition-*.json"))
    for path in paths:
        for element in json.loads(path.read_bytes())["differential"]["element"]:
            assert {each for each in element if not each.startswith(("fixed", "pattern"))} <= judged
    assert len(conformance.published().definitions) == len(paths)
