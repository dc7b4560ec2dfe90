"""One condition out of one parameter and its value (https://hl7.org/fhir/R4/search.html#ptypes): token, reference, date, id, missing.

A comma means or. What a parameter cannot do is refused, whether the client is lenient or not; a parameter that is unknown is None.
"""

import re
from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from mappings.errors import MappingError
from mappings.identifiers import BSN_SYSTEM, Bsn, IdentifierError
from mappings.search.dates import span_of
from mappings.search.literals import is_writable, pieces, refusal, unescaped
from mappings.search.parameters import PARAMETERS, PROFILE, Parameter, is_forbidden, may_refer
from mappings.search.query import Dates, Ids, Missing, References, Simple, Span, Token, Tokens

MAX_VALUES = 100
NOT_SEARCHABLE = "search by codes, dates, references and ids; a BSN by POST"

_T = TypeVar("_T")

_BSN_SYSTEMS = frozenset({BSN_SYSTEM, "urn:oid:2.16.840.1.113883.2.4.6.3"})
"""The BSN by the name that we render, and by the OID that other Dutch systems know it by."""
_PEOPLE = frozenset({"Patient", "RelatedPerson", "Practitioner"})
_BARE_BSN = re.compile(r"[0-9]{9}")
_NO_MODIFIER = "leave the modifier out"
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_LITERAL = re.compile(r"(?:(?P<type>[A-Z][A-Za-z]*)/)?(?P<id>[A-Za-z0-9\-.]{1,64})")
_DATE = re.compile(r"(?P<prefix>eq|ne|gt|lt|ge|le|sa|eb|ap)?(?P<date>[0-9].*)", re.DOTALL)
_MOMENT = "give a date as 2026, 2026-01, 2026-01-31 or 2026-01-31T10:30:00+01:00, with eq ne gt lt ge le sa or eb before it if need be"


class Setting(Struct, frozen=True, kw_only=True):
    """What a search is asked in: where the resources live, by which method, and how a BSN is hashed."""

    base_url: str
    is_post: bool
    hashed: Callable[[str], str]


class Asked(Struct, frozen=True, kw_only=True):
    """One parameter of `type` with its modifier and value; `full_name` is how the client wrote it, chain and all."""

    full_name: str
    type: str
    name: str
    value: str
    modifier: str | None = None

    def refused(self, code: str, remedy: str) -> MappingError:
        """Return the refusal of it."""
        return refusal(self.full_name, code, remedy)


class Understood(Struct, frozen=True, kw_only=True):
    """A condition, and its value as it may stand in a link: without a BSN."""

    condition: Simple
    said: str


def understood(asked: Asked, setting: Setting) -> Understood | None:
    """Return the condition; None when the type has no such parameter. Raises MappingError."""
    if is_forbidden(asked.name):
        raise asked.refused("not-searchable", NOT_SEARCHABLE)
    if asked.name in {"_id", "_lastUpdated"}:
        return Understood(condition=_column(asked), said=asked.value)
    parameter = PARAMETERS[asked.type].get(asked.name)
    if parameter is None:
        return None
    if asked.modifier == "missing":
        return Understood(condition=_missing(asked), said=asked.value)
    match parameter.kind:
        case "token":
            return _tokens(asked, setting)
        case "reference":
            return Understood(condition=_references(asked, parameter, setting), said=asked.value)
        case _:
            return Understood(condition=_dates(asked, "use no modifier but :missing"), said=asked.value)


def _column(asked: Asked) -> Ids | Dates:
    """Return a condition on what every resource has, so that nothing can be missing."""
    if asked.name == "_lastUpdated":
        return _dates(asked, _NO_MODIFIER)
    if asked.modifier is not None:
        raise asked.refused("modifier", _NO_MODIFIER)
    return Ids(any_of=_each(asked, _resource_id))


def _dates(asked: Asked, allowed: str) -> Dates:
    if asked.modifier is not None:
        raise asked.refused("modifier", allowed)
    return Dates(param=asked.name, any_of=_each(asked, _comparison))


def _each(asked: Asked, read: Callable[[Asked, str], _T]) -> tuple[_T, ...]:
    """Return what each of the values between commas says, once."""
    return tuple(dict.fromkeys(read(asked, piece) for piece in _values(asked)))


def _values(asked: Asked) -> list[str]:
    if not is_writable(asked.value):
        raise asked.refused("value", "give a value without control characters")
    values = pieces(asked.value, ",")
    if len(values) > MAX_VALUES:
        raise asked.refused("too-many", f"give at most {MAX_VALUES} values")
    if "" in values:
        raise asked.refused("value", "give a value, and one after every comma")
    return values


def _missing(asked: Asked) -> Missing:
    if asked.value not in {"true", "false"}:
        raise asked.refused("value", "give true or false after :missing")
    return Missing(param=asked.name, is_missing=asked.value == "true")


def _resource_id(asked: Asked, piece: str) -> str:
    if not _ID.fullmatch(piece):
        raise asked.refused("value", "give an id of 1 to 64 letters, digits, - and .")
    return piece


def _comparison(asked: Asked, piece: str) -> tuple[str, Span]:
    found = _DATE.fullmatch(piece)
    span = span_of(found["date"]) if found else None
    if found is None or span is None:
        raise asked.refused("value", _MOMENT)
    if found["prefix"] == "ap":
        raise asked.refused("value", "say what is near enough: use ge and le in two parameters instead of ap")
    return found["prefix"] or "eq", span


def _tokens(asked: Asked, setting: Setting) -> Understood:
    if asked.modifier not in {None, "not"}:
        raise asked.refused("modifier", "use no modifier but :not and :missing")
    values = _values(asked)
    tokens = [token for piece in values for token in _as_kept(asked, _token(asked, piece), setting)]
    condition = Tokens(param=asked.name, any_of=tuple(dict.fromkeys(tokens)), is_not=asked.modifier == "not")
    return Understood(condition=condition, said=",".join(_without_bsn(asked, piece) for piece in values))


def _token(asked: Asked, piece: str) -> Token:
    """Return the token that `code`, `system|code`, `|code` or `system|` names."""
    if asked.name == PROFILE:
        return None, unescaped(piece)
    match pieces(piece, "|"):
        case [code]:
            return None, unescaped(code)
        case [system, code] if system or code:
            return unescaped(system), unescaped(code) or None
        case _:
            raise asked.refused(
                "value", r"give code, system|code, |code or system|, and write a | inside any of them as \|"
            )


def _is_bsn(asked: Asked, token: Token) -> bool:
    """Return whether a token is a BSN, or looks like one where people's identifiers are asked for without a system."""
    system, code = token
    if code is None or system in _BSN_SYSTEMS:
        return code is not None
    if system or asked.type not in _PEOPLE or asked.name != "identifier" or not _BARE_BSN.fullmatch(code):
        return False
    return _bsn(code) is not None


def _as_kept(asked: Asked, token: Token, setting: Setting) -> list[Token]:
    """Return the tokens under which the index keeps it: a BSN by its hash; a bare number that may be one, both ways."""
    system, code = token
    if code is None or not _is_bsn(asked, token):
        return [(BSN_SYSTEM, code) if system in _BSN_SYSTEMS else token]
    if not setting.is_post:
        raise asked.refused(
            "bsn-by-get", "send a search for a BSN by POST to _search, which keeps the number out of URLs and logs"
        )
    bsn = _bsn(code)
    if bsn is None:
        raise asked.refused("value", "give a BSN of nine digits that passes the 11-test")
    hashed = (BSN_SYSTEM, setting.hashed(bsn))
    return [hashed] if system in _BSN_SYSTEMS else [token, *([hashed] if system is None else [])]


def _bsn(code: str) -> Bsn | None:
    try:
        return Bsn(code)
    except IdentifierError:
        return None


def _without_bsn(asked: Asked, piece: str) -> str:
    token = _token(asked, piece)
    return f"{BSN_SYSTEM}|*" if _is_bsn(asked, token) else piece


def _references(asked: Asked, parameter: Parameter, setting: Setting) -> References:
    types = parameter.targets or tuple(PARAMETERS)
    if asked.modifier not in {None, *types}:
        raise asked.refused("modifier", f"use no modifier but {', '.join(f':{each}' for each in types)} and :missing")
    found = (each for piece in _values(asked) for each in _references_of(asked, parameter, piece, setting))
    return References(param=asked.name, any_of=tuple(dict.fromkeys(found)))


def _references_of(asked: Asked, parameter: Parameter, piece: str, setting: Setting) -> list[str]:
    """Return what `id`, `Type/id` or a URL of this server refers to: an id alone may be of any type that the parameter allows."""
    found = _LITERAL.fullmatch(unescaped(piece).removeprefix(f"{setting.base_url.rstrip('/')}/"))
    if found is None:
        raise asked.refused("value", "give an id, Type/id, or a URL of a resource of this server")
    named = found["type"]
    if named is None:
        types = [asked.modifier] if asked.modifier else parameter.targets or tuple(PARAMETERS)
        return [f"{each}/{found['id']}" for each in types]
    if not may_refer(parameter, named) or asked.modifier not in {None, named}:
        allowed = asked.modifier or ", ".join(parameter.targets)
        raise asked.refused("value", f"refer to one of these types: {allowed}")
    return [f"{named}/{found['id']}"]
