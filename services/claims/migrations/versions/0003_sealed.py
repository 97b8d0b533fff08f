"""Everything about a person under their own key; tokens and bill numbers as blind indexes."""

import sqlalchemy as sa
from alembic import op

from services.claims.storage.tables import decision_seal_ddl
from services.common.database import append_only_ddl, named_metadata, refuse_rows
from services.common.sealing.tables import erasure_table, subject_key_table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

REPLACED = ("claim", "decision", "decision_line", "insured", "person")
# Written by older versions under one key for all, or with plain hashes.
OLD = (*REPLACED, "policy", "policy_revision", "payee_account", "request_log")
OLD_SEALED = ("payment_file", "bank_answer")
SEALS = ("decision_seal", "decision_line_seal", "decision_share_seal")


def upgrade() -> None:
    """Replace the tables that hold people's content. Refuses when there is any: no key fits it."""
    bind = op.get_bind()
    dialect = bind.dialect.name
    refuse_rows(bind, (*OLD, *OLD_SEALED))
    if dialect == "sqlite":
        op.execute("DROP TRIGGER decision_share_sealed")
    for table in REPLACED:
        op.drop_table(table)
    if dialect == "postgresql":
        op.execute("DROP TRIGGER decision_share_seal ON decision_share")
        for function in SEALS:
            op.execute(f"DROP FUNCTION {function}()")
    metadata = named_metadata()
    for made in (subject_key_table(metadata), erasure_table(metadata)):
        made.create(bind)
    _people()
    _claims()
    _decisions()
    statements = decision_seal_ddl(dialect)
    for table in ("decision", "decision_line", "insured_terms", "erasure"):
        statements += append_only_ddl(table, dialect)
    for statement in statements:
        bind.exec_driver_sql(statement)


def _people() -> None:
    op.create_table(
        "person",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("token_index", sa.String(length=64), nullable=True),
        sa.Column("claims_received", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("erased_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(token_index IS NULL) = (erased_us IS NOT NULL)", name=op.f("ck_person_erased")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("token_index", name=op.f("uq_person_token_index")),
    )
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
        "insured_terms",
        sa.Column("policy_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_insured_terms_person_id")
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"], ["policy.id"], name=op.f("fk_insured_terms_policy_id")
        ),
        sa.PrimaryKeyConstraint(
            "policy_id", "revision", "member_id", name=op.f("pk_insured_terms")
        ),
    )


def _claims() -> None:
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
        sa.Column("bill_index", sa.String(length=64), nullable=False),
        sa.Column("bill_number", sa.LargeBinary(), nullable=False),
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
            "bill_index",
            name=op.f("uq_claim_policy_id_provider_id_bill_index"),
        ),
    )
    op.create_index("ix_claim_policy_id_seq", "claim", ["policy_id", "seq"], unique=False)
    op.create_index("ix_claim_state_seq", "claim", ["state", "seq"], unique=False)


def _decisions() -> None:
    op.create_table(
        "decision",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("claim_id", sa.String(length=32), nullable=False),
        sa.Column("person_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("plan_version", sa.String(length=160), nullable=False),
        sa.Column("engine_version", sa.String(length=20), nullable=False),
        sa.Column("input_hash", sa.String(length=64), nullable=False),
        sa.Column("output_hash", sa.String(length=64), nullable=False),
        sa.Column("inputs", sa.LargeBinary(), nullable=False),
        sa.Column("output", sa.LargeBinary(), nullable=False),
        sa.Column("services", sa.LargeBinary(), nullable=False),
        sa.Column("first_year", sa.Integer(), nullable=False),
        sa.Column("last_year", sa.Integer(), nullable=False),
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
    op.create_index(
        "ix_decision_person_id_last_year", "decision", ["person_id", "last_year"], unique=False
    )
    op.create_table(
        "decision_line",
        sa.Column("decision_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
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
