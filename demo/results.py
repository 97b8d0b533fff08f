"""What a run gave, checked against what it must give. Asks no service; decides nothing anew.

The checks add every line up again from the wire: they share no code with the engine or the ledger.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from demo.bank import BookEntry
from demo.bridge import Pulled
from demo.comparison import Comparison, tally
from demo.insurer import MOVING, PENDED, UNDECIDED
from demo.scenario import Scenario
from lipei.claims.v1 import claims_pb2, decision_pb2, reason_pb2
from lipei.his_bridge.v1 import his_bridge_pb2

# The promise of the issue: so many claims need no person.
_UNTOUCHED_SHARE = 0.90
_CLEAN_UNTOUCHED_SHARE = 0.95
# A pull submits no faster than the insurer decides.
_IN_FLIGHT = 8


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must hold, and what was found."""

    name: str
    holds: bool
    found: str


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that the services and the bank answered at the end."""

    scenario: Scenario
    pulled: Pulled
    claims: Sequence[claims_pb2.Claim]
    books: claims_pb2.CheckBooksResponse
    quarantine: Sequence[his_bridge_pb2.QuarantinedRecord]
    refusals: Sequence[his_bridge_pb2.ReleasedBill]
    bank_book: Mapping[str, BookEntry]
    elapsed_s: float
    # When the bridge first saw each bill at the hospital, by bill number.
    seen: Mapping[str, Timestamp] = field(default_factory=dict)
    # Against the planted truth; None where nobody knows the truth.
    comparison: Comparison | None = None

    @property
    def decided(self) -> list[claims_pb2.Claim]:
        """Claims with a decision."""
        return [claim for claim in self.claims if claim.HasField("decision")]

    @property
    def paid(self) -> list[claims_pb2.Claim]:
        """Claims whose payout the bank confirmed."""
        return [claim for claim in self.claims if claim.state == claims_pb2.CLAIM_STATE_PAID]

    @property
    def owed(self) -> list[claims_pb2.Claim]:
        """Claims that were approved with something to pay."""
        unpaid = PENDED | UNDECIDED | {claims_pb2.CLAIM_STATE_DENIED}
        return [
            claim
            for claim in self.decided
            if claim.state not in unpaid and claim.decision.benefit.minor_units > 0
        ]

    @property
    def pended(self) -> int:
        """Claims that wait for papers or a person."""
        return sum(claim.state in PENDED for claim in self.claims)

    @property
    def denied(self) -> int:
        """Claims refused in full."""
        return sum(claim.state == claims_pb2.CLAIM_STATE_DENIED for claim in self.claims)

    @property
    def untouched(self) -> int:
        """Claims decided on their merits without a person: paid, cut, at zero or denied."""
        return len(self.decided) - self.pended

    @property
    def decision_ms(self) -> list[float]:
        """From a claim's intake to its decision, ascending."""
        return sorted(
            _ms(claim.create_time, claim.decide_time)
            for claim in self.claims
            if claim.HasField("decide_time")
        )

    @property
    def payout_ms(self) -> list[float]:
        """From a decision to the bank's confirmation, ascending."""
        return sorted(_ms(claim.decide_time, claim.pay_time) for claim in self.paid)

    @property
    def seen_to_decision_ms(self) -> list[float]:
        """From the bridge's first sight of a bill to its decision, ascending.

        Most of it is queueing: all of a year's bills are seen within seconds, and each waits at
        the hospital until the insurer has taken those before it.
        """
        return sorted(
            _ms(self.seen[claim.bill_number], claim.decide_time)
            for claim in self.claims
            if claim.bill_number in self.seen and claim.HasField("decide_time")
        )

    @property
    def seen_to_payout_ms(self) -> list[float]:
        """From the bridge's first sight of a bill to the bank's confirmation, ascending."""
        return sorted(
            _ms(self.seen[claim.bill_number], claim.pay_time)
            for claim in self.paid
            if claim.bill_number in self.seen
        )

    @property
    def in_flight(self) -> int:
        """The most claims that were taken in and not yet decided at one moment."""
        moves = sorted(
            move
            for claim in self.claims
            if claim.HasField("decide_time")
            for move in (
                (claim.create_time.ToNanoseconds(), 1),
                (claim.decide_time.ToNanoseconds(), -1),
            )
        )
        return max(itertools.accumulate(step for _, step in moves), default=0)

    def reasons(self) -> dict[str, tuple[int, int]]:
        """Reason → lines and minor units, the costliest first."""
        lines: Counter[reason_pb2.Reason.ValueType] = Counter()
        amounts: Counter[reason_pb2.Reason.ValueType] = Counter()
        for share in _shares(self.decided):
            lines[share.reason] += 1
            amounts[share.reason] += share.amount.minor_units
        return {
            reason_pb2.Reason.Name(reason).removeprefix("REASON_"): (lines[reason], amount)
            for reason, amount in amounts.most_common()
        }

    def set_aside(self) -> Counter[str]:
        """Quarantine reason → records."""
        return Counter(fault.reason for record in self.quarantine for fault in record.faults[:1])


def summary(results: Results) -> dict[str, Any]:
    """What build/demo/summary.json holds; amounts in minor units, times in milliseconds."""
    decision, payout = results.decision_ms, results.payout_ms
    return {
        "bills_pulled": results.pulled.bills,
        "claims_total": len(results.claims),
        "decided_untouched": results.untouched,
        "pended": results.pended,
        "denied": results.denied,
        "quarantined": len(results.quarantine),
        "paid_claims": len(results.paid),
        "paid_minor_units": sum(claim.paid.minor_units for claim in results.paid),
        "conservation_violations": results.books.conservation_violations
        + len(unbalanced(results.decided)),
        "ledger_sum": results.books.ledger_sum_minor_units,
        "decision_ms_p50": percentile(decision, 0.50),
        "decision_ms_p99": percentile(decision, 0.99),
        "payout_ms_p50": percentile(payout, 0.50),
        "payout_ms_p99": percentile(payout, 0.99),
        "decisions_in_flight_max": results.in_flight,
        "currency": results.scenario.currency,
        "seed": results.scenario.seed,
        "billed_minor_units": sum(one.decision.billed.minor_units for one in results.decided),
        "refused_bills": results.pulled.refused,
        "reasons": {
            name: {"lines": lines, "minor_units": amount}
            for name, (lines, amount) in results.reasons().items()
        },
        "quarantine_reasons": dict(sorted(results.set_aside().items())),
        "seen_to_decision_ms_p50": percentile(results.seen_to_decision_ms, 0.50),
        "seen_to_decision_ms_p99": percentile(results.seen_to_decision_ms, 0.99),
        "seen_to_payout_ms_p50": percentile(results.seen_to_payout_ms, 0.50),
        "seen_to_payout_ms_p99": percentile(results.seen_to_payout_ms, 0.99),
        **(_compared(results.comparison) if results.comparison else {}),
        "elapsed_s": round(results.elapsed_s, 1),
        "checks": {check.name: check.holds for check in checks(results)},
    }


def _compared(comparison: Comparison) -> dict[str, Any]:
    total, clean = comparison.total, len(comparison.clean)
    return {
        "clean_bills": clean,
        "clean_untouched": comparison.clean_untouched,
        "clean_untouched_share": round(comparison.clean_untouched / clean, 4) if clean else None,
        "false_approvals": total.false_approvals,
        "false_denials": total.false_denials,
        "false_pends": total.false_pends,
        "missed": total.missed,
        "amount_mismatches": total.amount_mismatches,
        "expected_minor_units": total.expected_fen,
        "by_planted": {
            kind.name.lower(): {
                "bills": one.bills,
                "as_expected": one.as_expected,
                "false_approvals": one.false_approvals,
                "false_denials": one.false_denials,
                "false_pends": one.false_pends,
                "missed": one.missed,
                "amount_mismatches": one.amount_mismatches,
                "expected_minor_units": one.expected_fen,
                "paid_minor_units": one.paid_fen,
            }
            for kind, one in comparison.by_planted().items()
        },
    }


def checks(results: Results) -> list[Check]:
    """Everything that must hold at the end of a run."""
    expected, books = results.scenario.expected, results.books
    total, untouched = len(results.claims), results.untouched
    moving = sum(claim.state in MOVING for claim in results.claims)
    ours = {
        claim.end_to_end_id: BookEntry(claim.paid.minor_units, claim.paid.currency_code)
        for claim in results.paid
    }
    bare = sum(
        share.reason != reason_pb2.REASON_BENEFIT and not share.clause
        for share in _shares(results.decided)
    )
    return [
        _equal("bills pulled", results.pulled.bills, expected.bills),
        _equal("records set aside", len(results.quarantine), expected.quarantined),
        _equal("bills of strangers refused", results.pulled.refused, expected.refused),
        _equal("claims opened", total, expected.claims),
        *(
            []
            if expected.pended is None
            else [_equal("claims that wait for papers", results.pended, expected.pended)]
        ),
        _equal("claims still on their way", moving, 0),
        Check(
            name="decided without a person",
            holds=total > 0 and untouched >= _UNTOUCHED_SHARE * total,
            found=f"{untouched} of {total}",
        ),
        Check(
            name="decisions in flight at once",
            holds=results.in_flight <= _IN_FLIGHT,
            found=f"at most {results.in_flight} of {_IN_FLIGHT}",
        ),
        _equal("cuts without a clause", bare, 0),
        _equal("decisions that do not add up", len(unbalanced(results.decided)), 0),
        _equal("conservation violations in the books", books.conservation_violations, 0),
        _equal("sum of the ledger", books.ledger_sum_minor_units, 0),
        _equal("payouts that differ from the benefit", books.payout_mismatches, 0),
        _equal("approved claims paid", len(results.paid), len(results.owed)),
        Check(
            name="the bank's book is ours",
            holds=bool(ours) and ours == dict(results.bank_book),
            found=f"{len(ours)} payouts, {len(results.bank_book)} there",
        ),
        *(_truth_checks(results.comparison) if results.comparison else []),
    ]


def _truth_checks(comparison: Comparison) -> list[Check]:
    total, clean = comparison.total, tally(comparison.clean)
    untouched = comparison.clean_untouched
    return [
        Check(
            name="clean bills decided untouched",
            holds=clean.bills > 0 and untouched >= _CLEAN_UNTOUCHED_SHARE * clean.bills,
            found=f"{untouched} of {clean.bills}",
        ),
        _equal("clean bills with another amount than the truth", clean.amount_mismatches, 0),
        _equal("false approvals", total.false_approvals, 0),
        _equal("false denials", total.false_denials, 0),
        _equal("false pends", total.false_pends, 0),
        _equal("bills that ended otherwise than planted", total.missed, 0),
        _equal("fen paid, against the truth", total.paid_fen, total.expected_fen),
    ]


def unbalanced(claims: Sequence[claims_pb2.Claim]) -> list[str]:
    """Names of claims whose decision does not add up, to the minor unit, by our own addition."""
    return [claim.name for claim in claims if not _adds_up(claim.decision)]


def percentile(ascending: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile; None of nothing.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    if not ascending:
        return None
    rank = -(-len(ascending) * int(share * 100) // 100)
    return round(ascending[max(0, rank - 1)], 1)


def _adds_up(decision: decision_pb2.Decision) -> bool:
    insurer = decision_pb2.BEARER_INSURER
    lines_hold = all(
        line.billed.minor_units == sum(share.amount.minor_units for share in line.shares)
        and line.benefit.minor_units
        == sum(share.amount.minor_units for share in line.shares if share.bearer == insurer)
        for line in decision.lines
    )
    return (
        lines_hold
        and decision.billed.minor_units == sum(line.billed.minor_units for line in decision.lines)
        and decision.benefit.minor_units == sum(line.benefit.minor_units for line in decision.lines)
    )


def _shares(claims: Sequence[claims_pb2.Claim]) -> Iterator[decision_pb2.BearerShare]:
    for claim in claims:
        for line in claim.decision.lines:
            yield from line.shares


def _equal(name: str, found: int, expected: int) -> Check:
    text = str(found) if found == expected else f"{found}, expected {expected}"
    return Check(name=name, holds=found == expected, found=text)


def _ms(begin: Timestamp, end: Timestamp) -> float:
    return (end.ToNanoseconds() - begin.ToNanoseconds()) / 1e6
