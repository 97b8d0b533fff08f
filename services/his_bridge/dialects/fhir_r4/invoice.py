"""A FHIR R4 Invoice, with its charges and their visits, as a bill. Fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.fhir_terms import FhirTerms
from services.his_bridge.core.parsed import ParsedBill, ParsedLine
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4.charges import (
    AMOUNT_PLACES,
    own_price,
    price_of,
    quantity_of,
)
from services.his_bridge.dialects.fhir_r4.claim import Nature
from services.his_bridge.dialects.fhir_r4.claim_care import emergency_of
from services.his_bridge.dialects.fhir_r4.claim_money import read_fund_paid, read_social_insurance
from services.his_bridge.dialects.fhir_r4.decoding import FhirDecoder
from services.his_bridge.dialects.fhir_r4.findings import Findings
from services.his_bridge.dialects.fhir_r4.merged import patients_of
from services.his_bridge.dialects.fhir_r4.stays import (
    Diagnoses,
    care_type_of,
    occurrence_of,
    period_of,
    span_of,
    visits_of,
)
from services.his_bridge.dialects.fhir_r4.structs import Account, ChargeItem, Invoice, InvoiceLine
from services.his_bridge.dialects.fhir_r4.support import (
    NAMES,
    Key,
    Support,
    contained_in,
    insured,
    is_deletion,
    number_of,
    onward,
    provider_of,
    resolve,
    resolve_person,
    stands,
)

_DECODER = FhirDecoder(Invoice, NAMES)
_SENT = {"issued", "balanced"}


class DecodedInvoice(msgspec.Struct, frozen=True, kw_only=True):
    """An Invoice and the faults of its structure; without one nothing of it could be read."""

    invoice: Invoice | None
    faults: tuple[Fault, ...]


def decode_invoice(raw: bytes) -> DecodedInvoice:
    """Read an Invoice's bytes. Never raises: what is wrong stands in the faults."""
    invoice, faults = _DECODER.decode(raw)
    return DecodedInvoice(invoice=invoice, faults=faults)


def nature_of(decoded: DecodedInvoice) -> Nature:
    """Whether to release, take back or leave alone. What cannot be told is a bill with faults."""
    invoice = decoded.invoice
    if invoice is None:
        return Nature.BILL
    if is_deletion(invoice.request) or invoice.status in ("cancelled", "entered-in-error"):
        return Nature.WITHDRAWN
    return Nature.NO_BILL if invoice.status == "draft" else Nature.BILL


def issued_on(decoded: DecodedInvoice, terms: SourceTerms) -> date | None:
    """The day on which it was sent, which is not before the care ended."""
    zone = ZoneInfo(terms.zone)
    text = decoded.invoice.date if decoded.invoice else None
    moment = Findings(()).moment(text, "", zone, any_year=True)
    return None if moment is None else moment.astimezone(zone).date()


def needs_of(decoded: DecodedInvoice, terms: SourceTerms, own: FhirTerms) -> set[Key]:
    """What must be looked up first, and what contained charges point at."""
    invoice = decoded.invoice
    if invoice is None:
        return set()
    unheard = Findings(())
    keys = _References(invoice, unheard, terms, own).all()
    for supported in contained_in(invoice.contained, terms).values():
        keys |= set(onward(supported.resource, terms.base_url, unheard).values())
    return {key for key in keys if key is not None and not key[1].startswith("#")}


def read_invoice(
    decoded: DecodedInvoice,
    fallback_number: str,
    support: Support,
    terms: SourceTerms,
    own: FhirTerms,
) -> ParsedBill | tuple[Fault, ...]:
    """The bill that an Invoice states, or only faults when nothing of it could be read."""
    invoice = decoded.invoice
    if invoice is None:
        return decoded.faults
    findings, zone = Findings(decoded.faults), ZoneInfo(terms.zone)
    references = _References(invoice, findings, terms, own)
    support = {**support, **contained_in(invoice.contained, terms)}
    if invoice.resource_type != "Invoice":
        findings.add(Reason.WRONG_TYPE, "resourceType")
    if invoice.status not in _SENT:
        findings.add(Reason.STATUS_UNKNOWN, "status")
    account = resolve(findings, references.account, "account", Account, support)
    person = resolve_person(findings, references.subject, "subject", support)
    coverages = {
        f"account->{path}": key
        for path, key in onward(account, terms.base_url, findings, "account->").items()
    }
    person = insured(findings, person, references.subject, coverages, support, own, terms.base_url)
    provider_id, tier = provider_of(findings, references.issuer, "issuer", support, terms)
    charges = {
        path: charge
        for path, key in references.charges.items()
        if (charge := resolve(findings, key, path, ChargeItem, support)) is not None
    }
    visits = visits_of(
        findings,
        [
            (
                f"{path}->context",
                onward(charge, terms.base_url, findings, f"{path}->").get("context"),
            )
            for path, charge in charges.items()
        ],
        support,
    )
    patients = patients_of(references.subject, support, terms.base_url)
    stands(findings, "account", account, patients, terms.base_url)
    for path, charge in charges.items():
        stands(findings, path, charge, patients, terms.base_url)
    for visit in visits:
        stands(findings, visit.path, visit.encounter, patients, terms.base_url)
    served = [occurrence_of(charge, f"{p}->", findings, zone) for p, charge in charges.items()]
    of_account = account.service_period if account else None
    rather = [period_of(of_account, "account->servicePeriod", findings, zone), *served]
    start, end = span_of(visits, rather, "lineItem", findings, zone)
    diagnoses = Diagnoses()
    for visit in visits:
        diagnoses.add_of(visit, findings, support, patients, terms.base_url)
    lines, taxes = _lines(invoice, charges, diagnoses, findings, terms)
    total, total_path = _total(invoice, lines, taxes, findings, terms)
    return ParsedBill(
        bill_number=number_of(invoice.identifier, "identifier", fallback_number, findings),
        provider_id=provider_id,
        tier=tier,
        care_type=care_type_of(visits, "lineItem", findings, terms),
        start=start,
        end=end,
        diagnoses=diagnoses.all(terms),
        lines=lines,
        total=total,
        total_path=total_path,
        states_total=total is not None or findings.broken_at(total_path),
        person=person,
        social_insurance=read_social_insurance(invoice.extension, findings, terms),
        faults=tuple(findings.faults),
        emergency=emergency_of(visit.encounter for visit in visits),
    )


class _References:
    """Everything an invoice points at, by the path of the pointer."""

    def __init__(
        self, invoice: Invoice, findings: Findings, terms: SourceTerms, own: FhirTerms
    ) -> None:
        def key_of(text: str | None, path: str, kind: str) -> Key | None:
            return findings.reference(text, path, kind, terms.base_url)

        self.subject = key_of(
            invoice.subject.reference if invoice.subject else None, "subject", "Patient"
        )
        self.issuer: Key | None = None
        issuer = invoice.issuer.reference if invoice.issuer else None
        if issuer is not None or terms.provider_id is None:
            self.issuer = key_of(issuer, "issuer", "Organization")
        self.account: Key | None = None
        if invoice.account is not None and invoice.account.reference:
            self.account = key_of(invoice.account.reference, "account", "Account")
        self.charges: dict[str, Key | None] = {}
        for index, line in enumerate(invoice.line_item):
            if line.charge_item_reference is not None:
                path = f"lineItem[{index}].chargeItemReference"
                text = line.charge_item_reference.reference
                self.charges[path] = key_of(text, path, "ChargeItem")

    def all(self) -> set[Key | None]:
        return {self.subject, self.issuer, self.account, *self.charges.values()}


def _lines(
    invoice: Invoice,
    charges: Mapping[str, ChargeItem],
    diagnoses: Diagnoses,
    findings: Findings,
    terms: SourceTerms,
) -> tuple[tuple[ParsedLine, ...], Decimal]:
    """The lines, and the taxes in them."""
    if not invoice.line_item:
        findings.add(Reason.NO_LINES, "lineItem")
    seen: set[int] = set()
    lines, taxes = [], Decimal(0)
    for index, item in enumerate(invoice.line_item):
        path = f"lineItem[{index}]"
        charge = charges.get(f"{path}.chargeItemReference")
        numbered = bytes(item.sequence) not in (b"", b"null")
        number = findings.number(item.sequence, f"{path}.sequence", seen) if numbered else index + 1
        line, tax = _line(item, charge, path, number, diagnoses, findings, terms)
        lines.append(line)
        taxes += tax
    return tuple(lines), taxes


def _line(
    item: InvoiceLine,
    charge: ChargeItem | None,
    path: str,
    number: int,
    diagnoses: Diagnoses,
    findings: Findings,
    terms: SourceTerms,
) -> tuple[ParsedLine, Decimal]:
    behind = f"{path}.chargeItemReference->"
    price = price_of(item.price_component, f"{path}.priceComponent", findings, terms)
    net = None if price is None else price.whole
    stated = bool(item.price_component) or findings.broken_at(f"{path}.priceComponent")
    if not stated and charge is not None:
        net = own_price(charge, behind, findings, terms)
        stated = charge.price_override is not None
    pointed = item.charge_item_reference is not None
    if item.charge_item_codeable_concept is not None or not pointed:
        where = f"{path}.chargeItemCodeableConcept"
        concept = findings.concept(item.charge_item_codeable_concept, where)
    else:
        concept = None if charge is None else findings.concept(charge.code, f"{behind}code")
    reasons = [
        diagnoses.add(findings.concept(reason, f"{behind}reason[{at}]"))
        for at, reason in enumerate(charge.reason if charge else ())
    ]
    when = None if charge is None else occurrence_of(charge, behind, findings, ZoneInfo(terms.zone))
    line = ParsedLine(
        path=path,
        number=number,
        concept=concept,
        quantity=quantity_of(charge, behind, findings),
        unit_price=None,
        net=net,
        states_amount=stated,
        service_time=when[0] if when else None,
        diagnosis_numbers=tuple(dict.fromkeys(n for n in reasons if n is not None)),
        fund_paid=read_fund_paid(item.extension, path, findings, terms),
    )
    return line, Decimal(0) if price is None else price.tax


def _total(
    invoice: Invoice,
    lines: tuple[ParsedLine, ...],
    taxes: Decimal,
    findings: Findings,
    terms: SourceTerms,
) -> tuple[Decimal | None, str]:
    """What is owed in all: totalGross, else totalNet when no line bears a tax."""
    net = findings.money(invoice.total_net, "totalNet", terms.currency, places=AMOUNT_PLACES)
    gross = findings.money(invoice.total_gross, "totalGross", terms.currency, places=AMOUNT_PLACES)
    if invoice.total_gross is None and not findings.broken_at("totalGross"):
        return net, "totalNet"
    nets = [line.net for line in lines if line.net is not None]
    known = len(nets) == len(lines)
    if net is not None and known and sum(nets, Decimal(0)) - taxes != net:
        findings.add(Reason.LINES_DO_NOT_ADD_UP, "totalNet")
    return gross, "totalGross"
