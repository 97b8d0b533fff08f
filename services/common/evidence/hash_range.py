"""How many hashes of a log may be asked for at once."""

from __future__ import annotations

from services.common.refusals import Violation

MOST_HASHES = 10_000


def range_faults(start: int, count: int) -> list[Violation]:
    """What is wrong with a range of hashes that is asked for."""
    violations = [negative("start_index")] if start < 0 else []
    if not 1 <= count <= MOST_HASHES:
        text = f"must be 1 to {MOST_HASHES}"
        violations.append(Violation("count", "OUT_OF_RANGE", text))
    return violations


def negative(field: str) -> Violation:
    """The fault of a number below 0."""
    return Violation(field, "NEGATIVE", "must not be negative")
