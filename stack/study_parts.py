"""What services have told of a study so far: one file an answer, so that it goes on where it ended.

A part is whole or not there, and none between two others is missing. Asks nobody, and knows no
table of a book.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from services.common.state import write_private

_ABOUT = "study.json"
M = TypeVar("M", bound=Message)


class FolderBusy(Exception):
    """Another export works in this folder now."""


class PartsLost(Exception):
    """What the folder holds is not what was kept there."""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The folder for oneself; no file is left, and it ends with the process.

    Raises: FolderBusy.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderBusy from None
        yield
    finally:
        os.close(handle)


class StudyParts:
    """A folder of parts, for its owner only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, study: str, before: date) -> tuple[str, date]:
        """The study that the folder holds, begun as told when it holds none.

        Raises: PartsLost when it cannot be told which.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True)
        about = self.folder / _ABOUT
        if not about.exists():
            if any(self.folder.iterdir()):
                raise PartsLost
            told = {"study": study, "before": before.isoformat()}
            write_private(about, json.dumps(told).encode(), durable=True)
        try:
            found = json.loads(about.read_bytes())
            return str(found["study"]), date.fromisoformat(found["before"])
        except (ValueError, TypeError, KeyError):
            raise PartsLost from None

    def is_begun(self) -> bool:
        """Whether the folder holds a study that was not finished."""
        return (self.folder / _ABOUT).exists()

    def keep(self, kind: str, part: Message) -> None:
        """One more part of a kind."""
        number = len(self._files(kind)) + 1
        file = self.folder / f"{kind}-{number:07d}.pb"
        write_private(file, part.SerializeToString(), durable=True)

    def last(self, kind: str, of: type[M]) -> M | None:
        """The newest part; None without one."""
        files = self._files(kind)
        return _read(files[-1], of) if files else None

    def all(self, kind: str, of: type[M]) -> Iterator[M]:
        """Every part in order, one in memory at a time."""
        for file in self._files(kind):
            yield _read(file, of)

    def drop(self) -> None:
        """Forget the study and all its parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self, kind: str) -> list[Path]:
        """Raises: PartsLost when one between two others is not there."""
        found = sorted(self.folder.glob(f"{kind}-*.pb"))
        numbers: Counter[str] = Counter()
        for one in found:
            # A kind may have kinds of its own: "readings" has readings-000, readings-001...
            of = one.stem.rpartition("-")[0]
            numbers[of] += 1
            if one.stem != f"{of}-{numbers[of]:07d}":
                raise PartsLost
        return found


def _read(file: Path, of: type[M]) -> M:
    try:
        return of.FromString(file.read_bytes())
    except DecodeError:
        raise PartsLost from None
