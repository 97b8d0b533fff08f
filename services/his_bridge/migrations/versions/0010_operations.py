"""Maps of codes, replays out of the quarantine, reconciliations, and failures in a row."""

import sqlalchemy as sa
from alembic import op

from services.common.database import append_only_ddl

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables; nobody has failed in a row yet."""
    _maps()
    _replays()
    op.create_table(
        "reconciliation",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("first_day", sa.String(10), nullable=False),
        sa.Column("last_day", sa.String(10), nullable=False),
        sa.Column("days", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "seq", name="pk_reconciliation"),
    )
    op.add_column(
        "last_pull", sa.Column("failures", sa.Integer, nullable=False, server_default="0")
    )
    for table in ("code_map", "replay", "reconciliation"):
        for statement in append_only_ddl(table, op.get_bind().dialect.name):
            op.execute(statement)


def downgrade() -> None:
    """Refuse: what people did is kept."""
    raise NotImplementedError("what people did is kept; restore a backup instead")


def _maps() -> None:
    op.create_table(
        "code_map",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("side", sa.String(16), nullable=False),
        sa.Column("from_system", sa.String(200), nullable=False),
        sa.Column("to_system", sa.String(200), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("codes", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "seq", name="pk_code_map"),
        sa.UniqueConstraint("hospital", "request_id", name="uq_code_map_hospital_request_id"),
    )
    op.create_table(
        "unmapped_code",
        sa.Column("inbox_id", _SERIAL, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("code_index", sa.String(64), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("inbox_id", "number", name="pk_unmapped_code"),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name="fk_unmapped_code_inbox_id"),
    )
    op.create_index("ix_unmapped_code_code", "unmapped_code", ["hospital", "code_index"])


def _replays() -> None:
    op.create_table(
        "replay",
        sa.Column("quarantine", sa.String(32), nullable=False),
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("why", sa.String(16), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("quarantine", name="pk_replay"),
        sa.ForeignKeyConstraint(["quarantine"], ["quarantine.name"], name="fk_replay_quarantine"),
    )
    op.create_table(
        "replay_request",
        sa.Column("hospital", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("replayed", sa.Integer, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hospital", "request_id", name="pk_replay_request"),
    )
