"""The supervisor is killed, and all with it, as when a machine fails: another run finishes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.checks import judge
from tests.fault.story import story, until

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]
PEOPLE, YEAR = 40, (20, 40)
CLAIMS_A_KILL, BILLS_A_KILL, KILLS = 40, 20, 2


def test_all_is_killed_at_once_and_the_next_run_finishes_what_was_begun(tmp_path: Path) -> None:
    in_flight = []
    with story(tmp_path / "state", people=PEOPLE, year=YEAR) as one:
        for _ in range(KILLS):
            before = one.silence_the_bank()
            one.hand_in(CLAIMS_A_KILL)
            one.taken_and_not_told(one.bill_at_the_hospital(BILLS_A_KILL))
            one.bank_has_paid_and_said_nothing(before)
            one.hand_in(CLAIMS_A_KILL)
            one.go_on_handing_in(CLAIMS_A_KILL)
            in_flight.append(one.books.in_flight())
            one.kill_all()
        one.bill_at_the_hospital(YEAR[1])  # the rest of the year
        until(one.at_rest, longest_s=200)
        verdict = judge(one)
    assert min(in_flight) > 0
    assert verdict.faults == ()
    assert verdict.replayed == verdict.claims
