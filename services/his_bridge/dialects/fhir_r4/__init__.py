"""FHIR R4: Claims, Invoices or ChargeItems as bills, Observations as readings. Opens no socket."""

from services.his_bridge.dialects.fhir_r4.bill_readers import ChargeItemReader, InvoiceReader
from services.his_bridge.dialects.fhir_r4.bundle import (
    UNVERSIONED,
    Entry,
    Framed,
    KeyRepeated,
    NotABundle,
    digest_of,
    entry_of,
    frame,
    moment_of,
    reports_error,
)
from services.his_bridge.dialects.fhir_r4.merge_reader import WithMerges
from services.his_bridge.dialects.fhir_r4.merged import people_behind
from services.his_bridge.dialects.fhir_r4.readers import ClaimReader, ObservationReader
from services.his_bridge.dialects.fhir_r4.stated import stated_by
from services.his_bridge.dialects.fhir_r4.structs import SUPPORTING
from services.his_bridge.dialects.fhir_r4.support import points_at

__all__ = [
    "SUPPORTING",
    "UNVERSIONED",
    "ChargeItemReader",
    "ClaimReader",
    "Entry",
    "Framed",
    "InvoiceReader",
    "KeyRepeated",
    "NotABundle",
    "ObservationReader",
    "WithMerges",
    "digest_of",
    "entry_of",
    "frame",
    "moment_of",
    "people_behind",
    "points_at",
    "reports_error",
    "stated_by",
]
