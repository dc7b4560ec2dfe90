"""Searching in memory, as the store must in SQL: `from searches import matches, examples`. Only what tests of the pure part need."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mappings
from mappings.elements import Resource
from mappings.search.query import Condition, Dates, Ids, Missing, References, Span, Tokens
from mappings.search.values import Value, values_of

EXAMPLES = sorted((Path(mappings.__file__).parent / "formats").glob("*/examples/*/bundle.json"))

_COMPARE: dict[str, Callable[[Span, Span], bool]] = {
    "eq": lambda value, asked: asked[0] <= value[0] and value[1] <= asked[1],
    "ne": lambda value, asked: not (asked[0] <= value[0] and value[1] <= asked[1]),
    "gt": lambda value, asked: value[1] > asked[1],
    "lt": lambda value, asked: value[0] < asked[0],
    "ge": lambda value, asked: value[1] > asked[1] or (asked[0] <= value[0] and value[1] <= asked[1]),
    "le": lambda value, asked: value[0] < asked[0] or (asked[0] <= value[0] and value[1] <= asked[1]),
    "sa": lambda value, asked: value[0] > asked[1],
    "eb": lambda value, asked: value[1] < asked[0],
}
"""https://hl7.org/fhir/R4/search.html#prefix."""


def hashed(bsn: str) -> str:
    """Stand for a BSN without holding one."""
    return f"hash-{int(bsn) % 9973}"


@cache
def examples() -> tuple[Resource, ...]:
    """Return every resource of every example, as `test_mappings_examples` proves that they are rendered."""
    bundles = (json.loads(path.read_bytes()) for path in EXAMPLES)
    return tuple(entry["resource"] for bundle in bundles for entry in bundle["entry"])


def matches(resource: Resource, conditions: tuple[Condition, ...]) -> bool:
    """Return whether a resource meets every condition that is about itself."""
    values = values_of(resource, hashed)
    return all(_meets(resource, values, condition) for condition in conditions)


def _meets(resource: Resource, values: tuple[Value, ...], condition: Any) -> bool:
    if isinstance(condition, Ids):
        return resource["id"] in condition.any_of
    under = [value for value in values if value.param == condition.param]
    match condition:
        case Tokens():
            found = any(_is(value, *token) for value in under for token in condition.any_of)
            return found != condition.is_not
        case References():
            return any(value.code in condition.any_of for value in under)
        case Missing():
            return condition.is_missing == (not under)
        case Dates():
            return any(_COMPARE[prefix](_span(value), span) for value in under for prefix, span in condition.any_of)
    raise AssertionError(condition)


def _is(value: Value, system: str | None, code: str | None) -> bool:
    return system in {None, value.system} and code in {None, value.code}


def _span(value: Value) -> Span:
    assert value.low is not None
    assert value.high is not None
    return value.low, value.high
