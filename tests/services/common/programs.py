"""Real operating-system processes for tests of what holds between processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).parents[3]
LONGEST_S = 60.0  # only so that a broken program fails instead of hanging
# Imports what the program imports, once, and forks for each pair of pipes a process that runs it.
_FORKS = """
import ast, json, os, sys
pipes, text, sys.argv = json.loads(sys.argv[1]), sys.argv[2], ["-c", *sys.argv[3:]]
imports = [one for one in ast.parse(text).body if isinstance(one, ast.Import | ast.ImportFrom)]
exec(compile(ast.Module(imports, []), "<imports>", "exec"), {})
children = []
for pair in pipes:
    children.append(os.fork())
    if not children[-1]:
        for ours, number in zip(pair, (0, 1)):
            os.dup2(ours, number)
        os.closerange(3, max(map(max, pipes)) + 1)
        exec(compile(text, "<program>", "exec"), {"__name__": "__main__"})
        sys.exit()
print(json.dumps(children), flush=True)
for child in children:
    os.waitpid(child, 0)
"""


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


@dataclass(frozen=True)
class Process:
    """A process, and the ends of its pipes that are ours."""

    pid: int
    stdin: TextIO
    stdout: TextIO


class Together:
    """Processes that do the same thing at the same moment, again and again."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self.processes = processes

    def do(self, order: str) -> list[str]:
        """Send one line to each and read one line back from each."""
        for process in self.processes:
            process.stdin.write(order + "\n")
            process.stdin.flush()
        return [process.stdout.readline().strip() for process in self.processes]


@contextmanager
def together(count: int, text: str, *arguments: str) -> Iterator[Together]:
    """`count` processes of a program that says "ready", then answers each line by a line.

    What it imports is imported once for all of them.
    """
    with ExitStack() as stack:
        orders, answers = [os.pipe() for _ in range(count)], [os.pipe() for _ in range(count)]
        theirs = [(order[0], answer[1]) for order, answer in zip(orders, answers, strict=True)]
        stdins = [stack.enter_context(os.fdopen(order[1], "w")) for order in orders]
        stdouts = [stack.enter_context(os.fdopen(answer[0])) for answer in answers]
        command = [sys.executable, "-c", _FORKS, json.dumps(theirs), text, *arguments]
        with subprocess.Popen(
            command,
            env=environ(),
            pass_fds=[one for pair in theirs for one in pair],
            stdout=subprocess.PIPE,
            text=True,
        ) as forks:
            for one in (one for pair in theirs for one in pair):
                os.close(one)
            assert forks.stdout
            try:
                pids = json.loads(forks.stdout.readline())
                processes = [Process(*one) for one in zip(pids, stdins, stdouts, strict=True)]
                for process in processes:
                    assert process.stdout.readline().strip() == "ready"
                yield Together(processes)
            finally:
                for stdin in stdins:
                    stdin.close()  # which ends it
                forks.wait(LONGEST_S)
