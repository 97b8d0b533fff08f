"""From a source profile to what pulls its hospital: one line for each kind and each dialect."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.common.database import Database
from services.common.sealing import SubjectKeys
from services.his_bridge.dialects.hl7v2 import Hl7Reading, MessageReader, ResultReader
from services.his_bridge.dialects.hl7v2.admission import READINGS
from services.his_bridge.dialects.port import Tokens
from services.his_bridge.intake import BILLS, Intake
from services.his_bridge.leasing import NowUs
from services.his_bridge.naming import admit_of
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.fhir_bulk import FhirBulkSettings
from services.his_bridge.profiles.source_kinds.fhir_rest import FhirRestSettings
from services.his_bridge.profiles.source_kinds.files import FilesSettings
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings
from services.his_bridge.profiles.source_kinds.sql import SqlSettings
from services.his_bridge.pulling import Puller
from services.his_bridge.readers import reader_of
from services.his_bridge.receiving.mllp import Listener
from services.his_bridge.sources.fhir_bulk import FhirBulk
from services.his_bridge.sources.fhir_rest import FhirRest
from services.his_bridge.sources.files import FileDrop
from services.his_bridge.sources.port import Source
from services.his_bridge.sources.sql import SqlSource


@dataclass(frozen=True, slots=True)
class Hospital:
    """What pulls one hospital. Without a source it pushes; some have no readings."""

    profile: SourceProfile
    bills: Puller
    readings: Puller | None
    source: Source | None
    listener: Listener | None = None


# By the settings of a kind. A kind that pushes stands in no line here.
SOURCES: Mapping[type, Callable[[SourceProfile], Source]] = {
    FhirRestSettings: FhirRest,
    SqlSettings: SqlSource,
    FhirBulkSettings: FhirBulk,
    FilesSettings: lambda profile: FileDrop(profile, admit_of(profile)),
}


def hospital_of(
    profile: SourceProfile,
    database: Database,
    keys: SubjectKeys,
    tokens: Tokens,
    now_us: NowUs,
    recipient: str,
    state: Path | None = None,
) -> Hospital:
    """One hospital, ready to be pulled, or to listen; in `state` it says where it listens."""
    make = SOURCES.get(type(profile.source))
    source = make(profile) if make is not None else None
    kept = (database, keys, now_us, recipient, source.look_up if source is not None else None)
    intakes: dict[str, Intake] = {}
    for channel in (BILLS, READINGS):
        reader = reader_of(profile, channel, tokens)
        if reader is not None:
            intakes[channel] = Intake(channel, profile, reader, *kept)
    if BILLS not in intakes:
        raise TypeError(f"{profile.dialect} has no reader of bills")
    pullers = {name: Puller(intake, source, now_us) for name, intake in intakes.items()}
    listener = None
    if isinstance(profile.source, MllpSettings):
        reading = functools.partial(_reading_now, intakes)
        listener = Listener(profile.source, reading, intakes, now_us, state)
    return Hospital(
        profile=profile,
        bills=pullers[BILLS],
        readings=pullers.get(READINGS),
        source=source,
        listener=listener,
    )


def _reading_now(intakes: Mapping[str, Intake]) -> Hl7Reading:
    """How messages are read just now: maps of codes may have been loaded meanwhile."""
    reader = intakes[READINGS if READINGS in intakes else BILLS].reader
    if not isinstance(reader, MessageReader | ResultReader):
        raise TypeError("only HL7 v2 is listened for")
    return reader.reading
