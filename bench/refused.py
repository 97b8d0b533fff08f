"""How long the refusal of what is hostile takes and how much memory, beside reading the bytes.

Goals: each within a second, and 64 MiB above an idle bridge.
"""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import hostile
from bench.mllp_sender import message
from bench.processes import cpu_s, memory_mib
from bench.rows import Report, Sizes
from demo.scenario import ROOT

_PEAK_ANEW = "5"  # proc(5), clear_refs: VmHWM begins at what is resident now
_PATIENCE_S = 300.0
_TABLES = (
    "CREATE TABLE bill (bill_no TEXT, updated TEXT, id TEXT, visit TEXT, begun TEXT, total TEXT)",
    "CREATE TABLE line (bill_no TEXT, line_no TEXT, code TEXT, name TEXT, qty TEXT, total TEXT)",
)
_FLOOR_S = "the same bytes read by the same process: from a socket, from a file; nothing looked at"
_FLOOR_MIB = "the bytes themselves"
# Seconds that it took, and what was said.
_Attack = Callable[[], tuple[float, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """One refusal: how long it took, its floor, its CPU, memory above idle, bytes handed in."""

    what: str
    s: float
    floor_s: float
    cpu_s: float
    mib: float
    handed_mib: float
    reason: str


class _Bridge:
    """The child that is attacked."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.port, self.reader = self.heard()

    def heard(self) -> tuple[float, ...]:
        if self.process.stdout is None:
            raise RuntimeError("the bridge has no pipes")
        said = self.process.stdout.readline()
        if not said:
            raise RuntimeError("the bridge that is attacked ended")
        found: tuple[float, ...] = tuple(json.loads(said))
        return found

    def tell(self, what: str) -> tuple[float, str]:
        """Seconds that it took, and what became of it."""
        if self.process.stdin is None:
            raise RuntimeError("the bridge has no pipes")
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        took, reason = self.heard()
        return took, str(reason)

    def send(self, port: float, raw: bytes) -> tuple[float, str]:
        """Seconds from the first byte to the last of the answer, and the answer's reason."""
        begun = time.perf_counter()
        with socket.create_connection(("127.0.0.1", int(port)), _PATIENCE_S) as connection:
            connection.sendall(b"\x0b" + raw + b"\x1c\r")
            answer = b""
            while not answer.endswith(b"\r") and (more := connection.recv(1 << 16)):
                answer += more
        took = time.perf_counter() - begun
        fields = [line.split(b"|") for line in answer.strip(b"\x0b\x1c\r").split(b"\r")]
        said = [line[8] if line[0] == b"ERR" and len(line) > 8 else line[1] for line in fields[1:]]
        return took, b" ".join(said[:2]).decode("ascii", "replace")


def measure(report: Report, sizes: Sizes) -> None:
    """The worst time and the worst memory over all that is hostile."""
    with tempfile.TemporaryDirectory(prefix="refused-", dir=report.out) as name:
        folder = Path(name)
        with _attacked(folder) as bridge:
            idle_mib = memory_mib(bridge.process.pid)[0]
            found = [*_sent(bridge, sizes), *_dropped(bridge, folder, sizes)]
            found.append(_cell(bridge, folder, sizes))
            kept = memory_mib(bridge.process.pid)[0] - idle_mib
            report.counts["refusals: MiB that are kept after all of them"] = kept
    for one in found:
        report.say(f"  {one.what}: {one.s:.2f} s, {one.mib:.0f} MiB, {one.reason}")
    slowest = max(found, key=lambda one: one.s)
    largest = max(found, key=lambda one: one.mib)
    for label, unit, one, ours, floor, what in (
        ("slowest", "s", slowest, slowest.s, slowest.floor_s, _FLOOR_S),
        ("largest", "MiB", largest, largest.mib, largest.handed_mib, _FLOOR_MIB),
    ):
        report.add(
            f"hostile input refused, the {label} of {len(found)}: {one.what}",
            unit,
            ours,
            floor,
            cpu_ms=one.cpu_s * 1e3,
            what_floor_is=what,
            n=len(found),
        )


@contextmanager
def _attacked(folder: Path) -> Iterator[_Bridge]:
    (folder / "drop" / "Claim").mkdir(parents=True, mode=0o750)
    with sqlite3.connect(folder / "tables.db") as tables:
        for statement in _TABLES:
            tables.execute(statement)
    tables.close()
    with subprocess.Popen(  # noqa: S603 - our own module, by this very interpreter
        [sys.executable, "-m", "bench.refused_bridge", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            bridge = _Bridge(process)
            # Once each of what is good, or small, so that nothing is made for the first time.
            bridge.send(bridge.port, message(1))
            (folder / "drop" / "Claim" / "first.ndjson").write_bytes(
                hostile.LINE.replace(b"HERE", b"1")
            )
            for hospital in ("folder", "tables"):
                bridge.tell(hospital)
            yield bridge
        finally:
            process.kill()


def _one(bridge: _Bridge, what: str, handed: int, floor_s: float, attack: _Attack) -> Refusal:
    pid = bridge.process.pid
    Path(f"/proc/{pid}/clear_refs").write_text(_PEAK_ANEW, "utf-8")
    before, idle_mib = cpu_s(pid), memory_mib(pid)[0]
    took, reason = attack()
    return Refusal(
        what=what,
        s=took,
        floor_s=floor_s,
        cpu_s=cpu_s(pid) - before,
        mib=memory_mib(pid)[1] - idle_mib,
        handed_mib=handed / hostile.MIB,
        reason=reason,
    )


def _sent(bridge: _Bridge, sizes: Sizes) -> Iterator[Refusal]:
    for what, raw in hostile.messages(sizes.hostile_mib).items():
        floor_s, _ = bridge.send(bridge.reader, raw)
        yield _one(
            bridge, f"HL7 v2, {what}", len(raw), floor_s, partial(bridge.send, bridge.port, raw)
        )


def _dropped(bridge: _Bridge, folder: Path, sizes: Sizes) -> Iterator[Refusal]:
    for name, raw in hostile.files(sizes.hostile_mib).items():
        path = folder / "drop" / "Claim" / name
        path.write_bytes(raw)
        floor_s, _ = bridge.tell(str(path))
        yield _one(bridge, f"a file, {name}", len(raw), floor_s, partial(bridge.tell, "folder"))


def _cell(bridge: _Bridge, folder: Path, sizes: Sizes) -> Refusal:
    text = "x" * (sizes.hostile_mib * hostile.MIB)
    moment = "2026-03-01 10:00:00"
    with sqlite3.connect(folder / "tables.db") as tables:
        bill = ("b1", moment, "11010119900307002X", "1", moment, "1.00")
        tables.execute("INSERT INTO bill VALUES (?, ?, ?, ?, ?, ?)", bill)
        tables.execute("INSERT INTO line VALUES ('b1', '1', 'c', ?, '1', '1.00')", (text,))
    tables.close()
    floor_s, _ = bridge.tell(str(folder / "tables.db"))
    return _one(bridge, "a table's cell", len(text), floor_s, partial(bridge.tell, "tables"))
