"""The JSON of FHIR: no null, nothing empty, nothing unwritable, not too deep (https://hl7.org/fhir/R4/json.html).

It knows no element. The one null that FHIR JSON has keeps a place in a list of primitives, beside the `_` list that says why
(https://hl7.org/fhir/R4/json.html#primitive). Every document takes one pass without recursion.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from mappings.document import MAX_DEPTH, MAX_FINDINGS, escape
from mappings.errors import Finding

_TOO_DEEP = f"nest at most {MAX_DEPTH} levels deep"
_NULL = "leave out what is not known: FHIR JSON has no null here"
_EMPTY = "leave out what is empty: FHIR JSON has no empty object, list or text"
_BLANK = "give text with more than white space in it, or leave it out"
_TEXT = "leave out NUL characters and halves of surrogate pairs"
_NAME = "give elements the names that R4 has: none is as long as one here"
_ID_ONLY = "give this element a value or children beside its id, or leave it out (ele-1)"

_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")
_LONGEST_NAME = 128
UNREADABLE = frozenset({"depth", "text", "name"})
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
    """Yield what is no FHIR JSON, in the order of the document, and no more than 100 of a kind.

    A document that is too deep has that finding alone. Pointers are written for findings only: those of all places could together be
    far longer than the document.
    """
    if too_deep(document):
        yield Finding(pointer=pointer, code="depth", remedy=_TOO_DEEP)
        return
    counts: Counter[str] = Counter()
    stack: list[tuple[Any, _Path, bool]] = [(_wrapped(document, None), (None, pointer), False)]
    while stack:
        value, path, kept = stack.pop()
        if told := _unreadable(value) or _refused(value, kept=kept):
            counts[told[0]] += 1
            if counts[told[0]] <= MAX_FINDINGS:
                yield Finding(pointer=_written(path), code=told[0], remedy=told[1])
        elif isinstance(value, dict):
            stack += reversed([(item, (path, f"/{escape(name)}"), False) for name, item in _aligned(value)])
        elif isinstance(value, _Aligned):
            items = enumerate(value.items)
            stack += reversed([(_wrapped(item, None), (path, f"/{at}"), at in value.kept) for at, item in items])


_Path = tuple["_Path | None", str]
"""The path above, and the last step of a pointer."""


def _written(path: _Path | None) -> str:
    steps = []
    while path:
        path, step = path
        steps.append(step)
    return "".join(reversed(steps))


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
        yield name, _wrapped(item, beside)


def _wrapped(value: Any, beside: Any) -> Any:
    return _Aligned(value, beside) if isinstance(value, list) else value


def _unreadable(value: Any) -> tuple[str, str] | None:
    """Return code and remedy for what no other system can write down, or no pointer can name."""
    texts = [value] if isinstance(value, str) else value if isinstance(value, dict) else ()
    if any(_FORBIDDEN.search(each) for each in texts):
        return "text", _TEXT
    if isinstance(value, dict) and any(len(name) > _LONGEST_NAME for name in value):
        return "name", _NAME
    return None


def _refused(value: Any, *, kept: bool) -> tuple[str, str] | None:
    """Return code and remedy for what FHIR JSON has not."""
    if value is None:
        return None if kept else ("null", _NULL)
    if value in ("", {}) or (isinstance(value, _Aligned) and not value.items):
        return "empty", _EMPTY
    if isinstance(value, str) and value.isspace():
        return "blank", _BLANK
    if isinstance(value, dict) and value.keys() == {"id"} and not kept:
        return "ele-1", _ID_ONLY
    return None
