"""Where a reference leads: the type of its target, and whether that type is allowed (https://hl7.org/fhir/R4/references.html)."""

import re
from collections.abc import Iterator

from mappings.errors import Finding
from mappings.models import model_of
from mappings.structure import Place

_LITERAL = re.compile(
    r"(?P<base>(http|https)://[^?#]*/)?(?P<type>[A-Za-z]+)(/[A-Za-z0-9\-.]{1,64}(/_history/[A-Za-z0-9\-.]{1,64})?(#.*)?|\?.+)"
)
_DEFINITION = "http://hl7.org/fhir/StructureDefinition/"
_ANY = "Resource"


def findings(place: Place) -> Iterator[Finding]:
    """Yield what is wrong with where a Reference leads; nothing for a target that the document does not let us know."""
    yield from wrong_target(place, place.targets)


def wrong_target(place: Place, allowed: frozenset[str]) -> Iterator[Finding]:
    """Yield a finding for a Reference to a type that is not allowed, or that says two things."""
    text, named = place.value.get("reference"), _named(place)
    literal = type_of(text, place) if isinstance(text, str) else None
    if isinstance(text, str) and not text.startswith(("#", "urn:")) and ":" not in text and literal is None:
        remedy = "refer by Type/id, by the fullUrl of an entry, or by # and the id of a contained resource"
        yield Finding(pointer=f"{place.pointer}/reference", code="reference", remedy=remedy)
    for name, kind in (("reference", literal), ("type", named)):
        if kind is not None and not _allows(allowed, kind):
            yield Finding(pointer=f"{place.pointer}/{name}", code="reference-type", remedy=_remedy(allowed))
    if literal and named and literal != named:
        yield Finding(
            pointer=f"{place.pointer}/type", code="reference-type", remedy="name the type that the reference has"
        )


def type_of(text: str, place: Place) -> str | None:
    """Return the type of the resource that a literal reference leads to, as far as this document tells."""
    if text.startswith("#"):
        return place.container.kinds.get(text[1:])
    if text in place.full_urls:
        return place.full_urls[text]
    match = _LITERAL.fullmatch(text)
    if match is None or (match["base"] and model_of(match["type"]) is None):
        return None
    return match["type"]


def _named(place: Place) -> str | None:
    named = place.value.get("type")
    return named.removeprefix(_DEFINITION) if isinstance(named, str) and named else None


def _allows(allowed: frozenset[str], kind: str) -> bool:
    return model_of(kind) is not None and (not allowed or _ANY in allowed or kind in allowed)


def _remedy(allowed: frozenset[str]) -> str:
    if not allowed or _ANY in allowed:
        return "refer to a resource type of R4"
    return f"refer to one of these types: {', '.join(sorted(allowed))}"
