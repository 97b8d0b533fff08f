"""FHIR R4: Claims as bills, Observations as readings. No socket, no clock."""

from services.his_bridge.dialects.fhir_r4.bundle import (
    UNVERSIONED,
    Entry,
    Framed,
    NotABundle,
    digest_of,
    entry_of,
    frame,
    moment_of,
)
from services.his_bridge.dialects.fhir_r4.readers import ClaimReader, ObservationReader
from services.his_bridge.dialects.fhir_r4.structs import SUPPORTING

__all__ = [
    "SUPPORTING",
    "UNVERSIONED",
    "ClaimReader",
    "Entry",
    "Framed",
    "NotABundle",
    "ObservationReader",
    "digest_of",
    "entry_of",
    "frame",
    "moment_of",
]
