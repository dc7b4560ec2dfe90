"""Write and read the CloudEvent that says "look at these deliveries"; it holds opaque ids only.

Structured CloudEvents 1.0 in JSON (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md),
NL GOV profile (https://gitdocumentatie.logius.nl/publicatie/notificatie/cloudevents-profile/). `time` is optional there
and left out: no clock is read here.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

CONTENT_TYPE = "application/cloudevents+json"


Id = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class DueDeliveries(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an event tells: opaque ids and nothing else."""

    delivery_ids: Annotated[tuple[Id, ...], msgspec.Meta(min_length=1, max_length=1_000)]


class DeliveriesDue(msgspec.Struct, frozen=True, kw_only=True):
    """A structured CloudEvent 1.0 that says: look at these deliveries."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: Literal["nl.planbrug.deliveries-due.v1"]
    datacontenttype: Literal["application/json"]
    data: DueDeliveries


def due_event(event_id: str, source: str, delivery_ids: Sequence[str]) -> bytes:
    """Write the CloudEvent for some deliveries."""
    event = DeliveriesDue(
        specversion="1.0",
        id=event_id,
        source=source,
        type="nl.planbrug.deliveries-due.v1",
        datacontenttype="application/json",
        data=DueDeliveries(delivery_ids=tuple(delivery_ids)),
    )
    return msgspec.json.encode(event)


def read_due_event(body: bytes) -> tuple[str, ...]:
    """Read the delivery ids out of a CloudEvent; none when it is not one of ours."""
    try:
        return msgspec.json.decode(body, type=DeliveriesDue).data.delivery_ids
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()
