"""`/v1/asyncapi.json`: the exchange over AMQP, as AsyncAPI 3.0 (https://www.asyncapi.com/docs/reference/specification/v3.0.0).

Made of the constants that the exchange itself runs on, so that it cannot say anything else.
"""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from adapters import inbound_amqp, outbound_amqp
from gateway.api.call import VERSION_HEADER, Call, answer
from gateway.envelope import ALGORITHM, ENCRYPTION
from gateway.inbound import REASONS
from gateway.render import media_type


async def show_asyncapi(call: Call) -> web.Response:
    """GET /v1/asyncapi.json."""
    return answer(described(call.gateway.public_url, call.gateway.shelf.names()))


def described(public_url: str, formats: Iterable[str]) -> dict[str, Any]:
    """Return the description: what a partner may send, and what it receives."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Planbrug over AMQP",
            "version": VERSION_HEADER["API-Version"],
            "description": "Sealed plans in; notifications out, whose document is pulled over HTTP.",
            "license": {"name": "EUPL-1.2", "url": "https://eupl.eu/1.2/en/"},
        },
        "defaultContentType": outbound_amqp.CONTENT_TYPE,
        "channels": {"inbound": _inbound(), "notifications": _notifications()},
        "operations": {
            "receivePlan": {
                "action": "receive",
                "channel": {"$ref": "#/channels/inbound"},
                "messages": [{"$ref": "#/channels/inbound/messages/sealedPlan"}],
            },
            "sendNotification": {
                "action": "send",
                "channel": {"$ref": "#/channels/notifications"},
                "messages": [{"$ref": "#/channels/notifications/messages/planChanged"}],
            },
        },
        "components": {
            "messages": {"sealedPlan": _sealed_plan(public_url, formats), "planChanged": _plan_changed(public_url)}
        },
    }


def _inbound() -> dict[str, Any]:
    return {
        "address": inbound_amqp.EXCHANGE,
        "description": f"What cannot be taken stands in {inbound_amqp.DEAD}, still sealed, with its reason as a header.",
        "messages": {"sealedPlan": {"$ref": "#/components/messages/sealedPlan"}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": inbound_amqp.EXCHANGE, "type": "fanout", "durable": True, "autoDelete": False},
                "bindingVersion": "0.3.0",
            }
        },
    }


def _notifications() -> dict[str, Any]:
    return {
        "address": outbound_amqp.queue_of("{organisation}"),
        "parameters": {"organisation": {"description": "The id of the receiving organisation in the directory."}},
        "messages": {"planChanged": {"$ref": "#/components/messages/planChanged"}},
        "bindings": {
            "amqp": {
                "is": "queue",
                "queue": {
                    "name": outbound_amqp.queue_of("{organisation}"),
                    "durable": True,
                    "exclusive": False,
                    "autoDelete": False,
                },
                "bindingVersion": "0.3.0",
            }
        },
    }


def _sealed_plan(public_url: str, formats: Iterable[str]) -> dict[str, Any]:
    types = ", ".join(media_type(name) for name in formats)
    return {
        "name": "sealedPlan",
        "title": "A plan, sealed to this gateway",
        "contentType": inbound_amqp.CONTENT_TYPE,
        "description": (
            f"Compact JWE, alg {ALGORITHM}, enc {ENCRYPTION}, to the key with use=enc in {public_url}/.well-known/jwks.json; "
            f"the protected header cty is one of {types}. AMQP message_id is required and is the idempotency key. AMQP user_id is "
            "required: the name of the RabbitMQ user, which is the client id in the directory, with the scope plans:write."
        ),
        "payload": {"type": "string", "pattern": r"^[\w-]+\.[\w-]*\.[\w-]*\.[\w-]*\.[\w-]*$"},
        "x-dead-letter-reasons": list(REASONS),
    }


def _plan_changed(public_url: str) -> dict[str, Any]:
    texts = ("specversion", "id", "source", "type", "dataref")
    fixed = {"specversion": "1.0", "source": outbound_amqp.SOURCE, "type": outbound_amqp.EVENT_TYPE}
    properties = {name: {"type": "string", **({"const": fixed[name]} if name in fixed else {})} for name in texts}
    place = outbound_amqp.document_url(public_url, "{id}")
    return {
        "name": "planChanged",
        "title": "There is something to pull",
        "contentType": outbound_amqp.CONTENT_TYPE,
        "description": (
            f"dataref is {place}: GET it with a token of the receiving organisation (scope deliveries:read), then POST "
            "{sha256}, the hex SHA-256 of the bytes, to receipts beside it. The same delivery may be notified more than once."
        ),
        "payload": {"type": "object", "required": list(texts), "additionalProperties": False, "properties": properties},
    }
