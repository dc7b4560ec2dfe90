"""What our own published definitions in `profiles/` ask: required elements, fixed values, slices, types, targets, contexts, codes.

Read out of the StructureDefinitions and CodeSystems themselves, so that what we publish is what we hold others to
(https://hl7.org/fhir/R4/profiling.html). A profile binds the resource that claims it in meta.profile; an extension binds wherever its
url stands; a code system wherever it is named. Extensions of others stay allowed: they are reported as loss.
Judged are min, max, fixed[x], pattern[x], type with targetProfile, and slices by value or pattern: all that our definitions use.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from msgspec import UNSET, Struct

from mappings.elements import Resource
from mappings.errors import Finding
from mappings.structure import Place
from mappings.targets import wrong_target

_BASE = "http://hl7.org/fhir/StructureDefinition/"

Path = tuple[str, ...]


class Rule(Struct, kw_only=True):
    """What a definition says of one element, or of one slice of it."""

    name: str
    slice: str = ""
    at_least: int = 0
    at_most: int | None = None
    fixed: Any = UNSET
    pattern: Any = UNSET
    types: tuple[str, ...] = ()
    targets: frozenset[str] = frozenset()
    profile: str = ""
    discriminators: tuple[Path, ...] = ()
    children: "dict[str, Rule]"


class Definition(Struct, frozen=True, kw_only=True):
    """One StructureDefinition: its type, where an extension may stand, and its rules."""

    type: str
    contexts: frozenset[str]
    rule: Rule


class Published(Struct, frozen=True, kw_only=True):
    """All that we publish, by canonical url."""

    definitions: Mapping[str, Definition]
    codes: Mapping[str, frozenset[str]]


@cache
def published() -> Published:
    """Return what `profiles/` says, read once."""
    folder = files("mappings") / "profiles"
    resources = [json.loads(each.read_bytes()) for each in folder.iterdir() if each.name.endswith(".json")]
    structures = {each["url"]: each for each in resources if each["resourceType"] == "StructureDefinition"}
    types = {url: each["type"] for url, each in structures.items()}
    return Published(
        definitions={
            url: Definition(
                type=each["type"],
                contexts=frozenset(context["expression"] for context in each.get("context", ())),
                rule=_rules(each["differential"]["element"], types),
            )
            for url, each in structures.items()
        },
        codes={
            each["url"]: frozenset(concept["code"] for concept in each["concept"])
            for each in resources
            if each["resourceType"] == "CodeSystem" and each["content"] == "complete"
        },
    )


def findings(place: Place) -> Iterator[Finding]:
    """Yield what our definitions refuse at this place."""
    if place.is_resource:
        yield from _profiled(place)
    elif place.type == "Extension":
        yield from _extension(place)
    elif place.type == "Coding":
        yield from _coding(place)
    yield from _repeated(place)


def _profiled(place: Place) -> Iterator[Finding]:
    meta = place.value.get("meta")
    claimed = meta.get("profile") if isinstance(meta, dict) else None
    for at, url in enumerate(claimed if isinstance(claimed, list) else ()):
        definition = _definition(url.partition("|")[0]) if isinstance(url, str) else None
        if definition and definition.type != place.type:
            remedy = f"claim this profile for a {definition.type} only"
            yield Finding(pointer=f"{place.pointer}/meta/profile/{at}", code="profile-type", remedy=remedy)
        elif definition:
            yield from _check(definition.rule, place, place.value, place.pointer)


def _extension(place: Place) -> Iterator[Finding]:
    if definition := _definition(place.value.get("url")):
        if place.inside not in definition.contexts:
            remedy = f"put this extension where it belongs: {', '.join(sorted(definition.contexts))}"
            yield Finding(pointer=place.pointer, code="extension-context", remedy=remedy)
        yield from _check(definition.rule, place, place.value, place.pointer)


def _coding(place: Place) -> Iterator[Finding]:
    system, code = place.value.get("system"), place.value.get("code")
    known = published().codes.get(system) if isinstance(system, str) else None
    if known is not None and isinstance(code, str) and code not in known:
        remedy = f"give a code of this code system: {', '.join(sorted(known))}"
        yield Finding(pointer=f"{place.pointer}/code", code="own-code", remedy=remedy)


def _repeated(place: Place) -> Iterator[Finding]:
    """Yield each of our extensions that stands here more often than it may."""
    extensions = place.value.get("extension")
    if not isinstance(extensions, list):
        return
    seen: Counter[str] = Counter()
    for at, each in enumerate(extensions):
        url = each.get("url") if isinstance(each, dict) else None
        if (definition := _definition(url)) and isinstance(url, str):
            seen[url] += 1
            if definition.rule.at_most is not None and seen[url] == definition.rule.at_most + 1:
                yield _too_many(definition.rule.at_most, f"{place.pointer}/extension/{at}")


def _definition(url: Any) -> Definition | None:
    return published().definitions.get(url) if isinstance(url, str) else None


def _check(rule: Rule, place: Place, holder: Resource, pointer: str) -> Iterator[Finding]:
    """Yield what the rules for the elements of an object refuse. Goes as deep as the definition does, whatever the document."""
    for child in rule.children.values():
        found = _values(holder, child.name, pointer)
        if child.slice:
            found = [each for each in found if _in_slice(child, rule.children[child.name], each[1])]
        if len(found) < child.at_least:
            yield Finding(pointer=f"{pointer}/{_written(child)}", code="profile-required", remedy=_lacking(child))
        if child.at_most is not None and len(found) > child.at_most:
            yield _too_many(child.at_most, found[child.at_most][0])
        for here, value, kind in found[: child.at_most]:
            yield from _judge(child, place, value, here, kind)


def _judge(rule: Rule, place: Place, value: Any, pointer: str, kind: str) -> Iterator[Finding]:
    if rule.fixed is not UNSET and value != rule.fixed:
        yield Finding(pointer=pointer, code="profile-fixed", remedy=f"give {rule.fixed}, the one value of the profile")
    elif not rule.slice and rule.pattern is not UNSET and not _fits(rule.pattern, value):
        yield Finding(pointer=pointer, code="profile-pattern", remedy="give what the pattern of the profile holds")
    elif kind and rule.types and kind.lower() not in {each.lower() for each in rule.types}:
        yield Finding(pointer=pointer, code="profile-type", remedy=f"give a value of type {' or '.join(rule.types)}")
    elif isinstance(value, dict):
        if rule.targets:
            yield from wrong_target(_at(place, value, pointer), rule.targets)
        yield from _check(rule, place, value, pointer)


def _at(place: Place, value: Resource, pointer: str) -> Place:
    """Return the Reference at a pointer, which resolves as its place does."""
    return Place(
        type="Reference",
        path="Reference",
        value=value,
        pointer=pointer,
        owner=place.owner,
        container=place.container,
        inside=place.path,
        targets=frozenset(),
        full_urls=place.full_urls,
        model=None,
    )


def _values(holder: Resource, name: str, pointer: str) -> list[tuple[str, Any, str]]:
    """Return pointer, value and chosen type of what stands in an element; the type is empty when there is no choice."""
    if name.endswith("[x]"):
        stem = name.removesuffix("[x]")
        chosen = (each for each in holder if each.startswith(stem) and each[len(stem) :][:1].isupper())
        return [(f"{pointer}/{each}", holder[each], each[len(stem) :]) for each in chosen]
    value = holder.get(name)
    if isinstance(value, list):
        return [(f"{pointer}/{name}/{at}", each, "") for at, each in enumerate(value)]
    return [] if value is None else [(f"{pointer}/{name}", value, "")]


def _in_slice(rule: Rule, sliced: Rule, value: Any) -> bool:
    return all(_discriminates(rule, path, value) for path in sliced.discriminators)


def _discriminates(rule: Rule, path: Path, value: Any) -> bool:
    """Say whether a value has, at a discriminator's path, what the slice fixes there."""
    if not path:
        return (
            value == rule.fixed if rule.fixed is not UNSET else rule.pattern is not UNSET and _fits(rule.pattern, value)
        )
    if path == ("url",) and rule.profile:
        return isinstance(value, dict) and value.get("url") == rule.profile
    inner = value.get(path[0]) if isinstance(value, dict) else None
    below = rule.children.get(path[0])
    return below is not None and any(
        _discriminates(below, path[1:], each) for each in (inner if isinstance(inner, list) else [inner])
    )


def _fits(pattern: Any, value: Any) -> bool:
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(_fits(each, value.get(name)) for name, each in pattern.items())
    if isinstance(pattern, list):
        return isinstance(value, list) and all(any(_fits(each, item) for item in value) for each in pattern)
    return bool(pattern == value)


def _too_many(at_most: int, pointer: str) -> Finding:
    remedy = (
        f"give at most {at_most} of these" if at_most else "leave this element out: the profile has no place for it"
    )
    return Finding(pointer=pointer, code="profile-max", remedy=remedy)


def _written(rule: Rule) -> str:
    """Return the name under which a lacking element would stand in JSON."""
    if not rule.name.endswith("[x]"):
        return rule.name
    kind = rule.types[0] if rule.types else "String"
    return rule.name.removesuffix("[x]") + kind[0].upper() + kind[1:]


def _lacking(rule: Rule) -> str:
    count = "this element" if rule.at_least == 1 else f"at least {rule.at_least} of these"
    return f"give {count}: the profile requires it" + (f" for {rule.slice}" if rule.slice else "")


def _rules(elements: list[dict[str, Any]], types: Mapping[str, str]) -> Rule:
    """Return the elements of a differential as a tree, each slice beside its element as `name:slice`."""
    root = _rule(elements[0], types)
    for element in elements[1:]:
        holder = root
        *above, last = element["id"].split(".")[1:]
        for step in above:
            holder = holder.children.setdefault(step, _bare(step))
        holder.children[last] = _rule(element, types)
    return root


def _bare(step: str) -> Rule:
    name, _, part = step.partition(":")
    return Rule(name=name, slice=part, children={})


def _rule(element: dict[str, Any], types: Mapping[str, str]) -> Rule:
    rule = _bare(element["id"].rpartition(".")[2])
    kinds = element.get("type", ())
    profiles = [url for kind in kinds for url in kind.get("profile", ())]
    targets = (url for kind in kinds for url in kind.get("targetProfile", ()))
    rule.at_least = element.get("min", 0)
    rule.at_most = None if element.get("max", "*") == "*" else int(element["max"])
    rule.fixed = next((value for name, value in element.items() if name.startswith("fixed")), UNSET)
    rule.pattern = next((value for name, value in element.items() if name.startswith("pattern")), UNSET)
    rule.types = tuple(kind["code"] for kind in kinds)
    rule.targets = frozenset(types.get(url, url.removeprefix(_BASE)) for url in targets)
    rule.profile = profiles[0] if profiles else ""
    slicing = element.get("slicing", {}).get("discriminator", ())
    rule.discriminators = tuple(tuple(each["path"].split(".")) for each in slicing)
    return rule
