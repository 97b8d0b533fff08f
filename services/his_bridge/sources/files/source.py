"""Dropped files as a source: each is checked as a whole, read page by page, then answered.

A file is refused or taken as a whole before its first record is stored, so that none is half there.
The cursor holds the file's digest and how many of its records were read. A file is put away only
after all of its records were judged, for what they point at stands in it.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from typing import Any, BinaryIO

import msgspec

from services.common import log
from services.his_bridge.core.fhir_terms import BillsFrom, FhirTerms
from services.his_bridge.core.reconciliation import DayTotals
from services.his_bridge.cutting.formats import Cut, cutter_of, most_of
from services.his_bridge.cutting.opening import parts
from services.his_bridge.cutting.refusals import FileReason, FileRefused, receipt
from services.his_bridge.dialects.fhir_r4 import people_behind, points_at
from services.his_bridge.dialects.strict_json import meaning_of
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.files import FilesSettings
from services.his_bridge.sources.files.checking import look_at, still
from services.his_bridge.sources.files.folder import (
    DONE,
    REFUSED,
    DropFolder,
    Stamp,
    disk_fails,
    drop_folder,
    has_other_names,
    has_strays,
    is_of_the_disk,
    stamp_of,
)
from services.his_bridge.sources.files.records import (
    Admit,
    Name,
    fhir_names,
    message_names,
    plain_names,
)
from services.his_bridge.sources.files.supporting import Supporting
from services.his_bridge.sources.port import Key, Page, RawRecord, SourceFault

# Files that one step puts away at most.
_AT_ONCE = 100
_PAGE_BYTES = 4 << 20
# How often a page is read while somebody touches its file, without another content, meanwhile.
_TRIES = 3
_HOUR_S = 3600.0
# From a charge to its visit, and the visit's disease.
_DEEPEST = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Stage(IntEnum):
    """Where a file is: being read; its last page is being judged; that was judged."""

    READING = 0
    LAST_PAGE = 1
    JUDGED = 2


class _Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """A cursor: which file is read, how many pieces of it were, and how many records they were.

    Without a name no file is read. `stamp_us` is when the file was checked, in microseconds since
    1970, later than every record before it whatever our clock says: records without a time of their
    own count one microsecond each from there.
    """

    name: str = ""
    sha256: str = ""
    size: int = 0
    changed_ns: int = 0
    read: int = 0
    taken: int = 0
    stage: _Stage = _Stage.READING
    stamp_us: int = 0

    def after(self) -> _Place:
        """No file is read, and the next one is later than all that was read of this one."""
        return _Place(stamp_us=self.stamp_us + self.read)

    @property
    def stamp(self) -> Stamp:
        """As the file was when it was checked."""
        return Stamp(size=self.size, changed_ns=self.changed_ns)


class _Open(msgspec.Struct):
    """A file that is being read, and where in it."""

    at: tuple[str, int]
    file: BinaryIO
    cuts: Iterator[Cut]


class FileDrop:
    """A folder as a source: one folder below it for each kind of record that is read."""

    def __init__(
        self,
        profile: SourceProfile,
        admit: Admit | None = None,
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(profile.source, FilesSettings):
            raise TypeError("the profile's source is no folder")
        self._hospital = profile.terms.hospital
        self._settings = profile.source
        self._is_fhir = profile.dialect == "fhir_r4"
        own = profile.dialect_terms
        self._follows = isinstance(own, FhirTerms) and own.bills_from is not BillsFrom.CLAIM
        self._page_size = profile.limits.page_size
        self._admit = admit
        self._now_s = now_s
        self._cut = cutter_of(profile.source, most_of(profile.limits.max_body_mib))
        self._supporting = Supporting(profile.source, self._cut)
        # Only one step at a time: a step whose caller gave up runs to its end.
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._open: dict[str, _Open] = {}
        self._strays = threading.Lock()
        self._removed_s: dict[str, float] = defaultdict(lambda: -_HOUR_S)

    async def fetch(self, kind: str, cursor: bytes | None) -> Page:
        """The next records of the file that is read, or the next file. Raises: SourceFault."""
        place = _Place() if cursor is None else msgspec.json.decode(cursor, type=_Place)
        try:
            return await asyncio.to_thread(self._step, kind, place)
        except OSError:
            raise disk_fails() from None

    async def look_up(self, keys: Collection[Key]) -> Mapping[Key, bytes]:
        """What the records point at, from the files that are being read."""
        if not self._is_fhir:
            return {}
        found = dict(await asyncio.to_thread(self._supporting.find, frozenset(keys)))
        news = found
        for _ in range(_DEEPEST):
            onward: set[Key] = set()
            for (kind, _), raw in news.items():
                if self._follows:
                    onward |= points_at(kind, raw, "")
                onward |= people_behind(kind, raw, found, "")
            wanted = frozenset(onward - found.keys())
            if not wanted:
                break
            news = dict(await asyncio.to_thread(self._supporting.find, wanted))
            found |= news
        return found

    async def fetch_again(self, kind: str, record_ids: Sequence[str]) -> tuple[RawRecord, ...]:
        """Nothing: a folder shows only what was dropped."""
        return ()

    async def reconcile(self, first: date, last: date) -> Mapping[date, DayTotals]:
        """A folder shows no bills once they were taken. Raises: SourceFault, always."""
        text = "a folder cannot be asked what the hospital holds; compare with the receipts"
        raise SourceFault("SOURCE_CANNOT_RECONCILE", text)

    async def close(self) -> None:
        """Close the files."""
        for opened in self._open.values():
            opened.file.close()
        self._open.clear()

    def _step(self, kind: str, place: _Place) -> Page:
        first = kind.partition(",")[0]
        with self._locks[first], drop_folder(self._settings.folder, first) as folder:
            if not place.name:
                return self._next(folder, kind, place)
            if place.stage is _Stage.READING:
                return self._read(folder, kind, place)
            if place.stage is _Stage.LAST_PAGE:
                # Asked for while the last page is judged; asked for once more when it was.
                return _page(msgspec.structs.replace(place, stage=_Stage.JUDGED))
            self._supporting.forget()
            folder.remember(place.name, place.sha256)
            folder.finish(place.name, DONE, self._receipt(place, "taken"))
            return _page(place.after())

    def _next(self, folder: DropFolder, kind: str, before: _Place) -> Page:
        """Check files in until one is to be read. What stands against one name stops no other."""
        settings = self._settings
        put_away = 0
        begun = ((name, True) for name in folder.begun())
        waiting = folder.waiting(settings.ready, settings.settle_s, self._now_s())
        for name, is_ours in itertools.chain(begun, ((name, False) for name in waiting)):
            if put_away >= _AT_ONCE:
                return _page(before)
            put_away += 1
            try:
                if is_ours or self._claimed(folder, name):
                    found = self._check_in(folder, name, kind, before)
                    if found is not None:
                        return _page(found)
            except OSError as error:
                # It stays where it is, and is tried again.
                put_away -= 1
                if is_of_the_disk(error):
                    raise
                log.logger().error("file_passed_over", hospital=self._hospital, fault=error)
        self._remove_old(folder, kind)
        strays = self._put_strays_away()
        return Page(
            records=(),
            cursor=_written(before),
            swept=True,
            unsettled=folder.unsettled(settings.ready, settings.settle_s, self._now_s()),
            refused_files=folder.lying(REFUSED) + strays,
            taken_files=folder.lying(DONE),
        )

    def _put_strays_away(self) -> int:
        """Files beside the folders of the kinds: their senders are told, as all others are.

        How many lie refused there now.
        """
        settings, now_s = self._settings, self._now_s()
        refused_before = (settings.folder / REFUSED).is_dir()
        if not refused_before and not has_strays(settings.folder):
            return 0
        with self._strays, drop_folder(settings.folder, ".") as folder:
            for name in itertools.islice(folder.strays(settings.settle_s, now_s), _AT_ONCE):
                refused = FileRefused(FileReason.WRONG_FOLDER)
                try:
                    receipt = self._receipt(_Place(name=name), "refused", refused)
                    folder.refuse_unseen(name, receipt)
                except OSError as error:
                    if is_of_the_disk(error):
                        raise
                    log.logger().error("file_passed_over", hospital=self._hospital, fault=error)
            self._remove_old(folder, ".")
            return folder.lying(REFUSED)

    def _claimed(self, folder: DropFolder, name: str) -> bool:
        """Whether the file is ours now; what is none is put away. Raises: OSError."""
        try:
            folder.claim(name)
        except FileNotFoundError:
            return False
        except FileRefused as refused:
            folder.refuse_unseen(name, self._receipt(_Place(name=name), "refused", refused))
            return False
        return True

    def _remove_old(self, folder: DropFolder, kind: str) -> None:
        """They hold patients' records in clear, and nobody needs them for ever."""
        now_s = self._now_s()
        if not 0 <= now_s - self._removed_s[kind] < _HOUR_S:
            self._removed_s[kind] = now_s
            folder.remove_old(now_s - self._settings.keep_days * 24 * _HOUR_S)

    def _check_in(self, folder: DropFolder, name: str, kind: str, before: _Place) -> _Place | None:
        """Where reading a file begins; None when it was put away, with a receipt."""
        stamp_us = max(round(self._now_s() * 1_000_000), before.stamp_us + 1)
        place, known = _Place(name=name, stamp_us=stamp_us), False
        try:
            with folder.open(name) as file:
                looked = look_at(folder, name, file, self._settings)
                place = msgspec.structs.replace(
                    place,
                    sha256=looked.sha256,
                    size=looked.stamp.size,
                    changed_ns=looked.stamp.changed_ns,
                )
                if looked.refused is not None:
                    raise FileRefused(looked.refused)
                known = looked.known
                if not known:
                    self._check_content(file, place, kind)
        except (FileRefused, OSError) as fault:
            folder.finish(name, REFUSED, self._receipt(place, "refused", _refused(fault)))
            return None
        if not known:
            return place
        folder.remember(name, place.sha256)
        folder.finish(name, DONE, self._receipt(place, "known"))
        return None

    def _check_content(self, file: BinaryIO, place: _Place, kind: str) -> None:
        """Read it once from end to end. Raises: FileRefused."""
        name, records = self._namer(kind), 0
        for count, cut in enumerate(self._cuts(file, place.name), start=1):
            records += len(name(cut, place.sha256, _EPOCH))
            if count > self._settings.max_records:
                raise FileRefused(FileReason.TOO_MANY_RECORDS, cut.line)
        still(file, place.stamp, place.sha256)
        if not records:
            raise FileRefused(FileReason.EMPTY)

    def _read(self, folder: DropFolder, kind: str, place: _Place) -> Page:
        opened = self._open.pop(kind, None)
        if opened is not None and opened.at != (place.sha256, place.read):
            opened.file.close()
            opened = None
        try:
            for _ in range(_TRIES):
                if opened is None:
                    opened = self._opened(folder, place)
                stamp = self._still(opened.file, kind, place)
                try:
                    records, read, ended = self._some(opened.cuts, kind, place)
                except FileRefused:
                    # It was read whole before and was not refused: another content is why.
                    self._still(opened.file, kind, place)
                    raise
                if stamp_of(opened.file) == stamp:
                    break
                # What was read may have been another content that was put back since.
                self._still(opened.file, kind, place)
                opened.file.close()
                opened = None
            else:
                raise FileRefused(FileReason.CHANGED_WHILE_READ)
        except FileNotFoundError:
            # Somebody took it out of our own folder. What was read of it is kept.
            return _page(place.after())
        except (FileRefused, OSError) as fault:
            if opened is not None:
                opened.file.close()
            refused = self._receipt(place, "refused", _refused(fault))
            folder.finish(place.name, REFUSED, refused)
            return _page(place.after())
        moved = msgspec.structs.replace(
            place,
            changed_ns=stamp.changed_ns,
            read=read,
            taken=place.taken + len(records),
            stage=_Stage.LAST_PAGE if ended else _Stage.READING,
        )
        if ended:
            opened.file.close()
        else:
            opened.at = (moved.sha256, moved.read)
            self._open[kind] = opened
        return Page(records=tuple(records), cursor=_written(moved), swept=False, scope=place.sha256)

    def _opened(self, folder: DropFolder, place: _Place) -> _Open:
        """The file where reading stopped. Raises: FileRefused, FileNotFoundError."""
        file = folder.open(place.name, linked=True)
        try:
            # A link of before may lead anywhere: what has one is known by its bytes alone.
            still(file, place.stamp, place.sha256, anew=has_other_names(file))
            cuts = self._cuts(file, place.name)
            for _ in range(place.read):
                next(cuts, None)
        except BaseException:
            file.close()
            raise
        return _Open(at=(place.sha256, place.read), file=file, cuts=cuts)

    def _still(self, file: BinaryIO, kind: str, place: _Place) -> Stamp:
        """The file's stamp, while its content is what was checked. Raises: FileRefused."""
        stamp = still(file, place.stamp, place.sha256)
        if has_other_names(file):
            self._supporting.admit(kind.partition(",")[0], place.name)
        return stamp

    def _some(
        self, cuts: Iterator[Cut], kind: str, place: _Place
    ) -> tuple[list[RawRecord], int, bool]:
        """The records of the next pieces, how many pieces were read, and whether it is the end."""
        name, read, size = self._namer(kind), place.read, 0
        records: list[RawRecord] = []
        for cut in cuts:
            seen = _EPOCH + timedelta(microseconds=place.stamp_us + read)
            read += 1
            records += [self._with_meaning(one) for one in name(cut, place.sha256, seen)]
            size += len(cut.raw)
            if len(records) >= self._page_size or size >= _PAGE_BYTES:
                return records, read, False
        return records, read, True

    def _with_meaning(self, record: RawRecord) -> RawRecord:
        """FHIR's JSON may be laid out in any way; of all else the bytes count."""
        if not self._is_fhir:
            return record
        return msgspec.structs.replace(record, meaning=meaning_of(record.raw))

    def _cuts(self, file: BinaryIO, name: str) -> Iterator[Cut]:
        for pieces in parts(file, name, self._settings):
            yield from self._cut(pieces)

    def _namer(self, kind: str) -> Name:
        if self._is_fhir:
            return fhir_names(kind.split(","))
        if self._admit is not None:
            return message_names(kind, self._admit)
        return plain_names(kind)

    def _receipt(
        self, place: _Place, outcome: str, refused: FileRefused | None = None
    ) -> Mapping[str, Any]:
        return receipt(
            place.name,
            outcome,
            at_s=self._now_s(),
            records=place.taken,
            sha256=place.sha256,
            size=place.size,
            refused=refused,
        )


def _refused(fault: FileRefused | OSError) -> FileRefused:
    """Why this file is put aside. Raises: OSError when every other would fail as well."""
    if isinstance(fault, FileRefused):
        return fault
    if is_of_the_disk(fault):
        raise fault
    return FileRefused(FileReason.NOT_READABLE)


def _page(place: _Place) -> Page:
    return Page(records=(), cursor=_written(place), swept=False, scope=place.sha256)


def _written(place: _Place) -> bytes:
    return msgspec.json.encode(place)
