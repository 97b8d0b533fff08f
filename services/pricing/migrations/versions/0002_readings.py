"""Programmes, readings with their revisions, doctors' targets, coach's tasks: append-only."""

import sqlalchemy as sa
from alembic import op

from services.common.database import SERIAL, append_only_ddl

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and the triggers that refuse UPDATE and DELETE. Touches no old table."""
    op.create_table(
        "programme",
        sa.Column("version", sa.String(160), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_programme"),
    )
    op.create_table(
        "recording",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_recording"),
    )
    op.create_table(
        "reading",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("member_token", sa.String(96), nullable=False),
        sa.Column("effective_us", sa.BigInteger, nullable=False),
        sa.Column("stated_us", sa.BigInteger),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", "revision", name="pk_reading"),
        sa.ForeignKeyConstraint(
            ["request_id"], ["recording.request_id"], name="fk_reading_request_id"
        ),
    )
    op.create_index("ix_reading_member", "reading", ["member_token", "effective_us"])
    op.create_table(
        "personal_target",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("member_token", sa.String(96), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_personal_target"),
        sa.UniqueConstraint("request_id", name="uq_personal_target_request_id"),
    )
    op.create_index("ix_personal_target_member_token", "personal_target", ["member_token"])
    op.create_table(
        "coach_task",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("member_token", sa.String(96), nullable=False),
        sa.Column("reading", sa.String(200), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_coach_task"),
        sa.UniqueConstraint("name", name="uq_coach_task_name"),
        sa.UniqueConstraint("reading", name="uq_coach_task_reading"),
    )
    op.create_index("ix_coach_task_member_token", "coach_task", ["member_token"])
    for table in ("programme", "recording", "reading", "personal_target", "coach_task"):
        for statement in append_only_ddl(table, op.get_bind().dialect.name):
            op.execute(statement)


def downgrade() -> None:
    """Refuse: readings are the evidence of quotes."""
    raise NotImplementedError("readings are the evidence of quotes; restore a backup instead")
