"""A search as sent, checked and understood (https://hl7.org/fhir/R4/search.html).

A strict client (`Prefer: handling=strict`, https://hl7.org/fhir/R4/search.html#errors) is told of a parameter that is unknown; for a
lenient one it is left out and named in `ignored`. Refused for both: a value that says nothing, a modifier, a chain or an include that
this server does not do, names and addresses, and a BSN in a URL.

Every refusal is found before any is raised, each at `/` and the name of its parameter. No value is ever in one.
Time grows with the length of what was sent; at most 100 parameters of 100 values are read, and of all but ids at most 300 together:
every one of them is a piece of the SQL that somebody must make and keep.
"""

from collections.abc import Callable, Sequence

from mappings.errors import Finding, MappingError
from mappings.search.conditions import NOT_SEARCHABLE, Asked, Setting, understood
from mappings.search.controls import Fields, control, merged, settled
from mappings.search.literals import refusal, told
from mappings.search.parameters import PARAMETERS, Parameter, is_forbidden, may_refer
from mappings.search.query import Chained, Condition, Dates, Has, Query, References, Simple, Tokens

MAX_PARAMETERS = 100
MAX_VALUES_TOGETHER = 300

_SILENT = "_pretty"
_MIN_HAS, _MAX_HAS = 4, 5


def parse_query(
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    base_url: str,
    is_strict: bool,
    is_post: bool,
    hashed: Callable[[str], str],
) -> Query:
    """Return what the pairs of name and value ask of a type. `hashed` is the keyed hash under which the index keeps a BSN.

    Raises MappingError with every refusal.
    """
    if resource_type not in PARAMETERS:
        raise MappingError(Finding(pointer="", code="not-supported", remedy=f"search one of: {', '.join(PARAMETERS)}"))
    if len(pairs) > MAX_PARAMETERS:
        raise MappingError(Finding(pointer="", code="too-many", remedy=f"send at most {MAX_PARAMETERS} parameters"))
    reading = _Reading(resource_type, Setting(base_url=base_url, is_post=is_post, hashed=hashed), is_strict=is_strict)
    for name, value in pairs:
        reading.take(name, value)
    return reading.query()


class _Reading:
    """What was read so far."""

    def __init__(self, resource_type: str, setting: Setting, *, is_strict: bool) -> None:
        self._type, self._setting, self._is_strict = resource_type, setting, is_strict
        self._conditions: dict[Condition, None] = {}
        self._fields: Fields = {}
        self._said: list[tuple[str, str]] = []
        self._ignored: dict[str, None] = {}
        self._refusals: list[Finding] = []

    def take(self, name: str, value: str) -> None:
        """Read one parameter, keeping a refusal for the end."""
        try:
            self._read(name, value)
        except MappingError as error:
            self._refusals += error.findings

    def query(self) -> Query:
        """Return the whole. Raises MappingError."""
        try:
            fields = settled(self._fields)
        except MappingError as error:
            self._refusals += error.findings
        if sum(map(_weight, self._conditions)) > MAX_VALUES_TOGETHER:
            remedy = f"give at most {MAX_VALUES_TOGETHER} values in all, ids apart"
            self._refusals.append(Finding(pointer="", code="too-many", remedy=remedy))
        if self._refusals:
            raise MappingError(*self._refusals)
        return Query(
            type=self._type,
            conditions=tuple(self._conditions),
            said=tuple(self._said),
            ignored=tuple(self._ignored),
            **fields,
        )

    def _read(self, name: str, value: str) -> None:
        if name == _SILENT:
            return
        if shaping := control(self._type, name, value):
            fields, said = shaping
            self._fields = merged(name, self._fields, fields)
        elif finding := _condition(self._type, name, value, self._setting):
            condition, said = finding
            self._conditions[condition] = None
        elif self._is_strict:
            raise refusal(
                name, "unknown-parameter", f"use one of: _id, _lastUpdated, {', '.join(PARAMETERS[self._type])}"
            )
        else:
            self._ignored[told(name)] = None
            return
        self._said.append((name, said))


def _weight(condition: Condition) -> int:
    """Return how many values a condition compares one by one."""
    if isinstance(condition, Chained | Has):
        return _weight(condition.condition)
    return len(condition.any_of) if isinstance(condition, Tokens | References | Dates) else 1


_Plain = tuple[Simple, str]
_Found = tuple[Condition, str]
"""A condition, and its value as it may stand in a link."""


def _condition(resource_type: str, full_name: str, value: str, setting: Setting) -> _Found | None:
    """Return the condition of a parameter, a chain or a `_has`; None when there is no such parameter."""
    if full_name.partition(":")[0] == "_has":
        return _has(resource_type, full_name, value, setting)
    if "." in full_name:
        return _chained(resource_type, full_name, value, setting)
    return _simple(resource_type, full_name, full_name, value, setting)


def _simple(resource_type: str, named: str, full_name: str, value: str, setting: Setting) -> _Plain | None:
    name, colon, modifier = named.partition(":")
    asked = Asked(full_name=full_name, type=resource_type, name=name, value=value, modifier=modifier if colon else None)
    found = understood(asked, setting)
    return (found.condition, found.said) if found else None


def _chained(resource_type: str, full_name: str, value: str, setting: Setting) -> _Found | None:
    """Return the condition on what a reference leads to (https://hl7.org/fhir/R4/search.html#chaining)."""
    link, _, end = full_name.partition(".")
    name, _, named = link.partition(":")
    parameter = PARAMETERS[resource_type].get(name)
    if is_forbidden(name):
        raise refusal(full_name, "not-searchable", NOT_SEARCHABLE)
    if parameter is None:
        return None
    if parameter.kind != "reference":
        raise refusal(full_name, "chain", "chain from a parameter that is a reference")
    _refuse_longer(full_name, end)
    target = _target(parameter, named, full_name)
    found = _simple(target, end, full_name, value, setting)
    return (Chained(param=name, target=target, condition=found[0]), found[1]) if found else None


def _refuse_longer(full_name: str, end: str) -> None:
    if "." in end or end.startswith("_has"):
        raise refusal(full_name, "chain", "chain one step only")


def _target(parameter: Parameter, named: str, full_name: str) -> str:
    """Return the type that a chain leads to: the named one, or the only one that this server has."""
    held = [each for each in PARAMETERS if may_refer(parameter, each)]
    if named in held:
        return named
    if named or len(held) != 1:
        raise refusal(
            full_name, "chain", f"name the type as in {parameter.name}:{held[0]}; it may be {', '.join(held)}"
        )
    return held[0]


def _has(resource_type: str, full_name: str, value: str, setting: Setting) -> _Found:
    """Return the condition on what refers here (https://hl7.org/fhir/R4/search.html#has)."""
    steps = full_name.split(":", _MAX_HAS - 1)
    if len(steps) < _MIN_HAS:
        raise refusal(full_name, "chain", "write it as in _has:Task:focus:status")
    _, source, param, *rest = steps
    parameter = PARAMETERS.get(source, {}).get(param)
    if parameter is None or not may_refer(parameter, resource_type):
        raise refusal(full_name, "chain", f"name a type and one of its parameters that refers to {resource_type}")
    end = ":".join(rest)
    _refuse_longer(full_name, end)
    found = _simple(source, end, full_name, value, setting)
    if found is None:
        raise refusal(full_name, "chain", f"end with a search parameter of {source}")
    return Has(source=source, param=param, condition=found[0]), found[1]
