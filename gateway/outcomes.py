"""The one table from what an attempt saw to what happens next. Only a 2xx with a matching receipt is delivered."""

import random
from datetime import timedelta

from msgspec import Struct

from adapters.interface import Answer, Signal


class Outcome(Struct, frozen=True):
    """What happens after an attempt: `acknowledged`, `waiting` for another, `parked` for a person, or still `sent`; and why."""

    state: str
    reason: str | None


_AGAIN = "waiting"
_PERSON = "parked"
_PULL = "sent"

BY_SIGNAL: dict[Signal, Outcome] = {
    "receipt": Outcome("acknowledged", None),
    "no-receipt": Outcome(_AGAIN, "no-receipt"),
    "wrong-receipt": Outcome(_AGAIN, "wrong-receipt"),
    "redirect": Outcome(_PERSON, "redirected"),
    "timeout": Outcome(_AGAIN, "timeout"),
    "cut": Outcome(_AGAIN, "connection-cut"),
    "not-connected": Outcome(_AGAIN, "not-connected"),
    "target-not-allowed": Outcome(_PERSON, "target-not-allowed"),
    "token-refused": Outcome(_AGAIN, "token-refused"),
    "token-unreachable": Outcome(_AGAIN, "token-unreachable"),
    "notified": Outcome(_PULL, "notified"),
    "unroutable": Outcome(_AGAIN, "no-queue"),
}

BY_STATUS: dict[int, Outcome] = {
    400: Outcome(_PERSON, "rejected"),
    401: Outcome(_AGAIN, "not-authorised"),
    403: Outcome(_AGAIN, "not-authorised"),
    404: Outcome(_AGAIN, "not-found"),
    405: Outcome(_PERSON, "rejected"),
    406: Outcome(_PERSON, "rejected"),
    408: Outcome(_AGAIN, "timeout"),
    409: Outcome(_AGAIN, "conflict"),
    410: Outcome(_PERSON, "gone"),
    413: Outcome(_PERSON, "too-large"),
    415: Outcome(_PERSON, "rejected"),
    422: Outcome(_PERSON, "rejected"),
    425: Outcome(_AGAIN, "busy"),
    429: Outcome(_AGAIN, "busy"),
}
"""Statuses with a row of their own; other 4xx go to a person, 5xx are tried again."""

REASONS = frozenset(row.reason for table in (BY_SIGNAL, BY_STATUS) for row in table.values() if row.reason) | {
    "receiver-failed",
    "attempts-used",
    "pulled",
    "stopped",
    "newer-version",
    "endpoint-gone",
    "format-unknown",
    "lane-busy",
    "recipient-busy",
    "same-view",
    "internal",
}
"""Every reason of this table and of the deliveries beside it; withheld deliveries carry the reason of the decision."""


def outcome_of(answer: Answer) -> Outcome:
    """Return what an attempt comes to."""
    if answer.signal != "status":
        return BY_SIGNAL[answer.signal]
    status = answer.status or 0
    if status in BY_STATUS:
        return BY_STATUS[status]
    return Outcome(_AGAIN, "receiver-failed") if status >= 500 else Outcome(_PERSON, "rejected")  # noqa: PLR2004


def next_wait(attempts: int, schedule: tuple[float, ...], retry_after_seconds: float | None) -> timedelta | None:
    """Return how long to wait after attempt number `attempts`, or None when the schedule is used up.

    A quarter of jitter keeps many deliveries from coming back at one moment; a Retry-After is a minimum, of a day at most.
    """
    if attempts > len(schedule):
        return None
    seconds = schedule[attempts - 1] * random.uniform(1, 1.25)  # noqa: S311 - spreads load, guards nothing
    return timedelta(seconds=max(seconds, min(retry_after_seconds or 0, 86_400)))
