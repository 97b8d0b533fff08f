"""The rows of the benchmarks run, with counts so small that their figures mean nothing.

One of each kind in `make test`; all of them in `make fault`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import MEASURES
from bench.rows import QUICK, RATES
from tests.forked import Forked
from tests.processes import processes_of
from tests.stack.typed import environ

ROOT = Path(__file__).parents[2]
LONGEST_S = 600.0
IMPORTED = ("bench.live", "bench.quote", "bench.what_if")
pytestmark = pytest.mark.timeout(LONGEST_S)  # half a minute of two idle cores; they may not be idle
# What a measure must leave, by the beginning of its paths.
PATHS = {
    "engine": (
        "decide 5 lines",
        "decide 40 lines",
        "decide the demo's bills",
        "decide 10 lines, every edit",
        "decide 10 lines after 50 services, every edit",
    ),
    "identity": ("identify a machine", "identify a person"),
    "masking": ("a claim of 5 lines masked", "a claim of 5 lines seen whole"),
    "sealing": (
        "seal the bill of a claim",
        "open the bill of a claim",
        "store a claim, sealed",
        "read a claim with its bill, sealed",
    ),
    "what-if": ("what-if over 40 claims",),
    "stored": ("settle claims one by one", "settle a batch of"),
    "evidence": (
        "append to 2,000 leaves",
        "prove one of 2,000 leaves",
        "prove growth to 2,000 leaves",
        "record one read, SQLite",
        "record one read, PostgreSQL",
        "record one of 50 reads at once",
        "a call with one leaf",
    ),
    "hl7v2": ("HL7 v2 bills of 10 lines",),
    "hl7v2-memory": ("memory after 10 HL7 v2 messages",),
    "refusals": ("hostile input refused, the slowest", "hostile input refused, the largest"),
    "renew": ("renew a book",),
    "fitting": ("fit 3,000 policy-years", "first events on"),
    "decision": ("decision answer, one at a time", "decision answer, 8 at once"),
    "settle": ("settle claims, one workflow each",),
    "pull": ("pull bills, beside paging alone", "pull bills, beside paging with look-ups"),
    "quote": (
        "price one person",
        "an explained quote",
        "quotes priced, explained and serialised",
        "quote over gRPC",
    ),
}
# One of each kind: without a service, on both databases, through the stack.
SHORT = ("engine", "stored", "settle")
# What is no part of `make bench` without a word.
LONG = ("hl7v2-memory",)
SERVICES = {"temporal", "bank", "claims", "his_bridge", "pricing", "worker:claims", "lipei up"}


def bench(out: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "bench", "--quick", "--out", str(out), *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def summary_in(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text("utf-8"))
    return found


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(SHORT, id="short"),
        pytest.param(
            tuple(one for one in MEASURES if one not in LONG), id="all", marks=pytest.mark.fault
        ),
    ],
)
def chosen(request: pytest.FixtureRequest) -> tuple[str, ...]:
    measures: tuple[str, ...] = request.param
    return measures


@pytest.fixture(scope="module")
def summary(chosen: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("bench")
    said = out / "said"
    words = ["--quick", "--out", str(out), "--only", *chosen]
    # Forked off what has been imported for other tests' programs: most of what it imports too.
    running = Forked("bench", *words, environ=environ(), out=said, err=said, imported=IMPORTED)
    try:
        assert running.wait(LONGEST_S) == 0, said.read_text("utf-8")
    finally:
        running.kill()
    assert processes_of(out) == []
    return summary_in(out)


def test_every_path_has_a_row(chosen: tuple[str, ...], summary: dict[str, Any]) -> None:
    assert summary["complete"]
    assert PATHS.keys() == set(MEASURES)
    measured = [row["path"] for row in summary["rows"]]
    assert len(set(measured)) == len(measured)
    for measure, beginnings in PATHS.items():
        for beginning in beginnings if measure in chosen else ():
            assert any(path.startswith(beginning) for path in measured), beginning
    for kind in ("SQLite", "PostgreSQL"):
        assert f"settle a batch of {QUICK.stored}, {kind}" in measured
        if "what-if" in chosen:
            assert f"what-if over {QUICK.stored_claims} claims, {kind}" in measured


@pytest.mark.fault
@pytest.mark.parametrize("measure", LONG)
def test_every_long_path_has_a_row(measure: str, tmp_path: Path) -> None:
    running = bench(tmp_path, "--only", measure)
    said, _ = running.communicate()
    assert running.returncode == 0, said
    assert processes_of(tmp_path) == []
    measured = [row["path"] for row in summary_in(tmp_path)["rows"]]
    assert all(any(path.startswith(one) for path in measured) for one in PATHS[measure])


def test_a_row_stands_beside_its_floor(summary: dict[str, Any]) -> None:
    for row in summary["rows"]:
        assert row.keys() == {
            *("path", "unit", "ours", "floor", "ratio", "cpu_ms", "what_floor_is", "n")
        }
        assert min(row["ours"], row["floor"], row["ratio"], row["n"]) > 0, row
        assert row["cpu_ms"] >= 0
        assert row["what_floor_is"]
        worse = (row["floor"], row["ours"]) if row["unit"] in RATES else (row["ours"], row["floor"])
        # Three figures of four: each of the three numbers was rounded.
        assert row["ratio"] == pytest.approx(worse[0] / worse[1], rel=2e-3)


def test_statements_transactions_and_events_are_counted(
    chosen: tuple[str, ...], summary: dict[str, Any]
) -> None:
    counts = summary["counts"]
    for kind in ("SQLite", "PostgreSQL"):
        alone = counts[f"statements per claim, alone, {kind}"]
        batch = counts[f"statements per claim, batch, {kind}"] * QUICK.stored
        assert 2 * alone > batch > 2
        few, many = (
            counts[f"statements of a batch of {QUICK.compared} claims of {lines} lines, {kind}"]
            for lines in (5, 40)
        )
        assert few == many == batch
        if "what-if" in chosen:
            assert f"MiB more while {QUICK.stored_claims} claims are compared, {kind}" in counts
        assert counts[f"commits per claim, alone, {kind}"] == 1
        assert counts[f"commits per claim, batch, {kind}"] == pytest.approx(1 / QUICK.stored)
        assert counts[f"commits per claim, intake, {kind}"] == 1
    assert counts["Temporal events per claim"] > counts["Temporal events per no-op workflow"] >= 5


def test_every_process_says_its_memory(summary: dict[str, Any]) -> None:
    assert summary["processes"].keys() >= SERVICES
    for memory in summary["processes"].values():
        assert 1 < memory["rss_mib_idle"] <= memory["peak_mib"]
        assert 1 < memory["rss_mib_loaded"] <= memory["peak_mib"]


def test_the_host_is_named(summary: dict[str, Any]) -> None:
    told = {*("cores", "python", "temporalio", "temporal server", "grpcio", "sqlalchemy")}
    told |= {*("sqlite", "postgresql")}
    assert told <= summary["host"].keys()
    assert all(summary["host"].values())


# While the stack is on its way up; and while, all of it up, it is measured.
@pytest.mark.fault
@pytest.mark.parametrize("moment", ["Starting the stack", "Measuring decision"])
def test_an_interrupted_run_keeps_its_rows_and_leaves_no_process(
    moment: str, tmp_path: Path
) -> None:
    running = bench(tmp_path, "--only", "engine", "decision")
    assert running.stdout is not None
    for line in running.stdout:
        if moment in line:
            break
    state = tmp_path / "state"
    while not (state / "processes.json").exists():
        assert running.poll() is None
        time.sleep(0.05)
    assert processes_of(state) != []  # the control: there is a stack to leave behind
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate()
    assert running.returncode == 130, said
    assert processes_of(tmp_path) == []
    kept = summary_in(tmp_path)
    assert not kept["complete"]
    assert [row["path"] for row in kept["rows"] if row["path"].startswith("decide 5 lines")]
