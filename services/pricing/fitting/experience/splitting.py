"""Exposure: policy years cut into segments in which nothing that we rate by changes.

A segment is one person, policy, calendar year, reading window, condition and stay in a programme.
Days are half-open, the day of an event counts, and a policy's segments add up to its observed days
exactly: no day is lost, none is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pandas as pd

from services.pricing.fitting.experience.tables import Connection, identifier

DAYS_A_YEAR = 365.25

# Left truncation: before its entry day nobody would have told us of a claim of a policy.
_OBSERVED = """
CREATE OR REPLACE TEMP TABLE observed AS
SELECT policy_id, person_id, first_day, after_day, deductible_minor, limit_minor,
    greatest(first_day, coalesce(entry_day, first_day), $first) AS begins,
    least(after_day, $after) AS ends
FROM policies
WHERE greatest(first_day, coalesce(entry_day, first_day), $first) < least(after_day, $after)
"""
_CUTS = """
CREATE OR REPLACE TEMP TABLE cuts AS
SELECT policy_id, day, bool_or(opens) AS opens FROM (
    SELECT policy_id, CAST(begins + to_months(CAST($months * step AS INTEGER)) AS DATE) AS day,
        true AS opens
    FROM (SELECT policy_id, begins, unnest(range(0, 12 // $months)) AS step FROM observed)
    UNION ALL
    SELECT policy_id, make_date(year, 1, 1), false FROM (
        SELECT policy_id, unnest(range(year(begins) + 1, year(ends) + 1)) AS year FROM observed
    )
    UNION ALL
    SELECT policy_id, condition_since, false FROM observed JOIN people USING (person_id)
    UNION ALL
    SELECT policy_id, e.first_day, false FROM observed JOIN enrolments e USING (person_id)
    UNION ALL
    SELECT policy_id, e.after_day, false FROM observed JOIN enrolments e USING (person_id)
) JOIN observed USING (policy_id)
WHERE day >= begins AND day < ends
GROUP BY policy_id, day
"""
_SEGMENTS = """
CREATE OR REPLACE TEMP TABLE segments AS
WITH cut AS (
    SELECT policy_id, day AS first_day,
        lead(day) OVER in_order AS following,
        max(CASE WHEN opens THEN day END) OVER in_order AS known_on
    FROM cuts WINDOW in_order AS (PARTITION BY policy_id ORDER BY day)
), stays AS (
    SELECT DISTINCT policy_id, cut.first_day FROM cut JOIN observed USING (policy_id)
    JOIN enrolments e USING (person_id)
    WHERE e.first_day <= cut.first_day AND coalesce(e.after_day > cut.first_day, true)
)
SELECT
    row_number() OVER (ORDER BY o.person_id, cut.first_day, cut.policy_id) - 1 AS segment_id,
    o.person_id, cut.policy_id, cut.first_day, coalesce(following, ends) AS after_day,
    CAST(coalesce(following, ends) - cut.first_day AS INTEGER) AS exposure_days,
    CAST(year(cut.first_day) AS INTEGER) AS calendar_year,
    CAST(year(o.first_day) AS INTEGER) AS policy_year,
    CAST(year(cut.first_day) - year(birth_date) - CAST(
        (month(cut.first_day), day(cut.first_day)) < (month(birth_date), day(birth_date)) AS INTEGER
    ) AS INTEGER) AS age,
    sex, region,
    CASE WHEN condition_since > cut.first_day THEN 'none' ELSE conditions END AS condition,
    {factors}
    stays.policy_id IS NOT NULL AS participant, deductible_minor, limit_minor, known_on
FROM cut JOIN observed o ON o.policy_id = cut.policy_id
JOIN people ON people.person_id = o.person_id
LEFT JOIN stays ON stays.policy_id = cut.policy_id AND stays.first_day = cut.first_day
"""


def split(
    con: Connection, first_day: date, after_day: date, *, factors: Sequence[str], window_months: int
) -> None:
    """Cut the policies into the table `segments`, numbered by person, day and policy.

    `age` is completed years on the segment's first day, `policy_year` the year in which the policy
    year begins, `known_on` the day of the reading window whose outcome holds. `window_months`
    divides 12. Reads people, policies and enrolments; changes none.
    """
    days = {"first": first_day, "after": after_day}
    con.execute(_OBSERVED, days)
    con.execute(_CUTS, {"months": window_months})
    chosen = "".join(f"people.{identifier(factor)}, " for factor in factors)
    con.execute(_SEGMENTS.format(factors=chosen))


def exposure(con: Connection) -> pd.DataFrame:
    """Observed days and their sum over the segments: per policy the same, or the split is wrong."""
    return con.execute(
        """
        SELECT policy_id, CAST(ends - begins AS INTEGER) AS observed_days, split_days
        FROM observed LEFT JOIN (
            SELECT policy_id, CAST(sum(exposure_days) AS INTEGER) AS split_days
            FROM segments GROUP BY policy_id
        ) USING (policy_id) ORDER BY policy_id
        """
    ).df()


def attach_claims(con: Connection, valuation_day: date) -> None:
    """Each known claim with its segment into the table `attached`; outside all: segment NULL.

    A claim belongs to the segment of its policy that holds the day of the event. Claims reported
    on the valuation day or later are not known yet.
    """
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE attached AS
        SELECT c.claim_id, s.segment_id, c.person_id, c.policy_id, c.cause, c.event_day,
            c.report_day, c.amount_minor, c.ground_up_minor, s.deductible_minor, s.limit_minor
        FROM claims c LEFT JOIN segments s
            ON s.policy_id = c.policy_id
            AND c.event_day >= s.first_day AND c.event_day < s.after_day
        WHERE c.report_day < $valuation
        """,
        {"valuation": valuation_day},
    )
