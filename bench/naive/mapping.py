"""Plan van aanpak → FHIR R4B resources as plain dicts, and the same as models of fhir.resources.

A resource comes with what a choice can be about: kind, domain, subjects. The plan's own CarePlan is made per view.
"""

from dataclasses import dataclass
from typing import Any

from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.careplan import CarePlan
from fhir.resources.R4B.condition import Condition
from fhir.resources.R4B.goal import Goal
from fhir.resources.R4B.patient import Patient
from fhir.resources.R4B.practitioner import Practitioner
from fhir.resources.R4B.task import Task

MODELS: dict[str, Any] = {
    model.__name__: model for model in (Bundle, CarePlan, Condition, Goal, Patient, Practitioner, Task)
}
DOMAINS = {
    "financien": "finances",
    "wonen": "housing",
    "werk": "work",
    "dagelijks-leven": "daily-living",
    "opvoeden": "parenting",
    "psychische-gezondheid": "mental-health",
    "lichamelijke-gezondheid": "physical-health",
    "sociaal-netwerk": "social-network",
}
GOAL_STATUS = {"actief": "active", "voorgesteld": "proposed", "behaald": "completed"}
TASK_STATUS = {"gevraagd": "requested", "bezig": "in-progress", "klaar": "completed"}
BASE = "https://naive.example/fhir"
DOMAIN_SYSTEM = "https://naive.example/leefgebied"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A resource and what it is about."""

    resource: dict[str, Any]
    kind: str
    subjects: tuple[str, ...]
    domain: str | None = None

    @property
    def reference(self) -> str:
        """How other resources refer to it."""
        return f"{self.resource['resourceType']}/{self.resource['id']}"


def plan_to_resources(plan: Any, plan_id: str, version: int) -> list[Labelled]:
    """Map a plan to its resources; a resident's address and telephone are a part of their own."""
    everybody = tuple(row.ref for row in plan.bewoners)
    meta = {"versionId": str(version), "profile": ["https://naive.example/StructureDefinition/part"]}

    def labelled(kind: str, resource: dict[str, Any], subjects: Any, domain: str | None = None) -> Labelled:
        security = {"security": [{"system": DOMAIN_SYSTEM, "code": domain}]} if domain else {}
        return Labelled(
            resource={**resource, "meta": {**meta, **security}}, kind=kind, subjects=tuple(subjects), domain=domain
        )

    made = [labelled("identity", _patient(row), [row.ref]) for row in plan.bewoners]
    made += [
        labelled(
            "team",
            {"resourceType": "Practitioner", "id": f"{plan_id}-{row.ref}", "name": [{"text": row.naam}]},
            everybody,
        )
        for row in plan.betrokkenen
    ]
    made += [
        labelled("support-question", _condition(row, plan_id, everybody[0]), everybody)
        for row in plan.ondersteuningsvragen
    ]
    made += [labelled("goal", _goal(row, plan_id), row.over, DOMAINS[row.leefgebied]) for row in plan.doelen]
    made += [labelled("action", _task(row, plan_id), row.over, DOMAINS[row.leefgebied]) for row in plan.acties]
    return made


def without_contact(resource: dict[str, Any]) -> dict[str, Any]:
    """Return a Patient without what tells where somebody lives."""
    return {name: value for name, value in resource.items() if name not in {"address", "telecom"}}


def care_plan(plan: Any, plan_id: str, version: int, shown: list[Labelled]) -> dict[str, Any]:
    """Return the CarePlan of a view: it refers only to what is in the view."""
    named = {"goal": [], "action": []} | {
        kind: [row.reference for row in shown if row.kind == kind] for kind in ("goal", "action")
    }
    found = {
        "resourceType": "CarePlan",
        "id": plan_id,
        "meta": {"versionId": str(version)},
        "status": "active",
        "intent": "plan",
        "subject": {"reference": f"Patient/{plan.bewoners[0].ref}"},
        "period": {"start": plan.begindatum, "end": plan.einddatum},
        "goal": [{"reference": reference} for reference in named["goal"]],
        "activity": [{"reference": {"reference": reference}} for reference in named["action"]],
    }
    return {name: value for name, value in found.items() if value}


def bundle(resources: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the transaction of a view."""
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": f"{BASE}/{row['resourceType']}/{row['id']}",
                "resource": row,
                "request": {"method": "PUT", "url": f"{row['resourceType']}/{row['id']}"},
            }
            for row in resources
        ],
    }


def _patient(row: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": row.ref,
        "name": [{"use": "official", "family": row.achternaam, "given": [row.voornaam]}],
        "gender": "female" if row.geslacht == "vrouw" else "male",
        "birthDate": row.geboortedatum,
        "telecom": [{"system": "phone", "value": row.telefoon}],
        "address": [
            {
                "line": [f"{row.adres.straat} {row.adres.huisnummer}"],
                "postalCode": row.adres.postcode,
                "city": row.adres.plaats,
                "country": "NL",
            }
        ],
    }


def _condition(row: Any, plan_id: str, resident: str) -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "id": f"{plan_id}-{row.ref}",
        "subject": {"reference": f"Patient/{resident}"},
        "note": [{"text": row.tekst}],
    }


def _goal(row: Any, plan_id: str) -> dict[str, Any]:
    domain = DOMAINS[row.leefgebied]
    return {
        "resourceType": "Goal",
        "id": f"{plan_id}-goal{row.nummer}",
        "lifecycleStatus": GOAL_STATUS[row.status],
        "category": [{"coding": [{"system": DOMAIN_SYSTEM, "code": domain, "display": row.leefgebied}]}],
        "description": {"text": row.omschrijving},
        "subject": {"reference": f"Patient/{row.over[0]}"},
        "startDate": row.van,
        "target": [{"dueDate": row.uiterlijk}],
    }


def _task(row: Any, plan_id: str) -> dict[str, Any]:
    return {
        "resourceType": "Task",
        "id": f"{plan_id}-action{row.nummer}",
        "status": TASK_STATUS[row.status],
        "intent": "plan",
        "description": row.wat,
        "focus": {"reference": f"Goal/{plan_id}-goal{row.doelen[0]}"},
        "for": {"reference": f"Patient/{row.over[0]}"},
        "owner": {"reference": f"Patient/{row.wie.ref}"},
        "restriction": {"period": {"start": row.van, "end": row.uiterlijk}},
    }
