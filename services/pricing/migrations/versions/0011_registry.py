"""Insurers' own tariffs: their evidence, where they stand, who did what, experiments."""

import sqlalchemy as sa
from alembic import op

from services.common.database import SERIAL, append_only_ddl

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and the triggers that refuse UPDATE and DELETE. Touches no old table."""
    op.create_table(
        "tariff_evidence",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_tariff_evidence"),
    )
    _registered()
    _experiments()
    for table in ("tariff_evidence", "tariff_event", "routing", "shadow_quote"):
        for statement in append_only_ddl(table, op.get_bind().dialect.name):
            op.execute(statement)


def _registered() -> None:
    op.create_table(
        "registered_tariff",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("insurer", sa.String(64), nullable=False),
        sa.Column("version", sa.String(160), nullable=False),
        sa.Column("tariff_id", sa.String(64), nullable=False),
        sa.Column("evidence", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("first_day", sa.Date),
        sa.Column("last_day", sa.Date),
        sa.PrimaryKeyConstraint("id", name="pk_registered_tariff"),
        sa.UniqueConstraint("insurer", "version", name="uq_registered_tariff_insurer_version"),
        sa.ForeignKeyConstraint(
            ["version"], ["tariff.version"], name="fk_registered_tariff_version"
        ),
        sa.ForeignKeyConstraint(
            ["evidence"], ["tariff_evidence.sha256"], name="fk_registered_tariff_evidence"
        ),
    )
    op.create_index(
        "ix_registered_tariff_state", "registered_tariff", ["state", "insurer", "tariff_id"]
    )
    op.create_table(
        "tariff_event",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("tariff", SERIAL, nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("day", sa.Date),
        sa.Column("request_id", sa.String(64)),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tariff_event"),
        sa.UniqueConstraint("request_id", name="uq_tariff_event_request_id"),
        sa.ForeignKeyConstraint(
            ["tariff"], ["registered_tariff.id"], name="fk_tariff_event_tariff"
        ),
    )
    op.create_index("ix_tariff_event_tariff", "tariff_event", ["tariff"])


def _experiments() -> None:
    op.create_table(
        "routing",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("insurer", sa.String(64), nullable=False),
        sa.Column("tariff_id", sa.String(64), nullable=False),
        sa.Column("challenger", sa.String(160)),
        sa.Column("share_millionths", sa.Integer, nullable=False),
        sa.Column("salt", sa.String(64), nullable=False),
        sa.Column("shadow", sa.Boolean, nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_routing"),
        sa.UniqueConstraint("request_id", name="uq_routing_request_id"),
        sa.ForeignKeyConstraint(["challenger"], ["tariff.version"], name="fk_routing_challenger"),
    )
    op.create_index("ix_routing_tariff_id", "routing", ["insurer", "tariff_id"])
    op.create_table(
        "shadow_quote",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("quote", sa.String(32), nullable=False),
        sa.Column("insurer", sa.String(64), nullable=False),
        sa.Column("tariff_id", sa.String(64), nullable=False),
        sa.Column("version", sa.String(160), nullable=False),
        sa.Column("premium_minor", sa.BigInteger, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_shadow_quote"),
        sa.UniqueConstraint("quote", name="uq_shadow_quote_quote"),
        sa.ForeignKeyConstraint(["quote"], ["quote.id"], name="fk_shadow_quote_quote"),
        sa.ForeignKeyConstraint(["version"], ["tariff.version"], name="fk_shadow_quote_version"),
    )
    op.create_index("ix_shadow_quote_tariff_id", "shadow_quote", ["insurer", "tariff_id"])


def downgrade() -> None:
    """Refuse: who approved a tariff is the evidence of its quotes."""
    raise NotImplementedError("approvals are the evidence of quotes; restore a backup instead")
