"""A quote as it is kept: what was asked, what was priced, and how the premium came about."""

from __future__ import annotations

import msgspec

from services.pricing.core.arithmetic import to_multiple
from services.pricing.core.incentive import INCENTIVE, Incentive, credit_label, credited
from services.pricing.core.outcome import at_stratum_means
from services.pricing.core.rates import Rates
from services.pricing.core.renewal import (
    Expiring,
    Renewal,
    bounds_e4,
    collar_of,
    renewed,
    to_minor_inside,
)
from services.pricing.core.routing import Arm
from services.pricing.core.sum_insured import Raised, raised, with_raised
from services.pricing.core.tariff import E4
from services.pricing.core.waterfall import Step, Waterfall, price


class Participation(msgspec.Struct, frozen=True):
    """A person's part in a programme, word for word as it was asked."""

    member: str
    programme: str
    time_zone: str
    expiring_start_date: str


class Asked(msgspec.Struct, frozen=True):
    """What a caller asked for, word for word; two askings are the same when all of it is."""

    policy_id: str
    tariff: str
    start_date: str
    features: dict[str, str]
    participation: Participation | None = None
    expiring: Expiring | None = None  # of a renewal


class QuotedStep(msgspec.Struct, frozen=True):
    """One step of the waterfall with the texts that were shown then."""

    step: str
    cell: str
    factor_millionths: int
    difference_e4: int
    premium_e4: int
    text_zh: str
    text_en: str
    evidence: tuple[str, ...] = ()


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A premium with every step. It is never changed; a new price is a new quote."""

    id: str
    request_id: str
    asked: Asked
    tariff_version: str
    currency: str
    premium_minor: int
    created_us: int
    values: tuple[int | None, ...]
    steps: tuple[QuotedStep, ...]
    uncredited_minor: int  # what the same person would owe without a credit
    incentive: Incentive | None = None
    raised: Raised | None = None  # where the credit is taken as sum insured
    arm: Arm | None = None  # while an experiment runs under the id that was asked for
    renewal: Renewal | None = None


class Shadow(msgspec.Struct, frozen=True):
    """What another tariff would have charged beside a quote, with the same credit."""

    tariff_id: str
    tariff_version: str
    premium_minor: int


def shadow_of(asked_id: str, rates: Rates, made: Quote) -> Shadow:
    """The premium of the same person and year by another tariff that asks for the same features."""
    waterfall = price(rates, made.values)
    if made.incentive is not None and made.incentive.credit_millionths:
        waterfall, _ = _with_credit(waterfall, rates, made.values, made.incentive)
    return Shadow(asked_id, rates.version, waterfall.premium_minor)


def quoted(
    asked: Asked,
    rates: Rates,
    values: tuple[int | None, ...],
    waterfall: Waterfall,
    *,
    quote_id: str,
    request_id: str,
    created_us: int,
    incentive: Incentive | None = None,
) -> Quote:
    """The quote that a waterfall makes; `values` are what the kernel priced, after rounding.

    An incentive goes on from the waterfall's premium, which stays in the quote as `uncredited`.
    Where its programme says so it first raises the sum insured as far as that premium reaches.
    """
    uncredited, raised_to = waterfall.premium_minor, None
    if incentive is not None:
        waterfall, raised_to = _with_credit(waterfall, rates, values, incentive)
    return Quote(
        id=quote_id,
        request_id=request_id,
        asked=asked,
        tariff_version=rates.version,
        currency=rates.tariff.currency,
        premium_minor=waterfall.premium_minor,
        created_us=created_us,
        values=values,
        steps=tuple(_kept(step, incentive) for step in waterfall.steps),
        uncredited_minor=uncredited,
        incentive=incentive,
        raised=raised_to,
    )


def priced_renewal(
    asked: Asked, rates: Rates, values: tuple[int | None, ...], tier: str
) -> tuple[Waterfall, Renewal]:
    """The waterfall of a renewal's premium without credit, and what it came of.

    `values` hold nothing of the outcome layer: the technical premium is the one at f(m0), as in the
    renewal of a book.

    Raises: LookupError when nothing expires, or when neither asking nor tariff states a collar.
    """
    expiring = asked.expiring
    collar = None if expiring is None else collar_of(expiring.collar, rates.tariff)
    if expiring is None or collar is None:
        raise LookupError("a renewal without a collar reached the kernel; judge it first")
    technical = price(rates, at_stratum_means(rates, values))
    bounds = bounds_e4(expiring.uncredited_minor, collar)
    least, most = to_minor_inside(*bounds)
    k = None if expiring.factor is None else expiring.factor.billionths
    waterfall = renewed(technical, k, bounds, rates.tariff.rounding.to_minor_units)
    gross = technical.steps[-2].premium_e4
    return waterfall, Renewal(
        technical_minor=to_multiple(gross, 1) // E4,
        collar=collar,
        least_minor=least,
        most_minor=most,
        tier=tier,
    )


def _with_credit(
    waterfall: Waterfall,
    rates: Rates,
    values: tuple[int | None, ...],
    incentive: Incentive,
) -> tuple[Waterfall, Raised | None]:
    credit, found = incentive.credit_millionths or 0, None
    credit_as = incentive.credit_as
    if credit_as is not None and credit_as.is_sum_insured:
        _, found = raised(rates, values, credit, credit_as)
        waterfall = with_raised(waterfall, found)
    to_minor = rates.tariff.rounding.to_minor_units
    return credited(waterfall, credit, credit_label(incentive), to_minor), found


def _kept(step: Step, incentive: Incentive | None) -> QuotedStep:
    return QuotedStep(
        step=step.label.step,
        cell=step.label.cell,
        factor_millionths=step.label.factor_millionths,
        difference_e4=step.difference_e4,
        premium_e4=step.premium_e4,
        text_zh=step.label.text_zh,
        text_en=step.label.text_en,
        evidence=incentive.evidence if incentive and step.label.step == INCENTIVE else (),
    )
