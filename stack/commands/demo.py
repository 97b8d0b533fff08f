"""`lipei demo`: becomes `python -m demo`, which lives in a checkout only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from stack.commands.failing import Failed
from stack.installation import code_roots

_CHECKOUT = Path(__file__).parents[2]


def demo(context: typer.Context) -> None:
    """Take a hospital's bills through real servers to money (`lipei demo --help` says more)."""
    if not (_CHECKOUT / "demo" / "__main__.py").exists():
        raise Failed(
            "the demo is not part of the installed package; "
            "run `make demo` in a checkout of the repository"
        )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(code_roots())}
    command = [sys.executable, "-m", "demo", *context.args]
    os.execve(sys.executable, command, environ)  # noqa: S606 -- ourselves, no shell
