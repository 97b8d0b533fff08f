"""From a source profile to what pulls its hospital: one line for each kind and each dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.common.database import Database
from services.common.sealing import SubjectKeys
from services.his_bridge.dialects.port import Tokens
from services.his_bridge.intake import Intake, NowUs
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.fhir_rest import FhirRestSettings
from services.his_bridge.pulling import Puller
from services.his_bridge.readers import reader_of
from services.his_bridge.sources.fhir_rest import FhirRest
from services.his_bridge.sources.port import Source


@dataclass(frozen=True, slots=True)
class Hospital:
    """What pulls one hospital. Without a source it pushes; some have no readings."""

    profile: SourceProfile
    bills: Puller
    readings: Puller | None
    source: Source | None


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
    kept = (database, keys, now_us, recipient, source.look_up if source is not None else None)

    def puller(channel: str) -> Puller | None:
        make = reader_of(profile, channel, tokens)
        if make is None:
            return None
        return Puller(Intake(channel, profile, make, *kept), source, now_us)

    bills = puller("bills")
    if bills is None:
        raise TypeError(f"{profile.dialect} has no reader of bills")
    return Hospital(profile=profile, bills=bills, readings=puller("readings"), source=source)
