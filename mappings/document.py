"""From bytes to a JSON document that is safe to map, and the schema's verdict on it.

Stricter than `json`: UTF-8 only, no duplicate keys (RFC 8259 leaves their meaning open), no NaN or infinity, no NUL or lone
surrogate in a string (databases and XML refuse them later), at most 64 levels. A remedy never repeats what the document says.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Never

import jsonschema_rs
import msgspec

from mappings.errors import Finding, FormatError, MappingError

MAX_DEPTH = 64
MAX_FINDINGS = 100

_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")
_REMEDIES = {
    "additionalProperties": "leave out the properties that the schema does not name",
    "const": "give the one value that the schema allows",
    "enum": "give one of the values that the schema allows",
    "format": "give text in the format that the schema asks for",
    "pattern": "give text in the shape that the schema asks for",
    "uniqueItems": "leave out the items that stand twice",
    "falseSchema": "leave this out: the schema allows nothing here",
}
_LIMITS = {
    "minItems": "give at least {} in this list",
    "maxItems": "give at most {} in this list",
    "minLength": "give at least {} characters",
    "maxLength": "give at most {} characters",
    "minimum": "give a number that is at least {}",
    "maximum": "give a number that is at most {}",
    "minProperties": "give at least {} properties",
    "maxProperties": "give at most {} properties",
}
_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


class _TwiceError(ValueError):
    """A key stands twice in one object."""


class _Twice(dict[str, Any]):
    """An object in which `names` stood more than once."""

    names: list[str]


def parse_document(body: bytes) -> Any:
    """Return the JSON value in `body`. Raises MappingError."""
    try:
        document = _plainly(body) or _STRICT.decode(body.decode())
    except _TwiceError:
        raise MappingError(*_duplicates(body)) from None
    except (ValueError, RecursionError) as error:
        raise MappingError(_broken(error)) from None
    if _depth_exceeds(document, MAX_DEPTH):
        raise MappingError(Finding(pointer="", code="depth", remedy=f"nest at most {MAX_DEPTH} levels deep"))
    if b"\\u" in body and _SUSPECT.search(body) and (findings := list(_forbidden(document, ""))):
        raise MappingError(*findings[:MAX_FINDINGS])
    return document


def _plainly(body: bytes) -> Any:
    """Return the value of which `body` is the plain encoding to the byte, three times faster than reading strictly; else None.

    Such a body hides nothing: what stands twice, has another spelling or is no JSON does not come out as it went in.
    """
    try:
        document = msgspec.json.decode(body)
        return document if msgspec.json.encode(document) == body else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def escape(name: str) -> str:
    """Return a property name as a token of an RFC 6901 pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def unescape(token: str) -> str:
    """Return the property name of a token of an RFC 6901 pointer."""
    return token.replace("~1", "/").replace("~0", "~")


def children(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield (pointer token, value) of what stands directly in an object or list."""
    if isinstance(node, dict):
        yield from ((escape(name), value) for name, value in node.items())
    elif isinstance(node, list):
        yield from ((str(index), value) for index, value in enumerate(node))


class Schema:
    """A compiled JSON Schema that fetches nothing and tells where a document fails without quoting it."""

    def __init__(self, source: bytes) -> None:
        """Compile. Raises FormatError."""
        try:
            self.source = json.loads(source)
            self._validator = jsonschema_rs.validator_for(self.source, retriever=_refuse)
        except (ValueError, TypeError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
            raise FormatError("schema.json: expected a JSON Schema without references to other documents") from None

    def findings(self, document: Any) -> list[Finding]:
        """Return at most 100 violations, in the order of the schema."""
        if self._validator.is_valid(document):
            return []
        errors = self._validator.iter_errors(document)
        return [_violation(error) for error, _ in zip(errors, range(MAX_FINDINGS), strict=False)]


def in_order(findings: list[Finding], document: Any) -> list[Finding]:
    """Return the findings in the order of the document, each once."""
    unique = dict.fromkeys((finding.pointer, finding.code, finding.remedy) for finding in findings)
    ordered = sorted(unique, key=lambda finding: _position(document, finding[0]))
    return [Finding(pointer=pointer, code=code, remedy=remedy) for pointer, code, remedy in ordered]


def _position(document: Any, pointer: str) -> list[int]:
    position, node = [], document
    for token in pointer.split("/")[1:]:
        siblings = dict(children(node))
        position.append(list(siblings).index(token) if token in siblings else len(siblings))
        node = siblings.get(token)
    return position


def _violation(error: Any) -> Finding:
    pointer = "".join(f"/{escape(str(token))}" for token in error.instance_path)
    return Finding(pointer=pointer, code="schema", remedy=_remedy(error.kind))


def _remedy(kind: Any) -> str:
    if kind.name == "required":
        return f"give the missing property {kind.property}"
    if kind.name == "type":
        return "give " + " or ".join(_TYPES[name] for name in kind.types)
    if kind.name in _LIMITS:
        return _LIMITS[kind.name].format(kind.limit)
    return _REMEDIES.get(kind.name, "give what the schema of this format asks for")


def _refuse(_: str) -> Never:
    raise ValueError("a schema stands on its own")


def _strict_float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("out of range")
    return number


def _no_constant(_: str) -> Never:
    raise ValueError("not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError
    return found


def _object_that_tells(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = _Twice(pairs)
    names = [name for name, _ in pairs]
    found.names = sorted({name for name in names if names.count(name) > 1})
    return found


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_float=_strict_float, parse_constant=_no_constant)
_TELLING = json.JSONDecoder(object_pairs_hook=_object_that_tells)


def _broken(error: ValueError | RecursionError) -> Finding:
    match error:
        case json.JSONDecodeError(lineno=line, colno=column):
            remedy = f"send well-formed JSON: it breaks at line {line}, column {column}"
        case UnicodeDecodeError(start=start):
            remedy = f"send UTF-8: it breaks at byte {start}"
        case RecursionError():
            return Finding(pointer="", code="depth", remedy=f"nest at most {MAX_DEPTH} levels deep")
        case _:
            remedy = "send numbers that JSON knows: no NaN, no infinity, not thousands of digits"
    return Finding(pointer="", code="json", remedy=remedy)


def _duplicates(body: bytes) -> list[Finding]:
    try:
        found = _twice(_TELLING.decode(body.decode()), "")
        return [
            Finding(pointer=pointer, code="json", remedy="give this property once: it stands here more than once")
            for pointer, _ in zip(found, range(MAX_FINDINGS), strict=False)
        ]
    except (ValueError, RecursionError) as error:
        return [_broken(error)]


def _twice(node: Any, pointer: str) -> Iterator[str]:
    if isinstance(node, _Twice):
        yield from (f"{pointer}/{escape(name)}" for name in node.names)
    for token, child in children(node):
        yield from _twice(child, f"{pointer}/{token}")


def _depth_exceeds(document: Any, limit: int) -> bool:
    level = [document] if isinstance(document, (dict, list)) else []
    for _ in range(limit):
        if not level:
            return False
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
    return bool(level)


def _forbidden(node: Any, pointer: str) -> Iterator[Finding]:
    remedy = "leave out NUL characters and halves of surrogate pairs"
    if isinstance(node, str) and _FORBIDDEN.search(node):
        yield Finding(pointer=pointer, code="text", remedy=remedy)
    if isinstance(node, dict) and any(_FORBIDDEN.search(name) for name in node):
        yield Finding(pointer=pointer, code="text", remedy=f"{remedy} of property names")
        return
    for token, child in children(node):
        yield from _forbidden(child, f"{pointer}/{token}")
