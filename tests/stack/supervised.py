"""A supervisor over tiny children, as a process of its own, so that tests can kill it.

`python -m tests.stack.supervised STATE CHILDREN.json HOW`: a list of {"name", "stage", "program",
...}, and whether they are "forked" or "executed"; a child is ready once the file `gate-{name}`
stands in the state directory, and cannot be started while `full` stands there. One that is "idle"
is not needed until `wanted-{name}` stands there. "temporal" runs the real server.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

from stack.child import Launch, python
from stack.forkserver import ForkServer
from stack.supervisor import AlreadyRunning, CannotStart, ChildSpec, Patience, Supervisor, only_one
from stack.temporal_server import temporal_server

CHILD = "tests.stack.supervised_child"


def spec(state: Path, child: dict[str, Any]) -> ChildSpec:
    name, stage = child["name"], child.get("stage", 0)
    if name == "temporal":
        return temporal_server(state, stage=stage)
    journal = str(state / "journal")
    command = python(CHILD, child.get("program", "good"), str(state), name)
    launch = Launch(command=command, environ={})

    def prepare() -> Launch:
        if (state / "full").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return launch

    def ready(pid: int) -> bool:
        with Path(journal).open("a") as out:
            out.write(f"asked {name}\n")
        return (state / f"gate-{name}").exists() and (state / f"began-{pid}").exists()

    return ChildSpec(
        name=name,
        stage=stage,
        prepare=prepare,
        ready=ready,
        start_within_s=child.get("start_within_s", 60.0),
        grace_s=child.get("grace_s", 30.0),
        wanted=lambda: not child.get("idle") or (state / f"wanted-{name}").exists(),
    )


def main() -> None:
    state = Path(sys.argv[1])
    specs = [spec(state, child) for child in json.loads(Path(sys.argv[2]).read_text())]
    patience = Patience(first_pause_s=0.01, longest_pause_s=0.02)
    forks = ForkServer((CHILD,))
    if sys.argv[3] == "executed":
        forks.close()
    try:
        with contextlib.closing(forks), only_one(state):
            Supervisor(specs, state, patience=patience, forks=forks).run()
    except (AlreadyRunning, CannotStart) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
