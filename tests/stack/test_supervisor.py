"""The supervisor on real child processes: order, gates, crashes, and nobody left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.common.state import read_addresses
from services.common.temporal.connection import connect
from stack.probes import tcp_accepts
from stack.supervisor import Patience
from tests.forked import Forked
from tests.processes import processes_of

ROOT = Path(__file__).parents[2]
LONGEST_S = 60.0  # only so that a broken supervisor fails instead of hanging


class Run:
    """A supervisor process on one state directory."""

    def __init__(self, state: Path, children: list[dict[str, Any]], how: str = "forked") -> None:
        self.state = state
        self._how = how
        (state / "children.json").write_text(json.dumps(children))
        self.process = self.again()

    def again(self, says: str = "up.err") -> Forked:
        words = (str(self.state), str(self.state / "children.json"), self._how)
        said = self.state / says
        return Forked("tests.stack.supervised", *words, environ=os.environ, out=said, err=said)

    def said_at_end(self) -> str:
        self.process.wait()
        return (self.state / "up.err").read_text()

    def open_gate(self, *names: str) -> None:
        for name in names:
            (self.state / f"gate-{name}").touch()

    def journal(self) -> list[str]:
        file = self.state / "journal"
        return file.read_text().splitlines() if file.exists() else []

    def said(self, word: str) -> list[str]:
        return [line.split()[1] for line in self.journal() if line.split()[0] == word]

    def account(self, name: str) -> dict[str, Any]:
        return self.accounts()[name]

    def accounts(self) -> dict[str, dict[str, Any]]:
        """What it says of each child that it has."""
        found: dict[str, dict[str, Any]] = json.loads((self.state / "processes.json").read_text())
        return found

    def until(self, condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + LONGEST_S
        while not condition():
            assert time.monotonic() < give_up, self.journal()
            time.sleep(0.02)

    def until_ready(self) -> None:
        """Until the ready file names this very process; a killed one leaves its own behind."""
        ready = self.state / "ready"
        self.until(lambda: ready.exists() and ready.read_text() == f"{self.process.pid}\n")

    def left(self) -> list[int]:
        """Children and grandchildren that run; each writes to its log in the state directory."""
        return [pid for pid in processes_of(self.state) if pid != self.process.pid]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(LONGEST_S)


@pytest.fixture(params=["forked"])
def how(request: pytest.FixtureRequest) -> str:
    """How children are started."""
    return str(request.param)


BOTH = pytest.mark.parametrize("how", ["forked", "executed"], indirect=True)


@pytest.fixture
def run(tmp_path: Path, how: str) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*children: dict[str, Any]) -> Run:
        runs.append(Run(tmp_path, list(children), how))
        return runs[-1]

    yield start
    for one in runs:
        one.process.kill()
        one.process.wait()
        for pid in one.left():
            os.kill(pid, signal.SIGKILL)


def test_a_stage_waits_until_every_child_below_it_is_ready(run: Callable[..., Run]) -> None:
    stack = run({"name": "base"}, {"name": "other"}, {"name": "top", "stage": 1})
    stack.open_gate("other")
    stack.until(lambda: stack.said("asked").count("base") >= 3)
    assert sorted(stack.said("started")) == ["base", "other"]
    assert stack.account("top")["state"] == "waiting"
    assert not (stack.state / "ready").exists()
    stack.open_gate("base", "top")
    stack.until_ready()
    assert stack.said("started")[-1] == "top"


def test_a_child_that_nobody_needs_is_started_when_somebody_does_and_is_watched_from_then_on(
    run: Callable[..., Run],
) -> None:
    stack = run({"name": "base"}, {"name": "spare", "stage": 1, "idle": True})
    stack.open_gate("base", "spare")
    stack.until_ready()
    assert stack.said("started") == ["base"]
    assert "spare" not in stack.accounts()
    (stack.state / "wanted-spare").touch()
    stack.until(lambda: stack.said("started") == ["base", "spare"])
    stack.until(lambda: "spare" in stack.accounts())
    os.kill(stack.account("spare")["pid"], signal.SIGKILL)
    stack.until(lambda: stack.said("started") == ["base", "spare", "spare"])
    assert stack.stop() == 0
    assert stack.said("stopped") == ["spare", "base"]


@BOTH
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all_in_reverse_order(
    run: Callable[..., Run], number: signal.Signals
) -> None:
    stack = run(*({"name": name, "stage": stage} for stage, name in enumerate("abc")))
    stack.open_gate(*"abc")
    stack.until_ready()
    assert len(stack.left()) == 3
    assert stack.stop(number) == 0
    assert stack.said("stopped") == ["c", "b", "a"]
    assert stack.left() == []
    assert not (stack.state / "ready").exists()
    assert not (stack.state / "processes.json").exists()


@BOTH
def test_a_child_that_is_killed_comes_back_and_ready_tells_the_truth(
    run: Callable[..., Run],
) -> None:
    stack = run({"name": "a"})
    stack.open_gate("a")
    stack.until_ready()
    first = stack.account("a")["pid"]
    (stack.state / "gate-a").unlink()
    os.kill(first, signal.SIGKILL)
    stack.until(lambda: not (stack.state / "ready").exists())
    stack.until(lambda: len(stack.said("started")) == 2)
    stack.open_gate("a")
    stack.until_ready()
    again = stack.account("a")
    assert again["pid"] != first
    assert (again["restarts"], again["last_word"]) == (1, "killed by SIGKILL")


def test_children_that_are_killed_at_one_moment_all_come_back(run: Callable[..., Run]) -> None:
    stack = run({"name": "a"}, {"name": "b", "stage": 1}, {"name": "c", "stage": 2})
    stack.open_gate(*"abc")
    stack.until_ready()
    for name in "abc":
        os.kill(stack.account(name)["pid"], signal.SIGKILL)
    stack.until(lambda: all(stack.said("started").count(name) == 2 for name in "abc"))
    stack.until_ready()
    assert [stack.account(name)["restarts"] for name in "abc"] == [1, 1, 1]


def test_a_child_that_is_killed_while_it_starts_is_started_again(run: Callable[..., Run]) -> None:
    stack = run({"name": "a"}, {"name": "b", "stage": 1})
    stack.until(lambda: stack.said("started") == ["a"] and stack.said("asked") != [])
    os.kill(stack.account("a")["pid"], signal.SIGKILL)
    stack.until(lambda: stack.said("started").count("a") == 2)
    stack.open_gate("a", "b")
    stack.until_ready()
    assert [stack.account(name)["restarts"] for name in "ab"] == [1, 0]


def test_a_child_that_is_killed_again_and_again_is_never_given_up(run: Callable[..., Run]) -> None:
    stack = run({"name": "a"}, {"name": "b"})
    stack.open_gate("a", "b")
    stack.until_ready()
    untouched, kills = stack.account("b")["pid"], 12

    def kill_and_await(starts: int) -> None:
        os.kill(stack.account("a")["pid"], signal.SIGKILL)
        stack.until(lambda: stack.said("started").count("a") == starts)
        stack.until(lambda: stack.account("a")["state"] == "ready")

    for number in range(kills):
        kill_and_await(starts=number + 2)
    assert (stack.account("a")["restarts"], stack.account("b")["pid"]) == (kills, untouched)


def test_a_child_that_cannot_be_started_now_does_not_take_the_others_with_it(
    run: Callable[..., Run],
) -> None:
    stack = run({"name": "a"}, {"name": "b"})
    stack.open_gate("a", "b")
    stack.until_ready()
    untouched = stack.account("b")["pid"]
    (stack.state / "full").touch()
    os.kill(stack.account("a")["pid"], signal.SIGKILL)
    stack.until(lambda: stack.account("a")["restarts"] > Patience().first_tries)
    assert stack.account("a")["last_word"] == "could not be started: No space left on device"
    (stack.state / "full").unlink()
    stack.until_ready()
    assert stack.account("b")["pid"] == untouched


def test_what_cannot_be_written_down_is_done_all_the_same(run: Callable[..., Run]) -> None:
    stack = run({"name": "a"})
    stack.open_gate("a")
    stack.until_ready()
    (stack.state / "processes.json.new").mkdir()  # nothing can be written there
    os.kill(stack.account("a")["pid"], signal.SIGKILL)
    stack.until(lambda: stack.said("started") == ["a", "a"])
    assert stack.stop() == 0
    assert stack.left() == []


@BOTH
def test_a_child_that_crashes_at_every_start_ends_the_start_with_its_log(
    run: Callable[..., Run],
) -> None:
    stack = run({"name": "good"}, {"name": "bad", "stage": 1, "program": "broken"})
    stack.open_gate("good")
    said = stack.said_at_end()
    assert stack.process.returncode == 1
    assert "bad did not start: exit code 1." in said
    assert said.count("the disk is full") == Patience().first_tries
    assert "Traceback" not in said
    assert stack.said("stopped") == ["good"]
    assert stack.left() == []


def test_a_child_that_is_never_ready_ends_the_start(run: Callable[..., Run]) -> None:
    stack = run({"name": "shy", "start_within_s": 0.05})
    said = stack.said_at_end()
    assert "shy did not start: not ready within 0 s." in said
    assert stack.left() == []


@BOTH
def test_what_ignores_the_request_to_stop_is_killed_with_all_that_it_started(
    run: Callable[..., Run],
) -> None:
    stack = run({"name": "mule", "program": "stubborn", "grace_s": 0.1})
    stack.open_gate("mule")
    stack.until(lambda: len(stack.left()) == 2)
    assert stack.stop() == 0
    assert stack.left() == []


def test_a_second_wish_to_stop_does_not_wait_for_the_grace(run: Callable[..., Run]) -> None:
    stack = run({"name": "mule", "program": "stubborn", "grace_s": 10 * LONGEST_S})
    stack.open_gate("mule")
    stack.until_ready()

    def ask_again() -> bool:
        stack.process.send_signal(signal.SIGTERM)  # several within a second are one wish
        return stack.process.poll() is not None

    stack.until(ask_again)
    assert stack.process.returncode == 0
    assert stack.left() == []


@BOTH
def test_killing_the_supervisor_leaves_nobody_behind(run: Callable[..., Run]) -> None:
    stack = run({"name": "a"}, {"name": "b"})
    stack.open_gate("a", "b")
    stack.until_ready()
    assert len(stack.left()) == 2
    stack.stop(signal.SIGKILL)
    stack.until(lambda: stack.left() == [])
    assert stack.said("stopped") == []  # the kernel did it; nobody was asked


@BOTH
def test_a_supervisor_that_is_killed_while_it_starts_leaves_nobody_behind(
    run: Callable[..., Run],
) -> None:
    def kill_after(delay_s: float) -> None:
        stack = run(*({"name": name} for name in "abcd"))
        stack.until((stack.state / "up.lock").exists)
        time.sleep(delay_s)
        stack.stop(signal.SIGKILL)
        stack.until(lambda: stack.left() == [])
        (stack.state / "up.lock").unlink()

    for delay_s in (0.0, 0.02, 0.05, 0.1, 0.2):  # before, in and after the starts of its children
        kill_after(delay_s)


def test_without_the_leash_a_killed_parent_leaves_its_child_behind(tmp_path: Path) -> None:
    """Negative control: its own session is not enough, and `processes_of` does see orphans."""
    marker = tmp_path / "orphan"
    program = f"""
import signal, subprocess, sys
orphan = [sys.executable, "-c", "import signal; signal.pause()", {str(marker)!r}]
subprocess.Popen(orphan, start_new_session=True)
print("up", flush=True)
signal.pause()
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout as out:
        out.readline()
    parent.kill()
    parent.wait()
    left = processes_of(marker)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert len(left) == 1


def test_one_state_directory_has_one_supervisor(run: Callable[..., Run]) -> None:
    stack = run({"name": "a"})
    stack.open_gate("a")
    stack.until_ready()
    assert stack.again("second.err").wait() == 1
    said = (stack.state / "second.err").read_text()
    assert said == f"lipei is already up on {stack.state} (process {stack.process.pid})\n"
    assert len(stack.left()) == 1
    assert (stack.state / "ready").exists()
    stack.stop(signal.SIGKILL)  # the lock ends with its holder, however it ends
    third = Run(stack.state, [{"name": "a"}])
    third.until_ready()
    assert third.stop() == 0


def test_pauses_double_up_to_the_longest_and_are_spread() -> None:
    patience = Patience(first_pause_s=1.0, longest_pause_s=5.0)
    assert [patience.pause_s(n, lambda: 1.0) for n in (1, 2, 3, 4, 1000)] == [1, 2, 4, 5, 5]
    assert patience.pause_s(2, lambda: 0.0) == 1.0


def test_the_real_temporal_server_starts_serves_and_stops(run: Callable[..., Run]) -> None:
    stack = run({"name": "temporal"})
    stack.until_ready()
    addresses = read_addresses(stack.state)

    async def namespace() -> str:
        client = await connect(stack.state)
        return client.namespace

    assert asyncio.run(namespace()) == "default"
    assert addresses["temporal_ui"].startswith("http://127.0.0.1:")
    database = stack.state / "temporal.db"
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert stack.stop() == 0
    assert stack.left() == []
    assert not tcp_accepts(addresses["temporal"])
