"""A second reckoning of what a plan pays, from docs/conventions.md A and nothing else.

It knows no engine: exact fractions, one line after the other, for plans of two sections. What it
and the engine disagree on, one of them has wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

DEDUCTIBLE, MAXIMUM, SECTION, MEMBER = "deductible", "maximum", "section-ceiling", "member-ceiling"


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What a plan says, amounts in fen; None is no limit. Section "a" holds codes that begin so.

    A maximum counts coinsurance always, deductible and copay where `maximum_counts` says so.
    `price` is the contract's for a unit of "a", `most_a_unit` the fixed limit of one.
    """

    shares: dict[str, Fraction]
    deductible: int = 0
    fund_counts: bool = False
    copay: int = 0
    maximum: int | None = None
    maximum_counts: frozenset[str] = frozenset()
    section_ceiling: int | None = None
    claim_ceiling: int | None = None
    member_ceiling: int | None = None
    price: Fraction | None = None
    most_a_unit: int | None = None


@dataclass(kw_only=True, slots=True)
class Charge:
    """One line: what was billed of it, and what becomes of that."""

    section: str
    quantity: Fraction
    unit_price: Fraction
    denied: bool
    billed: int = 0
    allowed: int = 0
    above_contract: int = 0
    social: int = 0
    prior: int = 0
    benefit: int = 0

    def __post_init__(self) -> None:
        self.billed = half_up(self.quantity * self.unit_price)


@dataclass(slots=True)
class Reckoned:
    """What one claim pays and uses up."""

    charges: Sequence[Charge]
    used: Counter[str] = field(default_factory=Counter)

    @property
    def insurer(self) -> int:
        """What the plan pays."""
        return sum(one.benefit for one in self.charges)

    @property
    def provider(self) -> int:
        """What is above the contract price, where the provider bears it; a denied line's is not."""
        return sum(one.above_contract for one in self.charges if not one.denied)


def half_up(amount: Fraction) -> int:
    """Whole fen, half a fen up."""
    return int((2 * amount + 1) // 2)


def reckon(
    terms: Terms, used: Counter[str], charges: Sequence[Charge], fund: int, prior: int
) -> Reckoned:
    """One claim after what was `used`; `fund` and `prior` were paid for the bill as a whole."""
    found = Reckoned(charges)
    for one in charges:
        left = [used[name] < limit for name, limit in _ceilings(terms, one.section)]
        one.denied = one.denied or terms.shares[one.section] == 0 or not all(left)
        if not one.denied:
            _allow(terms, one)
    for name, amount in (("social", fund), ("prior", prior)):
        for one, part in zip(charges, _spread(amount, charges), strict=True):
            setattr(one, name, part)
    copay, paid = terms.copay, 0
    for one in charges:
        rooms = [
            limit - used[name] - found.used[name] for name, limit in _ceilings(terms, one.section)
        ]
        if terms.claim_ceiling is not None:
            rooms.append(terms.claim_ceiling - paid)
        one.denied = one.denied or any(room <= 0 for room in rooms)
        if not one.denied:
            copay -= _pay(terms, used, found, one, copay, rooms)
            paid += one.benefit
    return found


def _ceilings(terms: Terms, section: str) -> list[tuple[str, int]]:
    found = [(MEMBER, terms.member_ceiling)]
    if section == "a":
        found.append((SECTION, terms.section_ceiling))
    return [(name, limit) for name, limit in found if limit is not None]


def _allow(terms: Terms, one: Charge) -> None:
    """Contract price, then the limit of a unit; each rounds what is left once."""
    price, one.allowed = one.unit_price, one.billed
    if one.section == "a" and terms.price is not None and terms.price < price:
        price = terms.price
        allowed = half_up(one.quantity * price)
        one.above_contract, one.allowed = one.billed - allowed, allowed
    if one.section == "a" and terms.most_a_unit is not None and terms.most_a_unit < price:
        one.allowed = half_up(one.quantity * terms.most_a_unit)


def _pay(
    terms: Terms,
    used: Counter[str],
    found: Reckoned,
    one: Charge,
    copay: int,
    rooms: Sequence[int],
) -> int:
    """Steps 4 to 10; how much of the copay the line has borne."""
    by_fund = min(one.social, one.allowed)
    rest = one.allowed - by_fund
    open_deductible = max(0, terms.deductible - used[DEDUCTIBLE] - found.used[DEDUCTIBLE])
    counted = min(open_deductible, by_fund) if terms.fund_counts else 0
    deducted = min(open_deductible - counted, rest)
    found.used[DEDUCTIBLE] += counted + deducted
    borne = min(rest - deducted, copay)
    rest -= deducted + borne
    coinsurance = rest - half_up(rest * terms.shares[one.section])
    if terms.maximum is not None:
        parts = {"deductible": deducted, "copay": borne}
        first = sum(part for name, part in parts.items() if name in terms.maximum_counts)
        room = max(0, terms.maximum - used[MAXIMUM] - found.used[MAXIMUM] - first)
        coinsurance = min(coinsurance, room)
        found.used[MAXIMUM] += first + coinsurance
    earlier = min(one.prior, one.allowed - by_fund)
    one.benefit = min(rest - coinsurance, one.allowed - by_fund - earlier, *rooms, one.allowed)
    above = one.social - by_fund + one.prior - earlier
    one.above_contract -= min(above, one.above_contract)
    for name, _ in _ceilings(terms, one.section):
        found.used[name] += one.benefit
    return borne


def _spread(total: int, charges: Sequence[Charge]) -> list[int]:
    """By allowed amounts; what exceeds them by what denied lines billed; then what was cut off."""
    parts = [0] * len(charges)
    stages = (
        [(0, 0) if one.denied else (one.allowed, one.allowed) for one in charges],
        [(one.billed, one.billed) if one.denied else (0, 0) for one in charges],
        [(one.billed - one.allowed, one.billed) for one in charges],
    )
    for stage in stages:
        while total:
            rooms = [
                most - one.social - one.prior - part
                for (_, most), one, part in zip(stage, charges, parts, strict=True)
            ]
            weights = [
                weight if room > 0 else 0 for (weight, _), room in zip(stage, rooms, strict=True)
            ]
            if not sum(weights):
                break
            exact = [Fraction(total * weight, sum(weights)) for weight in weights]
            whole = [int(one) for one in exact]
            by_remainder = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
            for index in by_remainder[: total - sum(whole)]:
                whole[index] += 1
            taken = [min(part, max(0, room)) for part, room in zip(whole, rooms, strict=True)]
            parts = [part + more for part, more in zip(parts, taken, strict=True)]
            total -= sum(taken)
    return parts
