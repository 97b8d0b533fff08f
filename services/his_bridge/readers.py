"""What reads the records of each dialect: one line for each. Opens no socket and no database."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from services.his_bridge.core.fhir_terms import BillsFrom, FhirTerms
from services.his_bridge.core.hl7v2_terms import Hl7v2Terms
from services.his_bridge.core.row_terms import RowTerms
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.core.yibao_terms import YibaoTerms
from services.his_bridge.dialects.fhir_r4 import (
    ChargeItemReader,
    ClaimReader,
    InvoiceReader,
    ObservationReader,
    WithMerges,
)
from services.his_bridge.dialects.hl7v2 import Hl7Reading, MessageReader, ResultReader
from services.his_bridge.dialects.port import RecordReader, Tokens
from services.his_bridge.dialects.sql_rows import BillRowReader, ReadingRowReader
from services.his_bridge.dialects.yibao import MessageReader as InterfaceReader
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.fhir_bulk import FhirBulkSettings
from services.his_bridge.profiles.source_kinds.fhir_rest import FhirRestSettings

MakeReader = Callable[[SourceProfile, Tokens], RecordReader]

_OF_FHIR: Mapping[BillsFrom, Callable[[SourceTerms, Tokens, FhirTerms], RecordReader]] = {
    BillsFrom.CLAIM: ClaimReader,
    BillsFrom.INVOICE: InvoiceReader,
    BillsFrom.CHARGE_ITEM: ChargeItemReader,
}


def _fhir_bills(profile: SourceProfile, tokens: Tokens) -> RecordReader:
    own = profile.dialect_terms
    if not isinstance(own, FhirTerms):
        raise TypeError("the profile's terms are of another dialect")
    bills = _OF_FHIR[own.bills_from](profile.terms, tokens, own)
    return WithMerges(bills, profile.terms, tokens)


def _hl7(profile: SourceProfile) -> Hl7Reading:
    if not isinstance(profile.dialect_terms, Hl7v2Terms):
        raise TypeError("a profile of HL7 v2 has its terms")
    return Hl7Reading(profile.terms, profile.dialect_terms)


# By dialect and channel; a dialect without a line for readings has none.
READERS: Mapping[tuple[str, str], MakeReader] = {
    ("fhir_r4", "bills"): _fhir_bills,
    ("fhir_r4", "readings"): lambda profile, tokens: ObservationReader(profile.terms, tokens),
    ("hl7v2", "bills"): lambda profile, tokens: MessageReader(_hl7(profile), tokens),
    ("hl7v2", "readings"): lambda profile, tokens: ResultReader(_hl7(profile), tokens),
    ("sql_rows", "bills"): lambda p, tokens: BillRowReader(_rows(p), p.terms, tokens),
    ("sql_rows", "readings"): lambda p, tokens: ReadingRowReader(_rows(p), p.terms, tokens),
    ("yibao", "bills"): lambda p, tokens: InterfaceReader(_messages(p), p.terms, tokens),
}


def reader_of(
    profile: SourceProfile, channel: str, tokens: Tokens
) -> Callable[[SourceTerms], RecordReader] | None:
    """What makes the reader of a channel under changed terms; None when the profile has none."""
    make = READERS.get((profile.dialect, channel))
    if make is None or (channel == "readings" and not _has_readings(profile)):
        return None
    return lambda terms: make(msgspec.structs.replace(profile, terms=terms), tokens)


def _has_readings(profile: SourceProfile) -> bool:
    # A server is asked for no more than is used: everybody's values would be fetched and thrown
    # away. What is pushed or dropped comes unasked, and is answered or taken over all the same.
    if isinstance(profile.source, FhirRestSettings | FhirBulkSettings):
        return bool(profile.terms.readings)
    own = profile.dialect_terms
    return not isinstance(own, RowTerms) or own.reading is not None


def _rows(profile: SourceProfile) -> RowTerms:
    if not isinstance(profile.dialect_terms, RowTerms):
        raise TypeError("the profile has no terms of rows")
    return profile.dialect_terms


def _messages(profile: SourceProfile) -> YibaoTerms:
    if not isinstance(profile.dialect_terms, YibaoTerms):
        raise TypeError("the profile has no terms of 医保 messages")
    return profile.dialect_terms
