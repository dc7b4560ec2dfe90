"""`/v1/residents`: choices, and what each organisation gets because of them."""

from typing import get_args

from aiohttp import web
from msgspec import Struct

from consent.choice import Choice
from consent.decide import Decision
from consent.explain import explain
from gateway.api.call import Call, answer, etag, if_match
from gateway.choosing import ChoiceSet
from gateway.errors import Refusal, refusal
from gateway.reading import Page, reader_of
from gateway.render import FHIR, FHIR_JSON
from gateway.seal import sha256_hex
from gateway.sight import Look
from gateway.store import plans as plan_rows
from gateway.store.plans import PlanRow
from mappings.codes import Purpose
from mappings.identifiers import Bsn, IdentifierError
from mappings.plan import AnyPart


class Question(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a search for a resident: never in a URL."""

    bsn: str


class Choices(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of PUT …/choices; `version` is what was read, for the reader's ease: If-Match decides."""

    choices: tuple[Choice, ...]
    version: int | None = None


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
    return answer({"id": resident})


async def get_choices(call: Call) -> web.Response:
    """GET /v1/residents/{id}/choices."""
    call.query()
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
    query = call.query("planId", "purpose", "role", "person")
    resident, gateway = call.path("id"), call.gateway
    plan = _only(await plans_made(call, resident), query.get("planId"))
    entry = (await gateway.directory.now()).entries.get(call.path("organisationId"))
    if entry is None:
        raise Refusal("not-found")
    reader = reader_of(entry, _purpose(query.get("purpose")), query.get("role"), query.get("person"))
    look, page = await gateway.reading.preview(plan.id, reader, FHIR)
    if "fhir+json" in call.http.headers.get("Accept", ""):
        if page is None:
            raise Refusal("not-found")
        return web.Response(body=page.body, headers={"Content-Type": FHIR_JSON, "ETag": etag(page.version)})
    return answer(_explained(look, page, resident))


def _purpose(name: str | None) -> Purpose | None:
    found = next((purpose for purpose in get_args(Purpose) if purpose == name), None)
    if name is not None and found is None:
        raise refusal("parameter", "/purpose", "the purposes are " + ", ".join(get_args(Purpose)))
    return found


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
    return answer({"version": kept.version, "choices": kept.choices}, headers={"ETag": etag(kept.version)})


def _explained(look: Look, page: Page | None, resident: str) -> dict[str, object]:
    """Tell per part; parts that are about others only are not told to this resident."""
    concerned = [part for part in look.whole.parts if resident in part.label.subjects]
    return {
        "planId": look.whole.id,
        "version": page.version if page else None,
        "sha256": sha256_hex(page.body) if page else None,
        "parts": [_line(part, look.decisions[part.id]) for part in concerned],
    }


def _line(part: AnyPart, decision: Decision) -> dict[str, object]:
    sentence = explain(decision)
    return {
        "partId": part.id,
        "kind": part.kind,
        "domain": part.label.domain,
        "permitted": decision.permitted,
        "code": decision.code,
        "ground": decision.ground,
        "article": decision.article,
        "choiceIds": [choice.id for choice in decision.choices],
        "from": decision.starts_on,
        "until": decision.ends_on,
        "nl": sentence.nl,
        "en": sentence.en,
    }
