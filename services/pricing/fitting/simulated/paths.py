"""True outcomes month by month, and who is in a programme when: both with missing as NaN or 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.pricing.fitting.simulated.calendar import Whole, day_number
from services.pricing.fitting.simulated.population import YEAR, People
from services.pricing.fitting.simulated.truth import (
    CENTRE_AGE,
    ENROLMENT,
    Floats,
    Truth,
)

# Monthly paths are held in 32 bits: 50,000 people by 51 months of two outcomes stay within 20 MB.
Path = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

_LEAST_HBA1C, _LEAST_SYSTOLIC = 4.5, 95.0
DIABETIC, HYPERTENSIVE = (2, 3), (1, 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """People by months; an outcome is NaN for who doesn't have the disease (yet)."""

    starts: Whole  # first day of each month, and the day after the last
    hba1c: Path
    systolic: Path
    enrolled: Flags
    enrolled_from: Whole  # first day in the programme, 0 for never
    enrolled_to: Whole  # first day outside again, or the study's end


def paths(given: Truth, who: People, starts: Whole, rng: np.random.Generator) -> Paths:
    """The true outcomes and enrolments of these people."""
    one = given.outcomes
    number = len(who)
    means = (
        one.hba1c_mean
        + one.hba1c_between * rng.standard_normal(number)
        + one.hba1c_careful * who.careful
    )
    hba1c = _path(means, one.hba1c_rho, one.hba1c_within, starts, rng)
    means = (
        one.systolic_mean
        + one.systolic_between * rng.standard_normal(number)
        + one.systolic_careful * who.careful
    )
    systolic = _path(means, one.systolic_rho, one.systolic_within, starts, rng)
    np.maximum(hba1c, np.float32(_LEAST_HBA1C), out=hba1c)
    np.maximum(systolic, np.float32(_LEAST_SYSTOLIC), out=systolic)
    has = who.onset[:, None] <= starts[None, :-1]
    hba1c[~(has & np.isin(who.condition, DIABETIC)[:, None])] = np.nan
    systolic[~(has & np.isin(who.condition, HYPERTENSIVE)[:, None])] = np.nan
    enrolled, since, until = _enrolments(given, who, starts, hba1c, systolic, rng)
    return Paths(
        starts=starts,
        hba1c=hba1c,
        systolic=systolic,
        enrolled=enrolled,
        enrolled_from=since,
        enrolled_to=until,
    )


def _path(
    means: Floats, rho: float, within: float, starts: Whole, rng: np.random.Generator
) -> Path:
    """A stationary AR(1) around each person's mean; `within` is its standard deviation."""
    months = len(starts) - 1
    found = np.empty((len(means), months), np.float32)
    state = rng.standard_normal(len(means), np.float32)
    fresh = np.float32(np.sqrt(1 - rho**2))
    for month in range(months):
        if month:
            state = np.float32(rho) * state + fresh * rng.standard_normal(len(means), np.float32)
        found[:, month] = means + within * state
    return found


def _enrolments(
    given: Truth, who: People, starts: Whole, hba1c: Path, systolic: Path, rng: np.random.Generator
) -> tuple[Flags, Whole, Whole]:
    """Who is enrolled in each month, and from when to when; once out, nobody returns."""
    number, months = hba1c.shape
    enrolled = np.zeros((number, months), np.bool_)
    since, until = np.zeros(number, np.int64), np.zeros(number, np.int64)
    fixed = (
        given.enrolment_logit
        + ENROLMENT["careful"] * who.careful
        + ENROLMENT["ln_frailty"] * np.log(np.maximum(who.frailty, 0.05))
    )
    inside, was = np.zeros(number, np.bool_), np.zeros(number, np.bool_)
    end = day_number(given.after_day)
    for month in range(months):
        begins = starts[month]
        covered = (who.observed_from <= begins) & (begins < who.observed_to)
        leaves = inside & ((rng.random(number) < given.leaving_a_month) | ~covered)
        until[leaves] = begins
        inside &= ~leaves
        control = np.fmax(hba1c[:, month] - 8, (systolic[:, month] - 145) / 10)
        ill = ~np.isnan(control)
        age = (begins - who.birth) / YEAR
        logit = fixed + ENROLMENT["age_10y"] * (age - CENTRE_AGE) / 10
        logit = logit + ENROLMENT["control"] * np.where(ill, control, 0)
        joins = covered & ill & ~was & (rng.random(number) < 1 / (1 + np.exp(-logit)))
        since[joins] = begins
        was |= joins
        inside |= joins
        enrolled[:, month] = inside
    until[inside] = end
    return enrolled, since, until
