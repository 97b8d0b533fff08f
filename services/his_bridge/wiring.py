"""From a source profile to what pulls its hospital: one line for each kind and each dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.common.database import Database
from services.common.sealing import SubjectKeys
from services.his_bridge.core.hl7v2_terms import Hl7v2Terms
from services.his_bridge.dialects.fhir_r4 import ClaimReader, ObservationReader
from services.his_bridge.dialects.hl7v2 import Hl7Reading, MessageReader, ResultReader
from services.his_bridge.dialects.hl7v2.admission import BILLS, READINGS
from services.his_bridge.dialects.port import RecordReader, Tokens
from services.his_bridge.intake import Intake, NowUs
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.fhir_rest import FhirRestSettings
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings
from services.his_bridge.pulling import Puller
from services.his_bridge.receiving.mllp import Listener
from services.his_bridge.sources.fhir_rest import FhirRest
from services.his_bridge.sources.port import Source


@dataclass(frozen=True, slots=True)
class Hospital:
    """What pulls one hospital. Without a source it pushes; some have no readings."""

    bills: Puller
    readings: Puller | None
    source: Source | None
    listener: Listener | None = None


@dataclass(frozen=True, slots=True)
class Readers:
    """What reads a dialect's records."""

    bills: RecordReader
    readings: RecordReader | None


def _fhir_r4(profile: SourceProfile, tokens: Tokens) -> Readers:
    return Readers(
        bills=ClaimReader(profile.terms, tokens), readings=ObservationReader(profile.terms, tokens)
    )


def _hl7v2(profile: SourceProfile, tokens: Tokens) -> Readers:
    reading = _hl7_reading(profile)
    return Readers(
        bills=MessageReader(reading, tokens),
        readings=ResultReader(reading, tokens) if profile.terms.readings else None,
    )


def _hl7_reading(profile: SourceProfile) -> Hl7Reading:
    own = profile.dialect_terms
    if not isinstance(own, Hl7v2Terms):
        raise TypeError("a profile of this dialect has its terms")
    return Hl7Reading(terms=profile.terms, own=own)


READERS: Mapping[str, Callable[[SourceProfile, Tokens], Readers]] = {
    "fhir_r4": _fhir_r4,
    "hl7v2": _hl7v2,
}
# By the settings of a kind. A kind that pushes stands in no line here.
SOURCES: Mapping[type, Callable[[SourceProfile], Source]] = {FhirRestSettings: FhirRest}


def hospital_of(
    profile: SourceProfile,
    database: Database,
    keys: SubjectKeys,
    tokens: Tokens,
    now_us: NowUs,
    recipient: str,
    state: Path | None = None,
) -> Hospital:
    """One hospital, ready to be pulled, or to listen. `state` is where it says on which port."""
    make = SOURCES.get(type(profile.source))
    source = make(profile) if make is not None else None
    readers = READERS[profile.dialect](profile, tokens)
    look_up = source.look_up if source is not None else None

    def intake(channel: str, reader: RecordReader) -> Intake:
        return Intake(channel, profile, reader, database, keys, now_us, recipient, look_up)

    intakes = {BILLS: intake(BILLS, readers.bills)}
    if readers.readings is not None:
        intakes[READINGS] = intake(READINGS, readers.readings)
    listener = None
    if isinstance(profile.source, MllpSettings):
        reading = _hl7_reading(profile)
        listener = Listener(profile.source, reading, intakes, now_us, state)
    return Hospital(
        bills=Puller(intakes[BILLS], source, now_us),
        readings=Puller(intakes[READINGS], source, now_us) if READINGS in intakes else None,
        source=source,
        listener=listener,
    )
