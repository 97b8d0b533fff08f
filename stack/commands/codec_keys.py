"""`lipei keys rotate-codec`: a new key for Temporal's payloads, and the end of an old one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from services.common.settings import UnknownSetting, temporal_codec_key_file
from services.common.temporal import codec_keys
from services.common.temporal.codec_keys import CannotChange, CodecKey, KeyState
from stack.commands.failing import Failed
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.printing import print_json, print_table, rows, say, table
from stack.installation import run_module

# Temporal lists a run a moment after it began.
_LISTED_AFTER = timedelta(minutes=1)


def rotate_codec(
    state: State = DEFAULT_STATE,
    add_only: Annotated[
        bool,
        typer.Option("--add-only", help="Only add a key, to be copied to other machines first."),
    ] = False,
    use: Annotated[
        str, typer.Option("--use", metavar="KEY", help="Make this key current, add none.")
    ] = "",
    retire: Annotated[
        str, typer.Option("--retire", metavar="KEY", help="Destroy this old key, add none.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="With --retire: though runs may still need it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add a key for Temporal's payloads and make it current; running processes take it up.

    What older keys encrypted stays readable until one is destroyed with --retire, which is refused
    while Temporal holds a run from its time. Where hospitals' workers run on other machines: add a
    key with --add-only, copy the file to all of them, then make it current with --use on each.
    """
    if add_only + bool(use) + bool(retire) > 1 or (force and not retire):
        raise Failed(
            "give one of --add-only, --use and --retire; --force goes with --retire", exit_code=2
        )
    file = temporal_codec_key_file(state)
    now = datetime.now(UTC)
    try:
        if add_only:
            changed = codec_keys.change(file, lambda old: codec_keys.with_fresh_key(old, now))
        elif retire:
            changed = _retired(state, file, retire, now, force=force)
        else:
            changed = _rotated(state, file, use, now)
    except (UnknownSetting, CannotChange) as refused:
        raise Failed(str(refused)) from None
    except OSError as error:
        raise Failed(f"{file}: {error.strerror or 'cannot be written'}") from None
    _print(changed, as_json=as_json)


def _rotated(state: Path, file: Path, use: str, now: datetime) -> tuple[CodecKey, ...]:
    def changed(old: Sequence[CodecKey]) -> tuple[CodecKey, ...]:
        wider = old if use else codec_keys.with_fresh_key(old, now)
        return codec_keys.with_current(wider, use or wider[-1].id, now)

    keys = codec_keys.change(file, changed)
    _renew_schedules(state, file)
    return keys


def _renew_schedules(state: Path, file: Path) -> frozenset[str]:
    """Schedules get payloads under the current key; the keys that they had count as used now."""
    done = run_module("stack.codec_rotation", str(state.absolute()), "renew")
    if done.returncode != 0:
        current = _current(codec_keys.load(file))
        raise Failed(
            f"{current} is the current key now, but Temporal's schedules still hold older ones "
            f"({done.stdout.strip()}); when Temporal answers, run this again with --use {current}"
        )
    used = frozenset(done.stdout.split())
    codec_keys.change(file, lambda old: codec_keys.with_use_until(old, used, datetime.now(UTC)))
    return used


def _retired(
    state: Path, file: Path, key_id: str, now: datetime, *, force: bool
) -> tuple[CodecKey, ...]:
    # Both are refused before anything is asked: an unknown key, and the current one.
    codec_keys.without(codec_keys.load(file), key_id, now)
    if not force:
        _renew_schedules(state, file)
        (key,) = (key for key in codec_keys.load(file) if key.id == key_id)
        _refuse_while_needed(state, key, now)
    return codec_keys.change(file, lambda old: codec_keys.without(old, key_id, now))


def _refuse_while_needed(state: Path, key: CodecKey, now: datetime) -> None:
    advice = "wait until Temporal has forgotten them, or give --force and lose them"
    if key.superseded is None:
        return  # it never encrypted anything
    if key.superseded > now - _LISTED_AFTER:
        raise Failed(f"{key.id} was in use less than a minute ago; {advice}")
    until = (key.superseded + _LISTED_AFTER).isoformat()
    done = run_module("stack.codec_rotation", str(state.absolute()), "runs", until)
    if done.returncode != 0:
        raise Failed(f"Temporal does not say whether {key.id} is needed ({done.stdout.strip()})")
    if runs := int(done.stdout):
        raise Failed(f"{key.id} may be needed by {runs} runs that Temporal still holds; {advice}")


def _current(keys: Sequence[CodecKey]) -> str:
    return next(key.id for key in keys if key.state is KeyState.CURRENT)


def _print(keys: Sequence[CodecKey], *, as_json: bool) -> None:
    times = [(key.id, str(key.state), key.made, key.superseded, key.retired) for key in keys]
    if as_json:
        names = ("key", "state", "made", "superseded", "retired")
        print_json({"keys": [dict(zip(names, map(_told, row), strict=True)) for row in times]})
        return
    made = table("key", "state", "made (UTC)", "superseded (UTC)", "retired (UTC)")
    print_table(rows(made, ([_told(value) for value in row] for row in times)))
    say(f"{_current(keys)} encrypts")


def _told(value: str | datetime | None) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return value or ""
