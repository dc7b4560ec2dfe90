"""Write and read the CloudEvent that says "look at this delivery"; it holds opaque ids only.

Structured CloudEvents 1.0 in JSON (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md),
NL GOV profile (https://gitdocumentatie.logius.nl/publicatie/notificatie/cloudevents-profile/). `time` is optional there
and left out: no clock is read here.
"""

from typing import Annotated, Literal

import msgspec

CONTENT_TYPE = "application/cloudevents+json"


class DueDelivery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a delivery-due event tells: one opaque id and nothing else."""

    delivery_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class DeliveryDue(msgspec.Struct, frozen=True, kw_only=True):
    """A structured CloudEvent 1.0 that says: look at this delivery."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: Literal["nl.planbrug.delivery-due.v1"]
    datacontenttype: Literal["application/json"]
    data: DueDelivery


def due_event(event_id: str, source: str, delivery_id: str) -> bytes:
    """Write the CloudEvent for one delivery."""
    event = DeliveryDue(
        specversion="1.0",
        id=event_id,
        source=source,
        type="nl.planbrug.delivery-due.v1",
        datacontenttype="application/json",
        data=DueDelivery(delivery_id=delivery_id),
    )
    return msgspec.json.encode(event)


def read_due_event(body: bytes) -> str | None:
    """Read the delivery id out of a CloudEvent; None when it is not one of ours."""
    try:
        return msgspec.json.decode(body, type=DeliveryDue).data.delivery_id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
