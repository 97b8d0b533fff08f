"""Ties between processes that the kernel keeps. Standard library only.

`python -I -S leash.py PARENT_PID COMMAND...` becomes another program that the kernel kills when its
parent dies; it keeps its process id: nothing stays in between.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> None:
    """Tie this process to its parent, then replace it by the command."""
    parent, command = int(arguments[0]), arguments[1:]
    try:
        if not tied_to(parent):
            sys.exit(1)
        os.execvp(command[0], command)  # noqa: S606 -- the supervisor's own command line, no shell
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


def tied_to(parent: int) -> bool:
    """Tie this process to its parent; False when that one has died before.

    The signal is SIGKILL: a program that is hung or ignores SIGTERM must go too, and everything
    that we start survives a kill without loss. The kernel sends it when the *thread* that started
    us ends, so a supervisor starts its children from its main thread; whom we adopt is the main
    thread's.

    Raises: OSError.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def adopt_orphans() -> None:
    """From now on a descendant whose parent ends becomes this process's own child.

    Raises: OSError.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(sys.argv[1:])
