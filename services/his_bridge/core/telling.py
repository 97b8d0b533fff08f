"""Which texts of a patient's record tell who it is, so that they must not leave. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from services.his_bridge.core.redaction import plain

# Below this a text is too common to be searched for in what leaves.
_SHORTEST_NUMBER = 6
_SHORTEST_LATIN = 4
_SHORTEST_HAN = 2


def telling_names(names: Iterable[str]) -> set[str]:
    """The names, or parts of names, that are long enough to tell somebody."""
    return {name for name in names if _is_telling(name)}


def telling_numbers(numbers: Iterable[str | None]) -> set[str]:
    """The numbers and addresses that are long enough to tell somebody."""
    return {number for number in numbers if number and len(number) >= _SHORTEST_NUMBER}


def in_plain(texts: Iterable[str]) -> tuple[str, ...]:
    """The texts as redaction compares them, each once."""
    return tuple(sorted({plain(text) for text in texts}))


def whole_names(family: str, given: Iterable[str]) -> set[str]:
    """The ways in which a family name and given names are written as one."""
    parts = list(given)
    joined, spaced = "".join(parts), " ".join(parts)
    if not family or not joined:
        return set()
    found = {family + joined, f"{family} {spaced}", f"{spaced} {family}"}
    return found | {f"{first} {family}" for first in parts}


def _is_telling(text: str) -> bool:
    return len(text) >= (_SHORTEST_LATIN if text.isascii() else _SHORTEST_HAN)
