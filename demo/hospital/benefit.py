"""What the insurer owes for the lines that it accepts, to the fen: the truth's own arithmetic.

The order of the steps is that of docs/conventions.md A: units, fixed limit, social insurance's
payment, deductible, copay, share, section ceiling, sum insured. Everything is integer fen; a line's
allowed amount rounds once, its benefit once, half up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

from demo.hospital import terms
from demo.hospital.bills import Line
from demo.hospital.terms import Terms


@dataclass(kw_only=True)
class Used:
    """What one member has used up of one policy year."""

    deductible: int = 0
    out_of_pocket: int = 0
    rehabilitation: int = 0
    visits: int = 0
    benefit: int = 0
    by_section: Counter[str] = field(default_factory=Counter)

    def copy(self) -> Used:
        """The same, apart."""
        return Used(
            deductible=self.deductible,
            out_of_pocket=self.out_of_pocket,
            rehabilitation=self.rehabilitation,
            visits=self.visits,
            benefit=self.benefit,
            by_section=Counter(self.by_section),
        )


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A line that no rule refuses, with what its benefit depends on."""

    number: int
    line: Line
    section: str
    share: Decimal
    copay: bool


@dataclass(frozen=True, kw_only=True)
class Paid:
    """What became of an accepted line: its benefit, and whether the unit limit cut or denied it."""

    number: int
    benefit: int
    cut_by_units: bool = False
    allowed_units: bool = True


def settle(
    accepted: Iterable[Accepted], plan: Terms, used: Used, *, without_deductible: bool = False
) -> list[Paid]:
    """Each line's benefit in the order of the bill; adds to `used` what the lines use up.

    `without_deductible` gives the most that a claim could pay, which is what a waiting one
    reserves.
    """
    copay = plan.copay
    found = []
    for one in accepted:
        allowed, units, cut = _allowed(one.line, plan, used)
        if cut and not units:
            found.append(Paid(number=one.number, benefit=0, cut_by_units=True, allowed_units=False))
            continue
        used.rehabilitation += units
        fund = min(allowed, fen(one.line.fund_paid or Decimal(0)))
        left = allowed - fund
        deductible = 0
        if not without_deductible:
            open_ = plan.deductible - used.deductible
            by_fund = min(fund, open_) if plan.social_insurance_counts else 0
            deductible = min(left, open_ - by_fund)
            used.deductible += by_fund + deductible
            left -= deductible
        by_copay = min(left, copay) if one.copay else 0
        copay -= by_copay
        left -= by_copay
        coinsurance = left - half_up(left * one.share)
        if plan.out_of_pocket is not None:
            room = plan.out_of_pocket - used.out_of_pocket - deductible - by_copay
            coinsurance = min(coinsurance, max(0, room))
            used.out_of_pocket += deductible + by_copay + coinsurance
        benefit = min(left - coinsurance, plan.sum_insured - used.benefit)
        ceiling = plan.section_ceilings.get(one.section)
        if ceiling is not None:
            benefit = min(benefit, ceiling - used.by_section[one.section])
        used.benefit += benefit
        used.by_section[one.section] += benefit
        found.append(Paid(number=one.number, benefit=benefit, cut_by_units=cut))
    return found


def _allowed(line: Line, plan: Terms, used: Used) -> tuple[int, int, bool]:
    """Allowed amount, units that count toward the limit, and whether the limit cut them."""
    code, price, quantity = line.service.code, line.service.price, line.quantity
    if plan.rehabilitation_units is not None and code.startswith(terms.REHABILITATION):
        left = Decimal(plan.rehabilitation_units - used.rehabilitation)
        units = min(quantity, left)
        return fen(price * units), int(units), units < quantity
    if plan.bed_a_day is not None and code.startswith(terms.BEDS):
        return fen(min(price, plan.bed_a_day) * quantity), 0, False
    return fen(line.net), 0, False


def fen(yuan: Decimal) -> int:
    """An amount in fen, half up.

    >>> fen(Decimal("12.345"))
    1235
    """
    return half_up(yuan * 100)


def half_up(amount: Decimal) -> int:
    """The nearest whole number; halves go up."""
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))
