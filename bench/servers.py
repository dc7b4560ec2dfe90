"""The real RabbitMQ and PostgreSQL of a run, started as the tests start them; PostgreSQL with its own defaults of durability."""

import sys
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import services

running_postgresql = partial(services.running_postgresql, durable=True)
running_rabbitmq = services.running_rabbitmq
free_ports = services.free_ports
