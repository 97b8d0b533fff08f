"""Time until a claim, beside the rates of the tariff: curves, Cox, proportional hazards.

lifelines is the reference here and never in the path of a quote. Time is days since a person's
origin (the first day of cover, unless the segments have a column `origin_day`); who is observed
later enters later (left truncation). The day of an event counts, as it does in the exposure.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import lifelines
import numpy as np
import pandas as pd
from lifelines.statistics import proportional_hazard_test
from scipy.linalg import LinAlgWarning

from services.pricing.fitting.models.design import Design
from services.pricing.fitting.models.monthly_poisson import monthly_poisson
from services.pricing.fitting.models.refusal import FitFault, FitRefused

# Newton's tolerances of lifelines are of the likelihood; this moves no coefficient visibly.
_COX = {"precision": 1e-9}


def first_events(segments: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """What is observed of each person until the first event: rows of (start, stop], event or not.

    `segments` have person_id, first_day and after_day (half-open, one person's do not overlap),
    with any covariates beside them; `events` have person_id and event_day. Events outside all
    segments are not seen. Everything after the first event is left out.
    """
    rows = _timed(segments)
    first = _seen(rows, events).groupby("person_id")["time"].min()
    rows["first"] = rows["person_id"].map(first)
    rows = rows[~(rows["start"] > rows["first"])].copy()
    rows["event"] = (rows["first"] >= rows["start"]) & (rows["first"] < rows["stop"])
    rows.loc[rows["event"], "stop"] = rows.loc[rows["event"], "first"] + 1
    return rows.drop(columns="first").reset_index(drop=True)


def next_events(segments: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """Time from each event to the person's next: rows of (0, stop], event or not.

    A wait ends unseen where the person's observation is interrupted or ends. Two events of one
    day are one: the next is a day on which there was none before.
    """
    rows = _timed(segments).sort_values(["person_id", "start"])
    same = rows["person_id"].eq(rows["person_id"].shift())
    rows["spell"] = (~(same & rows["start"].eq(rows["stop"].shift()))).cumsum()
    end = rows.groupby("spell")["stop"].max()
    seen = _seen(rows, events).sort_values(["person_id", "time"])
    seen = seen.drop_duplicates(["person_id", "time"])
    following = seen.groupby("spell")["time"].shift(-1)
    seen["event"] = following.notna()
    seen["stop"] = following.fillna(seen["spell"].map(end)) - seen["time"]
    seen = seen[seen["stop"] > 0]
    seen["start"] = 0
    return seen.drop(columns=["time", "spell"]).reset_index(drop=True)


def kaplan_meier(rows: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Share without an event by day, with its 95 % interval, for each segment of `by`.

    Where late entry leaves nobody at risk for a while, Kaplan–Meier's share would stay 0 for ever;
    such a segment has the share exp(−cumulative hazard) instead (Breslow, Fleming, Harrington).
    """
    return _curves(rows, by, lifelines.KaplanMeierFitter, "survival_function_", "share")


def nelson_aalen(rows: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Cumulative hazard by day, with its 95 % interval, for each segment of `by`."""
    return _curves(rows, by, _nelson_aalen_fitter, "cumulative_hazard_", "hazard")


def cox(rows: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Cox' coefficients with entry times, their errors clustered by person.

    One row per coefficient: name, level, estimate, se_clustered, low95, high95. `rows` are those
    of `first_events`, `design` has a row for each.

    Raises: FitRefused when it does not converge.
    """
    frame = _wide(rows, design).assign(person_id=rows["person_id"].to_numpy())
    model = _quietly(frame, cluster_col="person_id", entry_col="start")
    error = model.standard_errors_.to_numpy()
    estimate = model.params_.to_numpy()
    return _listed(
        design,
        estimate=estimate,
        se_clustered=error,
        low95=estimate - 1.959964 * error,
        high95=estimate + 1.959964 * error,
    )


def proportional_hazards(rows: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Whether each hazard ratio stays the same over time: Schoenfeld's residuals against rank.

    One row per coefficient: name, level, statistic, p. The test knows no entry times, so that it
    is made on the people who are observed from their origin on, each with the covariates of the
    beginning and up to the first gap; `persons` says how many they are. What nobody has at the
    beginning cannot be tested: NaN.

    Raises: FitRefused when nobody is, or Cox' model does not converge.
    """
    order = rows.reset_index(drop=True).sort_values(["person_id", "start"])
    person = order["person_id"]
    joined = person.eq(person.shift()) & order["start"].eq(order["stop"].shift())
    spell = (~joined).cumsum()
    ends = order.groupby(spell.to_numpy())[["stop", "event"]].max()
    begins = order[~joined.to_numpy()]
    whole = (begins["start"] == 0).to_numpy()
    if not whole.any():
        text = "nobody is observed from the origin on; the test of proportional hazards needs them"
        raise FitRefused([FitFault(where="survival", code="NO_ORIGIN", text=text)])
    chosen = begins.index.to_numpy()[whole]
    frame = _wide(rows.reset_index(drop=True).loc[chosen], design.take(chosen)).drop(
        columns="start"
    )
    frame["stop"] = ends["stop"].to_numpy(dtype=np.float64)[whole]
    frame["event"] = ends["event"].to_numpy(dtype=bool)[whole]
    columns = frame.columns[: len(design.columns) - 1]
    varied = (frame[columns].nunique() > 1).to_numpy()
    frame = frame.drop(columns=columns[~varied])
    tested = proportional_hazard_test(_quietly(frame), frame, time_transform="rank")
    statistic, p = np.full(len(columns), np.nan), np.full(len(columns), np.nan)
    statistic[varied] = np.atleast_1d(tested.test_statistic)
    p[varied] = np.atleast_1d(tested.p_value)
    return _listed(design, statistic=statistic, p=p, persons=len(frame))


def cross_check(rows: pd.DataFrame, design: Design, *, where: str) -> pd.DataFrame:
    """Cox beside Poisson on the first event: `apart` is their difference in Poisson's errors."""
    # First the one that names what it cannot tell: lifelines speaks of columns and formulas.
    poisson = monthly_poisson(rows, design, where=where)
    found = cox(rows, design)
    found["poisson"], found["poisson_se"] = poisson.estimate, poisson.se_naive
    found["apart"] = (found["estimate"] - found["poisson"]).abs() / found["poisson_se"]
    return found


def _timed(segments: pd.DataFrame) -> pd.DataFrame:
    rows = segments.copy()
    first, after = (pd.to_datetime(rows[name]) for name in ("first_day", "after_day"))
    if "origin_day" in rows:
        origin = pd.to_datetime(rows["origin_day"])
    else:
        origin = first.groupby(rows["person_id"]).transform("min")
    if (first < origin).any() or (after <= first).any():
        text = "a segment begins before its person's origin, or ends before it begins"
        raise FitRefused([FitFault(where="survival", code="DAYS", text=text)])
    rows["origin"] = origin
    rows["start"] = (first - origin).dt.days
    rows["stop"] = (after - origin).dt.days
    return rows


def _seen(rows: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """The events that fall into a segment, each with the segment's columns and its own time."""
    dated = events[["person_id"]].assign(day=pd.to_datetime(events["event_day"]).to_numpy())
    joined = dated.merge(rows, on="person_id")
    joined["time"] = (joined["day"] - joined["origin"]).dt.days
    inside = (joined["time"] >= joined["start"]) & (joined["time"] < joined["stop"])
    return joined[inside].drop(columns=["day"])


def _curves(
    rows: pd.DataFrame, by: Sequence[str], fitter: Any, attribute: str, name: str
) -> pd.DataFrame:
    made = []
    for level, part in _groups(rows, by):
        try:
            curve = _curve(_estimated(part, fitter), attribute, name)
        except lifelines.exceptions.StatError:
            hazard = _estimated(part, _nelson_aalen_fitter)
            curve = _curve(hazard, "cumulative_hazard_", name)
            lows, highs = np.exp(-curve["high95"]), np.exp(-curve["low95"])
            curve = curve.assign(low95=lows, high95=highs, **{name: np.exp(-curve[name])})
        made.append(curve.assign(**dict(zip(by, level, strict=True))))
    return pd.concat(made, ignore_index=True)


def _estimated(part: pd.DataFrame, fitter: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few at risk on the first days: seen in `at_risk`
        return fitter().fit(part["stop"], part["event"], entry=part["start"])


def _nelson_aalen_fitter() -> Any:
    # lifelines' smoothing of ties counts the hazard twice where late entry leaves nobody at risk.
    return lifelines.NelsonAalenFitter(nelson_aalen_smoothing=False)


def _curve(model: Any, attribute: str, name: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "day": getattr(model, attribute).index.to_numpy(dtype=np.float64),
            name: getattr(model, attribute).iloc[:, 0].to_numpy(dtype=np.float64),
            "low95": model.confidence_interval_.iloc[:, 0].to_numpy(dtype=np.float64),
            "high95": model.confidence_interval_.iloc[:, 1].to_numpy(dtype=np.float64),
            "at_risk": model.event_table["at_risk"].to_numpy(dtype=np.int64),
        }
    )


def _groups(
    rows: pd.DataFrame, by: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    if not by:
        yield (), rows
        return
    grouped: Any = rows.groupby(list(by), sort=True)
    yield from grouped


def _wide(rows: pd.DataFrame, design: Design) -> pd.DataFrame:
    columns = [f"x{place:04d}" for place in range(len(design.columns) - 1)]
    frame = pd.DataFrame(design.wide(slice(None))[:, 1:], columns=columns)
    frame["start"] = rows["start"].to_numpy(dtype=np.float64)
    frame["stop"] = rows["stop"].to_numpy(dtype=np.float64)
    frame["event"] = rows["event"].to_numpy(dtype=bool)
    return frame


def _listed(design: Design, **columns: Any) -> pd.DataFrame:
    names = design.columns[1:]
    return pd.DataFrame(
        {"name": [name for name, _ in names], "level": [level for _, level in names], **columns}
    )


def _quietly(frame: pd.DataFrame, **more: Any) -> Any:
    # An overflow on the way is no news: what comes of it is judged, or does not converge.
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("error", lifelines.exceptions.ConvergenceWarning)
        warnings.simplefilter("error", LinAlgWarning)
        try:
            return lifelines.CoxPHFitter().fit(
                frame, duration_col="stop", event_col="event", fit_options=_COX, **more
            )
        except (
            lifelines.exceptions.ConvergenceError,
            lifelines.exceptions.ConvergenceWarning,
            LinAlgWarning,
        ) as error:
            text = f"Cox' model did not converge: {str(error).splitlines()[0]}"
            fault = FitFault(where="survival", code="NOT_CONVERGED", text=text)
            raise FitRefused([fault]) from None
