"""`/v1/deliveries/{id}/document` and `…/receipts`: what a notified recipient pulls, and its receipt."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.api.call import VERSION_HEADER, Call, answer
from gateway.api.deliveries import delivery_item


class Receipt(Struct, frozen=True, forbid_unknown_fields=True):
    """What a recipient says that it got: the hash of the bytes, in hex."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")]


async def pull_document(call: Call) -> web.Response:
    """GET /v1/deliveries/{id}/document: decided at this moment; 404 when nothing may be seen any more."""
    delivery_id = call.path("id")
    document = await call.gateway.pulling.pull(delivery_id, call.by)
    headers = {
        **VERSION_HEADER,
        "Content-Type": document.content_type,
        "Planbrug-Delivery": delivery_id,
        "Planbrug-Sequence": str(document.sequence),
        "Planbrug-Sha256": document.sha256,
    }
    return web.Response(body=document.body, headers=headers)


async def confirm_document(call: Call) -> web.Response:
    """POST /v1/deliveries/{id}/receipts: the recipient got these bytes."""
    receipt = await call.body(Receipt)
    row = await call.gateway.pulling.confirm(call.path("id"), receipt.sha256.lower(), call.by)
    return answer(delivery_item(row, is_own=False))
