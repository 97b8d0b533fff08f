"""From what was cut out of a file to records with a name and a version, by dialect."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from services.his_bridge.core.events import is_counted
from services.his_bridge.cutting.formats import Cut
from services.his_bridge.dialects.fhir_r4 import SUPPORTING, UNVERSIONED, digest_of, entry_of
from services.his_bridge.sources.port import Key, RawRecord

_LONGEST_ID = 120
_LONGEST_VERSION = 64

# The kind of record that is read, and a message, to its records: it may speak of several.
Admit = Callable[[str, bytes], Sequence[RawRecord]]
# What was cut, the digest of the file that it comes from and when we saw it, to records.
Name = Callable[[Cut, str, datetime], Sequence[RawRecord]]


def fhir_names(kinds: Sequence[str]) -> Name:
    """Resources of these kinds; all others of the file are what they point at, or none of ours."""

    def name(cut: Cut, sha256: str, seen: datetime) -> Sequence[RawRecord]:
        entry = entry_of(cut.raw, kinds[0])
        if entry.kind not in kinds:
            return ()
        record = RawRecord(
            kind=entry.kind,
            record_id=entry.record_id,
            version=_of_file(cut, sha256) if entry.version == UNVERSIONED else entry.version,
            updated=entry.updated or _updated(entry.version, seen),
            raw=cut.raw,
            seen=entry.updated is None,
        )
        return (record,)

    return name


def message_names(kind: str, admit: Admit) -> Name:
    """Messages that name themselves, by their dialect."""

    def name(cut: Cut, _: str, seen: datetime) -> Sequence[RawRecord]:
        return [
            record
            if record.updated is not None
            else msgspec.structs.replace(record, updated=seen, seen=True)
            for record in admit(kind, cut.raw)
        ]

    return name


def plain_names(kind: str) -> Name:
    """Rows by their key; without one by their bytes."""

    def name(cut: Cut, sha256: str, seen: datetime) -> Sequence[RawRecord]:
        record_id = cut.record_id
        if not record_id or len(record_id) > _LONGEST_ID:
            record_id = digest_of(record_id.encode("utf-8", "backslashreplace") or cut.raw)
        stated = cut.version if len(cut.version) <= _LONGEST_VERSION else ""
        record = RawRecord(
            kind=kind,
            record_id=record_id,
            version=stated or _of_file(cut, sha256),
            updated=_updated(stated, seen),
            raw=cut.raw,
            seen=True,
        )
        return (record,)

    return name


def supporting_key(cut: Cut) -> Key | None:
    """Kind and id of a resource that others may point at; None for any other."""
    entry = entry_of(cut.raw, "")
    return (entry.kind, entry.record_id) if entry.kind in SUPPORTING else None


def _updated(version: str, seen: datetime) -> datetime | None:
    """The time of a record that states none: what is dropped later is later.

    Where versions are counted they tell the order, and none has a time: a file that comes late
    with an older version changes nothing.
    """
    return None if is_counted(version) else seen


def _of_file(cut: Cut, sha256: str) -> str:
    """A version for what states none.

    The content alone would take a bill that was changed back for one that is known; with the
    file's, each file states its records anew, and the same file never does.
    """
    return hashlib.sha256(sha256.encode() + cut.raw).hexdigest()[:32]
