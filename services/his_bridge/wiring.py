"""From a source profile to what pulls its hospital: one line for each kind and each dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.common.database import Database
from services.common.sealing import SubjectKeys
from services.his_bridge.dialects.fhir_r4 import ClaimReader, ObservationReader
from services.his_bridge.dialects.port import RecordReader, Tokens
from services.his_bridge.intake import Intake, NowUs
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.fhir_rest import FhirRestSettings
from services.his_bridge.pulling import Puller
from services.his_bridge.sources.fhir_rest import FhirRest
from services.his_bridge.sources.port import Source


@dataclass(frozen=True, slots=True)
class Hospital:
    """What pulls one hospital. Without a source it pushes; some have no readings."""

    bills: Puller
    readings: Puller | None
    source: Source | None


@dataclass(frozen=True, slots=True)
class Readers:
    """What reads a dialect's records."""

    bills: RecordReader
    readings: RecordReader | None


def _fhir_r4(profile: SourceProfile, tokens: Tokens) -> Readers:
    return Readers(
        bills=ClaimReader(profile.terms, tokens), readings=ObservationReader(profile.terms, tokens)
    )


READERS: Mapping[str, Callable[[SourceProfile, Tokens], Readers]] = {"fhir_r4": _fhir_r4}
# By the settings of a kind. A kind that pushes stands in no line here.
SOURCES: Mapping[type, Callable[[SourceProfile], Source]] = {FhirRestSettings: FhirRest}


def hospital_of(
    profile: SourceProfile,
    database: Database,
    keys: SubjectKeys,
    tokens: Tokens,
    now_us: NowUs,
    recipient: str,
) -> Hospital:
    """One hospital, ready to be pulled."""
    make = SOURCES.get(type(profile.source))
    source = make(profile) if make is not None else None
    readers = READERS[profile.dialect](profile, tokens)

    def puller(channel: str, reader: RecordReader) -> Puller:
        look_up = source.look_up if source is not None else None
        intake = Intake(channel, profile, reader, database, keys, now_us, recipient, look_up)
        return Puller(intake, source, now_us)

    return Hospital(
        bills=puller("bills", readers.bills),
        readings=None if readers.readings is None else puller("readings", readers.readings),
        source=source,
    )
