"""Tables of the pricing database, as SQLAlchemy Core; written once, never changed (APPEND_ONLY).

Times are microseconds since 1970 in UTC. What is about a person stands in `sealed` columns only,
each under the key of whoever holds it about that person (`holding`); what is looked up by a member
token or a reading's name stands as a blind index. A request is compared by a keyed hash: so few
facts could be guessed back out of a plain one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError

from services.common.access import assertions
from services.common.database import SERIAL, Database, named_metadata
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

# The canonical bytes of every tariff that ever served, so that any quote can be priced again.
tariff = Table(
    "tariff",
    metadata,
    Column("version", String(160), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# The same of every programme, so that any month can be judged again.
programme = Table(
    "programme",
    metadata,
    Column("version", String(160), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

quote = Table(
    "quote",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("request_id", String(64), nullable=False, unique=True),
    Column("insurer", String(64), nullable=False),
    Column("policy_id", String(64), nullable=False, index=True),
    # Whose key seals it: the insurer's holding about the member who takes part, else the policy.
    Column("subject", String(120), nullable=False, index=True),
    Column("tariff_version", String(160), ForeignKey("tariff.version"), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("premium_minor", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# Every request that recorded readings: a keyed hash of what was asked, and counts and ids of what
# was answered.
recording = Table(
    "recording",
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# What one tenant holds about one member (`tenancy.py`). Once it was erased nothing leads from the
# member to it any more, and what the tenant holds afterwards is another holding.
holding = Table(
    "holding",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant", String(80), nullable=False),
    Column("member", String(32), ForeignKey("member.id"), index=True),
    Column("at_us", BigInteger, nullable=False),
    Column("erased_us", BigInteger),
    CheckConstraint("(member IS NULL) = (erased_us IS NOT NULL)", name="erased"),
    UniqueConstraint("tenant", "member"),
)

# One row per revision of a reading; the one with the highest number counts. `name_index` is blind,
# over the holding's id and the reading's name; of one member nobody else may record the same name.
# `year`, of the measurement in UTC, is all that stands in clear of its time, so that a year's
# readings are found without opening a life's.
reading = Table(
    "reading",
    metadata,
    Column("name_index", String(64), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("holding", String(32), ForeignKey("holding.id"), nullable=False),
    Column("year", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("request_id", String(64), ForeignKey("recording.request_id"), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_reading_holding_year", "holding", "year"),
)

# A doctor's targets; for one member, measure and day the row with the highest number counts.
personal_target = Table(
    "personal_target",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("request_id", String(64), nullable=False, unique=True),
    Column("holding", String(32), ForeignKey("holding.id"), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# One row per revision of a medication event, as of a reading.
medication = Table(
    "medication",
    metadata,
    Column("name_index", String(64), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("holding", String(32), ForeignKey("holding.id"), nullable=False),
    Column("year", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("request_id", String(64), ForeignKey("recording.request_id"), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_medication_holding_year", "holding", "year"),
)

# What a person said of a flag; for one flag and insurer the row with the highest number counts.
flag_clearing = Table(
    "flag_clearing",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("request_id", String(64), nullable=False, unique=True),
    Column("holding", String(32), ForeignKey("holding.id"), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

coach_task = Table(
    "coach_task",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("name", String(32), nullable=False, unique=True),
    Column("holding", String(32), ForeignKey("holding.id"), nullable=False, index=True),
    Column("reading_index", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("reading_index"),
)

# What each tariff was proposed with, by its digest: canonical JSON of the fit and the selection.
tariff_evidence = Table(
    "tariff_evidence",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# Where each insurer's tariffs stand. The only rows here that change; every change is an event too.
registered_tariff = Table(
    "registered_tariff",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("insurer", String(64), nullable=False),
    Column("version", String(160), ForeignKey("tariff.version"), nullable=False),
    Column("tariff_id", String(64), nullable=False),
    Column("evidence", String(64), ForeignKey("tariff_evidence.sha256"), nullable=False),
    Column("state", String(16), nullable=False),
    Column("first_day", Date),
    Column("last_day", Date),
    UniqueConstraint("insurer", "version"),
    Index("ix_registered_tariff_state", "state", "insurer", "tariff_id"),
)

tariff_event = Table(
    "tariff_event",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("tariff", SERIAL, ForeignKey("registered_tariff.id"), nullable=False, index=True),
    Column("event", String(16), nullable=False),
    Column("actor", String(255), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("day", Date),
    # A later version's activation is what supersedes this one: it has no request of its own.
    Column("request_id", String(64), unique=True),
    Column("fingerprint", String(64), nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# The experiment under an insurer's id; the row with the highest number holds.
routing = Table(
    "routing",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("insurer", String(64), nullable=False),
    Column("tariff_id", String(64), nullable=False),
    Column("challenger", String(160), ForeignKey("tariff.version")),
    Column("share_millionths", Integer, nullable=False),
    Column("salt", String(64), nullable=False),
    Column("shadow", Boolean, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("request_id", String(64), nullable=False, unique=True),
    Column("fingerprint", String(64), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_routing_tariff_id", "insurer", "tariff_id"),
)

# What a challenger would have charged beside a quote; names nobody.
shadow_quote = Table(
    "shadow_quote",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("quote", String(32), ForeignKey("quote.id"), nullable=False, unique=True),
    Column("insurer", String(64), nullable=False),
    Column("tariff_id", String(64), nullable=False),
    Column("version", String(160), ForeignKey("tariff.version"), nullable=False),
    Column("premium_minor", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_shadow_quote_tariff_id", "insurer", "tariff_id"),
)

APPEND_ONLY = (
    "tariff_evidence",
    "tariff_event",
    "routing",
    "shadow_quote",
    "tariff",
    "programme",
    "quote",
    "recording",
    "reading",
    "personal_target",
    "coach_task",
    "medication",
    "flag_clearing",
    "erasure",
)


class StorageUnavailable(Exception):
    """The database did not answer now; the same call may succeed later. Nothing is half done."""


class OtherContent(ValueError):
    """The request_id was used before with another request; nothing was changed."""


@contextmanager
def available() -> Iterator[None]:
    """Tells a database that does not answer apart from every other fault."""
    try:
        yield
    except OperationalError:
        raise StorageUnavailable("the pricing database does not answer") from None


def insert_unless_there(database: Database, table: Table, *unique: str) -> Any:
    """An INSERT that does nothing when a row with the same `unique` columns is there."""
    dialect = sqlite if database.is_sqlite else postgresql
    return dialect.insert(table).on_conflict_do_nothing(index_elements=list(unique))
