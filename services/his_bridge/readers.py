"""What reads the records of each dialect: one line for each. Opens no socket and no database."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4 import ClaimReader, ObservationReader
from services.his_bridge.dialects.port import RecordReader, Tokens
from services.his_bridge.profiles.loader import SourceProfile

MakeReader = Callable[[SourceProfile, Tokens], RecordReader]

# By dialect and channel; a dialect without a line for readings has none.
READERS: Mapping[tuple[str, str], MakeReader] = {
    ("fhir_r4", "bills"): lambda profile, tokens: ClaimReader(profile.terms, tokens),
    ("fhir_r4", "readings"): lambda profile, tokens: ObservationReader(profile.terms, tokens),
}


def reader_of(
    profile: SourceProfile, channel: str, tokens: Tokens
) -> Callable[[SourceTerms], RecordReader] | None:
    """What makes the reader of a channel under changed terms; None when the dialect has none."""
    make = READERS.get((profile.dialect, channel))
    if make is None:
        return None
    return lambda terms: make(msgspec.structs.replace(profile, terms=terms), tokens)
