"""`/v1/deliveries` and `/v1/receipts`: what is on its way, what left, and what was refused. No content."""

from datetime import datetime
from typing import Annotated, get_args

from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from consent.catalogue import Ground
from gateway.api.call import Call, answer
from gateway.api.query import Page
from gateway.api.shapes import codes
from gateway.errors import Refusal, refusal
from gateway.store import deliveries as rows
from gateway.store import plans as plan_rows
from gateway.store import receipts as receipt_rows
from gateway.store.deliveries import DeliveryRow
from gateway.store.engine import Transaction
from gateway.store.receipts import PartLine, ReceiptRow
from gateway.store.tables import DELIVERY_STATES, DeliveryState
from mappings.audit import Exit
from mappings.codes import DOMAINS, KINDS


class DeliveryPage(Page, frozen=True, kw_only=True):
    """One page of deliveries."""

    state: DeliveryState | None = None


class DeliveryItem(Struct, frozen=True, kw_only=True, rename="camel"):
    """A delivery without its content. `planVersion` counts what its reader can know of; `sequence` is per recipient, without gaps."""

    id: str
    plan_id: str
    plan_version: int | None
    recipient: str
    adapter: Annotated[str, codes("webhook", "fhir", "amqp")]
    state: Annotated[str, codes(*DELIVERY_STATES)]
    reason: str | None
    sequence: int | None
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    updated_at: datetime
    receipt_id: str | None


class Deliveries(Struct, frozen=True, kw_only=True):
    """A page of deliveries; `next` is the cursor of the next page, null on the last."""

    items: tuple[DeliveryItem, ...]
    next: str | None


class ReceiptPart(Struct, frozen=True, kw_only=True, rename="camel"):
    """One part that left, and the ground on which it did."""

    part_id: str
    kind: Annotated[str, codes(*KINDS)]
    domain: Annotated[str, codes(*DOMAINS)] | None
    ground: Annotated[str, codes(*get_args(Ground))]
    article: str
    choice_ids: tuple[str, ...]


class ChoiceUsed(Struct, frozen=True, kw_only=True):
    """Which version of which choice."""

    id: str
    version: int


class ReceiptItem(Struct, frozen=True, kw_only=True, rename="camel"):
    """What left or was read, or was refused. `ground` is what its parts share, or the first of them in the order of the catalogue."""

    id: str
    exit: Annotated[str, codes(*get_args(Exit))]
    delivery_id: str | None
    recipient: str
    plan_id: str
    plan_version: int | None
    parts: tuple[ReceiptPart, ...]
    ground: Annotated[str, codes(*get_args(Ground))] | None
    article: str | None
    choices: tuple[ChoiceUsed, ...]
    sha256: str | None
    at: datetime
    refused: bool
    code: str


class Receipts(Struct, frozen=True, kw_only=True):
    """A page of receipts; `next` is the cursor of the next page, null on the last."""

    items: tuple[ReceiptItem, ...]
    next: str | None


async def list_deliveries(call: Call) -> web.Response:
    """GET /v1/deliveries: all for the administrator, those of its plans for a team, its own for a recipient."""
    page = call.query(DeliveryPage)
    found = await call.gateway.store.read(
        lambda tx: rows.list_deliveries(
            tx,
            plan_id=page.plan_id,
            recipient=page.recipient,
            state=page.state,
            viewer=None if call.by.is_admin else call.by.organisation,
            after=page.cursor,
            limit=page.rows + 1,
        )
    )
    shown = found[: page.rows]
    own = await own_plans(call, {row.plan for row in shown})
    items = tuple(delivery_item(row, is_own=row.plan in own) for row in shown)
    return answer(Deliveries(items=items, next=shown[-1].id if len(found) > page.rows else None))


async def show_delivery(call: Call) -> web.Response:
    """GET /v1/deliveries/{id}."""
    row, is_own = await _one(call)
    return answer(delivery_item(row, is_own=is_own))


async def retry_delivery(call: Call) -> web.Response:
    """POST /v1/deliveries/{id}/retries: let a parked or waiting delivery go now; it may narrow, never widen."""
    return await _moved(call, rows.retry, "only a parked or waiting delivery can be tried again")


async def stop_delivery(call: Call) -> web.Response:
    """POST /v1/deliveries/{id}/stops: park a delivery that is on its way, also when its receiver hangs or does not pull."""
    stopped = await _moved(call, rows.stop, "only a planned, queued, waiting or sent delivery can be stopped")
    call.gateway.deliverer.stop(call.path("id"))
    return stopped


async def list_receipts(call: Call) -> web.Response:
    """GET /v1/receipts: of its plans for a team, its own for a recipient, all for the administrator."""
    page = call.query(Page)
    found = await call.gateway.store.read(
        lambda tx: receipt_rows.list_receipts(
            tx,
            plan_id=page.plan_id,
            recipient=page.recipient,
            viewer=None if call.by.is_admin else call.by.organisation,
            after=page.cursor,
            limit=page.rows + 1,
        )
    )
    shown = found[: page.rows]
    own = await own_plans(call, {row.plan for row in shown})
    items = tuple(_receipt(as_known(call, row, is_own=row.plan in own), is_own=row.plan in own) for row in shown)
    return answer(Receipts(items=items, next=shown[-1].id if len(found) > page.rows else None))


async def own_plans(call: Call, plan_ids: set[str]) -> frozenset[str]:
    """Return the plans of which the caller may see the gateway's own version numbers."""
    if call.by.is_admin:
        return frozenset(plan_ids)
    return await call.gateway.store.read(lambda tx: plan_rows.plans_from(tx, plan_ids, call.by.organisation))


async def _one(call: Call) -> tuple[DeliveryRow, bool]:
    row = await call.gateway.store.read(lambda tx: rows.get_delivery(tx, call.path("id")))
    if row is None:
        raise Refusal("not-found")
    is_own = row.plan in await own_plans(call, {row.plan})
    if not is_own and (row.recipient != call.by.organisation or row.sequence is None):
        raise Refusal("not-found")
    return row, is_own


async def _moved(call: Call, move: "rows.Move", remedy: str) -> web.Response:
    row, is_own = await _one(call)
    if not is_own:
        raise Refusal("not-found")
    gateway = call.gateway

    def work(tx: Transaction) -> bool:
        return move(tx, row.id, gateway.clock.now())

    if not await gateway.store.write(work):
        raise refusal("state", "/state", remedy)
    gateway.relay.nudge()
    moved, _ = await _one(call)
    return answer(delivery_item(moved, is_own=True))


def delivery_item(row: DeliveryRow, *, is_own: bool) -> DeliveryItem:
    """Tell a delivery. Its recipient knows versions of its own view only: the plan's would tell of hidden changes."""
    return DeliveryItem(
        id=row.id,
        plan_id=row.plan,
        plan_version=row.plan_version if is_own else row.view_version,
        recipient=row.recipient,
        adapter=row.adapter,
        state=row.state,
        reason=row.reason,
        sequence=row.sequence,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        receipt_id=row.receipt,
    )


def as_known(call: Call, row: ReceiptRow, *, is_own: bool) -> ReceiptRow:
    """Name residents' parts as the recipient of a receipt knows them: by the number that was made for it."""
    if is_own:
        return row
    return replace(row, parts=tuple(replace(part, part_id=_known_id(call, row, part.part_id)) for part in row.parts))


def _known_id(call: Call, row: ReceiptRow, part_id: str) -> str:
    resident, dot, kind = part_id.partition(".")
    return f"{call.gateway.master.pseudonym(row.recipient, resident)}.{kind}" if dot else part_id


def _receipt(row: ReceiptRow, *, is_own: bool) -> ReceiptItem:
    first = min(row.parts, key=lambda part: _GROUND_ORDER.index(part.ground), default=None)
    used = {choice for part in row.parts for choice in part.choices}
    return ReceiptItem(
        id=row.id,
        exit=row.exit,
        delivery_id=row.delivery,
        recipient=row.recipient,
        plan_id=row.plan,
        plan_version=row.plan_version if is_own else row.view_version,
        parts=tuple(_part(part) for part in row.parts),
        ground=first.ground if first else None,
        article=first.article if first else None,
        choices=tuple(ChoiceUsed(id=choice, version=version) for choice, version in sorted(used)),
        sha256=row.sha256,
        at=row.at,
        refused=row.refused,
        code=row.code,
    )


_GROUND_ORDER: tuple[str, ...] = get_args(Ground)


def _part(part: PartLine) -> ReceiptPart:
    return ReceiptPart(
        part_id=part.part_id,
        kind=part.kind,
        domain=part.domain,
        ground=part.ground,
        article=part.article,
        choice_ids=tuple(choice for choice, _ in part.choices),
    )
