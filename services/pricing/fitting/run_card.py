"""Run cards: what was run on which inputs by which versions, so that it can be run again.

A card is the only file of a pricing folder that knows the time of day.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path

import msgspec

FOLDER = "runs"
_LIBRARIES = ("lipei", "numpy", "pandas", "pyarrow", "duckdb", "scipy", "glum", "lifelines")
_NUMBER = re.compile(r"([0-9]{4,})-[a-z_-]+\.json", re.ASCII)
_CHUNK = 1 << 20


class RunCard(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one command; files by their path inside the folder, with SHA-256."""

    format: int = 1
    command: str
    arguments: tuple[str, ...]  # all that differs from the defaults, as typed after `lipei pricing`
    seed: int | None
    synthetic: bool
    settings_sha256: str
    versions: Mapping[str, str]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    started: datetime
    ended: datetime


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has begun: what it is to do, and the inputs as they were before it."""

    command: str
    arguments: tuple[str, ...]
    seed: int | None
    settings_sha256: str
    inputs: Mapping[str, str]
    at: datetime


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    made = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            made.update(chunk)
    return made.hexdigest()


def digests(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Each file's path inside the folder (its name, when it lies elsewhere) with its digest."""
    return {_name(folder, path): digest(path) for path in sorted(set(files))}


def finish(
    folder: Path, started: Started, *, outputs: Iterable[Path], synthetic: bool, ended: datetime
) -> Path:
    """The card of a run that is done, written into the folder's `runs` under the next number."""
    card = RunCard(
        command=started.command,
        arguments=started.arguments,
        seed=started.seed,
        synthetic=synthetic,
        settings_sha256=started.settings_sha256,
        versions=versions(),
        inputs=started.inputs,
        outputs=digests(folder, outputs),
        started=started.at,
        ended=ended,
    )
    content = msgspec.json.format(msgspec.json.encode(card, order="sorted")) + b"\n"
    taken, number = _taken(folder)
    target = taken.with_name(f"{number:04d}-{card.command}.json")
    with target.open("xb") as file:
        file.write(content)
    taken.unlink()
    return target


def read_card(path: Path) -> RunCard:
    """The card in a file.

    Raises: msgspec.DecodeError when it is none; OSError when it cannot be read.
    """
    return msgspec.json.decode(path.read_bytes(), type=RunCard)


def differences(before: RunCard, after: RunCard) -> list[str]:
    """What a second run found otherwise, one sentence each; nothing when it gave the same bytes.

    Settings and versions are told as what may be behind it: alone they change nothing.
    """
    told = []
    for what, old, new in (
        ("input", before.inputs, after.inputs),
        ("output", before.outputs, after.outputs),
    ):
        told += [
            f"{what} {name}: {_told(old.get(name))} then, {_told(new.get(name))} now"
            for name in sorted({*old, *new})
            if old.get(name) != new.get(name)
        ]
    if told:
        if before.settings_sha256 != after.settings_sha256:
            told.append("pricing.yaml has changed since")
        told += [
            f"version of {name}: {before.versions.get(name)} then, {after.versions.get(name)} now"
            for name in sorted({*before.versions, *after.versions})
            if before.versions.get(name) != after.versions.get(name)
        ]
    return told


@cache
def versions() -> Mapping[str, str]:
    """The versions of everything that a figure may depend on; they stay while a process runs."""
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in _LIBRARIES
    }


def _told(sha256: str | None) -> str:
    return "absent" if sha256 is None else sha256[:12]


def _name(folder: Path, path: Path) -> str:
    inside = path.absolute().is_relative_to(folder.absolute())
    return path.absolute().relative_to(folder.absolute()).as_posix() if inside else path.name


def _taken(folder: Path) -> tuple[Path, int]:
    """The next number of the folder's `runs`, and the file that keeps it from everybody else.

    Only one can create that file. What a killed command leaves of it costs a number, no more.
    """
    runs = folder / FOLDER
    runs.mkdir(exist_ok=True)
    number = _next_number(runs)
    while True:
        taken = runs / f"{number:04d}.taken"
        try:
            taken.touch(exist_ok=False)
        except FileExistsError:
            number += 1
            continue
        if not any(runs.glob(f"{number:04d}-*.json")):  # written since the numbers were read
            return taken, number
        taken.unlink()
        number += 1


def _next_number(runs: Path) -> int:
    found = [_NUMBER.fullmatch(path.name) for path in runs.glob("*.json")]
    return 1 + max((int(match[1]) for match in found if match), default=0)
