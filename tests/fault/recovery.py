"""How long a kill was felt: rows of measurements, their table, and `build/fault/summary.json`."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fault.checks import Verdict

SUMMARY = Path(__file__).parents[2] / "build" / "fault" / "summary.json"
CONTROL = SUMMARY.with_name("control.json")
# One killed process is back at work within this; held by `make fault` alone.
BOUND_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """One kill, in seconds from the signal; `work` says what `work_s` waited for.

    `by_rule_s` of it is no recovery: a payment file that the kill left in doubt, and that the bank
    never received, leaves again only so long after the attempt.
    """

    process: str
    load: str
    in_flight: int
    ready_s: float
    work: str
    work_s: float
    by_rule_s: float = 0

    @property
    def within_bound(self) -> bool:
        """Whether the process, and the work that needs it, came back in time."""
        return max(self.ready_s, self.work_s - self.by_rule_s) < BOUND_S


def write_summary(rows: Sequence[Recovery], outcome: Mapping[str, object]) -> None:
    """Write the evidence of a run, with the machine that it ran on."""
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    whole = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": host_facts(),
        "bound_s": BOUND_S,
        **outcome,
        "kills": [asdict(row) | {"within_bound": row.within_bound} for row in rows],
    }
    SUMMARY.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def write_control(verdicts: Mapping[str, Verdict]) -> None:
    """Write how many payouts were executed more than once, by payer, under the same kills."""
    told = {
        payer: {
            "claims": verdict.claims,
            "payments_at_the_bank": verdict.payments,
            "paid_twice": verdict.paid_twice,
        }
        for payer, verdict in verdicts.items()
    }
    CONTROL.parent.mkdir(parents=True, exist_ok=True)
    CONTROL.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def host_facts() -> dict[str, object]:
    """What the figures depend on, and nothing that names the machine."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processors": os.cpu_count(),
        "memory_gib": round(memory_bytes / 2**30, 1),
        "load_average": [round(each, 2) for each in os.getloadavg()],
        "python": platform.python_version(),
        "kernel": platform.release().partition("-")[0],
        "machine": platform.machine(),
    }


def print_table(rows: Sequence[Recovery]) -> None:
    """One row a process and load: the spread of its kills."""
    table = Table("killed", "load", "in flight", "ready, s", "at work, s", "at work means")
    for process, load, work in dict.fromkeys((r.process, r.load, r.work) for r in rows):
        mine = [r for r in rows if (r.process, r.load, r.work) == (process, load, work)]
        table.add_row(
            process,
            load,
            _spread([row.in_flight for row in mine], ""),
            _spread([row.ready_s for row in mine], ".1f"),
            _spread([row.work_s for row in mine], ".1f"),
            work,
        )
    console = Console(width=140)
    console.print()  # after the dots of pytest
    console.print(table)


def _spread(values: Sequence[float], form: str) -> str:
    return " ".join(format(value, form) for value in sorted(values))
