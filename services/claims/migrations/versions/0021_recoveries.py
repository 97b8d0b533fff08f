"""Which of the bank's incoming transfers brought money of a claim back, each once."""

import sqlalchemy as sa
from alembic import op

from services.common.database import SERIAL, append_only_ddl

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the records; of what came back before nobody said by which transfer."""
    op.create_table(
        "recovery",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("insurer", sa.String(64), nullable=False),
        sa.Column("reference", sa.String(35), nullable=False),
        sa.Column("value_date", sa.String(10), nullable=False),
        sa.Column("claim_id", sa.String(32), nullable=False),
        sa.Column("transfer_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_recovery"),
        sa.UniqueConstraint("insurer", "reference", name="uq_recovery_insurer_reference"),
        sa.UniqueConstraint("transfer_id", name="uq_recovery_transfer_id"),
    )
    op.create_index("ix_recovery_claim_id", "recovery", ["claim_id"])
    bind = op.get_bind()
    for statement in append_only_ddl("recovery", bind.dialect.name):
        bind.exec_driver_sql(statement)
