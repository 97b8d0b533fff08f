"""What a decision says: per line and claim who bears what and why, and what it uses up.

Knows neither how it was reached nor how it is stored.
"""

from __future__ import annotations

import enum
from collections import Counter
from datetime import date
from decimal import Decimal

import msgspec

from services.claims.core.facts import Coding, Scope
from services.claims.core.reasons import Reason

# Raised whenever the same inputs may give another output.
ENGINE_VERSION = "5"


class Bearer(enum.StrEnum):
    """Who bears an amount; the names of lipei.claims.v1.Bearer."""

    INSURER = "insurer"
    PRIOR_PAYER = "prior_payer"
    PATIENT = "patient"
    PROVIDER = "provider"


class Payee(enum.StrEnum):
    """Who gets a benefit; the names of lipei.claims.v1.Payee."""

    MEMBER = "member"
    PROVIDER = "provider"


class LineOutcome(enum.StrEnum):
    """What happened to a line; the names of lipei.claims.v1.LineOutcome."""

    ALLOWED = "allowed"
    CUT = "cut"
    DENIED = "denied"
    PENDED = "pended"


class Disposition(enum.StrEnum):
    """Where the decision sends the claim; names of lipei.claims.v1.ClaimState."""

    AUTO_APPROVED = "auto_approved"
    APPROVED = "approved"
    DENIED = "denied"
    PENDED_INFO = "pended_info"
    PENDED_REVIEW = "pended_review"
    PENDED_FRAUD = "pended_fraud"

    @property
    def waits(self) -> bool:
        """Whether somebody must still do something before it is decided."""
        return self in (self.PENDED_INFO, self.PENDED_REVIEW, self.PENDED_FRAUD)


class Outcome(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Common shape of what comes out: frozen, defaults left out of the canonical bytes."""


class BearerShare(Outcome, frozen=True):
    """One part of a line: one bearer, one reason, one clause. `amount` is above zero."""

    bearer: Bearer
    reason: Reason
    clause: str
    amount: int


class DecisionLine(Outcome, frozen=True):
    """The decision on one line; the shares add up to `billed` exactly.

    A line of 0 has no shares. `section` is empty when no section took the line; `reason` and
    `clause` say why a line is denied or pended, also when nothing was billed. `earlier_claim` is
    the opaque name of the claim that a duplicate repeats, where it is known; `payee` who gets the
    benefit by the plan's terms, None when it has none. `units` are those that reviewers,
    authorisations and limits leave of a line that is not denied, None where they leave all.
    """

    number: int
    code: Coding
    outcome: LineOutcome
    billed: int
    allowed: int
    benefit: int
    section: str = ""
    shares: tuple[BearerShare, ...] = ()
    reason: Reason | None = None
    clause: str = ""
    earlier_claim: str = ""
    payee: Payee | None = None
    units: Decimal | None = None


class UsageChange(Outcome, frozen=True):
    """What the decision adds to one accumulator; a pended claim reserves the most it could pay.

    `amount` is in minor units, or in ten-thousandths of a unit for a unit limit.
    """

    accumulator: str
    scope: Scope
    period_start: date | None = None
    amount: int = 0
    count: int = 0


class Pend(Outcome, frozen=True):
    """What a claim waits for: a fact that a term reads, or a person. `line` None is the claim."""

    reason: Reason
    clause: str
    awaits: str
    line: int | None = None


class Decision(Outcome, frozen=True):
    """What the plan pays for one claim; `output_hash` covers all but versions and input hash.

    `four_eyes` says that two people must review a benefit of this size. `pays_now` is the part of
    a pended claim's benefit that waits for nothing and is paid first.
    """

    plan_version: str
    engine_version: str
    input_hash: str
    output_hash: str
    disposition: Disposition
    currency: str
    billed: int
    allowed: int
    benefit: int
    lines: tuple[DecisionLine, ...]
    category: str = ""
    usage_changes: tuple[UsageChange, ...] = ()
    pends: tuple[Pend, ...] = ()
    four_eyes: bool = False
    pays_now: int = 0


def conservation_faults(decision: Decision) -> tuple[str, ...]:
    """Every way in which the decision loses or invents money; empty when it adds up.

    To be asked before a decision is written: billed = sum over bearers = sum over reasons, per
    line and per claim, and what the insurer bears is the benefit.
    """
    faults: list[str] = []
    for line in decision.lines:
        by_bearer: Counter[Bearer] = Counter()
        for share in line.shares:
            by_bearer[share.bearer] += share.amount
            if share.amount <= 0 or not share.clause:
                faults.append(f"line {line.number}: a share without amount or clause")
        if sum(by_bearer.values()) != line.billed:
            faults.append(f"line {line.number}: bearers bear {sum(by_bearer.values())}")
        if by_bearer[Bearer.INSURER] != line.benefit:
            faults.append(f"line {line.number}: the insurer bears another amount than the benefit")
        if not 0 <= line.benefit <= line.allowed <= line.billed:
            faults.append(f"line {line.number}: not 0 <= benefit <= allowed <= billed")
    for name in ("billed", "allowed", "benefit"):
        total = sum(getattr(line, name) for line in decision.lines)
        if total != getattr(decision, name):
            faults.append(f"claim: {name} is not the sum of its lines, {total}")
    return tuple(faults)


def is_earlier_engine(engine: str) -> bool:
    """Whether it is the version of an engine before today's; what never was one is not."""
    return engine.isascii() and engine.isdecimal() and int(engine) < int(ENGINE_VERSION)
