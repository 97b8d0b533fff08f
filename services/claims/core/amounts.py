"""The arithmetic of one line, from the billed amount to the benefit: docs/conventions.md A.

Every step moves money from one bearer and reason to another and loses none. It knows neither why
a line was let through nor how the result is written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from services.claims.core.accumulators import Tally
from services.claims.core.authorisations import (
    authorised_units,
    count_authorised,
    limit_authorised_amount,
)
from services.claims.core.claim import AppliedShare, Claim, Limits, Line, Refusal
from services.claims.core.conditions import holds, limits, limits_about, may_cover
from services.claims.core.decision import Bearer
from services.claims.core.facts import UNIT_SCALE, Authorisation
from services.claims.core.intake import priced
from services.claims.core.plan import Ceiling, Copay, PatientCost
from services.claims.core.reasons import Reason
from services.claims.core.review import cut_by_review
from services.common.money import currency_exponent, round_half_up

# The ceilings that are about a line, in the plan's order, and what is left of each.
_Rooms = Sequence[tuple[Ceiling, int]]


@dataclass(slots=True)
class Cut:
    """A part of the line that the insurer does not pay."""

    reason: Reason
    clause: str
    bearer: Bearer
    amount: int


@dataclass(slots=True)
class Amounts:
    """What becomes of one line's money. billed = benefit + social + prior + cuts, always.

    That holds once `absorb` has taken `social` and `prior` out of the cuts. `by_share` is what the
    share alone would pay; the benefit above it comes from the out-of-pocket maximum of
    `maximum_clause`.
    """

    line: Line
    billed: int
    refusal: Refusal | None
    allowed: int = 0
    units: Decimal = Decimal(0)
    share: AppliedShare | None = None
    by_share: int = 0
    maximum_clause: str = ""
    social: int = 0
    prior: int = 0
    benefit: int = 0
    authorised: dict[Authorisation, str] | None = None
    cuts: list[Cut] = field(default_factory=list)

    def cut(
        self, reason: Reason, clause: str, amount: int, bearer: Bearer = Bearer.PATIENT
    ) -> None:
        """Note a part that the insurer does not pay; nothing is noted for nothing."""
        if amount:
            self.cuts.append(Cut(reason, clause, bearer, amount))


@dataclass(slots=True)
class Visit:
    """What the lines of one visit share: the accumulators, and the copay that is left."""

    tally: Tally
    reserve: bool
    copay: Copay | None = None
    copay_left: int = 0


def allow(claim: Claim, line: Line, units: Tally) -> Amounts:
    """Steps 1 to 3: contract price, units, fixed limit per unit. The allowed amount rounds once.

    A reviewer's units and price go before all of them, an authorisation's units before the plan's.

    `units` holds what this claim's lines use so far and is not changed; a line for which none
    are left is refused.
    """
    facts, currency = line.facts, claim.bill.currency
    result = Amounts(line=line, billed=facts.billed, refusal=line.refusal, allowed=facts.billed)
    if result.refusal is not None:
        result.allowed = 0
        return result
    price, result.units = facts.unit_price, facts.quantity
    if line.reviewed is not None:
        price = cut_by_review(result, line.reviewed, currency)
    contract = _contract_price(claim, line)
    if contract is not None and contract < price:
        price = contract
        bearer = (
            claim.plan.prices.above_contract_direct
            if claim.bill.direct_billing
            else claim.plan.prices.above_contract_otherwise
        )
        allowed = min(result.allowed, priced(result.units, price, currency))
        clause = claim.plan.prices.clause
        result.cut(Reason.PRICE_ABOVE_CONTRACT, clause, result.allowed - allowed, bearer)
        result.allowed = allowed
    _limit_units(claim, result, price, units)
    if result.refusal is None:
        _limit_price(claim, result, price)
        if result.authorised is not None:
            limit_authorised_amount(result, result.authorised, units)
    return result


def _contract_price(claim: Claim, line: Line) -> Decimal | None:
    prices = claim.provider.prices
    return None if prices is None else prices.get(line.key)


def _limit_units(claim: Claim, result: Amounts, price: Decimal, units: Tally) -> None:
    """Step 2: what is above the units left is cut; with none left the line is refused."""
    line = result.line
    applying = [one for one in line.about.unit_limits if limits(one.term, claim, line)]
    if not applying and line.authority is None:
        return
    wanted = _authorised(claim, result, price, units)
    if result.refusal is not None:
        return
    left, clause = wanted, ""
    for one in applying:
        term = one.term
        room = units.left(term.id, term.scope, term.period, one.value * UNIT_SCALE)
        if room < left:
            left, clause = room, term.clause
    if left == 0:
        result.refusal = Refusal(Reason.FREQUENCY, clause)
        result.cuts, result.allowed = [], 0
        return
    result.units = Decimal(left) / UNIT_SCALE
    if left < wanted:
        allowed = min(result.allowed, priced(result.units, price, claim.bill.currency))
        result.cut(Reason.FREQUENCY, clause, result.allowed - allowed)
        result.allowed = allowed


def _authorised(claim: Claim, result: Amounts, price: Decimal, units: Tally) -> int:
    """The units that are authorised, in ten-thousandths; what is above is cut."""
    wanted = int(result.units * UNIT_SCALE)
    if result.line.authority is None:
        return wanted
    left, clause = authorised_units(result, wanted, units)
    if left < wanted and result.refusal is None:
        most = priced(Decimal(left) / UNIT_SCALE, price, claim.bill.currency)
        allowed = min(result.allowed, most)
        result.cut(Reason.AUTHORISATION_EXCEEDED, clause, result.allowed - allowed)
        result.allowed = allowed
    return left


def _limit_price(claim: Claim, result: Amounts, price: Decimal) -> None:
    """Step 3: the tightest fixed limit per unit."""
    limits_of_code = result.line.about.fixed_limits
    if not limits_of_code:
        return
    limit, clause = price, ""
    places = currency_exponent(claim.bill.currency)
    for one in limits_of_code:
        if limits(one.term, claim, result.line):
            most = Decimal(one.value).scaleb(-places)
            if most < limit:
                limit, clause = most, one.term.clause
    if limit < price:
        allowed = min(result.allowed, priced(result.units, limit, claim.bill.currency))
        result.cut(Reason.UNIT_LIMIT, clause, result.allowed - allowed)
        result.allowed = allowed


def pay(claim: Claim, result: Amounts, visit: Visit) -> None:
    """Steps 4 to 10 for a line that nothing refused: from the allowed amount to the benefit.

    To reserve, a line is paid the most it could be: without deductible, and as if an out-of-pocket
    maximum were reached, since other claims may use both up before this one is decided.
    """
    share, about = result.share, limits_about(claim, result.line)
    rooms = _rooms(about, visit.tally)
    # What other lines reserve of a ceiling may come back; nothing is refused for it yet.
    used_up = None if visit.reserve else _used_up(rooms)
    if used_up is not None or share is None:
        result.refusal = used_up
        result.cuts, result.allowed = [], 0
        return
    rest = result.allowed - min(result.social, result.allowed)
    borne: dict[PatientCost, int] = {}
    if about.deductibles and not visit.reserve:
        borne[PatientCost.DEDUCTIBLE] = _deduct(claim, result, visit.tally, rest, about)
        rest -= borne[PatientCost.DEDUCTIBLE]
    rest -= _copay(claim, result, visit, rest, borne)
    result.by_share = round_half_up(rest * share.value)
    coinsurance = rest - result.by_share
    if visit.reserve:
        coinsurance = _kept_to_reserve(claim, result.line, coinsurance)
    elif about.out_of_pocket:
        coinsurance = _within_out_of_pocket(result, visit.tally, coinsurance, borne, about)
    result.cut(Reason.COINSURANCE, share.clause, coinsurance)
    result.benefit = _within_ceilings(rooms, result, rest - coinsurance)
    absorb(result)
    if visit.reserve:
        _reserve_up(claim, result, visit.tally)
    else:
        _count_up(claim, result, visit.tally, rooms)


def _rooms(about: Limits, tally: Tally) -> _Rooms:
    return [
        (one.term, tally.left(one.term.id, one.term.scope, one.term.period, one.value))
        for one in about.ceilings
    ]


def _used_up(rooms: _Rooms) -> Refusal | None:
    """The ceiling that earlier lines of this claim have used up."""
    for term, room in rooms:
        if not room:
            reason = Reason.SECTION_CEILING if term.of_section else Reason.CEILING
            return Refusal(reason, term.clause)
    return None


def _deduct(claim: Claim, result: Amounts, tally: Tally, rest: int, about: Limits) -> int:
    """Step 5: every deductible that covers the line, in the plan's order."""
    paid_by_fund = min(result.social, result.allowed)
    deducted = 0
    families = claim.terms.families
    for one in about.deductibles:
        term = one.term
        left = tally.left(term.id, term.scope, term.period, one.value)
        family = families.get(term.id) if families else None
        if family is not None:
            whole = family.term
            left = min(left, tally.left(whole.id, whole.scope, whole.period, family.value))
        by_fund = min(left, paid_by_fund) if term.social_insurance_counts else 0
        amount = min(left - by_fund, rest - deducted)
        tally.add(term.id, term.scope, term.period, amount=amount + by_fund)
        if family is not None:
            whole = family.term
            tally.add(whole.id, whole.scope, whole.period, amount=amount + by_fund)
        result.cut(Reason.DEDUCTIBLE, term.clause, amount)
        deducted += amount
    return deducted


def _copay(
    claim: Claim, result: Amounts, visit: Visit, rest: int, borne: dict[PatientCost, int]
) -> int:
    """Step 6: on the visit's first allowed line; what is above the line carries to the next."""
    for one in claim.terms.copays:
        if visit.copay not in (None, one.term):
            continue
        if holds(one.term.when, one.diagnoses, claim, result.line) is not True:
            continue
        if visit.copay is None:
            visit.copay, visit.copay_left = one.term, one.value
        amount = min(rest, visit.copay_left)
        visit.copay_left -= amount
        result.cut(Reason.COPAY, one.term.clause, amount)
        borne[PatientCost.COPAY] = amount
        return amount
    return 0


def _kept_to_reserve(claim: Claim, line: Line, coinsurance: int) -> int:
    """The patient's share, of which a maximum that could be about the line may leave nothing."""
    maxima = claim.terms.out_of_pocket
    return 0 if any(may_cover(one.term.covers, claim, line) for one in maxima) else coinsurance


def _within_out_of_pocket(
    result: Amounts, tally: Tally, coinsurance: int, borne: dict[PatientCost, int], about: Limits
) -> int:
    """Step 7: the patient's share, as far as out-of-pocket maxima leave it with the patient."""
    for one in about.out_of_pocket:
        term = one.term
        before = sum(amount for cost, amount in borne.items() if cost in term.counts)
        room = max(0, tally.left(term.id, term.scope, term.period, one.value) - before)
        if room < coinsurance:
            coinsurance, result.maximum_clause = room, term.clause
    borne[PatientCost.COINSURANCE] = coinsurance
    for one in about.out_of_pocket:
        term = one.term
        counted = sum(amount for cost, amount in borne.items() if cost in term.counts)
        tally.add(term.id, term.scope, term.period, amount=counted)
    return coinsurance


def _within_ceilings(rooms: _Rooms, result: Amounts, benefit: int) -> int:
    """Steps 8 and 9: section ceilings, then those of member, family and policy; tightest binds."""
    for of_section, reason in ((True, Reason.SECTION_CEILING), (False, Reason.CEILING)):
        most, clause = benefit, ""
        for term, room in rooms:
            if room < most and term.of_section is of_section:
                most, clause = room, term.clause
        result.cut(reason, clause, benefit - most)
        benefit = most
    return benefit


def _count_up(claim: Claim, result: Amounts, tally: Tally, rooms: _Rooms) -> None:
    """What the line uses of ceilings, unit limits and its authorisation."""
    for term, _ in rooms:
        tally.add(term.id, term.scope, term.period, amount=result.benefit)
    count_units(claim, result, tally)


def _reserve_up(claim: Claim, result: Amounts, tally: Tally) -> None:
    """The same for a line that waits: in every limit that could be about it.

    In a ceiling that is not sure to be about it, no more than that could hold.
    """
    for one in claim.terms.ceilings:
        term = one.term
        if may_cover(term.covers, claim, result.line):
            left = tally.left(term.id, term.scope, term.period, one.value)
            tally.add(term.id, term.scope, term.period, amount=min(result.benefit, left))
    count_units(claim, result, tally, reserve=True)


def count_units(claim: Claim, result: Amounts, tally: Tally, *, reserve: bool = False) -> None:
    """What an allowed line uses of its authorisation and of limits of units.

    To reserve, in every limit that could be about it, and no more than that could hold.
    """
    if result.authorised is not None:
        count_authorised(result, result.authorised, tally)
    for limit in result.line.about.unit_limits:
        units = limit.term
        if limits(units, claim, result.line, reserve=reserve):
            amount = int(result.units * UNIT_SCALE)
            if reserve:
                most = limit.value * UNIT_SCALE
                amount = min(amount, tally.left(units.id, units.scope, units.period, most))
            tally.add(units.id, units.scope, units.period, amount=amount)


# What a payment above the allowed amount takes back first, and what earlier insurers replace.
_PRICE_SIDE = (
    Reason.PRICE_ABOVE_CONTRACT,
    Reason.FREQUENCY,
    Reason.UNIT_LIMIT,
    Reason.AUTHORISATION_EXCEEDED,
    Reason.MEDICAL_NECESSITY,
)
_PATIENT_SIDE = (
    Reason.COPAY,
    Reason.COINSURANCE,
    Reason.DEDUCTIBLE,
    Reason.SECTION_CEILING,
    Reason.CEILING,
)


def absorb(result: Amounts) -> None:
    """Step 10: earlier payers' money takes the place of cuts, and at last of the benefit.

    Social insurance above the allowed amount takes back price cuts. Earlier insurers replace the
    patient's copay, coinsurance and deductible, then what ceilings cut, then the benefit, which
    so never exceeds what they leave; what they paid above the allowed amount takes back price cuts.
    """
    if not (result.social or result.prior):
        return
    by_fund = min(result.social, result.allowed)
    _take(result, result.social - by_fund, _PRICE_SIDE)
    by_insurers = min(result.prior, result.allowed - by_fund)
    _take(result, result.prior - by_insurers, _PRICE_SIDE)
    result.benefit -= _take(result, by_insurers, _PATIENT_SIDE)
    result.cuts = [one for one in result.cuts if one.amount]


def _take(result: Amounts, money: int, reasons: Iterable[Reason]) -> int:
    """Take money out of cuts in this order of reasons; what is left."""
    for reason in reasons:
        for one in result.cuts:
            if one.reason is reason:
                taken = min(one.amount, money)
                one.amount -= taken
                money -= taken
    return money
