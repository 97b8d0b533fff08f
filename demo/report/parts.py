"""The shapes that the page draws: bars and stacks in percent of their frame. Knows no claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a list: where it begins and how long it is, in percent of the track."""

    label: str
    value: str
    left: float
    width: float
    colour: str
    total: bool = False


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One part of a stacked bar, in percent of the whole."""

    label: str
    value: str
    width: float
    colour: str


@dataclass(frozen=True, kw_only=True)
class Bin:
    """One column of a histogram; the height in percent of the highest."""

    label: str
    value: int
    height: float


def slices(
    amounts: Mapping[str, int], said: Mapping[str, str], colours: Mapping[str, str]
) -> list[Slice]:
    """A whole cut into named parts; parts of nothing are left out."""
    whole = sum(amounts.values()) or 1
    return [
        Slice(
            label=label,
            value=said[label],
            width=round(100 * amount / whole, 2),
            colour=colours.get(label, "aside"),
        )
        for label, amount in amounts.items()
        if amount
    ]


def ranked(rows: Sequence[tuple[str, int, str, str]]) -> list[Bar]:
    """Bars that begin at zero, scaled to the longest; rows are label, amount, its text, colour."""
    longest = max((amount for _, amount, _, _ in rows), default=1) or 1
    return [
        Bar(label=label, value=text, left=0, width=round(100 * amount / longest, 2), colour=colour)
        for label, amount, text, colour in rows
    ]


def cascade(rows: Sequence[tuple[str, int, int, str, bool]], most: int) -> list[Bar]:
    """Bars that hang where the one before ended; rows are label, from, to, text, whether a total.

    `most` is what the full width stands for, so that two cascades can be compared by eye.
    """
    bars = []
    for label, begin, end, text, total in rows:
        low, high = (0, end) if total else (min(begin, end), max(begin, end))
        colour = "aside" if total else "patient" if end >= begin else "insurer"
        bars.append(
            Bar(
                label=label,
                value=text,
                left=round(100 * low / most, 2),
                width=round(100 * (high - low) / most, 2),
                colour=colour,
                total=total,
            )
        )
    return bars


def histogram(ascending: Sequence[float], columns: int = 40) -> list[Bin]:
    """Counts in columns of equal ratio, because times spread over orders of magnitude."""
    if not ascending:
        return []
    low, high = max(ascending[0], 0.1), max(ascending[-1], 0.2)
    ratio = (high / low) ** (1 / columns) if high > low else 1.0
    counts = [0] * columns
    edges = [low * ratio**index for index in range(1, columns)]
    column = 0
    for value in ascending:
        while column < columns - 1 and value > edges[column]:
            column += 1
        counts[column] += 1
    top = max(counts)
    return [
        Bin(label=f"{low * ratio**index:.0f} ms", value=count, height=round(100 * count / top, 1))
        for index, count in enumerate(counts)
    ]
