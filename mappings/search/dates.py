"""What a date of a given precision covers, in microseconds since 1970 (https://hl7.org/fhir/R4/search.html#date).

A moment without a zone is one of the Dutch clock, so a day is a calendar day in Amsterdam. The hour that the clock strikes twice is
covered from its first beginning to its last end. A `+` that a client forgot to encode comes in as a space and is read as it was meant.
"""

import re
from calendar import monthrange
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from mappings.search.query import Span

BEGINNING, END = -(2**62), 2**62
"""Before and after every date that can be written: the open ends of a Period."""

AMSTERDAM = ZoneInfo("Europe/Amsterdam")

_FORM = re.compile(
    r"(?P<year>[0-9]{4})"
    r"(-(?P<month>[0-9]{2})"
    r"(-(?P<day>[0-9]{2})"
    r"(T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r"(:(?P<second>[0-9]{2})(\.(?P<fraction>[0-9]{1,12}))?)?"
    r"(?P<zone>Z|(?P<sign>[+\- ])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))?)?)?)?"
)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the zone is counted by hand, for the first and the last day that can be written
_MICROSECOND = timedelta(microseconds=1)
_DIGITS = 6
_FURTHEST = timedelta(hours=14)
_LAST_MINUTE = 59
_LEAP_SECOND = 60
_LEAST = {"year": 0, "month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0}


def span_of(text: str) -> Span | None:
    """Return the first and the last microsecond of a date, dateTime or instant; None when the text is none."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    try:
        first, last = _first(found), _last(found)
    except ValueError:
        return None
    low = _micros(first) - _offset(found, first)
    high = _micros(last) - _offset(found, last.replace(fold=1))
    return min(low, high), max(low, high)


def _first(found: re.Match[str]) -> datetime:
    """Return the first moment on the clock. Raises ValueError."""
    part = {name: int(found[name] or least) for name, least in _LEAST.items()}
    if found["zone"] not in {None, "Z"} and not _is_zone(int(found["hours"]), int(found["minutes"])):
        raise ValueError("no such zone")
    second = 59 if part["second"] == _LEAP_SECOND else part["second"]
    micro = int((found["fraction"] or "").ljust(_DIGITS, "0")[:_DIGITS])
    return datetime(part["year"], part["month"], part["day"], part["hour"], part["minute"], second, micro)  # noqa: DTZ001


def _last(found: re.Match[str]) -> datetime:
    """Return the last moment on the clock. Raises ValueError."""
    first = _first(found)
    if found["month"] is None:
        first = first.replace(month=12)
    if found["day"] is None:
        first = first.replace(day=monthrange(first.year, first.month)[1])
    if found["hour"] is None:
        first = first.replace(hour=23, minute=59)
    if found["second"] is None:
        first = first.replace(second=59)
    return first.replace(microsecond=first.microsecond + 10 ** (_DIGITS - _precision(found)) - 1)


def _precision(found: re.Match[str]) -> int:
    """Return how many decimals of a second are given, of those that a microsecond can tell."""
    return min(len(found["fraction"] or ""), _DIGITS)


def _is_zone(hours: int, minutes: int) -> bool:
    return minutes <= _LAST_MINUTE and timedelta(hours=hours, minutes=minutes) <= _FURTHEST


def _offset(found: re.Match[str], moment: datetime) -> int:
    """Return by how many microseconds the clock is ahead of UTC."""
    if found["zone"] == "Z":
        return 0
    if found["zone"] is None:
        return (AMSTERDAM.utcoffset(moment) or timedelta()) // _MICROSECOND
    ahead = timedelta(hours=int(found["hours"]), minutes=int(found["minutes"])) // _MICROSECOND
    return -ahead if found["sign"] == "-" else ahead


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
