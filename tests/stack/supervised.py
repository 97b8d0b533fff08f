"""A supervisor over tiny children, as a process of its own, so that tests can kill it.

`python supervised.py STATE CHILDREN.json`: a list of {"name", "stage", "program", ...}; a child is
ready once the file `gate-{name}` stands in the state directory, and cannot be started while `full`
stands there. "temporal" runs the real server.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

from stack.child import Launch
from stack.supervisor import AlreadyRunning, CannotStart, ChildSpec, Patience, Supervisor, only_one
from stack.temporal_server import temporal_server

# Each says what it does in the journal; {journal}, {began} and {name} are filled in.
PROGRAMS = {
    # Stops when it is asked to.
    "good": """
import os, signal, sys
def say(word):
    with open({journal!r}, "a") as out: out.write(word + " {name}\\n")
def stop(*_):
    say("stopped"); sys.exit(0)
signal.signal(signal.SIGTERM, stop)
say("started")
open({began!r} + str(os.getpid()), "w").close()
while True: signal.pause()
""",
    # Ignores SIGTERM, and so does the process that it has started.
    "stubborn": """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
with open({journal!r}, "a") as out: out.write("started {name}\\n")
open({began!r} + str(os.getpid()), "w").close()
while True: signal.pause()
""",
    "broken": "import sys; sys.exit('the disk is full')",
}


def spec(state: Path, child: dict[str, Any]) -> ChildSpec:
    name, stage = child["name"], child.get("stage", 0)
    if name == "temporal":
        return temporal_server(state, stage=stage)
    journal = str(state / "journal")
    began = str(state / "began-")  # and the process id: before that it cannot hear a signal
    text = PROGRAMS[child.get("program", "good")].format(journal=journal, name=name, began=began)
    launch = Launch(command=[sys.executable, "-I", "-S", "-c", text, str(state)], environ={})

    def prepare() -> Launch:
        if (state / "full").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return launch

    def ready(pid: int) -> bool:
        with Path(journal).open("a") as out:
            out.write(f"asked {name}\n")
        return (state / f"gate-{name}").exists() and Path(f"{began}{pid}").exists()

    return ChildSpec(
        name=name,
        stage=stage,
        prepare=prepare,
        ready=ready,
        start_within_s=child.get("start_within_s", 60.0),
        grace_s=child.get("grace_s", 30.0),
    )


def main() -> None:
    state = Path(sys.argv[1])
    specs = [spec(state, child) for child in json.loads(Path(sys.argv[2]).read_text())]
    patience = Patience(first_pause_s=0.01, longest_pause_s=0.02)
    try:
        with only_one(state):
            Supervisor(specs, state, patience=patience).run()
    except (AlreadyRunning, CannotStart) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
