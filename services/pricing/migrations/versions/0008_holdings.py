"""What is about a person belongs to whoever recorded or quoted it, under a key of its own."""

import sqlalchemy as sa
from alembic import op

from services.common.database import SERIAL, append_only_ddl, refuse_rows

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

REPLACED = ("coach_task", "personal_target", "reading", "participant")


def upgrade() -> None:
    """Replace what named members by what names holdings. Refuses when there is any content.

    It is sealed under the members' keys, which belong to nobody in particular.
    """
    bind = op.get_bind()
    refuse_rows(bind, (*REPLACED, "quote"))
    for table in REPLACED:
        op.drop_table(table)
    _create()
    for table in ("coach_task", "personal_target", "reading"):
        for statement in append_only_ddl(table, bind.dialect.name):
            op.execute(statement)


def _create() -> None:
    op.create_table(
        "holding",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("tenant", sa.String(80), nullable=False),
        sa.Column("member", sa.String(32)),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("erased_us", sa.BigInteger),
        sa.CheckConstraint(
            "(member IS NULL) = (erased_us IS NOT NULL)", name=op.f("ck_holding_erased")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_holding"),
        sa.UniqueConstraint("tenant", "member", name="uq_holding_tenant_member"),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_holding_member"),
    )
    op.create_index("ix_holding_member", "holding", ["member"])
    op.create_table(
        "reading",
        sa.Column("name_index", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("holding", sa.String(32), nullable=False),
        sa.Column("year", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name_index", "revision", name="pk_reading"),
        sa.ForeignKeyConstraint(["holding"], ["holding.id"], name="fk_reading_holding"),
        sa.ForeignKeyConstraint(
            ["request_id"], ["recording.request_id"], name="fk_reading_request_id"
        ),
    )
    op.create_index("ix_reading_holding_year", "reading", ["holding", "year"])
    op.create_table(
        "personal_target",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("holding", sa.String(32), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_personal_target"),
        sa.UniqueConstraint("request_id", name="uq_personal_target_request_id"),
        sa.ForeignKeyConstraint(["holding"], ["holding.id"], name="fk_personal_target_holding"),
    )
    op.create_index("ix_personal_target_holding", "personal_target", ["holding"])
    op.create_table(
        "coach_task",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("holding", sa.String(32), nullable=False),
        sa.Column("reading_index", sa.String(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_coach_task"),
        sa.UniqueConstraint("name", name="uq_coach_task_name"),
        sa.UniqueConstraint("reading_index", name="uq_coach_task_reading_index"),
        sa.ForeignKeyConstraint(["holding"], ["holding.id"], name="fk_coach_task_holding"),
    )
    op.create_index("ix_coach_task_holding", "coach_task", ["holding"])


def downgrade() -> None:
    """Refuse: what is sealed under holdings' keys fits no older table."""
    raise NotImplementedError("holdings' keys fit no older table; restore a backup instead")
