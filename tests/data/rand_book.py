"""The RAND Health Insurance Experiment as a pricing folder: a company's CSV files and pricing.yaml.

Columns keep the experiment's own names, so that `columns` has something to map. Years are laid on
the calendar from 1975; an admission's cost is the year's inpatient dollars over its admissions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

SOURCE = "pricing/sampleSelection_RandHIE.csv.gz"
FIRST_YEAR = 1975
PRICING_YAML = """\
format: 1
book:
  currency: USD
  zone: America/New_York
  valuation_day: 1981-01-01
  causes: [inpatient]
  rating_factors: [coins, disea]
  tables:
    people:
      file: insured.csv
      columns: {person_id: zper, birth_date: born, conditions: chronic}
      values: {sex: {'0': M, '1': F}, conditions: {unknown: none}}
    policies:
      file: years.csv
      columns: {policy_id: zper_year, person_id: zper, first_day: begins, after_day: ends}
    claims:
      file: admissions.csv
      columns: {claim_id: number, person_id: zper, policy_id: zper_year, amount_minor: cents}
study:
  first_day: 1975-01-01
  after_day: 1981-01-01
  trend: {to_day: 1980-07-01, yearly: {}, source: none}
  development:
    inpatient: {counts: ['1'], amounts: ['1']}
    source: the experiment is closed
  large_loss_minor: {inpatient: 1000000}
  holdout: {last_year: false, person_share: '0.10'}
fit:
  target_loss_ratio: '0.75'
  loads: {fixed_expense_minor: 1500, variable_expense: '0.10', profit: '0.05'}
  factors:
    age:
      zh: 年龄
      en: age
      unit: {ucum: a, zh: 周岁, en: completed years}
      bands: ['0', '6', '18', '30', '40', '50']
      last: '69'
    sex:
      zh: 性别
      en: sex
      levels: {F: {zh: 女, en: female}, M: {zh: 男, en: male}}
    coinsurance:
      zh: 自付比例
      en: coinsurance
      column: coins
      feature: coinsurance_percent
      unit: {ucum: '%', zh: '%', en: '%'}
      bands: ['0', '1', '26', '51']
      last: '100'
      monotone: falling
    chronic_index:
      zh: 慢性病指数
      en: index of chronic disease
      column: disea
      places: 1
      rounded: true
      bands: ['0.0', '5.0', '10.0', '15.0', '25.0']
      last: '60.0'
      monotone: rising
  causes:
    inpatient:
      zh: 住院
      en: inpatient care
      frequency: [age, sex, coinsurance, chronic_index]
      severity: [age]
"""


def rand_folder(data: Path, folder: Path) -> Path:
    """The pricing folder, made of the table in DATA; who has no index of disease is left out."""
    rows = pd.read_csv(data / SOURCE)
    rows = rows[rows["disea"].notna() & rows["xage"].notna()]
    rows = rows.drop_duplicates(["zper", "year"]).sort_values(["zper", "year"])
    begins = pd.to_datetime((FIRST_YEAR + rows["year"]).astype(str) + "-01-01")
    first = rows.groupby("zper")["year"].transform("min") == rows["year"]
    days = np.maximum(np.rint(rows["time"].clip(upper=1.0) * 365).astype(int), 1)
    years = pd.DataFrame(
        {
            "zper_year": rows["zper"].astype(str) + "-" + rows["year"].astype(str),
            "zper": rows["zper"],
            "begins": begins.dt.date,
            "ends": (begins + pd.to_timedelta(days, "D")).dt.date,
            "deductible_minor": 0,
            "limit_minor": "",
            "premium_minor": 0,
            "currency": "USD",
        }
    )
    born = begins - pd.to_timedelta(np.rint(rows["xage"] * 365.25).clip(lower=0), "D")
    insured = pd.DataFrame(
        {
            "zper": rows["zper"],
            "born": born.dt.date,
            "sex": rows["female"].astype(int),
            "chronic": "unknown",
            "coins": rows["coins"],
            "disea": rows["disea"],
        }
    )[first]
    folder.mkdir(parents=True, exist_ok=True)
    book = folder / "book"
    book.mkdir()
    insured.to_csv(book / "insured.csv", index=False)
    years.to_csv(book / "years.csv", index=False)
    _admissions(rows, years, days).to_csv(book / "admissions.csv", index=False)
    (folder / "pricing.yaml").write_text(PRICING_YAML, "utf-8")
    return folder


def _admissions(rows: pd.DataFrame, years: pd.DataFrame, days: pd.Series[int]) -> pd.DataFrame:
    """One row per admission, spread over the days of the year; costs without one are left out."""
    place = np.repeat(np.arange(len(rows)), rows["totadm"].to_numpy())
    nth = np.arange(len(place)) - np.searchsorted(place, place)
    chosen = rows.iloc[place]
    cents = np.rint(chosen["inpdol"] / chosen["totadm"] * 100).astype(int).to_numpy()
    within = ((nth + 0.5) / chosen["totadm"].to_numpy() * days.to_numpy()[place]).astype(int)
    begins = pd.to_datetime(years["begins"]).to_numpy()[place]
    day = pd.Series(begins + pd.to_timedelta(within, "D").to_numpy()).dt.date
    return pd.DataFrame(
        {
            "number": [f"k{number:05d}" for number in range(len(place))],
            "zper": chosen["zper"].to_numpy(),
            "zper_year": years["zper_year"].to_numpy()[place],
            "cause": "inpatient",
            "event_day": day,
            "report_day": day,
            "cents": cents,
        }
    )
