"""`/v1/residents`: choices, and what each organisation gets because of them."""

from datetime import date
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct, field

from consent.catalogue import Ground
from consent.choice import Choice
from consent.decide import Decision, ReasonCode
from consent.explain import explain
from gateway.api.call import Call, answer, etag, if_match
from gateway.api.query import ViewWanted
from gateway.api.shapes import codes
from gateway.choosing import ChoiceSet
from gateway.errors import Refusal, refusal
from gateway.reading import Page, reader_of
from gateway.render import FHIR, FHIR_JSON
from gateway.seal import sha256_hex
from gateway.sight import Look
from gateway.store import plans as plan_rows
from gateway.store.plans import PlanRow
from mappings.codes import DOMAINS, KINDS
from mappings.identifiers import Bsn, IdentifierError
from mappings.plan import AnyPart


class Question(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a search for a resident: never in a URL."""

    bsn: Annotated[
        str,
        Meta(description="Eight or nine digits that pass the 11-test.", extra_json_schema={"pattern": "^[0-9]{8,9}$"}),
    ]


class Choices(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of PUT …/choices; `version` is what was read, for the reader's ease: If-Match decides."""

    choices: tuple[Choice, ...]
    version: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class ResidentFound(Struct, frozen=True):
    """The id that a resident has here."""

    id: str


class ViewPart(Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether an organisation gets one part, and why: as a code, and as a sentence in two languages."""

    part_id: str
    kind: Annotated[str, codes(*KINDS)]
    domain: Annotated[str, codes(*DOMAINS)] | None
    permitted: bool
    code: ReasonCode
    ground: Ground | None
    article: str | None
    choice_ids: tuple[str, ...]
    starts_on: date | None = field(name="from")
    ends_on: date | None = field(name="until")
    nl: str
    en: str


class View(Struct, frozen=True, kw_only=True, rename="camel"):
    """What an organisation gets of a plan. `version` and `sha256` are those of its next delivery, null when it gets nothing."""

    plan_id: str
    version: int | None
    sha256: str | None
    parts: tuple[ViewPart, ...]


async def find_resident(call: Call) -> web.Response:
    """POST /v1/resident-queries: the id of a resident by BSN, for an organisation that has a plan with them."""
    question = await call.body(Question)
    try:
        bsn = Bsn(question.bsn)
    except IdentifierError as error:
        raise refusal("document", "/bsn", str(error)) from error
    fingerprint = call.gateway.master.fingerprint("bsn", bsn)
    found = await call.gateway.store.read(lambda tx: plan_rows.residents_by_fingerprint(tx, [fingerprint]))
    resident = found.get(fingerprint, "")
    await plans_made(call, resident)
    return answer(ResidentFound(id=resident))


async def get_choices(call: Call) -> web.Response:
    """GET /v1/residents/{id}/choices."""
    await plans_made(call, call.path("id"))
    return _told(await call.gateway.choosing.get(call.path("id")))


async def put_choices(call: Call) -> web.Response:
    """PUT /v1/residents/{id}/choices: the whole set; an absent choice is withdrawn."""
    await plans_made(call, call.path("id"))
    expected = if_match(call.http)
    wanted = await call.body(Choices)
    return _told(await call.gateway.choosing.put(call.path("id"), wanted.choices, expected, call.by))


async def add_choice(call: Call) -> web.Response:
    """POST /v1/residents/{id}/choices: one more choice."""
    await plans_made(call, call.path("id"))
    kept, choice = await call.gateway.choosing.add(call.path("id"), await call.body(Choice), call.by)
    place = f"{call.gateway.public_url}/v1/residents/{call.path('id')}/choices/{choice.id}"
    return answer(choice, status=201, headers={"ETag": etag(kept.version), "Location": place})


async def withdraw_choice(call: Call) -> web.Response:
    """DELETE /v1/residents/{id}/choices/{choiceId}: as easy as giving."""
    await plans_made(call, call.path("id"))
    kept = await call.gateway.choosing.withdraw(call.path("id"), call.path("choiceId"), call.by)
    return web.Response(status=204, headers={"ETag": etag(kept.version)})


async def show_view(call: Call) -> web.Response:
    """GET /v1/residents/{id}/views/{organisationId}: what an organisation gets, and per part why or why not."""
    query = call.query(ViewWanted)
    resident, gateway = call.path("id"), call.gateway
    plan = _only(await plans_made(call, resident), query.plan_id)
    entry = (await gateway.directory.now()).entries.get(call.path("organisationId"))
    if entry is None:
        raise Refusal("not-found")
    reader = reader_of(entry, query.purpose, query.role, query.person)
    look, page = await gateway.reading.preview(plan.id, reader, FHIR)
    if "fhir+json" in call.http.headers.get("Accept", ""):
        if page is None:
            raise Refusal("not-found")
        return web.Response(body=page.body, headers={"Content-Type": FHIR_JSON, "ETag": etag(page.version)})
    return answer(_explained(look, page, resident))


async def plans_made(call: Call, resident: str) -> tuple[PlanRow, ...]:
    """Return this resident's plans that the caller's organisation made; without one, the resident does not exist here."""
    found = await call.gateway.store.read(lambda tx: plan_rows.plans_of_resident(tx, resident))
    own = tuple(row for row in found if row.source == call.by.organisation)
    if not own:
        raise Refusal("not-found")
    return own


def _only(plans: tuple[PlanRow, ...], plan_id: str | None) -> PlanRow:
    """Return the plan that is asked for; it may be left out when there is one."""
    if plan_id is None and len(plans) > 1:
        raise refusal("parameter", "/planId", "this resident has several plans; name one")
    found = [row for row in plans if plan_id in {None, row.id}]
    if not found:
        raise Refusal("not-found")
    return found[0]


def _told(kept: ChoiceSet) -> web.Response:
    return answer(kept, headers={"ETag": etag(kept.version)})


def _explained(look: Look, page: Page | None, resident: str) -> View:
    """Tell per part; parts that are about others only are not told to this resident."""
    concerned = [part for part in look.whole.parts if resident in part.label.subjects]
    return View(
        plan_id=look.whole.id,
        version=page.version if page else None,
        sha256=sha256_hex(page.body) if page else None,
        parts=tuple(_line(part, look.decisions[part.id]) for part in concerned),
    )


def _line(part: AnyPart, decision: Decision) -> ViewPart:
    sentence = explain(decision)
    return ViewPart(
        part_id=part.id,
        kind=part.kind,
        domain=part.label.domain,
        permitted=decision.permitted,
        code=decision.code,
        ground=decision.ground,
        article=decision.article,
        choice_ids=tuple(choice.id for choice in decision.choices),
        starts_on=decision.starts_on,
        ends_on=decision.ends_on,
        nl=sentence.nl,
        en=sentence.en,
    )
