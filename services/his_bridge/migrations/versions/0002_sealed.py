"""Everything about a patient sealed: under the patient's key, or the inbox's until it is known."""

import sqlalchemy as sa
from alembic import op

from services.common.database import append_only_ddl, named_metadata, refuse_rows
from services.common.sealing.tables import erasure_table, member_table, subject_key_table

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")
REPLACED = ("quarantine", "reading", "released_bill", "bill_event", "inbox")


def upgrade() -> None:
    """Replace the tables that hold patients' content. Refuses when there is any: no key fits it."""
    bind = op.get_bind()
    refuse_rows(bind, REPLACED)
    for table in REPLACED:
        op.drop_table(table)
    metadata = named_metadata()
    for made in (subject_key_table(metadata), member_table(metadata), erasure_table(metadata)):
        made.create(bind)
    _inbox()
    _bills()
    _readings()
    _quarantine()
    for table in ("bill_event", "erasure"):
        for statement in append_only_ddl(table, bind.dialect.name):
            op.execute(statement)


def downgrade() -> None:
    """Refuse: what is sealed under patients' keys fits no older table."""
    raise NotImplementedError("patients' keys fit no older table; restore a backup instead")


def _inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("external_index", sa.String(64), nullable=False),
        sa.Column("external_id", sa.LargeBinary, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("raw", sa.LargeBinary),
        sa.Column("member", sa.String(32)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_inbox"),
        sa.UniqueConstraint(
            "hospital",
            "channel",
            "external_index",
            "version",
            "content_hash",
            name="uq_inbox_hospital_channel_external_index_version_content_hash",
        ),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_inbox_member"),
    )
    op.create_index(
        "ix_inbox_pending",
        "inbox",
        ["hospital", "channel", "id"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )


def _bills() -> None:
    op.create_table(
        "bill_event",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("bill_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("external_index", sa.String(64), nullable=False),
        sa.Column("member", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.Column("inbox_id", _SERIAL, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "bill_id", "number", name="pk_bill_event"),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name="fk_bill_event_inbox_id"),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_bill_event_member"),
    )
    op.create_index("ix_bill_event_external", "bill_event", ["hospital", "external_index"])
    op.create_table(
        "released_bill",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("external_index", sa.String(64), nullable=False),
        sa.Column("external_id", sa.LargeBinary, nullable=False),
        sa.Column("member", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("total_minor", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("received_us", sa.BigInteger, nullable=False),
        sa.Column("released_us", sa.BigInteger, nullable=False),
        sa.Column("delivery", sa.String(16), nullable=False),
        sa.Column("claims", sa.LargeBinary, nullable=False),
        sa.Column("refusal_reasons", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "seq", name="pk_released_bill"),
        sa.UniqueConstraint("hospital", "name", name="uq_released_bill_hospital_name"),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_released_bill_member"),
    )
    op.create_index("ix_released_bill_delivery", "released_bill", ["hospital", "delivery", "seq"])
    op.create_index("ix_released_bill_day", "released_bill", ["hospital", "day"])
    op.create_index("ix_released_bill_member", "released_bill", ["member"])


def _readings() -> None:
    op.create_table(
        "reading",
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("external_index", sa.String(64), nullable=False),
        sa.Column("component_index", sa.String(64), nullable=False),
        sa.Column("member", sa.String(32), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("inbox_id", _SERIAL, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_reading"),
        sa.UniqueConstraint("name", name="uq_reading_name"),
        sa.UniqueConstraint(
            "hospital",
            "component_index",
            name="uq_reading_hospital_component_index",
        ),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_reading_member"),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name="fk_reading_inbox_id"),
    )
    op.create_index("ix_reading_member", "reading", ["member", "seq"])
    op.create_index("ix_reading_external", "reading", ["hospital", "external_index"])


def _quarantine() -> None:
    op.create_table(
        "quarantine",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("inbox_id", _SERIAL, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("faults", sa.LargeBinary, nullable=False),
        sa.Column("total_minor", sa.BigInteger),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "seq", name="pk_quarantine"),
        sa.UniqueConstraint("name", name="uq_quarantine_name"),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name="fk_quarantine_inbox_id"),
    )
