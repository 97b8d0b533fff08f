"""What a run gave: the answers of the services and the bank, and what can be counted from them.

Asks no service and judges nothing: checks.py does.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from demo.bank import BookEntry
from demo.bridge import Pulled
from demo.comparison import Comparison
from demo.insurer import PENDED, UNDECIDED, WITHDRAWN
from demo.pricing import MemberQuote, Recorded
from demo.scenario import Scenario
from lipei.claims.v1 import claims_pb2, decision_pb2, reason_pb2
from lipei.his_bridge.v1 import his_bridge_pb2
from services.common.evidence.compared import Compared


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that the services and the bank answered at the end."""

    scenario: Scenario
    pulled: Pulled
    claims: Sequence[claims_pb2.Claim]
    books: claims_pb2.CheckBooksResponse
    quarantine: Sequence[his_bridge_pb2.QuarantinedRecord]
    refusals: Sequence[his_bridge_pb2.ReleasedBill]
    # Records that stay at the hospital for want of a consent.
    held: Sequence[his_bridge_pb2.HeldRecord] = ()
    bank_book: Mapping[str, BookEntry]
    elapsed_s: float
    # When the bridge first saw each bill at the hospital, by bill number.
    seen: Mapping[str, Timestamp] = field(default_factory=dict)
    # Against the planted truth; None where nobody knows the truth.
    comparison: Comparison | None = None
    # What pricing did with home readings, and every programme member's two premiums.
    recorded: Recorded | None = None
    quotes: Sequence[MemberQuote] = ()
    # Sensitive reads, at the databases and in the logs; None of a run that counted none.
    reads: Compared | None = None

    @property
    def decided(self) -> list[claims_pb2.Claim]:
        """Claims with a decision."""
        return [claim for claim in self.claims if claim.HasField("decision")]

    @property
    def settled(self) -> list[claims_pb2.Claim]:
        """Claims with a decision that stands.

        One that waits for a person has only a proposal, and so has one that was withdrawn.
        """
        return [claim for claim in self.decided if claim.state not in PENDED | {WITHDRAWN}]

    @property
    def paid(self) -> list[claims_pb2.Claim]:
        """Claims whose payout the bank confirmed."""
        return [claim for claim in self.claims if claim.state == claims_pb2.CLAIM_STATE_PAID]

    @property
    def owed(self) -> list[claims_pb2.Claim]:
        """Claims that were approved with something to pay."""
        unpaid = PENDED | UNDECIDED | {claims_pb2.CLAIM_STATE_DENIED, WITHDRAWN}
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
    def withdrawn(self) -> int:
        """Claims that ended because the patient withdrew the consent."""
        return sum(claim.state == WITHDRAWN for claim in self.claims)

    @property
    def denied(self) -> int:
        """Claims refused in full."""
        return sum(claim.state == claims_pb2.CLAIM_STATE_DENIED for claim in self.claims)

    @property
    def untouched(self) -> int:
        """Claims decided on their merits without a person: paid, cut, at zero or denied."""
        return len(self.settled)

    @property
    def waiting_minor_units(self) -> int:
        """What was billed on claims that wait for a person."""
        waiting = (claim for claim in self.decided if claim.state in PENDED)
        return sum(claim.decision.billed.minor_units for claim in waiting)

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

    def times(self) -> dict[str, list[float]]:
        """What took how long → milliseconds, ascending; without what nothing was measured of."""
        found = {
            "intake to decision": self.decision_ms,
            "decision to confirmed payout": self.payout_ms,
            "bill seen to decision, queueing behind the others": (self.seen_to_decision_ms),
            "bill seen to confirmed payout, queueing included": self.seen_to_payout_ms,
        }
        return {label: ascending for label, ascending in found.items() if ascending}

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
        """Reason → lines and minor units of the decisions that stand, the costliest first."""
        lines: Counter[reason_pb2.Reason.ValueType] = Counter()
        amounts: Counter[reason_pb2.Reason.ValueType] = Counter()
        for share in shares_of(self.settled):
            lines[share.reason] += 1
            amounts[share.reason] += share.amount.minor_units
        return {
            reason_pb2.Reason.Name(reason).removeprefix("REASON_"): (lines[reason], amount)
            for reason, amount in amounts.most_common()
        }

    def set_aside(self) -> Counter[str]:
        """Quarantine reason → records."""
        return Counter(fault.reason for record in self.quarantine for fault in record.faults[:1])


def percentile(ascending: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile; None of nothing.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    if not ascending:
        return None
    rank = -(-len(ascending) * int(share * 100) // 100)
    return round(ascending[max(0, rank - 1)], 1)


def shares_of(claims: Sequence[claims_pb2.Claim]) -> Iterator[decision_pb2.BearerShare]:
    """Every share of every line."""
    for claim in claims:
        for line in claim.decision.lines:
            yield from line.shares


def _ms(begin: Timestamp, end: Timestamp) -> float:
    return (end.ToNanoseconds() - begin.ToNanoseconds()) / 1e6
