"""Inbox, events, released bills, readings and quarantine."""

import sqlalchemy as sa
from alembic import op

from services.common.database import append_only_ddl

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create all tables, and the triggers that refuse UPDATE and DELETE on events."""
    _progress()
    _inbox()
    _bills()
    _readings()
    _quarantine()
    for statement in append_only_ddl("bill_event", op.get_bind().dialect.name):
        op.execute(statement)


def downgrade() -> None:
    """Refuse: events of bills are kept."""
    raise NotImplementedError("events of bills are kept; restore a backup instead")


def _progress() -> None:
    op.create_table(
        "lease",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("holder", sa.String(32), nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "channel", name="pk_lease"),
    )
    op.create_table(
        "last_pull",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("attempt_us", sa.BigInteger, nullable=False),
        sa.Column("success_us", sa.BigInteger),
        sa.Column("failure", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("hospital", "channel", name="pk_last_pull"),
    )
    op.create_table(
        "read_cursor",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("scope", sa.String(64), nullable=False),
        sa.Column("position", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "channel", "scope", name="pk_read_cursor"),
    )
    op.create_table(
        "last_seq",
        sa.Column("list", sa.String(96), nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("list", name="pk_last_seq"),
    )


def _inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("external_id", sa.String(128), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_inbox"),
        sa.UniqueConstraint(
            "hospital",
            "channel",
            "external_id",
            "version",
            "sha256",
            name="uq_inbox_hospital_channel_external_id_version_sha256",
        ),
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
        sa.Column("external_id", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.Column("inbox_id", _SERIAL, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "bill_id", "number", name="pk_bill_event"),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name="fk_bill_event_inbox_id"),
    )
    op.create_index("ix_bill_event_external", "bill_event", ["hospital", "external_id"])
    op.create_table(
        "released_bill",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("external_id", sa.String(128), nullable=False),
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
    )
    op.create_index("ix_released_bill_delivery", "released_bill", ["hospital", "delivery", "seq"])
    op.create_index("ix_released_bill_day", "released_bill", ["hospital", "day"])
    op.create_table(
        "acknowledgement",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "request_id", name="pk_acknowledgement"),
    )


def _readings() -> None:
    op.create_table(
        "reading",
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("external_id", sa.String(128), nullable=False),
        sa.Column("component", sa.String(16), nullable=False),
        sa.Column("member_token", sa.String(96), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("inbox_id", _SERIAL, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_reading"),
        sa.UniqueConstraint("name", name="uq_reading_name"),
        sa.UniqueConstraint(
            "hospital",
            "external_id",
            "component",
            name="uq_reading_hospital_external_id_component",
        ),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name="fk_reading_inbox_id"),
    )
    op.create_index("ix_reading_member", "reading", ["member_token", "seq"])


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
