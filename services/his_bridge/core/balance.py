"""Whether a bill's lines add up to its total. Exact decimals in, minor units out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache

import msgspec

from services.common.money import MAX_MINOR_UNITS, currency_exponent
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.parsed import ParsedLine
from services.his_bridge.core.terms import LineAmount, LineWithoutNet

_PRICE_PLACES = Decimal("0.000001")
# Wide enough for any product of a quantity and a price, so that nothing is rounded unseen.
_EXACT = Context(prec=80, rounding=ROUND_HALF_UP)


class PricedLine(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The amounts of one line: `billed` and `fund_paid` in minor units."""

    quantity: Decimal
    unit_price: Decimal
    billed: int
    fund_paid: int | None


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """A bill's amounts in the order of its lines.

    Lines that have a fault are left out, and then `complete` is false; `total` is None when the
    bill's own total could not be read.
    """

    lines: tuple[PricedLine, ...]
    complete: bool
    total: int | None
    faults: tuple[Fault, ...]


def balance(
    lines: Sequence[ParsedLine],
    total: Decimal | None,
    *,
    total_path: str,
    currency: str,
    rule: LineWithoutNet,
) -> Balance:
    """Price every line and hold the sum against the total.

    A line that an earlier fault left without an amount keeps the sum from being judged: it would
    only repeat that fault.
    """
    faults: list[Fault] = []
    whole = None if total is None else _minor(total, currency, total_path, faults)
    priced: list[PricedLine | None] = []
    remainder_at: int | None = None
    for index, line in enumerate(lines):
        amount = rule.first if index == 0 else rule.others
        stated = line.states_amount
        if not stated and amount is LineAmount.REMAINDER and line.quantity is not None:
            remainder_at = index
            priced.append(None)
        elif not stated and amount is LineAmount.REFUSE:
            faults.append(Fault(reason=Reason.LINE_WITHOUT_AMOUNT, path=line.path))
            priced.append(None)
        else:
            priced.append(_price(line, currency, faults))
    known = [entry for entry in priced if entry is not None]
    if lines and whole is not None and len(known) + (remainder_at is not None) == len(lines):
        rest = whole - sum(entry.billed for entry in known)
        if remainder_at is None:
            fits = rest == 0
        else:
            fits = _is_allowed(rest, currency, rule)
            line = msgspec.structs.replace(lines[remainder_at], net=_major(rest, currency))
            priced[remainder_at] = _price(line, currency, faults) if fits else None
        if not fits:
            faults.append(Fault(reason=Reason.LINES_DO_NOT_ADD_UP, path=total_path))
    return Balance(
        lines=tuple(entry for entry in priced if entry is not None),
        complete=None not in priced,
        total=whole,
        faults=tuple(faults),
    )


def to_minor(amount: Decimal, currency: str, path: str) -> int | Fault:
    """Exact minor units of an amount in major units, or the fault of that amount."""
    scaled = amount.scaleb(currency_exponent(currency), _EXACT)
    if abs(scaled) > MAX_MINOR_UNITS:
        return Fault(reason=Reason.AMOUNT_OUT_OF_RANGE, path=path)
    if scaled != scaled.to_integral_value():
        return Fault(reason=Reason.AMOUNT_TOO_FINE, path=path)
    return int(scaled)


# Hospitals have some thousand prices, and most quantities are one.
@lru_cache(maxsize=8_192)
def rounded(quantity: Decimal, price: Decimal, currency: str) -> int:
    """Minor units of quantity times price, rounded once, half up."""
    exact = _EXACT.multiply(quantity, price).scaleb(currency_exponent(currency), _EXACT)
    return int(exact.quantize(Decimal(1), context=_EXACT))


def unit_price_of(quantity: Decimal, billed: int, currency: str) -> Decimal | None:
    """The price of six places that gives this amount; None when there is none."""
    exact = _EXACT.divide(_major(billed, currency), quantity)
    price = exact.quantize(_PRICE_PLACES, context=_EXACT)
    return price if rounded(quantity, price, currency) == billed else None


def _minor(amount: Decimal, currency: str, path: str, faults: list[Fault]) -> int | None:
    found = to_minor(amount, currency, path)
    if isinstance(found, Fault):
        faults.append(found)
        return None
    return found


def _major(amount: int, currency: str) -> Decimal:
    return Decimal(amount).scaleb(-currency_exponent(currency))


def _is_allowed(rest: int, currency: str, rule: LineWithoutNet) -> bool:
    if rest < 0:
        return False
    return not rule.first_among or _major(rest, currency) in rule.first_among


def _price(line: ParsedLine, currency: str, faults: list[Fault]) -> PricedLine | None:
    quantity, price, net = line.quantity, line.unit_price, line.net
    if line.states_amount and price is None and net is None:
        return None  # named by the dialect
    if quantity is None:
        return None
    billed: int | None = 0
    if net is not None:
        billed = _minor(net, currency, f"{line.path}.net", faults)
    elif price is not None:
        billed = _product(quantity, price, currency, line.path, faults)
    if billed is None:
        return None
    if price is None:
        price = unit_price_of(quantity, billed, currency)
        if price is None:
            faults.append(Fault(reason=Reason.PRICE_NOT_EXACT, path=line.path))
            price = Decimal(0)
    elif net is not None and rounded(quantity, price, currency) != billed:
        faults.append(Fault(reason=Reason.LINE_DOES_NOT_MULTIPLY, path=line.path))
    fund: int | None = None
    if line.fund_paid is not None:
        fund = _minor(line.fund_paid, currency, f"{line.path}.extension", faults)
        # Of what a line takes back, the funds take back a part: both are negative then.
        if fund is not None and not min(0, billed) <= fund <= max(0, billed):
            faults.append(
                Fault(reason=Reason.FUND_PAID_DOES_NOT_ADD_UP, path=f"{line.path}.extension")
            )
    return PricedLine(quantity=quantity, unit_price=price, billed=billed, fund_paid=fund)


def _product(
    quantity: Decimal, price: Decimal, currency: str, path: str, faults: list[Fault]
) -> int | None:
    billed = rounded(quantity, price, currency)
    if abs(billed) > MAX_MINOR_UNITS:
        faults.append(Fault(reason=Reason.AMOUNT_OUT_OF_RANGE, path=path))
        return None
    return billed
