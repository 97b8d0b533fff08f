"""Tables of what a hospital's operators do: maps of codes, replays, offers, reconciliations.

Maps are the hospital's own catalogue and stand in clear; codes that nobody knows yet come out of
records and are sealed under the hospital's inbox, as those are.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
)

from services.common.database import SERIAL
from services.his_bridge.storage.tables import metadata

# Maps of local to standard codes as they were loaded. Of one side and system the newest counts.
code_map = Table(
    "code_map",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("request_id", String(64), nullable=False),
    Column("request_hash", String(64), nullable=False),
    Column("side", String(16), nullable=False),
    Column("from_system", String(200), nullable=False),
    Column("to_system", String(200), nullable=False),
    Column("version", String(64), nullable=False),
    Column("codes", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("hospital", "request_id"),
)

# Codes that a record in quarantine waits for, each with the minor units that hang on it.
unmapped_code = Table(
    "unmapped_code",
    metadata,
    Column("inbox_id", SERIAL, ForeignKey("inbox.id"), primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True),
    Column("hospital", String(64), nullable=False),
    Column("code_index", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Index("ix_unmapped_code_code", "hospital", "code_index"),
)

# What was taken out of the quarantine to be read once more: each entry once, and why.
replay = Table(
    "replay",
    metadata,
    Column("quarantine", String(32), ForeignKey("quarantine.name"), primary_key=True),
    Column("hospital", String(64), nullable=False),
    Column("why", String(16), nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# Answers to replays that people asked for, by request.
replay_request = Table(
    "replay_request",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("request_id", String(64), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("replayed", Integer, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# Refused bills that were put back to pending: what had been said of each, why, by which request.
bill_offer = Table(
    "bill_offer",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("hospital", String(64), nullable=False),
    Column("bill", String(40), nullable=False),
    Column("why", String(16), nullable=False),
    # Empty: offered by itself.
    Column("request_id", String(64), nullable=False),
    Column("refusal_reasons", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_bill_offer_bill", "hospital", "bill"),
)

# Offers that people asked for, who asked, and what was answered.
offer_request = Table(
    "offer_request",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("request_id", String(64), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("tenant", String(80), nullable=False),
    Column("role", String(40), nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# Comparisons of the source with what is kept here. `days` holds counts and sums, never an id.
reconciliation = Table(
    "reconciliation",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("first_day", String(10), nullable=False),
    Column("last_day", String(10), nullable=False),
    Column("days", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# How far each channel of a hospital has been caught up with: since when, how many records the
# source gave, how many of them were new, how many it may come to by the source's own count, and the
# time of the last of them. Without `caught_up_us` more is to come.
pull_progress = Table(
    "pull_progress",
    metadata,
    Column("hospital", String(64), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("started_us", BigInteger, nullable=False),
    Column("caught_up_us", BigInteger),
    Column("seen", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("expected", BigInteger),
    Column("reached_us", BigInteger),
    # Files that lie there and do not count yet, and when the first of them will.
    Column("unsettled", BigInteger, nullable=False, server_default="0"),
    Column("settle_us", BigInteger),
    # Files that lie there and were refused as a whole.
    Column("refused_files", BigInteger, nullable=False, server_default="0"),
    Column("taken_files", BigInteger, nullable=False, server_default="0"),
)

APPEND_ONLY = ("code_map", "replay", "bill_offer", "offer_request", "reconciliation")
