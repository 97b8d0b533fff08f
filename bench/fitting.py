"""A tariff's fit: grouping, solving and honest errors, beside plain numpy and beside lifelines.

Both sides run on one thread, as a fit always does: on cores that others use too, BLAS' threads
wait for one another, and the floors seemed up to twenty times slower than they are.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pandas as pd
from lifelines import CoxTimeVaryingFitter
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.rows import Report, Sizes
from services.pricing.fitting.models.design import Category, Design, Floats
from services.pricing.fitting.models.monthly_poisson import monthly_poisson
from services.pricing.fitting.models.regression import regress

A = TypeVar("A")

# Levels of ten factors, as a health tariff has them: ages, sex, condition, region, cover, control.
_LEVELS = (10, 2, 4, 4, 4, 5, 5, 3, 2, 2)
_RATE = 0.12
_YEARS = 3
_IRLS = "numpy IRLS on the split rows with a plain matrix: the coefficients only, no errors"
_VARYING = "lifelines' time-varying Cox model on the same rows, CPU"
# Between the two solvers, in the coefficients themselves.
_SAME = 1e-6
# Between monthly Poisson and Cox, in Poisson's standard errors.
_APART = 0.02


def measure(report: Report, sizes: Sizes) -> None:
    """A frequency with its three errors, cells made anew each time.

    Raises: RuntimeError when numpy's coefficients are other ones: it would be no floor.
    """
    random = np.random.default_rng(1)
    design = _design(random, sizes.fitted, _LEVELS)
    volume = random.uniform(0.2, 1.0, sizes.fitted)
    effects = random.normal(0, 0.2, len(design.columns))
    effects[0] = np.log(_RATE)
    counts = random.poisson(volume * np.exp(design.predictor(effects))).astype(np.float64)
    person = np.repeat(np.arange(sizes.fitted), _YEARS)[: sizes.fitted]
    # Once before, so that neither pays for what the libraries load.
    few = np.arange(min(sizes.fitted, 5_000))
    regress("poisson", design.take(few), counts[few], volume[few], person[few], where="bench")
    turns = [
        (
            _timed(lambda: regress("poisson", design, counts, volume, person, where="bench")),
            _timed(lambda: _irls(design, counts, volume)),
        )
        for _ in range(sizes.turns)
    ]
    (found, *_), (plain, *_) = turns[0]
    if np.abs(found.coefficients - plain).max() > _SAME:
        raise RuntimeError("the floor of the fit finds other coefficients")
    report.add(
        f"fit {sizes.fitted:,} policy-years, 10 factors, with clustered errors",
        "s",
        statistics.median(ours[1] for ours, _ in turns),
        statistics.median(floor[1] for _, floor in turns),
        cpu_ms=statistics.median(ours[2] for ours, _ in turns) / sizes.fitted * 1e3,
        what_floor_is=_IRLS,
        n=sizes.fitted,
    )
    _beside_lifelines(report, sizes)


def _beside_lifelines(report: Report, sizes: Sizes) -> None:
    random = np.random.default_rng(2)
    people = -(-sizes.varying // _YEARS)
    person = np.repeat(np.arange(people), _YEARS)[: sizes.varying]
    design = _design(random, len(person), (4, 2, 3))
    start = np.tile(np.arange(_YEARS), people)[: sizes.varying] * 365.0
    rate = _RATE * np.exp(0.3 * design.wide(slice(None))[:, 1:].sum(axis=1))
    wait = random.exponential(365.0 / rate)
    event = wait < 365.0
    # After a first event a person is no longer looked at.
    ended = pd.Series(event).groupby(person).cumsum() - event
    kept = np.flatnonzero(ended.to_numpy() == 0)
    design, event, person = design.take(kept), event[kept], person[kept]
    days = np.where(event, np.ceil(wait[kept]), 365.0)
    rows = pd.DataFrame(
        {"person_id": person, "start": start[kept], "stop": start[kept] + days, "event": event}
    )
    names = [f"x{place}" for place in range(len(design.columns) - 1)]
    wide = pd.DataFrame(design.wide(slice(None))[:, 1:], columns=names)
    frame = pd.concat([wide, rows], axis=1)
    turns = [
        _timed(lambda: monthly_poisson(rows, design, where="bench")) for _ in range(sizes.turns)
    ]
    cox, _, floor = _timed(
        lambda: CoxTimeVaryingFitter().fit(
            frame, id_col="person_id", event_col="event", start_col="start", stop_col="stop"
        )
    )
    found = turns[0][0]
    apart = np.abs(found.estimate - cox.params_.to_numpy()) / found.se_naive
    if not (apart <= _APART).all():
        raise RuntimeError("lifelines finds other coefficients: the floor is of another model")
    ours = statistics.median(spent for _, _, spent in turns)
    report.add(
        f"first events on {len(kept):,} rows, a rate for each month, CPU",
        "s",
        ours,
        floor,
        cpu_ms=ours / len(kept) * 1e3,
        what_floor_is=_VARYING,
        n=len(kept),
    )


def _design(random: np.random.Generator, rows: int, levels: tuple[int, ...]) -> Design:
    return Design(
        terms=tuple(
            Category(
                name=f"factor{place}",
                levels=tuple(f"L{level}" for level in range(count)),
                codes=random.integers(0, count, rows).astype(np.int32),
            )
            for place, count in enumerate(levels)
        ),
        size=rows,
    )


def _irls(design: Design, counts: Floats, volume: Floats) -> NDArray[np.float64]:
    wide = design.wide(slice(None))
    beta: Floats = np.zeros(wide.shape[1])
    beta[0] = np.log(counts.sum() / volume.sum())
    while True:
        mean = volume * np.exp(wide @ beta)
        step = np.linalg.solve(wide.T @ (wide * mean[:, None]), wide.T @ (counts - mean))
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            return beta


def _timed(work: Callable[[], A]) -> tuple[A, float, float]:
    with threadpool_limits(1):
        cpu, begun = time.process_time(), time.perf_counter()
        found = work()
        return found, time.perf_counter() - begun, time.process_time() - cpu
