"""What services have told of a study so far: one file an answer, so that it goes on where it ended.

A part is whole or not there. Asks nobody, and knows no table of a book.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from services.common.state import write_private

_ABOUT = "study.json"
M = TypeVar("M", bound=Message)


class StudyParts:
    """A folder of parts, for its owner only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, study: str, before: date) -> tuple[str, date]:
        """The study that the folder holds, begun as told when it holds none."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        about = self.folder / _ABOUT
        if not about.exists():
            told = {"study": study, "before": before.isoformat()}
            write_private(about, json.dumps(told).encode(), durable=True)
        found = json.loads(about.read_bytes())
        return found["study"], date.fromisoformat(found["before"])

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
        return of.FromString(files[-1].read_bytes()) if files else None

    def all(self, kind: str, of: type[M]) -> Iterator[M]:
        """Every part in order, one in memory at a time."""
        for file in self._files(kind):
            yield of.FromString(file.read_bytes())

    def drop(self) -> None:
        """Forget the study and all its parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"{kind}-*.pb"))
