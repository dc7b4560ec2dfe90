"""The reading half of `fhir.py`: a Consent that passed the edge as a Choice, or a refusal that points."""

import re
from collections.abc import Iterator
from datetime import date
from typing import Any, get_args

from consent.choice import Capacity, Choice, Effect, GivenBy, PartSelector, RecipientSelector
from consent.fhir_writing import CONTAINED, PROFILE, Around, rendered
from mappings.codes import DOMAINS, KINDS, OrganisationKind, Purpose
from mappings.elements import PART_SYSTEM, RESOURCE_TYPE
from mappings.errors import Finding, MappingError
from mappings.node import Node

_PART_TYPES = frozenset(RESOURCE_TYPE.values()) - {"Patient"}
"""The resources that are one part each."""

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_BOOKKEEPING = frozenset({"versionId", "lastUpdated", "source", "profile"})
_NOT_KEPT = "leave this out, or say it in a choice of its own: a choice holds nothing like it"


def read(node: Node) -> Choice:
    """Read a Consent whole. Raises MappingError."""
    if node.text("resourceType") != "Consent":
        raise node.fail("resource-type", "send a Consent")
    if PROFILE not in [each.text() for each in node.each("meta", "profile")]:
        raise node.fail("profile", f"say in meta.profile that this follows {PROFILE}")
    if node.text("status") != "active":
        remedy = "send a choice that is in force, as active; one that is withdrawn is no choice"
        raise node.needed("status").fail("status", remedy)
    provision = node.needed("provision")
    effect, parts, types = _said(provision)
    choice = Choice(
        id=node.text("id") or "",
        version=_version(node),
        recipient=_selector(node, provision.needed("actor", 0, "reference")),
        effect=effect,
        given_by=_given_by(node.needed("performer", 0)),
        parts=parts,
        purpose=provision.coded("purpose", get_args(Purpose), "purpose"),
        starts_on=_day(provision, "start"),
        ends_on=_day(provision, "end"),
        evidence=_text_of(node.get("verification", 0), "evidence"),
        recorded_by=node.text_of("choice-recorder"),
    )
    around = Around(
        resident=resident_of(node),
        at=node.text("dateTime"),
        types=types,
        nested=provision.get("provision") is not None,
    )
    if unkept := list(_unkept(node.value, rendered(choice, around))):
        raise MappingError(*(Finding(pointer=each, code="not-kept", remedy=_NOT_KEPT) for each in unkept))
    return choice


def resident_of(node: Node) -> str:
    """Return whose choice it is. Raises MappingError."""
    found = node.needed("patient").target_id("Patient")
    if found is None:
        raise node.needed("patient").fail("patient", "refer to the resident as Patient/ with the id here")
    return found


def _version(node: Node) -> int:
    """Return the version that a server of ours gave; what another server counts is no version of a choice."""
    found = node.text("meta", "versionId") or ""
    return int(found) if _VERSION.fullmatch(found) else 0


def _given_by(node: Node) -> GivenBy:
    capacity: Capacity | None = _coded_of(node, "capacity", "capacity", get_args(Capacity))
    person = node.text("identifier", "value")
    if capacity is None or person is None:
        raise node.fail("performer", "say who chose, by an identifier, and in which capacity, by our extension")
    return GivenBy(capacity=capacity, person=person, mandate=node.text_of("mandate"))


def _selector(consent: Node, node: Node) -> RecipientSelector:
    kind: OrganisationKind | None = _coded_of(node, "recipient", "organisation-kind", get_args(OrganisationKind))
    if kind:
        return RecipientSelector(type="kind", kind=kind)
    if _coded_of(node, "recipient", "recipient-set", ("all",)):
        return RecipientSelector(type="all")
    if node.text("reference") == f"#{CONTAINED}":
        return _role_or_person(consent.needed("contained", 0))
    if organisation := node.target_id("Organization"):
        return RecipientSelector(type="organisation", organisation=organisation)
    remedy = (
        "refer to an Organization here, to a contained PractitionerRole, or say by our extension which kind, or all"
    )
    raise node.fail("recipient", remedy)


def _role_or_person(node: Node) -> RecipientSelector:
    organisation = node.target_id("Organization", "organization")
    role, person = node.text("code", 0, "text"), node.text("practitioner", "identifier", "value")
    if organisation is None or (role is None) == (person is None):
        raise node.fail("recipient", "give the organization, and either code.text or an identifier of the practitioner")
    if person is not None:
        return RecipientSelector(type="person", organisation=organisation, person=person)
    return RecipientSelector(type="role", organisation=organisation, role=role)


def _said(provision: Node) -> tuple[Effect, tuple[PartSelector, ...], dict[str, str]]:
    """Return effect, selectors, and the resource types by which parts are referred to."""
    nested, types = provision.each("provision"), dict[str, str]()
    if not nested:
        effect: Effect | None = provision.code(get_args(Effect), "type")
        if effect is None:
            raise provision.fail("effect", "say in type whether this permits or denies")
        selector = _part_selector(provision, types)
        return effect, () if selector == PartSelector() else (selector,), types
    effects = {each.code(get_args(Effect), "type"): each for each in nested}
    if len(effects) > 1 or any(provision.get(name) for name in ("type", "class", "code", "data")):
        remedy = (
            "send a choice per effect: nested provisions are selections of one effect here, never exceptions to another"
        )
        raise provision.needed("provision").fail("exception", remedy)
    return next(iter(effects)), tuple(_part_selector(each, types) for each in nested), types


def _part_selector(node: Node, types: dict[str, str]) -> PartSelector:
    return PartSelector(
        kinds=tuple(_needed_code(each, "part-kind", KINDS) for each in node.each("code")),
        domains=tuple(_needed_code(each, "life-domain", DOMAINS) for each in node.each("class")),
        part_ids=tuple(_part_id(each.needed("reference"), types) for each in node.each("data")),
    )


def _needed_code(node: Node, system: str, allowed: tuple[str, ...]) -> Any:
    found = node.coded(system, allowed)
    if found is None:
        raise node.fail("code", f"give a code of our own system {system}")
    return found


def _part_id(node: Node, types: dict[str, str]) -> str:
    """Return the part that is meant, and note as which resource; a Patient is two parts, so it says which by its identifier."""
    resource_type, _, literal = (node.target() or "").partition("/")
    named = node.text("identifier", "value") if node.text("identifier", "system") == PART_SYSTEM else None
    found = named or (literal if resource_type in _PART_TYPES else None)
    if found is None or resource_type not in {"", "Patient", *_PART_TYPES}:
        raise node.fail(
            "part", "refer to a part by the resource that it is, or by its identifier; a Patient is two parts"
        )
    if kind := resource_type or (node.text("type") == "Patient" and "Patient"):
        types[found] = kind
    return found


def _day(provision: Node, end: str) -> date | None:
    text = provision.text("period", end)
    if text is not None and not _DAY.fullmatch(text):
        raise provision.needed("period", end).fail("day", "give a day as YYYY-MM-DD: choices begin and end with days")
    return provision.day("period", end)


def _coded_of(node: Node, name: str, system: str, allowed: tuple[str, ...]) -> Any:
    found = node.extension(name)
    return found.coded(system, allowed, "valueCoding") if found else None


def _text_of(node: Node | None, name: str) -> str | None:
    return node.text_of(name) if node else None


def _unkept(given: Any, kept: Any, pointer: str = "") -> Iterator[str]:
    """Yield the pointers of what stands in `given` and not in `kept`, but for what says nothing about the choice."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            here = f"{pointer}/{name}"
            if not _says_nothing(name, value, pointer):
                yield from _unkept(value, kept.get(name), here)
    elif isinstance(given, list) and isinstance(kept, list):
        for at, value in enumerate(given):
            yield from _unkept(value, _beside(value, at, kept), f"{pointer}/{at}")
    elif type(given) is not type(kept) or given != kept:
        yield pointer


def _beside(value: Any, at: int, kept: list[Any]) -> Any:
    """Return what stands for an item of a list: an extension by its url, for their order says nothing, others by their place."""
    if isinstance(value, dict) and "url" in value:
        return next((each for each in kept if each["url"] == value["url"]), None)
    return kept[at] if at < len(kept) else None


def _says_nothing(name: str, value: Any, pointer: str) -> bool:
    if pointer == "":
        return name == "language" or (name == "text" and value.get("status") == "generated")
    return name == "display" or (pointer == "/meta" and name in _BOOKKEEPING)
