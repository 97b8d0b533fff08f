"""Tables of the claims database, as SQLAlchemy Core. Times are microseconds since 1970 in UTC.

What is about a person is sealed under that person's key (storage.sealed says which columns); what
is looked up by token or bill number stands as a blind index. Names, states, amounts and
commitments stand in clear: they outlive an erasure.
Tables that are evidence refuse UPDATE and DELETE by trigger (see APPEND_ONLY and the migration).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from services.common.access import assertions
from services.common.database import SERIAL, named_metadata
from services.common.evidence.tables import tables as evidence_tables
from services.common.sealing.tables import erasure_table, known_key_table, subject_key_table

metadata = named_metadata()
evidence = evidence_tables(metadata)
assertions.tables(metadata)
subject_key_table(metadata)
erasure_table(metadata)
known_key_table(metadata)

# Answers to writes, for ever: the same request_id gives the same answer, another body is refused.
# `request_id` is the tenant's own (`Tenant.own`): two tenants may use the same one.
request_log = Table(
    "request_log",
    metadata,
    Column("method", String(40), primary_key=True),
    Column("request_id", String(64), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

plan_version = Table(
    "plan_version",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("version", String(160), nullable=False, unique=True),
    Column("plan_id", String(80), nullable=False, index=True),
    Column("yaml", LargeBinary, nullable=False),
    # What decisions read for ever: a later, stricter loader may refuse the file.
    Column("canonical", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# Who has published which version. Content is kept once under its hash; a version that an insurer
# has not published does not exist for it.
plan_publication = Table(
    "plan_publication",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("insurer", String(64), nullable=False),
    Column("version", String(160), ForeignKey("plan_version.version"), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("insurer", "version"),
)

policy = Table(
    "policy",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("insurer", String(64), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
)

# Each endorsement is a new revision; old ones stay, because decisions read them for ever. Its
# terms name nobody: what it says of each insured person stands in insured_terms.
policy_revision = Table(
    "policy_revision",
    metadata,
    Column("policy_id", String(64), ForeignKey("policy.id"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("effective_date", String(10), nullable=False),
    Column("plan_version", String(160), ForeignKey("plan_version.version"), nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("terms", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

person = Table(
    "person",
    metadata,
    Column("id", String(32), primary_key=True),
    # Blind; gone once the person was erased, so that nothing leads here from a token.
    Column("token_index", String(64), unique=True),
    # Sealed; gone with the index. Studies give the person a name made of it.
    Column("token", LargeBinary),
    Column("claims_received", BigInteger, nullable=False, server_default="0"),
    Column("erased_us", BigInteger),
    CheckConstraint("(token_index IS NULL) = (erased_us IS NOT NULL)", name="erased"),
)

# Who is insured where; which days, the policy's revisions tell.
insured = Table(
    "insured",
    metadata,
    Column("policy_id", String(64), ForeignKey("policy.id"), primary_key=True),
    Column("member_id", String(64), primary_key=True),
    Column("person_id", String(32), ForeignKey("person.id"), nullable=False, index=True),
)

# What a policy's revision says of one insured person.
insured_terms = Table(
    "insured_terms",
    metadata,
    Column("policy_id", String(64), ForeignKey("policy.id"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("member_id", String(64), primary_key=True),
    Column("person_id", String(32), ForeignKey("person.id"), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

payee_account = Table(
    "payee_account",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("policy_id", String(64), ForeignKey("policy.id"), nullable=False, index=True),
    Column("revision", Integer, nullable=False),
    Column("valid_from", String(10), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

# Which providers an insurer knows on which days, half-open; the rows of a provider's last revision
# say it.
known_provider = Table(
    "known_provider",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("insurer", String(64), nullable=False),
    Column("provider_id", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("start_day", String(10), nullable=False),
    Column("end_day", String(10)),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_known_provider_insurer", "insurer", "provider_id", "revision"),
    Index("ix_known_provider_insurer_seq", "insurer", "seq"),
)

# What insurers have agreed with providers. The newest list of an insurer, provider and currency
# says the prices of all days.
price_list = Table(
    "price_list",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("insurer", String(64), nullable=False),
    Column("provider_id", String(128), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_price_list_provider_id", "provider_id", "insurer", "currency"),
)

# Accounts of providers, each proposed by one person and confirmed or rejected by another.
provider_account = Table(
    "provider_account",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("insurer", String(64), nullable=False),
    Column("provider_id", String(128), nullable=False),
    Column("valid_from", String(10), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("actor", String(512), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_provider_account_provider_id", "provider_id", "insurer"),
)

provider_account_word = Table(
    "provider_account_word",
    metadata,
    Column("account_id", String(32), ForeignKey("provider_account.id"), primary_key=True),
    Column("confirmed", Integer, nullable=False),
    Column("actor", String(512), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    # Why it was rejected or withdrawn: about an account, and no person.
    Column("note", String(500), nullable=False, server_default=""),
)

claim = Table(
    "claim",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    # Whose claim it is: its policy's insurer, and the hospital that has handed the bill in.
    Column("insurer", String(64), nullable=False),
    Column("hospital", String(64)),
    Column("policy_id", String(64), ForeignKey("policy.id"), nullable=False),
    Column("person_id", String(32), ForeignKey("person.id"), nullable=False),
    Column("member_id", String(64), nullable=False),
    Column("person_seq", BigInteger, nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("provider_id", String(128), nullable=False),
    Column("bill_index", String(64), nullable=False),
    Column("bill_number", LargeBinary, nullable=False),
    Column("bill_hash", String(64), nullable=False),
    Column("bill", LargeBinary, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("state", String(24), nullable=False),
    Column("started_us", BigInteger),
    Column("decision_id", String(32)),
    Column("benefit", BigInteger),
    Column("paid", BigInteger, nullable=False, server_default="0"),
    # No bank could pay it as things stand; looked at again then, or when the policy is revised.
    Column("blocked_until_us", BigInteger),
    Column("end_to_end_id", String(35)),
    Column("created_us", BigInteger, nullable=False),
    Column("decided_us", BigInteger),
    Column("paid_us", BigInteger),
    # Under which the bill left the hospital; NULL when the member handed it in.
    Column("consent", String(140), index=True),
    # Of the hospital: legal days are dates in it.
    Column("time_zone", String(64), nullable=False),
    # Grows with everything that happens to the claim; and when it last moved.
    Column("revision", BigInteger, nullable=False, server_default="0"),
    Column("moved_us", BigInteger, nullable=False),
    # How often papers were asked for, for which of these a timer runs, and until when it waits.
    Column("papers_asked", BigInteger, nullable=False, server_default="0"),
    Column("papers_timed", BigInteger, nullable=False, server_default="0"),
    Column("papers_due_us", BigInteger),
    # When the decision's use was given back: it is in force no more.
    Column("released_us", BigInteger),
    # When the hospital took the bill back (冲红): it may state it anew.
    Column("reversed_us", BigInteger),
    # What the ledger holds as the claim's cost, and what of it is to come back.
    Column("owed", BigInteger, nullable=False, server_default="0"),
    Column("recoverable", BigInteger, nullable=False, server_default="0"),
    # What of owed and paid is the provider's, where the plan pays it directly.
    Column("owed_provider", BigInteger, nullable=False, server_default="0"),
    Column("paid_provider", BigInteger, nullable=False, server_default="0"),
    # The act that waits for a second person.
    Column("proposal", String(32)),
    # How often the bill was corrected; which of its versions the decision in force was made from;
    # and which of them waits for a person.
    Column("adjustments", BigInteger, nullable=False, server_default="0"),
    Column("adjusted", BigInteger, nullable=False, server_default="0"),
    Column("adjust_held", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("policy_id", "provider_id", "bill_index"),
    UniqueConstraint("person_id", "person_seq"),
    Index("ix_claim_state_seq", "state", "seq"),
    Index("ix_claim_policy_id_seq", "policy_id", "seq"),
    Index("ix_claim_insurer_seq", "insurer", "seq"),
    Index("ix_claim_hospital_seq", "hospital", "seq"),
    Index("ix_claim_person_id_seq", "person_id", "seq"),
    # A few at a time; the sweeper looks for them every second.
    Index(
        "ix_claim_adjusting",
        "seq",
        sqlite_where=text("adjusted < adjustments"),
        postgresql_where=text("adjusted < adjustments"),
    ),
    Index(
        "ix_claim_proposed",
        "seq",
        sqlite_where=text("proposal IS NOT NULL"),
        postgresql_where=text("proposal IS NOT NULL"),
    ),
)

# Corrected bills, in the order in which they came; a claim's first bill stands in its own row.
bill_correction = Table(
    "bill_correction",
    metadata,
    Column("claim_id", String(32), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("person_id", String(32), nullable=False),
    Column("bill_hash", String(64), nullable=False),
    Column("bill", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# Under these no bill is taken in any more.
withdrawn_consent = Table(
    "withdrawn_consent",
    metadata,
    Column("consent", String(140), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
)

# Blind indexes of the tokens of people who are in no study, known here or not.
study_exclusion = Table(
    "study_exclusion",
    metadata,
    Column("token_index", String(64), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
)

claim_move = Table(
    "claim_move",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("claim_id", String(32), nullable=False, index=True),
    Column("from_state", String(24)),
    Column("to_state", String(24), nullable=False),
    Column("event", String(40), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("clock", String(10), nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# What persons did with a claim. Who and when stand in clear; what they found and wrote is sealed
# under the insured person's key.
claim_act = Table(
    "claim_act",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("claim_id", String(32), nullable=False),
    Column("person_id", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("actor", String(512), nullable=False),
    # The claim's, as the person saw it: two cannot act on one.
    Column("revision", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("claim_id", "revision"),
)

# Each record that the notice of a refusal went out; of a claim the newest counts.
refusal_notice = Table(
    "refusal_notice",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("claim_id", String(32), nullable=False),
    Column("sent_day", String(10), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("actor", String(512), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_refusal_notice_claim_id", "claim_id"),
)

# Bills of hospitals at which claims failed, until each is answered: one row for each insurer of the
# bill's person, and one without an insurer where that could not be found out.
failing_bill = Table(
    "failing_bill",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("bill", String(160), nullable=False),
    Column("insurer", String(64), nullable=False),
    Column("fault", String(80), nullable=False),
    Column("first_us", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    UniqueConstraint("bill", "insurer"),
)

# Which of the bank's incoming transfers brought back what of a claim: each counts once.
recovery = Table(
    "recovery",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("insurer", String(64), nullable=False),
    Column("reference", String(35), nullable=False),
    Column("value_date", String(10), nullable=False),
    Column("claim_id", String(32), nullable=False),
    Column("transfer_id", String(64), nullable=False),
    UniqueConstraint("insurer", "reference"),
    UniqueConstraint("transfer_id"),
    Index("ix_recovery_claim_id", "claim_id"),
)

# Lines and shares are written before their decision; the decision's row seals them: a trigger
# refuses it unless every line and the whole claim add up, and refuses lines and shares after it.
# They hold what books need: what happened to a line, and by which reason and clause, may tell of an
# illness, and stands in the decision's sealed output only.
decision_line = Table(
    "decision_line",
    metadata,
    Column("decision_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("billed", BigInteger, nullable=False),
    Column("allowed", BigInteger, nullable=False),
    Column("benefit", BigInteger, nullable=False),
    CheckConstraint("billed >= 0 AND allowed >= 0 AND benefit >= 0", name="not_negative"),
    CheckConstraint("benefit <= billed", name="benefit_within_billed"),
)

decision_share = Table(
    "decision_share",
    metadata,
    Column("decision_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("bearer", String(12), nullable=False),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint("amount > 0", name="positive"),
)

decision = Table(
    "decision",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("claim_id", String(32), nullable=False, index=True),
    Column("person_id", String(32), nullable=False),
    Column("position", Integer, nullable=False),
    Column("plan_version", String(160), nullable=False),
    Column("engine_version", String(20), nullable=False),
    # Over both hashes and the salt (`sealed.committed`): the hashes alone could be guessed back.
    Column("commitment", String(64), nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("inputs", LargeBinary, nullable=False),
    Column("output", LargeBinary, nullable=False),
    # What it allowed, for later bills of the person; the years of those services are all that
    # stands in clear of their dates.
    Column("services", LargeBinary, nullable=False),
    Column("first_year", Integer, nullable=False),
    Column("last_year", Integer, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("billed", BigInteger, nullable=False),
    Column("allowed", BigInteger, nullable=False),
    Column("benefit", BigInteger, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("claim_id", "position"),
    Index("ix_decision_person_id_last_year", "person_id", "last_year"),
)

# Accumulators. `subject` is the member id, or empty where the whole policy shares one.
usage_balance = Table(
    "usage_balance",
    metadata,
    Column("policy_id", String(64), primary_key=True),
    Column("subject", String(64), primary_key=True),
    Column("accumulator", String(80), primary_key=True),
    Column("scope", String(12), primary_key=True),
    Column("period_start", String(10), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("uses", BigInteger, nullable=False),
    CheckConstraint("amount >= 0 AND uses >= 0", name="not_negative"),
)

APPEND_ONLY = (
    "request_log",
    "plan_version",
    "plan_publication",
    "policy_revision",
    "insured_terms",
    "payee_account",
    "known_provider",
    "price_list",
    "provider_account",
    "provider_account_word",
    "study_exclusion",
    "claim_move",
    "claim_act",
    "refusal_notice",
    "recovery",
    "bill_correction",
    "decision_line",
    "decision_share",
    "decision",
    "erasure",
)


def decision_seal_ddl(dialect: str) -> list[str]:
    """Triggers that let no decision in whose lines or shares do not add up to what was billed."""
    sums = {
        "lines_missing": "(SELECT COUNT(*) FROM decision_line l WHERE l.decision_id = NEW.id)"
        " <> NEW.lines",
        "claim_sum": "(SELECT COALESCE(SUM(l.billed), 0) FROM decision_line l"
        " WHERE l.decision_id = NEW.id) <> NEW.billed",
        "benefit_sum": "(SELECT COALESCE(SUM(s.amount), 0) FROM decision_share s"
        " WHERE s.decision_id = NEW.id AND s.bearer = 'insurer') <> NEW.benefit",
        "line_sum": "EXISTS (SELECT 1 FROM decision_line l WHERE l.decision_id = NEW.id"
        " AND l.billed <> (SELECT COALESCE(SUM(s.amount), 0) FROM decision_share s"
        " WHERE s.decision_id = NEW.id AND s.number = l.number))",
        "line_benefit": "EXISTS (SELECT 1 FROM decision_line l WHERE l.decision_id = NEW.id"
        " AND l.benefit <> (SELECT COALESCE(SUM(s.amount), 0) FROM decision_share s"
        " WHERE s.decision_id = NEW.id AND s.number = l.number AND s.bearer = 'insurer'))",
        "stray_share": "(SELECT COALESCE(SUM(s.amount), 0) FROM decision_share s"
        " WHERE s.decision_id = NEW.id) <> NEW.billed",
    }
    sealed = "EXISTS (SELECT 1 FROM decision d WHERE d.id = NEW.decision_id)"
    guards = {("decision", name): condition for name, condition in sums.items()}
    guards["decision_line", "sealed"] = sealed
    guards["decision_share", "sealed"] = sealed
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_{name} BEFORE INSERT ON {table} WHEN {condition} "
            f"BEGIN SELECT RAISE(ABORT, 'decision does not add up: {name}'); END"
            for (table, name), condition in guards.items()
        ]
    statements = []
    for table in ("decision", "decision_line", "decision_share"):
        checks = " ".join(
            f"IF {condition} THEN RAISE EXCEPTION 'decision does not add up: {name}'; END IF;"
            for (owner, name), condition in guards.items()
            if owner == table
        )
        function = f"{table}_seal"
        statements += [
            (
                f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN {checks} RETURN NEW; END $$"
            ),
            (
                f"CREATE TRIGGER {function} BEFORE INSERT ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION {function}()"
            ),
        ]
    return statements
