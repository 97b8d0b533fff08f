"""What services have told of a study so far: one file an answer, so that it goes on where it ended.

A part is whole or not there, and none between two others is missing. Asks nobody, and knows no
table of a book.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
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
    """A folder of parts, for its owner only; `folders` in it are what is made of them."""

    def __init__(self, folder: Path, *, folders: Collection[str] = ()) -> None:
        self.folder = folder
        self._folders = frozenset(folders)

    def begin(self, study: str, before: date) -> tuple[str, date]:
        """The study that the folder holds, begun as told when it holds none.

        What is there without a study is left of one that was dropped, or of a beginning that was
        cut short: it goes.

        Raises: PartsLost when it cannot be told which, or something else is there; OSError.
        """
        if self.folder.is_symlink():
            raise OSError(errno.ELOOP, "is a link; make it a folder", str(self.folder))
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        if self.folder.stat().st_dev != self.folder.parent.stat().st_dev:
            # No book could be put in place from there, once all is fetched.
            raise OSError(errno.EXDEV, "lies on another file system", str(self.folder))
        about = self.folder / _ABOUT
        if not about.exists():
            if not all(map(self._is_ours, self.folder.iterdir())):
                raise PartsLost
            self.drop()
            self.folder.mkdir(mode=0o700)
            told = {"study": study, "before": before.isoformat()}
            write_private(about, json.dumps(told).encode(), durable=True)
        try:
            found = json.loads(about.read_bytes())
            return str(found["study"]), date.fromisoformat(found["before"])
        except (ValueError, TypeError, KeyError):
            raise PartsLost from None

    def _is_ours(self, one: Path) -> bool:
        return one.name in self._folders or one.suffix in {".new", ".pb"}

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
        """Forget the study and all its parts; interrupted, what is left is of no study.

        Raises: OSError when something stays.
        """
        (self.folder / _ABOUT).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

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
