"""Measure the paths of a claim that run without Temporal, each beside its floor, in one run.

Rows: {path, unit, ours, floor, ratio, cpu_ms}. Ratios within one run are the result; absolute
figures are this machine's. The floor of a decision is canonical JSON of the same facts, which any
engine that keeps its inputs must write; the floor of a stored decision is the same bytes in one
plain table.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.claims import Row, decide, settle

BUILD = Path("build/bench")
MEASURES: tuple[Callable[[Path], Row], ...] = (decide, settle)


def main() -> None:
    """Run every measure and write the summary."""
    console = Console()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lipei-bench-") as folder:
        for measure in MEASURES:
            with console.status(measure.__doc__ or measure.__name__):
                rows.append(measure(Path(folder)))
    BUILD.mkdir(parents=True, exist_ok=True)
    summary = {"measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "rows": rows}
    (BUILD / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    table = Table("path", "unit", "ours", "floor", "ratio", "cpu ms")
    for row in rows:
        table.add_row(
            *(str(row[key]) for key in ("path", "unit", "ours", "floor", "ratio")),
            str(row["cpu_ms"]),
        )
    console.print(table)
    console.print(f"written to {BUILD / 'summary.json'}")


main()
