"""The log of access evidence: leaves, nodes, checkpoints, head."""

import sqlalchemy as sa
from alembic import op

from services.common.evidence.tables import evidence_ddl

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, the triggers that refuse UPDATE and DELETE, and the empty head."""
    op.create_table(
        "evidence_leaf",
        sa.Column("leaf_index", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("record", sa.String(512), nullable=False),
        sa.Column("who", sa.String(512), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("leaf_index", name="pk_evidence_leaf"),
    )
    for column in ("record", "who", "at_us"):
        op.create_index(f"ix_evidence_leaf_{column}", "evidence_leaf", [column, "leaf_index"])
    op.create_index("ix_evidence_leaf_hash", "evidence_leaf", ["hash"])
    op.create_table(
        "evidence_node",
        sa.Column("level", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("node_index", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("level", "node_index", name="pk_evidence_node"),
    )
    op.create_table(
        "evidence_checkpoint",
        sa.Column("size", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("key_id", sa.String(8), nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("size", "key_id", name="pk_evidence_checkpoint"),
    )
    op.create_table(
        "evidence_head",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("peaks", sa.LargeBinary, nullable=False),
        sa.Column("signed_size", sa.BigInteger, nullable=False),
        sa.Column("signed_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_evidence_head"),
        sa.CheckConstraint("id = 1", name="ck_evidence_head_one_row"),
    )
    for statement in evidence_ddl(op.get_bind().dialect.name):
        op.execute(statement)


def downgrade() -> None:
    """Refuse: the log is the proof of who read what."""
    raise NotImplementedError("the log is the proof of who read what; restore a backup instead")
