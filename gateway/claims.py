"""What every access token must say, whoever gave it: that it is good now, and for the certificate that comes with it. Pure."""

from collections.abc import Mapping
from typing import Any

from gateway.callers import CLOCK_SKEW_SECONDS
from gateway.errors import Refusal
from mappings.errors import Finding

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="planbrug"'}

BOUND = "x5t#S256"
"""The member of `cnf` that binds a token to a client certificate, https://www.rfc-editor.org/rfc/rfc8705#section-3.1."""


def is_in_time(claims: Mapping[str, Any], seconds: float) -> bool:
    """Say whether an access token has begun and not ended; who gave it may have a clock that is a little off."""
    expires, begins = claims.get("exp"), (claims.get("iat", seconds), claims.get("nbf", seconds))
    if not all(type(value) in {int, float} for value in (expires, *begins)):
        return False
    return seconds < float(expires or 0) and max(begins) <= seconds + CLOCK_SKEW_SECONDS


def check_binding(claims: Mapping[str, Any], certificate: str | None, *, must_be_bound: bool) -> None:
    """Raise Refusal unauthenticated when a token is bound to what this request does not show (RFC 8705 3), or is not bound and must be."""
    bound = claims.get("cnf")
    if bound is None and not must_be_bound:
        return
    if certificate is None or bound != {BOUND: certificate}:
        remedy = "show the client certificate that the token was asked with"
        raise Refusal("unauthenticated", [Finding(pointer="", code="certificate", remedy=remedy)], CHALLENGE)
