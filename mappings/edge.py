"""Everything that FHIR from outside must be before anybody reads it: the check at the edge.

| what | where |
|---|---|
| no null, nothing empty, nothing unwritable, not too deep | `fhirjson.py` |
| names, JSON types, cardinalities, forms of values | `structure.py`, by `models.py` |
| required codes | `bindings.py` |
| types of what is referred to | `targets.py` |
| invariants | `invariants.py` |
| narrative | `narrative.py` |
| our own profiles, extensions and codes | `conformance.py`, out of `profiles/` |

Nothing here quotes a value. What our own mapper renders is held to the same rules in tests, not on the way out.
Time and memory grow with the size of the document, and no step recurses along it without the limit of `fhirjson.py`.
"""

import heapq
from collections.abc import Iterator, Mapping
from typing import Any

from mappings import bindings, conformance, fhirjson, invariants, narrative, targets
from mappings.document import MAX_FINDINGS, escape, unescape
from mappings.elements import Resource
from mappings.errors import Finding, MappingError
from mappings.structure import Place, model_findings, walk

_ENOUGH = 10 * MAX_FINDINGS
"""Whoever sent this many mistakes is told of the first; the rest of the document need not be read."""


def check_resource(resource: Any, pointer: str = "") -> list[Finding]:
    """Return what is wrong with a resource that stands at `pointer`: the first 100 findings, in the order of the document."""
    if not isinstance(resource, dict):
        return [Finding(pointer=pointer, code="type", remedy="send a FHIR resource as a JSON object")]
    form = list(fhirjson.findings(resource, pointer))
    if any(finding.code in fhirjson.UNREADABLE for finding in form):
        return form[:MAX_FINDINGS]
    ruled: list[Finding] = []
    modelled: list[Finding] = []
    for found in walk(resource, pointer, _full_urls(resource)):
        if isinstance(found, Finding):
            ruled.append(found)
        else:
            ruled += _at(found)
            modelled += model_findings(found) if found.is_resource else ()
        if len(ruled) > _ENOUGH:
            break
    return _first([*form, *ruled, *_untold(modelled, [*form, *ruled])], resource, pointer)


def check_bundle(bundle: Any) -> None:
    """Check a Bundle and every resource in it. Raises MappingError with every finding, or the first 100."""
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise MappingError(Finding(pointer="", code="bundle", remedy="send a FHIR Bundle"))
    if found := check_resource(bundle):
        raise MappingError(*found)


def _untold(modelled: list[Finding], told: list[Finding]) -> Iterator[Finding]:
    """Yield what only the models found; they also stumble over a whole list or resource for what is told of a place inside it."""
    places, codes = {each.pointer for each in told}, {each.code for each in told}
    around = {place[:at] for place in places for at in range(len(place)) if place[at] == "/"}
    for each in modelled:
        stumbled = (
            each.pointer in around if each.code == "format" else each.code == "resource-type" and each.code in codes
        )
        if each.pointer not in places and not stumbled:
            yield each


def _at(place: Place) -> Iterator[Finding]:
    """Yield what the rules of R4 and our own refuse at one place."""
    for name, value in place.value.items():
        yield from bindings.findings(f"{place.type}.{name}", value, f"{place.pointer}/{escape(name)}")
    yield from invariants.findings(place)
    if place.type == "Reference":
        yield from targets.findings(place)
    if place.type == "Narrative" and isinstance(div := place.value.get("div"), str):
        yield from narrative.findings(div, f"{place.pointer}/div")
    yield from conformance.findings(place)


def _full_urls(resource: Resource) -> Mapping[str, str]:
    """Return of which type the resource at each fullUrl of a Bundle is."""
    entries = resource.get("entry") if resource.get("resourceType") == "Bundle" else None
    found = {}
    for entry in entries if isinstance(entries, list) else ():
        url, inner = (entry.get("fullUrl"), entry.get("resource")) if isinstance(entry, dict) else (None, None)
        kind = inner.get("resourceType") if isinstance(inner, dict) else None
        if isinstance(url, str) and isinstance(kind, str):
            found[url] = kind
    return found


def _first(found: list[Finding], document: Resource, root: str) -> list[Finding]:
    """Return the first findings in the order of the document, each pointer and code once."""
    once = {(finding.pointer, finding.code): finding for finding in reversed(found)}
    return heapq.nsmallest(MAX_FINDINGS, reversed(once.values()), key=_Order(document, root).position)


class _Order:
    """Where findings stand in a document. The names of an object are numbered once, however many findings are in it."""

    def __init__(self, document: Resource, root: str) -> None:
        self._document, self._root = document, root
        self._numbers: dict[int, dict[str, int]] = {}

    def position(self, finding: Finding) -> list[int]:
        """Return the number of each step to it; of one that is not there, that of a last one."""
        steps: list[int] = []
        here: Any = self._document
        for token in finding.pointer[len(self._root) :].split("/")[1:]:
            if isinstance(here, dict):
                name = unescape(token)
                steps.append(self._numbered(here).get(name, len(here)))
                here = here.get(name)
            elif isinstance(here, list):
                steps.append(int(token))
                here = here[int(token)]
        return steps

    def _numbered(self, value: Resource) -> dict[str, int]:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = {name: at for at, name in enumerate(value)}
        return self._numbers[id(value)]
