"""What build/demo/summary.json holds: the numbers of a run, for machines. Judges nothing."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from demo.checks import checks, unbalanced
from demo.comparison import Comparison
from demo.pricing import MemberQuote, Recorded
from demo.results import Results, percentile
from services.common.evidence.compared import Compared


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
        "held": len(results.held),
        "withdrawn": results.withdrawn,
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
        "waiting_minor_units": results.waiting_minor_units,
        "refused_bills": results.pulled.refused,
        "reasons": {
            name: {"lines": lines, "minor_units": amount}
            for name, (lines, amount) in results.reasons().items()
        },
        "decisions_sha256": _digest(
            f"{one.bill_number} {one.name.partition('/claims/')[0]} {one.decision.output_hash}"
            for one in results.decided
        ),
        "quarantine_reasons": dict(sorted(results.set_aside().items())),
        "seen_to_decision_ms_p50": percentile(results.seen_to_decision_ms, 0.50),
        "seen_to_decision_ms_p99": percentile(results.seen_to_decision_ms, 0.99),
        "seen_to_payout_ms_p50": percentile(results.seen_to_payout_ms, 0.50),
        "seen_to_payout_ms_p99": percentile(results.seen_to_payout_ms, 0.99),
        **(_compared(results.comparison) if results.comparison else {}),
        **(_priced(results.recorded, results.quotes) if results.recorded else {}),
        **(_read(results.reads) if results.reads else {}),
        "unexpected": unexpected(results),
        "elapsed_s": round(results.elapsed_s, 1),
        "checks": {check.name: check.holds for check in checks(results)},
    }


def unexpected(results: Results) -> list[str]:
    """A sentence for each bill and programme member that did not come out as the truth says."""
    bills = results.comparison.unexpected if results.comparison else []
    members = [(one, faults) for one in results.quotes if (faults := one.faults())]
    return [
        *map(str, bills),
        *(
            f"{one.member} in {one.participant.programme}: {', '.join(faults)} differ"
            for one, faults in members
        ),
    ]


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


def _priced(recorded: Recorded, quotes: Sequence[MemberQuote]) -> dict[str, Any]:
    shares = Counter(str(one.participant.share) for one in quotes)
    return {
        "home_readings": recorded.home,
        "hospital_readings": recorded.pulled,
        "coach_tasks": recorded.coach_tasks,
        "members_quoted": len(quotes),
        "incentive_mismatches": sum(bool(one.faults()) for one in quotes),
        "members_by_share": dict(sorted(shares.items())),
        "premium_before_minor_units": sum(one.before.premium.minor_units for one in quotes),
        "premium_without_credit_minor_units": sum(
            one.after.premium_without_credit.minor_units for one in quotes
        ),
        "premium_after_minor_units": sum(one.after.premium.minor_units for one in quotes),
        "premiums_sha256": _digest(
            f"{quote.name.partition('/quotes/')[0]} {step.step} {step.difference_e4}"
            for one in quotes
            for quote in (one.before, one.after)
            for step in quote.steps
        ),
    }


def _read(reads: Compared) -> dict[str, Any]:
    return {
        "reads_at_databases": reads.fetched,
        "reads_in_logs": reads.leaves,
        "reads_differing": reads.differing,
        "reads": [dataclasses.asdict(row) for row in reads.rows],
    }


def _digest(lines: Iterable[str]) -> str:
    """One hash of a run's results, by which two runs of a seed are compared at a glance."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
