"""Quotes, readings and members belong to tenants."""

import sqlalchemy as sa
from alembic import op

from services.common.database import append_only_ddl, refuse_rows

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the owners. Rows from before have none, and nobody could say whose they were."""
    bind = op.get_bind()
    refuse_rows(bind, ("quote", "reading"))
    op.add_column("quote", sa.Column("insurer", sa.String(64), nullable=False))
    op.add_column("reading", sa.Column("recorder", sa.String(80), nullable=False))
    op.create_table(
        "participant",
        sa.Column("tenant", sa.String(80), nullable=False),
        sa.Column("member", sa.String(32), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "member", name="pk_participant"),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_participant_member"),
    )
    for statement in append_only_ddl("participant", bind.dialect.name):
        op.execute(statement)
