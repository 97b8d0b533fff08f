"""What became of every bill beside what must have: no fen and no reason may differ.

Reads answers from the wire and the truth of the generated hospital; decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from demo.fhir import claim_id
from demo.hospital.bills import Planted
from demo.hospital.truth import End, Expectation
from demo.insurer import PENDED, WITHDRAWN
from lipei.claims.v1 import claims_pb2, reason_pb2
from lipei.his_bridge.v1 import his_bridge_pb2

# Reasons that refuse or hold a line; all others only share out what is allowed.
_REFUSING = frozenset(
    {
        "IMPOSSIBLE_DATES",
        "NOT_COVERED_ON_DATE",
        "DEPENDANT_NOT_ELIGIBLE",
        "DUPLICATE",
        "LATE_FILING",
        "OTHER_LIABILITY",
        "BENEFIT_EXCLUDED",
        "DIAGNOSIS_EXCLUDED",
        "PRE_EXISTING",
        "WAITING_PERIOD",
        "AUTHORISATION",
        "PROVIDER_NOT_LISTED",
        "NOT_IN_PRICE_LIST",
        "CLINICAL_MISMATCH",
        "DUPLICATE_EXAMINATION",
        "BUNDLED",
        "UNITS_EXCEEDED",
        "FREQUENCY",
        "FACT_MISSING",
    }
)
_ENDS = {
    claims_pb2.CLAIM_STATE_DENIED: End.DENIED,
    claims_pb2.CLAIM_STATE_CLOSED_ZERO: End.CLOSED_ZERO,
    claims_pb2.CLAIM_STATE_PAID: End.PAID,
    **dict.fromkeys(PENDED, End.PENDED),
    WITHDRAWN: End.WITHDRAWN,
}


class Verdict(StrEnum):
    """How a bill's end stands to the truth; the first that fits."""

    AS_EXPECTED = "as expected"
    # More was paid than is owed, by a fen or by all of it.
    FALSE_APPROVAL = "false approval"
    # Waits for a person without need.
    FALSE_PEND = "false pend"
    # Less was paid than is owed, or nothing.
    FALSE_DENIAL = "false denial"
    # The money is right, but the end, a line or a reason is not; or the bill never ended.
    MISSED = "missed"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one bill, in the terms of an Expectation; `end` is None for one on its way."""

    end: End | None
    reasons: frozenset[str] = frozenset()
    benefit_fen: int = 0
    paid_fen: int = 0
    refused_lines: Mapping[int, str] = field(default_factory=dict)
    claim: str = ""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One bill: what must have become of it, what did, and how the two stand."""

    expected: Expectation
    found: Outcome
    verdict: Verdict

    def __str__(self) -> str:
        """The difference in a sentence, for whoever must find the cause; amounts in fen."""
        must, found = self.expected, self.found
        lines = {
            number: f"{must.refused_lines.get(number, 'allowed')} is {reason}"
            for number, reason in (
                dict.fromkeys(must.refused_lines, "allowed") | dict(found.refused_lines)
            ).items()
            if must.refused_lines.get(number, "allowed") != reason
        }
        said = [
            f"bill {must.bill_number} ({must.planted.value}): {self.verdict.value}",
            f"must be {must.end.value} with {must.benefit_fen} {must.reason}".rstrip(),
            f"is {found.end.value if found.end else 'on its way'} with {found.benefit_fen} "
            f"{' '.join(sorted(found.reasons))}".rstrip(),
            *(f"line {number}: {text}" for number, text in sorted(lines.items())),
        ]
        return "; ".join(said) + (f"; {found.claim}" if found.claim else "")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts over the bills of one kind; amounts in fen."""

    bills: int
    as_expected: int
    false_approvals: int
    false_denials: int
    false_pends: int
    missed: int
    # Bills of which another amount was paid, or decided, than the truth says.
    amount_mismatches: int
    expected_fen: int
    paid_fen: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every bill of the hospital, compared."""

    bills: Sequence[Compared]

    def of(self, kind: Planted) -> list[Compared]:
        """The bills of one kind."""
        return [one for one in self.bills if one.expected.planted is kind]

    def by_planted(self) -> dict[Planted, Tally]:
        """Kind → its tally, for every kind that there is."""
        return {kind: tally(self.of(kind)) for kind in Planted if self.of(kind)}

    @property
    def total(self) -> Tally:
        """The tally of all bills."""
        return tally(self.bills)

    @property
    def clean(self) -> list[Compared]:
        """Bills with which nothing is wrong or odd."""
        return self.of(Planted.CLEAN)

    @property
    def clean_untouched(self) -> int:
        """Clean bills that were decided without a person."""
        ends = (End.PAID, End.CLOSED_ZERO, End.DENIED)
        return sum(one.found.end in ends for one in self.clean)

    @property
    def unexpected(self) -> list[Compared]:
        """Bills that did not end as the truth says."""
        return [one for one in self.bills if one.verdict is not Verdict.AS_EXPECTED]


def compare(
    truth: Sequence[Expectation],
    claims: Sequence[claims_pb2.Claim],
    quarantine: Sequence[his_bridge_pb2.QuarantinedRecord],
    refusals: Sequence[his_bridge_pb2.ReleasedBill],
    held: Sequence[his_bridge_pb2.HeldRecord] = (),
) -> Comparison:
    """Hold every expectation against what the services answered.

    A bill is looked for among the claims (by bill number), then among the bills that the insurer
    refused, then among the records that the bridge set aside or holds (by the Claim's id there). A
    second claim of one bill is an outcome of its own that nobody expects.
    """
    found: dict[str, list[Outcome]] = {}
    for claim in claims:
        found.setdefault(claim.bill_number, []).append(_of_claim(claim))
    for released in refusals:
        found.setdefault(released.bill.bill_number, []).append(
            Outcome(end=End.REFUSED, reasons=frozenset(released.delivery.refusal_reasons))
        )
    aside = {
        record.source_record: Outcome(
            end=End.QUARANTINED, reasons=frozenset(fault.reason for fault in record.faults)
        )
        for record in quarantine
    } | {
        record.source_record: Outcome(
            end=End.HELD,
            reasons=frozenset(
                {his_bridge_pb2.HoldReason.Name(record.reason).removeprefix("HOLD_REASON_")}
            ),
        )
        for record in held
    }
    compared = []
    for expected in truth:
        record = aside.get(f"Claim/{claim_id(expected.bill_number)}")
        outcomes = found.get(expected.bill_number, []) + ([record] if record else [])
        outcome = _together(outcomes)
        compared.append(
            Compared(expected=expected, found=outcome, verdict=_verdict(expected, outcome))
        )
    return Comparison(bills=compared)


def tally(bills: Sequence[Compared]) -> Tally:
    """Count the verdicts of some bills."""
    verdicts = [one.verdict for one in bills]
    return Tally(
        bills=len(bills),
        as_expected=verdicts.count(Verdict.AS_EXPECTED),
        false_approvals=verdicts.count(Verdict.FALSE_APPROVAL),
        false_denials=verdicts.count(Verdict.FALSE_DENIAL),
        false_pends=verdicts.count(Verdict.FALSE_PEND),
        missed=verdicts.count(Verdict.MISSED),
        amount_mismatches=sum(_amounts_differ(one.expected, one.found) for one in bills),
        expected_fen=sum(one.expected.paid_fen for one in bills),
        paid_fen=sum(one.found.paid_fen for one in bills),
    )


def _of_claim(claim: claims_pb2.Claim) -> Outcome:
    decision = claim.decision
    lines: dict[int, str] = {}
    reasons: set[str] = set()
    for line in decision.lines:
        for share in line.shares:
            name = reason_pb2.Reason.Name(share.reason).removeprefix("REASON_")
            reasons.add(name)
            if name in _REFUSING:
                lines[line.number] = name
    if claim.state == claims_pb2.CLAIM_STATE_PENDED_REVIEW:
        reasons.add("REVIEW_NEEDED")
    if claim.state == WITHDRAWN:
        reasons.add("CONSENT_WITHDRAWN")
    return Outcome(
        end=_ENDS.get(claim.state),
        reasons=frozenset(reasons),
        benefit_fen=decision.benefit.minor_units,
        paid_fen=claim.paid.minor_units if claim.HasField("paid") else 0,
        refused_lines=lines,
        claim=claim.name,
    )


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    """One bill's outcome; of several, what they paid together under an end that nobody expects."""
    if len(outcomes) == 1:
        return outcomes[0]
    return Outcome(end=None, paid_fen=sum(one.paid_fen for one in outcomes))


def _verdict(expected: Expectation, found: Outcome) -> Verdict:
    if found.paid_fen > expected.paid_fen:
        return Verdict.FALSE_APPROVAL
    if found.end is End.PENDED and expected.end is not End.PENDED:
        return Verdict.FALSE_PEND
    if found.paid_fen < expected.paid_fen:
        return Verdict.FALSE_DENIAL
    same = (
        found.end is expected.end
        and not _amounts_differ(expected, found)
        and dict(found.refused_lines) == dict(expected.refused_lines)
        and (not expected.reason or expected.reason in found.reasons)
    )
    return Verdict.AS_EXPECTED if same else Verdict.MISSED


def _amounts_differ(expected: Expectation, found: Outcome) -> bool:
    return (found.paid_fen, found.benefit_fen) != (expected.paid_fen, expected.benefit_fen)
