"""`python -m bench`: measure the paths of lipei, each beside its floor, and write summary.json.

docs/bench.md says what every row and floor is and how to read them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from rich.table import Table

from bench import (
    engine,
    every_edit,
    evidence,
    hl7v2,
    hl7v2_memory,
    identified,
    masking,
    pull,
    quote,
    refused,
    renewing,
    sealing,
    settling,
    stored,
    what_if,
)
from bench.live import Live, live_stack
from bench.postgres import postgres_server
from bench.rows import QUICK, Report, Sizes
from demo.his import LoadRefused
from demo.processes import ChildFailed, stand_alone
from demo.progress import Reporter
from demo.scenario import ROOT
from demo.stack import StackRefused, StateRefused
from demo.wire import CallRefused
from services.common.transport.certificates import TlsRefused

A = TypeVar("A")

MEASURES = (
    "engine",
    "identity",
    "masking",
    "sealing",
    "stored",
    "what-if",
    "evidence",
    "hl7v2",
    "refusals",
    "renew",
    "fitting",
    "hl7v2-memory",
    "decision",
    "settle",
    "pull",
    "quote",
)
# Measured only when it is asked for: several minutes.
_LONG = ("hl7v2-memory",)
# They need a PostgreSQL server, which is one for all of them, with a database for each.
_ON_BOTH_DATABASES = {
    "stored": stored.measure,
    "what-if": what_if.measure,
    "evidence": evidence.measure,
}
# They need the stack; the order keeps the pull, which is done once, beside an idle stack.
_LIVE = ("pull", "decision", "settle", "quote")
_PACKAGES = ("temporalio", "grpcio", "protobuf", "sqlalchemy", "numpy")
_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOPPING = b"\nStopping ...\n"
_EXPECTED_FAULTS = (
    CallRefused,
    ChildFailed,
    LoadRefused,
    RuntimeError,
    StackRefused,
    StateRefused,
    TlsRefused,
    TimeoutError,
)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when every chosen row was measured, 1 when one failed, 130 interrupted."""
    options = _options(arguments)
    stand_alone()
    screen = Reporter(sys.stdout)
    _listen()
    report = Report(out=options.out, say=screen.say)
    try:
        _run(options.only, QUICK if options.quick else Sizes(), report)
        report.complete = True
    except KeyboardInterrupt:
        screen.say("Interrupted; everything that was started is stopped.")
        return _INTERRUPTED
    except _EXPECTED_FAULTS as fault:
        print(f"The benchmarks failed. {fault}", file=sys.stderr)
        return 1
    finally:
        report.write()
        _show(report, screen)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MEASURES,
        default=[name for name in MEASURES if name not in _LONG],
        help=f"measure these alone; {', '.join(_LONG)} only when it is named here",
    )
    parser.add_argument(
        "--quick", action="store_true", help="as little as shows that it runs; figures mean nothing"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "bench", help="where summary.json goes"
    )
    return parser.parse_args(arguments)


def _run(only: list[str], sizes: Sizes, report: Report) -> None:
    report.host = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{package: version(package) for package in _PACKAGES},
    }
    report.out.mkdir(parents=True, exist_ok=True)
    _run_in_folder(only, sizes, report)
    if "hl7v2" in only:
        _measured(report, "HL7 v2", lambda: hl7v2.measure(report, sizes))
    if "refusals" in only:
        _measured(report, "refusals", lambda: refused.measure(report, sizes))
    if "hl7v2-memory" in only:
        _measured(report, "HL7 v2 memory", lambda: hl7v2_memory.measure(report, sizes))
    if "fitting" in only:
        from bench import fitting  # noqa: PLC0415 - seconds of pandas and lifelines, for it alone

        _measured(report, "fitting", lambda: fitting.measure(report, sizes))
    if "quote" in only:
        _measured(report, "quote kernel", lambda: quote.measure(report, sizes))
        _measured(report, "explained quotes", lambda: quote.explained(report, sizes))
    chosen = [name for name in _LIVE if name in only]
    if chosen:
        _run_live(chosen, sizes, report)


def _run_in_folder(only: list[str], sizes: Sizes, report: Report) -> None:
    # Beside the summary: a temporary folder may lie in memory, where nothing is ever durable.
    with tempfile.TemporaryDirectory(prefix="stored-", dir=report.out) as folder:
        if "engine" in only:
            _measured(report, "engine", lambda: engine.measure(report, sizes))
            _measured(report, "every edit", lambda: every_edit.measure(report, sizes))
        if "identity" in only:
            identity = partial(identified.measure, report, sizes, Path(folder))
            _measured(report, "identity", lambda: _awaited(identity()))
        if "masking" in only:
            masked = partial(masking.measure, report, sizes, Path(folder))
            _measured(report, "masking", lambda: _awaited(masked()))
        if "sealing" in only:
            _measured(report, "sealing", lambda: sealing.measure(report, sizes, Path(folder)))
        databases = [name for name in _ON_BOTH_DATABASES if name in only]
        if databases:
            with postgres_server(durable=True) as server:
                for name in databases:
                    measure = _ON_BOTH_DATABASES[name]
                    work = partial(measure, report, sizes, Path(folder), server)
                    _measured(report, name, work)
        if "renew" in only:
            _measured(report, "renewal", lambda: renewing.measure(report, sizes, Path(folder)))


def _run_live(chosen: list[str], sizes: Sizes, report: Report) -> None:
    report.say("Starting the stack ...")
    claims = bool({"decision", "settle"} & set(chosen))
    with live_stack(report, sizes, hospital="pull" in chosen, claims=claims) as live:
        report.host["temporal server"] = _awaited(settling.server_version(live.target("temporal")))
        for name in chosen:
            _measured(report, name, partial(_measure_live, name, sizes, report, live))


def _measure_live(name: str, sizes: Sizes, report: Report, live: Live) -> None:
    if name == "pull":
        _awaited(pull.pulled(report, live))
    elif name == "decision":
        _awaited(settling.decisions(report, sizes, live))
    elif name == "settle":
        _awaited(settling.settled(report, sizes, live))
    else:
        _awaited(quote.quoted(report, sizes, live))


def _awaited(work: Coroutine[Any, Any, A]) -> A:
    """The answer of a coroutine; a signal cancels it at its next step.

    Raising in the middle of the loop, as `_interrupt` does elsewhere, may hit native code of gRPC
    or Temporal there (seen: a segmentation fault in one of some fifty interrupted runs).

    Raises: KeyboardInterrupt when a signal came.
    """
    asked: list[bool] = []

    async def cancellable() -> A:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio.run has just made it

        def stop() -> None:
            os.write(2, _STOPPING)
            asked.append(True)
            task.cancel()

        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, stop)
        return await work

    try:
        return asyncio.run(cancellable())
    except (asyncio.CancelledError, Exception):
        if asked:  # what was cancelled may say so in words of its own
            raise KeyboardInterrupt from None
        raise
    finally:
        _listen()


def _measured(report: Report, name: str, work: Callable[[], None]) -> None:
    begun = time.monotonic()
    report.say(f"Measuring {name} ...")
    work()
    report.say(f"  {time.monotonic() - begun:.1f} s")


def _show(report: Report, screen: Reporter) -> None:
    table = Table("path", "unit", "ours", "floor", "ratio", "cpu ms", "n")
    for row in report.rows:
        figures = (row["ours"], row["floor"], row["ratio"], row["cpu_ms"], row["n"])
        table.add_row(row["path"], row["unit"], *(f"{figure:g}" for figure in figures))
    screen.console.print(table)
    for name, value in sorted(report.counts.items()):
        screen.say(f"{name}: {value:.4g}")
    for name, memory in report.processes.items():
        screen.say(f"MiB of {name}: " + ", ".join(f"{k} {v:g}" for k, v in memory.items()))
    screen.say(f"written to {report.out / 'summary.json'}")


def _listen() -> None:
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # One wish to stop may come as several signals; the first one counts.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.write(2, _STOPPING)
    raise KeyboardInterrupt


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The Temporal SDK's threads now and then abort an interpreter that ends (see demo/__main__.py).
    os._exit(code)
