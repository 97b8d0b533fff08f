"""Policies, claims, plans and request ids belong to tenants."""

import sqlalchemy as sa
from alembic import op

from services.common.database import SERIAL, append_only_ddl, refuse_rows

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the owners. Rows from before have none, and nobody could say whose they were."""
    connection = op.get_bind()
    refuse_rows(connection, ("policy", "plan_version", "request_log"))
    op.add_column("policy", sa.Column("insurer", sa.String(64), nullable=False))
    op.add_column("claim", sa.Column("insurer", sa.String(64), nullable=False))
    op.add_column("claim", sa.Column("hospital", sa.String(64)))
    for owner in ("insurer", "hospital", "person_id"):
        op.create_index(f"ix_claim_{owner}_seq", "claim", [owner, "seq"])
    op.create_table(
        "plan_publication",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("insurer", sa.String(64), nullable=False),
        sa.Column("version", sa.String(160), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_plan_publication"),
        sa.ForeignKeyConstraint(
            ["version"], ["plan_version.version"], name="fk_plan_publication_version"
        ),
        sa.UniqueConstraint("insurer", "version", name="uq_plan_publication_insurer_version"),
    )
    for statement in append_only_ddl("plan_publication", connection.dialect.name):
        op.execute(statement)
