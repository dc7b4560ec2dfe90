"""Push to a webhook: delivered only when the answer is a 2xx whose JSON repeats the delivery id and the hash of the bytes."""

import json

import aiohttp

from adapters.interface import Answer, Authorise, Parcel, Send, Written
from adapters.outbound_http import Reply, post


def webhook_sender(session: aiohttp.ClientSession, authorise: Authorise) -> Send:
    """Return the way out over webhooks."""

    async def send(parcel: Parcel, written: Written) -> Answer:
        reply = await post(session, parcel, written, {"Accept": "application/json"}, authorise)
        return _judged(reply, parcel) if isinstance(reply, Reply) else reply

    return send


def _judged(reply: Reply, parcel: Parcel) -> Answer:
    try:
        receipt = json.loads(reply.body)
    except (ValueError, RecursionError):
        return Answer(signal="no-receipt", status=reply.status)
    if not isinstance(receipt, dict) or not {"deliveryId", "sha256"} <= receipt.keys():
        return Answer(signal="no-receipt", status=reply.status)
    matches = (receipt["deliveryId"], receipt["sha256"]) == (parcel.delivery_id, parcel.sha256)
    return Answer(signal="receipt" if matches else "wrong-receipt", status=reply.status)
