"""How messages in dropped files name themselves, by dialect: as they would by any other way in."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from services.his_bridge.core.hl7v2_terms import Hl7v2Terms
from services.his_bridge.core.yibao_terms import YibaoTerms
from services.his_bridge.dialects.hl7v2 import Hl7Reading, ResultReader
from services.his_bridge.dialects.hl7v2.admission import (
    BILLS,
    KIND,
    READINGS,
    admit,
    unreadable_piece,
)
from services.his_bridge.dialects.hl7v2.refusals import Refused
from services.his_bridge.dialects.yibao import identified
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.sources.files.records import Admit
from services.his_bridge.sources.port import RawRecord


def admit_of(profile: SourceProfile) -> Admit | None:
    """What names the messages of the profile's dialect; None where the file or a key does."""
    own = profile.dialect_terms
    if isinstance(own, Hl7v2Terms):
        return _of_hl7(Hl7Reading(profile.terms, own))
    if isinstance(own, YibaoTerms):
        return _of_yibao(ZoneInfo(profile.terms.zone))
    return None


def _of_hl7(reading: Hl7Reading) -> Admit:
    def named(kind: str, raw: bytes) -> Sequence[RawRecord]:
        channel = READINGS if kind == ResultReader.kind else BILLS
        try:
            _, pieces = admit(raw, reading)
        except Refused:
            # Nobody waits for an answer: it goes to the quarantine, with what stands against it.
            pieces = (unreadable_piece(raw),)
        return [
            RawRecord(
                kind=KIND,
                record_id=piece.record_id,
                version=piece.version,
                updated=piece.updated,
                raw=raw,
            )
            for piece in pieces
            if piece.channel == channel
        ]

    return named


def _of_yibao(zone: ZoneInfo) -> Admit:
    def named(kind: str, raw: bytes) -> Sequence[RawRecord]:
        own = identified(raw, zone)
        record = RawRecord(
            kind=kind,
            record_id=own.record_id,
            version=own.version,
            updated=own.updated,
            raw=raw,
        )
        return (record,)

    return named
