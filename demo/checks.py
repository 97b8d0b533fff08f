"""What must hold at the end of a run, checked against what it gave. Asks no service.

The checks add every line up again from the wire: they share no code with the engine or the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from demo.bank import BookEntry
from demo.comparison import Comparison, tally
from demo.hospital.months import low_glucose
from demo.insurer import MOVING
from demo.results import Results, shares_of
from lipei.claims.v1 import claims_pb2, decision_pb2, reason_pb2
from services.common.evidence.compared import Compared

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
        for share in shares_of(results.decided)
    )
    return [
        _equal("bills pulled", results.pulled.bills, expected.bills),
        _equal("records set aside", len(results.quarantine), expected.quarantined),
        _equal("bills of strangers refused", results.pulled.refused, expected.refused),
        _equal("bills held for want of a consent", len(results.held), expected.held),
        _equal("claims opened", total, expected.claims),
        _equal("claims that ended with a withdrawn consent", results.withdrawn, expected.withdrawn),
        *(
            []
            if expected.pended is None
            else [_equal("claims that wait for a person", results.pended, expected.pended)]
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
        *(_price_checks(results) if results.recorded else []),
        *([_reads_check(results.reads)] if results.reads else []),
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
        _equal("minor units paid, against the truth", total.paid_fen, total.expected_fen),
    ]


def _price_checks(results: Results) -> list[Check]:
    hospital, recorded = results.scenario.generated, results.recorded
    if hospital is None or recorded is None:
        return []
    wrong = sum(bool(one.faults()) for one in results.quotes)
    return [
        _equal("home readings recorded", recorded.home, len(hospital.record.home)),
        _equal(
            "hospital readings that reached pricing", recorded.pulled, len(hospital.record.hospital)
        ),
        _equal(
            "coach's tasks for low glucose", recorded.coach_tasks, low_glucose(hospital.record.all)
        ),
        _equal("programme members quoted", len(results.quotes), len(hospital.participants)),
        _equal("incentives that differ from the truth", wrong, 0),
    ]


def _reads_check(reads: Compared) -> Check:
    differing = f"; {reads.differing} differ" if reads.differing else ""
    return Check(
        name="sensitive reads counted at the databases = leaves in the evidence logs",
        holds=reads.fetched == reads.leaves > 0 and not reads.differing,
        found=f"{reads.fetched} = {reads.leaves}{differing}",
    )


def unbalanced(claims: Sequence[claims_pb2.Claim]) -> list[str]:
    """Names of claims whose decision does not add up, to the minor unit, by our own addition."""
    return [claim.name for claim in claims if not _adds_up(claim.decision)]


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


def _equal(name: str, found: int, expected: int) -> Check:
    text = str(found) if found == expected else f"{found}, expected {expected}"
    return Check(name=name, holds=found == expected, found=text)
