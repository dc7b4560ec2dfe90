"""What a search asks, parsed (https://hl7.org/fhir/R4/search.html). The store turns it into SQL, `parsing` makes it of parameters."""

from msgspec import Struct

Token = tuple[str | None, str | None]
"""(system, code): a system of None is any, of "" is none; a code of None is any code of that system."""

Span = tuple[int, int]
"""Microseconds since 1970, the first and the last one that a date of its precision covers."""


class Tokens(Struct, frozen=True, kw_only=True, tag=True):
    """One of these codes; with `is_not`, none of them (also where there is no code at all)."""

    param: str
    any_of: tuple[Token, ...]
    is_not: bool = False


class References(Struct, frozen=True, kw_only=True, tag=True):
    """A reference to one of these, each `Type/id`."""

    param: str
    any_of: tuple[str, ...]


class Dates(Struct, frozen=True, kw_only=True, tag=True):
    """One of these comparisons holds, each (prefix, span): eq ne gt lt ge le sa eb (https://hl7.org/fhir/R4/search.html#prefix)."""

    param: str
    any_of: tuple[tuple[str, Span], ...]


class Ids(Struct, frozen=True, kw_only=True, tag=True):
    """The resource has one of these ids."""

    any_of: tuple[str, ...]


class Missing(Struct, frozen=True, kw_only=True, tag=True):
    """The resource says nothing under a parameter, or does."""

    param: str
    is_missing: bool


class Chained(Struct, frozen=True, kw_only=True, tag=True):
    """What `param` refers to is of `target` and meets `condition`: `Task?focus:Goal.lifecycle-status=active`."""

    param: str
    target: str
    condition: "Simple"


class Has(Struct, frozen=True, kw_only=True, tag=True):
    """A `source` that refers here by its `param` meets `condition`: `Goal?_has:Task:focus:status=requested`."""

    source: str
    param: str
    condition: "Simple"


Simple = Tokens | References | Dates | Ids | Missing
Condition = Simple | Chained | Has


class Sort(Struct, frozen=True, kw_only=True):
    """`_id`, `_lastUpdated` or a date parameter."""

    param: str
    is_descending: bool = False


class Include(Struct, frozen=True, kw_only=True):
    """`source:param[:target]` of `_include` and `_revinclude`; no target is any."""

    source: str
    param: str
    target: str | None = None


class Query(Struct, frozen=True, kw_only=True):
    """One search. Every condition must hold. `_lastUpdated` is a Dates condition under that name.

    `said`: what was understood, in the order given, for the self link; `ignored`: names of parameters that were left out.
    """

    type: str
    conditions: tuple[Condition, ...] = ()
    sort: tuple[Sort, ...] = ()
    count: int = 50
    total: str = "none"
    summary: str = "false"
    elements: tuple[str, ...] = ()
    includes: tuple[Include, ...] = ()
    revincludes: tuple[Include, ...] = ()
    said: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
