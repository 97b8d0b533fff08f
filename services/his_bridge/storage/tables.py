"""Tables of the bridge's database, as SQLAlchemy Core. Times are microseconds since 1970 in UTC.

Everything about a patient is sealed (storage.sealed says under whose key); tokens, the sources' own
ids and parts of records stand as blind indexes. Of a bill its kind, day of billing and total stand
in clear, for the reconciliation with the hospital's books, and of an event whether it takes a
charge back.
Events of bills, merges and consents refuse UPDATE and DELETE by trigger (APPEND_ONLY, the
migrations).
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
    true,
)

from services.common.access import assertions
from services.common.database import SERIAL, named_metadata
from services.common.evidence.tables import tables as evidence_tables
from services.common.sealing.tables import (
    erasure_table,
    known_key_table,
    member_table,
    subject_key_table,
)

metadata = named_metadata()
evidence = evidence_tables(metadata)
assertions.tables(metadata)
subject_key_table(metadata)
member_table(metadata)
erasure_table(metadata)
known_key_table(metadata)

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
    # Failures since the last success: how long the hospital is left alone (core.breaker).
    Column("failures", Integer, nullable=False, server_default="0"),
)

# Where the next page begins. `scope` names what is asked for: another base URL or period starts
# from the beginning, and the inbox tells what is known. `position` is sealed under the hospital's
# inbox: a source's own ids and names of files stand in it.
read_cursor = Table(
    "read_cursor",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("scope", String(64), primary_key=True),
    Column("position", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# Every record as it came, byte for byte, committed before anything is made of it. `raw` goes when
# nothing was made of it, and in time when it waits for a person. Without a member it is sealed
# under the hospital's inbox.
inbox = Table(
    "inbox",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("hospital", String(64), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("external_index", String(64), nullable=False),
    Column("external_id", LargeBinary, nullable=False),
    Column("version", String(64), nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("raw", LargeBinary),
    Column("member", String(32), ForeignKey("member.id")),
    Column("state", String(16), nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("hospital", "channel", "external_index", "version", "content_hash"),
    # Which version of a record is its newest.
    Index("ix_inbox_versions", "hospital", "channel", "external_index", "updated_us", "id"),
    Index(
        "ix_inbox_pending",
        "hospital",
        "channel",
        "id",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    # How many records stand where, without reading what they say.
    Index("ix_inbox_state", "hospital", "channel", "state"),
)

# What happened to each bill; a bill's state is a fold over these. `external_index` is of the
# source's id of the bill, `record_index` of the record that says it, `reverses_index` of the one
# that it takes back. A record that names no patient has no member. `stated_total` is what the
# source says that the whole bill amounts to.
bill_event = Table(
    "bill_event",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("bill_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("external_index", String(64), nullable=False),
    Column("record_index", String(64), nullable=False),
    Column("member", String(32), ForeignKey("member.id")),
    Column("kind", String(16), nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("rank", String(160), nullable=False),
    Column("inbox_id", SERIAL, ForeignKey("inbox.id"), nullable=False),
    Column("reverses_index", String(64)),
    Column("stated_total", BigInteger),
    Column("body", LargeBinary),
    Column("at_us", BigInteger, nullable=False),
    # Unknown of what was stored before: it may.
    Column("takes_back", Boolean, nullable=False, server_default=true()),
    Index("ix_bill_event_external", "hospital", "external_index"),
    Index("ix_bill_event_record", "hospital", "record_index"),
    Index("ix_bill_event_member", "member"),
)

# Which accounts and patients go on as which others: accounts by blind index, patients by their
# opaque ids. `into_id` is the source's id of the account that goes on, sealed under the hospital's
# inbox, or the token of the patient who does, sealed under that patient's key.
merge_event = Table(
    "merge_event",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("inbox_id", SERIAL, ForeignKey("inbox.id"), primary_key=True, autoincrement=False),
    Column("level", String(8), nullable=False),
    Column("into_name", String(64), nullable=False),
    Column("out_name", String(64), nullable=False),
    Column("into_id", LargeBinary, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("rank", String(160), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_merge_event_into", "hospital", "into_name"),
    Index("ix_merge_event_out", "hospital", "out_name"),
)

# Records that were read and cannot count yet: those that wait for what they take back (parked), and
# those that wait for a person (quarantined). A row goes as soon as its record counts.
waiting_event = Table(
    "waiting_event",
    metadata,
    Column("inbox_id", SERIAL, ForeignKey("inbox.id"), primary_key=True, autoincrement=False),
    Column("hospital", String(64), nullable=False),
    Column("external_index", String(64), nullable=False),
    Column("faults", LargeBinary, nullable=False),
    Column("quarantined", Boolean, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_waiting_event_external", "hospital", "external_index"),
)

# What the insurer is offered: one row for each change of a bill that is closed. `seq` follows the
# order of commits, so that a reader who remembers the last one misses nothing.
released_bill = Table(
    "released_bill",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("name", String(40), nullable=False),
    Column("bill_id", String(32), nullable=False),
    Column("external_index", String(64), nullable=False),
    Column("external_id", LargeBinary, nullable=False),
    Column("member", String(32), ForeignKey("member.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("day", String(10), nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    # The consent under which it was released; empty: under none, and shown to nobody whole.
    Column("consent_id", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Column("released_us", BigInteger, nullable=False),
    Column("delivery", String(16), nullable=False),
    Column("claims", LargeBinary, nullable=False),
    Column("refusal_reasons", LargeBinary, nullable=False),
    # When the insurer first refused it, and when it is offered again by itself; see offers.
    Column("first_refused_us", BigInteger),
    Column("next_offer_us", BigInteger),
    # Numbers of lines that were released before and are not on it any more: nobody else gets them.
    Column("other_numbers", LargeBinary),
    # The insurer that it was handed out to and that has not refused it; see taking_back.
    Column("handed_to", String(80)),
    # Of a reversal that the insurer need not hear of: the bill under which this one goes on.
    Column("goes_on_as", String(32)),
    UniqueConstraint("hospital", "name"),
    Index("ix_released_bill_delivery", "hospital", "delivery", "seq"),
    Index("ix_released_bill_day", "hospital", "day"),
    Index("ix_released_bill_member", "member"),
    Index("ix_released_bill_external", "hospital", "external_index"),
    Index("ix_released_bill_bill", "hospital", "bill_id", "seq"),
    Index("ix_released_bill_goes_on", "hospital", "goes_on_as", "seq"),
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
    Column("external_index", String(64), nullable=False),
    Column("component_index", String(64), nullable=False),
    Column("member", String(32), ForeignKey("member.id"), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("inbox_id", SERIAL, ForeignKey("inbox.id"), nullable=False),
    # The consent of its last release.
    Column("consent_id", String(64), nullable=False),
    # Released anew, as withdrawn and without what was measured, since no consent covers it.
    Column("withheld", Boolean, nullable=False),
    UniqueConstraint("hospital", "component_index"),
    Index("ix_reading_external", "hospital", "external_index"),
    Index("ix_reading_member", "member", "seq"),
)

# Records that were set aside: reasons and places, never values. Rows stay; whether one still waits
# follows from later versions in the inbox (lists.quarantine_after) and from `resolved_us`, since
# when the record counts because what was missing came.
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
    Column("resolved_us", BigInteger),
    Index("ix_quarantine_inbox", "inbox_id"),
)

# What people did: consents given and withdrawn. A consent's state is a fold over these.
consent_event = Table(
    "consent_event",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("consent_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    # Whose; without, a withdrawal that came before its grant, sealed under the hospital's inbox.
    Column("member", String(32), ForeignKey("member.id")),
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
    Column("member", String(32), ForeignKey("member.id"), nullable=False),
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
    Index("ix_consent_member", "hospital", "member"),
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
    Column("member", String(32), ForeignKey("member.id"), nullable=False),
    Column("need", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_held_record_member", "hospital", "channel", "member"),
)

# Last number given per list. The row is locked until commit: numbers commit in their order.
last_seq = Table(
    "last_seq",
    metadata,
    Column("list", String(96), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

APPEND_ONLY = ("bill_event", "consent_event", "erasure", "merge_event")
