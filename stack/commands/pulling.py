"""Asking Temporal to run one of a hospital's pulls now, on behalf of several commands."""

from __future__ import annotations

from pathlib import Path

from stack.child import exit_words
from stack.commands.calling import WORKER, Failed, addresses
from stack.installation import run_module


def ask_for_pull(state: Path, hospital: str, what: str) -> None:
    """Have the hospital's pull of bills, readings or withdrawals run now; does not wait for it.

    Raises: Failed when no worker of the hospital runs here, or Temporal does not start the pull.
    """
    known = addresses(state)
    if f"{WORKER}{hospital}" not in known:
        here = [name.removeprefix(WORKER) for name in known if name.startswith(WORKER)]
        raise Failed(
            f'no worker of hospital "{hospital}" runs here; '
            + (f"the hospitals: {', '.join(here)}" if here else "start with `lipei up --profiles`")
        )
    done = run_module("stack.pull_trigger", str(state.absolute()), hospital, what)
    if done.returncode != 0:
        why = done.stdout.strip() or exit_words(done.returncode)
        raise Failed(f"Temporal did not start the pull ({why})")
