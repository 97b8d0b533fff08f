"""How far ways of pricing control lie from what people truly cost, on one simulated book.

One demographic tariff, several ways beside it, each balanced to the true cost in total, for every
deductible. Judged on the year held out, on diabetics of whom half of the months were assessed.
`python -m tests.services.pricing.fitting.models.mispriced` prints the table of docs/tariffs.md.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from services.common.strict_yaml import YamlMap, load
from services.pricing.fitting.book_settings import BOOK, BookSettings
from services.pricing.fitting.experience import outcome
from services.pricing.fitting.experience.checking import usable_readings
from services.pricing.fitting.experience.settings import STUDY, StudySettings
from services.pricing.fitting.experience.study import study
from services.pricing.fitting.experience.tables import open_book
from services.pricing.fitting.models.cause import relativities
from services.pricing.fitting.models.coding import coded
from services.pricing.fitting.models.design import Floats
from services.pricing.fitting.models.fit import fit
from services.pricing.fitting.models.fit_result import Fit
from services.pricing.fitting.models.settings import TEMPLATE, FitSettings, read_fit
from services.pricing.fitting.section import Section
from services.pricing.fitting.simulated.book import simulate
from services.pricing.fitting.simulated.settings import SimulateSettings
from services.pricing.fitting.simulated.truth import hba1c_excess, truth
from tests.services.pricing.fitting.models.fitting import ABOUT

PEOPLE = 40_000
SEEDS = (3, 4, 5, 6, 7)
ASSESSED = 6
TARGET = 7.0
# 3, 6 or 10 % for one, two, three and more months on target in a row.
_PROMISED = (0.0, 0.03, 0.06, 0.10)
_MOVED = 0.5  # % of HbA1c, true, between two policy years
_REGION = """\
    region:
      levels:
        north: {zh: 北, en: north}
        east: {zh: 东, en: east}
        south: {zh: 南, en: south}
        west: {zh: 西, en: west}
      zh: 地区
      en: region
    coinsurance:
"""
# Every risk factor of the simulated world, so that what is left is control; bands as fine as m0 of
# about 8.26 % wants them, and bounds that do not bind: what the data say.
_FIT = (
    TEMPLATE.replace("'0.70'", "none", 1)
    .replace("'7.0', '7.5', '8.0']", "'7.0', '7.5', '8.0', '8.2']")
    .replace("one_reading_at_most: '0.14'", "one_reading_at_most: '1'")
    .replace("one_reading_at_most: '0.08'", "one_reading_at_most: '1'")
    .replace("least: '0.87'", "least: '0.60'")
    .replace("least: '0.92'", "least: '0.60'")
    .replace("    coinsurance:\n", _REGION, 1)
    .replace("'0', '1', '26', '51'", "'0', '1', '11', '26'")
    .replace("[age, sex, condition, coinsurance,", "[age, sex, condition, region, coinsurance,")
    .replace("severity: [age, sex]", "severity: [age, sex, condition]")
    .replace("severity: [age]", "severity: [age, condition]")
)

# Group of people → way of pricing → mean of |premium / cost − 1|, and of premium / cost − 1.
Found = Mapping[str, Mapping[str, tuple[float, float]]]


def mispriced(seed: int, people: int = PEOPLE) -> Found:
    """Each group by each way of pricing, on the book of this seed.

    "shuffled" is the full tariff with the outcomes of other people: the control. "truth" credits
    just what the true HbA1c is worth below m0: what a layer that only credits can reach at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        experience, claims, truths, months, m0 = _book(seed, people, Path(folder))
    chosen = read_fit(Section(load(_FIT, "fit")["fit"], "fit", []))
    tariff = fit(experience, claims, chosen, ABOUT)
    rows = _judged(experience, truths, m0)
    latest, run = _latest_and_run(rows, months)
    promised = 1 - np.array(_PROMISED)[np.minimum(run, len(_PROMISED) - 1).astype(int)]
    other = np.random.default_rng(seed).permutation(len(rows))

    def at(u: pd.Series[float] | Floats) -> Floats:
        return _premiums(tariff, chosen, rows.assign(u_hba1c_percent=u))

    none, full = at(rows["m0"]), at(rows["u_hba1c_percent"])
    by_latest = at(np.where(np.isnan(latest), rows["m0"], np.fmin(latest, rows["m0"])))
    shuffled = at(np.fmin(rows["u_hba1c_percent"].to_numpy()[other], rows["m0"]))
    priced = {
        "one price": np.ones(len(rows)),
        "flat": none,
        "rule": none * promised,
        "latest": by_latest,
        "latest and rule": by_latest * promised,
        "full": np.minimum(full, none * promised),
        "shuffled": shuffled,
        "truth": none * rows["credit"].to_numpy(),
    }
    off = {name: _off(premium, rows) for name, premium in priced.items()}
    weight = rows["exposure"].to_numpy()
    return {
        group: {
            name: (
                float(np.average(np.abs(one[held]), weights=weight[held])),
                float(np.average(one[held], weights=weight[held])),
            )
            for name, one in off.items()
        }
        for group, held in _groups(rows, run).items()
    }


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean over seeds and its 95 % interval by Student's t."""
    mean = float(np.mean(values))
    margin = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, mean - margin, mean + margin


def _settings() -> tuple[BookSettings, StudySettings]:
    empty = YamlMap()
    empty.line, empty.lines = 1, {}
    book = BOOK.read(Section(empty, "book", []))
    given = STUDY.read(Section(empty, "study", []))
    assert isinstance(book, BookSettings)
    assert isinstance(given, StudySettings)
    trend = dict.fromkeys(book.causes, ((date(2000, 1, 1), 0.06),))
    return book, replace(given, trend=trend)


def _book(
    seed: int, people: int, folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, float]]:
    simulate(SimulateSettings(people=people, seed=seed), folder, lambda _done, _total: None)
    book, given = _settings()
    con = open_book(folder, book)
    done = study(con, book, given, lambda _done, _step: None)
    usable_readings(con, book)
    outcome.prepare(con)
    months = con.sql(
        "SELECT person_id, year(month) * 12 + month(month) AS month, min(value) / 1e6 AS value"
        " FROM (SELECT pid, month, value FROM slot_months WHERE outcome = 'hba1c'"
        " UNION ALL SELECT pid, month, value FROM laboratory) JOIN persons USING (pid)"
        " GROUP BY ALL"
    ).df()
    truths = pd.read_parquet(folder / "truth_policies.parquet")
    policies = pd.read_parquet(folder / "policies.parquet", columns=["policy_id", "person_id"])
    truths = truths.merge(policies, on="policy_id")
    truths = truths.merge(pd.read_parquet(folder / "truth_people.parquet"), on="person_id")
    joined = pd.read_parquet(folder / "enrolments.parquet", columns=["person_id"])
    truths["joined"] = truths["person_id"].isin(joined["person_id"])
    m0 = {one.condition: one.m0 for one in done.strata if one.outcome == "u_hba1c_percent"}
    return done.experience.to_pandas(), done.claims.to_pandas(), truths, months, m0


def _judged(
    experience: pd.DataFrame, truths: pd.DataFrame, m0: Mapping[str, float]
) -> pd.DataFrame:
    """Segments to be judged, each with its policy's true daily cost and what credit is deserved.

    Who joins a programme is frailer on average (the simulated world says so, and claims show it):
    the mean frailty of those who ever join, and of those who don't, is part of the cost.
    """
    paid = [str(name) for name in truths if str(name).startswith("expected_paid_")]
    by_person = truths.drop_duplicates("person_id")
    frail = by_person.groupby("joined")["frailty"].mean()
    each = truths[paid].sum(axis=1) / truths["days"]
    truths = truths.assign(
        cost=each * truths["joined"].map(frail),
        before=truths.groupby("person_id")["true_hba1c_percent"].shift(),
        inpatient=truths["expected_paid_inpatient_minor"] / truths[paid].sum(axis=1),
        outpatient=truths["expected_paid_outpatient_minor"] / truths[paid].sum(axis=1),
    )
    columns = ["policy_id", "cost", "true_hba1c_percent", "before", "inpatient", "outpatient"]
    columns += ["best_of_four", "skips_bad_months"]
    rows = experience.merge(truths[columns], on="policy_id")
    rows["m0"] = rows["condition"].map(m0)
    rows = rows[
        (rows["holdout"] == "last_year")
        & (rows["months_hba1c"] >= ASSESSED)
        & rows["true_hba1c_percent"].notna()
    ].reset_index(drop=True)
    given = truth().frequency
    true, at_m0 = rows["true_hba1c_percent"].to_numpy(), rows["m0"].to_numpy()
    below = hba1c_excess(np.minimum(true, at_m0)) - hba1c_excess(at_m0)
    left = 1 - rows["inpatient"] - rows["outpatient"]
    rows["credit"] = left + sum(
        rows[name] * np.exp(given[name].hba1c * below) for name in ("inpatient", "outpatient")
    )
    return rows


def _groups(rows: pd.DataFrame, run: Floats) -> dict[str, NDArray[np.bool_]]:
    moved = (rows["true_hba1c_percent"] - rows["before"]).to_numpy()
    return {
        "all": np.ones(len(rows), dtype=np.bool_),
        "better controlled than m0": (rows["true_hba1c_percent"] < rows["m0"]).to_numpy(),
        "improved by 0.5 % or more": moved <= -_MOVED,
        "worsened by 0.5 % or more": moved >= _MOVED,
        "upload the best of four": rows["best_of_four"].to_numpy(),
        "skip bad months": rows["skips_bad_months"].to_numpy(),
        "three months on target": run >= 3,
    }


def _premiums(found: Fit, given: FitSettings, rows: pd.DataFrame) -> Floats:
    """The yearly pure premium of each row."""
    codes = coded(given.factors.values(), rows)
    total = np.zeros(len(rows))
    for cause in found.causes:
        premium = np.full(len(rows), float(cause.base_e4))
        for table in cause.tables:
            premium *= relativities(codes[table.name], table)
        total += premium
    return total + found.large_loss_load_e4


def _latest_and_run(rows: pd.DataFrame, months: pd.DataFrame) -> tuple[Floats, Floats]:
    """The last assessed month's value in the year before, and the longest run on target."""
    last = rows["first_day"].dt.year * 12 + rows["first_day"].dt.month - 2
    asked = pd.DataFrame(
        {"person_id": rows["person_id"], "row": np.arange(len(rows)), "last": last}
    )
    known = asked.merge(months, on="person_id")
    known = known[(known["month"] <= known["last"]) & (known["month"] > known["last"] - 12)]
    known = known.sort_values(["row", "month"])
    latest = known.groupby("row")["value"].last().reindex(asked["row"])
    good = known[known["value"] < TARGET]
    run = good["month"] - good.groupby("row").cumcount()
    longest = good.groupby([good["row"], run]).size().groupby("row").max().reindex(asked["row"])
    return np.asarray(latest, dtype=np.float64), np.asarray(longest.fillna(0), dtype=np.float64)


def _off(premium: Floats, rows: pd.DataFrame) -> Floats:
    """Premium / true cost − 1, balanced in total for each deductible."""
    weight, cost = rows["exposure"].to_numpy(), rows["cost"].to_numpy()
    balanced = np.asarray(premium, dtype=np.float64).copy()
    for places in rows.groupby("deductible_minor").indices.values():
        total = (balanced * weight)[places].sum()
        balanced[places] *= (cost * weight)[places].sum() / total
    return np.asarray(balanced / cost - 1, dtype=np.float64)


def main() -> None:
    """Print the table: mean mispricing with its interval over seeds, and the mean of its sign."""
    found = [mispriced(seed) for seed in SEEDS]
    ways = list(found[0]["all"])
    lines = [f"| | {' | '.join(ways)} |", "|---|" + "---|" * len(ways)]
    for group in found[0]:
        cells = []
        for way in ways:
            mean, low, _ = interval([100 * one[group][way][0] for one in found])
            sign = np.mean([100 * one[group][way][1] for one in found])
            cells.append(f"{mean:.1f} ± {mean - low:.1f} ({sign:+.1f})")
        lines.append(f"| {group} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
