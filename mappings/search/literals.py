"""How several values stand in one, and how one is said to be wrong (https://hl7.org/fhir/R4/search.html#escaping)."""

import re

from mappings.document import escape
from mappings.errors import Finding, MappingError

_STEPS = {separator: re.compile(rf"\\.|[^\\{separator}]+|.", re.DOTALL) for separator in ",|"}
_ESCAPED = re.compile(r"\\([,|$\\])")
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:\-]{0,99}")


def pieces(text: str, separator: str) -> list[str]:
    """Split at every separator that no backslash precedes; the pieces are still escaped."""
    found: list[list[str]] = [[]]
    for step in _STEPS[separator].findall(text):
        if step == separator:
            found.append([])
        else:
            found[-1].append(step)
    return ["".join(piece) for piece in found]


def unescaped(text: str) -> str:
    r"""Return what `\,` `\|` `\$` and `\\` stand for; any other backslash is one."""
    return _ESCAPED.sub(r"\1", text)


def is_writable(text: str) -> bool:
    """Return whether a text holds no control character and no half of a character."""
    return _UNWRITABLE.search(text) is None


def told(name: str) -> str:
    """Return the name of a parameter, which may go back to the client and into a log, unless it is no name at all."""
    return name if _NAME.fullmatch(name) else "unreadable"


def refusal(name: str, code: str, remedy: str) -> MappingError:
    """Return the refusal of a parameter by its name, never by its value."""
    return MappingError(Finding(pointer=f"/{escape(told(name))}", code=code, remedy=remedy))
