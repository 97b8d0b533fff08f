"""Takes a guard out of a copy of the project, runs the tests that hold it, and names the failed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fault.guards import Change, Guard
from tests.fault.recovery import host_facts

ROOT = Path(__file__).parents[2]
SUMMARY = ROOT / "build" / "fault" / "guards.json"
# What no test of a guard reads; `.venv` is lent, not copied. What was compiled comes along, but for
# what another process is writing just now: it holds for the sources that it was compiled from, as
# old as they are, and a source that was changed, or put back, is compiled anew.
_LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", ".lipei", "build", "dist", "*.pyc.*", ".*_cache", ".hypothesis"
)
_LONGEST_S = 900
_FAILED = re.compile(r"^(?:FAILED|SUBFAILED\S*) (?P<test>tests/.+?)(?: - .*)?$", re.MULTILINE)
_SOME_FAILED = 1  # pytest's exit code for that alone: not for tests that could not be collected


class CannotRemove(Exception):
    """The source is not as the guard says: a removal must fail, never remove nothing."""


class CannotJudge(Exception):
    """The tests did not run to their end, so that nothing is known about the guard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """A guard without which these tests fail; none means that nothing holds it."""

    guard: Guard
    failed: tuple[str, ...]


@contextmanager
def copy_of_project(folder: Path) -> Iterator[Path]:
    """A copy whose tests import the copy; its changes touch nothing else."""
    root = folder / "project"
    shutil.copytree(ROOT, root, ignore=_LEFT_BEHIND)
    (root / ".venv").symlink_to(ROOT / ".venv")
    imported = _python(root, "-c", "import services; print(services.__file__)")
    if Path(imported.stdout.strip()).parent != root / "services":
        raise CannotJudge("the copy's tests would import another tree")
    try:
        yield root
    finally:
        shutil.rmtree(root)


def failures(root: Path, tests: Iterable[str]) -> tuple[str, ...]:
    """The tests of these files that fail; empty when all pass.

    Raises: CannotJudge when any could not be collected or the run broke off.
    """
    run = _python(root, "-m", "pytest", "-n0", "-q", "--tb=no", "-p", "no:cacheprovider", *tests)
    if run.returncode == 0:
        return ()
    found = tuple(sorted({match["test"] for match in _FAILED.finditer(run.stdout)}))
    if run.returncode != _SOME_FAILED or not found:
        raise CannotJudge(f"exit code {run.returncode}:\n{run.stdout[-3000:]}{run.stderr[-3000:]}")
    return found


@contextmanager
def without(root: Path, guard: Guard) -> Iterator[None]:
    """The copy without the guard until the block ends.

    Raises: CannotRemove when a text does not stand exactly once, or what is left is no Python.
    """
    before: dict[Path, str] = {}
    try:
        for change in guard.changes:
            path = root / change.path
            text = _source(path, change)
            before.setdefault(path, text)
            path.write_text(changed(text, change), encoding="utf-8")
        yield
    finally:
        for path, text in before.items():
            path.write_text(text, encoding="utf-8")


def changed(text: str, change: Change) -> str:
    """The source with the replacement made.

    Raises: CannotRemove.
    """
    times = text.count(change.old)
    if times != 1:
        raise CannotRemove(f"{change.path}: {change.old!r} stands {times} times; name it anew")
    made = text.replace(change.old, change.new)
    try:
        compile(made, change.path, "exec")
    except SyntaxError as fault:
        raise CannotRemove(f"{change.path}: {fault}") from None
    return made


def remove(root: Path, guard: Guard) -> Removal:
    """Take the guard out of the copy, run its tests, and put it back.

    Raises: CannotRemove, CannotJudge.
    """
    with without(root, guard):
        return Removal(guard=guard, failed=failures(root, guard.tests))


def held_by(guards: Sequence[Guard]) -> list[str]:
    """The test files of the guards, each once."""
    return list(dict.fromkeys(test for guard in guards for test in guard.tests))


def report(removals: Sequence[Removal]) -> None:
    """Write `build/fault/guards.json` and print the same as a table."""
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    whole = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": host_facts(),
        "guards": [
            {
                "guard": one.guard.name,
                "removed": one.guard.removed,
                "held": bool(one.failed),
                "failed": list(one.failed),
            }
            for one in removals
        ],
    }
    SUMMARY.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    table = Table("guard", "what was removed", "tests that failed")
    for one in removals:
        first, *others = one.failed or ("NONE",)
        more = f"\nand {len(others)} more" if others else ""
        table.add_row(one.guard.name, one.guard.removed, first.rpartition("::")[2] + more)
    console = Console(width=160)
    console.print()  # after the dots of pytest
    console.print(table)


def _source(path: Path, change: Change) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CannotRemove(f"{change.path}: no such file; name it anew") from None


def _python(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("LIPEI_", "PYTEST_"))}
    environ |= {"PYTHONPATH": f"{root}:{root / 'protos'}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST_S,
    )
