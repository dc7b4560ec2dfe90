"""Bring a database to today's tables, with Alembic, in the transaction that opens it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

_MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(connection: Connection, name: str) -> None:
    """Run the migrations of the database called `name` ("planbrug" or "keys") that it lacks; several gateways may start at once."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(7305518)"))
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("version_locations", str(_MIGRATIONS / name))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = f"{name}_migration"
    command.upgrade(config, "head")
