"""Medication events, and what people said of flags."""

import sqlalchemy as sa
from alembic import op

from services.common.database import SERIAL, append_only_ddl

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables and the triggers that refuse UPDATE and DELETE. Touches no old table."""
    op.create_table(
        "medication",
        sa.Column("name_index", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("holding", sa.String(32), nullable=False),
        sa.Column("year", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name_index", "revision", name="pk_medication"),
        sa.ForeignKeyConstraint(["holding"], ["holding.id"], name="fk_medication_holding"),
        sa.ForeignKeyConstraint(
            ["request_id"], ["recording.request_id"], name="fk_medication_request_id"
        ),
    )
    op.create_index("ix_medication_holding_year", "medication", ["holding", "year"])
    op.create_table(
        "flag_clearing",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("holding", sa.String(32), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flag_clearing"),
        sa.UniqueConstraint("request_id", name="uq_flag_clearing_request_id"),
        sa.ForeignKeyConstraint(["holding"], ["holding.id"], name="fk_flag_clearing_holding"),
    )
    op.create_index("ix_flag_clearing_holding", "flag_clearing", ["holding"])
    for table in ("medication", "flag_clearing"):
        for statement in append_only_ddl(table, op.get_bind().dialect.name):
            op.execute(statement)


def downgrade() -> None:
    """Drop both tables, with what stands in them."""
    op.drop_table("flag_clearing")
    op.drop_table("medication")
