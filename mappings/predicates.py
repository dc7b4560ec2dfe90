"""What the rows of `invariants.py` ask of a place: whether elements are there, together, in order, or allowed where they stand.

An element that the document gives another JSON type than R4 does is no matter for these: `structure.py` refuses it, they let it be.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from mappings.elements import Resource
from mappings.structure import Place, mentions
from mappings.targets import type_of

_UCUM = "http://unitsofmeasure.org"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
REQUEST = frozenset({"batch", "transaction", "history"})
RESPONSE = frozenset({"batch-response", "transaction-response", "history"})
"""The kinds of Bundle with a request, and with a response, in every entry."""
_MEALS = frozenset({"C", "CM", "CD", "CV"})

Predicate = Callable[[Place], bool]


def exists(value: Resource, *names: str) -> bool:
    """Say whether an element is there, be it with an extension only."""
    return any(name in value or f"_{name}" in value for name in names)


def chosen(value: Resource, stem: str) -> bool:
    """Say whether any type of a choice such as value[x] is there."""
    return any(
        name.removeprefix("_").startswith(stem) and name.removeprefix("_")[len(stem) :][:1].isupper() for name in value
    )


def implied(needed: tuple[str, ...], by: str) -> Predicate:
    return lambda place: not exists(place.value, by) or exists(place.value, *needed)


def any_of(*names: str) -> Predicate:
    return lambda place: exists(place.value, *names)


def not_both(one: str, other: str) -> Predicate:
    return lambda place: not (exists(place.value, one) and exists(place.value, other))


def objects(value: Any) -> Iterator[Resource]:
    yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict))


def codings(value: Any) -> set[tuple[Any, Any]]:
    """Return (system, code) of every coding of one or more concepts."""
    codings = (coding for concept in objects(value) for coding in objects(concept.get("coding", ())))
    found = ((coding.get("system"), coding.get("code")) for coding in codings)
    return {(system, code) for system, code in found if isinstance(code, str) and isinstance(system, str | None)}


def not_after(first: Any, last: Any) -> bool:
    """Say whether two moments may be in this order, as far as both are precise."""
    if not isinstance(first, str) or not isinstance(last, str):
        return True
    if "T" in first and "T" in last:
        try:
            return datetime.fromisoformat(first) <= datetime.fromisoformat(last)
        except (ValueError, TypeError):
            return True
    precise = min(len(first.partition("T")[0]), len(last.partition("T")[0]))
    return first[:precise] <= last[:precise]


def at_least_zero(name: str) -> Predicate:
    return lambda place: not isinstance(found := place.value.get(name), int | float) or found >= 0


def ordered_range(place: Place) -> bool:
    low, high = (next(objects(place.value.get(name, ())), {}) for name in ("low", "high"))
    return low.get("code") != high.get("code") or _not_above(low.get("value"), high.get("value"))


def _not_above(low: Any, high: Any) -> bool:
    return not (isinstance(low, int | float) and isinstance(high, int | float)) or low <= high


def simple(*names: str) -> Predicate:
    return lambda place: not any("comparator" in each for name in names for each in objects(place.value.get(name, ())))


def in_ucum(place: Place) -> bool:
    """Say whether a value has a code of UCUM, as far as it says of which system."""
    value = place.value
    return (exists(value, "code") or not exists(value, "value")) and value.get("system", _UCUM) == _UCUM


def counted(place: Place) -> bool:
    value = place.value.get("value")
    return in_ucum(place) and place.value.get("code", "1") == "1" and not isinstance(value, float)


def aged(place: Place) -> bool:
    value = place.value.get("value")
    return in_ucum(place) and not (isinstance(value, int | float) and value <= 0)


def lasting(place: Place) -> bool:
    value = place.value
    return not exists(value, "code") or (value.get("system") == _UCUM and exists(value, "value"))


def both_or_extended(place: Place) -> bool:
    numerator, denominator = exists(place.value, "numerator"), exists(place.value, "denominator")
    return numerator == denominator and (numerator or "extension" in place.value)


def resolves(place: Place) -> bool:
    text = place.value.get("reference")
    if not isinstance(text, str) or not text.startswith("#"):
        return True
    return text[1:] in place.container.kinds and (text != "#" or place.owner is not place.container.resource)


def is_referred_to(place: Place) -> bool:
    return f"#{place.value.get('id')}" in place.container.mentions or "#" in mentions(place.value)


def unversioned(place: Place) -> bool:
    return not any(exists(meta, "versionId", "lastUpdated") for meta in objects(place.value.get("meta", ())))


def unlabelled(place: Place) -> bool:
    return not any("security" in meta for meta in objects(place.value.get("meta", ())))


def offset_with_when(place: Place) -> bool:
    when = place.value.get("when")
    return not exists(place.value, "offset") or (
        isinstance(when, list) and not any(each in _MEALS for each in when if isinstance(each, str))
    )


def patient_for(scope: str) -> Predicate:
    asked = (f"{_TERMINOLOGY}/consentscope", scope)
    return lambda place: "patient" in place.value or asked not in codings(place.value.get("scope"))


def abated_is_over(place: Place) -> bool:
    system = f"{_TERMINOLOGY}/condition-clinical"
    over = {(system, code) for code in ("inactive", "resolved", "remission")}
    return not chosen(place.value, "abatement") or not over.isdisjoint(codings(place.value.get("clinicalStatus")))


def error_has_no_status(place: Place) -> bool:
    in_error = (f"{_TERMINOLOGY}/condition-ver-status", "entered-in-error")
    return "clinicalStatus" not in place.value or in_error not in codings(place.value.get("verificationStatus"))


def never_home(name: str) -> Predicate:
    return lambda place: not any(each.get("use") == "home" for each in objects(place.value.get(name, ())))


def on_behalf_of(place: Place) -> bool:
    text = next(objects(place.value.get("member", ())), {}).get("reference")
    kind = type_of(text, place) if isinstance(text, str) else None
    return "onBehalfOf" not in place.value or kind in {None, "Practitioner"}


def valued_once(place: Place) -> bool:
    components = (codings(each.get("code")) for each in objects(place.value.get("component", ())))
    own = codings(place.value.get("code"))
    return not chosen(place.value, "value") or all(own.isdisjoint(each) for each in components)


def no_reason_beside_value(place: Place) -> bool:
    return "dataAbsentReason" not in place.value or not chosen(place.value, "value")


def actual_with_members(place: Place) -> bool:
    return "member" not in place.value or place.value.get("actual") is True


def only_in(name: str, *kinds: str) -> Predicate:
    return lambda place: not exists(place.value, name) or place.owner.get("type") in kinds


def exactly_in(name: str, kinds: frozenset[str]) -> Predicate:
    def holds(place: Place) -> bool:
        kind = place.owner.get("type")
        return not isinstance(kind, str) or (name in place.value) == (kind in kinds)

    return holds


def distinct_urls(place: Place) -> bool:
    if place.value.get("type") == "history":
        return True
    named = [
        (each["fullUrl"], version(each))
        for each in objects(place.value.get("entry", ()))
        if isinstance(each.get("fullUrl"), str)
    ]
    return len(set(named)) == len(named)


def version(entry: Resource) -> str | None:
    resource = next(objects(entry.get("resource", ())), {})
    version = next(objects(resource.get("meta", ())), {}).get("versionId")
    return version if isinstance(version, str) else None


def begins_with(kind: str, first: str) -> Predicate:
    def holds(place: Place) -> bool:
        entry = next(objects(place.value.get("entry", ())), {})
        resource = next(objects(entry.get("resource", ())), {})
        return place.value.get("type") != kind or resource.get("resourceType") == first

    return holds


def document_has(holds: Callable[[Resource], bool]) -> Predicate:
    return lambda place: place.value.get("type") != "document" or holds(place.value)


def identified(bundle: Resource) -> bool:
    return any("system" in each and "value" in each for each in objects(bundle.get("identifier", ())))


def no_history_in_url(place: Place) -> bool:
    return "/_history/" not in str(place.value.get("fullUrl", ""))
