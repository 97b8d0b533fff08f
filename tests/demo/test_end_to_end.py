"""The demo on the real stack, small: every planted oddity ends as it must, and nothing stays."""

import io
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from demo.checks import checks
from demo.comparison import Verdict, compare
from demo.hospital.bills import Planted
from demo.hospital.truth import End, Expectation
from demo.progress import Reporter
from demo.results import Results
from demo.run import Folders, failures, play
from demo.scenario import generated
from demo.stack import StateRefused, fresh_state
from stack.supervisor import only_one
from tests.forked import Forked, run_forked
from tests.forked_child import ForkedChild
from tests.processes import processes_of

DEMO = "demo.__main__"
# Another seed is another hospital; `make fault` plays that one too.
SEEDS = [pytest.param(11, marks=pytest.mark.fault), 20250101]
PEOPLE, BILLS = 20, 40
STOP_S = 60
WRONG = ("false_approvals", "false_denials", "false_pends", "missed", "amount_mismatches")


@pytest.fixture(scope="module", params=SEEDS)
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def folders(seed: int, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    out = tmp_path_factory.mktemp(f"demo-{seed}")
    return Folders(state=out / "state", out=out)


@pytest.fixture(scope="module")
def run(seed: int, folders: Folders) -> tuple[Results, str]:
    """A small run's results and what a person saw."""
    seen = io.StringIO()
    scenario = generated(seed, people=PEOPLE, bills=BILLS)
    results = play(scenario, folders, Reporter(seen), keep=False, up=ForkedChild)
    return results, seen.getvalue()


def test_every_check_holds_and_nothing_stays(run: tuple[Results, str], folders: Folders) -> None:
    assert failures(run[0]) == []
    assert processes_of(folders.state) == []


def test_every_bill_ends_as_the_truth_says_to_the_fen(run: tuple[Results, str]) -> None:
    comparison = run[0].comparison
    assert comparison is not None
    assert [one for one in comparison.bills if one.verdict is not Verdict.AS_EXPECTED] == []
    assert comparison.by_planted().keys() == set(Planted)
    assert {one.found.end for one in comparison.bills} == set(End)
    assert comparison.total.paid_fen == comparison.total.expected_fen > 0


def compared_with(run: Results, truth: list[Expectation]) -> Results:
    """The same run held against another truth."""
    return replace(
        run, comparison=compare(truth, run.claims, run.quarantine, run.refusals, run.held)
    )


def test_a_truth_that_is_off_by_a_fen_fails_the_run(run: tuple[Results, str]) -> None:
    hospital = run[0].scenario.generated
    assert hospital is not None
    paid = next(one for one in hospital.truth if one.end is End.PAID)
    for fen, check in ((-1, "false approvals"), (1, "false denials")):
        altered = [
            replace(one, benefit_fen=one.benefit_fen + fen) if one is paid else one
            for one in hospital.truth
        ]
        failed = {one.name for one in checks(compared_with(run[0], altered)) if not one.holds}
        assert {check, "minor units paid, against the truth"} <= failed
        (where,) = (one for one in failures(compared_with(run[0], altered)) if "must be" in one)
        assert where.startswith(f"bill {paid.bill_number} (clean): {check[:-1]}; must be paid with")
        assert f"is paid with {paid.benefit_fen}" in where


def test_a_truth_without_the_examination_edit_fails_the_run(run: tuple[Results, str]) -> None:
    hospital = run[0].scenario.generated
    assert hospital is not None
    altered = [
        replace(one, refused_lines={}) if one.planted is Planted.SAME_EXAMINATION else one
        for one in hospital.truth
    ]
    failed = {one.name for one in checks(compared_with(run[0], altered)) if not one.holds}
    assert failed == {"bills that ended otherwise than planted"}


def test_the_truth_was_written_before_anything_was_decided(
    run: tuple[Results, str], folders: Folders
) -> None:
    path = folders.out / "truth.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_mtime < min(one.create_time.ToSeconds() for one in run[0].claims)
    assert len(told["bills"]) == BILLS
    expected = sum(one["paid_minor_units"] for one in told["bills"])
    assert expected == sum(claim.paid.minor_units for claim in run[0].paid)


def test_every_premium_and_its_credit_are_what_the_truth_says(run: tuple[Results, str]) -> None:
    hospital, quotes = run[0].scenario.generated, run[0].quotes
    assert hospital is not None
    assert [one.participant for one in quotes] == list(hospital.participants) != []
    assert [one.faults() for one in quotes] == [[] for _ in quotes]
    longer = replace(quotes[0], participant=replace(quotes[0].participant, run=99))
    assert longer.faults() == ["run"]


def test_the_summary_and_the_screen_tell_the_same(
    run: tuple[Results, str], folders: Folders
) -> None:
    found = json.loads((folders.out / "summary.json").read_text(encoding="utf-8"))
    assert (found["bills_pulled"], found["ledger_sum"]) == (BILLS, 0)
    assert found["paid_claims"] == len(run[0].paid) > 0
    assert all(found["checks"].values())
    assert f"{BILLS} pulled" in run[1]
    assert f"in {found['paid_claims']} confirmed payouts" in run[1]
    assert found["clean_untouched"] == found["clean_bills"] > 0
    assert found["clean_untouched_share"] == 1.0
    assert found["expected_minor_units"] == found["paid_minor_units"]
    assert [found[name] for name in WRONG] == [0] * len(WRONG)
    assert len(found["by_planted"]) == len(Planted)
    for name in ("seen_to_decision_ms_p50", "seen_to_payout_ms_p99", "decision_ms_p50"):
        assert found[name] > 0
    assert "\x1b" not in run[1]


def test_a_state_directory_of_someone_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    words = ("--state", str(tmp_path), "--out", str(tmp_path / "o"))
    done = run_forked(DEMO, *words, environ=os.environ)
    assert done.code == 1
    assert "is not empty and not a demo's" in done.err
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_a_demo_does_not_empty_the_state_of_a_stack_that_runs(tmp_path: Path) -> None:
    fresh_state(tmp_path)
    (tmp_path / "claims.db").write_text("in use")
    with only_one(tmp_path), pytest.raises(StateRefused, match="lipei is up on"):
        fresh_state(tmp_path)
    assert (tmp_path / "claims.db").read_text() == "in use"
    fresh_state(tmp_path)  # the control: once it has stopped, the state is a demo's to empty
    assert not (tmp_path / "claims.db").exists()


def test_an_interrupted_demo_leaves_no_process(tmp_path: Path) -> None:
    words = ("--people", "20", "--bills", "40", "--out", str(tmp_path))
    seen = tmp_path / "seen"
    child = Forked(DEMO, *words, environ=os.environ, out=seen, err=seen)
    deadline = time.monotonic() + STOP_S
    while len(processes_of(tmp_path / "state")) < 3:
        assert child.poll() is None, seen.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    assert child.wait(STOP_S) == 130
    assert processes_of(tmp_path / "state") == []
