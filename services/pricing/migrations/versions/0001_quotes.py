"""Tariffs that served and the quotes they made, both append-only."""

import sqlalchemy as sa
from alembic import op

from services.common.database import append_only_ddl

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables and the triggers that refuse UPDATE and DELETE."""
    op.create_table(
        "tariff",
        sa.Column("version", sa.String(160), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_tariff"),
    )
    op.create_table(
        "quote",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("policy_id", sa.String(64), nullable=False),
        sa.Column("tariff_version", sa.String(160), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("premium_minor", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quote"),
        sa.UniqueConstraint("request_id", name="uq_quote_request_id"),
        sa.ForeignKeyConstraint(
            ["tariff_version"], ["tariff.version"], name="fk_quote_tariff_version"
        ),
    )
    op.create_index("ix_quote_policy_id", "quote", ["policy_id"])
    for table in ("tariff", "quote"):
        for statement in append_only_ddl(table, op.get_bind().dialect.name):
            op.execute(statement)


def downgrade() -> None:
    """Refuse: quotes are kept for ever."""
    raise NotImplementedError("quotes are kept for ever; restore a backup instead")
