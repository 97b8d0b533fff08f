"""Real operating-system processes for tests of what holds between processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
LONGEST_S = 60.0  # only so that a broken program fails instead of hanging


def environ(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without settings of its own, and with the code to be found."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LIPEI_")}
    return {**inherited, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}", **(more or {})}


def run(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program given as text to its end."""
    return subprocess.run(
        [sys.executable, "-c", text, *arguments],
        env=environ(),
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )


class Together:
    """Processes that do the same thing at the same moment, again and again."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self.processes = processes

    def do(self, order: str) -> list[str]:
        """Send one line to each and read one line back from each."""
        for process in self.processes:
            assert process.stdin
            process.stdin.write(order + "\n")
            process.stdin.flush()
        answers = []
        for process in self.processes:
            assert process.stdout
            answers.append(process.stdout.readline().strip())
        return answers


@contextmanager
def together(count: int, text: str, *arguments: str) -> Iterator[Together]:
    """`count` processes of a program that says "ready", then answers each line by a line."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", text, *arguments],
            env=environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline().strip() == "ready"
        yield Together(processes)
    finally:
        for process in processes:
            process.communicate(timeout=LONGEST_S)  # closing its input ends it
