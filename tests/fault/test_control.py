"""The control: the same kill, bank and checks, and a payer without the rule. It pays twice.

Ours asks before it sends again; the careless one (`tests/fault/careless.py`) sends again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fault.checks import Verdict, judge
from tests.fault.recovery import write_control
from tests.fault.story import CARELESS, OURS, Story, story, until

PEOPLE, CLAIMS = 12, 12
EACH_MAY_CUT_A_PAYMENT_OFF = ("worker:claims", "claims", "temporal", "bank")


def dies_in_front_of_a_silent_bank(one: Story, processes: Sequence[str]) -> Verdict:
    """Each process is killed while the bank, having paid, says nothing, and all comes to rest."""
    for process in processes:
        before = one.silence_the_bank()
        one.hand_in(CLAIMS)
        one.bank_has_paid_and_said_nothing(before)
        one.kill(process)
        until(one.at_rest)
    return judge(one)


def says_paid_twice_and_nothing_else(verdict: Verdict) -> None:
    twice = [fault for fault in verdict.faults if fault.startswith("paid twice")]
    assert verdict.paid_twice == len(twice) > 0
    assert any(fault.startswith("the bank's book is not ours") for fault in verdict.faults)
    assert len(verdict.faults) == len(twice) + 1, "all else that the checks look at holds"


def test_a_payer_without_the_rule_pays_twice(tmp_path: Path) -> None:
    with story(tmp_path / "state", people=PEOPLE, payer=CARELESS) as one:
        verdict = dies_in_front_of_a_silent_bank(one, ["claims"])
    says_paid_twice_and_nothing_else(verdict)


@pytest.mark.fault
@pytest.mark.timeout(600)
def test_whichever_process_dies_only_the_payer_without_the_rule_pays_twice(tmp_path: Path) -> None:
    verdicts = {}
    for payer in (OURS, CARELESS):
        with story(tmp_path / payer, people=PEOPLE, payer=payer) as one:
            verdicts[payer] = dies_in_front_of_a_silent_bank(one, EACH_MAY_CUT_A_PAYMENT_OFF)
    write_control(verdicts)
    owed = CLAIMS * len(EACH_MAY_CUT_A_PAYMENT_OFF)
    assert (verdicts[OURS].faults, verdicts[OURS].payments) == ((), owed)
    says_paid_twice_and_nothing_else(verdicts[CARELESS])
    assert verdicts[CARELESS].payments >= owed + verdicts[CARELESS].paid_twice
