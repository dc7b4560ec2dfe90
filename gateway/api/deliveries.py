"""`/v1/deliveries` and `/v1/receipts`: what is on its way, what left, and what was refused. No content."""

from typing import get_args

from aiohttp import web
from msgspec.structs import replace

from consent.catalogue import Ground
from gateway.api.call import Call, answer, page_of
from gateway.errors import Refusal, refusal
from gateway.store import deliveries as rows
from gateway.store import plans as plan_rows
from gateway.store import receipts as receipt_rows
from gateway.store.deliveries import DeliveryRow
from gateway.store.engine import Transaction
from gateway.store.receipts import PartLine, ReceiptRow
from gateway.store.tables import DELIVERY_STATES


async def list_deliveries(call: Call) -> web.Response:
    """GET /v1/deliveries: all for the administrator, those of its plans for a team, its own for a recipient."""
    query = call.query("planId", "recipient", "state", "cursor", "limit")
    state = query.get("state")
    if state is not None and state not in DELIVERY_STATES:
        raise refusal("parameter", "/state", "the states are " + ", ".join(DELIVERY_STATES))
    after, limit = page_of(query)
    found = await call.gateway.store.read(
        lambda tx: rows.list_deliveries(
            tx,
            plan_id=query.get("planId"),
            recipient=query.get("recipient"),
            state=state,
            viewer=None if call.by.is_admin else call.by.organisation,
            after=after,
            limit=limit + 1,
        )
    )
    shown = found[:limit]
    own = await own_plans(call, {row.plan for row in shown})
    items = [delivery_item(row, is_own=row.plan in own) for row in shown]
    return answer({"items": items, "next": shown[-1].id if len(found) > limit else None})


async def show_delivery(call: Call) -> web.Response:
    """GET /v1/deliveries/{id}."""
    call.query()
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
    query = call.query("planId", "recipient", "cursor", "limit")
    after, limit = page_of(query)
    found = await call.gateway.store.read(
        lambda tx: receipt_rows.list_receipts(
            tx,
            plan_id=query.get("planId"),
            recipient=query.get("recipient"),
            viewer=None if call.by.is_admin else call.by.organisation,
            after=after,
            limit=limit + 1,
        )
    )
    shown = found[:limit]
    own = await own_plans(call, {row.plan for row in shown})
    items = [_receipt(as_known(call, row, is_own=row.plan in own), is_own=row.plan in own) for row in shown]
    return answer({"items": items, "next": shown[-1].id if len(found) > limit else None})


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


def delivery_item(row: DeliveryRow, *, is_own: bool) -> dict[str, object]:
    """Tell a delivery. Its recipient knows versions of its own view only: the plan's would tell of hidden changes."""
    return {
        "id": row.id,
        "planId": row.plan,
        "planVersion": row.plan_version if is_own else row.view_version,
        "recipient": row.recipient,
        "adapter": row.adapter,
        "state": row.state,
        "reason": row.reason,
        "sequence": row.sequence,
        "attempts": row.attempts,
        "nextAttemptAt": row.next_attempt_at,
        "createdAt": row.created_at,
        "updatedAt": row.updated_at,
        "receiptId": row.receipt,
    }


def as_known(call: Call, row: ReceiptRow, *, is_own: bool) -> ReceiptRow:
    """Name residents' parts as the recipient of a receipt knows them: by the number that was made for it."""
    if is_own:
        return row
    return replace(row, parts=tuple(replace(part, part_id=_known_id(call, row, part.part_id)) for part in row.parts))


def _known_id(call: Call, row: ReceiptRow, part_id: str) -> str:
    resident, dot, kind = part_id.partition(".")
    return f"{call.gateway.master.pseudonym(row.recipient, resident)}.{kind}" if dot else part_id


def _receipt(row: ReceiptRow, *, is_own: bool) -> dict[str, object]:
    """Tell a receipt. `ground` is the one that its parts share, or the first of them in the order of the catalogue."""
    first = min(row.parts, key=lambda part: _GROUND_ORDER.index(part.ground), default=None)
    used = {choice for part in row.parts for choice in part.choices}
    return {
        "id": row.id,
        "exit": row.exit,
        "deliveryId": row.delivery,
        "recipient": row.recipient,
        "planId": row.plan,
        "planVersion": row.plan_version if is_own else row.view_version,
        "parts": [_part(part) for part in row.parts],
        "ground": first.ground if first else None,
        "article": first.article if first else None,
        "choices": [{"id": choice, "version": version} for choice, version in sorted(used)],
        "sha256": row.sha256,
        "at": row.at,
        "refused": row.refused,
        "code": row.code,
    }


_GROUND_ORDER: tuple[str, ...] = get_args(Ground)


def _part(part: PartLine) -> dict[str, object]:
    return {
        "partId": part.part_id,
        "kind": part.kind,
        "domain": part.domain,
        "ground": part.ground,
        "article": part.article,
        "choiceIds": [choice for choice, _ in part.choices],
    }
