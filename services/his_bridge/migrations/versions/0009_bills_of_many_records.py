"""Bills that several records make: who said what, what was merged, and what cannot count yet."""

import sqlalchemy as sa
from alembic import op

from services.common.database import append_only_ddl, refuse_rows

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Replace the events of bills.

    Raises: CannotMigrate when there are any: nothing in them says which record said what.
    """
    refuse_rows(op.get_bind(), ("bill_event", "released_bill"))
    op.drop_table("bill_event")
    _events()
    _merges()
    _waiting()
    _released()
    for table in ("bill_event", "merge_event"):
        for statement in append_only_ddl(table, op.get_bind().dialect.name):
            op.execute(statement)


def downgrade() -> None:
    """Refuse: events of bills are kept."""
    raise NotImplementedError("events of bills are kept; restore a backup instead")


def _events() -> None:
    op.create_table(
        "bill_event",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("bill_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("external_index", sa.String(64), nullable=False),
        sa.Column("record_index", sa.String(64), nullable=False),
        sa.Column("member", sa.String(32)),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.Column("rank", sa.String(160), nullable=False),
        sa.Column("inbox_id", _SERIAL, nullable=False),
        sa.Column("reverses_index", sa.String(64)),
        sa.Column("stated_total", sa.BigInteger),
        sa.Column("body", sa.LargeBinary),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "bill_id", "number", name="pk_bill_event"),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name="fk_bill_event_inbox_id"),
        sa.ForeignKeyConstraint(["member"], ["member.id"], name="fk_bill_event_member"),
    )
    op.create_index("ix_bill_event_external", "bill_event", ["hospital", "external_index"])
    op.create_index("ix_bill_event_record", "bill_event", ["hospital", "record_index"])
    op.create_index("ix_bill_event_member", "bill_event", ["member"])


def _merges() -> None:
    op.create_table(
        "merge_event",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("inbox_id", _SERIAL, autoincrement=False, nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("into_name", sa.String(64), nullable=False),
        sa.Column("out_name", sa.String(64), nullable=False),
        sa.Column("into_id", sa.LargeBinary, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.Column("rank", sa.String(160), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "inbox_id", name="pk_merge_event"),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name="fk_merge_event_inbox_id"),
    )
    op.create_index("ix_merge_event_into", "merge_event", ["hospital", "into_name"])
    op.create_index("ix_merge_event_out", "merge_event", ["hospital", "out_name"])


def _waiting() -> None:
    op.create_table(
        "waiting_event",
        sa.Column("inbox_id", _SERIAL, autoincrement=False, nullable=False),
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("external_index", sa.String(64), nullable=False),
        sa.Column("faults", sa.LargeBinary, nullable=False),
        sa.Column("quarantined", sa.Boolean, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("inbox_id", name="pk_waiting_event"),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name="fk_waiting_event_inbox_id"),
    )
    op.create_index("ix_waiting_event_external", "waiting_event", ["hospital", "external_index"])
    op.add_column("quarantine", sa.Column("resolved_us", sa.BigInteger))
    op.create_index("ix_quarantine_inbox", "quarantine", ["inbox_id"])


def _released() -> None:
    with op.batch_alter_table("released_bill") as batch:
        batch.add_column(sa.Column("bill_id", sa.String(32), nullable=False))
    op.create_index("ix_released_bill_external", "released_bill", ["hospital", "external_index"])
    op.create_index("ix_released_bill_bill", "released_bill", ["hospital", "bill_id", "seq"])
