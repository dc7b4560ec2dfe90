"""The errors of the gateway, and the one table error → HTTP status → FHIR issue code → plain sentence.

Refusal      what a caller asked cannot be done; says where and what to do, never a value
StoreError   (gateway.store) the database did not answer
SealError    (gateway.seal) bytes were altered
MappingError (mappings) and ConsentError (consent) become a Refusal at the edge, with their findings
"""

from collections.abc import Iterable

from msgspec import Struct

from mappings.errors import Finding, MappingError


class Row(Struct, frozen=True):
    """How one error is told: HTTP status, FHIR R4 issue type (hl7.org/fhir/R4/valueset-issue-type.html), title and remedy."""

    status: int
    issue: str
    title: str
    remedy: str


ERRORS: dict[str, Row] = {
    "json": Row(400, "structure", "The body is not JSON", "send one JSON document in UTF-8"),
    "envelope": Row(
        400,
        "structure",
        "The message cannot be opened",
        "seal it as compact JWE to the key with use=enc in /.well-known/jwks.json",
    ),
    "identity": Row(
        400, "invalid", "The resource is not the one in the URL", "send the type and the id that the URL has"
    ),
    "parameter": Row(400, "invalid", "A parameter is not right", "see errors for the parameter and what it takes"),
    "unauthenticated": Row(
        401, "login", "A valid access token is needed", "get a token at /oauth/token and send it as Bearer"
    ),
    "scope": Row(403, "forbidden", "The token does not allow this", "ask for a token with the scope named in errors"),
    "not-yours": Row(403, "forbidden", "This is not yours to change", "see errors for what you may change of it"),
    "not-found": Row(
        404, "not-found", "There is nothing here for you", "check the id; what you may not see looks the same"
    ),
    "method": Row(405, "not-supported", "This method is not offered here", "see the Allow header"),
    "not-acceptable": Row(
        406, "not-supported", "No such format is offered", "leave format out, or name one of the formats"
    ),
    "key-reused": Row(
        409, "conflict", "This Idempotency-Key was used for another body", "use a new key for another body"
    ),
    "state": Row(409, "conflict", "Not possible in this state", "look at the current state and decide again"),
    "conflict": Row(
        409,
        "conflict",
        "This contradicts what you cannot see of the plan",
        "leave the places in errors as you read them",
    ),
    "busy": Row(409, "conflict", "Somebody changed this at the same moment", "read it again and repeat"),
    "several": Row(412, "multiple-matches", "Several resources match", "make If-None-Exist narrower, or leave it out"),
    "stale": Row(412, "conflict", "This was changed since you read it", "read it again and repeat with the new ETag"),
    "too-large": Row(413, "too-long", "The body is over the limit", "send at most the number of bytes named in errors"),
    "media-type": Row(415, "not-supported", "This content type is not accepted", "see errors for the content types"),
    "format": Row(415, "not-supported", "No such plan format", "name one of the formats in errors"),
    "document": Row(422, "invariant", "The document cannot be accepted", "see errors for each place and its remedy"),
    "precondition": Row(428, "required", "This needs If-Match", "read it first and send its ETag as If-Match"),
    "too-busy": Row(
        429,
        "throttled",
        "The gateway has too much in hand",
        "nothing was read; send it again after Retry-After seconds",
    ),
    "rate-limit": Row(
        429,
        "throttled",
        "You ask more often than is allowed",
        "wait Retry-After seconds, and spread your requests; the RateLimit fields say how many are left",
    ),
    "cursor": Row(
        410, "expired", "This page can no longer be had", "begin the search again; a page lives as long as expires says"
    ),
    "indexing": Row(
        503, "transient", "What you may see is still being made searchable", "search again after Retry-After seconds"
    ),
    "too-many-included": Row(
        400, "too-costly", "This page includes too much", "ask for fewer with _count, or search for what is included"
    ),
    "too-broad": Row(400, "too-costly", "This search asks for too much", "see errors for what to name"),
    "internal": Row(
        500, "exception", "Something went wrong here", "nothing was kept; try again, and report the request id"
    ),
    "unavailable": Row(503, "transient", "The gateway cannot do this now", "nothing was kept; try again later"),
}


class Refusal(Exception):
    """A request that cannot be done. `code` is a row of ERRORS; `findings` say where and what to do."""

    def __init__(self, code: str, findings: Iterable[Finding] = (), headers: dict[str, str] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.findings = tuple(findings)
        self.headers = headers or {}


def refusal(code: str, pointer: str, remedy: str) -> Refusal:
    """Return a refusal with one finding; its code is the error's."""
    return Refusal(code, [Finding(pointer=pointer, code=code, remedy=remedy)])


def refused(error: MappingError) -> Refusal:
    """Return the refusal of a document that cannot become a plan."""
    broken = all(finding.code == "json" for finding in error.findings)
    return Refusal("json" if broken else "document", error.findings)
