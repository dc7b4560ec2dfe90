"""What every way out takes and answers. An adapter sends bytes once and says what it saw; it never decides what that means."""

from collections.abc import Awaitable, Callable
from typing import Literal

from msgspec import Struct

Signal = Literal[
    "receipt",
    "no-receipt",
    "wrong-receipt",
    "status",
    "redirect",
    "timeout",
    "cut",
    "not-connected",
    "target-not-allowed",
    "token-refused",
    "token-unreachable",
    "notified",
    "unroutable",
]
"""What was seen: a matching receipt; a 2xx without one, or with another's; any other status; how the connection failed; that the token
endpoint gave none, before a byte of the body went out; that the recipient was notified and is to pull; or that it has no queue to be
notified in."""


class TokenWanted(Struct, frozen=True, kw_only=True):
    """Where an address has its tokens from, as which client, and for which scope (the token endpoint's own when None)."""

    url: str
    client_id: str
    scope: str | None = None


class Parcel(Struct, frozen=True, kw_only=True):
    """One body on its way to one address. `sha256` is the hex hash of `body`; `token` is what the address asks for, if it does."""

    delivery_id: str
    url: str
    body: bytes
    content_type: str
    sequence: int
    sha256: str
    token: TokenWanted | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """What one attempt saw. `left` is False only when it is certain that no byte of the body went out."""

    signal: Signal
    status: int | None = None
    retry_after_seconds: float | None = None
    left: bool = True


Authorise = Callable[[TokenWanted], Awaitable[str | Answer]]
"""Get a fresh access token; or the final `Answer` when there is none."""

Written = Callable[[], None]
"""Called once the last byte of the body is written, before the answer comes."""

Send = Callable[[Parcel, Written], Awaitable[Answer]]
"""Send once. Never raises for what the other side does."""
