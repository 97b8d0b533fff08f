"""Tables of the bridge's database, as SQLAlchemy Core. Times are microseconds since 1970 in UTC.

Identities stand in `inbox.raw` and nowhere else; everything below it speaks of member tokens.
Events of bills and consents refuse UPDATE and DELETE by trigger (APPEND_ONLY, the migrations).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
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

metadata = named_metadata()
evidence = evidence_tables(metadata)
assertions.tables(metadata)

# One poller per hospital and channel: who holds it, and until when without a sign of life.
lease = Table(
    "lease",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("holder", String(32), nullable=False),
    Column("expires_us", BigInteger, nullable=False),
)

# How the last pull of a channel ended: `failure` is its stable reason, empty when it succeeded.
last_pull = Table(
    "last_pull",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("attempt_us", BigInteger, nullable=False),
    Column("success_us", BigInteger),
    Column("failure", String(64), nullable=False),
)

# Where the next page begins. `scope` names what is asked for: another base URL or period starts
# from the beginning, and the inbox tells what is known.
read_cursor = Table(
    "read_cursor",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("scope", String(64), primary_key=True),
    Column("position", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# Every record as it came, byte for byte, committed before anything is made of it.
inbox = Table(
    "inbox",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("hospital", String(64), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("external_id", String(128), nullable=False),
    Column("version", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("hospital", "channel", "external_id", "version", "sha256"),
    Index(
        "ix_inbox_pending",
        "hospital",
        "channel",
        "id",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
)

# What happened to each bill; a bill's state is a fold over these.
bill_event = Table(
    "bill_event",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("bill_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("external_id", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("inbox_id", SERIAL, ForeignKey("inbox.id"), nullable=False),
    Column("body", LargeBinary),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_bill_event_external", "hospital", "external_id"),
)

# What the insurer is offered: one row per event that changed its bill. `seq` follows the order of
# commits, so that a reader who remembers the last one misses nothing.
released_bill = Table(
    "released_bill",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("name", String(40), nullable=False),
    Column("external_id", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("day", String(10), nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    # Whose, and the consent under which it was released; empty: under none, and shown to nobody.
    Column("member_token", String(96), nullable=False),
    Column("consent_id", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Column("released_us", BigInteger, nullable=False),
    Column("delivery", String(16), nullable=False),
    Column("claims", LargeBinary, nullable=False),
    Column("refusal_reasons", LargeBinary, nullable=False),
    UniqueConstraint("hospital", "name"),
    Index("ix_released_bill_delivery", "hospital", "delivery", "seq"),
    Index("ix_released_bill_day", "hospital", "day"),
)

# Answers of the insurer, by request: the same request changes nothing, another body is refused.
acknowledgement = Table(
    "acknowledgement",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("request_id", String(64), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

reading = Table(
    "reading",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(32), nullable=False, unique=True),
    Column("hospital", String(64), nullable=False),
    Column("external_id", String(128), nullable=False),
    Column("component", String(16), nullable=False),
    Column("member_token", String(96), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("inbox_id", SERIAL, ForeignKey("inbox.id"), nullable=False),
    # The day of measurement in the hospital's zone, and the consent of its last release.
    Column("day", String(10), nullable=False),
    Column("consent_id", String(64), nullable=False),
    # Released anew, as withdrawn and without what was measured, since no consent covers it.
    Column("withheld", Boolean, nullable=False),
    UniqueConstraint("hospital", "external_id", "component"),
    Index("ix_reading_member", "member_token", "seq"),
)

# Records that were set aside: reasons and places, never values. Rows stay; whether one still waits
# follows from the later versions in the inbox (lists.quarantine_after).
quarantine = Table(
    "quarantine",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("name", String(32), nullable=False, unique=True),
    Column("inbox_id", SERIAL, ForeignKey("inbox.id"), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("faults", LargeBinary, nullable=False),
    Column("total_minor", BigInteger),
    Column("currency", String(3), nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# What people did: consents given and withdrawn. A consent's state is a fold over these.
consent_event = Table(
    "consent_event",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("consent_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# The fold as columns, written with the event, so that a query can ask for what is in force.
# `withdrawal_seq` numbers withdrawals in the order of recording; `relayed_us`: the recipient knows.
# `applied_us`: what was held and what is withheld was last judged by it then; -1: not yet.
consent = Table(
    "consent",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("consent_id", String(64), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("member_token", String(96), nullable=False),
    Column("recipient", String(80), nullable=False),
    Column("purpose", String(24), nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("until_us", BigInteger),
    Column("withdrawn_us", BigInteger),
    Column("terms", LargeBinary, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("withdrawal_seq", BigInteger),
    Column("relayed_us", BigInteger),
    Column("applied_us", BigInteger, nullable=False),
    UniqueConstraint("hospital", "seq"),
    Index("ix_consent_member", "hospital", "member_token"),
    Index("ix_consent_withdrawal", "hospital", "withdrawal_seq"),
)

# Answers to writes of the register, by request.
consent_request = Table(
    "consent_request",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("method", String(24), primary_key=True),
    Column("request_id", String(64), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# Good records that no consent covers, and what they need one for. Their bytes lie in the inbox.
held_record = Table(
    "held_record",
    metadata,
    Column("inbox_id", SERIAL, ForeignKey("inbox.id"), primary_key=True, autoincrement=False),
    Column("hospital", String(64), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("member_token", String(96), nullable=False),
    Column("care_type", String(16)),
    Column("first_day", String(10), nullable=False),
    Column("last_day", String(10), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_held_record_member", "hospital", "channel", "member_token"),
)

# Last number given per list. The row is locked until commit: numbers commit in their order.
last_seq = Table(
    "last_seq",
    metadata,
    Column("list", String(96), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

APPEND_ONLY = ("bill_event", "consent_event")
