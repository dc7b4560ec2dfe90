"""Plans that come over AMQP: what a message must be before anybody opens it, and what its parts say. Pure.

A message is a JWE (`application/jose`) to the gateway's key. `message_id` is its idempotency key; `user_id` is checked by RabbitMQ to
be the user who published it (https://www.rabbitmq.com/docs/validated-user-id), and that user is named after the directory's client.
"""

import re

from msgspec import Struct

EXCHANGE = "planbrug.inbound"
QUEUE = "planbrug.inbound"
DEAD = "planbrug.dead"
CONTENT_TYPE = "application/jose"
REASON_HEADER = "reason"

_MESSAGE_ID = re.compile(r"[!-~]{1,255}")
_PLAN_TYPE = re.compile(r"(?:application/)?vnd\.planbrug\.([a-z0-9-]{1,64})\+json")


class Arrival(Struct, frozen=True, kw_only=True):
    """A message as it came."""

    body: bytes
    content_type: str | None
    message_id: str | None
    user_id: str | None


class Letter(Struct, frozen=True, kw_only=True):
    """A message that may be opened: from whom, under which key, still sealed."""

    sender: str
    key: str
    sealed: bytes


class Fault(Struct, frozen=True):
    """Why a message can never be taken: a row of the gateway's table of errors."""

    code: str


def judge(arrival: Arrival, limit_bytes: int) -> Letter | Fault:
    """Say whether a message may be opened. `limit_bytes` bounds it sealed."""
    if not arrival.user_id:
        return Fault("unauthenticated")
    if not _MESSAGE_ID.fullmatch(arrival.message_id or ""):
        return Fault("parameter")
    if arrival.content_type != CONTENT_TYPE:
        return Fault("media-type")
    if len(arrival.body) > limit_bytes:
        return Fault("too-large")
    return Letter(sender=arrival.user_id, key=arrival.message_id or "", sealed=arrival.body)


def format_named(content_type: str) -> str | None:
    """Return the plan format that a `cty` names: `application/vnd.planbrug.NAME+json`, where `application/` may be left out."""
    found = _PLAN_TYPE.fullmatch(content_type)
    return found.group(1) if found else None
