"""`lipei pricing renew start|status|pause|resume|cancel|result`: a renewal that Temporal runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from stack.child import exit_words
from stack.commands.calling import addresses
from stack.commands.failing import Failed
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.pricing_folder import DEFAULT, PricingPath, opened, running, say_next
from stack.commands.pricing_renew import (
    FOLDER,
    SHOWN_MOVERS,
    STEPS,
    Movers,
    after_renewal,
    kept_alone,
    print_renewal,
    work_of,
)
from stack.commands.printing import console, print_json, progress_bar, say
from stack.installation import module_lines, run_module, wanted_file

if TYPE_CHECKING:  # pandas' weight comes with the command that needs it, not with every `lipei`
    from services.pricing.fitting.pricing_file import PricingFile
    from services.pricing.fitting.renewal.work import Work

_CONTROL = "stack.renewal_control"
_STARTED = "started.json"
_PHASE = "RENEWAL_PHASE_"
_FINISH = {**STEPS, "finish": "writing manifest and dislocation"}
_RUNNING = "running"
_THEN = {"pause": ("resume", "cancel"), "resume": ("result", "status"), "cancel": ("start",)}
_ADVICE = {
    "unknown": "Temporal no longer knows it; `lipei pricing renew start` goes on with what is done",
    "cancelled": "cancelled; `lipei pricing renew start` goes on with what is done",
    "failed": "it failed, its worker's log says why; `lipei pricing renew start` goes on",
}


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The renewal that was started last in this folder."""

    key: str
    plan: str


def add_to(app: typer.Typer) -> None:
    """Add the commands to `lipei pricing renew`."""
    for command in (start, status, pause, resume, cancel, result):
        app.command()(command)


def start(file: PricingPath = DEFAULT, state: State = DEFAULT_STATE) -> None:
    """Have the running installation renew the book; what was done before is not done again.

    Freezes pricing.yaml, the tariff and the book as they are now. Changes no policy. Refused while
    a renewal of other settings runs in this folder.
    """
    from services.pricing.fitting.renewal.plan import hold, plan_of  # noqa: PLC0415 -- heavy

    found = opened(file)
    addresses(state)
    work, tariff = work_of(found)
    started = Started(key=work.unfinished.name, plan=plan_of(work, tariff).decode())
    with kept_alone(work):  # until Temporal knows it: a second one would find nothing running
        _refuse_second(state, work, found)
        hold(work)
        wanted_file(state).touch(mode=0o600)
        asked = {"plan": started.plan, "shards": work.settings.shards}
        _ask(state, started.key, "start", told=json.dumps(asked))
        (work.folder / _STARTED).write_bytes(msgspec.json.encode(started))
    say(f"started: renewal {started.key}, {work.settings.shards} shards")
    say_next(
        *(f"lipei pricing renew {word} -f {found.path}" for word in ("result", "status", "pause"))
    )


def status(
    file: PricingPath = DEFAULT, state: State = DEFAULT_STATE, as_json: AsJson = False
) -> None:
    """Say how far the renewal has come. Waits for nothing."""
    found = opened(file)
    told = _told(state, _started(found).key)
    if as_json:
        print_json(told)
        return
    say(_said(told))
    for line in told["progress"]["last"]["refused"]:
        say(line)
    further = "resume" if told["progress"]["paused"] else "result"
    if told["stands"] in _ADVICE or told["progress"]["last"]["refused"]:
        further = "start"
    say_next(f"lipei pricing renew {further} -f {found.path}")


def pause(file: PricingPath = DEFAULT, state: State = DEFAULT_STATE) -> None:
    """Let the renewal rest once the shards in hand are done; also across a restart."""
    _steer(file, state, "pause", "it rests once the shards in hand are done")


def resume(file: PricingPath = DEFAULT, state: State = DEFAULT_STATE) -> None:
    """Let a paused renewal go on."""
    _steer(file, state, "resume", "it goes on")


def cancel(file: PricingPath = DEFAULT, state: State = DEFAULT_STATE) -> None:
    """End the renewal. An older result stays, and so do shards that are done, for `start`."""
    _steer(file, state, "cancel", "it ends; nothing of the last result has changed")


def result(
    file: PricingPath = DEFAULT, movers: Movers = SHOWN_MOVERS, state: State = DEFAULT_STATE
) -> None:
    """Wait for the renewal to end, and print what it came to. Ctrl-C ends the waiting alone."""
    from services.pricing.fitting.renewal.dislocation import dislocation  # noqa: PLC0415 -- heavy
    from services.pricing.fitting.renewal.plan import Plan  # noqa: PLC0415 -- heavy
    from services.pricing.fitting.renewal.result import MANIFEST, Manifest  # noqa: PLC0415 -- heavy

    found = opened(file)
    started = _started(found)
    told = _watched(state, started.key)
    if told["progress"]["last"]["refused"]:
        raise Failed(*told["progress"]["last"]["refused"], exit_code=2)
    if told["stands"] != "ended":
        raise Failed(_said(told))
    plan = msgspec.json.decode(started.plan, type=Plan)
    folder = Path(plan.folder)
    written = folder / "renewals"
    manifest = msgspec.json.decode((written / MANIFEST).read_bytes(), type=Manifest)
    paths = (folder / "dislocation.json", folder / "dislocation.xlsx")
    with running(found, "renew", inputs=(Path(plan.book), Path(plan.tariff))) as run:
        run.outputs += [*sorted(written.iterdir()), *paths]
        run.synthetic = manifest.synthetic
        print_renewal(manifest, dislocation(written), movers)
        say(f"written: {written}, {', '.join(str(path) for path in paths)}")
    say_next(*after_renewal(found, written))


def _steer(file: Path, state: Path, word: str, said: str) -> None:
    found = opened(file)
    started = _started(found)
    stands = _stands(state, started.key)
    if stands != _RUNNING:
        over = f"it has ended; `lipei pricing renew result -f {found.path}` prints what it came to"
        raise Failed(f"renewal {started.key}: {_ADVICE.get(stands, over)}")
    _ask(state, started.key, word)
    say(f"renewal {started.key}: {said}")
    say_next(*(f"lipei pricing renew {one} -f {found.path}" for one in _THEN[word]))


def _refuse_second(state: Path, work: Work, file: PricingFile) -> None:
    """Let go of what is over in this folder.

    Raises: Failed while a renewal of another book, tariff or settings runs there.
    """
    from services.pricing.fitting.renewal.work import let_go  # noqa: PLC0415 -- heavy

    for key in work.held:
        if key == work.unfinished.name:
            continue
        stands = _stands(state, key)
        if stands == _RUNNING:
            raise Failed(
                f"renewal {key} runs in this folder, of another book, tariff or settings than those"
                " of now; this one was not started",
                f"`lipei pricing renew result -f {file.path}` waits for it, `renew cancel` ends it",
                exit_code=2,
            )
        if stands == "unknown":
            raise Failed(
                f"renewal {key} was started in this folder, and Temporal here does not know it:"
                " another installation may be at work on it",
                f"where nothing runs any more, remove {work.folder / 'work' / key}",
                exit_code=2,
            )
        let_go(work.folder, key)


def _stands(state: Path, key: str) -> str:
    return _ask(state, key, "stands").strip()


def _started(file: PricingFile) -> Started:
    path = file.folder / FOLDER / _STARTED
    try:
        return msgspec.json.decode(path.read_bytes(), type=Started)
    except (OSError, msgspec.MsgspecError):
        text = f"no renewal was started in {file.folder}; `lipei pricing renew start` does"
        raise Failed(text) from None


def _told(state: Path, key: str) -> Any:
    return json.loads(_ask(state, key, "progress"))


def _ask(state: Path, key: str, word: str, told: str = "") -> str:
    addresses(state)
    done = run_module(_CONTROL, str(state.absolute()), key, word, told=told)
    if done.returncode == 0:
        return done.stdout
    raise _not_answered(done.stdout, exit_words(done.returncode))


def _watched(state: Path, key: str) -> Any:
    addresses(state)
    with progress_bar(console()) as bar:
        tasks = {step: bar.add_task(text, total=None) for step, text in _FINISH.items()}
        told: Any = None
        for line in module_lines(_CONTROL, str(state.absolute()), key, "watch"):
            told = json.loads(line)
            if "error" in told:
                raise _not_answered(line, "")
            progress = told["progress"]
            phase = _phase(progress)
            if phase in tasks:
                bar.update(tasks[phase], completed=progress["done"], total=progress["of"])
    if told is None:
        raise _not_answered("", "it said nothing")
    return told


def _not_answered(said: str, otherwise: str) -> Failed:
    try:
        why = json.loads(said)["error"]
    except (ValueError, KeyError, TypeError):
        why = otherwise
    return Failed(f"Temporal did not answer for the renewal ({why}); `lipei status` says what runs")


def _phase(progress: Any) -> str:
    return str(progress["phase"]).removeprefix(_PHASE).lower()


def _said(told: Any) -> str:
    stands, progress = told["stands"], told["progress"]
    if stands in _ADVICE:
        return _ADVICE[stands]
    phase = _phase(progress)
    if phase == "done":
        last = progress["last"]
        return f"done: {last['renewed']} of {last['rows']} renewed, {last['referred']} referred"
    if phase == "refused":
        return "refused; there is no new result"
    rests = "rests; " if progress["paused"] else ""
    return f"{rests}{_FINISH.get(phase, phase)}: {progress['done']} of {progress['of']}"
