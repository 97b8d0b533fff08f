"""What is known of a dropped file before it is read: whether it is new, whole and of its mark."""

from __future__ import annotations

import hashlib
import os
from typing import BinaryIO

import msgspec

from services.his_bridge.cutting.opening import PIECE, is_suffix_known
from services.his_bridge.cutting.refusals import FileReason, FileRefused
from services.his_bridge.profiles.source_kinds.files import FilesSettings
from services.his_bridge.sources.files.folder import DropFolder, Stamp, stamp_of

_SHA256 = 64


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """A file from outside: its digest, unless it was too large for one; why it is not taken.

    `known`: these very bytes were taken before.
    """

    stamp: Stamp
    sha256: str = ""
    refused: FileReason | None = None
    known: bool = False


def look_at(folder: DropFolder, name: str, file: BinaryIO, settings: FilesSettings) -> Looked:
    """Name, size, digest, mark, and what was taken before under this name or with these bytes."""
    stamp = stamp_of(file)
    if not is_suffix_known(name, settings):
        return Looked(stamp=stamp, refused=FileReason.SUFFIX_UNKNOWN)
    if stamp.size > settings.max_mib << 20:
        return Looked(stamp=stamp, refused=FileReason.TOO_LARGE)
    if stamp.size == 0:
        return Looked(stamp=stamp, refused=FileReason.EMPTY)
    sha256 = _digest(file)
    marked = folder.mark_of(name).split()
    if marked and len(marked[0]) == _SHA256 and marked[0].lower() != sha256:
        return Looked(stamp=stamp, sha256=sha256, refused=FileReason.MARK_DIFFERS)
    before = folder.content_of(name)
    if before is not None and before != sha256:
        return Looked(stamp=stamp, sha256=sha256, refused=FileReason.SAME_NAME_OTHER_CONTENT)
    known = before == sha256 or folder.taken_as(sha256) is not None
    return Looked(stamp=stamp, sha256=sha256, known=known)


def still(file: BinaryIO, stamp: Stamp, sha256: str, *, anew: bool = False) -> Stamp:
    """The file's stamp now, while it holds the bytes of this digest; its place is left alone.

    A stamp that differs, as a right, a backup's link or a restored folder makes it, refuses
    nothing: the content decides, and with `anew` it is asked in any case.

    Raises: FileRefused when the content is another one; OSError.
    """
    now = stamp_of(file)
    if now == stamp and not anew:
        return now
    if now.size != stamp.size or _digest_apart(file, now.size) != sha256:
        raise FileRefused(FileReason.CHANGED_WHILE_READ)
    return now


def _digest_apart(file: BinaryIO, size: int) -> str:
    """The digest of as many bytes, whoever reads the same file at another place of it."""
    digest, at = hashlib.sha256(), 0
    while at < size and (piece := os.pread(file.fileno(), min(PIECE, size - at), at)):
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()
