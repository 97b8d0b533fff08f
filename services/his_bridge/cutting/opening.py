"""The plain bytes of a dropped file, unpacked piece by piece within limits. Writes nothing."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from services.his_bridge.cutting.lines import Gunzip, PackedBadly, UnpacksTooLarge
from services.his_bridge.cutting.refusals import FileReason, FileRefused
from services.his_bridge.profiles.source_kinds.files import FileFormat, FilesSettings

PIECE = 256 << 10
SUFFIXES = {
    FileFormat.NDJSON: (".ndjson", ".jsonl"),
    FileFormat.CSV: (".csv", ".txt"),
    FileFormat.HL7: (".hl7", ".txt"),
}
_GZIP, _ZIP = ".gz", ".zip"
# An archive's table of contents: about 50 bytes an entry and its name.
_MOST_DIRECTORY = 4 << 20
_END_RECORD = struct.Struct("<4s4H2LH")
_END_SIGNATURE, _LONGEST_COMMENT = b"PK\x05\x06", 1 << 16
_ENCRYPTED = 0x1


def is_suffix_known(name: str, settings: FilesSettings) -> bool:
    """Whether the ending is of the profile's format, packed or not."""
    lower = name.lower()
    return lower.endswith((_ZIP, *SUFFIXES[settings.format])) or (
        lower.endswith(_GZIP) and lower.removesuffix(_GZIP).endswith(SUFFIXES[settings.format])
    )


def parts(file: BinaryIO, name: str, settings: FilesSettings) -> Iterator[Iterator[bytes]]:
    """The plain content: one part, or one for each entry of a zip archive, by name.

    Raises: FileRefused, while the parts are read.
    """
    file.seek(0)
    lower = name.lower()
    if lower.endswith(_ZIP):
        yield from _entries(file, settings)
    elif lower.endswith(_GZIP):
        yield _gunzipped(file, settings)
    else:
        yield _bounded(iter(lambda: file.read(PIECE), b""), settings.max_unpacked_mib << 20)


def _bounded(pieces: Iterator[bytes], most: int) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise FileRefused(FileReason.UNPACKS_TOO_LARGE)
        yield piece


def _gunzipped(file: BinaryIO, settings: FilesSettings) -> Iterator[bytes]:
    gunzip = Gunzip(settings.max_ratio, settings.max_unpacked_mib << 20)
    try:
        while packed := file.read(PIECE):
            yield from gunzip.feed(packed)
        gunzip.end()
    except UnpacksTooLarge:
        raise FileRefused(FileReason.UNPACKS_TOO_LARGE) from None
    except PackedBadly:
        raise FileRefused(FileReason.PACKED_BADLY) from None


def _entries(file: BinaryIO, settings: FilesSettings) -> Iterator[Iterator[bytes]]:
    size = _check_directory(file, settings.max_entries)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, struct.error, OverflowError, NotImplementedError):
        raise FileRefused(FileReason.PACKED_BADLY) from None
    entries = sorted(archive.infolist(), key=lambda entry: entry.filename)
    if len(entries) > settings.max_entries:
        raise FileRefused(FileReason.TOO_MANY_ENTRIES)
    if not entries:
        raise FileRefused(FileReason.EMPTY)
    _check_entries(entries, settings)
    # What all entries together may become, whatever the archive says of itself.
    left = _Budget(min(settings.max_unpacked_mib << 20, max(size, PIECE) * settings.max_ratio))
    for entry in entries:
        yield _entry(archive, entry, left)


class _Budget:
    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise FileRefused(FileReason.UNPACKS_TOO_LARGE)


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left: _Budget) -> Iterator[bytes]:
    try:
        with archive.open(entry) as content:
            while piece := content.read(PIECE):
                left.take(len(piece))
                yield piece
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        RuntimeError,
        OSError,
        struct.error,
    ):
        raise FileRefused(FileReason.PACKED_BADLY) from None


def _check_entries(entries: list[zipfile.ZipInfo], settings: FilesSettings) -> None:
    names = set()
    for entry in entries:
        name = entry.filename
        mode = entry.external_attr >> 16
        plain = (
            name.isprintable()
            and not name.startswith(".")
            and not set("/\\:") & set(name)
            and name.lower().endswith(SUFFIXES[settings.format])
            and name not in names
            and (not stat.S_IFMT(mode) or stat.S_ISREG(mode))
            and not entry.flag_bits & _ENCRYPTED
            and entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        )
        if not plain:
            raise FileRefused(FileReason.ENTRY_UNUSABLE)
        names.add(name)


def _check_directory(file: BinaryIO, max_entries: int) -> int:
    """The archive's size, once its table of contents is known to be small. Raises: FileRefused.

    The table is read at once by whoever opens the archive; so it is measured before.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LONGEST_COMMENT - _END_RECORD.size))
    tail = file.read()
    at = tail.rfind(_END_SIGNATURE)
    if at < 0 or at + _END_RECORD.size > len(tail):
        raise FileRefused(FileReason.PACKED_BADLY)
    _, _, _, _, count, directory, offset, _ = _END_RECORD.unpack_from(tail, at)
    if count > max_entries:  # 65,535 stands for more, in another table
        raise FileRefused(FileReason.TOO_MANY_ENTRIES)
    if directory > _MOST_DIRECTORY or offset + directory > size:
        raise FileRefused(FileReason.PACKED_BADLY)
    file.seek(0)
    return size
