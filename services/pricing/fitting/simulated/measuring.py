"""Readings of the true outcomes: laboratory, clinic and home, noisy and missing not at random.

Who is badly controlled is seen by laboratories and clinics more, and measures at home less. Some
people upload the best of four measurements of a slot; some skip the months in which it is bad.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.pricing.fitting.simulated.calendar import Whole, day_number
from services.pricing.fitting.simulated.paths import Flags, Path, Paths
from services.pricing.fitting.simulated.population import People
from services.pricing.fitting.simulated.truth import Floats, Truth

HBA1C, GLUCOSE, SYSTOLIC, DIASTOLIC = range(4)
LABORATORY, CLINIC, DEVICE, TYPED = range(4)
# LOINC code and UCUM unit by kind of reading.
CODES = ("4548-4", "15074-8", "8480-6", "8462-4")
UNITS = ("%", "mmol/L", "mm[Hg]", "mm[Hg]")

_DAY_S = 86_400
_ZONE_S = 8 * 3600  # China has one zone, without summer time
_SLOTS = 4
_SKIPPED = 0.1  # of bad months a skipper uploads this share
_BAD_HBA1C, _BAD_SYSTOLIC = 7.5, 140.0
_AT_HOME_IN_PROGRAMME = 0.9
_DEVICE_SHARE = 0.7
_TYPED_LATE_DAYS = 5
_LATE_SHARE, _LATE_DAYS = 0.02, 20
# The diastolic pressure follows the systolic one; nothing depends on it.
_DIASTOLIC_SHARE, _DIASTOLIC_NOISE = 0.6, 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """One value per reading; times in seconds of UTC; value in tenths for HbA1c and glucose."""

    person: Whole
    kind: Whole
    value: Whole  # tenths of HbA1c and glucose, whole mmHg
    effective: Whole
    received: Whole
    provenance: Whole


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """How each person measures at home; part of the truth."""

    at_home: Flags
    best_of_four: Flags
    skipper: Flags
    device: Flags


def habits(given: Truth, path: Paths, rng: np.random.Generator) -> Habits:
    """Who measures at home, uploads the best of four, skips bad months, owns a device."""
    number = len(path.hba1c)
    joined = path.enrolled_from > 0
    share = np.where(joined, _AT_HOME_IN_PROGRAMME, given.outcomes.home_share)
    at_home = rng.random(number) < share
    kind = rng.random(number)
    best = at_home & (kind < given.outcomes.best_of_four_share)
    skips = at_home & ~best & (kind > 1 - given.outcomes.skipper_share)
    device = rng.random(number) < _DEVICE_SHARE
    return Habits(at_home=at_home, best_of_four=best, skipper=skips, device=device)


def readings(
    given: Truth, who: People, path: Paths, habit: Habits, rng: np.random.Generator
) -> Readings:
    """Every reading received by the study's end, by person and time."""
    one = given.outcomes
    laboratory = _Seen(HBA1C, one.laboratory_logit, 0.3, 8, one.laboratory_noise, 0)
    clinic = _Seen(SYSTOLIC, one.clinic_logit, 0.02, 145, one.clinic_noise, one.clinic_bias)
    parts = [
        _seen(path, path.hba1c, laboratory, rng),
        *_pairs(_seen(path, path.systolic, clinic, rng), rng),
        _at_home(given, who, path, habit, GLUCOSE, rng),
        *_pairs(_at_home(given, who, path, habit, SYSTOLIC, rng), rng),
    ]
    person, kind, value, effective, received, provenance = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("person", "kind", "value", "effective", "received", "provenance")
    )
    known = received < day_number(given.after_day) * _DAY_S - _ZONE_S
    covered = effective < who.observed_to[person] * _DAY_S - _ZONE_S
    order = np.flatnonzero(known & covered)
    order = order[np.lexsort((kind[order], effective[order], person[order]))]
    return Readings(
        person=person[order],
        kind=kind[order],
        value=value[order],
        effective=effective[order],
        received=received[order],
        provenance=provenance[order],
    )


class _Seen(NamedTuple):
    """What a hospital measures: how often, by how ill a person is, and how well."""

    kind: int
    logit: float
    slope: float
    centre: float
    noise: float
    bias: float


def _seen(path: Paths, outcome: Path, one: _Seen, rng: np.random.Generator) -> Readings:
    """What a laboratory or clinic measures, at most once a month, more often of the badly ill."""
    chance = 1 / (1 + np.exp(-(one.logit + one.slope * (outcome - one.centre))))
    person, month = np.nonzero(rng.random(outcome.shape, np.float32) < chance)  # NaN is never below
    true = outcome[person, month].astype(np.float64)
    noise = one.noise * rng.standard_normal(len(person))
    day = path.starts[month] + (rng.random(len(person)) * 28).astype(np.int64)
    effective = _at(day, rng)
    received = effective + rng.integers(_DAY_S // 2, 3 * _DAY_S, len(person))
    provenance = LABORATORY if one.kind == HBA1C else CLINIC
    return Readings(
        person=person,
        kind=np.full(len(person), one.kind),
        value=_written(one.kind, true + one.bias + noise),
        effective=effective,
        received=received,
        provenance=np.full(len(person), provenance),
    )


def _at_home(
    given: Truth, who: People, path: Paths, habit: Habits, kind: int, rng: np.random.Generator
) -> Readings:
    """One reading a slot in the months in which a person measures."""
    one = given.outcomes
    outcome = path.hba1c if kind == GLUCOSE else path.systolic
    centre, per, bad = (8.0, 1.0, _BAD_HBA1C) if kind == GLUCOSE else (145.0, 10.0, _BAD_SYSTOLIC)
    who_measures = np.flatnonzero(habit.at_home & (who.observed_to > who.observed_from))
    mine = outcome[who_measures].astype(np.float64)
    covered = path.starts[None, 1:] > who.first_day[who_measures, None]
    inside = covered & (path.starts[None, :-1] < who.observed_to[who_measures, None])
    logit = one.home_logit + 0.5 * who.careful[who_measures, None] - 0.4 * (mine - centre) / per
    chance = np.where(inside, 1 / (1 + np.exp(-logit)), 0)
    chance = np.where(habit.skipper[who_measures, None] & (mine >= bad), _SKIPPED * chance, chance)
    place, month = np.nonzero(rng.random(mine.shape) < chance)
    place, month = np.repeat(place, _SLOTS), np.repeat(month, _SLOTS)
    slot = np.tile(np.arange(_SLOTS), len(place) // _SLOTS)
    kept = rng.random(len(place)) < 0.9
    place, month, slot = place[kept], month[kept], slot[kept]
    person = who_measures[place]
    tries = np.where(habit.best_of_four[person], 4, 1)
    level = 1.59 * mine[place, month] - 2.59 if kind == GLUCOSE else mine[place, month]
    noise = one.glucose_noise if kind == GLUCOSE else one.home_noise
    value = _written(kind, level + noise * _least_of(tries, rng))
    day = path.starts[month] + slot * 7 + (rng.random(len(person)) * 7).astype(np.int64)
    effective = _at(day, rng)
    device = habit.device[person]
    wait = np.where(
        device,
        rng.integers(10, 600, len(person)),
        rng.integers(60, _TYPED_LATE_DAYS * _DAY_S, len(person)),
    )
    late = rng.random(len(person)) < _LATE_SHARE
    return Readings(
        person=person,
        kind=np.full(len(person), kind),
        value=value,
        effective=effective,
        received=effective + wait + late * _LATE_DAYS * _DAY_S,
        provenance=np.where(device, DEVICE, TYPED),
    )


def _least_of(tries: npt.NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """The least of one or more standard normal draws, by the inverse of its distribution."""
    first = rng.standard_normal(len(tries))
    several = np.flatnonzero(tries > 1)
    more = rng.standard_normal((len(several), 3)).min(axis=1)
    first[several] = np.minimum(first[several], more)
    return first


def _pairs(upper: Readings, rng: np.random.Generator) -> tuple[Readings, Readings]:
    """A systolic pressure and the diastolic one of the same measurement."""
    drawn = _DIASTOLIC_SHARE * upper.value + _DIASTOLIC_NOISE * rng.standard_normal(
        len(upper.value)
    )
    lower = Readings(
        person=upper.person,
        kind=np.full(len(upper.person), DIASTOLIC),
        value=_written(DIASTOLIC, np.minimum(drawn, upper.value - 10)),
        effective=upper.effective,
        received=upper.received,
        provenance=upper.provenance,
    )
    return upper, lower


def _written(kind: int, value: Floats) -> Whole:
    """As a meter writes it: to the step of its unit, inside what it can show."""
    step, least, most = {
        HBA1C: (10, 35, 190),
        GLUCOSE: (10, 25, 330),
        SYSTOLIC: (1, 70, 260),
        DIASTOLIC: (1, 35, 160),
    }[kind]
    return np.clip(np.floor(value * step + 0.5), least, most).astype(np.int64)


def _at(day: Whole, rng: np.random.Generator) -> Whole:
    """A time between six and twenty-two of the day, in seconds of UTC."""
    return np.asarray(day * _DAY_S - _ZONE_S + rng.integers(6 * 3600, 22 * 3600, len(day)))
