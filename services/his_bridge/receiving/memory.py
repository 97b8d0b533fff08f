"""What a process does once for its memory: large blocks go back, what stays is not looked at."""

from __future__ import annotations

import ctypes
import gc

# glibc raises its own threshold to the largest block that it ever freed; from then on blocks of
# that size stay with the thread that used them, and a few large messages leave many MiB behind.
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 1 << 20


def give_back_large_blocks() -> None:
    """For the whole process; without glibc nothing happens."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def leave_out_what_stays() -> None:
    """Have the garbage collector look no more at what was made so far: modules, tables, profiles.

    It would do so again and again while messages are read, at a tenth of all that they cost.
    """
    gc.collect()
    gc.freeze()
