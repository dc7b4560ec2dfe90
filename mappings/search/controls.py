"""The parameters that shape the answer and find nothing: page, order, what comes along, how much of each resource.

Source: https://hl7.org/fhir/R4/search.html#Summary ("Managing Returned Resources"). `_pretty` is for the layer that writes JSON.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from mappings.search.literals import pieces, refusal
from mappings.search.parameters import PARAMETERS, may_refer
from mappings.search.query import Include, Sort

MAX_COUNT = 200
_MAX_ITEMS = 100

_NUMBER = re.compile(r"[0-9]+")
_ELEMENT = re.compile(r"[A-Za-z]{1,64}")
_FORMATS = frozenset({"json", "application/json", "application/fhir+json", "application/fhir json", "text/json"})
"""A `+` that was not encoded comes in as a space."""
_TOTALS = ("none", "estimate", "accurate")
_SUMMARIES = ("true", "text", "data", "count", "false")

Fields = dict[str, Any]
"""Fields of a Query that one parameter sets."""


def control(resource_type: str, full_name: str, value: str) -> tuple[Fields, str] | None:
    """Return what a parameter sets, and its value for the self link; None when it is not one of these. Raises MappingError."""
    name, colon, _ = full_name.partition(":")
    read = _READ.get(name)
    if read is None:
        return None
    if colon:
        remedy = (
            "leave :iterate out: what comes along is one step away" if "include" in name else "leave the modifier out"
        )
        raise refusal(full_name, "modifier", remedy)
    return read(resource_type, name, value)


def _count(_: str, name: str, value: str) -> tuple[Fields, str]:
    if not _NUMBER.fullmatch(value):
        raise refusal(name, "value", "give a number of 0 or more")
    digits = value.lstrip("0")
    count = MAX_COUNT if len(digits) > len(str(MAX_COUNT)) else min(int(digits or 0), MAX_COUNT)
    return {"count": count}, str(count)


def _sort(resource_type: str, name: str, value: str) -> tuple[Fields, str]:
    dates = [each.name for each in PARAMETERS[resource_type].values() if each.kind == "date"]
    allowed = ["_id", "_lastUpdated", *dates]
    rules: dict[str, Sort] = {}
    for piece in _items(name, value):
        param = piece.removeprefix("-")
        if param not in allowed:
            raise refusal(name, "value", f"sort by {', '.join(allowed)}, with - before it for the last one first")
        rules.setdefault(param, Sort(param=param, is_descending=piece.startswith("-")))
    return {"sort": tuple(rules.values())}, value


def _items(name: str, value: str) -> list[str]:
    items = pieces(value, ",")
    if len(items) > _MAX_ITEMS:
        raise refusal(name, "too-many", f"give at most {_MAX_ITEMS} values")
    return items


def _one_of(field: str, allowed: tuple[str, ...]) -> "_Reader":
    def read(_: str, name: str, value: str) -> tuple[Fields, str]:
        if value not in allowed:
            raise refusal(name, "value", f"give one of: {', '.join(allowed)}")
        return {field: value}, value

    return read


def _elements(_: str, name: str, value: str) -> tuple[Fields, str]:
    items = _items(name, value)
    if not all(map(_ELEMENT.fullmatch, items)):
        raise refusal(name, "value", "give names of elements of the resource itself, with a comma between them")
    return {"elements": tuple(dict.fromkeys(items))}, value


def _format(_: str, name: str, value: str) -> tuple[Fields, str]:
    if value.partition(";")[0].strip() not in _FORMATS:
        raise refusal(name, "value", "ask for json or application/fhir+json: this server writes nothing else")
    return {}, "json"


def _include(resource_type: str, name: str, value: str) -> tuple[Fields, str]:
    include = _read_include(name, value)
    if include.source != resource_type:
        raise refusal(name, "value", f"start with {resource_type}:, the type that is searched")
    return {"includes": (include,)}, value


def _revinclude(resource_type: str, name: str, value: str) -> tuple[Fields, str]:
    include = _read_include(name, value)
    parameter = PARAMETERS[include.source][include.param]
    if not may_refer(parameter, resource_type) or include.target not in {None, resource_type}:
        raise refusal(name, "value", f"name a parameter that refers to {resource_type}, the type that is searched")
    return {"revincludes": (include,)}, value


def _read_include(name: str, value: str) -> Include:
    """Return what `Type:param` or `Type:param:Target` names."""
    source, _, rest = value.partition(":")
    param, colon, target = rest.partition(":")
    parameter = PARAMETERS.get(source, {}).get(param)
    if parameter is None or parameter.kind != "reference":
        raise refusal(name, "value", "give Type:parameter of a reference parameter of one type; * takes too much along")
    if colon and not may_refer(parameter, target):
        raise refusal(name, "value", "name a type that the parameter refers to, or none")
    return Include(source=source, param=param, target=target or None)


_Reader = Callable[[str, str, str], tuple[Fields, str]]
_READ: Mapping[str, _Reader] = {
    "_count": _count,
    "_sort": _sort,
    "_total": _one_of("total", _TOTALS),
    "_summary": _one_of("summary", _SUMMARIES),
    "_elements": _elements,
    "_format": _format,
    "_include": _include,
    "_revinclude": _revinclude,
}


def merged(full_name: str, before: Fields, more: Fields) -> Fields:
    """Return both; lists join, and two different values for one thing are refused. Raises MappingError."""
    found = dict(before)
    for field, value in more.items():
        if isinstance(value, tuple):
            found[field] = tuple(dict.fromkeys((*found.get(field, ()), *value)))
        elif found.setdefault(field, value) != value:
            raise refusal(full_name, "value", "give it once")
    return found


def settled(fields: Fields) -> Fields:
    """Return the fields with what one says about another. Raises MappingError."""
    if fields.get("count") == 0:
        fields = fields | {"summary": "count"}
    if fields.get("summary") == "text" and fields.keys() & {"includes", "revincludes"}:
        raise refusal("_summary", "value", "ask for text alone: nothing comes along with it")
    return fields
