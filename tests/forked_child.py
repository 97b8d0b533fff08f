"""A child of the demo's kind that is forked: what it starts itself was imported once for all tests.

The kernel ends what it has started with it, as with a child that was started.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.processes import Child, program
from stack.installation import MODULES
from tests.forked import Forked


class ForkedChild(Child):
    """Runs a module of ours: `python -m` with its words, or `lipei` with a command's."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        environ: Mapping[str, str] | None = None,
        grace_s: float = 15.0,
    ) -> None:
        self.name, self.log, self._grace_s = name, log, grace_s
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        first, *words = command
        self._process = Forked(  # type: ignore[assignment] # as a Popen in all that a Child does
            "stack.cli" if first == program("lipei") else first,
            *words,
            environ={**os.environ, **(environ or {})},
            out=log,
            err=log,
            cwd=cwd,
            imported=MODULES,
        )

    def stop(self) -> None:
        """Ask it to end, and end it by force when it does not within its grace."""
        self._process.terminate()
        try:
            self._process.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(self._grace_s)
