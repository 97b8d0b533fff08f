"""Tables that every service's database has for sealing. Times are microseconds since 1970."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
)

SUBJECT_KEY, MEMBER, ERASURE = "subject_key", "member", "erasure"
KNOWN_KEY = "known_key"


def subject_key_table(metadata: MetaData) -> Table:
    """Keys of subjects, wrapped. A destroyed one stays as a tombstone without its key."""
    return Table(
        SUBJECT_KEY,
        metadata,
        Column("subject", String(120), primary_key=True),
        Column("generation", SmallInteger, primary_key=True, autoincrement=False),
        Column("wrapped", LargeBinary),
        Column("master_key_id", String(64), nullable=False),
        Column("created_us", BigInteger, nullable=False),
        Column("destroyed_us", BigInteger),
        CheckConstraint("(wrapped IS NULL) = (destroyed_us IS NOT NULL)", name="destroyed"),
        Index("ix_subject_key_master_key_id", "master_key_id"),
    )


def member_table(metadata: MetaData) -> Table:
    """Members under opaque ids. The token is there as a blind index only, until erasure."""
    return Table(
        MEMBER,
        metadata,
        Column("id", String(32), primary_key=True),
        Column("token_index", String(64), unique=True),
        Column("created_us", BigInteger, nullable=False),
        Column("erased_us", BigInteger),
        CheckConstraint("(token_index IS NULL) = (erased_us IS NOT NULL)", name="erased"),
    )


def erasure_table(metadata: MetaData) -> Table:
    """What was erased by which request, on what ground, by whom: opaque ids and counts.

    Nothing of the token, not even as a keyed hash: beside the opaque id it would lead from one to
    the other. `tenant` and `role` are empty in rows from before they were written down.
    """
    return Table(
        ERASURE,
        metadata,
        Column("request_id", String(64), primary_key=True),
        Column("member", String(32), nullable=False),
        Column("ground", String(96), nullable=False),
        Column("answer", LargeBinary, nullable=False),
        Column("at_us", BigInteger, nullable=False),
        Column("tenant", String(80), nullable=False, server_default=""),
        Column("role", String(32), nullable=False, server_default=""),
    )


def known_key_table(metadata: MetaData) -> Table:
    """Which keys of files outside the database it was filled under, as keyed fingerprints."""
    return Table(
        KNOWN_KEY,
        metadata,
        Column("name", String(64), primary_key=True),
        Column("fingerprint", String(64), nullable=False),
        Column("at_us", BigInteger, nullable=False),
    )
