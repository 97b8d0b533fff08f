"""What a run finds: rows with their floors, counts, processes. Measures nothing itself.

A ratio is 1.0 at the floor and larger is worse, whatever the unit: ours / floor for times,
floor / ours for rates.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

RATES = ("claims/s", "bills/s", "quotes/s")


class Row(TypedDict):
    """One measured path; `cpu_ms` is the CPU that our side took per claim, bill or quote."""

    path: str
    unit: str
    ours: float
    floor: float
    ratio: float
    cpu_ms: float
    what_floor_is: str
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much of everything one run measures."""

    decisions: int = 2_000
    stored: int = 200
    batches: int = 5
    singles: int = 100
    compared: int = 20  # claims of a batch whose statements are compared by their lines
    idle: int = 150
    concurrent: int = 320
    settled: int = 480
    blocks: int = 4
    bills: int = 1_000
    hl7_bills: int = 5_000
    hl7_messages: int = 100_000
    hostile_mib: int = 10
    quotes: int = 500
    calls: int = 1_000
    priced: int = 20_000
    leaves: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    kept_leaves: int = 20_000
    appended: int = 200
    stored_claims: int = 100_000
    renewals: int = 10_000_000
    turns: int = 3  # of ours and a floor, one after the other; the median of each counts
    fitted: int = 1_000_000
    varying: int = 230_000  # people's years; 188,000 rows are left before first events

    @property
    def claims(self) -> int:
        """Insured people, one claim each, so that nobody waits for an earlier claim."""
        return self.idle + self.concurrent + self.settled


# Enough to see that every path still runs; its figures mean nothing.
QUICK = Sizes(
    decisions=20,
    stored=8,
    batches=1,
    singles=3,
    compared=4,
    idle=3,
    concurrent=8,
    settled=8,
    blocks=2,
    bills=40,
    hl7_bills=20,
    hl7_messages=10,
    hostile_mib=1,
    quotes=5,
    calls=5,
    priced=50,
    leaves=(1_000, 2_000),
    kept_leaves=200,
    appended=10,
    stored_claims=40,
    renewals=2_000,
    turns=1,
    fitted=3_000,
    varying=600,
)


@dataclass
class Report:
    """The summary as it grows; whole only when `complete`."""

    out: Path
    say: Callable[[str], None]
    host: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)
    processes: dict[str, dict[str, float]] = field(default_factory=dict)
    complete: bool = False

    def add(
        self,
        path: str,
        unit: str,
        ours: float,
        floor: float,
        *,
        cpu_ms: float,
        what_floor_is: str,
        n: int,
    ) -> None:
        """A row, and the summary with it, so that an interrupted run leaves what it has."""
        ratio = floor / ours if unit in RATES else ours / floor
        row = Row(
            path=path,
            unit=unit,
            ours=figures(ours),
            floor=figures(floor),
            ratio=figures(ratio),
            cpu_ms=figures(cpu_ms),
            what_floor_is=what_floor_is,
            n=n,
        )
        self.rows.append(row)
        self.say(f"{path}: {row['ours']:g} {unit}, floor {row['floor']:g}, ratio {row['ratio']:g}")
        self.write()

    def write(self) -> None:
        """summary.json as of now."""
        summary = {
            "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "complete": self.complete,
            "host": self.host,
            "rows": self.rows,
            "counts": {name: figures(value) for name, value in sorted(self.counts.items())},
            "processes": self.processes,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(summary, indent=1, ensure_ascii=False)
        (self.out / "summary.json").write_text(text + "\n", encoding="utf-8")


def figures(value: float) -> float:
    """Four significant figures: more would pretend.

    >>> figures(1234.5678), figures(0.00123456)
    (1235.0, 0.001235)
    """
    return float(f"{value:.4g}")


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which so many percent lie; of a single value that value.

    >>> percentile([1.0, 2.0, 3.0], 50)
    2.0
    """
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
