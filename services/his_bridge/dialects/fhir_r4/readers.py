"""FHIR R4 Claims and Observations behind the dialects' port. The patient becomes a token here."""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.balance import to_minor
from services.his_bridge.core.bill import Provenance
from services.his_bridge.core.faults import Fault
from services.his_bridge.core.fhir_terms import FhirTerms
from services.his_bridge.core.intake import Held, whole_bill, whole_readings
from services.his_bridge.core.outcomes import (
    BillStated,
    BillWithdrawn,
    KeptOut,
    Outcome,
    ReadingsStated,
    ReadingsWithdrawn,
    SetAside,
)
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4 import claim as claims
from services.his_bridge.dialects.fhir_r4 import observation as observations
from services.his_bridge.dialects.fhir_r4.support import USUAL_TERMS, Supported, read_supporting
from services.his_bridge.dialects.port import Glance, Key, Tokens
from services.his_bridge.dialects.pseudonym import device_pseudonym, pseudonym


class ClaimReader:
    """Reads Claims as bills."""

    kind = "Claim"

    def __init__(self, terms: SourceTerms, tokens: Tokens, own: FhirTerms = USUAL_TERMS) -> None:
        self._terms = terms
        self._own = own
        self._tokens = tokens
        self._zone = ZoneInfo(terms.zone)

    def glance(self, raw: bytes) -> Glance:
        """Decode the claim; drafts and bills outside the profile's period are to be kept out."""
        decoded = claims.decode_claim(raw)
        day = claims.billing_day(decoded, self._terms)
        outside = day is not None and not self._terms.in_period(day)
        return Glance(
            decoded=decoded,
            keep_out=outside or claims.nature_of(decoded) is claims.Nature.NO_BILL,
            needs=frozenset(claims.needs_of(decoded, self._terms, self._own)),
        )

    def read_supporting(self, kind: str, raw: bytes) -> Supported:
        """A resource of the kinds in SUPPORTING."""
        return read_supporting(kind, raw, self._terms)

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Supported]) -> Outcome:
        """The bill, its withdrawal, or its faults."""
        decoded: claims.DecodedClaim = glance.decoded
        if claims.nature_of(decoded) is not claims.Nature.BILL:
            # Also one that is a draft again: kept out is only what was never a bill here.
            return BillWithdrawn()
        parsed = claims.read_claim(decoded, record_id, support, self._terms, self._own)
        if isinstance(parsed, tuple):
            return SetAside(faults=parsed)
        person, token = pseudonym(parsed.person, "patient->identifier", self._tokens)
        try:
            bill = whole_bill(msgspec.structs.replace(parsed, person=person), token, self._terms)
        except Held as held:
            return SetAside(faults=held.faults, total=self._total(decoded), unmapped=held.unmapped)
        return BillStated(bill=bill, day=bill.end.astimezone(self._zone).date())

    def _total(self, decoded: claims.DecodedClaim) -> int | None:
        total = claims.claimed_total(decoded, self._terms)
        minor = None if total is None else to_minor(total, self._terms.currency, "total")
        return None if isinstance(minor, Fault) else minor


class ObservationReader:
    """Reads Observations as readings."""

    kind = "Observation"

    def __init__(self, terms: SourceTerms, tokens: Tokens) -> None:
        self._terms = terms
        self._tokens = tokens

    def glance(self, raw: bytes) -> Glance:
        """Decode the observation; what no programme uses is to be kept out."""
        decoded = observations.decode_observation(raw)
        return Glance(
            decoded=decoded,
            keep_out=not observations.is_wanted(decoded, self._terms),
            needs=frozenset(observations.needs_of(decoded, self._terms)),
        )

    def read_supporting(self, kind: str, raw: bytes) -> Supported:
        """A Patient."""
        return read_supporting(kind, raw, self._terms)

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Supported]) -> Outcome:
        """The readings, their withdrawal, or their faults."""
        decoded: observations.DecodedObservation = glance.decoded
        if observations.is_withdrawn(decoded):
            return ReadingsWithdrawn()
        parsed = observations.read_observation(decoded, support, self._terms)
        person, token = pseudonym(parsed.person, "subject->identifier", self._tokens)
        device = None
        if token is not None and (said := observations.device_of(decoded, self._terms)):
            device = device_pseudonym(said, token, self._terms.hospital, self._tokens)
        measured = tuple(
            one
            if one.provenance is Provenance.TYPED
            else msgspec.structs.replace(one, device=device)
            for one in parsed.readings  # of what was typed in nobody knows what measured it
        )
        parsed = msgspec.structs.replace(parsed, readings=measured)
        try:
            readings = whole_readings(msgspec.structs.replace(parsed, person=person), token)
        except Held as held:
            return SetAside(faults=held.faults)
        return ReadingsStated(readings=readings) if readings else KeptOut()
