"""Price lists and accounts of providers, and whose account a payout goes to."""

import sqlalchemy as sa
from alembic import op

from services.common.database import SERIAL, append_only_ddl

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


# What a payout is about, and never changes.
_FROZEN = (
    "id, claim_id, attempt, payee, amount, currency, end_to_end_id, pending_transfer_id, "
    "message_id, opened_us"
)


def upgrade() -> None:
    """Add tables and columns; what was paid before went to members."""
    for name in ("owed_provider", "paid_provider"):
        made = sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        op.add_column("claim", made)
    op.create_table(
        "price_list",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("insurer", sa.String(64), nullable=False),
        sa.Column("provider_id", sa.String(128), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_price_list"),
    )
    op.create_index(
        "ix_price_list_provider_id", "price_list", ["provider_id", "insurer", "currency"]
    )
    op.create_table(
        "provider_account",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("insurer", sa.String(64), nullable=False),
        sa.Column("provider_id", sa.String(128), nullable=False),
        sa.Column("valid_from", sa.String(10), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("actor", sa.String(512), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_provider_account"),
        sa.UniqueConstraint("id", name="uq_provider_account_id"),
    )
    op.create_index(
        "ix_provider_account_provider_id", "provider_account", ["provider_id", "insurer"]
    )
    op.create_table(
        "provider_account_word",
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("confirmed", sa.Integer, nullable=False),
        sa.Column("actor", sa.String(512), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_provider_account_word"),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["provider_account.id"],
            name="fk_provider_account_word_account_id_provider_account",
        ),
    )
    dialect = op.get_bind().dialect.name
    for table in ("price_list", "provider_account", "provider_account_word"):
        for statement in append_only_ddl(table, dialect):
            op.execute(statement)
    _payouts(dialect)


def _payouts(dialect: str) -> None:
    payee = sa.Column("payee", sa.String(8), nullable=False, server_default="member")
    op.add_column("payout", payee)
    op.drop_index("uq_payout_one_open_per_claim", table_name="payout")
    is_open = sa.text("state = 'open'")
    op.create_index(
        "uq_payout_one_open_per_claim",
        "payout",
        ["claim_id", "payee"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    when = f"BEFORE UPDATE OF {_FROZEN} ON payout"
    if dialect == "sqlite":
        op.execute("DROP TRIGGER payout_frozen_update")
        op.execute(
            f"CREATE TRIGGER payout_frozen_update {when} "
            "BEGIN SELECT RAISE(ABORT, 'payout keeps what it is about'); END"
        )
    else:
        op.execute("DROP TRIGGER payout_frozen_update ON payout")
        op.execute(
            f"CREATE TRIGGER payout_frozen_update {when} "
            "FOR EACH ROW EXECUTE FUNCTION payout_frozen()"
        )
