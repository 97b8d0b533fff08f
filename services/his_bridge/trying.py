"""What would become of a file's records: cut, read and judged, and nothing kept.

For whoever writes a source profile. Opens no socket and no database.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from services.common.identity import member_token
from services.his_bridge.core.hl7v2_terms import Hl7v2Terms
from services.his_bridge.core.outcomes import KeptOut, Outcome, SetAside
from services.his_bridge.core.yibao_terms import YibaoTerms
from services.his_bridge.cutting.formats import cutter_of, in_utf8, most_of, objects_of
from services.his_bridge.cutting.refusals import FileRefused
from services.his_bridge.dialects.hl7v2 import Hl7Reading
from services.his_bridge.dialects.hl7v2.admission import admit
from services.his_bridge.dialects.hl7v2.refusals import Denial, Refused
from services.his_bridge.dialects.port import Key, RecordReader
from services.his_bridge.dialects.strict_json import has_each_key_once
from services.his_bridge.dialects.yibao import identified
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.files import FileFormat, FilesSettings
from services.his_bridge.readers import reader_of

_CHANNELS = ("bills", "readings")
# Of a batch the header and trailer segments are no message's.
_BATCH_SEGMENTS = re.compile(rb"(?:^|(?<=[\r\n]))(?:FHS|BHS|BTS|FTS)[^\r\n]*[\r\n]*")
_BETWEEN_MESSAGES = re.compile(rb"(?<=[\r\n])(?=MSH)")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENTRIES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_TEXT = msgspec.json.Decoder(str)
_BUNDLE = "Bundle"


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the file: its place from 1, what it calls itself, and what it says.

    `line`: where it begins, of what stands in lines. `denials`: what a listener would answer to it,
    instead of taking it.
    """

    number: int
    record: str
    outcome: Outcome
    line: int = 0
    denials: tuple[Denial, ...] = ()


def try_out(content: bytes, profile: SourceProfile) -> list[Tried]:
    """Every record of a file in the profile's dialect, before consent is asked.

    FHIR: a resource, a Bundle or NDJSON, whose other resources are what bills point at. HL7 v2:
    one message, several, a batch or MLLP frames. Rows and 医保 messages: JSON objects, one a line,
    laid out over lines or in an array.
    Rows of a profile whose files are CSV: the file as it would be dropped. JSON of a profile whose
    files are dropped is in their charset.
    Tokens are made with a key of this call alone: they tell patients of one file apart, no more.

    Raises: FileRefused for a dropped file that would be refused as a whole.
    """
    key = secrets.token_bytes(32)

    def tokens(kind: str, number: str) -> str:
        return member_token(kind, number, key=key, key_version="trial")

    readers = [
        make(profile.terms)
        for channel in _CHANNELS
        if (make := reader_of(profile, channel, tokens)) is not None
    ]
    source, most = profile.source, most_of(profile.limits.max_body_mib)
    if isinstance(source, FilesSettings) and source.format is FileFormat.NDJSON:
        content = in_utf8(content, source.charset, most)
    if profile.dialect == "fhir_r4":
        return _fhir(content, profile, readers)
    if isinstance(source, FilesSettings) and source.format is FileFormat.CSV:
        cuts = cutter_of(source, most)(iter([content]))
        return [
            Tried(
                number=number,
                record=cut.record_id,
                outcome=_either(readers, cut.record_id, cut.raw),
                line=cut.line,
            )
            for number, cut in enumerate(cuts, start=1)
        ]
    own = profile.dialect_terms
    listening = Hl7Reading(profile.terms, own) if isinstance(own, Hl7v2Terms) else None
    if listening is None:
        cut = enumerate(_objects(content, profile), start=1)
        named = [(number, line, _name(number, raw, profile), raw) for number, (line, raw) in cut]
        return [
            Tried(number=number, record=name, outcome=_either(readers, name, raw), line=line)
            for number, line, name, raw in named
        ]
    return [
        Tried(
            number=number,
            record=str(number),
            outcome=_either(readers, str(number), raw),
            denials=_denials(raw, listening),
        )
        for number, raw in enumerate(_messages(content), start=1)
    ]


def kinds_of(profile: SourceProfile) -> tuple[str, ...]:
    """The kinds of record that the profile reads, as its source and its files name them."""

    def no_token(kind: str, number: str) -> str:  # noqa: ARG001 - as tokens are made
        raise AssertionError("no record is read here")

    made = [reader_of(profile, channel, no_token) for channel in _CHANNELS]
    kinds = [make(profile.terms).kind for make in made if make is not None]
    return tuple(dict.fromkeys(one for kind in kinds for one in kind.split(",")))


def _denials(raw: bytes, reading: Hl7Reading) -> tuple[Denial, ...]:
    try:
        admit(raw, reading)
    except Refused as refused:
        return tuple(refused.denials)
    return ()


def _name(number: int, raw: bytes, profile: SourceProfile) -> str:
    """As the quarantine has it, and as what takes a message back names it; of rows their number."""
    if isinstance(profile.dialect_terms, YibaoTerms):
        return identified(raw, ZoneInfo(profile.terms.zone)).record_id
    return str(number)


def _fhir(content: bytes, profile: SourceProfile, readers: list[RecordReader]) -> list[Tried]:
    by_kind = {reader.kind: reader for reader in readers}
    found = [
        (*_named(resource), line, resource)
        for line, raw in _resources(content, profile)
        for resource in _entries(raw)
    ]
    around = {(kind, name): raw for kind, name, _, raw in found}
    # A Bundle that could not be taken apart is a record of its own: its faults are told.
    judged = [one for one in found if one[0] in by_kind or one[0] in ("", _BUNDLE)]
    return [
        Tried(
            number=number,
            record=f"{kind}/{name}",
            outcome=_judged(by_kind.get(kind, readers[0]), name, raw, around),
            line=line,
        )
        for number, (kind, name, line, raw) in enumerate(judged, start=1)
    ]


def _either(readers: list[RecordReader], record_id: str, raw: bytes) -> Outcome:
    """What the first reader says that the record is not nothing to."""
    outcome: Outcome = KeptOut()
    for reader in readers:
        outcome = _judged(reader, record_id, raw, {})
        if not isinstance(outcome, KeptOut):
            break
    return outcome


def _judged(
    reader: RecordReader, record_id: str, raw: bytes, around: Mapping[Key, bytes]
) -> Outcome:
    glance = reader.glance(raw)
    if glance.keep_out:
        return KeptOut()
    support: dict[Key, Any] = {
        key: reader.read_supporting(key[0], around[key]) for key in glance.needs if key in around
    }
    return reader.judge(record_id, glance, support)


def _messages(content: bytes) -> Iterator[bytes]:
    """HL7 v2 messages, out of their frames and batches."""
    for frame in content.split(b"\x0b"):
        message = _BATCH_SEGMENTS.sub(b"", frame.partition(b"\x1c")[0])
        yield from (one for one in _BETWEEN_MESSAGES.split(message) if one.strip())


def _objects(content: bytes, profile: SourceProfile) -> Iterator[tuple[int, bytes]]:
    """JSON objects as a dropped file may hold them, with the number of the line of each.

    Of a profile without a drop folder nothing is refused as a whole: then each line is looked at.
    """
    most = most_of(profile.limits.max_body_mib)
    try:
        cuts = [(cut.line, cut.raw) for cut in objects_of(iter([content]), "utf-8", most)]
    except FileRefused:
        if isinstance(profile.source, FilesSettings):
            raise
        lines = enumerate(content.split(b"\n"), start=1)
        cuts = [(number, line.strip()) for number, line in lines if line.strip()]
    yield from cuts


def _resources(content: bytes, profile: SourceProfile) -> Iterator[tuple[int, bytes]]:
    """As `_objects`; a Bundle may be larger than any record, for nobody drops it."""
    try:
        _OBJECT.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        yield from _objects(content, profile)
    else:
        yield 1, content


def _entries(raw: bytes) -> Iterator[bytes]:
    """The resources of a Bundle; anything else as it is."""
    try:
        top = _OBJECT.decode(raw)
        is_bundle = _TEXT.decode(top.get("resourceType", b'""')) == _BUNDLE
        if not is_bundle or not has_each_key_once(raw):
            raise msgspec.DecodeError("no Bundle, or one of which a part would go unread")
        entries = _ENTRIES.decode(top.get("entry", b"[]"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        yield raw
        return
    yield from (bytes(entry["resource"]) for entry in entries if "resource" in entry)


def _named(raw: bytes) -> tuple[str, str]:
    """A resource's type and id; empty where it does not say them."""
    try:
        top = _OBJECT.decode(raw)
        return _TEXT.decode(top.get("resourceType", b'""')), _TEXT.decode(top.get("id", b'""'))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", ""


def told(tried: Tried) -> dict[str, Any]:
    """One record for a person or a machine: the event as JSON, faults with what to do."""
    outcome = tried.outcome
    said: dict[str, Any] = {
        "number": tried.number,
        "record": tried.record,
        **({"line": tried.line} if tried.line else {}),
        "outcome": type(outcome).__name__,
    }
    if tried.denials:
        return {
            **said,
            "outcome": "Refused",
            "answer": "AE" if all(one.terms.may_mend for one in tried.denials) else "AR",
            "denials": [
                {"reason": str(one.refusal), "text": one.terms.text} for one in tried.denials
            ],
        }
    if isinstance(outcome, SetAside):
        said["faults"] = [
            {"reason": str(fault.reason), "path": fault.path, "text": fault.text}
            for fault in outcome.faults
        ]
        return said
    return {**said, **msgspec.to_builtins(outcome)}


def is_faulty(tried: Tried) -> bool:
    """Whether the record would wait for a person, or not even be taken."""
    return bool(tried.denials) or isinstance(tried.outcome, SetAside)
