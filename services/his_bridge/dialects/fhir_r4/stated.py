"""What a hospital's books say of each bill: day and total. For the reconciliation; names nobody."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Protocol
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.balance import to_minor
from services.his_bridge.core.faults import Fault
from services.his_bridge.core.fhir_terms import BillsFrom, FhirTerms
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4 import claim as claims
from services.his_bridge.dialects.fhir_r4 import invoice as invoices
from services.his_bridge.dialects.fhir_r4.claim import Nature
from services.his_bridge.dialects.fhir_r4.support import Key, read_supporting


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A record, and what is needed to tell its day."""

    claim: claims.DecodedClaim | None = None
    invoice: invoices.DecodedInvoice | None = None
    needs: frozenset[Key] = frozenset()


class Stated(Protocol):
    """Reads one kind of record for its day and its total."""

    def glance(self, raw: bytes) -> Seen:
        """What must be looked up."""
        ...

    def bill(self, seen: Seen, found: Mapping[Key, bytes]) -> tuple[date, int] | None:
        """Day and total in minor units; None when it is no bill, or has no day."""
        ...


def stated_by(terms: SourceTerms, own: FhirTerms) -> Stated | None:
    """The reader for what the source calls a bill; None when it shows none."""
    if own.bills_from is BillsFrom.CLAIM:
        return _Claims(terms)
    return _Invoices(terms, own) if own.bills_from is BillsFrom.INVOICE else None


class _Claims:
    def __init__(self, terms: SourceTerms) -> None:
        self._terms = terms

    def glance(self, raw: bytes) -> Seen:
        return Seen(claim=claims.decode_claim(raw))

    def bill(self, seen: Seen, _: Mapping[Key, bytes]) -> tuple[date, int] | None:
        if seen.claim is None or claims.nature_of(seen.claim) is not Nature.BILL:
            return None
        day = claims.billing_day(seen.claim, self._terms)
        total = claims.claimed_total(seen.claim, self._terms)
        return None if day is None else (day, _minor(total, self._terms))


class _Invoices:
    def __init__(self, terms: SourceTerms, own: FhirTerms) -> None:
        self._terms = terms
        self._own = own
        self._zone = ZoneInfo(terms.zone)

    def glance(self, raw: bytes) -> Seen:
        decoded = invoices.decode_invoice(raw)
        needs = invoices.needs_of(decoded, self._terms, self._own)
        return Seen(invoice=decoded, needs=frozenset(needs))

    def bill(self, seen: Seen, found: Mapping[Key, bytes]) -> tuple[date, int] | None:
        if seen.invoice is None or invoices.nature_of(seen.invoice) is not Nature.BILL:
            return None
        support = {key: read_supporting(key[0], raw, self._terms) for key, raw in found.items()}
        parsed = invoices.read_invoice(seen.invoice, "", support, self._terms, self._own)
        if isinstance(parsed, tuple) or parsed.end is None:
            return None
        day = parsed.end.astimezone(self._zone).date()
        return day, _minor(parsed.total, self._terms)


def _minor(total: Decimal | None, terms: SourceTerms) -> int:
    minor = None if total is None else to_minor(total, terms.currency, "total")
    return 0 if minor is None or isinstance(minor, Fault) else minor
