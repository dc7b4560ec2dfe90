"""Places where the process can be made to die, in demo mode only, to prove that nothing is lost or doubled there.

A failpoint is a real SIGKILL: no handler runs, no buffer is written, no connection is closed.
"""

import os
import signal
from collections.abc import Callable

FAILPOINTS = (
    "intake-sealed",
    "intake-written",
    "intake-committed",
    "relay-claimed",
    "relay-published",
    "delivery-looked",
    "delivery-written",
    "delivery-begun",
    "delivery-sent",
    "delivery-settling",
    "delivery-settled",
    "choices-written",
    "choices-committed",
    "replan-written",
    "replan-committed",
)
"""Every failpoint of a plan that comes in and is sent, in the order of its way. `…-written` is inside a transaction, `…-committed` just
after it."""

PARTNER_FAILPOINTS = (
    "message-kept",
    "message-remembered",
    "pull-written",
    "pull-committed",
    "receipt-written",
    "receipt-committed",
)
"""And those of the exchange with partners over AMQP."""

Reach = Callable[[str], None]
"""Called at each failpoint with its name."""


def is_failpoint(text: str) -> bool:
    """Say whether `text` is a failpoint, or `name:k` for the k-th time that it is reached."""
    name, _, count = text.partition(":")
    return name in (*FAILPOINTS, *PARTNER_FAILPOINTS) and (count.isdecimal() or text == name)


def failing_at(text: str) -> Reach:
    """Return what to call at failpoints: it kills this process at the one that `text` says; with no text it does nothing."""
    if not text:
        return lambda _: None
    name, _, count = text.partition(":")
    left = [int(count or 1)]

    def reach(reached: str) -> None:
        if reached == name:
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reach
