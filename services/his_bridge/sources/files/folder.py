"""A hospital's drop folder, handled so that no name in it leads anywhere else. Reads no record.

Every part of the path is opened without following links, and every file by its name within the
folder that is open: whoever can write there can swap a name, but not where we read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from services.his_bridge.cutting.refusals import FileReason, FileRefused
from services.his_bridge.profiles.source_kinds.files import Ready
from services.his_bridge.sources.port import SourceFault, Unsettled

DONE, REFUSED = "done", "refused"
_OURS = ".lipei"  # what is being read, and what was taken before
_WORK, _NAMES, _CONTENTS = "work", "names", "contents"
_MARK = ".ok"
_UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload")
_LONGEST_NAME = 200
_MOST_MARK = 4096
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_RECEIPT = ".receipt.json"
_MOST_NAME = 255  # bytes, of every system that we run on
# What is wrong with the disk or with us, and would be with every other file too.
_OF_THE_DISK = frozenset(
    {
        errno.EDQUOT,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EROFS,
    }
)


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """Size and time of the last change of a file: both stay while nobody writes into it."""

    size: int
    changed_ns: int


class DropFolder:
    """One open folder with its own places in it; `held` closes them all."""

    def __init__(self, top: int, held: ExitStack) -> None:
        def made(parent: int, name: str) -> int:
            found = _made(parent, name)
            held.callback(os.close, found)
            return found

        self._top = top
        ours = made(top, _OURS)
        self._work = made(ours, _WORK)
        self._names = made(ours, _NAMES)
        self._contents = made(ours, _CONTENTS)
        self._places = {DONE: made(top, DONE), REFUSED: made(top, REFUSED)}

    def begun(self) -> list[str]:
        """Files that were taken over and not finished, by name."""
        return sorted(os.listdir(self._work))  # noqa: PTH208 by descriptor, not by path

    def waiting(self, ready: Ready, settle_s: float, now_s: float) -> Iterator[str]:
        """What lies there whole, by name; files that are still being written are left alone."""
        for name, changed_s, marked in self._named(ready):
            # A clock that jumps makes a file young or from the future, and never ready too early.
            if marked and (changed_s is None or abs(now_s - changed_s) >= settle_s):
                yield name

    def unsettled(self, ready: Ready, settle_s: float, now_s: float) -> Unsettled | None:
        """What lies there and does not count yet; None when nothing does."""
        count, first_s = 0, None
        for _, changed_s, marked in self._named(ready):
            young = changed_s is not None and abs(now_s - changed_s) < settle_s
            if marked and not young:
                continue  # it came since we looked, or cannot be taken
            count += 1
            if marked and changed_s is not None:
                first_s = min(changed_s + settle_s, first_s or math.inf)
        return Unsettled(count=count, settle_s=first_s) if count else None

    def lying(self, place: str) -> int:
        """How many files lie done, or refused: until a person takes them away, or they are old."""
        names = os.listdir(self._places[place])  # noqa: PTH208 by descriptor, not by path
        # What is being written begins with a dot.
        return sum(not name.startswith(".") and not name.endswith(_RECEIPT) for name in names)

    def _named(self, ready: Ready) -> Iterator[tuple[str, float | None, bool]]:
        """What has a name of its own, when it changed last, and whether its mark is there.

        No time is told of what cannot be looked at: whoever takes it over says why.
        """
        found_names = os.listdir(self._top)  # noqa: PTH208 by descriptor, not by path
        names = sorted(found_names, key=os.fsencode)
        marks = {name for name in names if name.endswith(_MARK)}
        for name in names:
            if name.startswith(".") or name in (DONE, REFUSED) or name in marks:
                continue
            if name.lower().endswith(_UNFINISHED):
                continue
            marked = ready is not Ready.OK_FILE or name + _MARK in marks
            try:
                found = os.stat(name, dir_fd=self._top, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError:
                yield name, None, marked
                continue
            if not marked and stat.S_ISDIR(found.st_mode):
                continue
            yield name, max(found.st_mtime, found.st_ctime), marked

    def strays(self, settle_s: float, now_s: float) -> Iterator[str]:
        """Of the profile's own folder: what is no folder of a kind, by name."""
        for name in self.waiting(Ready.RENAME, settle_s, now_s):
            with suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=self._top, follow_symlinks=False)
                if not stat.S_ISDIR(found.st_mode):
                    yield name

    def claim(self, name: str) -> None:
        """Take a file over, so that its name in the folder means nothing any more.

        Raises: FileRefused when it is no plain file of this folder; OSError.
        """
        _check(os.stat(name, dir_fd=self._top, follow_symlinks=False))
        try:
            usable = len(name.encode("utf-8")) <= _LONGEST_NAME and name.isprintable()
        except UnicodeEncodeError:
            usable = False
        if not usable:
            raise FileRefused(FileReason.NAME_UNUSABLE)
        if _is_there(self._work, name):
            raise FileExistsError(errno.EEXIST, "another file of this name is being read")
        os.rename(name, name, src_dir_fd=self._top, dst_dir_fd=self._work)

    def open(self, name: str, *, linked: bool = False) -> BinaryIO:
        """A file that was taken over, with other names only when it may be `linked`.

        Raises: FileRefused when it is no plain file; OSError.
        """
        try:
            fd = os.open(name, _FILE, dir_fd=self._work)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
                raise FileRefused(FileReason.NOT_A_FILE) from None
            raise
        try:
            _check(os.fstat(fd), linked=linked)
        except FileRefused:
            os.close(fd)
            raise
        return os.fdopen(fd, "rb")

    def mark_of(self, name: str) -> str:
        """What the .ok file says, as far as anybody needs it; empty without one."""
        try:
            fd = os.open(name + _MARK, _FILE, dir_fd=self._top)
        except OSError:
            return ""
        with os.fdopen(fd, "rb") as mark:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return ""
            return mark.read(_MOST_MARK).decode("ascii", "replace")

    def taken_as(self, sha256: str) -> str | None:
        """The name under which these bytes were taken before."""
        return _read(self._contents, sha256)

    def content_of(self, name: str) -> str | None:
        """The SHA-256 of the file that was taken under this name before."""
        return _read(self._names, name)

    def remember(self, name: str, sha256: str) -> None:
        """These bytes were taken, under this name."""
        _write(self._contents, sha256, name.encode())
        _write(self._names, name, sha256.encode())

    def finish(self, name: str, place: str, receipt: Mapping[str, Any]) -> None:
        """Put a file that was taken over into its place, with its receipt; and its mark away."""
        self._finish(self._work, name, place, receipt)

    def refuse_unseen(self, name: str, receipt: Mapping[str, Any]) -> None:
        """Put away what was never opened: a link is moved as a link, a pipe as a pipe."""
        self._finish(self._top, name, REFUSED, receipt)

    def remove_old(self, before_s: float) -> None:
        """Files that were put away before then are no more; their receipts stay."""
        for place in self._places.values():
            for name in os.listdir(place):  # noqa: PTH208 by descriptor, not by path
                with suppress(OSError):  # one that cannot go stops no other
                    found = os.stat(name, dir_fd=place, follow_symlinks=False)
                    old = stat.S_ISREG(found.st_mode) and found.st_ctime < before_s
                    if old and not name.endswith(_RECEIPT):
                        os.unlink(name, dir_fd=place)

    def _finish(self, source: int, name: str, place: str, receipt: Mapping[str, Any]) -> None:
        target = self._places[place]
        if not _is_there(source, name):
            return  # it was moved before we were cut off
        free = _free_name(target, name)
        # The receipt first: a file that lies there without one would be silence.
        body = json.dumps(receipt, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        _write(target, _receipt_name(free), body.encode("utf-8", "backslashreplace"))
        os.rename(name, free, src_dir_fd=source, dst_dir_fd=target)
        with suppress(OSError):
            os.unlink(name + _MARK, dir_fd=self._top)


@contextmanager
def drop_folder(path: Path, below: str) -> Iterator[DropFolder]:
    """The folder of one kind of record below the profile's folder, made if it is not there.

    Raises: SourceFault when a part of the path is missing, a link, or writable by everybody.
    """
    with ExitStack() as held:
        with _told():
            place = _made(_entered(path, held), below)
            held.callback(os.close, place)
            folder = DropFolder(place, held)
        yield folder


def check_folder(path: Path) -> None:
    """Enter the profile's folder and make nothing in it. Raises: SourceFault, as `drop_folder`."""
    with ExitStack() as held, _told():
        _entered(path, held)


@contextmanager
def _told() -> Iterator[None]:
    """Why a folder cannot be entered, as a fault of the source."""
    try:
        yield
    except FileNotFoundError:
        text = "the profile's folder is not there; make it, or mount it"
        raise SourceFault("SOURCE_FOLDER_MISSING", text, retry_after_s=60) from None
    except PermissionError:
        raise SourceFault("SOURCE_FOLDER_CLOSED", "the bridge may not use the folder") from None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise disk_fails() from None
        raise _unsafe("a part of the folder's path is a link or no folder") from None


def _entered(path: Path, held: ExitStack) -> int:
    place = os.open("/", _DIRECTORY)
    held.callback(os.close, place)
    for part in path.parts[1:]:
        place = os.open(part, _DIRECTORY, dir_fd=place)
        held.callback(os.close, place)
    if stat.S_IMODE(os.fstat(place).st_mode) & stat.S_IWOTH:
        raise _unsafe("everybody may write into the folder; take that right away")
    return place


def has_strays(path: Path) -> bool:
    """Whether anything but folders lies in the profile's own folder, where nobody reads."""
    with os.scandir(path) as found:
        return any(
            not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False)
            for entry in found
        )


def stamp_of(file: BinaryIO) -> Stamp:
    """Size and time of the last change."""
    found = os.fstat(file.fileno())
    # Whoever writes can set the time of the content to what it was, but not this one.
    return Stamp(size=found.st_size, changed_ns=found.st_ctime_ns)


def is_of_the_disk(error: OSError) -> bool:
    """Whether every other file would fail as this one did."""
    return error.errno in _OF_THE_DISK


def disk_fails() -> SourceFault:
    """Waiting helps, or whoever runs the disk."""
    return SourceFault("SOURCE_AWAY", "the folder's disk fails", retry_after_s=60)


def _unsafe(text: str) -> SourceFault:
    return SourceFault("SOURCE_FOLDER_UNSAFE", text)


def has_other_names(file: BinaryIO) -> bool:
    """Whether a hard link leads to the file from elsewhere, as of a backup."""
    return os.fstat(file.fileno()).st_nlink > 1


def _check(found: os.stat_result, *, linked: bool = False) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise FileRefused(FileReason.NOT_A_FILE)
    if found.st_nlink != 1 and not linked:
        raise FileRefused(FileReason.HARD_LINK)


def _made(parent: int, name: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, 0o750, dir_fd=parent)
    return os.open(name, _DIRECTORY, dir_fd=parent)


def _read(folder: int, name: str) -> str | None:
    try:
        fd = os.open(name, _FILE, dir_fd=folder)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read(_MOST_MARK).decode("utf-8", "replace")


def _write(folder: int, name: str, content: bytes) -> None:
    """Whole or not at all, and on the disk when this returns."""
    beside = f".{os.getpid()}.writing"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(beside, flags, 0o640, dir_fd=folder)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _receipt_name(name: str) -> str:
    """The file's own name with an ending; a digest tells apart names that had to be changed."""
    raw = os.fsencode(name)
    kept = raw[:_LONGEST_NAME].decode("utf-8", "ignore")
    if kept != name:
        kept += "." + hashlib.sha256(raw).hexdigest()[:16]
    return kept + _RECEIPT


def _free_name(folder: int, name: str) -> str:
    """The name itself, or with a number where another file of this name lies already."""
    number, free, raw = 1, name, os.fsencode(name)
    while _is_there(folder, free):
        number += 1
        ending = f".{number}"
        fits = len(raw) + len(ending) <= _MOST_NAME
        kept = name if fits else raw[: _MOST_NAME - len(ending)].decode("utf-8", "ignore")
        free = kept + ending
    return free


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
