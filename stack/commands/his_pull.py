"""`lipei his pull`: have a hospital pulled now, and watch until the bridge has caught up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from services.common.state import read_addresses
from stack.commands.calling import CALL_S, Failed, calling
from stack.commands.his_operations import id_of, parent_of
from stack.commands.options import DEFAULT_STATE, Hospital, State
from stack.commands.printing import console, counted, say, when
from stack.commands.pulling import ask_for_pull

EVERY_S = 1.0
# In a pipe or a log a line a second would hide everything else.
LINE_EVERY_S = 10.0
# So long a source may fail before whoever watches is told to come back: the worker tries again
# within a minute, unless a person must look first.
PATIENCE_S = 90.0
# Of what no waiting cures one more try shows that it is so.
SHORT_PATIENCE_S = 10.0
_NO_WAITING_CURES = {
    *("SOURCE_CERTIFICATE_REFUSED", "SOURCE_TLS_REFUSED", "SOURCE_URL", "SOURCE_DRIVER_MISSING"),
    *("SOURCE_SHAPE", "SOURCE_NOT_FHIR", "SOURCE_KEY_REPEATED", "SOURCE_FOLDER_UNSAFE"),
    *("SOURCE_CLIENT_UNKNOWN", "SOURCE_KEY_UNUSABLE"),
}
_INTERRUPTED = 130


def pull(
    hospital: Hospital,
    state: State = DEFAULT_STATE,
    readings: Annotated[
        bool, typer.Option("--readings", help="Laboratory values and vital signs, not bills.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch/--no-wait", help="Show how far it is until it has caught up.")
    ] = True,
) -> None:
    """Have the hospital's pull run now: fetch what is new, release it, submit it as claims.

    With --readings what is released goes to pricing. A pull that is running already goes on; no
    second one starts.

    Shows how far it is until the source has no more, and the released bills are on their way.
    Ctrl-C ends the showing alone; the same command shows it again. Exit code 1 when the source
    fails and goes on failing.
    """
    hospital = id_of(hospital)
    channel = "readings" if readings else "bills"
    if not watch:
        ask_for_pull(state, hospital, channel)
        say(f"pulling; `lipei his status {hospital}` says how far it is")
        return
    with calling(state, "his_bridge", "hospital_records", hospital) as connection:
        stub = HisBridgeServiceStub(connection)
        watching = Watching(stub, hospital, channel, pushes=pushes(state, hospital))
        watched(watching, lambda: ask_for_pull(state, hospital, channel), console())


def pushes(state: Path, hospital: str) -> bool:
    """Whether the bridge listens for this hospital, so that a pull asks nobody."""
    return f"mllp:{hospital}" in read_addresses(state)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """A channel at one moment, and how many bills were ever released."""

    channel: pb.ChannelStatus
    released: int
    at_s: float
    pushes: bool

    @property
    def seen(self) -> int:
        """Records that the source gave since the catching up began."""
        return self.channel.catch_up.seen_count


class Watching:
    """Asks the bridge how far a channel of a hospital is."""

    def __init__(
        self,
        stub: HisBridgeServiceStub,
        hospital: str,
        channel: str,
        *,
        pushes: bool = False,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.hospital = hospital
        self.channel = channel
        self._pushes = pushes
        self._stub = stub
        self._asked = pb.GetSourceStatusRequest(hospital=parent_of(hospital))
        self._clock = clock
        self._pause = pause

    def look(self) -> Look:
        """How far it is now.

        Raises: Failed for a channel that the hospital does not have.
        """
        answer = self._stub.GetSourceStatus(self._asked, timeout=CALL_S)
        found = [one for one in answer.channels if one.channel == self.channel]
        if not found:
            raise Failed(f"this hospital's profile says nothing of {self.channel}")
        bills = answer.bills
        released = (
            *(bills.pending_count, bills.taken_count, bills.refused_count),
            *(bills.withheld_count, bills.erased_count),
        )
        return Look(
            channel=found[0],
            released=sum(released),
            at_s=self._clock(),
            pushes=self._pushes or answer.HasField("listen_failure"),
        )

    def looks(self) -> Iterator[Look]:
        """Again and again."""
        while True:
            self._pause(EVERY_S)
            yield self.look()


def watched(watching: Watching, ask: Callable[[], None], out: Console) -> None:
    """Ask for a pull and show it. Ctrl-C leaves it running and says so; exit code 130.

    Raises: Failed when the source goes on failing.
    """
    before = watching.look()
    ask()
    try:
        _until_caught_up(watching, before, out)
    except KeyboardInterrupt:
        more = " --readings" if watching.channel == "readings" else ""
        say(f"the pull goes on; `lipei his pull {watching.hospital}{more}` shows it again")
        raise typer.Exit(_INTERRUPTED) from None


def _until_caught_up(watching: Watching, before: Look, out: Console) -> None:
    """Show how far the pull is until it has caught up, then say what came of it."""
    began: Look | None = None
    failing_since: float | None = None
    with _shown(watching.channel, out) as show:
        for look in watching.looks():
            if began is None and look.channel.catch_up != before.channel.catch_up:
                began = look
            show(look, began or look)
            if _has_caught_up(before, look):
                break
            failing_since = _failing_since(before, look, failing_since)
            reason = look.channel.last_failure_reason
            patience_s = SHORT_PATIENCE_S if reason in _NO_WAITING_CURES else PATIENCE_S
            if failing_since is not None and look.at_s - failing_since >= patience_s:
                raise Failed(
                    f"the source cannot be read: {reason}; what was fetched is kept",
                    f"the bridge tries again by itself; `lipei his test {watching.hospital}` says "
                    "what a person can do",
                )
    done = look.channel.catch_up
    if look.pushes:
        say(f"what was pushed so far is read; {_stands(look)}")
        return
    say(
        f"caught up with the source: {counted(done.seen_count, 'record')}, "
        f"of which {done.received_count} new; {_stands(look)}"
    )
    if done.unsettled_count:
        say(unsettled(done))
    if done.refused_file_count:
        say(refused_files(done))


def refused_files(found: pb.CatchUp) -> str:
    """What lies in a drop folder and was refused, and where to look."""
    return (
        f"{counted(found.refused_file_count, 'file')} refused as a whole, with nothing taken of "
        "it: the folder refused/ has each with a receipt that says why; mend it, drop it anew "
        "and take it away there"
    )


def unsettled(found: pb.CatchUp) -> str:
    """What lies in a drop folder and was not read, and when it will be."""
    said = f"{counted(found.unsettled_count, 'file')} not read yet: "
    if found.HasField("settle_time"):
        return f"{said}too young to be whole until {when(found.settle_time)} UTC; pull again then"
    return f"{said}the mark (.ok) that says that it is whole is not there"


def _has_caught_up(before: Look, look: Look) -> bool:
    """Whether a pull has ended since, at whose end the source had no more.

    Of a hospital that pushes the last success is the last message: a pull leaves it as it is.
    """
    now, then = look.channel, before.channel
    if not now.catch_up.HasField("caught_up_time"):
        return False
    at = now.catch_up.caught_up_time.ToNanoseconds()
    anew = at != then.catch_up.caught_up_time.ToNanoseconds()
    return anew and (look.pushes or now.last_success_time.ToNanoseconds() >= at)


def _failing_since(before: Look, look: Look, since: float | None) -> float | None:
    """Since when every attempt after ours has failed."""
    attempted = look.channel.last_attempt_time != before.channel.last_attempt_time
    if not (attempted and look.channel.last_failure_reason):
        return None
    return look.at_s if since is None else since


Show = Callable[[Look, Look], None]


@contextmanager
def _shown(what: str, out: Console) -> Iterator[Show]:
    """A bar on a terminal, else a line from time to time."""
    if not out.is_terminal:
        yield _lines(what, out)
        return
    columns = (TextColumn(what), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=out) as progress:
        yield _bar(progress, progress.add_task("asking the source", total=None))


def _bar(progress: Progress, task: TaskID) -> Show:
    def show(look: Look, began: Look) -> None:
        expected = look.channel.catch_up.expected_count or None
        total = None if expected is None else max(expected, look.seen)
        said = told(look, began)
        progress.update(task, completed=look.seen, total=total, description=said)

    return show


def _lines(what: str, out: Console) -> Show:
    last: list[tuple[float, str]] = []

    def show(look: Look, began: Look) -> None:
        if last and look.at_s - last[-1][0] < LINE_EVERY_S:
            return
        said = told(look, began)
        if not last or said != last[-1][1]:
            out.print(f"{what}: {said}", markup=False, highlight=False, soft_wrap=True)
        last[:] = [(look.at_s, said)]

    return show


def told(look: Look, began: Look) -> str:
    """How far it is, for a person; rate and rest by what came since this command looks.

    Times of the source's records are days in the hospital's zone.
    """
    said = [reached(look.channel), _stands(look), *_pace(look, began)]
    if look.channel.last_failure_reason:
        said.append(f"last attempt: {look.channel.last_failure_reason}")
    return "; ".join(said)


def reached(channel: pb.ChannelStatus) -> str:
    """How far a channel's catching up is, by the records themselves."""
    found = channel.catch_up
    if not channel.HasField("catch_up"):
        return "asking the source"
    expected = max(found.expected_count, found.seen_count) if found.expected_count else 0
    most = f" of about {expected}" if expected else ""
    until = f", changed until {found.reached_day}" if found.reached_day else ""
    return f"{found.seen_count}{most} records ({found.received_count} new){until}"


def _stands(look: Look) -> str:
    stands = look.channel
    said = f"{stands.quarantined_count} in quarantine, {stands.held_count} held"
    return f"{counted(look.released, 'bill')}, {said}" if stands.channel == "bills" else said


def _pace(look: Look, began: Look) -> list[str]:
    came, took_s = look.seen - began.seen, look.at_s - began.at_s
    if came <= 0 or took_s <= 0:
        return []
    pace = came / took_s
    said = f"{pace:.0f} a second" if pace >= 1 else f"{pace * 60:.0f} a minute"
    left = look.channel.catch_up.expected_count - look.seen
    return [said, f"about {_lasting(left / pace)} left"] if left > 0 else [said]


def _lasting(seconds: float) -> str:
    """A time as long as it takes, roughly.

    >>> _lasting(41), _lasting(600), _lasting(9_000)
    ('41 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"
