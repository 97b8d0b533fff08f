"""How often the same refusal of the same peer is told: at once, then once a minute with a count."""

from __future__ import annotations

PAUSE_S = 60.0
# Whoever connects from more addresses than these is told of without waiting.
MOST_PEERS = 256


class Seldom:
    """Remembers when each refusal was told, and how often it happened since."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def times(self, peer: str, reason: str, now_s: float) -> int:
        """How many times are to be told now, this one included; 0 for none yet.

        >>> seldom = Seldom()
        >>> [seldom.times("10.1.2.3", "NOT_FRAMED", second) for second in (0, 5, 30, 61, 62)]
        [1, 0, 0, 3, 0]
        """
        last_s, untold = self._told.pop((peer, reason), (now_s - PAUSE_S, 0))
        is_due = now_s - last_s >= PAUSE_S
        self._told[peer, reason] = (now_s, 0) if is_due else (last_s, untold + 1)
        if len(self._told) > MOST_PEERS:
            del self._told[next(iter(self._told))]
        return untold + 1 if is_due else 0
