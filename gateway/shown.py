"""What is shown of a view when it is shown resource by resource: under which version, and what its receipt says."""

from hashlib import sha256
from typing import Any

from gateway.sight import Look
from gateway.store.receipts import PartLine
from gateway.store.visible import SHARED_TYPES
from mappings.elements import Resource
from mappings.plan import contact_id, identity_id


def version_id(resource_type: str, version: int, plan_id: str) -> str:
    """Return the version of a resource as its reader knows it; one that stands in several plans names its plan, so that no two are one."""
    return f"{version}.{sha256(plan_id.encode()).hexdigest()[:8]}" if resource_type in SHARED_TYPES else str(version)


def as_read(resource: Resource, plan_id: str) -> Resource:
    """Return a resource of a plan with the version that its reader knows."""
    if resource["resourceType"] not in SHARED_TYPES:
        return resource
    meta: dict[str, Any] = resource["meta"]
    return {
        **resource,
        "meta": {**meta, "versionId": version_id(resource["resourceType"], int(meta["versionId"]), plan_id)},
    }


def lines_of(look: Look, named: set[tuple[str, str]]) -> tuple[PartLine, ...]:
    """Return the receipt's lines of the parts that these resources show; a CarePlan lists all of them."""
    lines = look.lines()
    if look.plan is None or look.shown is None or any(kind == "CarePlan" for kind, _ in named):
        return lines
    ids = {name for kind, name in named if kind not in _PEOPLE}
    ids |= {made(name) for kind, name in named if kind == "Patient" for made in (identity_id, contact_id)}
    has_team = any(kind == "CareTeam" for kind, _ in named)
    known_as = {part.id: shown.id for part, shown in zip(look.plan.parts, look.shown.parts, strict=True)}
    return tuple(line for line in lines if known_as[line.part_id] in ids or (has_team and line.kind == "team"))


_PEOPLE = frozenset({"Patient", "Group", "Organization", "CareTeam", "CarePlan"})
