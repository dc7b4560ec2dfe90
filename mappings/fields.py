"""The two-way field of a lens: one value of a document ↔ one value of the plan.

A `Codec` is a pair of functions. Reading raises `WrongValueError`, which says what to do and never what stood there; writing
returns None for what the format has no word for. Absent stays absent in both directions.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Literal, NamedTuple

from mappings.errors import FormatError
from mappings.identifiers import Bsn, IdentifierError

Type = Literal["text", "integer", "boolean", "date", "bsn", "postcode", "municipality", "actor"]
RefScope = Literal["resident", "relative", "professional", "organisation", "goal"]

SCOPE_OF: dict[RefScope, str] = {
    "resident": "resident",
    "relative": "household",
    "professional": "team",
    "organisation": "organisation",
    "goal": "goal",
}
"""What a reference may point at → the scope of its draft id."""

_DATE_LENGTH = len("YYYY-MM-DD")
_POSTCODE = re.compile(r"([1-9][0-9]{3}) ?([A-Za-z]{2})")
_MUNICIPALITY = re.compile(r"[0-9]{4}")
_MAX_DIGITS = 15


class WrongValueError(Exception):
    """A value of the document cannot become a value of the plan; `at` points further down from the field."""

    def __init__(self, code: str, remedy: str, at: str = "") -> None:
        super().__init__(code)
        self.code, self.remedy, self.at = code, remedy, at


class Codec(NamedTuple):
    """How one value is read and written."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


def same(value: Any) -> Any:
    """Return the value."""
    return value


def read_text(raw: Any) -> str:
    """Keep text to the letter."""
    if type(raw) is not str:
        raise WrongValueError("type", "give text")
    return raw


def read_integer(raw: Any) -> int:
    """Read a whole number; 2.0 is one."""
    if type(raw) is float and raw.is_integer():
        return int(raw)
    if type(raw) is not int:
        raise WrongValueError("type", "give a whole number")
    return raw


def read_boolean(raw: Any) -> bool:
    """Read true or false."""
    if type(raw) is not bool:
        raise WrongValueError("type", "give true or false")
    return raw


def read_date(raw: Any) -> date:
    """Read a day as `YYYY-MM-DD`; the other forms of ISO 8601 are refused."""
    if type(raw) is not str:
        raise WrongValueError("type", "give a date as text")
    try:
        return date.fromisoformat(raw if len(raw) == _DATE_LENGTH and raw[4] == raw[7] == "-" else "")
    except ValueError:
        raise WrongValueError("date", "give a day that exists, as YYYY-MM-DD") from None


def read_bsn(raw: Any) -> str:
    """Read a BSN that passes the 11-test; eight digits gain their leading zero."""
    try:
        return str(Bsn(read_text(raw)))
    except IdentifierError:
        raise WrongValueError("bsn", "give nine digits that pass the 11-test for a BSN") from None


def read_postcode(raw: Any) -> str:
    """Read a Dutch postal code and set it as `1234 AB`."""
    found = _POSTCODE.fullmatch(read_text(raw))
    if not found:
        raise WrongValueError("postcode", "give a postal code of four digits and two letters")
    return f"{found[1]} {found[2].upper()}"


def read_municipality(raw: Any) -> str:
    """Read a CBS municipality code."""
    if not _MUNICIPALITY.fullmatch(read_text(raw)):
        raise WrongValueError("municipality", "give the CBS code of the municipality: four digits")
    return str(raw)


CODECS: dict[str, Codec] = {
    "text": Codec(read_text, same),
    "integer": Codec(read_integer, same),
    "boolean": Codec(read_boolean, same),
    "date": Codec(read_date, date.isoformat),
    "bsn": Codec(read_bsn, same),
    "postcode": Codec(read_postcode, same),
    "municipality": Codec(read_municipality, same),
}


def coded(table: Mapping[Any, Any]) -> Codec:
    """Translate by a code table, source code → plan code; of synonyms the first is written."""
    back: dict[Any, Any] = {}
    for source, code in table.items():
        back.setdefault(code, source)
    allowed = ", ".join(str(source).lower() if isinstance(source, bool) else str(source) for source in table)
    by_type = {(type(source), source): code for source, code in table.items()}

    def read(raw: Any) -> Any:
        try:
            return by_type[type(raw), raw]
        except (KeyError, TypeError):
            raise WrongValueError("code", f"give one of: {allowed}") from None

    return Codec(read, back.get)


def read_key(raw: Any) -> str:
    """Read the key of an item: text or a whole number. A `~` in front is kept for generated keys."""
    if type(raw) is int:
        return str(raw)
    if type(raw) is not str:
        raise WrongValueError("type", "give text or a whole number")
    if raw == "" or raw[0] == "~":
        raise WrongValueError("key", "give a key that is not empty and does not begin with ~")
    return raw


def key_writer(scope: str, *, numeric: bool) -> Callable[[str], Any]:
    """Return how an id becomes a key: without its scope, a number where the document counts; None for a generated key."""
    prefix = f"{scope}:"

    def write(identifier: str) -> Any:
        key = identifier.removeprefix(prefix)
        if key.startswith("~"):
            return None
        return int(key) if numeric and _is_plain_number(key) else key

    return write


def _is_plain_number(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) <= _MAX_DIGITS and str(int(key)) == key


def referring(scope: str, *, numeric: bool) -> Codec:
    """Translate a key in the document ↔ a draft id; whether it exists is asked once everything has been read."""
    return Codec(lambda raw: f"{scope}:{read_key(raw)}", key_writer(scope, numeric=numeric))


def listed(codec: Codec, separator: str | None = None) -> Codec:
    """Apply a codec to every item of a list, or of a text that `separator` divides; a tuple in the plan."""
    read_one, write_one = codec

    def read(raw: Any) -> tuple[Any, ...]:
        if separator is not None:
            raw = [piece.strip() for piece in read_text(raw).split(separator) if piece.strip()]
        if type(raw) is not list:
            raise WrongValueError("type", "give a list")
        try:
            return tuple([read_one(item) for item in raw])
        except WrongValueError:
            return tuple(_read_item(codec, item, index) for index, item in enumerate(raw))

    def write(value: tuple[Any, ...]) -> Any:
        written = [raw for item in value if (raw := write_one(item)) is not None]
        return written if separator is None else f"{separator} ".join(map(str, written)) or None

    return Codec(read, write)


def _read_item(codec: Codec, item: Any, index: int) -> Any:
    """Read one item of a list in which something is wrong, to say which."""
    try:
        return codec.read(item)
    except WrongValueError as wrong:
        raise WrongValueError(wrong.code, wrong.remedy, f"/{index}{wrong.at}") from None


def pieces(codec: Codec, separator: str, count: int, *, from_end: bool) -> Codec:
    """Divide one text over `count` values of the plan, each read by `codec`; an empty piece is absent."""

    def read(raw: Any) -> list[Any]:
        text = read_text(raw)
        parts = text.rsplit(separator, count - 1) if from_end else text.split(separator, count - 1)
        return [codec.read(part) if part else None for part in parts] + [None] * (count - len(parts))

    def write(found: list[Any]) -> str | None:
        values: list[str | None] = [None if value is None else codec.write(value) for value in found]
        while values and values[-1] is None:
            values = values[:-1]
        text = separator.join(value or "" for value in values)
        ambiguous = len(values) < count and any(separator in value for value in values if value)
        return (text + separator if ambiguous else text) or None

    return Codec(read, write)


HOLDS: dict[str, type] = {"integer": int, "boolean": bool, "date": date}
"""What a plain type becomes in the plan; the others become text."""


def codec_of(type_name: str, table: Mapping[Any, Any] | None) -> Codec:
    """Return the codec of a plain field. Raises FormatError."""
    if table is not None:
        return coded(table)
    if type_name not in CODECS:
        raise FormatError(f"type {type_name} needs its own kind of field")
    return CODECS[type_name]
