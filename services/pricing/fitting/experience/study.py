"""The experience study: one row per segment, one per claim, and what was assumed on the way.

Nothing counts twice: late reporting and cover changes of the number of claims stand in
`frequency_offset_{cause}`, cover changes of the amount in `severity_offset_{cause}`, trend and the
development of reported amounts inside `loss_{cause}_minor`. Expected frequency is exposure ×
frequency offset × exp(Xb), expected severity is severity offset × exp(Xb).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from services.pricing.fitting.book_settings import BookSettings
from services.pricing.fitting.experience import outcome
from services.pricing.fitting.experience.cause import CauseStudy, study_cause
from services.pricing.fitting.experience.checking import usable_readings
from services.pricing.fitting.experience.outcome import Stratum
from services.pricing.fitting.experience.settings import StudySettings
from services.pricing.fitting.experience.splitting import DAYS_A_YEAR, attach_claims, split
from services.pricing.fitting.experience.tables import Connection

STEPS = (
    "split exposure",
    "read outcomes",
    "freeze m0 and credibility",
    "outcomes of every window",
    "attach claims",
    "trend, development and cover",
    "put together",
)
Progress = Callable[[int, str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """The experience and its claims as Arrow tables (`.to_pandas()`), and all that was assumed."""

    experience: Any
    claims: Any
    strata: tuple[Stratum, ...]
    causes: tuple[CauseStudy, ...]
    outside: dict[str, int]  # claims that no segment holds, by reason
    warnings: tuple[str, ...]


def study(
    con: Connection, book: BookSettings, settings: StudySettings, progress: Progress
) -> Study:
    """Study a book that `tables` has opened and `checking` has found without fault that stops.

    Raises: NothingToStudy when no policy is observed in the study's days.
    """
    tell = itertools.count()

    def step() -> None:
        place = next(tell)
        progress(place, STEPS[place])

    step()
    after = min(settings.after_day, book.valuation_day)
    _number_people(con, settings)
    factors = _factors(con, book)
    months = settings.reading_window_months
    split(con, settings.first_day, after, factors=factors, window_months=months)
    segments = con.sql(
        "SELECT segments.*, pid, held_out FROM segments JOIN persons USING (person_id)"
        " ORDER BY segment_id"
    ).to_arrow_table()
    if not segments.num_rows:
        raise NothingToStudy(settings.first_day, after)
    step()
    usable_readings(con, book)
    outcome.prepare(con)
    step()
    last_year = (after - timedelta(days=1)).year
    frozen_before = date(last_year, 1, 1) if settings.holdout_last_year else after
    strata = outcome.strata(con, frozen_before=frozen_before, m0=settings.m0)
    step()
    known = outcome.outcomes(con, strata)
    outcome.forget(con)
    step()
    attach_claims(con, book.valuation_day)
    attached = con.sql(
        "SELECT * EXCLUDE (policy_id, limit_minor) FROM attached WHERE segment_id IS NOT NULL"
        " ORDER BY segment_id, event_day, claim_id"
    ).to_arrow_table()
    outside = _outside(con, settings, after)
    step()
    light = _light(segments)
    claims = _claims_frame(attached)
    causes = tuple(
        study_cause(name, claims, light, settings, book.valuation_day) for name in book.causes
    )
    step()
    experience = _experience(segments, light, known, causes, last_year, settings)
    return Study(
        experience=experience,
        claims=_claims(attached, causes),
        strata=tuple(strata),
        causes=causes,
        outside=outside,
        warnings=tuple(
            text
            for texts in (
                _of_strata(strata),
                (text for one in causes for text in one.warnings),
            )
            for text in texts
        ),
    )


def _of_strata(strata: Sequence[Stratum]) -> Iterator[str]:
    """What each is warned of; of a book without an assessed month it is said once."""
    if strata and not any(one.person_months for one in strata):
        yield (
            "no month of anybody was assessed: there is no m0, and no outcome can be rated; take"
            " the outcomes out of fit.causes"
        )
        return
    for one in strata:
        if one.warning:
            yield f"{one.outcome} {one.condition}: {one.warning}"


class NothingToStudy(ValueError):
    """No policy is observed in the study's days."""

    def __init__(self, first_day: date, after_day: date) -> None:
        super().__init__(f"no policy is observed from {first_day} to before {after_day}")


def _number_people(con: Connection, settings: StudySettings) -> None:
    """The table `persons`: a number for each id, and who is held out, by a hash of the id."""
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE persons AS
        SELECT person_id, CAST(row_number() OVER (ORDER BY person_id) - 1 AS INTEGER) AS pid,
            CAST('0x' || substr(sha256(person_id), 1, 8) AS BIGINT) < $share * 4294967296
                AS held_out
        FROM people
        """,
        {"share": settings.holdout_person_share},
    )


def _factors(con: Connection, book: BookSettings) -> list[str]:
    columns = {str(row[0]) for row in con.execute("DESCRIBE people").fetchall()}
    taken = {"region", "sex"}
    return [name for name in book.rating_factors if name in columns and name not in taken]


def _outside(con: Connection, settings: StudySettings, after: date) -> dict[str, int]:
    """Known claims that no segment holds, and claims that nobody knew yet, by reason."""
    rows = con.execute(
        """
        SELECT CASE WHEN event_day < $first THEN 'before the study'
                WHEN event_day >= $after THEN 'after the study'
                WHEN a.event_day < p.entry_day THEN 'before entry' ELSE 'outside cover' END AS why,
            count(*)
        FROM attached a LEFT JOIN policies p USING (policy_id) WHERE segment_id IS NULL
        GROUP BY why ORDER BY why
        """,
        {"first": settings.first_day, "after": after},
    ).fetchall()
    return {str(why): int(number) for why, number in rows}


def _light(segments: Any) -> pd.DataFrame:
    """What the arithmetic of a cause needs of the segments, as numbers."""
    return pd.DataFrame(
        {
            "first": _days(segments, "first_day"),
            "after": _days(segments, "after_day"),
            "exposure_days": segments["exposure_days"].to_numpy(),
            "calendar_year": segments["calendar_year"].to_numpy(),
            "deductible": segments["deductible_minor"].to_numpy().astype(np.float64),
            "limit": segments["limit_minor"].to_pandas().fillna(np.inf).to_numpy(np.float64),
        }
    )


def _days(table: Any, name: str) -> Any:
    return table[name].to_numpy().astype("datetime64[D]")


def _claims_frame(attached: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "segment": attached["segment_id"].to_numpy(),
            "cause": attached["cause"].dictionary_encode().to_pandas(),
            "event_day": _days(attached, "event_day"),
            "report_day": _days(attached, "report_day"),
            "amount_minor": attached["amount_minor"].to_numpy(),
            "ground_up": attached["ground_up_minor"].to_pandas().to_numpy(np.float64),
            "deductible": attached["deductible_minor"].to_numpy().astype(np.float64),
        }
    )


def _claims(attached: Any, causes: tuple[CauseStudy, ...]) -> Any:
    """The claims of the study's causes, with loss and excess."""
    number = attached.num_rows
    loss, excess = np.zeros(number), np.zeros(number)
    for one in causes:
        loss[one.rows], excess[one.rows] = one.loss, one.excess
    named = ["claim_id", "segment_id", "person_id", "cause", "event_day", "amount_minor"]
    table = attached.select(named)
    days = table["event_day"].cast(pa.timestamp("ms"))
    table = table.set_column(named.index("event_day"), "event_day", days)
    zero = attached["amount_minor"].to_numpy() == 0
    for name, column in (("loss_minor", loss), ("excess_minor", excess), ("zero", zero)):
        table = table.append_column(name, pa.array(column))
    return table


def _experience(
    segments: Any,
    light: pd.DataFrame,
    known: pd.DataFrame,
    causes: tuple[CauseStudy, ...],
    last_year: int,
    settings: StudySettings,
) -> Any:
    """The seam: identity, exposure, rating factors, outcomes, holdout, and each cause's columns."""
    table = segments.drop_columns(
        ["pid", "held_out", "known_on", "deductible_minor", "limit_minor"]
    )
    for name in ("first_day", "after_day"):
        # Days at midnight without a zone: pandas has no days, and objects are slow.
        days = table[name].cast(pa.timestamp("ms"))
        table = table.set_column(table.column_names.index(name), name, days)
    place = table.column_names.index("exposure_days") + 1
    years = light["exposure_days"].to_numpy() / DAYS_A_YEAR
    table = table.add_column(place, "exposure", pa.array(years))
    keys = pd.DataFrame(
        {
            "pid": segments["pid"].to_numpy(),
            "known_on": segments["known_on"].to_numpy().astype("datetime64[us]"),
            "condition": segments["condition"].to_pandas(),
        }
    )
    added: dict[str, Any] = {}
    for kind in outcome.KINDS:
        mine = known[known["outcome"] == kind.column].drop(columns="outcome")
        mine = mine.assign(known_on=mine["known_on"].astype("datetime64[us]"))
        joined = keys.merge(mine, on=["pid", "known_on", "condition"], how="left")
        added[kind.column] = joined["u"].to_numpy(np.float64)
        added[f"months_{kind.quantity}"] = joined["months"].fillna(0).to_numpy(np.int32)
    participant = table["participant"]
    table = table.drop_columns(["participant"])
    for name, column in added.items():
        table = table.append_column(name, pa.array(column))
    table = table.append_column("participant", participant)
    for name in ("deductible_minor", "limit_minor"):
        table = table.append_column(name, segments[name])
    held = segments["held_out"].to_numpy()
    late = (light["calendar_year"].to_numpy() == last_year) & settings.holdout_last_year
    part = np.where(held, "person", np.where(late, "last_year", "train"))
    table = table.append_column("holdout", pa.array(part))
    for one in causes:
        for name, column in one.columns().items():
            table = table.append_column(name, pa.array(column))
    return table
