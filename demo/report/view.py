"""What the page says of a run: every number that it shows, as text and in percent of its frame.

Reads a run's results; decides nothing and asks nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from demo.figures import by_bearer, half_and_most, money
from demo.report.parts import Slice, histogram, ranked, slices
from demo.results import Results, checks
from lipei.claims.v1 import claims_pb2, decision_pb2, reason_pb2

_REASONS = 10
_COLOURS = {
    "insurer": "insurer",
    "patient": "patient",
    "provider": "provider",
    "social insurance or others": "prior",
    "paid": "insurer",
    "nothing owed": "prior",
    "denied": "patient",
    "wait for a person": "provider",
    "set aside at the hospital": "aside",
    "refused at intake": "aside",
}
_SHORT = {
    decision_pb2.BEARER_INSURER: "insurer",
    decision_pb2.BEARER_PRIOR_PAYER: "prior payer",
    decision_pb2.BEARER_PATIENT: "patient",
    decision_pb2.BEARER_PROVIDER: "provider",
}


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One number at the top; mood is "good", "bad" or empty."""

    value: str
    label: str
    mood: str = ""


@dataclass(frozen=True, kw_only=True)
class Hint:
    """Where to look next: what one sees there, and the command or address."""

    what: str
    command: str


def claims_view(results: Results) -> dict[str, Any]:
    """What became of the bills, who bears what and why, and how long it took."""
    currency = results.scenario.currency
    bearers = by_bearer(results.decided)
    billed = sum(bearers.values())
    decision, payout = results.decision_ms, results.payout_ms
    return {
        "outcomes": _outcomes(results),
        "billed": money(billed, currency),
        "bearers": _amounts(bearers, currency),
        "reasons": ranked(
            [
                (name.lower().replace("_", " "), amount, money(amount, currency), _colour_of(name))
                for name, (_, amount) in list(results.reasons().items())[:_REASONS]
            ]
        ),
        "histogram": histogram(decision),
        "times": [_times(label, spans) for label, spans in (
            ("intake to decision", decision),
            ("decision to the bank's confirmation", payout),
        )],
        "checks": checks(results),
    }


def claim_view(explained: claims_pb2.ExplainClaimResponse, currency: str) -> dict[str, Any]:
    """One claim: its lines with every share and clause, and the insurer's words in two languages."""
    claim = explained.claim
    decision = claim.decision
    return {
        "name": claim.name,
        "head": f"bill {claim.bill_number}, billed {_money(decision.billed)}, "
        f"the insurer pays {_money(decision.benefit)}",
        "bearers": _amounts(by_bearer([claim]), currency),
        "lines": [
            {
                "number": line.number,
                "service": line.code.display or line.code.code,
                "billed": _money(line.billed),
                "benefit": _money(line.benefit),
                "shares": [_share(share) for share in line.shares],
            }
            for line in decision.lines
        ],
        "zh": explained.text_zh.splitlines(),
        "en": explained.text_en.splitlines(),
    }


def hospital_view(results: Results) -> dict[str, Any] | None:
    """What the bridge and the insurer did not take, by reason; None when they took everything."""
    kept = Counter(
        (record.stage, fault.reason, fault.text)
        for record in results.quarantine
        for fault in record.faults[:1]
    )
    refused = Counter(
        reason for released in results.refusals for reason in released.delivery.refusal_reasons
    )
    rows = [
        {"count": count, "stage": f"bridge, {stage}", "reason": f"{reason}: {text}"}
        for (stage, reason, text), count in kept.most_common()
    ] + [
        {"count": count, "stage": "insurer, at intake", "reason": reason}
        for reason, count in refused.most_common()
    ]
    if not rows:
        return None
    said = (
        f"{results.pulled.bills:,} bills were pulled; names and identity numbers stayed in the "
        f"hospital's inbox, the insurer saw member tokens. {len(results.quarantine)} records wait "
        "at the hospital with their bytes and a reason, and stop no other."
    )
    return {"said": said, "rows": rows}


def _outcomes(results: Results) -> list[Slice]:
    counts = {
        "paid": len(results.paid),
        "nothing owed": results.untouched - results.denied - len(results.paid),
        "denied": results.denied,
        "wait for a person": results.pended,
        "set aside at the hospital": len(results.quarantine),
        "refused at intake": results.pulled.refused,
    }
    return slices(counts, {name: f"{count:,}" for name, count in counts.items()}, _COLOURS)


def _amounts(amounts: dict[str, int], currency: str) -> list[Slice]:
    said = {name: money(amount, currency) for name, amount in amounts.items()}
    return slices(amounts, said, _COLOURS)


def _colour_of(reason: str) -> str:
    value = reason_pb2.Reason.Value(f"REASON_{reason}")
    if value == reason_pb2.REASON_BENEFIT:
        return "insurer"
    prior = (reason_pb2.REASON_SOCIAL_INSURANCE_PAID, reason_pb2.REASON_PRIOR_PAYER_PAID)
    return "prior" if value in prior else "patient"


def _times(label: str, ascending: Sequence[float]) -> dict[str, str]:
    half, most = half_and_most(ascending)
    return {"label": label, "half": half, "most": most}


def _share(share: decision_pb2.BearerShare) -> str:
    reason = reason_pb2.Reason.Name(share.reason).removeprefix("REASON_").lower().replace("_", " ")
    return f"{_SHORT[share.bearer]} {_money(share.amount)} · {reason} · {share.clause}"


def _money(amount: Any) -> str:
    return money(amount.minor_units, amount.currency_code)
