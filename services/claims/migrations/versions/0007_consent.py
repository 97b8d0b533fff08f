"""The consent under which each claim's bill left the hospital, and which consents are withdrawn."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, unknown for claims of before, and the table of withdrawn consents."""
    op.add_column("claim", sa.Column("consent", sa.String(140)))
    op.create_index("ix_claim_consent", "claim", ["consent"])
    op.create_table(
        "withdrawn_consent",
        sa.Column("consent", sa.String(140), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("consent", name="pk_withdrawn_consent"),
    )
