"""Makes the C library give large blocks back as soon as they are freed."""

from __future__ import annotations

import ctypes

# glibc raises its own threshold to the largest block that it ever freed; from then on blocks of
# that size stay with the thread that used them, and a few large messages leave many MiB behind.
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 1 << 20


def give_back_large_blocks() -> None:
    """For the whole process; without glibc nothing happens."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
