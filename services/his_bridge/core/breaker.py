"""How long a hospital that keeps failing is left alone. Pure.

A breaker whose state is what the database knows of the last pulls: every replica sees the same, and
a restart forgets nothing (docs/decisions/009).
"""

from __future__ import annotations

import hashlib

# So many failures in a row are a hospital's bad moment; from then on it is left alone.
PATIENCE = 3
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 600.0


def pause_s(failures: int, salt: str) -> float:
    """Seconds from the last failure until the hospital is asked again; 0.0 while it is tried.

    They double with every failure, and are cut by up to half so that hospitals that fell together
    do not come back together. The same salt and number give the same pause, in every process.
    """
    if failures < PATIENCE:
        return 0.0
    whole = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - PATIENCE, 30))
    digest = hashlib.sha256(f"{salt}/{failures}".encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    return whole * (1.0 - share / 2.0)
