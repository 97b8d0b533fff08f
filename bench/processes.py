"""What the stack's processes cost: CPU seconds and memory, as Linux counts them in /proc."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_KIB_PER_MIB = 1024


def processes_of(state: Path, supervisor: int) -> dict[str, int]:
    """Name → process id of everything that `lipei up` runs, itself included."""
    told = json.loads((state / "processes.json").read_text(encoding="utf-8"))
    running = {name: int(part["pid"]) for name, part in told.items() if part["pid"]}
    return {**running, "lipei up": supervisor}


def cpu_s(pid: int) -> float:
    """User and system seconds of a process and all its threads so far; its children not."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    # The name in brackets may hold anything; what follows is counted from its end.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident memory now and at its highest, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    kib = {
        name: int(value.split()[0])
        for name, _, value in (line.partition(":") for line in status.splitlines())
        if name in ("VmRSS", "VmHWM")
    }
    return kib["VmRSS"] / _KIB_PER_MIB, kib["VmHWM"] / _KIB_PER_MIB


class Meter:
    """CPU of named processes since a moment, in milliseconds; add up over several spans."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = processes
        self._before: dict[str, float] = {}
        self.ms = dict.fromkeys(processes, 0.0)

    def __enter__(self) -> Self:
        self._before = {name: cpu_s(pid) for name, pid in self._processes.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for name, pid in self._processes.items():
            self.ms[name] += (cpu_s(pid) - self._before[name]) * 1e3

    @property
    def total_ms(self) -> float:
        """All of them together."""
        return sum(self.ms.values())
