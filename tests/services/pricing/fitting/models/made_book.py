"""An experience made on the spot, with known effects: what the models are tested on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

AGE = {35: 0.0, 45: 0.30, 55: 0.60, 65: 1.0}
SEX = {"F": 0.0, "M": 0.15}
CONDITION = {"none": 0.0, "type2_diabetes": 0.35}
# Per % of HbA1c below the worst, on the log scale; flat below 7.0 %.
HBA1C = 0.20
WORST, BEST = 8.5, 7.0
CLAIM_MINOR = 900_000
YEARS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBook:
    """Segments and claims as `lipei pricing study` leaves them."""

    experience: pd.DataFrame
    claims: pd.DataFrame


def made_book(
    people: int, seed: int, *, rate: float = 0.4, frailty: float = 0.5, cause: str = "inpatient"
) -> MadeBook:
    """People observed for three years, one segment a year, with a frailty of their own.

    `frailty` is the variance of a person's own multiplier (gamma, mean 1); 0 makes the Poisson
    model true.
    """
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), YEARS)
    size = len(person)

    def drawn(levels: list[str]) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
        return np.array(levels)[random.integers(0, len(levels), people)][person]

    age = np.array([*AGE])[random.integers(0, len(AGE), people)][person]
    sex, condition = drawn([*SEX]), drawn([*CONDITION])
    control = random.uniform(6.0, WORST, people)[person]
    diabetic = condition == "type2_diabetes"
    worse = np.clip(control, BEST, WORST) - WORST
    log_rate = (
        np.log(rate)
        + pd.Series(age).map(AGE).to_numpy()
        + pd.Series(sex).map(SEX).to_numpy()
        + pd.Series(condition).map(CONDITION).to_numpy()
        + np.where(diabetic, HBA1C * worse, 0.0)
    )
    own = np.ones(people)
    if frailty:
        own = random.gamma(1 / frailty, frailty, people)
    days = random.integers(180, 366, size)
    exposure = days / 365.25
    count = random.poisson(exposure * np.exp(log_rate) * own[person])
    rows = np.repeat(np.arange(size), count)
    amount = np.ceil(random.gamma(1.5, CLAIM_MINOR / 1.5, len(rows)))
    first_day = pd.Timestamp("2023-01-01") + pd.to_timedelta(
        365 * np.tile(np.arange(YEARS), people), "D"
    )
    event_day = first_day[rows] + pd.to_timedelta(
        random.integers(0, 10**9, len(rows)) % days[rows], "D"
    )
    claims = pd.DataFrame(
        {
            "claim_id": [f"c{number:07d}" for number in range(len(rows))],
            "segment_id": rows.astype(np.int64),
            "person_id": [f"p{number:06d}" for number in person[rows]],
            "cause": cause,
            "event_day": event_day,
            "amount_minor": amount.astype(np.int64),
            "loss_minor": amount,
            "excess_minor": 0.0,
            "zero": False,
        }
    )
    experience = pd.DataFrame(
        {
            "segment_id": np.arange(size, dtype=np.int64),
            "person_id": [f"p{number:06d}" for number in person],
            "first_day": first_day,
            "after_day": first_day + pd.to_timedelta(days, "D"),
            "exposure": exposure,
            "age": age,
            "sex": sex,
            "condition": condition,
            "u_hba1c_percent": np.where(diabetic, control, np.nan),
            "holdout": "train",
            f"claims_{cause}": count,
            f"loss_{cause}_minor": np.bincount(rows, weights=amount, minlength=size),
            f"excess_{cause}_minor": 0.0,
            f"frequency_offset_{cause}": 1.0,
            f"severity_offset_{cause}": 1.0,
        }
    )
    return MadeBook(experience=experience, claims=claims)
