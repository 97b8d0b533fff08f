"""Become another program that the kernel kills when its parent dies. Standard library only.

`python -I -S leash.py PARENT_PID COMMAND...` keeps its process id: nothing stays in between.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Tie this process to its parent, then replace it by the command.

    The signal is SIGKILL: a program that is hung or ignores SIGTERM must go too, and everything
    that we start survives a kill without loss. The kernel sends it when the *thread* that started
    us ends, so a supervisor starts its children from its main thread.
    """
    parent, command = int(arguments[0]), arguments[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the line above held
        sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 -- the supervisor's own command line, no shell
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
