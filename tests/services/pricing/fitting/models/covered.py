"""Books whose relativities are known, and which intervals of their fitted tables hold them.

People have a frailty, so that their claims go together; a level's own effect is drawn anew in each
book, as credibility takes it to be. Everything that the fit would bound lies within its bounds:
what an interval is to hold is the truth itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from services.pricing.fitting.models.fit_result import CauseFit, CellFit, cell_title
from tests.services.pricing.fitting.models.fitting import fitted
from tests.services.pricing.fitting.models.made_book import MadeBook

PEOPLE, YEARS = 10_000, 3.0
FRAILTY = 0.9  # variance of a person's own multiplier, as that of RAND's people
NORMAL_95 = 1.959963984540054

# Two ages cost the same: what a direction pools is covered too.
AGES = {"30–39": 0.0, "40–49": 0.15, "50–59": 0.15, "60–69": 0.7, "70–79": 0.85}
# Few are in the last: levels of 30 to 300 claims beside those of thousands.
_SHARES = (0.30, 0.22, 0.15, 0.12, 0.10, 0.03, 0.03, 0.02, 0.015, 0.015)
PLANS = {f"p{number}": share for number, share in enumerate(_SHARES)}
DIABETES = 0.35
HBA1C = 0.15  # per band of half a per cent
_BANDS = ("3.0–6.9", "7.0–7.4", "7.5–7.9", "8.0–8.4", "8.5–20.0")
_MEAN, _SHAPE = 900_000, 1.5

SETTINGS = """\
fit:
  target_loss_ratio: none
  thin_claims: 200
  factors:
    age: {bands: ['30', '40', '50', '60', '70'], last: '79', monotone: rising, base: '60'}
    plan: {base: p0}
    condition: {base: none}
    hba1c:
      column: u_hba1c_percent
      feature: hba1c_percent
      places: 1
      bands: ['3.0', '7.0', '7.5', '8.0', '8.5']
      last: '20.0'
      monotone: rising
      applies_to: {feature: condition, levels: [type2_diabetes]}
      outcome: {flat_below: '7.0', one_reading_at_most: '0.90', least: '0.40'}
  causes:
    inpatient: {frequency: [age, plan, condition, hba1c], severity: [age]}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One cell of one book's table, and whether each of its intervals holds the truth."""

    table: str
    cell: str
    thin: bool
    raw: bool
    indicated: bool
    naive: bool  # control: the interval of raw, had Poisson's own errors been believed


def held(seed: int, *, rate: float, between: float) -> Iterator[Held]:
    """Every cell but the bases of a book of this seed.

    `rate` is the yearly number of claims where nothing raises it, `between` the standard deviation
    of a plan's own log effect.
    """
    book, truth = _book(np.random.default_rng(seed), rate, between)
    cause = fitted(book, SETTINGS).causes[0]
    for table in cause.tables:
        for cell in table.cells:
            name = cell_title(cell)
            true = truth[table.name].get(name)
            if true is None:
                continue
            yield Held(
                table=table.name,
                cell=name,
                thin=cell.thin,
                raw=_within(cell.raw_low95, true, cell.raw_high95),
                indicated=_within(cell.low95, true, cell.high95),
                naive=_naive(cause, table.name, cell, true),
            )


def _within(low: float | None, true: float, high: float | None) -> bool:
    return low is not None and high is not None and low <= true <= high


def _naive(cause: CauseFit, table: str, cell: CellFit, true: float) -> bool:
    found = [
        one.se_naive**2
        for model in (cause.frequency, cause.severity)
        for one in model.coefficients
        if (one.name, one.level) == (table, cell_title(cell))
    ]
    return cell.raw > 0 and abs(np.log(cell.raw / true)) <= NORMAL_95 * np.sqrt(sum(found))


def _book(
    random: np.random.Generator, rate: float, between: float
) -> tuple[MadeBook, dict[str, dict[str, float]]]:
    """A segment of three years for each person, with the true relativities of every table."""
    plans = random.normal(0.0, between, len(PLANS))
    age = random.integers(0, len(AGES), PEOPLE)
    plan = random.choice(len(PLANS), PEOPLE, p=[*PLANS.values()])
    diabetic = random.random(PEOPLE) < 0.4
    control = np.round(random.uniform(6.0, 9.5, PEOPLE), 1)
    band = np.searchsorted([7.0, 7.5, 8.0, 8.5], control, side="right")
    steps = HBA1C * np.arange(-4.0, 1.0)
    log_rate = (
        np.log(rate)
        + np.array([*AGES.values()])[age]
        + plans[plan]
        + np.where(diabetic, DIABETES + steps[band], 0.0)
    )
    own = random.gamma(1 / FRAILTY, FRAILTY, PEOPLE)
    count = random.poisson(YEARS * np.exp(log_rate) * own)
    rows = np.repeat(np.arange(PEOPLE), count)
    amount = np.ceil(random.gamma(_SHAPE, _MEAN / _SHAPE, len(rows)))
    persons = np.array([f"p{number:06d}" for number in range(PEOPLE)])
    claims = pd.DataFrame(
        {
            "claim_id": [f"c{number:07d}" for number in range(len(rows))],
            "segment_id": rows.astype(np.int64),
            "person_id": persons[rows],
            "cause": "inpatient",
            "loss_minor": amount,
            "excess_minor": 0.0,
            "zero": False,
        }
    )
    experience = pd.DataFrame(
        {
            "segment_id": np.arange(PEOPLE, dtype=np.int64),
            "person_id": persons,
            "exposure": YEARS,
            "age": 35 + 10 * age,
            "plan": np.array([*PLANS])[plan],
            "condition": np.where(diabetic, "type2_diabetes", "none"),
            "u_hba1c_percent": np.where(diabetic, control, np.nan),
            "holdout": "train",
            "claims_inpatient": count,
            "loss_inpatient_minor": np.bincount(rows, weights=amount, minlength=PEOPLE),
            "excess_inpatient_minor": 0.0,
            "frequency_offset_inpatient": 1.0,
            "severity_offset_inpatient": 1.0,
        }
    )
    base = AGES["60–69"]
    truth = {
        "age": {name: float(np.exp(log - base)) for name, log in AGES.items() if log != base},
        "plan": {
            name: float(np.exp(plans[place] - plans[0]))
            for place, name in enumerate(PLANS)
            if place
        },
        "condition": {"type2_diabetes": float(np.exp(DIABETES))},
        "hba1c": {
            name: float(np.exp(step)) for name, step in zip(_BANDS, steps, strict=True) if step
        },
    }
    return MadeBook(experience=experience, claims=claims), truth
