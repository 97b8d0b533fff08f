"""Everything about a person under the person's own key; tokens and names as blind indexes."""

import sqlalchemy as sa
from alembic import op

from services.common.database import SERIAL, append_only_ddl, named_metadata, refuse_rows
from services.common.sealing.tables import erasure_table, member_table, subject_key_table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

REPLACED = ("coach_task", "personal_target", "reading", "recording", "quote")


def upgrade() -> None:
    """Replace the tables that hold people's content. Refuses when there is any: no key fits it."""
    bind = op.get_bind()
    refuse_rows(bind, REPLACED)
    for table in REPLACED:
        op.drop_table(table)
    metadata = named_metadata()
    for made in (subject_key_table(metadata), member_table(metadata), erasure_table(metadata)):
        made.create(bind)
    _create()
    for table in (*REPLACED, "erasure"):
        for statement in append_only_ddl(table, bind.dialect.name):
            op.execute(statement)


def _create() -> None:
    op.create_table(
        "quote",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("policy_id", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(120), nullable=False),
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
    op.create_index("ix_quote_subject", "quote", ["subject"])
    op.create_table(
        "recording",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_recording"),
    )
    op.create_table(
        "reading",
        sa.Column("name_index", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("member", sa.String(32), nullable=False),
        sa.Column("year", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name_index", "revision", name="pk_reading"),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_reading_member"),
        sa.ForeignKeyConstraint(
            ["request_id"], ["recording.request_id"], name="fk_reading_request_id"
        ),
    )
    op.create_index("ix_reading_member_year", "reading", ["member", "year"])
    op.create_table(
        "personal_target",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("member", sa.String(32), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_personal_target"),
        sa.UniqueConstraint("request_id", name="uq_personal_target_request_id"),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_personal_target_member"),
    )
    op.create_index("ix_personal_target_member", "personal_target", ["member"])
    op.create_table(
        "coach_task",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("member", sa.String(32), nullable=False),
        sa.Column("reading_index", sa.String(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_coach_task"),
        sa.UniqueConstraint("name", name="uq_coach_task_name"),
        sa.UniqueConstraint("reading_index", name="uq_coach_task_reading_index"),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_coach_task_member"),
    )
    op.create_index("ix_coach_task_member", "coach_task", ["member"])


def downgrade() -> None:
    """Refuse: what is sealed under people's keys fits no older table."""
    raise NotImplementedError("people's keys fit no older table; restore a backup instead")
