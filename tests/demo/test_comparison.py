"""The comparison with the truth: each way to miss it has a verdict, and a fen is enough."""

from dataclasses import replace

import pytest

from demo.comparison import Comparison, Verdict, compare
from demo.hospital.bills import Planted
from demo.hospital.truth import End, Expectation
from lipei.claims.v1 import claims_pb2, decision_pb2, reason_pb2
from lipei.his_bridge.v1 import his_bridge_pb2
from lipei.type.v1.money_pb2 import Money

NUMBER = "99000125-0000000001"
PAID = Expectation(bill_number=NUMBER, planted=Planted.CLEAN, end=End.PAID, benefit_fen=7000)
DENIED = Expectation(
    bill_number=NUMBER,
    planted=Planted.WAITING,
    end=End.DENIED,
    reason="WAITING_PERIOD",
    refused_lines={1: "WAITING_PERIOD"},
)
PENDED = Expectation(
    bill_number=NUMBER,
    planted=Planted.LARGE,
    end=End.PENDED,
    reason="REVIEW_NEEDED",
    benefit_fen=7000,
)
ASIDE = Expectation(
    bill_number=NUMBER, planted=Planted.UNBALANCED, end=End.QUARANTINED, reason="NO_SUM"
)
HELD = Expectation(
    bill_number=NUMBER, planted=Planted.NO_CONSENT, end=End.HELD, reason="NO_CONSENT"
)
GONE = Expectation(
    bill_number=NUMBER,
    planted=Planted.WITHDRAWN,
    end=End.WITHDRAWN,
    reason="CONSENT_WITHDRAWN",
    refused_lines={1: "FACT_MISSING"},
)
REFUSED = Expectation(
    bill_number=NUMBER,
    planted=Planted.UNKNOWN_MEMBER,
    end=End.REFUSED,
    reason="UNKNOWN_MEMBER",
)


def claim(state: str, benefit: int = 0, reason: str = "BENEFIT") -> claims_pb2.Claim:
    """A claim of one line with one share, paid in full when its state says so."""
    share = decision_pb2.BearerShare(reason=reason_pb2.Reason.Value(f"REASON_{reason}"))
    found = claims_pb2.Claim(
        name="policies/p/claims/1",
        bill_number=NUMBER,
        state=claims_pb2.ClaimState.Value(f"CLAIM_STATE_{state}"),
        decision=decision_pb2.Decision(
            benefit=Money(currency_code="CNY", minor_units=benefit),
            lines=[decision_pb2.DecisionLine(number=1, shares=[share])],
        ),
    )
    if state == "PAID":
        found.paid.minor_units = benefit
    return found


def compared(expected: Expectation, *claims: claims_pb2.Claim) -> Comparison:
    return compare([expected], claims, [], [])


@pytest.mark.parametrize(
    ("expected", "found", "verdict"),
    [
        (PAID, claim("PAID", 7000), Verdict.AS_EXPECTED),
        (PAID, claim("PAID", 7001), Verdict.FALSE_APPROVAL),
        (PAID, claim("PAID", 6999), Verdict.FALSE_DENIAL),
        (PAID, claim("DENIED", reason="WAITING_PERIOD"), Verdict.FALSE_DENIAL),
        (PAID, claim("PENDED_REVIEW", 7000), Verdict.FALSE_PEND),
        (PAID, claim("PAYABLE", 7000), Verdict.FALSE_DENIAL),
        (DENIED, claim("DENIED", reason="WAITING_PERIOD"), Verdict.AS_EXPECTED),
        (DENIED, claim("DENIED", reason="PRE_EXISTING"), Verdict.MISSED),
        (DENIED, claim("CLOSED_ZERO", reason="DEDUCTIBLE"), Verdict.MISSED),
        (DENIED, claim("PAID", 1), Verdict.FALSE_APPROVAL),
        (DENIED, claim("PENDED_INFO", reason="FACT_MISSING"), Verdict.FALSE_PEND),
        (PENDED, claim("PENDED_REVIEW", 7000), Verdict.AS_EXPECTED),
        (PENDED, claim("PENDED_INFO", reason="FACT_MISSING"), Verdict.MISSED),
        (PENDED, claim("PENDED_REVIEW", 7001), Verdict.MISSED),
        (PENDED, claim("PAID", 7000), Verdict.FALSE_APPROVAL),
        (GONE, claim("WITHDRAWN", reason="FACT_MISSING"), Verdict.AS_EXPECTED),
        (GONE, claim("PENDED_INFO", reason="FACT_MISSING"), Verdict.FALSE_PEND),
        (GONE, claim("PAID", 1), Verdict.FALSE_APPROVAL),
        (PAID, claim("WITHDRAWN", 7000), Verdict.FALSE_DENIAL),
        (HELD, claim("CLOSED_ZERO"), Verdict.MISSED),
        (ASIDE, claim("CLOSED_ZERO"), Verdict.MISSED),
        (REFUSED, claim("PAID", 5), Verdict.FALSE_APPROVAL),
    ],
)
def test_a_claim_beside_the_truth(
    expected: Expectation, found: claims_pb2.Claim, verdict: Verdict
) -> None:
    assert [one.verdict for one in compared(expected, found).bills] == [verdict]


def test_a_bill_without_a_trace_is_missed_or_falsely_denied() -> None:
    assert compared(DENIED).bills[0].verdict is Verdict.MISSED
    assert compared(PAID).bills[0].verdict is Verdict.FALSE_DENIAL


def test_a_bill_that_is_paid_twice_is_a_false_approval() -> None:
    twice = compared(PAID, claim("PAID", 7000), claim("PAID", 7000))
    assert twice.total.false_approvals == 1
    assert twice.total.paid_fen == 14000


def test_a_second_claim_of_one_bill_is_seen_although_it_pays_nothing() -> None:
    assert compared(PAID, claim("PAID", 7000), claim("CLOSED_ZERO")).total.missed == 1


def test_records_and_refusals_are_held_to_their_reasons() -> None:
    record = his_bridge_pb2.QuarantinedRecord(
        source_record="Claim/b000001", faults=[his_bridge_pb2.RecordFault(reason="NO_SUM")]
    )
    assert compare([ASIDE], [], [record], []).total.as_expected == 1
    record.faults[0].reason = "NO_LINES"
    assert compare([ASIDE], [], [record], []).total.missed == 1
    held = his_bridge_pb2.HeldRecord(
        source_record="Claim/b000001", reason=his_bridge_pb2.HOLD_REASON_NO_CONSENT
    )
    assert compare([HELD], [], [], [], [held]).total.as_expected == 1
    held.reason = his_bridge_pb2.HOLD_REASON_WITHDRAWN
    assert compare([HELD], [], [], [], [held]).total.missed == 1
    released = his_bridge_pb2.ReleasedBill(
        delivery=his_bridge_pb2.Delivery(refusal_reasons=["UNKNOWN_MEMBER"])
    )
    released.bill.bill_number = NUMBER
    assert compare([REFUSED], [], [], [released]).total.as_expected == 1
    other = replace(REFUSED, reason="UNKNOWN_CODE")
    assert compare([other], [], [], [released]).total.missed == 1


def test_tallies_are_by_kind_and_clean_bills_count_as_untouched_unless_they_wait() -> None:
    found = compare(
        [PAID, replace(PENDED, planted=Planted.CLEAN), replace(DENIED, bill_number="x-2")],
        [claim("PAID", 7000)],
        [],
        [],
    )
    assert found.clean_untouched == 2
    assert found.by_planted()[Planted.WAITING].missed == 1
    assert found.by_planted()[Planted.CLEAN].bills == 2
    assert (found.total.expected_fen, found.total.paid_fen) == (7000, 14000)
    pended = compare([PAID], [claim("PENDED_INFO")], [], [])
    assert pended.clean_untouched == 0
