"""A program of ours run many times, each in a process of its own, having been imported once.

Importing takes longer than all else that most tests ask of a service. The interpreter that imports
has no thread and opens nothing, so that what is forked off it is as new.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

# Told `fork`, it answers with a process id; told `wait`, with the exit code of one that has ended.
# What was imported is frozen: no child's collector looks at it, which would copy its memory.
_INTERPRETER = """
import gc, importlib, json, os, runpy, sys
imported = set()
def imports(modules):
    for module in modules:
        importlib.import_module(module)
    imported.update(modules)
    gc.collect()
    gc.freeze()
for line in sys.stdin:
    asked = json.loads(line)
    if "wait" in asked:
        print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), flush=True)
        continue
    module = asked["module"]
    if missing := {module, *asked["imported"]} - imported:
        imports(sorted(missing))
    child = os.fork()
    if not child:
        for number, path in enumerate((os.devnull, *asked["files"])):
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT if number else os.O_RDONLY)
            os.dup2(file, number)
            os.close(file)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["environ"])
        sys.argv[1:] = asked["words"]
        del sys.modules[module]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit()
    print(child, flush=True)
"""
_ROOT = Path(__file__).parents[1]
_LONGEST_S = 60.0
_ONE_ASKS = threading.Lock()


class Forked:
    """A module that runs as `python -m` runs it, with this environment alone.

    What it says is appended to the files. To be used as a `subprocess.Popen`.
    """

    def __init__(
        self,
        module: str,
        *words: str,
        environ: Mapping[str, str],
        out: Path,
        err: Path,
        cwd: Path = _ROOT,
        imported: tuple[str, ...] = (),
        alone: bool = False,
    ) -> None:
        """`imported` is what else was imported before: what the process will fork itself.

        `alone`: nothing else was, for what looks at what is imported.
        """
        self._asked = partial(_asked, module if alone else "")
        self._module = module
        self.returncode: int | None = None
        self.pid = self._asked(
            module=module,
            imported=imported,
            words=words,
            environ=dict(environ),
            files=[str(out.absolute()), str(err.absolute())],
            cwd=str(cwd),
        )
        self._ends = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._ended(0.0)

    def wait(self, timeout: float = _LONGEST_S) -> int:
        """The exit code, once it has ended.

        Raises: subprocess.TimeoutExpired.
        """
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self._module, timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing when it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._ends, number)

    def terminate(self) -> None:
        """Nothing when it has ended."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Nothing when it has ended."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, within_s: float) -> int | None:
        if self.returncode is None and select.select([self._ends], [], [], within_s)[0]:
            os.close(self._ends)
            self.returncode = self._asked(wait=self.pid)
        return self.returncode


@dataclass(frozen=True)
class Ended:
    """What a process did."""

    code: int
    out: str
    err: str


def run_forked(
    module: str, *words: str, environ: Mapping[str, str], cwd: Path = _ROOT, alone: bool = False
) -> Ended:
    """Run a module to its end; one that goes on instead is killed."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = Forked(module, *words, environ=environ, out=out, err=err, cwd=cwd, alone=alone)
        try:
            code = process.wait()
        finally:
            process.kill()
        return Ended(code, out.read_text("utf-8"), err.read_text("utf-8"))


def _asked(of: str, /, **request: Any) -> int:
    with _ONE_ASKS:
        interpreter = _interpreter(of)
        assert interpreter.stdin is not None
        assert interpreter.stdout is not None
        interpreter.stdin.write(f"{json.dumps(request)}\n")
        interpreter.stdin.flush()
        return int(interpreter.stdout.readline())


@cache
def _interpreter(_of: str) -> subprocess.Popen[str]:
    """One for all that is not alone: most of what one of our programs imports another does too."""
    ours = {n: v for n, v in os.environ.items() if not n.startswith(("LIPEI_", "TEMPORAL_"))}
    started = subprocess.Popen(
        [sys.executable, "-c", _INTERPRETER],
        env={**ours, "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'protos'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(started.communicate)
    return started
