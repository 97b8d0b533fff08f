"""Claims as they happen, are reported and paid; and what was truly to be expected of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.pricing.fitting.simulated.calendar import Whole, day_number
from services.pricing.fitting.simulated.paths import Path, Paths
from services.pricing.fitting.simulated.population import YEAR, People, Policies
from services.pricing.fitting.simulated.truth import (
    CAUSES,
    Floats,
    Truth,
    expected_paid,
    gamma_mean,
    log_person_rate,
    log_time_rate,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """One value per reported claim; `policy` is the place of the policy."""

    policy: Whole
    cause: Whole  # place in CAUSES
    event_day: Whole
    report_day: Whole
    ground_up: Whole
    amount: Whole


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What is to be expected of each policy in the days observed, for a frailty of 1."""

    days: Whole
    hba1c: Floats  # mean of the true path over the days, NaN without the disease
    systolic: Floats
    claims: tuple[Floats, ...]  # of any amount, by cause
    paid: tuple[Floats, ...]  # minor units, by cause


@dataclass(frozen=True, kw_only=True, slots=True)
class _Months:
    """One value per policy and month of it that is observed."""

    policy: Whole
    person: Whole
    month: Whole
    begins: Whole
    days: Whole

    @property
    def middle(self) -> Floats:
        return np.asarray(self.begins + self.days / 2)


def claims_and_expected(
    given: Truth, who: People, covered: Policies, path: Paths, rng: np.random.Generator
) -> tuple[Claims, Expected]:
    """The claims known at the study's end, and the expectation behind all of them."""
    observed = _months(given, covered, path.starts)
    per_policy = len(covered.person)
    found = []
    counts: list[Floats] = []
    paid: list[Floats] = []
    for place, cause in enumerate(CAUSES):
        rate = _rates(given, cause, who, path, observed)
        expected = rate * observed.days / YEAR
        counts.append(np.bincount(observed.policy, expected, per_policy).astype(np.float64))
        mean = _means(given, cause, who, path, observed)
        paid.append(counts[-1] * _paid_each(given, cause, covered, observed, mean, expected))
        number = rng.poisson(expected * who.frailty[observed.person])
        found.append(_drawn(given, place, covered, observed, number, mean, rng))
    drawn = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    policy, cause_of, event, report, ground_up, amount = drawn
    kept = (report < day_number(given.after_day)) & (
        (amount > 0) | (rng.random(len(amount)) < given.reported_below_deductible)
    )
    order = np.flatnonzero(kept)
    order = order[np.lexsort((cause_of[order], event[order], policy[order]))]
    claims = Claims(
        policy=policy[order],
        cause=cause_of[order],
        event_day=event[order],
        report_day=report[order],
        ground_up=ground_up[order],
        amount=amount[order],
    )
    days = np.bincount(observed.policy, observed.days, per_policy)
    expected_all = Expected(
        days=days.astype(np.int64),
        hba1c=_mean_over(observed, path.hba1c, per_policy),
        systolic=_mean_over(observed, path.systolic, per_policy),
        claims=tuple(counts),
        paid=tuple(paid),
    )
    return claims, expected_all


def _months(given: Truth, covered: Policies, starts: Whole) -> _Months:
    begin = np.maximum(covered.entry_day, day_number(given.first_day))
    end = np.minimum(covered.after_day, day_number(given.after_day))
    first = np.searchsorted(starts, begin, side="right") - 1
    last = np.searchsorted(starts, end - 1, side="right") - 1
    number = np.where(end > begin, last - first + 1, 0)
    policy = np.repeat(np.arange(len(begin)), number)
    within = np.arange(len(policy)) - np.repeat(np.cumsum(number) - number, number)
    month = first[policy] + within
    begins = np.maximum(starts[month], begin[policy])
    days = np.minimum(starts[month + 1], end[policy]) - begins
    return _Months(
        policy=policy, person=covered.person[policy], month=month, begins=begins, days=days
    )


def _rates(given: Truth, cause: str, who: People, path: Paths, observed: _Months) -> Floats:
    """True yearly rate of each person-month, for a frailty of 1."""
    one = given.frequency[cause]
    fixed = log_person_rate(
        one,
        female=who.female,
        coinsurance_percent=who.coinsurance.astype(np.float64),
        region=who.region.astype(np.float64),
    )
    person, month = observed.person, observed.month
    changing = log_time_rate(
        one,
        age=(observed.middle - who.birth[person]) / YEAR,
        chronic_ranges=_ranges(who, path, observed),
        hba1c=path.hba1c[person, month].astype(np.float64),
        systolic=path.systolic[person, month].astype(np.float64),
        enrolled=path.enrolled[person, month].astype(np.float64),
        programme_effect=given.programme_effect,
    )
    return np.asarray(np.exp(fixed[person] + changing))


def _ranges(who: People, path: Paths, observed: _Months) -> Floats:
    has = who.onset[observed.person] <= path.starts[observed.month]
    return np.where(has, who.ranges[observed.person], 0.0)


def _means(given: Truth, cause: str, who: People, path: Paths, observed: _Months) -> Floats:
    """Mean of the Gamma part of a claim in each person-month, trend included."""
    person = observed.person
    mean = gamma_mean(
        given.severity[cause],
        age=(observed.middle - who.birth[person]) / YEAR,
        female=who.female[person],
        chronic_ranges=_ranges(who, path, observed),
    )
    return np.asarray(mean * _trend(given, observed.middle))


def _trend(given: Truth, day: Floats | Whole) -> Floats:
    years = (day - day_number(given.first_day)) / YEAR
    return np.asarray((1 + given.yearly_trend) ** years)


def _paid_each(
    given: Truth, cause: str, covered: Policies, observed: _Months, mean: Floats, expected: Floats
) -> Floats:
    """Expected payment of one claim of each policy, at the mean of its months' Gamma means."""
    number = len(covered.person)
    total = np.bincount(observed.policy, expected, number)
    weighted = np.bincount(observed.policy, expected * mean, number)
    return expected_paid(
        given,
        cause,
        mean=np.divide(weighted, total, out=np.ones(number), where=total > 0),
        deductible=covered.deductible.astype(np.float64),
        limit=covered.limit.astype(np.float64),
    )


def _drawn(
    given: Truth,
    place: int,
    covered: Policies,
    observed: _Months,
    number: Whole,
    mean: Floats,
    rng: np.random.Generator,
) -> tuple[Whole, ...]:
    """Claims of one cause: policy, cause, event, report, ground-up and paid amount."""
    one = given.severity[CAUSES[place]]
    row = np.repeat(np.arange(len(number)), number)
    size = len(row)
    event = observed.begins[row] + (rng.random(size) * observed.days[row]).astype(np.int64)
    shape = 1 / one.dispersion
    multiple = rng.gamma(shape, 1 / shape, size)
    tail = given.pareto_from * (1 - rng.random(size)) ** (-1 / given.pareto_alpha)
    multiple = np.where(rng.random(size) < given.pareto_share, tail, multiple)
    level = _trend(given, event) / _trend(given, observed.middle[row])
    ground_up = np.maximum(np.rint(mean[row] * level * multiple), 1).astype(np.int64)
    policy = observed.policy[row]
    limited = np.minimum(ground_up, covered.limit[policy])
    amount = np.maximum(limited - covered.deductible[policy], 0)
    report = event + rng.exponential(one.mean_delay_days, size).astype(np.int64)
    return policy, np.full(size, place), event, report, ground_up, amount


def _mean_over(observed: _Months, outcome: Path, number: int) -> Floats:
    """Mean of a true outcome over the days of each policy in which the person has the disease."""
    value = outcome[observed.person, observed.month]
    has = ~np.isnan(value)
    days = np.bincount(observed.policy[has], observed.days[has], number)
    total = np.bincount(observed.policy[has], observed.days[has] * value[has], number)
    mean: Floats = np.divide(total, days, out=np.full(number, np.nan), where=days > 0)
    return mean
