"""Which processes of an installation run: each knows its folder, however it was started."""

from __future__ import annotations

import os
from pathlib import Path


def processes_of(folder: Path) -> list[int]:
    """Those that name the folder in their command line or environment, or write to a file in it.

    This process is not among them.
    """
    others = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in others if pid != os.getpid() and _knows(pid, str(folder))]


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is more than the corpse of one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _knows(pid: int, folder: str) -> bool:
    try:
        told = [Path(f"/proc/{pid}/{part}").read_bytes() for part in ("cmdline", "environ")]
        told += [bytes(Path(f"/proc/{pid}/fd/{out}").readlink()) for out in (1, 2)]
    except OSError:  # it ended meanwhile, or is none of ours
        return False
    return any(folder.encode() in one for one in told)
