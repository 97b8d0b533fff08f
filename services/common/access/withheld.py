"""How a caller learns what an answer withholds: one entry of the trailing metadata."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WITHHELD_KEY = "lipei-withheld"
# Beside a refusal's details there is room for little more in a foreign client's 8 KiB.
_ROOM_BYTES = 1_000


def withheld_entry(paths: Sequence[str]) -> tuple[str, str]:
    """The entry that names the paths; what has no room is counted at the end.

    >>> withheld_entry(["claim.member", "claim.decision.lines"])
    ('lipei-withheld', 'claim.member,claim.decision.lines')
    """
    said: list[str] = []
    left = _ROOM_BYTES
    for path in paths:
        left -= len(path) + 1
        if left < 0:
            said.append(f"+{len(paths) - len(said)}")
            break
        said.append(path)
    return WITHHELD_KEY, ",".join(said)


def withheld_in(trailing: Iterable[tuple[str, str | bytes]] | None) -> frozenset[str]:
    """The paths that an answer's trailing metadata names.

    >>> sorted(withheld_in([("lipei-withheld", "claim.member,+2")]))
    ['claim.member']
    """
    for key, value in trailing or ():
        if key == WITHHELD_KEY and isinstance(value, str):
            return frozenset(path for path in value.split(",") if path[:1] not in ("", "+"))
    return frozenset()
