"""Rows of the claims database as its readers know them: every column with its type.

SQLAlchemy's own rows say of no column whether it exists or may be empty; these do, and a test holds
them to the tables. A query of a few columns answers with a plain `Row`.
"""

from __future__ import annotations

from typing import Protocol


class ClaimRow(Protocol):
    """A row of `claim`; what each column means stands with the table."""

    seq: int
    id: str
    insurer: str
    hospital: str | None
    policy_id: str
    person_id: str
    member_id: str
    person_seq: int
    request_id: str
    provider_id: str
    bill_index: str
    bill_number: bytes
    bill_hash: str
    bill: bytes
    currency: str
    state: str
    started_us: int | None
    decision_id: str | None
    benefit: int | None
    paid: int
    blocked_until_us: int | None
    end_to_end_id: str | None
    created_us: int
    decided_us: int | None
    paid_us: int | None
    consent: str | None
    time_zone: str
    revision: int
    moved_us: int
    papers_asked: int
    papers_timed: int
    papers_due_us: int | None
    released_us: int | None
    reversed_us: int | None
    owed: int
    recoverable: int
    owed_provider: int
    paid_provider: int
    proposal: str | None
    adjustments: int
    adjusted: int
    adjust_held: int


class MoveRow(Protocol):
    """A row of `claim_move`."""

    seq: int
    claim_id: str
    from_state: str | None
    to_state: str
    event: str
    actor: str
    clock: str
    at_us: int


class ActRow(Protocol):
    """A row of `claim_act`."""

    seq: int
    id: str
    claim_id: str
    person_id: str
    kind: str
    actor: str
    revision: int
    sealed: bytes
    at_us: int


class NoticeRow(Protocol):
    """A row of `refusal_notice`."""

    seq: int
    claim_id: str
    sent_day: str
    channel: str
    actor: str
    at_us: int


class AllowedRow(Protocol):
    """What later claims read of a row of `decision`: what it allowed, and whose it is."""

    id: str
    person_id: str
    services: bytes


class DecidedRow(Protocol):
    """What was decided, of a row of `decision`: all but what it was made from."""

    id: str
    claim_id: str
    person_id: str
    position: int
    plan_version: str
    engine_version: str
    commitment: str
    output: bytes
    first_year: int
    last_year: int
    currency: str
    billed: int
    allowed: int
    benefit: int
    lines: int
    at_us: int


class ReplayRow(DecidedRow, Protocol):
    """The same with what it was made from, for deciding it again."""

    salt: bytes
    inputs: bytes


class DecisionRow(ReplayRow, Protocol):
    """A row of `decision`."""

    services: bytes


class CorrectionRow(Protocol):
    """A row of `bill_correction`."""

    claim_id: str
    number: int
    person_id: str
    bill_hash: str
    bill: bytes
    at_us: int
