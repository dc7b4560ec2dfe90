"""What one route promises. The router, the check of a request and the OpenAPI document all read it, so that they cannot differ."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web
from msgspec import Struct

if TYPE_CHECKING:
    from gateway.api.call import Call

Handler = Callable[["Call"], Awaitable[web.Response]]

BY_TYPE = "system/TYPE.crus"


class PlanDocument:
    """A body that is a plan in one of the formats on the shelf."""


class PlanView:
    """A body that is what somebody may see of a plan: in FHIR, or in one of the formats on the shelf."""


class FhirView:
    """A body that is what somebody may see of a plan, in FHIR."""


class Described:
    """A body that is itself a description: OpenAPI or AsyncAPI."""


class Html:
    """A body that is a page for people."""


class Link(Struct, frozen=True):
    """What can be asked next: an operation, and where the values of its parameters stand (OpenAPI runtime expressions)."""

    operation: str
    parameters: tuple[tuple[str, str], ...]


class Answer(Struct, frozen=True):
    """One status with which a route answers: what it says, the types of body that it may have, and its headers.

    A header whose name ends in a question mark is not in every such answer.
    """

    status: int
    says: str
    types: tuple[type, ...] = ()
    headers: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()


class Operation(Struct, frozen=True, kw_only=True):
    """What is told of a route. `errors` are rows of `gateway.errors.ERRORS` beside those that every such route has."""

    id: str
    tag: str
    summary: str
    answers: tuple[Answer, ...]
    takes: type | None = None
    headers: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class Route(Struct, frozen=True):
    """One thing that can be asked; `scope` is None where anybody may, BY_TYPE where the handler asks one per resource type.

    `query` is what its parameters are checked against, None where they are not looked at. `operation` is what the OpenAPI
    document tells: every route under /v1 has one.
    """

    method: str
    path: str
    scope: str | None
    handler: Handler
    query: type[Struct] | None = None
    operation: Operation | None = None
