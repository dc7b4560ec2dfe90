"""Searches asked and answered in memory, as the store must in SQL: `from searches import parsed, matches, examples`."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

import mappings
from mappings.elements import Resource
from mappings.errors import Finding, MappingError
from mappings.search.dates import span_of
from mappings.search.parsing import parse_query
from mappings.search.query import Condition, Dates, Ids, Missing, Query, References, Span, Tokens
from mappings.search.values import Value, values_of

URL = "https://planbrug.voorbeeld.nl/fhir"
BSN = "999900006"

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
    return f"hash-{sum(map(int, bsn))}-{len(bsn)}"


def parsed(resource_type: str, text: str, *, is_strict: bool = False, is_post: bool = False) -> Query:
    """Parse a query as it stands in a URL."""
    pairs = parse_qsl(text, keep_blank_values=True)
    return parse_query(resource_type, pairs, base_url=URL, is_strict=is_strict, is_post=is_post, hashed=hashed)


def refused(resource_type: str, text: str, *, is_strict: bool = False, is_post: bool = False) -> tuple[Finding, ...]:
    """Return the refusals of a query."""
    with pytest.raises(MappingError) as error:
        parsed(resource_type, text, is_strict=is_strict, is_post=is_post)
    return error.value.findings


def tokens(param: str, *any_of: tuple[str | None, str | None], is_not: bool = False) -> Tokens:
    """Return a condition on tokens."""
    return Tokens(param=param, any_of=any_of, is_not=is_not)


def dates(param: str, *any_of: tuple[str, str]) -> Dates:
    """Return a condition on dates."""
    found = tuple((prefix, span) for prefix, text in any_of if (span := span_of(text)))
    assert len(found) == len(any_of)
    return Dates(param=param, any_of=found)


@cache
def examples() -> tuple[Resource, ...]:
    """Return every resource of every example, as `test_mappings_examples` proves that they are rendered."""
    bundles = (json.loads(path.read_bytes()) for path in EXAMPLES)
    return tuple(entry["resource"] for bundle in bundles for entry in bundle["entry"])


def matches(resource: Resource, conditions: tuple[Condition, ...], hashing: Callable[[str], str] = hashed) -> bool:
    """Return whether a resource meets every condition that is about itself."""
    values = values_of(resource, hashing)
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
