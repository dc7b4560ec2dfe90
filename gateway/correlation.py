"""How one request is found again in several systems: trace, request id and correlation id. Pure; ids are made elsewhere.

Sources: W3C Trace Context (https://www.w3.org/TR/trace-context/); `X-Request-Id` and `X-Correlation-Id` are custom.
What does not fit its pattern is replaced, never refused: an id is no reason to lose a plan.
"""

import re
from collections.abc import Callable, Mapping

from msgspec import Struct

REQUEST_HEADER = "X-Request-Id"
CORRELATION_HEADER = "X-Correlation-Id"
TRACE_HEADER = "traceparent"

_VISIBLE = re.compile(r"[!-~]{1,64}")
"""What an id of a caller may be to be given back. It may hold anything, so it is not logged."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""What an id of a caller must be to be logged: it holds no name and no number of a person."""

_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_CURRENT_LENGTH = 55
"""Version 00 is exactly this long; a later version may have more behind a dash."""

SAMPLED = 1


class Correlation(Struct, frozen=True, kw_only=True):
    """By what one request is known. `request_id` is ours; `echoed` and `correlation_id` are what the caller knows it by."""

    request_id: str
    echoed: str
    correlation_id: str
    trace_id: str
    span_id: str
    sampled: bool

    @property
    def headers(self) -> dict[str, str]:
        """What goes back to the caller."""
        return {
            REQUEST_HEADER: self.echoed,
            CORRELATION_HEADER: self.correlation_id,
            TRACE_HEADER: f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}",
        }

    def told(self, theirs: str) -> str | None:
        """Return what the log may say of an id of the caller: a UUID that is not ours already, otherwise nothing."""
        return theirs if theirs != self.request_id and _UUID.fullmatch(theirs) else None


def correlated(headers: Mapping[str, str], request_id: str, new_hex: Callable[[int], str]) -> Correlation:
    """Take the ids of a caller that fit, and make the others; `new_hex` makes so many random bytes, as hex."""
    echoed = _fitting(headers.get(REQUEST_HEADER, "")) or request_id
    found = _trace(headers.get(TRACE_HEADER, ""))
    trace_id, flags = found or (new_hex(16), SAMPLED)
    return Correlation(
        request_id=request_id,
        echoed=echoed,
        correlation_id=_fitting(headers.get(CORRELATION_HEADER, "")) or echoed,
        trace_id=trace_id,
        span_id=new_hex(8),
        sampled=bool(flags & SAMPLED),
    )


def _fitting(text: str) -> str:
    return text if _VISIBLE.fullmatch(text) else ""


def _trace(text: str) -> tuple[str, int] | None:
    """Read a traceparent as (trace id, flags), or None when it is not one (W3C Trace Context 3.2, 4.3)."""
    known, later = text[:_CURRENT_LENGTH], text[_CURRENT_LENGTH:]
    match = _TRACE.fullmatch(known)
    if not match or (later and (text.startswith("00") or not later.startswith("-"))):
        return None
    return match[1], int(match[2], 16)
