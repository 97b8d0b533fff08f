"""Ctrl-C ends `lipei` without a trace from the first moment on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Interrupts itself as it imports a module: a Ctrl-C at a moment that no clock has to meet.
TYPED = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {at!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv = ["lipei", "--version"]
from {program} import main
main()
"""


def interrupted(program: str, at: str) -> subprocess.CompletedProcess[str]:
    code = TYPED.format(program=program, at=at)
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )


@pytest.mark.parametrize("at", ["stack.cli", "typer", "grpc"])
def test_while_it_imports(at: str) -> None:
    done = interrupted("stack.lipei", at)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_left_alone_it_answers_and_without_the_guard_there_is_a_trace() -> None:
    """The control."""
    assert interrupted("stack.lipei", "no_such_module").returncode == 0
    assert "KeyboardInterrupt" in interrupted("stack.cli", "typer").stderr
