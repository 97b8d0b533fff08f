"""What a witness keeps of one log, in files of its own: the last checkpoint, leaf hashes, alarms.

Nothing here is ever taken back but alarms, and those by a person. A witness keeps the hash of every
leaf that it has seen (32 bytes), so that it can name the first leaf that is not what it was; their
tree's root is the kept checkpoint's. Asks nobody and verifies nothing but its own files.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from services.common.evidence.checkpoint import Checkpoint, checkpoint_of
from services.common.evidence.merkle import HASH_BYTES, folded, grow
from services.common.evidence.note import Note, NoteRefused, parsed
from services.common.state import write_private

ALARMS = "alarms.json"  # "{log}.alarms.json" in a witness's folder
_AT_ONCE = 10_000


class KeptBroken(RuntimeError):
    """The witness's own files do not fit together: they were not written by a witness."""


class Reason(StrEnum):
    """What a log did; docs/evidence.md says what each means and what to do."""

    BAD_SIGNATURE = "BAD_SIGNATURE"
    ROLLED_BACK = "ROLLED_BACK"
    FORKED = "FORKED"
    HISTORY_CHANGED = "HISTORY_CHANGED"
    TREE_BROKEN = "TREE_BROKEN"


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """A log did what no honest log does."""

    reason: Reason
    at_us: int
    first_bad_index: int | None = None
    offered_note: str = ""


class KeptLog:
    """One log as this witness last proved it. One process writes it, any may read it."""

    def __init__(self, folder: Path, name: str) -> None:
        """Read what is there. Changes nothing.

        Raises: KeptBroken.
        """
        self.name = name
        self._note_file = folder / f"{name}.checkpoint"
        self._hashes_file = folder / f"{name}.hashes"
        self._alarms_file = folder / f"{name}.{ALARMS}"
        self._folder = folder
        self.note: Note | None = None
        self.checkpoint: Checkpoint | None = None
        self._peaks: tuple[bytes, ...] = ()
        self._alarms = alarms_in(self._alarms_file)
        if self._note_file.exists():
            self._load()

    @property
    def size(self) -> int:
        """Leaves up to the kept checkpoint."""
        return 0 if self.checkpoint is None else self.checkpoint.size

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Alarms that no person has taken away, the oldest first."""
        if self._alarms and not self._alarms_file.exists():
            self._alarms = ()
        return self._alarms

    def root_with(self, hashes: bytes) -> bytes:
        """Root of the tree that these leaf hashes would make after those that are kept."""
        return grow(self.size, self._peaks, _split(hashes)).root

    def move(self, checkpoint: Checkpoint, note: Note, hashes: bytes) -> None:
        """Keep a checkpoint that was proved, and the hashes of the leaves that it adds.

        Raises: KeptBroken when they do not lead to its root: then it was not proved.
        """
        growth = grow(self.size, self._peaks, _split(hashes))
        if growth.root != checkpoint.root or self.size + len(_split(hashes)) != checkpoint.size:
            raise KeptBroken("a checkpoint is kept with the leaves that it is of")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hashes:
            with self._hashes_file.open("ab") as file:
                # Leaves of a checkpoint that was not written any more when a process ended.
                file.truncate(self.size * HASH_BYTES)
                file.write(hashes)
                file.flush()
                os.fsync(file.fileno())
        write_private(self._note_file, note.written().encode(), durable=True)
        self.checkpoint, self.note, self._peaks = checkpoint, note, growth.peaks

    def hashes(self, start: int, count: int) -> bytes:
        """Hashes of so many leaves from `start` on, fewer at the end of what is kept."""
        count = min(count, self.size - start)
        if count <= 0:
            return b""
        with self._hashes_file.open("rb") as file:
            file.seek(start * HASH_BYTES)
            return file.read(count * HASH_BYTES)

    def raise_alarm(self, alarm: Alarm) -> None:
        """Keep an alarm."""
        self._alarms = (*self.alarms, alarm)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = json.dumps([dataclasses.asdict(found) for found in self._alarms], indent=1)
        write_private(self._alarms_file, f"{written}\n".encode(), durable=True)

    def _load(self) -> None:
        try:
            self.note = parsed(self._note_file.read_bytes())
            self.checkpoint = checkpoint_of(self.note.text)
        except NoteRefused:
            raise KeptBroken(f"{self._note_file.name} holds no checkpoint") from None
        for start in range(0, self.size, _AT_ONCE):
            try:
                some = _split(self.hashes(start, _AT_ONCE))
            except FileNotFoundError:
                some = []
            if len(some) != min(_AT_ONCE, self.size - start):
                raise KeptBroken(f"{self._hashes_file.name} has fewer leaves than the checkpoint")
            self._peaks = grow(start, self._peaks, some).peaks
        if folded(self._peaks) != self.checkpoint.root:
            raise KeptBroken(f"{self._hashes_file.name} does not lead to the kept checkpoint")


def alarms_in(file: Path) -> tuple[Alarm, ...]:
    """The alarms in a file of a witness; none when there is no file.

    Raises: KeptBroken.
    """
    if not file.exists():
        return ()
    try:
        return tuple(_alarms(json.loads(file.read_text("utf-8"))))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise KeptBroken(f"{file.name} holds no alarms") from None


def _alarms(found: Any) -> Iterator[Alarm]:
    for values in found:
        yield Alarm(**{**values, "reason": Reason(values["reason"])})


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
