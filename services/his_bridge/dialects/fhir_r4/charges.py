"""Prices of charges: components of an invoice's line, or a ChargeItem's own. Adds no bill up."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from services.his_bridge.core.faults import Reason
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4.findings import Findings, below
from services.his_bridge.dialects.fhir_r4.structs import ChargeItem, PriceComponent

AMOUNT_PLACES, QUANTITY_PLACES = 6, 4
_ADDS, _TAKES_OFF, _TAX = {"base", "surcharge"}, {"deduction", "discount"}, "tax"
_SAYS_NOTHING = "informational"


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a line costs, taxes included, and the tax in it."""

    whole: Decimal
    tax: Decimal


def price_of(
    components: Sequence[PriceComponent], path: str, findings: Findings, terms: SourceTerms
) -> Price | None:
    """The price that components make; None without any, or with a fault.

    FHIR leaves open whether a deduction or a discount is written below zero; either way it takes
    off. A price that falls below zero by it is a refund, and no line of an invoice.
    """
    whole, tax, complete, counted = Decimal(0), Decimal(0), True, False
    for index, part in enumerate(components):
        where = f"{path}[{index}]"
        if part.type == _SAYS_NOTHING:
            continue
        if part.type not in {*_ADDS, *_TAKES_OFF, _TAX}:
            findings.add(Reason.WRONG_TYPE, f"{where}.type")
            complete = False
            continue
        amount = _amount(part, where, findings, terms)
        if amount is None:
            complete = False
            continue
        counted = True
        whole += -abs(amount) if part.type in _TAKES_OFF else amount
        tax += amount if part.type == _TAX else 0
    if not complete or not counted:
        return None
    if whole < 0:
        findings.add(Reason.NEGATIVE_AMOUNT, path)
        return None
    return Price(whole=whole, tax=tax)


def quantity_of(charge: ChargeItem | None, path: str, findings: Findings) -> Decimal | None:
    """How often or how much; once when nothing is said."""
    if charge is None or charge.quantity is None:
        return None if findings.broken_at(below(path, "quantity")) else Decimal(1)
    if charge.quantity.comparator is not None:
        findings.add(Reason.VALUE_NOT_EXACT, below(path, "quantity.comparator"))
    where = below(path, "quantity.value")
    quantity = findings.decimal(charge.quantity.value, where, places=QUANTITY_PLACES)
    if quantity is not None and quantity <= 0:
        findings.add(Reason.QUANTITY_NOT_POSITIVE, where)
        return None
    return quantity


def own_price(
    charge: ChargeItem, path: str, findings: Findings, terms: SourceTerms
) -> Decimal | None:
    """The charge's total price (priceOverride); a factor on a price of elsewhere is a fault."""
    if bytes(charge.factor_override) not in (b"", b"null") and charge.price_override is None:
        where = below(path, "factorOverride")
        factor = findings.decimal(charge.factor_override, where, places=AMOUNT_PLACES)
        if factor is not None and factor != 1:
            findings.add(Reason.FACTOR_UNSUPPORTED, where)
    where = below(path, "priceOverride")
    return findings.money(charge.price_override, where, terms.currency, places=AMOUNT_PLACES)


def _amount(
    part: PriceComponent, where: str, findings: Findings, terms: SourceTerms
) -> Decimal | None:
    path = f"{where}.amount"
    if part.amount is None:
        reason = Reason.FACTOR_UNSUPPORTED if bytes(part.factor) else Reason.NUMBER_MALFORMED
        findings.add(reason, path)
        return None
    if part.type in _TAKES_OFF:
        return findings.signed_money(part.amount, path, terms.currency, places=AMOUNT_PLACES)
    return findings.money(part.amount, path, terms.currency, places=AMOUNT_PLACES)
