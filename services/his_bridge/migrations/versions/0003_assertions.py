"""Client assertions of workloads that were used, until they expire."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; its key is what makes a second use fail."""
    op.create_table(
        "used_assertion",
        sa.Column("issuer", sa.String(300), nullable=False),
        sa.Column("jti", sa.String(128), nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("issuer", "jti", name="pk_used_assertion"),
    )
    op.create_index("ix_used_assertion_expires_us", "used_assertion", ["expires_us"])
