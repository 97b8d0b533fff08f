"""Twelve kills under 200 claims in flight, then kills in quiet: nothing lost, nothing paid twice.

Also how long each is felt: `build/fault/summary.json`, and a table on the screen.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.claims.payout_steps import RESEND_AFTER_S
from tests.fault.checks import Verdict, judge
from tests.fault.recovery import BOUND_S, Recovery, print_table, write_summary
from tests.fault.story import (
    HOSPITAL_WORKER,
    PROCESSES,
    TOWARDS_THE_HOSPITAL,
    Killed,
    Story,
    now_us,
    story,
    until,
)

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1200)]
# Every kill towards the hospital takes new bills of its year, and some must be left at the end.
PEOPLE, YEAR = 200, (80, 340)
LOADED_ROUNDS, QUIET_ROUNDS = 2, 3
IN_FLIGHT = 200
# Handed in beyond that, because claims go on settling until the signal.
AIM = 260
AT_A_TIME = 40
BURST, BILLS_OF_A_PULL = 16, 11
NOTHING = "(nothing)"  # how long the same takes without a kill
DECIDED = "a claim is decided"
CONFIRMED = "a payout is confirmed"
TOLD = "the bridge hears of claims"
ALL_DECIDED = f"all {BURST} claims in hand decided"
ALL_PAID = f"all {BURST} claims in hand paid"
ALL_TOLD = "all bills of the pull answered for"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Verdict, list[Recovery]]:
    """The whole story: kills under load, kills in quiet, rest, verdict."""
    rows: list[Recovery] = []
    with story(tmp_path_factory.mktemp("kills") / "state", people=PEOPLE, year=YEAR) as one:
        under_load = [
            killed_under_load(one, process) for _ in range(LOADED_ROUNDS) for process in PROCESSES
        ]
        until(one.at_rest, longest_s=400)
        rows += [_under_load(one, killed) for killed in under_load]
        for _ in range(QUIET_ROUNDS):
            for process in (NOTHING, *PROCESSES):
                rows += killed_in_quiet(one, process)
        one.bill_at_the_hospital(YEAR[1])  # the rest of the year
        until(one.at_rest)
        verdict = judge(one)
        repeats = one.intake.repeats
    outcome = {
        "claims": verdict.claims,
        "decisions_replayed": verdict.replayed,
        "payments_at_the_bank": verdict.payments,
        "paid_twice": verdict.paid_twice,
        "submissions_repeated": repeats,
        "faults": verdict.faults,
    }
    write_summary(rows, outcome)
    return verdict, rows


def test_nothing_is_lost_or_paid_twice(told: tuple[Verdict, list[Recovery]]) -> None:
    verdict, _ = told
    assert verdict.faults == ()
    assert verdict.paid_twice == 0
    assert verdict.claims > LOADED_ROUNDS * IN_FLIGHT


def test_each_process_was_killed_twice_with_200_claims_in_flight(
    told: tuple[Verdict, list[Recovery]],
) -> None:
    loaded = [row for row in told[1] if row.load == "loaded"]
    assert sorted(row.process for row in loaded) == sorted(PROCESSES * LOADED_ROUNDS)
    assert min(row.in_flight for row in loaded) >= IN_FLIGHT


def test_a_killed_process_is_at_work_again_within_ten_seconds(
    told: tuple[Verdict, list[Recovery]], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print_table(told[1])
    late = [f"{r.process} ({r.load}): {r.work_s:.1f} s" for r in told[1] if not r.within_bound]
    assert late == [], f"not at work again within {BOUND_S:.0f} s"
    idle = [f"{r.process} ({r.load})" for r in told[1] if r.in_flight == 0]
    assert idle == [], "killed with nothing in hand: such a row measures nothing"


def killed_under_load(one: Story, process: str) -> tuple[Killed, int]:
    """One kill at its most dangerous moment; and when the first work after it was done.

    The bank has paid and says nothing: what is decided meanwhile stays in flight.
    """
    before = one.silence_the_bank()
    load_up(one)
    one.bank_has_paid_and_said_nothing(before)
    load_up(one)
    if process in TOWARDS_THE_HOSPITAL:
        one.taken_and_not_told(one.bill_at_the_hospital(BILLS_OF_A_PULL))
        (killed,) = one.kill(process)
        # The pull may have been faster than the kill: some bill must be told of afterwards.
        one.bill_at_the_hospital(AT_A_TIME)
        until(one.all_delivered)
        return killed, one.books.first_delivery(killed.started_us)
    one.go_on_handing_in(AT_A_TIME)
    (killed,) = one.kill(process)
    first = one.books.first_confirmation if process == "bank" else one.books.first_decision
    until(lambda: first(killed.started_us) > 0)
    return killed, first(killed.started_us)


def load_up(one: Story) -> None:
    """Hand bills in until enough claims are between received and their end."""
    while one.books.in_flight() < AIM:
        one.hand_in(AT_A_TIME)


def _under_load(one: Story, seen: tuple[Killed, int]) -> Recovery:
    killed, work_us = seen
    work = {HOSPITAL_WORKER: TOLD, "his_bridge": TOLD, "bank": CONFIRMED}
    return Recovery(
        process=killed.process,
        load="loaded",
        in_flight=one.books.in_flight_at(killed.at_us),
        ready_s=(killed.ready_us - killed.at_us) / 1e6,
        work=work.get(killed.process, DECIDED),
        work_s=(work_us - killed.at_us) / 1e6,
    )


def killed_in_quiet(one: Story, process: str) -> Iterator[Recovery]:
    """One kill with a few claims in hand; when the last of them was through."""
    if process in TOWARDS_THE_HOSPITAL:
        in_flight = 0
        while not in_flight:  # a pull may be faster than we look: then the next bills
            one.taken_and_not_told(one.bill_at_the_hospital(BILLS_OF_A_PULL))
            in_flight = one.books.undelivered()
        (killed,) = one.kill(process)
        until(one.all_delivered)
        yield _in_quiet(killed, in_flight, ALL_TOLD, one.books.last_delivery())
        return
    numbers = one.hand_in(BURST)
    in_flight = one.books.in_flight()
    (killed,) = [_no_kill()] if process == NOTHING else one.kill(process)
    until(lambda: one.books.last_confirmation(numbers) > 0)
    yield _in_quiet(killed, in_flight, ALL_DECIDED, one.books.last_decision(numbers))
    paid_us = one.books.last_confirmation(numbers)
    in_doubt = one.books.sent_again_after_doubt(killed.at_us)
    yield _in_quiet(killed, in_flight, ALL_PAID, paid_us, RESEND_AFTER_S if in_doubt else 0)


def _no_kill() -> Killed:
    at_us = now_us()
    return Killed(process=NOTHING, at_us=at_us, started_us=at_us, ready_us=at_us)


def _in_quiet(
    killed: Killed, in_flight: int, work: str, work_us: int, by_rule_s: float = 0
) -> Recovery:
    return Recovery(
        process=killed.process,
        load="quiet",
        in_flight=in_flight,
        ready_s=(killed.ready_us - killed.at_us) / 1e6,
        work=work,
        # The last of it may have been done just before the kill.
        work_s=max(0, work_us - killed.at_us) / 1e6,
        by_rule_s=by_rule_s,
    )
