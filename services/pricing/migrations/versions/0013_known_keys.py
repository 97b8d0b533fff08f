"""Which keys of files outside the database it was filled under."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; the keys that are there at the next start count as the right ones."""
    op.create_table(
        "known_key",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_known_key"),
    )


def downgrade() -> None:
    """Drop it: nothing rests on it."""
    op.drop_table("known_key")
