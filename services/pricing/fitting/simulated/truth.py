"""The truth of the simulated book: its parameters, their sources, and what they make expected.

Slopes of age, sex, chronic disease and coinsurance, the rates of visits and admissions, dispersions
and the frailty's variance are estimates from the RAND Health Insurance Experiment's public-use
table, adults only; `python -m tests.data.rand_hie_slopes FOLDER` derives them. Everything in yuan
and everything about readings is a declared assumption, fitted to no data.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]

RAND = "RAND Health Insurance Experiment, adults; tests/data/rand_hie_slopes.py"
ASSUMED = "declared assumption, fitted to no data"
LABEL = "SYNTHETIC: simulated people, not for sale / 合成数据：模拟人群，不得用于销售"

CAUSES = ("inpatient", "outpatient", "injury")
SEXES = ("F", "M")
CONDITIONS = ("none", "hypertension", "type2_diabetes", "both")
REGIONS = ("north", "east", "south", "west")
COINSURANCES = (0, 10, 25, 50)
# How many inter-quartile ranges (10 points) of RAND's index of chronic disease a condition stands
# for among adults, where the index' quartiles are 6.9 and 17.2.
CHRONIC_RANGES = (0.0, 1.0, 1.0, 2.0)


class Frequency(msgspec.Struct, frozen=True, kw_only=True):
    """Log-linear expected claims a year: the base rate and the coefficients of its logarithm.

    The base is a man of 45 without a condition, without coinsurance, in the north.
    """

    base_rate: float
    age_10y: float  # per ten years of exact age from 45
    female: float
    chronic: float  # per inter-quartile range of the chronic index: CHRONIC_RANGES
    ln_coinsurance: float  # of ln(1 + coinsurance in percent)
    region: Mapping[str, float]
    hba1c: float  # per 1 % of true HbA1c above 6.5, up to 11, of people with diabetes
    systolic_10: float  # per 10 mmHg of true systolic pressure above 125, up to 185
    programme: bool  # whether a programme can affect it


class Severity(msgspec.Struct, frozen=True, kw_only=True):
    """Ground-up amount of one claim: Gamma around a log-linear mean, 1 % of claims from a Pareto.

    The mean is of the Gamma part, in minor units at the level of the trend's first day.
    """

    mean_minor: float
    age_10y: float
    female: float
    chronic: float
    dispersion: float  # variance / mean² of the Gamma part
    mean_delay_days: float  # of the report, exponential


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """True monthly HbA1c (%) and systolic pressure (mmHg), and how they are measured.

    Each is a person's own mean plus an AR(1) path; carefulness is a person's standard normal trait
    that lowers both and favours enrolling and measuring.
    """

    hba1c_mean: float = 8.2
    hba1c_between: float = 0.9
    hba1c_careful: float = -0.3
    hba1c_rho: float = 0.85
    hba1c_within: float = 0.6
    systolic_mean: float = 147.0
    systolic_between: float = 9.0
    systolic_careful: float = -3.0
    systolic_rho: float = 0.80
    systolic_within: float = 7.0
    laboratory_noise: float = 0.15  # % HbA1c
    glucose_noise: float = 1.8  # mmol/L, one reading around the month's mean
    home_noise: float = 7.0  # mmHg
    clinic_noise: float = 8.0
    clinic_bias: float = 5.0  # the white coat's
    home_share: float = 0.08  # of people outside a programme who measure at home
    best_of_four_share: float = 0.08  # of people who measure at home
    skipper_share: float = 0.15
    laboratory_logit: float = -2.3  # of a laboratory HbA1c in a month; + 0.3 per 1 % above 8
    clinic_logit: float = -1.9  # of a clinic's blood pressure; + 0.2 per 10 mmHg above 145
    home_logit: float = 1.2  # of measuring in a month; + 0.5 careful, - 0.4 per 1 % or 10 mmHg


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, as truth.json says it."""

    frequency: Mapping[str, Frequency]
    severity: Mapping[str, Severity]
    outcomes: Outcomes
    frailty_variance: float
    programme_effect: float  # rate ratio on the causes that a programme can affect
    enrolment_logit: float = -5.0  # of a month; the rest: `ENROLMENT`
    leaving_a_month: float = 0.02
    pareto_share: float = 0.01
    pareto_alpha: float = 2.2
    pareto_from: float = 10.0  # multiples of the Gamma part's mean
    yearly_trend: float = 0.06  # of amounts, continuous in time from `first_day`
    lapse_a_year: float = 0.05
    no_renewal: float = 0.04
    late_entry_share: float = 0.15
    onset_share: float = 0.05  # of people with a condition who get it during the study
    reported_below_deductible: float = 0.3
    deductibles_minor: tuple[int, ...] = (0, 10_000, 30_000)
    deductible_shares: tuple[float, ...] = (0.5, 0.3, 0.2)
    deductible_raised: date = date(2025, 1, 1)  # from here on policies have at least the second
    limits_minor: tuple[int, int] = (50_000_000, 100_000_000)
    limit_raised: date = date(2024, 7, 1)
    first_day: date = date(2023, 1, 1)
    after_day: date = date(2026, 1, 1)


# Enrolling is confounded: older people, badly controlled, careful and frail ones enrol more.
ENROLMENT = {"age_10y": 0.25, "control": 0.35, "careful": 0.5, "ln_frailty": 0.05}
_REGIONS = {"north": 0.0, "east": 0.10, "south": 0.05, "west": -0.10}
_HBA1C, _SYSTOLIC = (6.5, 11.0), (125.0, 185.0)
CENTRE_AGE = 45


def truth(programme_effect: float = 1.0) -> Truth:
    """The truth of a book whose programme has this rate ratio on inpatient and outpatient care."""
    frequency = {
        "inpatient": Frequency(
            base_rate=0.1162,
            age_10y=0.0268,
            female=0.4618,
            chronic=0.2411,
            ln_coinsurance=-0.0613,
            region=_REGIONS,
            hba1c=0.18,
            systolic_10=0.12,
            programme=True,
        ),
        "outpatient": Frequency(
            base_rate=2.6958,
            age_10y=0.1064,
            female=0.3222,
            chronic=0.3032,
            ln_coinsurance=-0.0715,
            region=_REGIONS,
            hba1c=0.08,
            systolic_10=0.05,
            programme=True,
        ),
        "injury": Frequency(
            base_rate=0.03,
            age_10y=0.05,
            female=-0.20,
            chronic=0.0,
            ln_coinsurance=0.0,
            region=dict.fromkeys(_REGIONS, 0.0),
            hba1c=0.0,
            systolic_10=0.0,
            programme=False,
        ),
    }
    severity = {
        "inpatient": Severity(
            mean_minor=850_000,
            age_10y=0.0889,
            female=0.0532,
            chronic=-0.0157,
            dispersion=0.5544,
            mean_delay_days=30,
        ),
        "outpatient": Severity(
            mean_minor=26_000,
            age_10y=0.0147,
            female=-0.0161,
            chronic=-0.0217,
            dispersion=1.3303,
            mean_delay_days=45,
        ),
        "injury": Severity(
            mean_minor=380_000,
            age_10y=0.0,
            female=0.0,
            chronic=0.0,
            dispersion=0.5544,
            mean_delay_days=60,
        ),
    }
    return Truth(
        frequency=frequency,
        severity=severity,
        outcomes=Outcomes(),
        frailty_variance=0.8688,
        programme_effect=programme_effect,
    )


def hba1c_excess(true_hba1c: Floats) -> Floats:
    """What of a true HbA1c counts: % above 6.5, at most 4.5; none where it is NaN."""
    return np.nan_to_num(np.clip(true_hba1c, *_HBA1C) - _HBA1C[0])


def systolic_excess_10(true_systolic: Floats) -> Floats:
    """What of a true systolic pressure counts: tens of mmHg above 125, at most 6."""
    return np.nan_to_num(np.clip(true_systolic, *_SYSTOLIC) - _SYSTOLIC[0]) / 10


def log_person_rate(
    one: Frequency, *, female: Floats, coinsurance_percent: Floats, region: Floats
) -> Floats:
    """Logarithm of the yearly rate by what does not change; `region` holds places in REGIONS."""
    by_region = np.array([one.region[name] for name in REGIONS])
    return np.asarray(
        np.log(one.base_rate)
        + one.female * female
        + one.ln_coinsurance * np.log1p(coinsurance_percent)
        + by_region[region.astype(np.int64)]
    )


def log_time_rate(
    one: Frequency,
    *,
    age: Floats,
    chronic_ranges: Floats,
    hba1c: Floats,
    systolic: Floats,
    enrolled: Floats,
    programme_effect: float,
) -> Floats:
    """Logarithm of what multiplies the rate at a time: age, condition, outcomes, programme."""
    found: Floats = one.age_10y * (age - CENTRE_AGE) / 10 + one.chronic * chronic_ranges
    if one.hba1c:
        found += one.hba1c * hba1c_excess(hba1c)
    if one.systolic_10:
        found += one.systolic_10 * systolic_excess_10(systolic)
    if one.programme and programme_effect != 1:
        found += np.log(programme_effect) * enrolled
    return found


def gamma_mean(one: Severity, *, age: Floats, female: Floats, chronic_ranges: Floats) -> Floats:
    """Mean of the Gamma part of a claim, minor units at the level of the trend's first day."""
    slope = one.age_10y * (age - CENTRE_AGE) / 10 + one.female * female
    return np.asarray(one.mean_minor * np.exp(slope + one.chronic * chronic_ranges))


def mean_multiple(given: Truth) -> float:
    """Mean of a claim, tail included, as a multiple of its Gamma part's mean."""
    tail = given.pareto_from * given.pareto_alpha / (given.pareto_alpha - 1)
    return 1 - given.pareto_share + given.pareto_share * tail


def expected_paid(
    given: Truth, cause: str, *, mean: Floats, deductible: Floats, limit: Floats
) -> Floats:
    """Expected payment of one ground-up claim: E[min(X, limit) - min(X, deductible)].

    `mean` is the Gamma part's at the claim's own day, trend included; all in minor units.
    """
    return _limited(given, cause, mean, limit) - _limited(given, cause, mean, deductible)


def _limited(given: Truth, cause: str, mean: Floats, limit: Floats) -> Floats:
    """E[min(X, limit)] of the mixture of Gamma and Pareto."""
    shape = 1 / given.severity[cause].dispersion
    multiple = limit / mean
    scaled = multiple * shape
    gamma = special.gammainc(shape + 1, scaled) + multiple * special.gammaincc(shape, scaled)
    start, alpha = given.pareto_from, given.pareto_alpha
    above = np.maximum(multiple, start)
    tail = start + start / (alpha - 1) * (1 - (start / above) ** (alpha - 1))
    pareto = np.where(multiple <= start, multiple, tail)
    return np.asarray(mean * ((1 - given.pareto_share) * gamma + given.pareto_share * pareto))
