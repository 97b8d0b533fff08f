"""A page of an insurer's register of providers is found by its key, however long the register."""

from alembic import op

revision = "0023"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index by which the pages go."""
    op.create_index("ix_known_provider_insurer_seq", "known_provider", ["insurer", "seq"])
