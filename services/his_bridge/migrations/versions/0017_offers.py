"""Refused bills that are offered again: by whom, and when by themselves."""

import sqlalchemy as sa
from alembic import op

from services.common.database import append_only_ddl

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """What was refused before is offered by nobody but a person: nobody knows since when it is."""
    for name in ("first_refused_us", "next_offer_us"):
        op.add_column("released_bill", sa.Column(name, sa.BigInteger, nullable=True))
    op.create_table(
        "bill_offer",
        sa.Column("id", _SERIAL, nullable=False),
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("bill", sa.String(40), nullable=False),
        sa.Column("why", sa.String(16), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("refusal_reasons", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bill_offer"),
    )
    op.create_index("ix_bill_offer_bill", "bill_offer", ["hospital", "bill"])
    op.create_table(
        "offer_request",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(80), nullable=False),
        sa.Column("role", sa.String(40), nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "request_id", name="pk_offer_request"),
    )
    for table in ("bill_offer", "offer_request"):
        for statement in append_only_ddl(table, op.get_bind().dialect.name):
            op.execute(statement)


def downgrade() -> None:
    """Refuse: what people did is kept."""
    raise NotImplementedError("what people did is kept; restore a backup instead")
