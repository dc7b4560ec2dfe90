"""The first tables. Until the first release this revision makes them as `tables.py` has them; from then on it is frozen."""

from alembic import op

from gateway.store.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    """Drop them, with everything in them."""
    metadata.drop_all(op.get_bind())
