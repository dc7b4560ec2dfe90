"""What RabbitMQ must know of one partner: a user with the least that it needs, and the queue that it is notified in. Pure.

The form is that of `rabbitmqctl import_definitions` (https://www.rabbitmq.com/docs/definitions), which adds and changes, and removes
nothing. A user without a password hash cannot log in until it is given a password.
"""

from typing import Any

from adapters import inbound_amqp, outbound_amqp

VHOST = "planbrug-partners"


def definitions_for(organisation: str, client: str, vhost: str = VHOST) -> dict[str, list[dict[str, Any]]]:
    """Return the definitions for a client of an organisation: it may send plans, and read its organisation's notifications."""
    queue = outbound_amqp.queue_of(organisation)
    return {
        "users": [
            {
                "name": client,
                "password_hash": "",
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "",
                "limits": {},
            }
        ],
        "permissions": [
            {
                "user": client,
                "vhost": vhost,
                "configure": "^$",
                "write": _only(inbound_amqp.EXCHANGE),
                "read": _only(queue),
            }
        ],
        "queues": [
            {
                "name": queue,
                "vhost": vhost,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-max-length": 100_000},
            }
        ],
        "bindings": [
            {
                "source": outbound_amqp.EXCHANGE,
                "vhost": vhost,
                "destination": queue,
                "destination_type": "queue",
                "routing_key": queue,
                "arguments": {},
            }
        ],
    }


def _only(name: str) -> str:
    return "^" + name.replace(".", r"\.") + "$"
