"""How well a disease was controlled over a year, as one number, and the credit that it is worth.

u = Z × mean of the window's months + (1 − Z) × m0 (docs/conventions.md B). A month counts its
value, but at most m0, the frozen mean of those who take no part, and m0 where there was not enough
to judge: a month that was left out never lowers a price. The model credit is what the tariff itself
says that u is worth against m0. Knows no database and no wire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import msgspec

from services.pricing.core.features import read
from services.pricing.core.months import MonthAssessment, Result
from services.pricing.core.programme import Measure
from services.pricing.core.rates import Rates
from services.pricing.core.readings import half_up, hba1c_of_glucose, places_of
from services.pricing.core.tariff import (
    MILLION,
    Basis,
    FeatureWindow,
    NumericFeature,
    Tariff,
    scaled,
    written,
)
from services.pricing.core.waterfall import gross_e4

_GLUCOSE = (Measure.FASTING_GLUCOSE, Measure.NON_FASTING_GLUCOSE)
_SYSTOLIC = (Measure.HOME_SYSTOLIC, Measure.CLINIC_SYSTOLIC)
_HBA1C_UNIT, _PRESSURE_UNIT = "%", "mm[Hg]"


class Person(msgspec.Struct, frozen=True):
    """Whom a tariff prices: the values in its order, without those of the outcome layer."""

    rates: Rates
    values: tuple[int | None, ...]


class OutcomeMonth(msgspec.Struct, frozen=True):
    """One month of the window: what it counts for the mean, and whether it was assessed."""

    month: str
    value: str
    assessed: bool


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The value of one outcome feature and how it came about, in the feature's unit."""

    feature: str
    unit: str
    months: tuple[OutcomeMonth, ...]
    stratum_mean: str
    credibility_millionths: int
    value: str  # u
    evidence: tuple[str, ...]  # names of the readings of the assessed months


def outcome_of(
    window: FeatureWindow, feature: NumericFeature, months: Sequence[MonthAssessment]
) -> Outcome | None:
    """The feature's value over the last of `months`; None when no month is about it.

    A month's value is its laboratory HbA1c, or the mean of its slots' glucose as HbA1c, or of
    their systolic pressures; it is rounded to the feature's places, as a reading is, and then
    compared with m0. Every month of the window must be there, whatever served another renewal.
    """
    window_months = months[-window.months :]
    mean0 = Fraction(scaled(window.stratum_mean, feature.places))
    found: list[OutcomeMonth] = []
    evidence: list[str] = []
    total = Fraction(0)
    for month in window_months:
        value = _value_of(month, feature)
        counted = mean0 if value is None else min(Fraction(value), mean0)
        if value is not None:
            evidence += month.evidence
        total += counted
        said = written(int(counted), feature.places)
        found.append(OutcomeMonth(month.month, said, value is not None))
    if not evidence:
        return None
    share = Fraction(window.credibility_millionths, MILLION)
    u = share * total / len(window_months) + (1 - share) * mean0
    return Outcome(
        feature=feature.name,
        unit=feature.unit_ucum,
        months=tuple(found),
        stratum_mean=window.stratum_mean,
        credibility_millionths=window.credibility_millionths,
        value=written(half_up(u), feature.places),
        evidence=tuple(dict.fromkeys(evidence)),
    )


def outcomes_of(tariff: Tariff, months: Sequence[MonthAssessment]) -> tuple[Outcome, ...]:
    """Each outcome feature of the tariff that the months tell something about."""
    if not isinstance(tariff.basis, Basis):
        return ()
    features = {f.name: f for f in tariff.features if isinstance(f, NumericFeature)}
    found = [outcome_of(w, features[w.feature], months) for w in tariff.basis.windows]
    return tuple(outcome for outcome in found if outcome is not None)


def model_share(person: Person, outcomes: Sequence[Outcome]) -> int:
    """max(0, 1 − f(u) / f(m0)) in millionths, half-up.

    f is the tariff's gross premium of this person as the outcome features move, before it is
    rounded, so that a credit never takes off more than the tariff says that the risk is worth.
    """
    if not outcomes:
        return 0
    at_u = _gross_e4(person, {one.feature: one.value for one in outcomes})
    at_m0 = _gross_e4(person, {one.feature: one.stratum_mean for one in outcomes})
    if at_u >= at_m0:
        return 0
    return half_up(Fraction((at_m0 - at_u) * MILLION, at_m0))


def at_stratum_means(rates: Rates, values: Sequence[int | None]) -> tuple[int | None, ...]:
    """The values with each outcome feature at m0, so that the kernel prices them at f(m0).

    The factor of an absent value may be above f(m0), for it is not below any. A tariff of format 1
    states no m0: there that factor stands for it.
    """
    basis = rates.tariff.basis
    windows = basis.windows if isinstance(basis, Basis) else ()
    return _placed(rates, values, {window.feature: window.stratum_mean for window in windows})


def _gross_e4(person: Person, outcome: Mapping[str, str]) -> int:
    return gross_e4(person.rates, _placed(person.rates, person.values, outcome))


def _placed(
    rates: Rates, values: Sequence[int | None], outcome: Mapping[str, str]
) -> tuple[int | None, ...]:
    features = rates.tariff.features
    given = [feature for feature in features if feature.name in outcome]
    known = read(given, outcome).values
    placed = dict(zip((feature.name for feature in given), known, strict=True))
    pairs = zip(features, values, strict=True)
    return tuple(placed.get(feature.name, value) for feature, value in pairs)


def _value_of(month: MonthAssessment, feature: NumericFeature) -> int | None:
    """The month's value in steps of the feature; None where it was not assessed for it."""
    if month.result is Result.NOT_ENOUGH:
        return None
    steps = 10**feature.places
    by_measure = {judged.measure: judged for judged in month.measures}
    if feature.unit_ucum == _HBA1C_UNIT and Measure.HBA1C in by_measure:
        return half_up(Fraction(by_measure[Measure.HBA1C].mean) * steps)
    if feature.unit_ucum == _HBA1C_UNIT:
        mean = _mean(month, _GLUCOSE)
        return None if mean is None else half_up(hba1c_of_glucose(mean) * steps)
    if feature.unit_ucum == _PRESSURE_UNIT:
        mean = _mean(month, _SYSTOLIC)
        return None if mean is None else half_up(mean * steps)
    return None


def _mean(month: MonthAssessment, measures: Sequence[Measure]) -> Fraction | None:
    """The mean of a month's slots over kinds of one quantity.

    A kind's mean is told to three places; its sum is a whole number of steps, and so exact again.
    """
    judged = [entry for entry in month.measures if entry.measure in measures]
    count = sum(entry.readings for entry in judged)
    if not count:
        return None
    steps = 10 ** places_of(judged[0].measure.quantity)
    return Fraction(
        sum(half_up(Fraction(e.mean) * e.readings * steps) for e in judged), count * steps
    )
