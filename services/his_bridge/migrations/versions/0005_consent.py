"""The register of consents, records that are held for want of one, and under which one all left."""

import sqlalchemy as sa
from alembic import op

from services.common.database import append_only_ddl, refuse_rows

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the register, and say of whatever was released whose it is and under which consent.

    Raises: CannotMigrate when something was released before there were consents.
    """
    refuse_rows(op.get_bind(), ("released_bill", "reading"))
    _register()
    _held()
    _released()
    for statement in append_only_ddl("consent_event", op.get_bind().dialect.name):
        op.execute(statement)


def downgrade() -> None:
    """Refuse: what people consented to is kept."""
    raise NotImplementedError("consents are kept; restore a backup instead")


def _register() -> None:
    op.create_table(
        "consent_event",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("consent_id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("member", sa.String(32)),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "consent_id", "number", name="pk_consent_event"),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_consent_event_member"),
    )
    op.create_table(
        "consent",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("consent_id", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("member", sa.String(32), nullable=False),
        sa.Column("recipient", sa.String(80), nullable=False),
        sa.Column("purpose", sa.String(24), nullable=False),
        sa.Column("from_us", sa.BigInteger, nullable=False),
        sa.Column("until_us", sa.BigInteger),
        sa.Column("withdrawn_us", sa.BigInteger),
        sa.Column("terms", sa.LargeBinary, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("withdrawal_seq", sa.BigInteger),
        sa.Column("relayed_us", sa.BigInteger),
        sa.Column("applied_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "consent_id", name="pk_consent"),
        sa.UniqueConstraint("hospital", "seq", name="uq_consent_hospital_seq"),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_consent_member"),
    )
    op.create_index("ix_consent_member", "consent", ["hospital", "member"])
    op.create_index("ix_consent_withdrawal", "consent", ["hospital", "withdrawal_seq"])
    op.create_table(
        "consent_request",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("method", sa.String(24), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "method", "request_id", name="pk_consent_request"),
    )


def _held() -> None:
    op.create_table(
        "held_record",
        sa.Column("inbox_id", _SERIAL, autoincrement=False, nullable=False),
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("member", sa.String(32), nullable=False),
        sa.Column("need", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("inbox_id", name="pk_held_record"),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name="fk_held_record_inbox_id"),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_held_record_member"),
    )
    op.create_index("ix_held_record_member", "held_record", ["hospital", "channel", "member"])


def _released() -> None:
    # SQLite adds no column that must be filled without a default; there are no rows yet.
    for table in ("released_bill", "reading"):
        column = sa.Column("consent_id", sa.String(64), nullable=False, server_default="")
        op.add_column(table, column)
    withheld = sa.Column("withheld", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("reading", withheld)
