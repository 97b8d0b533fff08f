"""The 12-month outcome of a person as it is known on a day: u of CONVENTIONS B, from readings.

A month is assessed by the laboratory's HbA1c (its own month and the two before, the nearest
following one first), else by three filled slots of glucose or of paired blood pressure, as
services/pricing/core/months.py judges it. Its value is HbA1c in %, or the one that the slots' mean
glucose corresponds to, or the slots' mean systolic pressure in mmHg. A reading counts from the day
after its receipt, so that nothing received later changes what was known. Sums are of whole
millionths: the same readings in any order give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import pandas as pd

from services.pricing.core.incentive import DAYS_BEFORE_RENEWAL, WINDOW_MONTHS
from services.pricing.core.months import HBA1C_REACHES_BACK, SLOTS_NEEDED
from services.pricing.fitting.experience.tables import Connection, listed
from services.pricing.fitting.models.credibility import buhlmann_straub

# A glucose below this (mmol/L in tenths) fills no slot: it raises a coach's task.
LOW_GLUCOSE = 39
MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One outcome: its column in the experience, and the conditions that it is about."""

    column: str
    quantity: str
    conditions: tuple[str, ...]


HBA1C = Kind(column="u_hba1c_percent", quantity="hba1c", conditions=("type2_diabetes", "both"))
SYSTOLIC = Kind(column="u_systolic_mmhg", quantity="systolic", conditions=("hypertension", "both"))
KINDS = (HBA1C, SYSTOLIC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stratum:
    """What is frozen of one outcome and condition: m0, and the credibility of twelve months.

    `m0` is the mean over non-participants of each one's mean assessed month. `within` and `between`
    are EPV and VHM of months in the outcome's unit squared; `z` = 12 / (12 + EPV / VHM).
    """

    outcome: str
    condition: str
    m0: float
    people: int
    person_months: int
    within: float
    between: float
    k: float
    z: float
    warning: str = ""


# Month by month, what a slot counts: best provenance, then the earliest, then the smallest id.
_SLOTS = f"""
CREATE OR REPLACE TEMP TABLE slot_months AS
WITH pressure AS (
    -- Of a pressure both values count together, or neither; nor does a pair of which the lower
    -- value is not below the upper one. Of several at one time the smallest id stands.
    SELECT pid, effective_time, provenance, any_value(month) AS month, any_value(slot) AS slot,
        any_value(rank) AS rank,
        arg_min(reading_id, reading_id) FILTER (quantity = 'systolic') AS reading_id,
        arg_min(steps, reading_id) FILTER (quantity = 'systolic') AS steps
    FROM usable WHERE quantity IN ('systolic', 'diastolic')
    GROUP BY pid, effective_time, provenance
    HAVING arg_min(steps, reading_id) FILTER (quantity = 'diastolic')
        < arg_min(steps, reading_id) FILTER (quantity = 'systolic')
), candidate AS (
    SELECT 'hba1c' AS outcome, pid, month, slot, rank, effective_time, reading_id, steps
    FROM usable WHERE quantity = 'glucose' AND steps >= {LOW_GLUCOSE}
    UNION ALL
    SELECT 'systolic', pid, month, slot, rank, effective_time, reading_id, steps FROM pressure
), counted AS (
    SELECT outcome, pid, month, slot, steps, rank FROM candidate
    QUALIFY row_number() OVER (
        PARTITION BY outcome, pid, month, slot
        ORDER BY rank, effective_time, reading_id, steps) = 1
), standing AS (
    -- Where the hospital's alone fill three slots, those that the member controls do not count.
    SELECT * FROM counted
    QUALIFY rank = 0
        OR count_if(rank = 0) OVER (PARTITION BY outcome, pid, month) < {SLOTS_NEEDED}
)
SELECT outcome, pid, month, CAST(round(CASE outcome
    WHEN 'hba1c' THEN (sum(steps) / count(*) / 10 + 2.59) / 1.59 * {MILLION}
    ELSE sum(steps) / count(*) * {MILLION} END) AS BIGINT) AS value
FROM standing GROUP BY outcome, pid, month HAVING count(*) >= {SLOTS_NEEDED}
"""  # nosec B608 # names of ours
_LABORATORY = f"""
CREATE OR REPLACE TEMP TABLE laboratory AS
SELECT pid, month, received, effective_time, reading_id, steps * {MILLION // 10} AS value
FROM usable WHERE quantity = 'hba1c' AND provenance = 'LABORATORY'
"""  # nosec B608 # names of ours
# What is known on each asked day of each of the twelve months before it.
_KNOWN = f"""
CREATE OR REPLACE TEMP TABLE known AS
WITH windowed AS (
    SELECT pid, known_on, last_month,
        CAST(last_month - to_months({WINDOW_MONTHS - 1}) AS DATE) AS first_month
    FROM (
        SELECT pid, known_on, CAST(date_trunc('month', known_on - {DAYS_BEFORE_RENEWAL - 1})
            - to_months(1) AS DATE) AS last_month FROM asked
    )
), tested AS (
    SELECT w.pid, w.known_on, w.first_month, w.last_month, l.month, l.value
    FROM windowed w JOIN laboratory l ON l.pid = w.pid AND l.received < w.known_on
        AND l.month >= w.first_month
        AND l.month <= w.last_month + to_months({HBA1C_REACHES_BACK})
    QUALIFY row_number() OVER (PARTITION BY w.pid, w.known_on, l.month
        ORDER BY l.effective_time, l.reading_id, l.value) = 1
), reached AS (
    SELECT pid, known_on, CAST(month - to_months(CAST(back AS INTEGER)) AS DATE) AS month,
        arg_min(value, back) AS value
    FROM (SELECT *, unnest(range({HBA1C_REACHES_BACK + 1})) AS back FROM tested)
    WHERE month - to_months(CAST(back AS INTEGER)) BETWEEN first_month AND last_month
    GROUP BY ALL
)
SELECT 'hba1c' AS outcome, pid, known_on, month, value FROM reached
UNION ALL
SELECT s.outcome, s.pid, w.known_on, s.month, s.value
FROM slot_months s JOIN windowed w ON w.pid = s.pid
    AND s.month BETWEEN w.first_month AND w.last_month
LEFT JOIN reached r ON s.outcome = 'hba1c'
    AND r.pid = s.pid AND r.known_on = w.known_on AND r.month = s.month
WHERE r.pid IS NULL
"""  # nosec B608 # names of ours


def prepare(con: Connection) -> None:
    """Month by month what readings say, from the table `usable` (`checking.usable_readings`)."""
    con.execute(_SLOTS)
    con.execute(_LABORATORY)


def know(con: Connection, asked: str) -> None:
    """The table `known`: each assessed month of the window of each asked day, in millionths.

    `asked` is a query of (pid, known_on). Readings received on that day or later are not known.
    """
    con.execute(f"CREATE OR REPLACE TEMP TABLE asked AS {asked}")
    con.execute(_KNOWN)


def strata(
    con: Connection, *, frozen_before: date, m0: Mapping[tuple[str, str], float]
) -> list[Stratum]:
    """m0 and Z of each outcome and condition, from months before a day, holdout people left out.

    `m0` gives values that were frozen before; the others are estimated here.
    """
    # On the first day of each year from the next on, a year's months are known without overlap.
    know(
        con,
        f"""
        SELECT pid, CAST(make_date(year, 2, 15) AS DATE) AS known_on
        FROM persons, (
            SELECT unnest(range(min(year(month)) + 1, {frozen_before.year} + 1)) AS year
            FROM usable
        )
        """,  # nosec B608 # names of ours
    )
    yearly = con.execute(
        """
        SELECT outcome, k.pid, known_on, month, value, conditions AS condition,
            coalesce(joined <= month, false) AS participant
        FROM known k JOIN persons USING (pid) JOIN people USING (person_id)
        LEFT JOIN (
            SELECT person_id, min(first_day) AS joined FROM enrolments GROUP BY person_id
        ) USING (person_id)
        WHERE month < $before AND NOT held_out AND coalesce(month >= condition_since, true)
        ORDER BY outcome, pid, month
        """,
        {"before": frozen_before},
    ).df()
    return [
        _stratum(kind, condition, yearly, m0.get((kind.column, condition)))
        for kind in KINDS
        for condition in kind.conditions
    ]


def _stratum(kind: Kind, condition: str, months: pd.DataFrame, given: float | None) -> Stratum:
    mine = months[(months["outcome"] == kind.quantity) & (months["condition"] == condition)]
    outside = mine[~mine["participant"]].groupby("pid")["value"].mean() / MILLION
    warning = ""
    m0 = given
    if m0 is None:
        # To two places, as it is printed: so it can be frozen in pricing.yaml as it was used.
        m0 = round(float(outside.mean()), 2) if len(outside) else float("nan")
        if not len(outside):
            warning = "no assessed month of a non-participant: m0 is unknown, and so is u"
    clipped = (mine["value"] / MILLION).clip(upper=m0)
    by = clipped.groupby([mine["pid"], mine["known_on"]]).agg(["mean", "size"]).reset_index()
    within = between = float("nan")
    z = 0.0
    try:
        found = buhlmann_straub(by["pid"], by["mean"], by["size"])
        within, between = found.within, found.between
        z = WINDOW_MONTHS / (WINDOW_MONTHS + found.k)
    except ValueError as refused:
        warning = warning or f"Z is 0: {refused}"
    return Stratum(
        outcome=kind.column,
        condition=condition,
        m0=m0,
        people=len(outside),
        person_months=len(mine),
        within=within,
        between=between,
        k=within / between if between > 0 else float("inf"),
        z=z,
        warning=warning,
    )


def outcomes(con: Connection, frozen: list[Stratum]) -> pd.DataFrame:
    """Per pid, day and condition of the segments: u, and how many months were assessed.

    u = Z × mean(12 v) + (1 − Z) × m0 with v = min(the month's value, m0), and m0 for a month
    without assessment. Rows only for people of the stratum; `months_{outcome}` counts.
    """
    know(con, "SELECT DISTINCT pid, known_on FROM segments JOIN persons USING (person_id)")
    parts = []
    for one in frozen:
        kind = next(kind for kind in KINDS if kind.column == one.outcome)
        m0 = round(one.m0 * MILLION) if one.m0 == one.m0 else 0
        rows = con.execute(
            f"""
            SELECT a.pid, a.known_on, count(k.value) AS months,
                coalesce(sum(least(k.value, $m0)) FILTER (k.value IS NOT NULL), 0) AS total
            FROM asked a JOIN persons USING (pid) JOIN people USING (person_id)
            LEFT JOIN known k ON k.pid = a.pid AND k.known_on = a.known_on
                AND k.outcome = {listed([kind.quantity])}
            WHERE conditions = $condition
            GROUP BY a.pid, a.known_on ORDER BY a.pid, a.known_on
            """,  # nosec B608 # names of ours
            {"m0": m0, "condition": one.condition},
        ).df()
        total = rows["total"].astype("float64") + (WINDOW_MONTHS - rows["months"]) * m0
        mean = total / WINDOW_MONTHS / MILLION
        rows["u"] = one.z * mean + (1 - one.z) * one.m0
        rows["outcome"], rows["condition"] = one.outcome, one.condition
        parts.append(rows[["outcome", "condition", "pid", "known_on", "months", "u"]])
    return pd.concat(parts, ignore_index=True)


def forget(con: Connection) -> None:
    """Drop what only outcomes need: most of the memory of a study."""
    for name in ("usable", "slot_months", "laboratory", "known", "asked"):
        con.execute(f"DROP TABLE IF EXISTS {name}")
