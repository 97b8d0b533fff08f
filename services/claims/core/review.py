"""What a person's review leaves of a claim, before prices, units and limits of the plan.

A review only lowers. It takes the place of every wait for a person and of no missing fact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from services.claims.core.claim import Claim, Line
from services.claims.core.facts import BillFacts, Review, ReviewedLine
from services.claims.core.intake import BillFault, priced
from services.claims.core.plan import Plan
from services.claims.core.reasons import Reason

if TYPE_CHECKING:
    from services.claims.core.amounts import Amounts

# Why a reviewer may deny a line. What prices, limits and payers leave is the engine's to say.
DENIALS = frozenset(
    {
        Reason.IMPOSSIBLE_DATES,
        Reason.NOT_COVERED_ON_DATE,
        Reason.DEPENDANT_NOT_ELIGIBLE,
        Reason.DUPLICATE,
        Reason.LATE_FILING,
        Reason.OTHER_LIABILITY,
        Reason.BENEFIT_EXCLUDED,
        Reason.DIAGNOSIS_EXCLUDED,
        Reason.PRE_EXISTING,
        Reason.WAITING_PERIOD,
        Reason.AUTHORISATION,
        Reason.PROVIDER_NOT_LISTED,
        Reason.CLINICAL_MISMATCH,
        Reason.DUPLICATE_EXAMINATION,
        Reason.BUNDLED,
        Reason.UNITS_EXCEEDED,
        Reason.FREQUENCY,
        Reason.MEDICAL_NECESSITY,
        Reason.WORK_INJURY,
        Reason.PROVIDER_NOT_QUALIFIED,
        Reason.AGE_MISMATCH,
        Reason.SEX_MISMATCH,
        Reason.PLACE_MISMATCH,
        Reason.PROVIDER_TYPE_MISMATCH,
        Reason.UNSUPPORTED_BY_DIAGNOSIS,
        Reason.DISPENSED_BEFORE_PRESCRIBED,
        Reason.PACKAGE_MISMATCH,
        Reason.PAPERS_MISSING,
    }
)


def review_faults(plan: Plan, bill: BillFacts, review: Review | None) -> tuple[BillFault, ...]:
    """Everything that is wrong with a review: lines that are not there, raised amounts, clauses."""
    return () if review is None else tuple(_faults(plan, bill, review))


def _faults(plan: Plan, bill: BillFacts, review: Review) -> Iterator[BillFault]:
    lines = {line.number: line for line in bill.lines}
    clauses = {clause.id for clause in plan.clauses}
    times = Counter(one.number for one in review.lines)
    for index, one in enumerate(review.lines):
        where = f"review.lines[{index}]"
        if one.number not in lines:
            yield _fault(where, "UNKNOWN_LINE", f"the bill has no line {one.number}")
            continue
        if times[one.number] > 1:
            yield _fault(where, "DUPLICATE_NUMBER", f"line {one.number} is reviewed twice")
        if one.clause not in clauses:
            known = ", ".join(sorted(clauses))
            yield _fault(where, "UNKNOWN_CLAUSE", f"name a clause of the plan: {known}")
        if one.denied and one.reason not in DENIALS:
            yield _fault(f"{where}.reason", "NOT_A_DENIAL", "name a reason that denies a line")
        billed = lines[one.number]
        for field, value, most in (
            ("quantity", one.quantity, billed.quantity),
            ("unit_price", one.unit_price, billed.unit_price),
        ):
            if value is not None and not 0 <= value <= most:
                text = "a review lowers what was billed and never raises it"
                yield _fault(f"{where}.{field}", "ABOVE_BILLED", text)


def _fault(field: str, reason: str, text: str) -> BillFault:
    return BillFault(field=field, reason=reason, text=text)


def not_necessary(_claim: Claim, line: Line) -> str | None:
    """A reviewer leaves nothing of the line."""
    reviewed = line.reviewed
    if reviewed is None or not (reviewed.denied or reviewed.quantity == 0):
        return None
    return reviewed.clause


def reason_of(line: Line, reason: Reason) -> Reason:
    """The rule's reason; where a reviewer denies the line, the reviewer's."""
    if reason is Reason.MEDICAL_NECESSITY and line.reviewed is not None:
        return line.reviewed.reason
    return reason


def cut_by_review(result: Amounts, reviewed: ReviewedLine, currency: str) -> Decimal:
    """Lower the line to the reviewer's units and price; the price that is left."""
    facts = result.line.facts
    price = facts.unit_price if reviewed.unit_price is None else reviewed.unit_price
    if reviewed.quantity is not None:
        result.units = reviewed.quantity
    allowed = min(result.allowed, priced(result.units, price, currency))
    result.cut(Reason.MEDICAL_NECESSITY, reviewed.clause, result.allowed - allowed)
    result.allowed = allowed
    return price
