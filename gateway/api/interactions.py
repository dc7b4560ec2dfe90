"""What can be done under `/fhir` with each type of resource: the one table that routes, declares and is tested.

The names are those of https://hl7.org/fhir/R4/valueset-type-restful-interaction.html.
"""

import re
from typing import Literal

from gateway.errors import Refusal, refusal

Interaction = Literal["read", "vread", "history-instance", "search-type", "create", "update", "patch"]

_READ: tuple[Interaction, ...] = ("read", "vread", "history-instance", "search-type")
_EDIT: tuple[Interaction, ...] = (*_READ, "update")
_PART: tuple[Interaction, ...] = (*_READ, "create", "update")
_PROGRESS: tuple[Interaction, ...] = (*_PART, "patch")

INTERACTIONS: dict[str, tuple[Interaction, ...]] = {
    "AuditEvent": ("read", "search-type"),
    "CarePlan": _EDIT,
    "CareTeam": _READ,
    "ClinicalImpression": _PART,
    "Condition": _PART,
    "Consent": ("read", "search-type", "create", "update"),
    "Goal": _PROGRESS,
    "Group": _READ,
    "Observation": _PART,
    "Organization": _READ,
    "Patient": _EDIT,
    "Practitioner": _EDIT,
    "PractitionerRole": _EDIT,
    "Provenance": _READ,
    "RelatedPerson": _PART,
    "ServiceRequest": _PART,
    "Task": _PROGRESS,
}
"""A plan and its residents come in as a transaction; a Group follows from the residents, a CareTeam from its members."""

RECORDS = frozenset({"AuditEvent", "Consent"})
"""What is kept beside plans: rendered when it is asked for, in no reader's index, so that no search of another type leads there."""


def require_offered(resource_type: str, interaction: Interaction) -> None:
    """Raise Refusal when a type, or this with it, is not offered."""
    offered = INTERACTIONS.get(resource_type)
    if offered is None:
        raise Refusal("not-found")
    if interaction not in offered:
        error = refusal("method", "", f"with {resource_type} this gateway does {', '.join(offered)}")
        error.headers["Allow"] = ", ".join(_methods_beside(interaction, offered))
        raise error


_METHOD: dict[Interaction, str] = {
    "read": "GET",
    "vread": "GET",
    "history-instance": "GET",
    "search-type": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
}
_OF_TYPE = frozenset({"search-type", "create"})
"""What is asked of a type rather than of one resource."""


def _methods_beside(interaction: Interaction, offered: tuple[Interaction, ...]) -> list[str]:
    """Return the methods that are offered at the place of an interaction."""
    found = (_METHOD[each] for each in offered if (each in _OF_TYPE) == (interaction in _OF_TYPE))
    return list(dict.fromkeys(found))


_ETAG = re.compile(r'\s*(?:W/)?"([A-Za-z0-9\-.]{1,64})"\s*')


def version_in(etag: str) -> str | None:
    """Return the version that an ETag of ours names; None when it is none of ours."""
    found = _ETAG.fullmatch(etag)
    return found.group(1) if found else None
