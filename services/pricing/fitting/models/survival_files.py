"""Survival beside a fit: curves, the Cox cross-check and waits of each cause, as fit/survival.json.

It needs the day of each event, which the book has and the study leaves there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.pricing.fitting.models.coding import OUTSIDE, Coded, coded, design_of
from services.pricing.fitting.models.design import Design
from services.pricing.fitting.models.files import SURVIVAL
from services.pricing.fitting.models.refusal import FitFault, FitRefused
from services.pricing.fitting.models.settings import CauseModel, FitSettings
from services.pricing.fitting.models.survival import (
    cross_check,
    first_events,
    kaplan_meier,
    nelson_aalen,
    next_events,
    proportional_hazards,
)

# Curves and the test of proportional hazards look at so many persons, and Cox' model with entry
# times, whose time grows with the square of the rows in lifelines, at fewer of them.
PERSONS, CHECKED_PERSONS = 20_000, 2_000
# Points of a curve that a picture needs.
_POINTS = 200
_SEGMENTS = ("condition", "sex", "participant")


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One curve by day: of whom, what, and its 95 % interval."""

    kind: str  # kaplan_meier, nelson_aalen or next_event (a Kaplan–Meier of the wait)
    by: str
    level: str
    day: tuple[float, ...]
    value: tuple[float, ...]
    low95: tuple[float, ...]
    high95: tuple[float, ...]
    at_risk: tuple[int, ...]


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One coefficient by Cox' model and by monthly Poisson, of the first event.

    `apart` is their difference in Poisson's own standard errors; `p_proportional` the p-value of
    a hazard ratio that stays the same over time.
    """

    name: str
    level: str
    cox: float
    se_clustered: float
    poisson: float
    apart: float
    p_proportional: float | None


class CauseSurvival(msgspec.Struct, frozen=True, kw_only=True):
    """One cause; `refused` says why a model of it was not made, in place of `checked`."""

    cause: str
    persons: int
    first_events: int
    curves: tuple[Curve, ...]
    checked: tuple[Checked, ...]
    refused: str


class Survival(msgspec.Struct, frozen=True, kw_only=True):
    """The file: every cause, on the persons sampled."""

    format: int
    synthetic: bool
    sampled: int
    causes: tuple[CauseSurvival, ...]


def survival(
    experience: pd.DataFrame,
    events: pd.DataFrame,
    settings: FitSettings,
    *,
    synthetic: bool,
    progress: Callable[[str], None] = lambda _name: None,
) -> Survival:
    """Curves and checks of every cause.

    `experience` is that of the study with first_day and after_day; `events` have person_id, cause
    and event_day. At most PERSONS persons are looked at, evenly from all in the order of their id.
    """
    sample = _sampled(experience)
    factors = coded([settings.factors[name] for name in settings.factors], sample)
    keep = ~np.any([one.codes == OUTSIDE for one in factors.values()], axis=0)
    sample = sample[keep].reset_index(drop=True)
    factors = coded([settings.factors[name] for name in settings.factors], sample)
    sample = sample.assign(row=np.arange(len(sample)))
    found = []
    for cause in settings.causes:
        found.append(_of_cause(cause, sample, events[events["cause"] == cause.name], factors))
        progress(cause.name)
    return Survival(
        format=1,
        synthetic=synthetic,
        sampled=int(sample["person_id"].nunique()),
        causes=tuple(found),
    )


def survival_bytes(found: Survival) -> bytes:
    """The one JSON form."""
    return msgspec.json.encode(found, order="sorted") + b"\n"


def _sampled(experience: pd.DataFrame) -> pd.DataFrame:
    return _chosen(experience, PERSONS).sort_values("segment_id", ignore_index=True)


def _chosen(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """The rows of at most so many persons, evenly from all in the order of their id."""
    people = np.sort(frame["person_id"].unique())
    if len(people) <= most:
        return frame
    people = people[np.linspace(0, len(people) - 1, most).astype(int)]
    return frame[frame["person_id"].isin(people)]


def _of_cause(
    cause: CauseModel,
    segments: pd.DataFrame,
    events: pd.DataFrame,
    factors: Mapping[str, Coded],
) -> CauseSurvival:
    rows = first_events(segments, events)
    waits = next_events(segments, events)
    curves = []
    for by in ("", *(name for name in _SEGMENTS if name in segments)):
        named = [by] if by else []
        curves += _curves("kaplan_meier", kaplan_meier(rows, named), by, "share")
        curves += _curves("nelson_aalen", nelson_aalen(rows, named), by, "hazard")
        if len(waits):
            curves += _curves("next_event", kaplan_meier(waits, named), by, "share")
    checked: tuple[Checked, ...] = ()
    refused = ""
    try:
        checked = _checked(cause, rows, factors)
    except FitRefused as reason:
        refused = str(reason)
    return CauseSurvival(
        cause=cause.name,
        persons=int(rows["person_id"].nunique()),
        first_events=int(rows["event"].sum()),
        curves=tuple(curves),
        checked=checked,
        refused=refused,
    )


def _checked(
    cause: CauseModel, rows: pd.DataFrame, factors: Mapping[str, Coded]
) -> tuple[Checked, ...]:
    if not cause.frequency:
        return ()
    few = _chosen(rows, CHECKED_PERSONS)
    _refuse_silent(cause, few, factors)
    small, design = _design(cause, few, factors)
    if not design.terms:
        text = "of no factor have two levels a first event: there is nothing to compare"
        raise FitRefused([FitFault(where=f"{cause.name}.survival", code="NO_CLAIMS", text=text)])
    compared = cross_check(small, design, where=f"{cause.name}.survival")
    steady: dict[tuple[str, str], float] = {}
    with contextlib.suppress(FitRefused):  # nobody from the origin on: Cox stands without the test
        tested = proportional_hazards(*_design(cause, rows, factors))
        steady = {(one.name, one.level): one.p for one in _rows(tested.dropna())}
    return tuple(
        Checked(
            name=one.name,
            level=one.level,
            cox=one.estimate,
            se_clustered=one.se_clustered,
            poisson=one.poisson,
            apart=one.apart,
            p_proportional=steady.get((one.name, one.level)),
        )
        for one in _rows(compared)
    )


def _refuse_silent(cause: CauseModel, rows: pd.DataFrame, factors: Mapping[str, Coded]) -> None:
    """A base without a first event leaves nothing that its other levels could stand against."""
    place = rows.loc[rows["event"], "row"].to_numpy()
    people = f"among the {rows['person_id'].nunique():,} people looked at"
    where = f"{cause.name}.survival"
    if not len(place):
        text = f"nobody has a first event {people}: there is nothing to compare"
        raise FitRefused([FitFault(where=where, code="NO_CLAIMS", text=text)])
    used = [factors[name] for name in cause.frequency]
    # To whom a table does not apply stands with its base.
    silent = [one for one in used if not _of_base(one, place).any()]
    faults = [
        FitFault(
            where=f"{where}.{one.factor.name}",
            code="BASE_SILENT",
            text=f"nobody of its base {one.names[one.base]} has a first event {people}: there is "
            "nothing to compare its other levels with",
        )
        for one in silent
    ]
    if faults:
        raise FitRefused(faults)


def _of_base(one: Coded, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    codes = one.codes[rows]
    found: NDArray[np.bool_] = (codes == one.base) | (codes < 0)
    return found


def _design(
    cause: CauseModel, rows: pd.DataFrame, factors: Mapping[str, Coded]
) -> tuple[pd.DataFrame, Design]:
    """The rows whose levels have a first event, and their design; others tell Cox nothing."""
    used = [factors[name] for name in cause.frequency]
    place, event = rows["row"].to_numpy(), rows["event"].to_numpy()
    kept = np.ones(len(rows), dtype=bool)
    unseen = {}
    for one in used:
        codes = one.codes[place]
        shown = codes >= 0
        held = np.bincount(codes[shown], weights=event[shown], minlength=len(one.names))
        unseen[one.factor.name] = frozenset(np.flatnonzero(held == 0).tolist())
        kept &= ~np.isin(codes, list(unseen[one.factor.name]))
    rows = rows[kept].reset_index(drop=True)
    return rows, design_of(used, rows["row"].to_numpy(dtype=np.intp), unseen=unseen)


def _rows(frame: pd.DataFrame) -> Iterable[Any]:
    return frame.itertuples(index=False)


def _curves(kind: str, frame: pd.DataFrame, by: str, value: str) -> list[Curve]:
    made = []
    parts: Sequence[tuple[object, pd.DataFrame]] = (
        list(frame.groupby(by, sort=True)) if by else [("", frame)]
    )
    for level, part in parts:
        thinned = part.iloc[_thinned(len(part))].fillna(0.0)
        made.append(
            Curve(
                kind=kind,
                by=by,
                level=str(level),
                day=tuple(thinned["day"].tolist()),
                value=tuple(thinned[value].tolist()),
                low95=tuple(thinned["low95"].tolist()),
                high95=tuple(thinned["high95"].tolist()),
                at_risk=tuple(thinned["at_risk"].tolist()),
            )
        )
    return made


def _thinned(size: int) -> list[int]:
    return sorted({int(place) for place in np.linspace(0, size - 1, min(size, _POINTS))})


def write_survival(found: Survival, folder: Path) -> Path:
    """The file, beside fit.json."""
    target = folder / SURVIVAL
    target.write_bytes(survival_bytes(found))
    return target
