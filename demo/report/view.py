"""What the page says of a run: every number that it shows, as text and in percent of its frame.

Reads a run's results; decides nothing and asks nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from demo.checks import checks
from demo.figures import WAITING, by_bearer, half_and_most, money, who_bears
from demo.report.parts import Slice, histogram, ranked, slices
from demo.results import Results
from lipei.claims.v1 import claims_pb2, decision_pb2, reason_pb2
from lipei.type.v1 import money_pb2

_COLOURS = {
    "insurer": "insurer",
    "patient": "patient",
    "provider": "provider",
    "social insurance or others": "prior",
    "paid": "insurer",
    "nothing owed": "prior",
    "denied": "patient",
    "wait for a person": "provider",
    WAITING: "provider",
    "set aside at the hospital": "aside",
    "refused at intake": "refused",
    "held for want of a consent": "aside",
    "ended with a withdrawn consent": "refused",
}
_REFUSED = {"UNKNOWN_MEMBER": "UNKNOWN_MEMBER: no policy insures the patient"}
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


def head_view(results: Results) -> dict[str, Any]:
    """Title, and the few numbers that a reader wants first."""
    scenario, comparison = results.scenario, results.comparison
    paid = money(sum(claim.paid.minor_units for claim in results.paid), scenario.currency)
    failed = sum(not check.holds for check in checks(results))
    tiles = [
        Tile(value=f"{results.pulled.bills:,}", label="bills pulled from the hospital"),
        Tile(value=paid, label=f"paid in {len(results.paid):,} payouts that the bank confirmed"),
        Tile(value=half_and_most(results.decision_ms)[0], label="half of the decisions within"),
        Tile(
            value="all hold" if not failed else f"{failed} failed",
            label=f"of {len(checks(results))} checks",
            mood="bad" if failed else "good",
        ),
    ]
    if comparison is not None:
        tiles[1:1] = [
            Tile(
                value=f"{comparison.clean_untouched / len(comparison.clean):.1%}",
                label=f"of {len(comparison.clean):,} clean bills decided untouched",
            ),
            _zero(comparison.total.false_approvals, "false approvals"),
            _zero(comparison.total.amount_mismatches, "bills paid otherwise than the truth says"),
        ]
    if results.quotes:
        credited = sum(one.after.incentive.credit_millionths > 0 for one in results.quotes)
        text = f"of {len(results.quotes):,} programme members owe less for next year"
        tiles.append(Tile(value=f"{credited:,}", label=text))
    return {
        "title": "A hospital's bills become money",
        "subtitle": f"{scenario.title}. Everything in it is made up.",
        "tiles": tiles,
        "foot": f"lipei {version('lipei')} · all in {results.elapsed_s:.0f} s on this machine",
    }


def planted_view(results: Results) -> dict[str, Any]:
    """Kind of bill → how many ended as the truth says; empty where nobody knows the truth."""
    if results.comparison is None:
        return {"planted": []}
    currency = results.scenario.currency
    return {
        "planted": [
            {
                "kind": kind.value,
                "bills": tally.bills,
                "as_expected": tally.as_expected,
                "false_approvals": tally.false_approvals,
                "false_denials": tally.false_denials,
                "false_pends": tally.false_pends,
                "missed": tally.missed,
                "expected": money(tally.expected_fen, currency),
                "found": money(tally.paid_fen, currency),
            }
            for kind, tally in results.comparison.by_planted().items()
        ]
    }


def claims_view(results: Results) -> dict[str, Any]:
    """What became of the bills, who bears what and why, and how long it took."""
    currency = results.scenario.currency
    bears = who_bears(results)
    return {
        "outcomes": _outcomes(results),
        "billed": f"{money(sum(bears.values()), currency)} billed on "
        f"{len(results.decided):,} claims",
        "bearers": _amounts(bears, currency),
        "reasons": ranked(
            [
                (name.lower().replace("_", " "), amount, money(amount, currency), _colour_of(name))
                for name, (_, amount) in results.reasons().items()
            ]
        ),
        "histogram": histogram(results.decision_ms),
        "times": [_times(label, found) for label, found in results.times().items()],
        "checks": checks(results),
    }


def claim_view(explained: claims_pb2.ExplainClaimResponse, currency: str) -> dict[str, Any]:
    """One claim: its lines with every share and clause, and its words in both languages."""
    claim = explained.claim
    decision = claim.decision
    names = {line.number: line.service_name for line in explained.explanation.lines}
    return {
        "name": claim.name,
        "head": f"bill {claim.bill_number}, billed {_money(decision.billed)}, "
        f"the insurer pays {_money(decision.benefit)}",
        "bearers": _amounts(by_bearer([claim]), currency),
        "lines": [
            {
                "number": line.number,
                "service": names.get(line.number, line.code.code),
                "code": line.code.code,
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
        {"count": count, "stage": "insurer, at intake", "reason": _REFUSED.get(reason, reason)}
        for reason, count in refused.most_common()
    ]
    if results.held:
        text = "NO_CONSENT: the patient consented to nothing; a consent lets it out"
        rows.append({"count": len(results.held), "stage": "bridge, held", "reason": text})
    if not rows:
        return None
    said = (
        f"{results.pulled.bills:,} bills were pulled; names and identity numbers stayed in the "
        f"hospital's inbox, the insurer saw member tokens. {len(results.quarantine)} records wait "
        "at the hospital with their bytes and a reason, and stop no other."
    )
    return {"said": said, "rows": rows}


def _zero(count: int, label: str) -> Tile:
    return Tile(value=f"{count:,}", label=label, mood="bad" if count else "good")


def _outcomes(results: Results) -> list[Slice]:
    counts = {
        "paid": len(results.paid),
        "nothing owed": results.untouched - results.denied - len(results.paid),
        "denied": results.denied,
        "wait for a person": results.pended,
        "set aside at the hospital": len(results.quarantine),
        "refused at intake": results.pulled.refused,
        "held for want of a consent": len(results.held),
        "ended with a withdrawn consent": results.withdrawn,
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


def _money(amount: money_pb2.Money) -> str:
    return money(amount.minor_units, amount.currency_code)
