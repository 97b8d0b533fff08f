"""Claims, decisions, ledger and payouts; evidence refuses UPDATE and DELETE."""

import sqlalchemy as sa
from alembic import op

from services.claims.storage.ledger import ledger_ddl
from services.claims.storage.payout_tables import payouts_ddl
from services.claims.storage.tables import decision_seal_ddl
from services.common.database import append_only_ddl

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = (
    "request_log",
    "plan_version",
    "policy_revision",
    "payee_account",
    "claim_move",
    "decision_line",
    "decision_share",
    "decision",
)


def upgrade() -> None:
    """Create all tables and their triggers."""
    op.create_table(
        "bank_answer",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("paying_account", sa.String(length=32), nullable=False),
        sa.Column("answer_id", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("received_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_bank_answer")),
        sa.UniqueConstraint("sha256", name=op.f("uq_bank_answer_sha256")),
    )
    op.create_table(
        "bank_cursor",
        sa.Column("paying_account", sa.String(length=32), nullable=False),
        sa.Column("after", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("paying_account", name=op.f("pk_bank_cursor")),
    )
    op.create_table(
        "claim_move",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("claim_id", sa.String(length=32), nullable=False),
        sa.Column("from_state", sa.String(length=24), nullable=True),
        sa.Column("to_state", sa.String(length=24), nullable=False),
        sa.Column("event", sa.String(length=40), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("clock", sa.String(length=10), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_claim_move")),
    )
    op.create_index(op.f("ix_claim_move_claim_id"), "claim_move", ["claim_id"], unique=False)
    op.create_table(
        "decision",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("claim_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("plan_version", sa.String(length=160), nullable=False),
        sa.Column("engine_version", sa.String(length=20), nullable=False),
        sa.Column("input_hash", sa.String(length=64), nullable=False),
        sa.Column("output_hash", sa.String(length=64), nullable=False),
        sa.Column("inputs", sa.LargeBinary(), nullable=False),
        sa.Column("output", sa.LargeBinary(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("billed", sa.BigInteger(), nullable=False),
        sa.Column("allowed", sa.BigInteger(), nullable=False),
        sa.Column("benefit", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
        sa.UniqueConstraint("claim_id", "position", name=op.f("uq_decision_claim_id_position")),
    )
    op.create_index(op.f("ix_decision_claim_id"), "decision", ["claim_id"], unique=False)
    op.create_table(
        "decision_line",
        sa.Column("decision_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.String(length=32), nullable=False),
        sa.Column("claim_id", sa.String(length=32), nullable=False),
        sa.Column("provider_id", sa.String(length=128), nullable=False),
        sa.Column("code_system", sa.String(length=255), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("service_date", sa.String(length=10), nullable=False),
        sa.Column("quantity", sa.String(length=24), nullable=False),
        sa.Column("unit_price", sa.String(length=24), nullable=False),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("billed", sa.BigInteger(), nullable=False),
        sa.Column("allowed", sa.BigInteger(), nullable=False),
        sa.Column("benefit", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "benefit <= billed", name=op.f("ck_decision_line_benefit_within_billed")
        ),
        sa.CheckConstraint(
            "billed >= 0 AND allowed >= 0 AND benefit >= 0",
            name=op.f("ck_decision_line_not_negative"),
        ),
        sa.PrimaryKeyConstraint("decision_id", "number", name=op.f("pk_decision_line")),
    )
    op.create_index(
        "ix_decision_line_history",
        "decision_line",
        ["person_id", "code", "service_date"],
        unique=False,
    )
    op.create_table(
        "decision_share",
        sa.Column("decision_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("bearer", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("clause", sa.String(length=80), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_decision_share_positive")),
        sa.PrimaryKeyConstraint(
            "decision_id", "number", "position", name=op.f("pk_decision_share")
        ),
    )
    op.create_table(
        "ledger_transfer",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("idempotency_key", sa.String(length=120), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("debit", sa.String(length=40), nullable=False),
        sa.Column("credit", sa.String(length=40), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("resolves", sa.String(length=64), nullable=True),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(kind IN ('post', 'void')) = (resolves IS NOT NULL)",
            name=op.f("ck_ledger_transfer_resolving_names_pending"),
        ),
        sa.CheckConstraint(
            "kind IN ('posted', 'pending', 'post', 'void')", name=op.f("ck_ledger_transfer_kind")
        ),
        sa.CheckConstraint(
            "amount > 0 AND amount <= 1000000000000000", name=op.f("ck_ledger_transfer_amount")
        ),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_ledger_transfer_two_accounts")),
        sa.ForeignKeyConstraint(
            ["resolves"], ["ledger_transfer.id"], name=op.f("fk_ledger_transfer_resolves")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ledger_transfer")),
        sa.UniqueConstraint("id", name=op.f("uq_ledger_transfer_id")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_ledger_transfer_idempotency_key")),
        sa.UniqueConstraint("resolves", name=op.f("uq_ledger_transfer_resolves")),
    )
    op.create_index(
        op.f("ix_ledger_transfer_group_id"), "ledger_transfer", ["group_id"], unique=False
    )
    op.create_table(
        "payment_file",
        sa.Column("message_id", sa.String(length=35), nullable=False),
        sa.Column("paying_account", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("payouts", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("prepared_us", sa.BigInteger(), nullable=False),
        sa.Column("attempted_us", sa.BigInteger(), nullable=True),
        sa.Column("sent_us", sa.BigInteger(), nullable=True),
        sa.Column("answered_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('prepared', 'sending', 'unknown', 'sent', 'answered')",
            name=op.f("ck_payment_file_state"),
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_payment_file")),
    )
    op.create_index(
        "ix_payment_file_paying_account_state",
        "payment_file",
        ["paying_account", "state"],
        unique=False,
    )
    op.create_table(
        "person",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("member_token", sa.String(length=96), nullable=False),
        sa.Column("claims_received", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("member_token", name=op.f("uq_person_member_token")),
    )
    op.create_table(
        "plan_version",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("version", sa.String(length=160), nullable=False),
        sa.Column("plan_id", sa.String(length=80), nullable=False),
        sa.Column("yaml", sa.LargeBinary(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_plan_version")),
        sa.UniqueConstraint("version", name=op.f("uq_plan_version_version")),
    )
    op.create_index(op.f("ix_plan_version_plan_id"), "plan_version", ["plan_id"], unique=False)
    op.create_table(
        "policy",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy")),
    )
    op.create_table(
        "request_log",
        sa.Column("method", sa.String(length=40), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("method", "request_id", name=op.f("pk_request_log")),
    )
    op.create_table(
        "usage_balance",
        sa.Column("policy_id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("accumulator", sa.String(length=80), nullable=False),
        sa.Column("scope", sa.String(length=12), nullable=False),
        sa.Column("period_start", sa.String(length=10), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount >= 0 AND uses >= 0", name=op.f("ck_usage_balance_not_negative")),
        sa.PrimaryKeyConstraint(
            "policy_id",
            "subject",
            "accumulator",
            "scope",
            "period_start",
            name=op.f("pk_usage_balance"),
        ),
    )
    op.create_table(
        "bank_answer_outcome",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("faults", sa.LargeBinary(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["seq"], ["bank_answer.seq"], name=op.f("fk_bank_answer_outcome_seq")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_bank_answer_outcome")),
    )
    op.create_table(
        "claim",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("policy_id", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=32), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("person_seq", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("provider_id", sa.String(length=128), nullable=False),
        sa.Column("bill_number", sa.String(length=128), nullable=False),
        sa.Column("bill_hash", sa.String(length=64), nullable=False),
        sa.Column("bill", sa.LargeBinary(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=True),
        sa.Column("decision_id", sa.String(length=32), nullable=True),
        sa.Column("benefit", sa.BigInteger(), nullable=True),
        sa.Column("paid", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("blocked_until_us", sa.BigInteger(), nullable=True),
        sa.Column("end_to_end_id", sa.String(length=35), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("decided_us", sa.BigInteger(), nullable=True),
        sa.Column("paid_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_claim_person_id")),
        sa.ForeignKeyConstraint(["policy_id"], ["policy.id"], name=op.f("fk_claim_policy_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_claim")),
        sa.UniqueConstraint("id", name=op.f("uq_claim_id")),
        sa.UniqueConstraint("person_id", "person_seq", name=op.f("uq_claim_person_id_person_seq")),
        sa.UniqueConstraint(
            "policy_id",
            "provider_id",
            "bill_number",
            name=op.f("uq_claim_policy_id_provider_id_bill_number"),
        ),
    )
    op.create_index("ix_claim_policy_id_seq", "claim", ["policy_id", "seq"], unique=False)
    op.create_index("ix_claim_state_seq", "claim", ["state", "seq"], unique=False)
    op.create_table(
        "insured",
        sa.Column("policy_id", sa.String(length=64), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_insured_person_id")),
        sa.ForeignKeyConstraint(["policy_id"], ["policy.id"], name=op.f("fk_insured_policy_id")),
        sa.PrimaryKeyConstraint("policy_id", "member_id", name=op.f("pk_insured")),
    )
    op.create_index(op.f("ix_insured_person_id"), "insured", ["person_id"], unique=False)
    op.create_table(
        "payee_account",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("policy_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("valid_from", sa.String(length=10), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["policy_id"], ["policy.id"], name=op.f("fk_payee_account_policy_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payee_account")),
    )
    op.create_index(
        op.f("ix_payee_account_policy_id"), "payee_account", ["policy_id"], unique=False
    )
    op.create_table(
        "payout",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("claim_id", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("end_to_end_id", sa.String(length=35), nullable=False),
        sa.Column("pending_transfer_id", sa.String(length=64), nullable=False),
        sa.Column("message_id", sa.String(length=35), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("bank_status", sa.String(length=4), server_default="", nullable=False),
        sa.Column("reason", sa.String(length=80), server_default="", nullable=False),
        sa.Column("opened_us", sa.BigInteger(), nullable=False),
        sa.Column("closed_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(state = 'open') = (closed_us IS NULL)", name=op.f("ck_payout_closed")),
        sa.CheckConstraint("state IN ('open', 'paid', 'failed')", name=op.f("ck_payout_state")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_payout_amount")),
        sa.ForeignKeyConstraint(
            ["message_id"], ["payment_file.message_id"], name=op.f("fk_payout_message_id")
        ),
        sa.ForeignKeyConstraint(
            ["pending_transfer_id"],
            ["ledger_transfer.id"],
            name=op.f("fk_payout_pending_transfer_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout")),
        sa.UniqueConstraint("claim_id", "attempt", name=op.f("uq_payout_claim_id_attempt")),
        sa.UniqueConstraint("end_to_end_id", name=op.f("uq_payout_end_to_end_id")),
        sa.UniqueConstraint("pending_transfer_id", name=op.f("uq_payout_pending_transfer_id")),
    )
    op.create_index(op.f("ix_payout_message_id"), "payout", ["message_id"], unique=False)
    op.create_index("ix_payout_state", "payout", ["state"], unique=False)
    op.create_index(
        "uq_payout_one_open_per_claim",
        "payout",
        ["claim_id"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "policy_revision",
        sa.Column("policy_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("effective_date", sa.String(length=10), nullable=False),
        sa.Column("plan_version", sa.String(length=160), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("terms", sa.LargeBinary(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["plan_version"], ["plan_version.version"], name=op.f("fk_policy_revision_plan_version")
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"], ["policy.id"], name=op.f("fk_policy_revision_policy_id")
        ),
        sa.PrimaryKeyConstraint("policy_id", "revision", name=op.f("pk_policy_revision")),
    )
    dialect = op.get_bind().dialect.name
    statements = [one for table in APPEND_ONLY for one in append_only_ddl(table, dialect)]
    statements += decision_seal_ddl(dialect) + ledger_ddl(dialect) + payouts_ddl(dialect)
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)
