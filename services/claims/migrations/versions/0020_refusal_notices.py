"""That the notice of a refusal was sent: on which day, by which way, recorded by whom."""

import sqlalchemy as sa
from alembic import op

from services.common.database import SERIAL, append_only_ddl

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the records; of claims that were denied before there is none."""
    op.create_table(
        "refusal_notice",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("claim_id", sa.String(32), nullable=False),
        sa.Column("sent_day", sa.String(10), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(512), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_refusal_notice"),
    )
    op.create_index("ix_refusal_notice_claim_id", "refusal_notice", ["claim_id"])
    bind = op.get_bind()
    for statement in append_only_ddl("refusal_notice", bind.dialect.name):
        bind.exec_driver_sql(statement)
