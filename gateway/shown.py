"""What is shown of a view when it is shown resource by resource: which resources, under which version, and what its receipt says."""

from collections.abc import Collection
from hashlib import sha256
from typing import Any

from gateway.sight import Look
from gateway.store.receipts import PartLine
from gateway.store.visible import SHARED_TYPES
from mappings.bundle import plan_to_resources, stamp_of
from mappings.elements import Resource
from mappings.plan import SupportPlan, contact_id, identity_id
from mappings.provenance import plan_to_provenance


def resources_of(view: SupportPlan, only: Collection[str] | None = None) -> list[Resource]:
    """Render a view as what can be read and searched: its own resources, and where it comes from, under the id of the plan.

    With `only` those that have one of these ids. What is pushed has no Provenance: it is about the view, not in it.
    """
    made = plan_to_resources(view, only)
    if only is None or view.id in only:
        made.append(plan_to_provenance(view, stamp_of(view)))
    return made


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
    """Return the receipt's lines of the parts that these resources show; a CarePlan lists all of them, a Provenance none."""
    lines = look.lines()
    if look.plan is None or look.shown is None or any(kind == "CarePlan" for kind, _ in named):
        return lines
    ids = {name for kind, name in named if kind not in _NO_PARTS}
    ids |= {made(name) for kind, name in named if kind == "Patient" for made in (identity_id, contact_id)}
    has_team = any(kind == "CareTeam" for kind, _ in named)
    known_as = {part.id: shown.id for part, shown in zip(look.plan.parts, look.shown.parts, strict=True)}
    return tuple(line for line in lines if known_as[line.part_id] in ids or (has_team and line.kind == "team"))


_NO_PARTS = frozenset({"Patient", "Group", "Organization", "CareTeam", "CarePlan", "Provenance"})
