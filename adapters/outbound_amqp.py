"""Notify a partner over AMQP that there is something to pull. The notification tells nothing but where.

Structured CloudEvents 1.0 in JSON (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md), NL GOV profile
(https://gitdocumentatie.logius.nl/publicatie/notificatie/cloudevents-profile/), with `dataref` of the claim check pattern
(https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/dataref.md). `time` is optional there and left out: no clock is
read here. Who is notified twice of one delivery sees that by `dataref`.
"""

import json
from collections.abc import Awaitable, Callable

from adapters.interface import Answer, Parcel, Send, Written

EXCHANGE = "planbrug.notifications"
SOURCE = "urn:nld:planbrug"
EVENT_TYPE = "nl.planbrug.plan-changed.v1"
CONTENT_TYPE = "application/cloudevents+json"

Notify = Callable[[str, bytes], Awaitable[Answer]]
"""(queue, event) → what was seen: `notified`, `unroutable` or `not-connected`. Never raises for what the broker does."""


def queue_of(organisation: str) -> str:
    """Return the queue that an organisation is notified in; it is also the routing key."""
    return f"planbrug.{organisation}.notifications"


def document_url(public_url: str, delivery_id: str) -> str:
    """Return where a delivery is pulled."""
    return f"{public_url}/v1/deliveries/{delivery_id}/document"


def plan_changed(event_id: str, public_url: str, delivery_id: str) -> bytes:
    """Write the event: no person, no plan, no number; whoever may not pull learns nothing from it."""
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": EVENT_TYPE,
        "dataref": document_url(public_url, delivery_id),
    }
    return json.dumps(event).encode()


def amqp_sender(notify: Notify, public_url: str, new_id: Callable[[], str]) -> Send:
    """Return the way out over AMQP. Nothing of the parcel's body goes out here: its recipient pulls it, and is judged again then."""

    async def send(parcel: Parcel, written: Written) -> Answer:
        answer = await notify(parcel.url, plan_changed(new_id(), public_url, parcel.delivery_id))
        written()
        return answer

    return send
