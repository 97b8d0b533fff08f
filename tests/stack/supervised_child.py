"""A child of the supervisor that does little: `python -m tests.stack.supervised_child`.

Arguments: what it does, the state directory, and its name. It says in the journal what it does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn


def _standing() -> dict[str, Any]:
    """What a process can tell of itself; nothing of it may depend on how it was started."""
    listed = list(Path("/proc/self/fd").iterdir())
    return {
        "module": __name__,
        "arguments": sys.argv,
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109 as the process sees it
        "umask": os.umask(0o077),
        "leads": (os.getsid(0), os.getpgid(0)) == (os.getpid(), os.getpid()),
        "parent": os.getppid(),
        # But for the one of the listing, which is closed by now.
        "files": sorted((one.name, str(one.readlink())) for one in listed if one.is_symlink()),
        "signals": {
            int(one): getattr(heard, "__name__", str(heard))
            for one in signal.valid_signals()
            for heard in [signal.getsignal(one)]
        },
        "threads": threading.active_count(),
    }


def main() -> None:
    """Do as the first argument says."""
    program, state, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if program == "broken":
        sys.exit("the disk is full")

    def say(word: str) -> None:
        with (state / "journal").open("a") as out:
            out.write(f"{word} {name}\n")

    def stop(*_: object) -> NoReturn:
        say("stopped")
        sys.exit(0)

    if program == "stubborn":  # ignores SIGTERM, and so does the process that it has started
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.fork()
    else:  # stops when it is asked to
        signal.signal(signal.SIGTERM, stop)
    if program == "tells":
        (state / f"told-{name}").write_text(json.dumps(_standing()))
    say("started")
    (state / f"began-{os.getpid()}").touch()  # before that it cannot hear a signal
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
