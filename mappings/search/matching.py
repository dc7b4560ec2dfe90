"""Whether one resource meets the conditions of a search by itself: the pure twin of the store's SQL, for what stands in no index.

Source: https://hl7.org/fhir/R4/search.html. A chain and a `_has` are about other resources, and cannot be asked here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from mappings.elements import Resource
from mappings.search.dates import span_of
from mappings.search.query import Chained, Condition, Dates, Has, Ids, Missing, References, Span, Token, Tokens
from mappings.search.values import Hashed, Value, values_of

LAST_UPDATED = "_lastUpdated"


def matches(resource: Resource, conditions: Iterable[Condition], hashed: Hashed) -> bool:
    """Return whether a resource meets every condition. Raises ValueError for a condition that is about another resource."""
    values = values_of(resource, hashed)
    return all(_meets(resource, values, condition) for condition in conditions)


def _meets(resource: Resource, values: Sequence[Value], condition: Condition) -> bool:
    match condition:
        case Ids(any_of=ids):
            return resource["id"] in ids
        case Dates(param=param, any_of=comparisons):
            spans = _changed(resource) if param == LAST_UPDATED else _spans(values, param)
            return any(_COMPARED[prefix](span, asked) for span in spans for prefix, asked in comparisons)
        case Tokens(param=param, any_of=tokens, is_not=is_not):
            found = any(_is(value, token) for value in _under(values, param) for token in tokens)
            return found != is_not
        case References(param=param, any_of=targets):
            return any(value.code in targets for value in _under(values, param))
        case Missing(param=param, is_missing=is_missing):
            return is_missing != any(True for _ in _under(values, param))
        case Chained() | Has():
            raise ValueError("this is about another resource")


def _under(values: Iterable[Value], param: str) -> Iterable[Value]:
    return (value for value in values if value.param == param)


def _spans(values: Iterable[Value], param: str) -> list[Span]:
    return [
        (value.low, value.high) for value in _under(values, param) if value.low is not None and value.high is not None
    ]


def _changed(resource: Resource) -> list[Span]:
    """Return the moment of the last change, which is one microsecond however it is written."""
    span = span_of(resource.get("meta", {}).get("lastUpdated", ""))
    return [(span[0], span[0])] if span else []


def _is(value: Value, token: Token) -> bool:
    system, code = token
    return system in {None, value.system} and code in {None, value.code}


def _within(value: Span, asked: Span) -> bool:
    return asked[0] <= value[0] and value[1] <= asked[1]


_COMPARED: Mapping[str, Callable[[Span, Span], bool]] = {
    "eq": _within,
    "ne": lambda value, asked: not _within(value, asked),
    "gt": lambda value, asked: value[1] > asked[1],
    "lt": lambda value, asked: value[0] < asked[0],
    "ge": lambda value, asked: value[1] > asked[1] or _within(value, asked),
    "le": lambda value, asked: value[0] < asked[0] or _within(value, asked),
    "sa": lambda value, asked: value[0] > asked[1],
    "eb": lambda value, asked: value[1] < asked[0],
}
"""https://hl7.org/fhir/R4/search.html#prefix, on closed intervals of microseconds."""
