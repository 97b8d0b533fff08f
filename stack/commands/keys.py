"""`lipei keys ...`: master keys of sealed columns: which are in use, rotate, renew, retire."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from lipei.keys.v1 import keys_pb2 as pb
from lipei.keys.v1.keys_pb2_grpc import KeysServiceStub
from services.common.sealing.key_sources import KeyFile
from services.common.settings import UnknownSetting, master_key_command, master_key_file
from stack.commands.calling import CALL_S, Failed, calling
from stack.commands.codec_keys import rotate_codec
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.printing import console, plain, print_json, print_table, rows, say, table, word
from stack.installation import SERVICES

app = typer.Typer(no_args_is_help=True, help="Keys: status, rotate, renew, retire; rotate-codec.")

_LOST = (pb.MASTER_KEY_STATE_RETIRED, pb.MASTER_KEY_STATE_UNKNOWN)
_PAUSE_S = 0.2  # before asking again for keys that others held just now
_DAY_S = 86_400
# One step: how many it did, how many are left.
_Step = Callable[[KeysServiceStub], tuple[int, int]]


@app.command()
def status(state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """List the master keys and how many subjects' keys each wraps; exit 1 when one is missing."""
    found = dict(_described(state))
    if as_json:
        print_json({name: [plain(use) for use in uses] for name, uses in found.items()})
    else:
        made = table("service", "master key", "state", "subjects' keys", right=("subjects' keys",))
        for name, uses in found.items():
            rows(
                made,
                (
                    (name, use.key_id, word(pb.MasterKeyState, use.state), str(use.subject_keys))
                    for use in uses
                ),
            )
        print_table(made)
    lost = [
        f"{name}: {use.key_id} is {word(pb.MasterKeyState, use.state)}, and "
        f"{use.subject_keys} subjects' keys need it"
        for name, uses in found.items()
        for use in uses
        if use.state in _LOST
    ]
    if lost:
        raise Failed(*lost)


@app.command()
def rotate(
    state: State = DEFAULT_STATE,
    resume: Annotated[
        bool, typer.Option("--resume", help="Make no new key; go on wrapping under the current.")
    ] = False,
) -> None:
    """Make a new master key and wrap every subject's key anew under it, under running services.

    No value is sealed anew. Cut off, it goes on with --resume. The old key stays until it is
    retired. Where a command hands the master keys over, whoever keeps them makes the new one.
    """
    dict(_described(state))  # all services answer, before anything is changed
    if not resume and not master_key_command():
        say(f"the current master key is {_file(state).add()}")
    _until_done(state, "wrapped anew", _rewrap)


def _rewrap(stub: KeysServiceStub) -> tuple[int, int]:
    done = stub.RewrapKeys(pb.RewrapKeysRequest(), timeout=CALL_S)
    return done.rewrapped_count, done.left_count


@app.command()
def renew(
    days: Annotated[int, typer.Option("--older-than-days", min=0, help="Of their newest key.")],
    state: State = DEFAULT_STATE,
) -> None:
    """Give every subject a next key whose newest is older; what older ones sealed still opens."""
    request = pb.RenewKeysRequest()
    request.before_time.FromSeconds(int(time.time()) - days * _DAY_S)

    def step(stub: KeysServiceStub) -> tuple[int, int]:
        done = stub.RenewKeys(request, timeout=CALL_S)
        return done.renewed_count, done.left_count

    _until_done(state, "renewed", step)


@app.command()
def retire(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Id of a master key.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be undone.")] = False,
    state: State = DEFAULT_STATE,
) -> None:
    """Forget a master key under which nothing is wrapped any more.

    Backups of databases from before the rotation can then be read by nobody, and so what was
    erased since is gone from them as well.
    """
    if master_key_command():
        raise Failed("LIPEI_MASTER_KEY_COMMAND hands the keys over; retire it where they are kept")
    described = list(_described(state))
    file = _file(state)
    kept = file.read().keys
    if key_id not in kept:
        raise Failed(f"no master key is called {key_id}; there are {', '.join(kept)}", exit_code=2)
    used = [
        f"{name}: {use.subject_keys} subjects' keys are wrapped under it; rotate first"
        for name, uses in described
        for use in uses
        if use.key_id == key_id and use.subject_keys
    ]
    if used:
        raise Failed(*used)
    if not yes:
        services = ", ".join(SERVICES)
        say(f"Nothing is wrapped under {key_id} in the databases of {services}.")
        say("Every backup of them from before the rotation can be read by nobody afterwards.")
        typer.confirm(f"It cannot be undone. Retire {key_id}?", abort=True)
    try:
        file.retire(key_id)
    except UnknownSetting as error:
        raise Failed(str(error)) from None
    say(f"{key_id} is retired")


app.command()(rotate_codec)


def _file(state: Path) -> KeyFile:
    path = master_key_file(state)
    if not path.exists():
        raise Failed(f"{path}: there is no file; `lipei up` makes it")
    return KeyFile(path)


def _described(state: Path) -> Iterator[tuple[str, list[pb.MasterKeyUse]]]:
    for name in SERVICES:
        with calling(state, name, "operator") as channel:
            stub = KeysServiceStub(channel)
            answer = stub.DescribeKeys(pb.DescribeKeysRequest(), timeout=CALL_S)
        yield name, list(answer.master_keys)


def _until_done(state: Path, what: str, step: _Step) -> None:
    """Repeat a step in every service until nothing is left, with a bar for each."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    totals: dict[str, int] = {}
    with Progress(*columns, console=console()) as progress:
        for name in SERVICES:
            bar = progress.add_task(name, total=None)
            with calling(state, name, "operator") as channel:
                totals[name] = _steps(KeysServiceStub(channel), step, progress, bar)
    for name, done in totals.items():
        say(f"{name}: {done} {what}")


def _steps(stub: KeysServiceStub, step: _Step, progress: Progress, bar: TaskID) -> int:
    total = 0
    while True:
        done, left = step(stub)
        total += done
        progress.update(bar, completed=total, total=total + left)
        if not left:
            return total
        if not done:
            time.sleep(_PAUSE_S)
