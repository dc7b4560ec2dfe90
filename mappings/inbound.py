"""What is asked of any Bundle before its resources are read, and what was lost after.

`refuse_modifiers` first, `index_of` next, `loss_of` last. It knows references and pointers, no resource type's own elements.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from mappings.elements import Resource, group_id
from mappings.errors import Finding, MappingError
from mappings.node import Index, Node

Path = tuple[str | int, ...]

_BOOKKEEPING = frozenset(
    {("id",), ("meta", "versionId"), ("meta", "lastUpdated"), ("meta", "source"), ("meta", "profile")}
)
"""What a server writes for itself; not content of the plan."""

_ENVELOPE = frozenset({"resourceType", "id", "meta", "type", "total", "link", "timestamp", "entry"})
_ENTRY = frozenset({"fullUrl", "resource", "request", "response", "search", "link"})
_IN_ERROR = {"status": "entered-in-error", "lifecycleStatus": "entered-in-error"}
_REFUTED = frozenset({"refuted", "entered-in-error"})


def refuse_modifiers(bundle: Resource) -> None:
    """Refuse what could turn the meaning of an element around, wherever it stands. Raises MappingError with all of them."""
    found = [Finding(pointer=pointer, code=code, remedy=remedy) for pointer, code, remedy in _modifiers(bundle, "")]
    if found:
        raise MappingError(*found)


def _modifiers(value: Any, pointer: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from _modifiers(item, f"{pointer}/{position}")
    elif isinstance(value, dict):
        for name, item in value.items():
            here = f"{pointer}/{_escape(name)}"
            if refusal := _refusal(name, item):
                yield here, *refusal
            elif isinstance(item, dict | list):
                yield from _modifiers(item, here)


def _refusal(name: str, value: Any) -> tuple[str, str] | None:
    if name == "modifierExtension":
        return "modifier-extension", "send it without modifier extensions; this gateway knows none"
    if name == "implicitRules" or (name == "doNotPerform" and value is not False):
        return "modifier-element", "leave this element out; this gateway cannot follow it"
    if name in _IN_ERROR and value == _IN_ERROR[name]:
        return "entered-in-error", "leave this resource out"
    if name == "verificationStatus" and isinstance(value, dict) and _REFUTED & set(_codes(value)):
        return "entered-in-error", "leave this resource out"
    return None


def _codes(concept: Resource) -> Iterator[str]:
    codings = concept.get("coding")
    for each in codings if isinstance(codings, list) else ():
        if isinstance(each, dict) and isinstance(each.get("code"), str):
            yield each["code"]


def index_of(bundle: Resource) -> Index:
    """Return what the Bundle answers about its references. Raises MappingError."""
    targets: dict[str, str] = {}
    resources: dict[str, Node] = {}
    index = Index(targets=targets, resources=resources, members={}, roles={}, listed={})
    root = Node(bundle, "", index)
    if root.text("resourceType") != "Bundle":
        raise root.fail("bundle", "send a FHIR Bundle")
    for entry in root.each("entry"):
        if node := entry.get("resource"):
            _admit(node, entry.text("fullUrl") or "", targets, resources)
    return _with_people(index)


def _admit(node: Node, full_url: str, targets: dict[str, str], resources: dict[str, Node]) -> None:
    kind = node.needed("resourceType").text()
    found = node.text("id") or full_url.removeprefix("urn:uuid:")
    if not found or "/" in found:
        raise node.fail("id", "give the resource an id, or the entry a fullUrl with urn:uuid")
    name = f"{kind}/{found}"
    if name in resources:
        raise node.fail("duplicate", "send every resource once")
    resources[name] = node if node.get("id") else Node({**node.value, "id": found}, node.pointer, node.index)
    targets[name] = name
    if full_url:
        targets[full_url] = name


def _with_people(index: Index) -> Index:
    """Return the index with everybody under the id that we would give them, roles of practitioners, and the order of the plan.

    A Group has the id of its people, a Practitioner that of the role, a CareTeam that of the plan.
    """
    members, roles = dict(_groups(index)), dict(_roles(index))
    plans = [node for name, node in index.resources.items() if name.startswith("CarePlan/")]
    renamed = {name: f"Group/{group_id(people)}" for name, people in members.items()}
    renamed |= {person: f"Practitioner/{role.partition('/')[2]}" for person, role in roles.items()}
    teams = [name for name in index.resources if name.startswith("CareTeam/")]
    renamed |= {name: f"CareTeam/{plans[0].value['id']}" for name in teams if plans}
    targets = {text: renamed.get(name, name) for text, name in index.targets.items()}
    full = msgspec.structs.replace(
        index,
        targets=targets,
        members={renamed[name]: people for name, people in members.items()},
        roles=roles | {renamed[person]: role for person, role in roles.items()},
        listed=_listed(index, targets),
    )
    residents = Node(plans[0].needed("subject").value, f"{plans[0].pointer}/subject", full).people() if plans else ()
    full = msgspec.structs.replace(full, residents=residents)
    placed = {name: Node(node.value, node.pointer, full) for name, node in index.resources.items()}
    full.resources.update(placed)
    full.resources.update({renamed[person]: full.resources.pop(person) for person in roles if person in placed})
    return full


def _groups(index: Index) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, node in index.resources.items():
        if name.startswith("Group/"):
            entities = (member.target_id("Patient", "entity") for member in node.each("member"))
            yield name, tuple(entity for entity in entities if entity)


def _roles(index: Index) -> Iterator[tuple[str, str]]:
    for name, node in index.resources.items():
        if name.startswith("PractitionerRole/") and (person := node.target("practitioner")):
            yield person, name


def _listed(index: Index, targets: dict[str, str]) -> dict[str, int]:
    names = [name for name in index.resources if name.startswith(("CarePlan/", "CareTeam/"))]
    leaves = (leaf for name in names for leaf in _leaves(index.resources[name].value))
    found = (targets.get(value, value) for path, value in leaves if path[-1] == "reference" and isinstance(value, str))
    return {name: position for position, name in enumerate(dict.fromkeys(found))}


def loss_of(bundle: Resource, index: Index, rendered: list[Resource]) -> tuple[str, ...]:
    """Return a pointer to every leaf of the Bundle that `rendered`, the plan as we would send it, does not say."""
    own = {f"{each['resourceType']}/{each['id']}": each for each in rendered}
    teams = [each for each in rendered if each["resourceType"] == "CareTeam"]
    lost = [f"/{_escape(name)}" for name in bundle if name not in _ENVELOPE]
    for position, entry in enumerate(bundle.get("entry", ())):
        here = f"/entry/{position}"
        lost += [f"{here}/{_escape(name)}" for name in entry if name not in _ENTRY]
        if resource := entry.get("resource"):
            name = index.targets[entry.get("fullUrl") or f"{resource['resourceType']}/{resource['id']}"]
            carried = own.get(name) or (teams[0] if teams and resource["resourceType"] == "CareTeam" else {})
            if resource != carried:
                lost += [f"{here}/resource{pointer}" for pointer in _lost(resource, carried, index)]
    return tuple(lost)


def _lost(resource: Resource, carried: Resource, index: Index) -> Iterator[str]:
    said = Counter(_said(path, value, index) for path, value in _leaves(carried))
    for path, value in _leaves(resource):
        names = _names(path)
        if names[:2] in _BOOKKEEPING or _is_display(resource, path):
            continue
        key = _said(path, value, index)
        if said[key]:
            said[key] -= 1
        else:
            yield "".join(f"/{_escape(str(step))}" for step in path)


def _said(path: Path, value: Any, index: Index) -> tuple[tuple[str, ...], Any]:
    """Return what a leaf says wherever it stands in its lists, references by what they mean."""
    known = index.targets.get(value, value) if path[-1] == "reference" and isinstance(value, str) else value
    return _names(path), known


def _names(path: Path) -> tuple[str, ...]:
    return tuple(step for step in path if isinstance(step, str))


def _is_display(resource: Resource, path: Path) -> bool:
    """Say whether this is the display of a Coding, which only repeats its code."""
    if path[-1] != "display":
        return False
    place: Any = resource
    for step in path[:-1]:
        place = place[step]
    return "code" in place


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, (*path, name))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _leaves(item, (*path, position))
    else:
        yield path, value


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
