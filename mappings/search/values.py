"""What a resource says under each search parameter of its type: the rows of a search index (https://hl7.org/fhir/R4/search.html).

Codes, dates, relative references and identifiers only. A bare `code` is kept under the system that R4 implies, so both
`status=requested` and `status=http://hl7.org/fhir/task-status|requested` find it; `status=|requested` does not, as R4 has it.
A date is the whole interval that its precision covers; a Period reaches from the first microsecond of its start to the last of its end.

# INVARIANT: a BSN is in no value; what stands for it is `hashed(bsn)`, of all nine digits.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from mappings.elements import Resource
from mappings.identifiers import BSN_SYSTEM
from mappings.search.dates import BEGINNING, END, span_of
from mappings.search.parameters import PARAMETERS, Parameter
from mappings.search.query import Span, Token
from mappings.search.systems import BOOLEAN, implied_system

Hashed = Callable[[str], str]
"""A keyed hash of a BSN."""


class Value(Struct, frozen=True, kw_only=True):
    """One value under a parameter.

    A token has a system ("" for none) and a code; a reference has `Type/id` as its code; a date has low and high, both inclusive.
    """

    param: str
    system: str | None = None
    code: str | None = None
    low: int | None = None
    high: int | None = None


_BSN_DIGITS = 9
_RELATIVE = re.compile(r"(?P<type>[A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})(/_history/[A-Za-z0-9\-.]{1,64})?")


def values_of(resource: Resource, hashed: Hashed) -> tuple[Value, ...]:
    """Return every value once, in the order of the parameters and of the resource; nothing for a type without parameters."""
    found: list[Value] = []
    for step in _STEPS.get(resource["resourceType"], ()):
        if step.first in resource:
            for element in _elements(resource[step.first], step.rest):
                found += _values(step.parameter, step.element, element, hashed)
    return tuple(dict.fromkeys(found))


class _Step(Struct, frozen=True):
    """One path of a parameter, taken apart once: `Task.restriction.period` is `restriction`, then `period`."""

    parameter: Parameter
    element: str
    first: str
    rest: tuple[str, ...]


def _steps(resource_type: str) -> Iterator[_Step]:
    for parameter in PARAMETERS[resource_type].values():
        for path in parameter.paths:
            first, *rest = path.split(".")
            yield _Step(parameter, f"{resource_type}.{path}", first, tuple(rest))


_STEPS = {resource_type: tuple(_steps(resource_type)) for resource_type in PARAMETERS}


def _elements(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _elements(each, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _elements(value[path[0]], path[1:])


def _values(parameter: Parameter, element: str, value: Any, hashed: Hashed) -> Iterator[Value]:
    match parameter.kind:
        case "token":
            for system, code in _tokens(element, value, hashed):
                yield Value(param=parameter.name, system=system, code=code)
        case "reference":
            if target := _target(value, parameter.targets):
                yield Value(param=parameter.name, code=target)
        case "date":
            if span := _span(value):
                yield Value(param=parameter.name, low=span[0], high=span[1])


def _tokens(element: str, value: Any, hashed: Hashed) -> Iterator[Token]:
    """Yield the tokens of a code, boolean, Coding, CodeableConcept or Identifier (https://hl7.org/fhir/R4/search.html#token)."""
    if isinstance(value, bool):
        yield BOOLEAN, str(value).lower()
    elif isinstance(value, str):
        yield implied_system(element, value), value
    elif isinstance(value, dict):
        for coding in value.get("coding", ()):
            yield from _tokens(element, coding, hashed)
        if code := value.get("code"):
            yield value.get("system", ""), code
        elif text := value.get("value"):
            system = value.get("system", "")
            yield system, hashed(text.zfill(_BSN_DIGITS)) if system == BSN_SYSTEM else text


def _target(value: Any, targets: tuple[str, ...]) -> str | None:
    """Return where a relative reference leads, when the parameter may lead there."""
    literal = value.get("reference") if isinstance(value, dict) else None
    found = _RELATIVE.fullmatch(literal) if literal else None
    if found is None or (targets and found["type"] not in targets):
        return None
    return f"{found['type']}/{found['id']}"


def _span(value: Any) -> Span | None:
    if isinstance(value, str):
        return span_of(value)
    if not isinstance(value, dict) or not value.keys() & {"start", "end"}:
        return None
    first, last = (span_of(value[edge]) if edge in value else None for edge in ("start", "end"))
    return (first[0] if first else BEGINNING), (last[1] if last else END)
