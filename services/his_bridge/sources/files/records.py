"""From what was cut out of a file to records with a name and a version, by dialect."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from services.his_bridge.dialects.fhir_r4 import SUPPORTING, UNVERSIONED, digest_of, entry_of
from services.his_bridge.profiles.source_kinds.files import FilesSettings
from services.his_bridge.sources.files.cutting import Cut
from services.his_bridge.sources.port import Key, RawRecord

_LONGEST_ID = 120

# The kind of record that is read, and a message, to its records: it may speak of several.
Admit = Callable[[str, bytes], Sequence[RawRecord]]
# What was cut, and the digest of the file that it comes from, to records.
Name = Callable[[Cut, str], Sequence[RawRecord]]


def fhir_names(kinds: Sequence[str]) -> Name:
    """Resources of these kinds; all others of the file are what they point at, or none of ours."""

    def name(cut: Cut, sha256: str) -> Sequence[RawRecord]:
        entry = entry_of(cut.raw, kinds[0])
        if entry.kind not in kinds:
            return ()
        record = RawRecord(
            kind=entry.kind,
            record_id=entry.record_id,
            version=_of_file(cut, sha256) if entry.version == UNVERSIONED else entry.version,
            updated=entry.updated,
            raw=cut.raw,
        )
        return (record,)

    return name


def message_names(kind: str, admit: Admit) -> Name:
    """Messages that name themselves, by their dialect."""
    return lambda cut, _: admit(kind, cut.raw)


def plain_names(kind: str, settings: FilesSettings) -> Name:
    """Rows by their key, JSON messages by the profile's path, all else by its bytes."""
    path = settings.record_id.split(".") if settings.record_id else []

    def name(cut: Cut, sha256: str) -> Sequence[RawRecord]:
        record_id = cut.record_id or _at(cut.raw, path)
        if not record_id or len(record_id) > _LONGEST_ID:
            record_id = digest_of(record_id.encode("utf-8", "backslashreplace") or cut.raw)
        record = RawRecord(
            kind=kind,
            record_id=record_id,
            version=cut.version if 0 < len(cut.version) <= 64 else _of_file(cut, sha256),
            updated=None,
            raw=cut.raw,
        )
        return (record,)

    return name


def supporting_key(cut: Cut) -> Key | None:
    """Kind and id of a resource that others may point at; None for any other."""
    entry = entry_of(cut.raw, "")
    return (entry.kind, entry.record_id) if entry.kind in SUPPORTING else None


def _of_file(cut: Cut, sha256: str) -> str:
    """A version for what states none.

    The content alone would take a bill that was changed back for one that is known; with the
    file's, each file states its records anew, and the same file never does.
    """
    return hashlib.sha256(sha256.encode() + cut.raw).hexdigest()[:32]


def _at(raw: bytes, path: Sequence[str]) -> str:
    """The text or whole number at a path of a JSON object; empty when there is none."""
    node = raw
    for step in path:
        try:
            node = msgspec.json.decode(node, type=dict[str, msgspec.Raw]).get(step, b"")
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return ""
    try:
        found = msgspec.json.decode(node, type=str | int) if path else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return str(found)
