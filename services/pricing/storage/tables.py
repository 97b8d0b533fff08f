"""Tables of the pricing database, as SQLAlchemy Core; written once, never changed (APPEND_ONLY).

Times are microseconds since 1970 in UTC. What is about a person's health stands in `sealed` columns
only. A request is compared by its whole content inside the seal: a hash in clear of so few facts
could be guessed back into them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError

from services.common.access import assertions
from services.common.database import SERIAL, Database, named_metadata
from services.common.evidence.tables import tables as evidence_tables

metadata = named_metadata()
evidence = evidence_tables(metadata)
assertions.tables(metadata)

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
    Column("policy_id", String(64), nullable=False, index=True),
    Column("tariff_version", String(160), ForeignKey("tariff.version"), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("premium_minor", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# Every request that recorded readings: what was asked and what was answered, sealed.
recording = Table(
    "recording",
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# One row per revision of a reading; the one with the highest number counts. `stated_us` is the
# receive time that the caller stated, `at_us` when this service recorded the revision.
reading = Table(
    "reading",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("member_token", String(96), nullable=False),
    Column("effective_us", BigInteger, nullable=False),
    Column("stated_us", BigInteger),
    Column("sealed", LargeBinary, nullable=False),
    Column("request_id", String(64), ForeignKey("recording.request_id"), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_reading_member", "member_token", "effective_us"),
)

# A doctor's targets; for one member, measure and day the row with the highest number counts.
personal_target = Table(
    "personal_target",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("request_id", String(64), nullable=False, unique=True),
    Column("member_token", String(96), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

coach_task = Table(
    "coach_task",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("name", String(32), nullable=False, unique=True),
    Column("member_token", String(96), nullable=False, index=True),
    Column("reading", String(200), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("reading"),
)

APPEND_ONLY = (
    "tariff",
    "programme",
    "quote",
    "recording",
    "reading",
    "personal_target",
    "coach_task",
)


class StorageUnavailable(Exception):
    """The database did not answer now; the same call may succeed later. Nothing is half done."""


@contextmanager
def available() -> Iterator[None]:
    """Tells a database that does not answer apart from every other fault."""
    try:
        yield
    except OperationalError:
        raise StorageUnavailable("the pricing database does not answer") from None


def insert_unless_there(database: Database, table: Table, unique: str) -> Any:
    """An INSERT that does nothing when a row with the same `unique` column is there."""
    dialect = sqlite if database.is_sqlite else postgresql
    return dialect.insert(table).on_conflict_do_nothing(index_elements=[unique])
