"""What persons do with claims, how claims change, what is owed on each and what is to come back."""

import sqlalchemy as sa
from alembic import op

from services.common.database import SERIAL, append_only_ddl, refuse_rows

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and the table. Of claims from before nobody could say the zone of the days."""
    connection = op.get_bind()
    refuse_rows(connection, ("claim",))
    op.add_column("claim", sa.Column("time_zone", sa.String(64), nullable=False))
    op.add_column("claim", sa.Column("moved_us", sa.BigInteger, nullable=False))
    for name in ("revision", "papers_asked", "papers_timed", "owed", "recoverable"):
        made = sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        op.add_column("claim", made)
    for name in ("papers_due_us", "released_us"):
        op.add_column("claim", sa.Column(name, sa.BigInteger))
    op.add_column("claim", sa.Column("proposal", sa.String(32)))
    op.create_table(
        "claim_act",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("claim_id", sa.String(32), nullable=False),
        sa.Column("person_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(512), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_claim_act"),
        sa.UniqueConstraint("id", name="uq_claim_act_id"),
        sa.UniqueConstraint("claim_id", "revision", name="uq_claim_act_claim_id_revision"),
    )
    for statement in append_only_ddl("claim_act", connection.dialect.name):
        op.execute(statement)
