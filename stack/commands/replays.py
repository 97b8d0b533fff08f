"""`lipei claims replay`: named decisions, or everything stored, recomputed and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer

from lipei.claims.v1 import claims_pb2
from lipei.claims.v1 import recompute_pb2 as pb
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from lipei.claims.v1.recompute_pb2_grpc import RecomputeServiceStub
from stack.commands.calling import CALL_S, CallFailed, Failed, calling
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.printing import console, counted, plain, print_json, progress_bar, say

_ALTERED, _NOT_ASKED, _INTERRUPTED = 1, 3, 130


def add_to(app: typer.Typer) -> None:
    """Give `lipei claims` its replay."""
    app.command()(replay)


def replay(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help='"policies/{p}/claims/{c}"; without one, all.'),
    ] = None,
    after: Annotated[
        str, typer.Option("--after", metavar="TOKEN", help="Go on where an earlier run stopped.")
    ] = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Recompute decisions from their stored inputs and compare the hashes. Changes nothing.

    Without a NAME, of everything stored that is yours: every claim, and every decision that was
    ever made of it. A line tells each difference; interrupted, it says how to go on.

    Exit code 0: every decision is the same, but for those of erased people, of which nothing is
    left to recompute: that is said, and is no alarm. 1: a stored decision is not what its inputs
    give; stop and investigate. 2: wrong use. 3: one could not be asked, unknown or not decided yet.
    130: interrupted.
    """
    if not names:
        _everything(state, after, as_json=as_json)
        return
    if after:
        raise Failed("--after goes on with everything stored, and takes no NAME", exit_code=2)
    found = [_replayed(state, name) for name in names]
    if as_json:
        told = [one.told for one in found]
        print_json(told[0] if len(told) == 1 else {"replays": told})
    else:
        for one in found:
            for line in one.lines:
                say(line)
    failed = [one for one in found if one.exit_code]
    if failed:
        code = _ALTERED if any(one.exit_code == _ALTERED for one in failed) else _NOT_ASKED
        lines = [f"{one.name}: {line}" for one in failed for line in one.faults]
        raise Failed(*lines, exit_code=code)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Replay:
    """What came of one claim."""

    name: str
    told: dict[str, Any]
    lines: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    exit_code: int = 0


def _replayed(state: Path, name: str) -> _Replay:
    try:
        with calling(state, "claims", "senior_adjuster") as channel:
            stub = ClaimsServiceStub(channel)
            answer = stub.ReplayClaim(claims_pb2.ReplayClaimRequest(name=name), timeout=CALL_S)
    except CallFailed as failed:
        fault = failed.fault
        told = {"name": name, "reason": fault.reason}
        if fault.reason == "ERASED":
            gone = f"{name}: the person's data was erased; nothing is left to recompute"
            return _Replay(name=name, told=told, lines=(gone,))
        code = _ALTERED if fault.code is grpc.StatusCode.DATA_LOSS else _NOT_ASKED
        return _Replay(name=name, told=told, faults=failed.lines, exit_code=code)
    except Failed as failed:
        raise Failed(*failed.lines, exit_code=_NOT_ASKED) from None
    said = (
        f"{name}: the same decision",
        f"  input       {answer.input_hash}",
        f"  output      {answer.output_hash}",
        f"  commitment  {answer.commitment}",
        f"  decided by engine {answer.decided_by}, recomputed by {answer.recomputed_by}",
    )
    return _Replay(name=name, told={"name": name, **plain(answer)}, lines=said)


@dataclass(slots=True)
class _Sum:
    """What has been recomputed so far."""

    same: int = 0
    by_earlier_engine: int = 0
    erased: int = 0
    undecided: int = 0
    engine: str = ""
    differences: list[pb.ReplayDifference] = field(default_factory=list)
    after: str = ""  # where to go on

    def add(self, page: pb.ReplayClaimsResponse) -> None:
        """One more page."""
        self.same += page.same_count
        self.by_earlier_engine += page.same_by_earlier_engine_count
        self.erased += page.erased_count
        self.undecided += page.undecided_count
        self.differences += page.differences
        self.engine = page.recomputed_by
        self.after = page.next_page_token


def _everything(state: Path, after: str, *, as_json: bool) -> None:
    found, interrupted = _Sum(after=after), False
    try:
        _pages(state, found, quiet=as_json)
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        print_json(_plain(found))
    else:
        for line in _said(found):
            say(line)
    if found.differences:
        count = counted(len(found.differences), "decision")
        told = [f"{count} differ; stop and investigate"]
        if interrupted:
            told.append(_go_on(found))
        raise Failed(*told, exit_code=_ALTERED)
    if interrupted:
        raise Failed(_go_on(found), exit_code=_INTERRUPTED)


def _go_on(found: _Sum) -> str:
    again = f" --after {found.after}" if found.after else ""
    return f"interrupted; go on with: lipei claims replay{again}"


def _pages(state: Path, found: _Sum, *, quiet: bool) -> None:
    """Page by page, with a bar on a terminal; a line for each difference as it is found."""
    shown = console(quiet=quiet)
    try:
        with (
            calling(state, "claims", "senior_adjuster") as channel,
            progress_bar(shown) as progress,
        ):
            stub, bar = RecomputeServiceStub(channel), progress.add_task("recomputing", total=None)
            while True:
                request = pb.ReplayClaimsRequest(page_token=found.after)
                page = stub.ReplayClaims(request, timeout=CALL_S)
                found.add(page)
                progress.update(bar, completed=page.done, total=page.total)
                for one in page.differences:
                    shown.print(_difference(one, page.recomputed_by), markup=False, soft_wrap=True)
                if not page.next_page_token:
                    return
    except CallFailed as failed:
        raise Failed(*failed.lines, exit_code=_NOT_ASKED) from None


def _difference(one: pb.ReplayDifference, engine: str) -> str:
    which = "" if one.in_force else f", decision {one.position}, no longer in force"
    by = f"decided by engine {one.decided_by or 'none'}, recomputed by {engine}"
    return f"{one.name}{which}: differs in {', '.join(one.differs)}; {by}"


def _said(found: _Sum) -> Sequence[str]:
    """The sums, each as a sentence."""
    lines = [f"{counted(found.same, 'decision')} recomputed by engine {found.engine}: the same"]
    if found.by_earlier_engine:
        lines.append(f"  of these decided by an earlier engine: {found.by_earlier_engine}")
    if found.erased:
        lines.append(f"ERASED, nothing is left to recompute: {counted(found.erased, 'decision')}")
    if found.undecided:
        lines.append(f"not decided yet: {counted(found.undecided, 'claim')}")
    return lines


def _plain(found: _Sum) -> dict[str, Any]:
    return {
        "same": found.same,
        "same_by_earlier_engine": found.by_earlier_engine,
        "erased": found.erased,
        "undecided": found.undecided,
        "recomputed_by": found.engine,
        "differences": [plain(one) for one in found.differences],
        "go_on_after": found.after,
    }
