"""Each process is killed once, three at one moment: nothing lost, nothing paid twice.

`make fault` has the long story: one by one, with 200 claims in flight, and with times.
"""

from __future__ import annotations

from pathlib import Path

from tests.fault.checks import judge
from tests.fault.story import HOSPITAL_WORKER, PROCESSES, story, until

PEOPLE, YEAR = 12, (20, 40)
CLAIMS_A_KILL, BILLS_A_KILL = 6, 13
TOGETHER = (("worker:claims", "his_bridge", "bank"), ("claims", HOSPITAL_WORKER, "temporal"))


def test_each_process_is_killed_once_and_all_adds_up(tmp_path: Path) -> None:
    assert sorted(name for some in TOGETHER for name in some) == sorted(PROCESSES)
    with story(tmp_path / "state", people=PEOPLE, year=YEAR) as one:
        for some in TOGETHER:
            before = one.silence_the_bank()
            one.hand_in(CLAIMS_A_KILL)
            one.taken_and_not_told(one.bill_at_the_hospital(BILLS_A_KILL))
            one.bank_has_paid_and_said_nothing(before)
            one.kill(*some)
        one.bill_at_the_hospital(YEAR[1])  # the rest of the year
        until(one.at_rest)
        restarts = {process: one.account(process)["restarts"] for process in PROCESSES}
        verdict = judge(one)
    assert verdict.faults == ()
    assert verdict.paid_twice == 0
    assert verdict.replayed == verdict.claims
    assert all(count >= 1 for count in restarts.values()), "the control: each was killed"
