"""An error as problem details (RFC 9457, https://www.rfc-editor.org/rfc/rfc9457), made of its row of the table."""

from typing import Annotated

from msgspec import Meta, Struct

from gateway.api.shapes import codes
from gateway.errors import ERRORS, Refusal

PROBLEM_JSON = "application/problem+json"


class Place(Struct, frozen=True, kw_only=True):
    """One thing that is wrong: where (RFC 6901, or the name of a parameter), which rule, and what to do. Never the value."""

    pointer: str
    code: str
    remedy: str


class Problem(Struct, frozen=True, kw_only=True):
    """Why a request was refused, for a machine (`code`) and for a person. `instance` is the request id, to report."""

    type: Annotated[str, Meta(extra_json_schema={"format": "uri"})]
    title: str
    status: int
    detail: str
    instance: Annotated[str, Meta(extra_json_schema={"pattern": "^urn:uuid:"})]
    code: Annotated[str, codes(*ERRORS)]
    errors: tuple[Place, ...]


def problem_of(error: Refusal, request_id: str) -> Problem:
    """Tell an error."""
    row = ERRORS[error.code]
    return Problem(
        type=f"https://planbrug.nl/problems/{error.code}",
        title=row.title,
        status=row.status,
        detail=row.remedy,
        instance=f"urn:uuid:{request_id}",
        code=error.code,
        errors=tuple(
            Place(pointer=finding.pointer, code=finding.code, remedy=finding.remedy) for finding in error.findings
        ),
    )
