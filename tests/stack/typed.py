"""The `lipei` command as a person types it: exit code, standard output, standard error."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from stack.cli import main
from stack.installation import run_module
from tests.forked import run_forked

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Typed:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        return self.err.splitlines()


def environ(**more: str) -> dict[str, str]:
    """The environment of a child, without a LIPEI_* or TEMPORAL_* of the caller's."""
    ours = {n: v for n, v in os.environ.items() if not n.startswith(("LIPEI_", "TEMPORAL_"))}
    return {**ours, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}", **more}


def lipei(*words: str | Path, env: Mapping[str, str] | None = None, stdin: str = "") -> Typed:
    """Run one command in this process: starting Python takes longer than most commands."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environ(**(env or {})), clear=True),
        mock.patch.object(sys, "argv", ["lipei", *map(str, words)]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        else:
            raise AssertionError("main() ends the process")
    return Typed(code, out.getvalue(), err.getvalue())


def lipei_process(*words: str | Path, env: Mapping[str, str] | None = None) -> Typed:
    """Run one command to its end in a process of its own."""
    done = run_forked("stack.cli", *map(str, words), environ=environ(**(env or {})))
    assert "Traceback" not in done.err, done.err
    return Typed(done.code, done.out, done.err)


def run_module_forked(module: str, *words: str, told: str = "") -> subprocess.CompletedProcess[str]:
    """As `run_module`, which runs what it tells something; else forked: imported once, not each."""
    if told:
        return run_module(module, *words, told=told)
    ended = run_forked(module, *words, environ=os.environ)
    return subprocess.CompletedProcess([module, *words], ended.code, ended.out)
