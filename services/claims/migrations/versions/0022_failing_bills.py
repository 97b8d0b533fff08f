"""Bills at which claims failed, until they are answered; the pages of a register by their key."""

import sqlalchemy as sa
from alembic import op

from services.common.database import SERIAL

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table, and the index by which the pages of a register of providers go."""
    op.create_table(
        "failing_bill",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("bill", sa.String(160), nullable=False),
        sa.Column("insurer", sa.String(64), nullable=False),
        sa.Column("fault", sa.String(80), nullable=False),
        sa.Column("first_us", sa.BigInteger, nullable=False),
        sa.Column("last_us", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_failing_bill"),
        sa.UniqueConstraint("bill", "insurer", name="uq_failing_bill_bill_insurer"),
    )
    op.create_index("ix_known_provider_insurer_seq", "known_provider", ["insurer", "seq"])
