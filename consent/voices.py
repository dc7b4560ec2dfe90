"""Who speaks for a resident: a table of ages per law, judged on the day of access, so that a birthday changes the answer.

Sources: UAVG art. 5 (under 16 the legal representative consents to data processing); Jeugdwet art. 7.3.4, 7.3.5 and 7.3.11
(12 to 15: the child and the parent; from 16 the youth alone).
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from consent.choice import Capacity, Choice
from mappings.codes import Law

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
AGES_OF_CHANGE = (12, 16)

Voice = frozenset[Capacity]
"""Capacities of which any one may speak; a resident's answer is yes only when every needed voice says yes."""


class Voices(NamedTuple):
    """The voices that must all say yes, and everybody among them, any of whom may say no."""

    needed: tuple[Voice, ...]
    may_speak: Voice


_PARENT: Voice = frozenset({"parent", "representative"})
_CHILD = Voices((_PARENT,), _PARENT)
_CHILD_AND_PARENT = Voices((frozenset({"resident"}), _PARENT), _PARENT | {"resident"})
_ADULT: Voice = frozenset({"resident", "representative"})
_SELF = Voices((_ADULT,), _ADULT)
UNKNOWN = Voices((), frozenset({"resident", "parent", "representative"}))
"""Without an age nobody can be said to speak for sure, so anybody may say no."""


def voices_needed(law: Law, age: int) -> Voices:
    """Return who speaks about a part under `law` for somebody of `age` full years."""
    if age >= 16:  # noqa: PLR2004 - the ages stand in the law cited above
        return _SELF
    if age >= 12 and law == "jeugdwet":  # noqa: PLR2004
        return _CHILD_AND_PARENT
    return _CHILD


def amsterdam_day(now: datetime) -> date:
    """Return the calendar day in the Netherlands at an aware moment."""
    return now.astimezone(AMSTERDAM).date()


def age_on(birth_date: date, day: date) -> int:
    """Return full years; somebody born on 29 February has their birthday on 1 March in other years."""
    return day.year - birth_date.year - ((day.month, day.day) < (birth_date.month, birth_date.day))


def _birthday(birth_date: date, age: int) -> date:
    try:
        return birth_date.replace(year=birth_date.year + age)
    except ValueError:
        return date(birth_date.year + age, 3, 1)


def days_of_change(choices: Iterable[Choice], birth_dates: Iterable[date], after: date) -> tuple[date, ...]:
    """Return the days later than `after` on which an answer may change by itself: edges of periods and birthdays."""
    days = {_birthday(birth_date, age) for birth_date in birth_dates for age in AGES_OF_CHANGE}
    for choice in choices:
        if choice.starts_on:
            days.add(choice.starts_on)
        if choice.ends_on and choice.ends_on < date.max:
            days.add(date.fromordinal(choice.ends_on.toordinal() + 1))
    return tuple(sorted(day for day in days if day > after))
