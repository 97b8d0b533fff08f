"""How far a hospital has been caught up with."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; what was pulled before counts for nothing in it."""
    op.create_table(
        "pull_progress",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("caught_up_us", sa.BigInteger, nullable=True),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("expected", sa.BigInteger, nullable=True),
        sa.Column("reached_us", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("hospital", "channel", name="pk_pull_progress"),
    )


def downgrade() -> None:
    """Drop it: nothing rests on it."""
    op.drop_table("pull_progress")
