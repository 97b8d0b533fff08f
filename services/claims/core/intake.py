"""What makes a bill unacceptable: it opens no claim and is refused with every fault at once.

Knows no policy and no terms, save the plan's currency.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache

import msgspec

from services.claims.core.facts import BillFacts, LineFacts, PriorPayments
from services.claims.core.plan import Plan
from services.common.money import MAX_MINOR_UNITS, currency_exponent

# Bounds that no real bill reaches; within them every sum of a claim fits 64 bits.
MAX_QUANTITY = 10**9
MAX_UNIT_PRICE = 10**15
# The default context rounds to 28 digits without a word; within the bounds this one never does.
_EXACT = Context(prec=80, rounding=ROUND_HALF_UP)
_ONE, _HUNDREDTH = Decimal(1), Decimal("0.01")


class BillFault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a bill: the field, a stable reason, what to do."""

    field: str
    reason: str
    text: str


class UnacceptableBill(ValueError):
    """A bill that cannot be decided; `faults` names everything that is wrong with it."""

    def __init__(self, faults: tuple[BillFault, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{fault.field}: {fault.text}" for fault in faults))


def bill_faults(
    bill: BillFacts, prior: PriorPayments, currency: str, *, account_pays: bool = False
) -> tuple[BillFault, ...]:
    """Every fault of a bill and of what earlier payers paid on it; empty when it is acceptable.

    `currency` is the plan's; `account_pays` says that to it the patient's own medical account is an
    earlier payer, whose money adds to the others'. Amounts above the bill, lines that are not
    quantity × price, and dates that end before they start are faults; a service that is merely not
    covered is none.
    """
    faults = list(_head_faults(bill, currency))
    numbers = frozenset(line.number for line in bill.lines)
    known = frozenset(diagnosis.number for diagnosis in bill.diagnoses)
    for index, line in enumerate(bill.lines):
        for place, reason, text in _line_faults(line, bill.currency):
            faults.append(_fault(f"lines[{index}]{place}", reason, text))
        if line.part_of is not None or line.diagnosis_numbers:
            faults += _reference_faults(f"lines[{index}]", line, numbers, known)
    faults += _payment_faults(bill, prior, account_pays=account_pays)
    return tuple(faults)


def unknown_codes(plan: Plan, bill: BillFacts) -> tuple[BillFault, ...]:
    """Every line and diagnosis whose code is of a code system that the plan does not know.

    It knows the systems of its code sets and price lists, and those that it declares. A code of
    another system would be a code to no exclusion and no limit.
    """
    known = _known_systems(plan)
    codes = [(f"lines[{index}].code", line.code) for index, line in enumerate(bill.lines)]
    codes += [(f"diagnoses[{index}].code", one.code) for index, one in enumerate(bill.diagnoses)]
    return tuple(
        _fault(where, "UNKNOWN_CODE_SYSTEM", f"the plan knows no code system {code.system[:200]}")
        for where, code in codes
        if code.system not in known
    )


def unknown_systems(plan: Plan, bill: BillFacts) -> frozenset[str]:
    """The code systems of a bill that the plan does not know, by URI."""
    found = {line.code.system for line in bill.lines}
    found |= {one.code.system for one in bill.diagnoses}
    return frozenset(found - _known_systems(plan))


@lru_cache(maxsize=64)
def _known_systems(plan: Plan) -> frozenset[str]:
    in_sets = (
        codes.system
        for one in plan.code_sets
        for _, systems in one.codes.values
        for codes in systems or ()
    )
    priced_ones = (
        price.code.system for one in plan.providers.listing for price in one.prices or ()
    )
    return frozenset((*plan.code_systems, *in_sets, *priced_ones, *_systems_of_edits(plan)))


def _systems_of_edits(plan: Plan) -> Iterator[str]:
    if plan.edits is not None:
        yield from (table.system for table in plan.edits.unit_edits)
        yield from (table.system for table in plan.edits.pair_edits)
        for package in plan.edits.packages:
            parts = (part for _, held in package.parts.values for part in held or ())
            yield from (package.code.system, *(part.code.system for part in parts))


def _head_faults(bill: BillFacts, currency: str) -> Iterator[BillFault]:
    if bill.currency != currency:
        yield _fault("currency", "WRONG_CURRENCY", f"the plan pays in {currency}")
    if bill.end_date < bill.start_date:
        yield _fault("end_date", "END_BEFORE_START", "the bill ends before it starts")
    if bill.admitted is not None and bill.admitted.date() != bill.start_date:
        text = "the time of admission is not of the bill's first day"
        yield _fault("admitted", "CONTRADICTION", text)
    total = sum(line.billed for line in bill.lines)
    if total == 0:
        yield _fault("lines", "NOTHING_BILLED", "nothing is billed; send the lines")
    if total > MAX_MINOR_UNITS:
        yield _fault("lines", "OUT_OF_RANGE", "a bill's total must not be above 10^15")
    if len({line.number for line in bill.lines}) != len(bill.lines):
        yield _fault("lines", "DUPLICATE_NUMBER", "two lines have one number")
    numbers = {diagnosis.number for diagnosis in bill.diagnoses}
    if len(numbers) != len(bill.diagnoses):
        yield _fault("diagnoses", "DUPLICATE_NUMBER", "two diagnoses have one number")


def _line_faults(line: LineFacts, currency: str) -> Iterator[tuple[str, str, str]]:
    """Field below the line, reason and text of every fault of a line by itself."""
    if line.quantity <= 0:
        yield (".quantity", "NOT_POSITIVE", "a quantity must be above 0")
    if places_of(line.quantity) > 4 or places_of(line.unit_price) > 6:
        text = "a quantity has at most four decimal places, a price six"
        yield ("", "TOO_PRECISE", text)
    if line.unit_price < 0:
        yield (".unit_price", "NEGATIVE", "a price must not be negative")
    inside = True
    if line.quantity > MAX_QUANTITY:
        inside = False
        yield (".quantity", "OUT_OF_RANGE", "a quantity must not be above 10^9")
    if line.unit_price > MAX_UNIT_PRICE:
        inside = False
        yield (".unit_price", "OUT_OF_RANGE", "a price must not be above 10^15")
    if not 0 <= line.billed <= MAX_MINOR_UNITS:
        yield (".billed", "OUT_OF_RANGE", "an amount must be from 0 to 10^15")
    elif inside and line.billed != priced(line.quantity, line.unit_price, currency):
        yield (
            ".billed",
            "NOT_QUANTITY_TIMES_PRICE",
            "the amount must be quantity × unit price, rounded once, half up",
        )


def _reference_faults(
    where: str, line: LineFacts, numbers: frozenset[int], known: frozenset[int]
) -> Iterator[BillFault]:
    """`numbers` are the bill's lines', `known` its diagnoses'."""
    if line.part_of is not None and (line.part_of == line.number or line.part_of not in numbers):
        text = "must be the number of another line of the bill"
        yield _fault(f"{where}.part_of", "UNKNOWN_LINE", text)
    for number in line.diagnosis_numbers:
        if number not in known:
            text = f"the bill has no diagnosis {number}"
            yield _fault(f"{where}.diagnosis_numbers", "UNKNOWN_DIAGNOSIS", text)


def _payment_faults(
    bill: BillFacts, prior: PriorPayments, *, account_pays: bool
) -> Iterator[BillFault]:
    if not _anything_paid(bill, prior):
        return
    billed = {line.number: line.billed for line in bill.lines}
    paid = {line.number: line.fund_paid or 0 for line in bill.lines}
    for index, payment in enumerate(prior.payments):
        where = f"prior.payments[{index}]"
        if payment.amount < 0 or any(line.amount < 0 for line in payment.lines):
            yield _fault(where, "NEGATIVE", "a payment must not be negative")
        if payment.lines and sum(line.amount for line in payment.lines) != payment.amount:
            yield _fault(where, "LINES_DO_NOT_ADD_UP", "the lines do not add up to the amount")
        for one in payment.lines:
            if one.number not in billed:
                yield _fault(where, "UNKNOWN_LINE", f"the bill has no line {one.number}")
            else:
                paid[one.number] += one.amount
    above = [number for number, amount in paid.items() if amount > billed[number]]
    if above:
        text = f"more was paid than billed on line {', '.join(map(str, above))}"
        yield _fault("lines", "PAID_ABOVE_BILL", text)
    yield from _fund_faults(bill, paid)
    stated = bill.social_insurance
    account = stated.account_paid if stated is not None and account_pays else 0
    if sum(_bill_payments(bill, prior)) + sum(paid.values()) + account > sum(billed.values()):
        yield _fault("lines", "PAID_ABOVE_BILL", "more was paid than was billed")


def _anything_paid(bill: BillFacts, prior: PriorPayments) -> bool:
    """Whether a payment is stated that is not 0."""
    stated = bill.social_insurance
    by_bill = stated is not None and (stated.fund_paid or stated.account_paid)
    return bool(prior.payments or by_bill or any(line.fund_paid for line in bill.lines))


def _bill_payments(bill: BillFacts, prior: PriorPayments) -> Iterator[int]:
    """What was paid for the bill and not for its lines."""
    yield from (payment.amount for payment in prior.payments if not payment.lines)
    if bill.social_insurance is not None:
        yield _open_fund(bill)


def _open_fund(bill: BillFacts) -> int:
    """What social insurance's funds paid beyond what lines state."""
    stated = bill.social_insurance
    if stated is None or stated.fund_paid is None:
        return 0
    return stated.fund_paid - sum(line.fund_paid or 0 for line in bill.lines)


def _fund_faults(bill: BillFacts, paid: Mapping[int, int]) -> Iterator[BillFault]:
    """`paid` is what lines state, by line number, earlier insurers included."""
    if any((line.fund_paid or 0) < 0 for line in bill.lines):
        yield _fault("lines", "NEGATIVE", "a payment must not be negative")
    stated = bill.social_insurance
    if stated is None:
        return
    if (stated.fund_paid or 0) < 0 or stated.account_paid < 0:
        yield _fault("social_insurance", "NEGATIVE", "a payment must not be negative")
    by_lines = sum(line.fund_paid or 0 for line in bill.lines)
    # The patient's own money: an earlier insurer may have paid it back. It adds to those payers'
    # only where a plan makes it one of them, and then not here.
    funds = max(by_lines, stated.fund_paid or 0)
    if funds + stated.account_paid > sum(line.billed for line in bill.lines):
        yield _fault("social_insurance", "PAID_ABOVE_BILL", "more was paid than was billed")
    if stated.used is False and (by_lines > 0 or (stated.fund_paid or 0) > 0):
        text = "social insurance paid although it was not used"
        yield _fault("social_insurance.used", "CONTRADICTION", text)
    silent = [line for line in bill.lines if line.fund_paid is None]
    room = sum(line.billed - paid[line.number] for line in silent)
    by_bill = len(silent) == len(bill.lines)  # no line states anything that could not add up
    if not by_bill and not 0 <= _open_fund(bill) <= max(0, room):
        text = "the lines' payments do not add up to the bill's"
        yield _fault("social_insurance.fund_paid", "LINES_DO_NOT_ADD_UP", text)


def priced(quantity: Decimal, unit_price: Decimal, currency: str) -> int:
    """Minor units of quantity × price, rounded once, half up."""
    places = currency_exponent(currency)
    exact = _EXACT.scaleb(_EXACT.multiply(quantity, unit_price), places)
    return int(_EXACT.quantize(exact, _ONE))


def places_of(number: Decimal) -> int:
    """Decimal places of a number in its plain form; below 0 for none."""
    # Taking a number apart costs more than all other checks of a line; most are yuan and fen.
    if number.same_quantum(_HUNDREDTH):
        return 2
    return 0 if number.same_quantum(_ONE) else -int(number.as_tuple().exponent)


def _fault(field: str, reason: str, text: str) -> BillFault:
    return BillFault(field=field, reason=reason, text=text)
