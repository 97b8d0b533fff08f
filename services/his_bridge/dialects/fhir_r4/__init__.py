"""FHIR R4: Claims as bills, Observations as readings. No socket, no clock."""

from services.his_bridge.dialects.fhir_r4.bundle import (
    Entry,
    Framed,
    NotABundle,
    entry_of,
    frame,
    moment_of,
)
from services.his_bridge.dialects.fhir_r4.readers import ClaimReader, ObservationReader

__all__ = [
    "ClaimReader",
    "Entry",
    "Framed",
    "NotABundle",
    "ObservationReader",
    "entry_of",
    "frame",
    "moment_of",
]
