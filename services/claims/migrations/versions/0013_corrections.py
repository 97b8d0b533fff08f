"""Corrected bills of a claim, and which of them its decision in force was made from."""

import sqlalchemy as sa
from alembic import op

from services.common.database import append_only_ddl

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and the table; no bill of before was ever corrected."""
    for name in ("adjustments", "adjusted", "adjust_held"):
        made = sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        op.add_column("claim", made)
    open_ = sa.text("adjusted < adjustments")
    op.create_index(
        "ix_claim_adjusting", "claim", ["seq"], sqlite_where=open_, postgresql_where=open_
    )
    op.create_table(
        "bill_correction",
        sa.Column("claim_id", sa.String(32), nullable=False),
        sa.Column("number", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("person_id", sa.String(32), nullable=False),
        sa.Column("bill_hash", sa.String(64), nullable=False),
        sa.Column("bill", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("claim_id", "number", name="pk_bill_correction"),
    )
    for statement in append_only_ddl("bill_correction", op.get_bind().dialect.name):
        op.execute(statement)
