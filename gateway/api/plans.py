"""`/v1/plans`: plans in, and plans as the caller may see them."""

from collections.abc import Iterable
from typing import Annotated, Literal, get_args

from aiohttp import web
from msgspec import Struct

from gateway.api.call import VERSION_HEADER, Call, answer, etag, idempotency_key
from gateway.api.query import FormatSent, FormatWanted
from gateway.api.shapes import codes
from gateway.errors import refusal
from gateway.intake import Received
from gateway.render import FHIR, FHIR_JSON, UnknownFormatError, media_type
from gateway.shelf import Shelf
from mappings.format import Format
from mappings.quality import Severity

Outcome = Literal["created", "changed", "unchanged"]
_OWN_TYPE = media_type("*").partition("*")


class ResidentNamed(Struct, frozen=True, kw_only=True):
    """A resident's id here, and what the document calls them."""

    id: str
    reference: str


class Remark(Struct, frozen=True, kw_only=True):
    """One thing to look at before the plan is shared; it blocks nothing. `pointer` is RFC 6901, empty for the plan as a whole."""

    code: str
    severity: Severity
    pointer: str
    nl: str
    en: str


class Lost(Struct, frozen=True, kw_only=True):
    """A place of the document that the plan does not carry, and so never shares."""

    pointer: str
    reason: str


class PlanReceived(Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of a plan."""

    plan_id: str
    version: int
    outcome: Annotated[str, codes(*get_args(Outcome))]
    residents: tuple[ResidentNamed, ...]
    deliveries: tuple[str, ...]
    quality: tuple[Remark, ...]
    loss: tuple[Lost, ...]


class FormatOffered(Struct, frozen=True, kw_only=True, rename="camel"):
    """A format that can be read here; all but FHIR can be sent under their media type too."""

    name: str
    version: str
    title: str
    media_type: str


class FormatsOffered(Struct, frozen=True):
    """Every format."""

    items: tuple[FormatOffered, ...]


async def receive_plan(call: Call) -> web.Response:
    """POST /v1/plans: take a plan document in, unless there is too much in hand already."""
    with call.gateway.pressure.admitted():
        return await _received(call)


async def _received(call: Call) -> web.Response:
    form = _format_in(call)
    received = await call.gateway.intake.receive(await call.http.read(), form, call.by, idempotency_key(call))
    return answer(
        _told(received),
        status=201 if received.outcome == "created" else 200,
        headers={"Location": f"{call.gateway.public_url}/v1/plans/{received.plan_id}"},
    )


async def read_plan(call: Call) -> web.Response:
    """GET /v1/plans/{id}: what the caller may see, as FHIR or in a plan format."""
    name = call.query(FormatWanted).format
    try:
        page = await call.gateway.reading.read(call.path("id"), call.by, name)
    except UnknownFormatError as error:
        raise refusal("not-acceptable", "/format", _offered(call.gateway.shelf, extra=(FHIR,))) from error
    headers = {**VERSION_HEADER, "ETag": etag(page.version)}
    if call.http.headers.get("If-None-Match") == etag(page.version):
        return web.Response(status=304, headers=headers)
    return web.Response(body=page.body, headers={**headers, "Content-Type": page.content_type})


def _format_in(call: Call) -> Format:
    """Return the format of the body, by ?format= or by the media type; both must agree that it is JSON."""
    shelf, media = call.gateway.shelf, call.http.content_type
    asked = call.query(FormatSent).format
    own = media.startswith(_OWN_TYPE[0]) and media.endswith(_OWN_TYPE[2])
    if not own and media not in {"application/json", "application/octet-stream"}:
        raise refusal("media-type", "", f"send application/json with ?format=NAME, or {media_type('NAME')}")
    if media == "application/octet-stream" and "Content-Type" in call.http.headers:
        raise refusal("media-type", "", f"send application/json with ?format=NAME, or {media_type('NAME')}")
    name = asked or (media.removeprefix(_OWN_TYPE[0]).removesuffix(_OWN_TYPE[2]) if own else None)
    form = shelf.get(name) if name else None
    if form is None:
        raise refusal("format", "/format", _offered(shelf))
    return form


def _offered(shelf: Shelf, extra: Iterable[str] = ()) -> str:
    return "the formats are " + ", ".join((*extra, *shelf.names()))


def _told(received: Received) -> PlanReceived:
    pointers = received.pointers
    return PlanReceived(
        plan_id=received.plan_id,
        version=received.version,
        outcome=received.outcome,
        residents=tuple(ResidentNamed(id=resident, reference=name) for resident, name in received.residents.items()),
        deliveries=received.deliveries,
        quality=tuple(
            Remark(
                code=finding.code,
                severity=finding.severity,
                pointer=pointers.get(finding.part or "", ""),
                nl=finding.nl,
                en=finding.en,
            )
            for finding in received.quality
        ),
        loss=tuple(Lost(pointer=loss.pointer, reason=loss.reason) for loss in received.loss),
    )


async def list_formats(call: Call) -> web.Response:
    """GET /v1/formats: what can be sent and read here."""
    found = [call.gateway.shelf.get(name) for name in call.gateway.shelf.names()]
    own = [
        FormatOffered(name=form.name, version=form.version, title=form.title, media_type=media_type(form.name))
        for form in found
        if form
    ]
    fhir = FormatOffered(name=FHIR, version="4.0.1", title="FHIR R4", media_type=FHIR_JSON)
    return answer(FormatsOffered((fhir, *own)))
