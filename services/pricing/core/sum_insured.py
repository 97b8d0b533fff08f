"""A credit taken as sum insured: the largest whose credited premium is not above the uncredited.

The tariff itself says what a sum costs, through the feature that the programme names; nothing is
taken as proportional. The sum is a multiple of what the programme says, grows by its share at most,
and stays within what the tariff prices. Knows no programme file and no wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from services.pricing.core.arithmetic import less_credit, to_multiple
from services.pricing.core.programme import CreditAs
from services.pricing.core.rates import Label, Rates
from services.pricing.core.tariff import (
    E4,
    MILLION,
    BandTable,
    NumericFeature,
    Tariff,
    scaled,
    written,
)
from services.pricing.core.waterfall import Step, Waterfall, price

SUM_INSURED = "sum_insured"


class Raised(msgspec.Struct, frozen=True, kw_only=True):
    """By how much a credit raised the sum insured, in the feature's unit, and what bounded it."""

    feature: str
    unit: str
    before: str
    after: str
    increase: str
    most: str
    premium_minor: int  # of the raised sum, without credit


def sum_feature(tariff: Tariff, terms: CreditAs) -> NumericFeature | None:
    """The feature by which a tariff prices the sum insured; None where no table reads it."""
    read = {table.feature for cause in tariff.causes for table in cause.tables}
    for feature in tariff.features:
        if feature.name == terms.feature and isinstance(feature, NumericFeature):
            return feature if feature.name in read else None
    return None


def raised(
    rates: Rates, values: Sequence[int | None], credit_millionths: int, terms: CreditAs
) -> tuple[tuple[int | None, ...], Raised]:
    """The values with the largest sum that the credit buys, and how far that is.

    Without a credit, and where every larger sum would cost more than was owed, the sum stays and
    the credit comes off the premium. Nothing is interpolated: sums of one band cost the same.

    Raises: LookupError when the tariff has no such feature or the person gave none.
    """
    feature = sum_feature(rates.tariff, terms)
    place = [one.name for one in rates.tariff.features].index(terms.feature)
    now = values[place]
    if feature is None or now is None:
        raise LookupError("a sum insured that is not priced reached the kernel")
    unit = 10**feature.places
    grown = now * (MILLION + terms.at_most_millionths) // MILLION
    most = min(grown, scaled(feature.priced_last, feature.places))
    owed = price(rates, values).premium_minor
    best, chosen = now, owed
    for sum_insured in _sums(rates.tariff, feature, most, terms.multiple_of * unit):
        if sum_insured <= now or not credit_millionths:
            break
        larger = price(rates, [*values[:place], sum_insured, *values[place + 1 :]]).premium_minor
        if _charged(rates, larger, credit_millionths) <= owed:
            best, chosen = sum_insured, larger
            break
    return (*values[:place], best, *values[place + 1 :]), Raised(
        feature=feature.name,
        unit=feature.unit_en,
        before=written(now, feature.places),
        after=written(best, feature.places),
        increase=written(best - now, feature.places),
        most=written(max(most, now), feature.places),
        premium_minor=chosen,
    )


def _sums(tariff: Tariff, feature: NumericFeature, most: int, multiple: int) -> Iterator[int]:
    """Sums that may be the largest at some premium, the largest first.

    The premium only changes from band to band, so that the last multiple of each band is enough.
    """
    ends = {most}
    for cause in tariff.causes:
        for table in cause.tables:
            if isinstance(table, BandTable) and table.feature == feature.name:
                ends |= {scaled(band.last, feature.places) for band in table.cells}
    yield from sorted({min(end, most) // multiple * multiple for end in ends}, reverse=True)


def _charged(rates: Rates, premium_minor: int, credit_millionths: int) -> int:
    """The premium after the credit in minor units, rounded as the tariff says."""
    after = less_credit(premium_minor * E4, credit_millionths)
    return to_multiple(after, rates.tariff.rounding.to_minor_units) // E4


def with_raised(waterfall: Waterfall, found: Raised) -> Waterfall:
    """The waterfall with one more step: what the larger sum costs, before the credit."""
    before, after = waterfall.premium_minor * E4, found.premium_minor * E4
    return Waterfall(
        found.premium_minor, (*waterfall.steps, Step(_label(found), after - before, after))
    )


def _label(found: Raised) -> Label:
    if found.before == found.after:
        zh = f"优惠计入保额：保额 {found.before} 不变，优惠从保费中减"
        en = f"Credit as sum insured: {found.before} stays, the credit comes off the premium"
    else:
        zh = f"优惠计入保额：由 {found.before} 增加 {found.increase} 至 {found.after}"
        en = f"Credit as sum insured: {found.before} rises by {found.increase} to {found.after}"
    return Label(SUM_INSURED, f"{found.feature} {found.after}", 0, zh, f"{en} ({found.unit})")
