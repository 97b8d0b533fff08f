"""First events by Poisson's model with a rate of its own for each month, beside Cox' model.

The piecewise exponential model: where the rate is steady within a band it is Cox' model, so that
the two check one another. The rates themselves are wanted by nobody. Given the effects, a band's
rate is its events over its weighted exposure: the likelihood is one of the effects alone, and so
are Newton's steps, with the information that is left once the rates are known (the Schur
complement). Estimates and errors are those of the model with all rates written out (a test).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from services.pricing.fitting.models.collinear import repeated
from services.pricing.fitting.models.design import Design, Floats, Number
from services.pricing.fitting.models.grouping import Cells, group
from services.pricing.fitting.models.refusal import FitFault, FitRefused
from services.pricing.fitting.models.time_bands import TimeBands, time_bands

# Of the score, for each event and standard deviation of a covariate; GRADIENT_TOL of the tariff.
_FLAT = 1e-10
# So little a last step moves, in standard deviations. Where no event can tell an effect the score
# goes to zero as well, but every step is as long as the one before.
_STILL = 1e-8
# Newton needs four to eight; halvings of one step.
_STEPS, _HALVINGS = 30, 20
# Up to so many cells by days a table is quicker than a sparse one.
_DENSE = 1 << 22
# Of a number of this size, what may be rounding.
_ROUNDING = 1e-12
# Persons whose scores are held at a time.
_PERSONS = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthlyPoisson:
    """The effects, in the order of `columns` (the design's without the intercept), on a log scale.

    `se_naive` takes the model at its word, `se_clustered` lets one person's rows go together. With
    a single person nothing can be clustered, and it is infinite. `bands` had an event.
    """

    columns: tuple[tuple[str, str], ...]
    estimate: Floats
    se_naive: Floats
    se_clustered: Floats
    events: int
    persons: int
    bands: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """Rows that are at risk in a band with an event; bands without one tell nothing, as in Cox."""

    cells: Cells
    bands: TimeBands
    event: Floats
    persons: NDArray[np.intp]
    split: int  # rows of the same, cut into bands
    banded: Floats  # events of each band


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """The likelihood at some effects: its height, slope and curve, and the rates that follow."""

    height: float
    score: Floats
    information: Floats
    expected: Floats  # events of each cell
    relative: Floats  # exp(xβ) of each cell, up to a factor that the rates carry
    rates: Floats  # of each band
    means: Floats  # of the covariates in each band, as those at risk are likely to have an event


def monthly_poisson(rows: pd.DataFrame, design: Design, *, where: str) -> MonthlyPoisson:
    """Poisson's effects on the first event, with a rate for each month, and their errors.

    `rows` are those of `first_events`, `design` has a row for each. Months with more than a few
    events are cut into four. The same rows give the same bits whatever the number of cores.

    Raises: FitRefused when a row has no time or no person, a covariate no number, nobody an event,
    the design says the same thing twice, or an effect does not settle (they are named).
    """
    start, stop = (rows[name].to_numpy(dtype=np.float64) for name in ("start", "stop"))
    keys: NDArray[np.intp] = pd.factorize(rows["person_id"].to_numpy())[0]
    event = rows["event"].to_numpy(dtype=bool)
    _refuse_bad(start, stop, event, keys, design, where)
    with threadpool_limits(1):
        watched = _watched(start, stop, event, keys, design)
        return _fitted(watched, design.columns[1:], where)


def _refuse_bad(
    start: Floats,
    stop: Floats,
    event: NDArray[np.bool_],
    persons: NDArray[np.intp],
    design: Design,
    where: str,
) -> None:
    """Every fault of the rows at once."""
    late = ~(np.isfinite(start) & np.isfinite(stop) & (start >= 0) & (stop > start))
    wrong = [
        (where, "DAYS", late, "must begin at the origin or later, and end after they begin"),
        (where, "NO_PERSON", persons < 0, "have no person whose errors could go together"),
        *(
            (f"{where}.{term.name}", "NOT_A_NUMBER", ~np.isfinite(term.values), "have no number")
            for term in design.terms
            if isinstance(term, Number)
        ),
    ]
    faults = [
        FitFault(where=place, code=code, text=f"{int(bad.sum())} rows: they {text}")
        for place, code, bad, text in wrong
        if bad.any()
    ]
    if not event.any():
        text = "nobody has a first event: no effect can be told; leave the cause out"
        faults.append(FitFault(where=where, code="NO_CLAIMS", text=text))
    if faults:
        raise FitRefused(faults)


def _watched(
    start: Floats, stop: Floats, event: NDArray[np.bool_], persons: NDArray[np.intp], design: Design
) -> _Watched:
    bands = time_bands(start, stop, event)
    banded = np.bincount(bands.band[bands.stop[event]], minlength=bands.count)
    touched = bands.touched(banded > 0)
    kept = np.flatnonzero(touched)
    if len(kept) < len(start):
        bands, design, event = bands.take(kept), design.take(kept), event[kept]
        persons = pd.factorize(persons[kept])[0]
    return _Watched(
        cells=group(design),
        bands=bands,
        event=event.astype(np.float64),
        persons=persons,
        split=int(touched.sum()),
        banded=banded.astype(np.float64),
    )


def _fitted(watched: _Watched, columns: tuple[tuple[str, str], ...], where: str) -> MonthlyPoisson:
    plain = _Likelihood(
        bands=watched.bands,
        table=_table(watched.cells, watched.bands),
        wide=watched.cells.design.wide(slice(None))[:, 1:],
        events=watched.cells.sums(watched.event),
        banded=watched.banded,
    )
    likelihood, scale = _scaled(plain)
    begin = likelihood.at(np.zeros(len(columns)))
    shown = np.where(plain.wide.any(axis=0), 1.0, 0.0)
    twice = repeated(columns, begin.information / likelihood.count, shown)
    if twice:
        raise FitRefused([FitFault(where=where, code="COLLINEAR", text=text) for text in twice])
    effects, found, steps = _climbed(likelihood, begin, columns, where)
    bread: Floats = np.linalg.inv(found.information).astype(np.float64)
    bands, persons = int((watched.banded > 0).sum()), int(watched.persons.max()) + 1
    clustered: Floats = np.full(len(columns), np.inf)
    if persons > 1:
        meat = _clustered_gram(watched, likelihood.wide, found)
        spare = max(watched.split - bands - len(columns), 1)
        grown = persons / (persons - 1) * (watched.split - 1) / spare
        clustered = np.sqrt(np.diag(bread @ meat @ bread) * grown)
    return MonthlyPoisson(
        columns=columns,
        estimate=effects / scale,
        se_naive=np.sqrt(np.diag(bread)) / scale,
        se_clustered=clustered / scale,
        events=int(likelihood.count),
        persons=persons,
        bands=bands,
        steps=steps,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Likelihood:
    """The likelihood of effects alone, every band's rate being the best one for them.

    `table` counts for each cell how many of its rows end on each day, less those that begin.
    """

    bands: TimeBands
    table: Floats | csr_array
    wide: Floats  # the covariates of each cell
    events: Floats  # of each cell
    banded: Floats  # of each band

    @property
    def count(self) -> float:
        """All events."""
        return float(self.banded.sum())

    def at(self, effects: Floats) -> _State:
        """Height, slope and curve at these effects."""
        told = self.wide @ effects
        top = told.max()
        relative: Floats = np.exp(told - top)
        weights = np.column_stack((relative, relative[:, None] * self.wide))
        held = self.bands.held(self.table.T @ weights)
        some = self.banded > 0
        rates, means = np.zeros(len(held)), np.zeros((len(held), len(effects)))
        # Effects beyond all numbers are judged by the height, which is none then.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            rates[some] = self.banded[some] / held[some, 0]
            means[some] = held[some, 1:] / held[some, :1]
            logs = np.log(held[some, 0]) + top
            expected: Floats = relative * (self.table @ self.bands.lived(rates))
            between = means.T @ (means * self.banded[:, None])
            return _State(
                height=float(self.events @ told - self.banded[some] @ logs),
                score=self.wide.T @ (self.events - expected),
                information=self.wide.T @ (self.wide * expected[:, None]) - between,
                expected=expected,
                relative=relative,
                rates=rates,
                means=means,
            )


def _table(cells: Cells, bands: TimeBands) -> Floats | csr_array:
    size, width = cells.design.size, len(bands.days)
    if size * width <= _DENSE:
        ends, begins = (
            np.bincount(cells.cell_of * width + days, minlength=size * width)
            for days in (bands.stop, bands.start)
        )
        return (ends - begins).reshape(size, width).astype(np.float64)
    ones = np.ones(len(bands.stop))
    where = np.tile(cells.cell_of, 2), np.concatenate((bands.stop, bands.start))
    return csr_array((np.concatenate((ones, -ones)), where), shape=(size, width))


def _scaled(plain: _Likelihood) -> tuple[_Likelihood, Floats]:
    """Covariates in standard deviations from their mean, over the events expected of each cell.

    It changes no effect but its unit, and lets one bound serve all covariates.
    """
    expected = plain.at(np.zeros(plain.wide.shape[1])).expected
    centred = plain.wide - np.average(plain.wide, axis=0, weights=expected)
    scale: Floats = np.sqrt(np.average(centred**2, axis=0, weights=expected))
    # What is the same for all has no deviation but rounding, and is refused as it stands.
    scale[scale <= _ROUNDING * np.abs(plain.wide).max(axis=0)] = 1.0
    return replace(plain, wide=centred / scale), scale


def _climbed(
    likelihood: _Likelihood, begin: _State, columns: tuple[tuple[str, str], ...], where: str
) -> tuple[Floats, _State, int]:
    """Newton's steps to the top, each halved until it leads up.

    Raises: FitRefused naming the effects that still move.
    """
    effects, now = np.zeros(len(columns)), begin
    moving = np.ones(len(columns), dtype=bool)
    for step in range(_STEPS):
        try:
            move = np.linalg.solve(now.information, now.score)
        except np.linalg.LinAlgError:
            break
        flat = np.abs(now.score) <= _FLAT * likelihood.count
        moving = ~(flat & (np.abs(move) <= _STILL))
        if not moving.any():
            return effects, now, step
        for _ in range(_HALVINGS + 1):
            then = likelihood.at(effects + move)
            # Near the top a difference is nothing but rounding; beyond all numbers nobody knows.
            lost = now.height - then.height
            if np.isfinite(lost) and lost <= _ROUNDING * abs(now.height):
                break
            move = move / 2
        else:
            break
        effects, now = effects + move, then
    raise FitRefused(
        [
            FitFault(
                where=f"{where}.{name}.{level}".rstrip("."),
                code="NOT_CONVERGED",
                text=(
                    "its effect has not settled: look whether all or none of the events are its "
                    "own; leave it out, or join it with another level"
                ),
            )
            for (name, level), moves in zip(columns, moving, strict=True)
            if moves
        ]
    )


def _clustered_gram(watched: _Watched, wide: Floats, found: _State) -> Floats:
    """Σ over persons of s s', s being the person's score once the rates are known.

    Of an event that is covariates less their mean in its band; of time at risk the same, by the
    rates, taken off.
    """
    bands = watched.bands
    lived, drawn = bands.lived(found.rates), bands.lived(found.rates[:, None] * found.means)
    order = np.argsort(watched.persons, kind="stable")
    firsts = np.flatnonzero(np.diff(watched.persons[order], prepend=-1))
    gram = np.zeros((wide.shape[1], wide.shape[1]))
    for low in range(0, len(firsts), _PERSONS):
        begins = firsts[low : low + _PERSONS]
        end = firsts[low + _PERSONS] if low + _PERSONS < len(firsts) else len(order)
        rows = order[begins[0] : end]
        cell, start, stop = watched.cells.cell_of[rows], bands.start[rows], bands.stop[rows]
        event, relative = watched.event[rows], found.relative[cell]
        scores = wide[cell] * (event - relative * (lived[stop] - lived[start]))[:, None]
        scores += relative[:, None] * (drawn[stop] - drawn[start])
        with_event = np.flatnonzero(event)
        scores[with_event] -= found.means[bands.band[stop[with_event]]]
        sums = np.add.reduceat(scores, begins - begins[0], axis=0)
        gram += sums.T @ sums
    return gram
