"""The store of wrapped data keys."""

from alembic import op

from gateway.store.tables import keys_metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    keys_metadata.create_all(op.get_bind())


def downgrade() -> None:
    """Drop them: every sealed body becomes unreadable."""
    keys_metadata.drop_all(op.get_bind())
