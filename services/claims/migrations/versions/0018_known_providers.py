"""Which providers an insurer knows, and on which days."""

import sqlalchemy as sa
from alembic import op

from services.common.database import SERIAL, append_only_ddl

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the register; an insurer without an entry knows every provider, as before."""
    op.create_table(
        "known_provider",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("insurer", sa.String(64), nullable=False),
        sa.Column("provider_id", sa.String(128), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("start_day", sa.String(10), nullable=False),
        sa.Column("end_day", sa.String(10)),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_known_provider"),
    )
    op.create_index(
        "ix_known_provider_insurer", "known_provider", ["insurer", "provider_id", "revision"]
    )
    bind = op.get_bind()
    for statement in append_only_ddl("known_provider", bind.dialect.name):
        bind.exec_driver_sql(statement)
