"""People and their policy years: who they are, when they are covered, on what terms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.pricing.fitting.simulated.calendar import (
    Whole,
    at_most_28th,
    day_number,
    month_starts,
    years_later,
)
from services.pricing.fitting.simulated.truth import (
    CENTRE_AGE,
    CHRONIC_RANGES,
    COINSURANCES,
    REGIONS,
    Floats,
    Truth,
)

_COINSURANCE_SHARES = (0.4, 0.3, 0.2, 0.1)
_REGION_SHARES = (0.3, 0.3, 0.2, 0.2)
_YOUNGEST, _OLDEST = 18.0, 78.0
YEAR = 365.25
_CHANGES_TERMS = 0.2
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """One value per person; days since 1970-01-01, intervals half-open."""

    birth: Whole
    female: Floats
    region: Whole  # place in REGIONS
    coinsurance: Whole  # percent
    condition: Whole  # place in CONDITIONS, once they have it
    onset: Whole  # first day of the condition; 0: before everything
    careful: Floats
    frailty: Floats
    first_day: Whole  # of the first policy year
    observed_from: Whole
    observed_to: Whole
    deductible: Whole  # minor units, on the first policy
    changes_deductible: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.birth)

    @property
    def ranges(self) -> Floats:
        """Chronic ranges once they have their condition."""
        return np.array(CHRONIC_RANGES)[self.condition]


@dataclass(frozen=True, kw_only=True, slots=True)
class Policies:
    """One value per policy year; `person` is the place of the person."""

    person: Whole
    year: Whole  # 0 for a person's first
    first_day: Whole
    after_day: Whole
    entry_day: Whole
    deductible: Whole
    limit: Whole


def people(given: Truth, number: int, rng: np.random.Generator) -> People:
    """So many people, each observed for some time inside the study."""
    start, end = day_number(given.first_day), day_number(given.after_day)
    age = np.clip(rng.normal(50, 13, number), _YOUNGEST, _OLDEST)
    birth = (start - age * YEAR).astype(np.int64)
    condition, onset = _conditions(given, age, rng)
    shape = 1 / given.frailty_variance
    first, observed_to = _cover(given, number, rng)
    return People(
        birth=birth,
        female=(rng.random(number) < 0.5).astype(np.float64),
        region=rng.choice(len(REGIONS), number, p=_REGION_SHARES),
        coinsurance=rng.choice(COINSURANCES, number, p=_COINSURANCE_SHARES),
        condition=condition,
        onset=onset,
        careful=rng.standard_normal(number),
        frailty=rng.gamma(shape, 1 / shape, number),
        first_day=first,
        observed_from=np.maximum(first, start),
        observed_to=np.minimum(observed_to, end),
        deductible=rng.choice(given.deductibles_minor, number, p=given.deductible_shares),
        changes_deductible=rng.random(number) < _CHANGES_TERMS,
    )


def _conditions(given: Truth, age: Floats, rng: np.random.Generator) -> tuple[Whole, Whole]:
    """Place in CONDITIONS and first day of it; older people have more of both diseases."""
    older = (age - CENTRE_AGE) / 10
    pressure = rng.random(len(age)) < 1 / (1 + np.exp(-(-0.2 + 0.45 * older)))
    diabetes = rng.random(len(age)) < 1 / (1 + np.exp(-(-0.9 + 0.30 * older)))
    condition = np.where(diabetes, np.where(pressure, 3, 2), np.where(pressure, 1, 0))
    months = month_starts(given.after_day)
    inside = months[months >= day_number(given.first_day)][:-1]
    later = rng.random(len(age)) < given.onset_share
    onset = np.where(later & (condition > 0), rng.choice(inside, len(age)), 0)
    return condition.astype(np.int64), onset


def _cover(given: Truth, number: int, rng: np.random.Generator) -> tuple[Whole, Whole]:
    """First day of the first policy year, and the day after the last day of cover."""
    start, end = day_number(given.first_day), day_number(given.after_day)
    in_force = rng.integers(start - 364, start + 1, number)
    joining = rng.integers(start + 1, end - 180, number)
    late = rng.random(number) < given.late_entry_share
    first = at_most_28th(np.where(late, joining, in_force))
    over = np.full(number, _NEVER)
    for year in range(4):
        begins, ends = years_later(first, year), years_later(first, year + 1)
        seen = np.maximum(begins, start)
        lapses = rng.random(number) < given.lapse_a_year * (ends - seen) / YEAR
        at = seen + 1 + (rng.random(number) * (ends - seen - 1)).astype(np.int64)
        leaves = np.where(rng.random(number) < given.no_renewal, ends, _NEVER)
        over = np.minimum(over, np.where(ends > start, np.where(lapses, at, leaves), _NEVER))
    return first, np.minimum(over, years_later(first, 4))


def policies(given: Truth, who: People) -> Policies:
    """Every policy year of these people that the study sees some of."""
    start, end = day_number(given.first_day), day_number(given.after_day)
    raised, raised_limit = day_number(given.deductible_raised), day_number(given.limit_raised)
    parts = []
    for year in range(4):
        first, after = years_later(who.first_day, year), years_later(who.first_day, year + 1)
        # Cover that nobody ended runs on beyond the study: the policy year ends as agreed.
        ended = np.where(who.observed_to < end, np.minimum(after, who.observed_to), after)
        seen = (first < np.minimum(ended, end)) & (ended > start)
        deductible = who.deductible
        changed = who.changes_deductible & (first >= raised)
        deductible = np.where(
            changed, np.maximum(deductible, given.deductibles_minor[1]), deductible
        )
        limit = np.where(first >= raised_limit, given.limits_minor[1], given.limits_minor[0])
        columns = (first, ended, np.maximum(first, start), deductible, limit)
        place = np.flatnonzero(seen)
        parts.append((place, np.full(len(place), year), *(column[seen] for column in columns)))
    person, years, *rest = (np.concatenate(found) for found in zip(*parts, strict=True))
    order = np.lexsort((years, person))
    first, after, entry, deductible, limit = (column[order] for column in rest)
    return Policies(
        person=person[order],
        year=years[order],
        first_day=first,
        after_day=after,
        entry_day=entry,
        deductible=deductible,
        limit=limit,
    )
