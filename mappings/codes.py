"""The closed code lists of a plan, each code with the Dutch word that people see.

No national code list for life domains exists; this one is ours, the union of the Movisie, ZRM and Wmo home-visit lists,
each domain optional (the AP found compulsory full-matrix collection disproportionate, 2018).
"""

from typing import Literal, get_args

BASE = "https://planbrug.nl/fhir"
"""Canonical base of our own code systems, profiles and extensions."""

Kind = Literal[
    "identity",
    "contact",
    "household",
    "team",
    "occasion",
    "support-question",
    "strength",
    "worry",
    "earlier-help",
    "analysis",
    "desired-result",
    "goal",
    "action",
    "provision",
    "evaluation",
    "score",
    "safety",
    "agreement",
    "decision",
    "signal",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

Domain = Literal[
    "finances",
    "housing",
    "work",
    "education",
    "daytime-activities",
    "household-relations",
    "parenting",
    "mental-health",
    "physical-health",
    "substance-use",
    "daily-living",
    "household-tasks",
    "social-network",
    "participation",
    "justice",
    "meaning",
    "safety",
]
DOMAINS: tuple[Domain, ...] = get_args(Domain)

Law = Literal["wmo", "jeugdwet", "participatiewet", "wgs", "none"]
Sensitivity = Literal["normal", "restricted"]
PlanStatus = Literal["concept", "agreed", "decided", "ended", "revoked"]
GoalStatus = Literal["proposed", "active", "on-hold", "reached", "not-reached", "cancelled"]
ActionStatus = Literal[
    "requested", "accepted", "in-progress", "on-hold", "completed", "cancelled", "rejected", "failed"
]
ProvisionStatus = Literal["requested", "granted", "refused", "stopped", "ended"]
Term = Literal["short", "long"]
Delivery = Literal["in-kind", "budget"]
Gender = Literal["male", "female", "other", "unknown"]
ActorType = Literal["resident", "relative", "professional", "organisation"]
Relation = Literal[
    "partner",
    "parent",
    "child",
    "foster-parent",
    "guardian",
    "curator",
    "mentor",
    "administrator",
    "family",
    "household-member",
    "neighbour",
    "friend",
    "volunteer",
    "client-supporter",
    "ex-partner",
    "other",
]
TeamRole = Literal[
    "coordinator",
    "team-member",
    "care-provider",
    "backoffice",
    "gp",
    "school",
    "client-supporter",
    "volunteer",
    "other",
]
OrganisationKind = Literal[
    "neighbourhood-team",
    "care-provider",
    "backoffice",
    "volunteers",
    "gp",
    "school",
    "veilig-thuis",
    "client-support",
    "municipality",
    "other",
]
SafetyAspect = Literal[
    "agreement",
    "first-event",
    "worst-event",
    "last-event",
    "frequency",
    "harm",
    "biggest-worry",
    "complicating-factor",
    "strength",
    "scale",
]
Purpose = Literal["support", "decision", "evaluation", "hand-over"]

KIND_NL: dict[Kind, str] = {
    "identity": "Naam en geboortedatum",
    "contact": "Adres en telefoon",
    "household": "Gezin en netwerk",
    "team": "Betrokken hulpverleners",
    "occasion": "Aanleiding",
    "support-question": "Ondersteuningsvraag",
    "strength": "Kracht",
    "worry": "Zorg",
    "earlier-help": "Eerdere hulp",
    "analysis": "Analyse",
    "desired-result": "Gewenst resultaat",
    "goal": "Doel",
    "action": "Actie",
    "provision": "Voorziening",
    "evaluation": "Evaluatie",
    "score": "Score",
    "safety": "Veiligheid",
    "agreement": "Akkoord",
    "decision": "Beschikking",
    "signal": "Signaal",
}

DOMAIN_NL: dict[Domain, str] = {
    "finances": "Geld",
    "housing": "Wonen",
    "work": "Werk",
    "education": "School en opleiding",
    "daytime-activities": "Dagbesteding",
    "household-relations": "Gezin en relaties",
    "parenting": "Opvoeden",
    "mental-health": "Psychische gezondheid",
    "physical-health": "Lichamelijke gezondheid",
    "substance-use": "Alcohol, drugs en gokken",
    "daily-living": "Zorgen voor uzelf",
    "household-tasks": "Huishouden",
    "social-network": "Familie, vrienden en buren",
    "participation": "Meedoen",
    "justice": "Politie en justitie",
    "meaning": "Zin in het leven",
    "safety": "Veiligheid",
}
