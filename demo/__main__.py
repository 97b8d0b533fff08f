"""`python -m demo`: a hospital's bills go through real servers to money; the result is checked."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from demo.his import LoadRefused
from demo.hospital.hospital import BILLS, LEAST_BILLS, LEAST_PEOPLE, MOST_BILLS_EACH, PEOPLE, SEED
from demo.processes import ChildFailed, stand_alone
from demo.progress import Reporter
from demo.run import Folders, failures, play
from demo.scenario import ROOT, Scenario, from_folder, generated
from demo.stack import StackRefused, StateRefused
from demo.synthea import FolderRefused
from demo.wire import CallRefused
from services.common.transport.certificates import TlsRefused

_INTERRUPTED = 130
_EXPECTED_FAULTS = (
    CallRefused,
    ChildFailed,
    FolderRefused,
    LoadRefused,
    StackRefused,
    StateRefused,
    TlsRefused,
    TimeoutError,
)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when every check holds, 1 when one fails or a part breaks, 130 interrupted."""
    options = _options(arguments)
    stand_alone()
    reporter = Reporter(sys.stdout)
    # Ctrl-C, SIGTERM and a closed terminal all unwind the same way: children are stopped in order.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    folders = Folders(state=options.state or options.out / "state", out=options.out)
    try:
        results = play(_scenario(options), folders, reporter, keep=options.keep)
    except KeyboardInterrupt:
        reporter.say("Interrupted; everything that was started is stopped.")
        return _INTERRUPTED
    except _EXPECTED_FAULTS as fault:
        print(f"The demo failed. {fault}", file=sys.stderr)
        return 1
    failed = failures(results)
    for sentence in failed:
        print(f"Check failed: {sentence}", file=sys.stderr)
    return 1 if failed else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lipei demo", description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder of FHIR NDJSON.gz files to run instead")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed, another hospital")
    parser.add_argument("--people", type=int, default=PEOPLE, help="insured people, from 20")
    parser.add_argument("--bills", type=int, default=BILLS, help="bills, from 40")
    parser.add_argument("--state", type=Path, help="state directory; emptied (build/demo/state)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "demo", help="where summary.json goes"
    )
    parser.add_argument("--keep", action="store_true", help="leave the stack running till Ctrl-C")
    options = parser.parse_args(arguments)
    if options.data is not None and not options.data.is_dir():
        parser.error(f"no such folder: {options.data}")
    if options.people < LEAST_PEOPLE or options.bills < LEAST_BILLS:
        parser.error("the demo hospital needs at least 20 people and 40 bills")
    if options.bills > MOST_BILLS_EACH * options.people:
        parser.error(f"the demo hospital has at most {MOST_BILLS_EACH} bills for each person")
    return options


def _scenario(options: argparse.Namespace) -> Scenario:
    if options.data is not None:
        return from_folder(options.data)
    return generated(options.seed, people=options.people, bills=options.bills)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # One wish to stop may come as several signals; the first one counts.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # At once, because stopping takes a while; below the streams, which we may have interrupted.
    os.write(2, b"\nStopping ...\n")
    raise KeyboardInterrupt


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The Temporal SDK's threads now and then abort an interpreter that ends (3 of 57 calls).
    os._exit(code)
