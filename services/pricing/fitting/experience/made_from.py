"""What a study was made from, and whether it would be made from the same now.

A study's files stay when pricing.yaml or the book changes: whoever reads them asks here first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from services.pricing.fitting.book_settings import BookSettings
from services.pricing.fitting.experience.settings import StudySettings

FILE = "study.json"
# Where the tables lie and what their files are called says nothing of what is in them.
_PLACES = ("folder",)


def made_from(
    book: BookSettings, settings: StudySettings, digests: Mapping[str, str]
) -> dict[str, Any]:
    """The part of study.json that names its settings and the book's files by their SHA-256."""
    said = asdict(settings)
    said["m0"] = {f"{outcome} {condition}": m0 for (outcome, condition), m0 in settings.m0.items()}
    told = {name: value for name, value in asdict(book).items() if name not in _PLACES}
    return {"settings": said, "book": told, "book_files": dict(digests)}


def differences(
    study: Path, book: BookSettings, settings: StudySettings, digests: Mapping[str, str] | None
) -> list[str]:
    """How the settings and the book of now differ from those of a study's folder, in sentences.

    `digests` are None where the book is not there to be compared.

    Raises: OSError when the folder has no study.json.
    """
    try:
        before = msgspec.json.decode((study / FILE).read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError:
        return [f"{FILE} cannot be read"]
    # As JSON both have days as text and tuples as lists.
    now = msgspec.json.decode(msgspec.json.encode(made_from(book, settings, digests or {})))
    if not before.keys() >= now.keys():
        return [f"{FILE} does not say which book and settings it was made from"]
    told = [*_changed(before["settings"], now["settings"], "study")]
    told += _changed(before["book"], now["book"], "book")
    if digests is not None:
        told += [
            f"the book's {name} {_file_change(before['book_files'].get(name), digests.get(name))}"
            for name in sorted({*before["book_files"], *digests})
            if before["book_files"].get(name) != digests.get(name)
        ]
    return told


def _changed(before: object, now: object, path: str) -> Iterator[str]:
    """Every setting that differs, by its path in pricing.yaml."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted({*before, *now}):
            yield from _changed(before.get(name), now.get(name), f"{path}.{name}")
    elif before != now:
        yield f"{path} was {_said(before)} and is {_said(now)}"


def _said(value: object) -> str:
    return "not given" if value is None else msgspec.json.encode(value).decode()


def _file_change(before: str | None, now: str | None) -> str:
    if before is None:
        return "was not there"
    return "is gone" if now is None else "has changed"
