"""FHIR R4 Invoices and ChargeItems behind the dialects' port."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.balance import to_minor
from services.his_bridge.core.bill import Bill
from services.his_bridge.core.events import EventKind
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.fhir_terms import FhirTerms
from services.his_bridge.core.intake import Held, part_of_bill, whole_bill
from services.his_bridge.core.outcomes import (
    BillHappened,
    BillStated,
    BillWithdrawn,
    KeptOut,
    Outcome,
    SetAside,
)
from services.his_bridge.core.parsed import ParsedBill
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4 import charge_item as charges
from services.his_bridge.dialects.fhir_r4 import invoice as invoices
from services.his_bridge.dialects.fhir_r4.charge_item import What
from services.his_bridge.dialects.fhir_r4.claim import Nature
from services.his_bridge.dialects.fhir_r4.findings import Findings
from services.his_bridge.dialects.fhir_r4.structs import ChargeItem
from services.his_bridge.dialects.fhir_r4.support import Supported, is_deletion, read_supporting
from services.his_bridge.dialects.port import Glance, Key, Tokens
from services.his_bridge.dialects.pseudonym import pseudonym


class InvoiceReader:
    """Reads Invoices as bills."""

    kind = "Invoice"

    def __init__(self, terms: SourceTerms, tokens: Tokens, own: FhirTerms) -> None:
        self._terms = terms
        self._tokens = tokens
        self._own = own
        self._zone = ZoneInfo(terms.zone)

    def glance(self, raw: bytes) -> Glance:
        """Decode it; drafts and what was sent before the profile's period are to be kept out."""
        decoded = invoices.decode_invoice(raw)
        day, first = invoices.issued_on(decoded, self._terms), self._terms.first_day
        early = day is not None and first is not None and day < first
        return Glance(
            decoded=decoded,
            keep_out=early or invoices.nature_of(decoded) is Nature.NO_BILL,
            needs=frozenset(invoices.needs_of(decoded, self._terms, self._own)),
        )

    def read_supporting(self, kind: str, raw: bytes) -> Supported:
        """A resource of the kinds in SUPPORTING."""
        return read_supporting(kind, raw, self._terms)

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Supported]) -> Outcome:
        """The bill, its withdrawal, or its faults."""
        decoded: invoices.DecodedInvoice = glance.decoded
        if invoices.nature_of(decoded) is not Nature.BILL:
            # Also one that is a draft again: kept out is only what was never a bill here.
            return BillWithdrawn()
        parsed = invoices.read_invoice(decoded, record_id, support, self._terms, self._own)
        if isinstance(parsed, tuple):
            return SetAside(faults=parsed)
        bill = _bill_of(parsed, self._terms, self._tokens)
        if not isinstance(bill, Bill):
            return bill
        day = bill.end.astimezone(self._zone).date()
        return BillStated(bill=bill, day=day) if self._terms.in_period(day) else KeptOut()


class ChargeItemReader:
    """Reads ChargeItems as events of the bill of their account or visit."""

    def __init__(self, terms: SourceTerms, tokens: Tokens, own: FhirTerms) -> None:
        self.kind = own.bill_kind
        self._terms = terms
        self._tokens = tokens
        self._own = own
        self._zone = ZoneInfo(terms.zone)

    def glance(self, raw: bytes) -> Glance:
        """Decode it; what is only planned, and what goes on, is to be kept out."""
        decoded = charges.decode_charge(raw)
        return Glance(
            decoded=decoded,
            keep_out=charges.what_of(decoded) is What.NOTHING,
            needs=frozenset(charges.needs_of(decoded, self._terms, self._own)),
        )

    def read_supporting(self, kind: str, raw: bytes) -> Supported:
        """A resource of the kinds in SUPPORTING."""
        return read_supporting(kind, raw, self._terms)

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Supported]) -> Outcome:
        """What happened to the bill, or the faults of what would have."""
        decoded: charges.DecodedCharge = glance.decoded
        what = charges.what_of(decoded)
        if what is What.NOTHING and not isinstance(decoded.resource, ChargeItem):
            return KeptOut()
        if what is What.ADDS:
            return self._added(decoded, record_id, support)
        findings = Findings(decoded.faults)
        bill_id = charges.bill_id_of(decoded, record_id, self._own, findings, self._terms.base_url)
        if bill_id is None or findings.faults:
            return SetAside(faults=tuple(findings.faults))
        kind = EventKind.FINAL if what is What.CLOSES else EventKind.REVERSAL
        # A charge that is only planned again: kept out is only what never was one here.
        of_charge = what in (What.TAKES_BACK, What.NOTHING)
        taken_back = record_id if of_charge else None
        return BillHappened(bill_id=bill_id, kind=kind, bill=None, reverses=taken_back)

    def _added(
        self, decoded: charges.DecodedCharge, record_id: str, support: Mapping[Key, Supported]
    ) -> Outcome:
        if decoded.resource is not None and is_deletion(decoded.resource.request):
            # Only its id is left: nobody can say which bill it was on.
            fault = Fault(reason=Reason.REFERENCE_MISSING, path=self._own.group_by.value)
            return SetAside(faults=(fault,))
        bill_id, parsed = charges.read_charge(decoded, record_id, support, self._terms, self._own)
        if isinstance(parsed, tuple):
            return SetAside(faults=parsed)
        bill = _bill_of(parsed, self._terms, self._tokens, part_of_bill)
        if not isinstance(bill, Bill):
            return bill
        if bill_id is None:
            raise TypeError("a charge without a bill has a fault")
        day = bill.end.astimezone(self._zone).date()
        if not self._terms.in_period(day):
            return KeptOut()
        return BillHappened(bill_id=bill_id, kind=EventKind.LATE, bill=bill, day=day)


_Whole = Callable[[ParsedBill, str | None, SourceTerms], Bill | tuple[Bill, int | None]]


def _bill_of(
    parsed: ParsedBill, terms: SourceTerms, tokens: Tokens, whole: _Whole = whole_bill
) -> Bill | SetAside:
    person, token = pseudonym(parsed.person, "subject->identifier", tokens)
    try:
        found = whole(msgspec.structs.replace(parsed, person=person), token, terms)
    except Held as held:
        total = parsed.total
        minor = None if total is None else to_minor(total, terms.currency, parsed.total_path)
        claimed = None if isinstance(minor, Fault) else minor
        return SetAside(faults=held.faults, total=claimed, unmapped=held.unmapped)
    return found if isinstance(found, Bill) else found[0]
