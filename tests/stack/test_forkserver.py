"""What is forked is as what is started anew: its standing, its end, and what outlives what."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stack.installation import MODULES, Installation
from tests.processes import lives
from tests.stack.test_supervisor import ROOT, Run, how, run

__all__ = ["how", "run"]  # fixtures

# Makes a fork server of the modules in the arguments; what a test adds stands below it.
BEGINNING = """
import os, signal, sys, time
from pathlib import Path
from stack.forkserver import ForkServer
forks = ForkServer(sys.argv[1:], longest_s=float(os.environ.get("LONGEST_S", "60")))
def forked(module, *words):
    return forks.fork(module, words, environ=os.environ, log=Path("log"))
def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def script(folder: Path, text: str, *modules: str, **environ: str) -> str:
    """What it prints, run in the folder, whose modules it finds."""
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + text, *modules],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}", **environ},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def module(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(text)
    return name


def children_of(pid: int) -> list[int]:
    """Corpses too."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            found += [int(entry.name)] if int(fields[1]) == pid else []
    return found


def forkserver_of(stack: Run) -> int:
    (found,) = (
        pid
        for pid in children_of(stack.process.pid)
        if Path(f"/proc/{pid}/comm").read_text().strip() == "lipei forkserve"  # 15 letters
    )
    return found


def test_a_forked_child_stands_as_one_that_was_executed(tmp_path: Path) -> None:
    told: dict[str, dict[str, Any]] = {}
    for started in ("forked", "executed"):
        state = tmp_path / "state"
        state.mkdir()
        stack = Run(state, [{"name": "a", "program": "tells"}], started)
        try:
            stack.open_gate("a")
            stack.until_ready()
            found = json.loads((state / "told-a").read_text())
            assert found.pop("parent") == stack.process.pid
            told[started] = found
        finally:
            assert stack.stop() == 0
        state.rename(tmp_path / started)
    assert told["forked"] == told["executed"]
    assert told["forked"]["leads"] is True
    assert told["forked"]["umask"] == 0o077
    assert told["forked"]["arguments"][1:] == ["tells", str(tmp_path / "state"), "a"]


def test_ps_shows_its_name(run: Callable[..., Run]) -> None:
    stack = run({"name": "worker:a"})
    stack.open_gate("worker:a")
    stack.until_ready()
    shown = Path(f"/proc/{stack.account('worker:a')['pid']}/cmdline").read_bytes()
    assert shown.rstrip(b"\0") == b"lipei worker:a"


@pytest.fixture
def running(run: Callable[..., Run]) -> Run:
    stack = run({"name": "a"}, {"name": "b"})
    stack.open_gate("a", "b")
    stack.until_ready()
    return stack


def test_without_the_fork_server_children_live_on_and_later_ones_start_anew(running: Run) -> None:
    untouched = running.account("b")["pid"]
    os.kill(forkserver_of(running), signal.SIGKILL)
    os.kill(running.account("a")["pid"], signal.SIGKILL)
    running.until(lambda: running.said("started").count("a") == 2)
    running.until_ready()
    assert running.account("b")["pid"] == untouched
    command = Path(f"/proc/{running.account('a')['pid']}/cmdline").read_bytes()
    assert b"tests.stack.supervised_child" in command, "it was executed"
    assert running.stop() == 0
    assert running.left() == []


def test_the_fork_server_ends_with_the_supervisor(running: Run) -> None:
    forkserver = forkserver_of(running)
    assert lives(forkserver)
    running.stop(signal.SIGKILL)
    running.until(lambda: not lives(forkserver))


def test_the_fork_server_of_one_that_stops_has_ended(running: Run) -> None:
    forkserver = forkserver_of(running)
    assert running.stop() == 0
    assert not lives(forkserver)


def test_who_outlives_a_child_in_its_group_is_killed_and_buried(run: Callable[..., Run]) -> None:
    stack = run({"name": "mule", "program": "stubborn", "grace_s": 0.1})
    stack.open_gate("mule")
    stack.until_ready()
    first = stack.left()
    assert len(first) == 2
    os.kill(stack.account("mule")["pid"], signal.SIGKILL)
    stack.until(lambda: stack.said("started").count("mule") == 4)  # it and its child, twice
    stack.until_ready()
    assert not set(first) & set(stack.left())
    assert not set(first) & set(children_of(stack.process.pid)), "no corpse of them is kept"


@pytest.mark.parametrize(
    ("text", "code", "logged"),
    [
        ("", 0, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('the disk is full')", 1, "the disk is full\n"),
        ("import atexit; atexit.register(print, 'left in order', end='')", 0, "left in order"),
        (
            "import threading; threading.Timer(0.05, print, ['waited for']).start()",
            0,
            "waited for\n",
        ),
    ],
)
def test_it_ends_as_it_would(tmp_path: Path, text: str, code: int, logged: str) -> None:
    name = module(tmp_path, "ending", f"if __name__ == '__main__':\n    pass; {text}")
    assert script(tmp_path, "print(code_of(forked('ending')))") == f"{code}\n"
    assert (tmp_path / "log").read_text() == logged
    assert script(tmp_path, "print(code_of(forked('ending')))", name) == f"{code}\n", "imported"


def test_what_it_fails_of_stands_in_its_log(tmp_path: Path) -> None:
    name = module(tmp_path, "failing", "raise ValueError('no room')")
    assert script(tmp_path, "print(code_of(forked('failing')))", name) == "1\n"
    assert (tmp_path / "log").read_text().endswith("ValueError: no room\n")


def test_nothing_is_forked_beside_a_thread(tmp_path: Path) -> None:
    idle = module(tmp_path, "idle", "")
    threaded = module(tmp_path, "threaded", "import threading; threading.Timer(60, print).start()")
    asked = "print(forked('idle') > 0)"
    assert script(tmp_path, asked, idle) == "True\n"
    assert script(tmp_path, asked, idle, threaded) == "False\n"


def test_a_fork_server_that_hangs_is_ended_and_forks_nothing_later(tmp_path: Path) -> None:
    module(tmp_path, "marking", "open('mark', 'w').close()")
    hung = """
os.kill(forks.pid, signal.SIGSTOP)
print(forked('marking'), forked('marking'), forks.pid)
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("nobody")
"""
    assert script(tmp_path, hung, LONGEST_S="0.2") == "0 0 0\nnobody\n"
    assert not (tmp_path / "mark").exists()
    script(tmp_path, "code_of(forked('marking'))")  # the control
    assert (tmp_path / "mark").exists()


def test_what_the_stack_runs_can_be_forked(tmp_path: Path) -> None:
    module(tmp_path, "idle", "")
    assert script(tmp_path, "print(code_of(forked('idle')))", *MODULES) == "0\n"


def test_every_module_that_the_stack_runs_is_imported_before(tmp_path: Path) -> None:
    installation = Installation(state=tmp_path, hospitals=["h"], environ={})
    started = {one.name: one.prepare().module for one in installation.children()}
    assert started.pop("temporal") == ""
    assert set(started.values()) == set(MODULES)
