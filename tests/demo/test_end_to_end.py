"""The demo on the real stack, small: every planted oddity ends as it must, and nothing stays."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
from demo.bills import Planted

from demo.hospital import generate
from demo.progress import Reporter
from demo.results import Results
from demo.run import Folders, failures, play
from demo.scenario import generated
from lipei.claims.v1 import claims_pb2, reason_pb2

ROOT = Path(__file__).parents[2]
SEED, PEOPLE, BILLS = 11, 20, 40
STOP_S = 60

DENIED_WITH = {
    Planted.DUPLICATE: {"DUPLICATE"},
    Planted.EXCLUDED: {"BENEFIT_EXCLUDED", "DIAGNOSIS_EXCLUDED"},
    Planted.PRE_EXISTING: {"PRE_EXISTING"},
    Planted.WAITING: {"WAITING_PERIOD"},
}
SET_ASIDE_FOR = {
    Planted.UNBALANCED: "LINES_DO_NOT_ADD_UP",
    Planted.WRONG_LINE: "LINE_DOES_NOT_MULTIPLY",
    Planted.UNKNOWN_CODE: "CODE_SYSTEM_UNKNOWN",
    Planted.IMPOSSIBLE_DATE: "TIME_IMPOSSIBLE",
    Planted.END_BEFORE_START: "END_BEFORE_START",
    Planted.NEGATIVE: "NEGATIVE_AMOUNT",
    Planted.NO_IDENTITY: "IDENTITY_MISSING",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    out = tmp_path_factory.mktemp("demo")
    return Folders(state=out / "state", out=out)


@pytest.fixture(scope="module")
def run(folders: Folders) -> tuple[Results, str]:
    """A small run's results and what a person saw."""
    seen = io.StringIO()
    scenario = generated(SEED, people=PEOPLE, bills=BILLS)
    return play(scenario, folders, Reporter(seen), keep=False), seen.getvalue()


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
        if str(folder) in words:
            found.append(words)
    return found


def test_every_check_holds_and_nothing_stays(run: tuple[Results, str], folders: Folders) -> None:
    assert failures(run[0]) == []
    assert processes_of(folders.state) == []


def test_every_planted_oddity_ends_as_it_must(run: tuple[Results, str]) -> None:
    states: dict[Planted, set[int]] = defaultdict(set)
    reasons: dict[Planted, set[str]] = defaultdict(set)
    planted = {
        bill.number: bill.planted for bill in generate(SEED, people=PEOPLE, bills=BILLS).bills
    }
    for claim in run[0].claims:
        kind = planted[claim.bill_number]
        states[kind].add(claim.state)
        reasons[kind] |= {
            reason_pb2.Reason.Name(share.reason).removeprefix("REASON_")
            for line in claim.decision.lines
            for share in line.shares
        }
    for kind, expected in DENIED_WITH.items():
        assert states[kind] == {claims_pb2.CLAIM_STATE_DENIED}, kind
        assert reasons[kind] - {"SOCIAL_INSURANCE_PAID"} <= expected, kind
    assert states[Planted.FACT_MISSING] == {claims_pb2.CLAIM_STATE_PENDED_INFO}
    paid_or_zero = {claims_pb2.CLAIM_STATE_PAID, claims_pb2.CLAIM_STATE_CLOSED_ZERO}
    assert states[Planted.CLEAN] <= paid_or_zero
    assert planted.keys() - {claim.bill_number for claim in run[0].claims} == {
        number
        for number, kind in planted.items()
        if kind in SET_ASIDE_FOR or kind is Planted.UNKNOWN_MEMBER
    }


def test_every_bad_bill_waits_with_its_reason(run: tuple[Results, str]) -> None:
    bills = generate(SEED, people=PEOPLE, bills=BILLS).bills
    expected = sorted(SET_ASIDE_FOR[one.planted] for one in bills if one.planted in SET_ASIDE_FOR)
    assert sorted(run[0].set_aside().elements()) == expected
    assert [list(one.delivery.refusal_reasons) for one in run[0].refusals] == [["UNKNOWN_MEMBER"]]


def test_the_summary_and_the_screen_tell_the_same(
    run: tuple[Results, str], folders: Folders
) -> None:
    found = json.loads((folders.out / "summary.json").read_text(encoding="utf-8"))
    assert (found["bills_pulled"], found["ledger_sum"]) == (BILLS, 0)
    assert found["paid_claims"] == len(run[0].paid) > 0
    assert all(found["checks"].values())
    assert f"{BILLS} pulled" in run[1]
    assert f"in {found['paid_claims']} confirmed payouts" in run[1]
    assert "\x1b" not in run[1]


def test_a_state_directory_of_someone_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    command = [sys.executable, "-m", "demo", "--state", str(tmp_path), "--out", str(tmp_path / "o")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not empty and not a demo's" in done.stderr
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_an_interrupted_demo_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "demo", "--people", "20", "--bills", "40"]
    command += ["--out", str(tmp_path)]
    with (tmp_path / "seen").open("wb") as seen:
        child = subprocess.Popen(command, cwd=ROOT, stdout=seen, stderr=seen, env={**os.environ})
    deadline = time.monotonic() + STOP_S
    while len(processes_of(tmp_path / "state")) < 3:
        assert child.poll() is None, (tmp_path / "seen").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    assert child.wait(STOP_S) == 130
    assert processes_of(tmp_path / "state") == []
