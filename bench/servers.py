"""The real RabbitMQ and PostgreSQL of a run, started as the tests start them; PostgreSQL with its own defaults of durability."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import services


class DurablePostgreSql(services.PostgreSql):
    """PostgreSQL that keeps what it has committed."""

    def _settings(self, data: Path) -> list[str]:
        lax = ("-cfsync=", "-csynchronous_commit=", "-cfull_page_writes=")
        return [setting for setting in super()._settings(data) if not setting.startswith(lax)]


@contextlib.contextmanager
def running_postgresql() -> Iterator[services.PostgreSql]:
    """Run a PostgreSQL server of its own, and leave nothing behind."""
    with services.new_folder("postgresql") as folder:
        server = DurablePostgreSql(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()


running_rabbitmq = services.running_rabbitmq
free_ports = services.free_ports
