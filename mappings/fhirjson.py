"""The JSON of FHIR: no null, nothing empty, nothing unwritable, not too deep (https://hl7.org/fhir/R4/json.html).

It knows no element. The one null that FHIR JSON has keeps a place in a list of primitives, beside the `_` list that says why
(https://hl7.org/fhir/R4/json.html#primitive). Every document takes one pass without recursion.
"""

import re
from collections.abc import Iterator
from typing import Any

from mappings.document import MAX_DEPTH, escape
from mappings.errors import Finding

_TOO_DEEP = f"nest at most {MAX_DEPTH} levels deep"
_NULL = "leave out what is not known: FHIR JSON has no null here"
_EMPTY = "leave out what is empty: FHIR JSON has no empty object, list or text"
_BLANK = "give text with more than white space in it, or leave it out"
_TEXT = "leave out NUL characters and halves of surrogate pairs"
_ID_ONLY = "give this element a value or children beside its id, or leave it out (ele-1)"

_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")
UNREADABLE = frozenset({"depth", "text"})
"""The codes of findings after which nobody else may look at the document."""


def too_deep(document: Any) -> bool:
    """Say whether the document nests deeper than we read; nothing else may look at such a document."""
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        level = [item for each in level for item in _items(each)]
        if not level:
            return False
    return True


def findings(document: Any, pointer: str) -> Iterator[Finding]:
    """Yield what is no FHIR JSON, in the order of the document. A document that is too deep has that finding alone."""
    if too_deep(document):
        yield Finding(pointer=pointer, code="depth", remedy=_TOO_DEEP)
        return
    stack = [(document, pointer, False)]
    while stack:
        value, here, kept = stack.pop()
        if found := _unreadable(value, here) or _finding(value, here, kept=kept):
            yield found
        elif isinstance(value, dict):
            stack += reversed([(item, f"{here}/{escape(name)}", False) for name, item in _aligned(value)])
        elif isinstance(value, _Aligned):
            stack += reversed([(item, f"{here}/{at}", at in value.kept) for at, item in enumerate(value.items)])


class _Aligned:
    """A list, and the positions at which the list beside it lets a null stand."""

    def __init__(self, items: list[Any], beside: Any) -> None:
        self.items = items
        self.kept = {at for at, item in enumerate(beside) if item is not None} if isinstance(beside, list) else set()


def _items(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _aligned(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        beside = value.get(name[1:] if name.startswith("_") else f"_{name}")
        if name.startswith("_") and isinstance(item, dict) and item.keys() == {"id"} and beside is not None:
            continue
        yield name, _Aligned(item, beside) if isinstance(item, list) else item


def _unreadable(value: Any, pointer: str) -> Finding | None:
    """Return the finding for what no other system can write down, be it in a text or in a name."""
    texts = [value] if isinstance(value, str) else value if isinstance(value, dict) else ()
    if any(_FORBIDDEN.search(each) for each in texts):
        return Finding(pointer=pointer, code="text", remedy=_TEXT)
    return None


def _finding(value: Any, pointer: str, *, kept: bool) -> Finding | None:
    if value is None:
        return None if kept else Finding(pointer=pointer, code="null", remedy=_NULL)
    if value in ("", {}) or (isinstance(value, _Aligned) and not value.items):
        return Finding(pointer=pointer, code="empty", remedy=_EMPTY)
    if isinstance(value, str) and value.isspace():
        return Finding(pointer=pointer, code="blank", remedy=_BLANK)
    if isinstance(value, dict) and value.keys() == {"id"} and not kept:
        return Finding(pointer=pointer, code="ele-1", remedy=_ID_ONLY)
    return None
