"""The checks against the planted truth hold on a good run, and each fails on its own fault."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from demo.checks import checks
from demo.comparison import Compared, Comparison, Outcome, Verdict
from demo.hospital.bills import Planted
from demo.hospital.hospital import generate
from demo.hospital.months import Result, low_glucose
from demo.hospital.truth import End, Expectation
from demo.pricing import MemberQuote, Recorded
from demo.results import Results
from demo.summary import summary
from lipei.pricing.v1 import pricing_pb2
from lipei.type.v1.money_pb2 import Money
from tests.demo.test_results import good

HOSPITAL = generate(1, people=20, bills=40)
RESULTS = {
    Result.ON_TARGET: pricing_pb2.MONTH_RESULT_ON_TARGET,
    Result.OFF_TARGET: pricing_pb2.MONTH_RESULT_OFF_TARGET,
    Result.NOT_ENOUGH: pricing_pb2.MONTH_RESULT_NOT_ENOUGH,
}
NEW = {
    "seed",
    "clean_bills",
    "clean_untouched",
    "clean_untouched_share",
    "false_approvals",
    "false_denials",
    "false_pends",
    "amount_mismatches",
    "expected_minor_units",
    "by_planted",
    "seen_to_decision_ms_p50",
    "seen_to_payout_ms_p99",
    "members_quoted",
    "incentive_mismatches",
}


def compared(verdict: Verdict = Verdict.AS_EXPECTED, paid: int = 7000) -> Compared:
    """A clean bill that must be paid 70.00."""
    expected = Expectation(bill_number="1", planted=Planted.CLEAN, end=End.PAID, benefit_fen=7000)
    found = Outcome(end=End.PAID, benefit_fen=paid, paid_fen=paid)
    return Compared(expected=expected, found=found, verdict=verdict)


def yuan(fen: int) -> Money:
    return Money(currency_code="CNY", minor_units=fen)


def quote(premium: int, without: int) -> pricing_pb2.Quote:
    return pricing_pb2.Quote(
        premium=yuan(premium),
        premium_without_credit=yuan(without),
        steps=[pricing_pb2.PremiumStep(difference_e4=premium * 10_000)],
    )


def quotes() -> list[MemberQuote]:
    """For every participant what the truth says, on a premium of 1,005.05 without credit."""
    found = []
    for one in HOSPITAL.participants:
        # 1,005.05 x 0.90 = 904.545 is 904.55: the last step rounds half up.
        owed = {"0.10": 90455, "0.06": 94475, "0.03": 97490, "0": 100505}[str(one.share)]
        after = quote(owed, 100505)
        earned = int(one.share * 1_000_000)
        after.incentive.run_months = one.run
        after.incentive.contractual_share_millionths = earned
        after.incentive.credit_millionths = earned
        for (year, month), result in one.months:
            after.incentive.months.add(
                month=f"{year}-{month:02d}",
                result=RESULTS[result],
            )
        found.append(
            MemberQuote(
                participant=one, member="members/t", before=quote(100505, 100505), after=after
            )
        )
    return found


def run(bills: list[Compared] | None = None, **changes: Any) -> Results:
    recorded = Recorded(
        home=len(HOSPITAL.record.home),
        pulled=len(HOSPITAL.record.hospital),
        coach_tasks=low_glucose(HOSPITAL.record.all),
    )
    base = good()
    scenario = replace(base.scenario, generated=HOSPITAL)
    given: dict[str, Any] = {
        "scenario": scenario,
        "comparison": Comparison(bills=bills or [compared()]),
        "recorded": recorded,
        "quotes": quotes(),
    }
    return replace(base, **(given | changes))


def failed(results: Results) -> set[str]:
    return {check.name for check in checks(results) if not check.holds}


def test_a_good_run_holds_and_says_so() -> None:
    assert failed(run()) == set()
    assert {one.share for one in HOSPITAL.participants} >= {Decimal(0), Decimal("0.10")}
    found = summary(run())
    assert found.keys() >= NEW
    assert (found["clean_untouched_share"], found["incentive_mismatches"]) == (1.0, 0)
    assert found["by_planted"]["clean"]["paid_minor_units"] == 7000


def held() -> Compared:
    found = Outcome(end=End.PENDED, reasons=frozenset({"REVIEW_NEEDED"}))
    return replace(compared(Verdict.FALSE_PEND), found=found)


@pytest.mark.parametrize(
    ("results", "check"),
    [
        (run([held()]), "clean bills decided untouched"),
        (run([compared(paid=6999)]), "clean bills with another amount than the truth"),
        (run([compared(Verdict.FALSE_APPROVAL)]), "false approvals"),
        (run([compared(Verdict.FALSE_DENIAL)]), "false denials"),
        (run([compared(Verdict.FALSE_PEND)]), "false pends"),
        (run([compared(Verdict.MISSED)]), "bills that ended otherwise than planted"),
        (run([compared(paid=7001)]), "minor units paid, against the truth"),
        (run(recorded=Recorded(home=1, pulled=0, coach_tasks=0)), "home readings recorded"),
        (
            run(recorded=Recorded(home=1, pulled=0, coach_tasks=0)),
            "hospital readings that reached pricing",
        ),
        (
            run(recorded=Recorded(home=1, pulled=0, coach_tasks=9**9)),
            "coach's tasks for low glucose",
        ),
        (run(quotes=quotes()[1:]), "programme members quoted"),
    ],
)
def test_each_check_fails_on_its_fault(results: Results, check: str) -> None:
    assert check in failed(results)


def month_turns(one: MemberQuote) -> None:
    one.after.incentive.months[3].result = pricing_pb2.MONTH_RESULT_UNSPECIFIED


def run_grows(one: MemberQuote) -> None:
    one.after.incentive.run_months += 1


def share_grows(one: MemberQuote) -> None:
    one.after.incentive.contractual_share_millionths += 1


def credit_grows(one: MemberQuote) -> None:
    one.after.incentive.credit_millionths += 1


def a_fen_too_much(one: MemberQuote) -> None:
    one.after.premium.minor_units += 1
    one.after.steps[0].difference_e4 += 10_000


def steps_do_not_add_up(one: MemberQuote) -> None:
    one.before.steps[0].difference_e4 += 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (month_turns, "months"),
        (run_grows, "run"),
        (share_grows, "share"),
        (credit_grows, "credit"),
        (a_fen_too_much, "premium"),
        (steps_do_not_add_up, "steps"),
    ],
)
def test_a_premium_that_differs_from_the_truth_is_named(
    change: Callable[[MemberQuote], None], fault: str
) -> None:
    found = quotes()
    change(found[0])
    assert found[0].faults() == [fault]
    assert "incentives that differ from the truth" in failed(run(quotes=found))
