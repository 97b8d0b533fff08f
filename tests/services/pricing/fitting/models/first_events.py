"""First events made on the spot, and what the bands of time make of them when written out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.pricing.fitting.models.design import Category, Design, Floats, Number
from services.pricing.fitting.models.time_bands import time_bands

YEAR = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRows:
    """A row for each person's row and band in which it was at risk, of bands with an event."""

    design: Design
    events: Floats
    years: Floats
    persons: NDArray[np.str_]


def drawn(people: int, seed: int = 9) -> tuple[pd.DataFrame, Design]:
    """Up to three years of a person, each a row with a plan of its own; some enter late or return.

    Rates are high in the first days and none at all in the second summer.
    """
    random = np.random.default_rng(seed)
    parts = []
    score = random.normal(0, 1, people).round(1)
    risk = random.gamma(2.0, 0.5, people)
    for year in range(3):
        plan, sex = random.integers(0, 3, people), random.integers(0, 2, people)
        enters = YEAR * year + np.where(random.random(people) < 0.3, 100, 0)
        rate = 0.5 * risk * np.exp(0.3 * plan - 0.4 * sex + 0.2 * score) / YEAR
        waits = np.ceil(random.exponential(1 / rate) * (0.2 if year == 0 else 1.0))
        day = enters + waits
        seen = (day <= YEAR * (year + 1)) & ~((day > 450) & (day < 600))
        parts.append(
            pd.DataFrame(
                {
                    "person_id": [f"p{number}" for number in range(people)],
                    "start": enters,
                    "stop": np.where(seen, day, YEAR * (year + 1)),
                    "event": seen,
                    "plan": plan,
                    "sex": sex,
                    "score": score,
                }
            )
        )
    every = pd.concat(parts).sort_values(["person_id", "start"], kind="stable")
    before = every.groupby("person_id")["event"].cumsum() - every["event"]
    rows = every[before == 0].reset_index(drop=True)
    return rows, design_of(rows)


def design_of(rows: pd.DataFrame) -> Design:
    """Plan and sex as categories, the score as a number."""
    return Design(
        terms=(
            Category(name="plan", levels=("A", "B", "C"), codes=rows["plan"].to_numpy(np.int32)),
            Category(name="sex", levels=("F", "M"), codes=rows["sex"].to_numpy(np.int32)),
            Number(name="score", values=rows["score"].to_numpy(np.float64)),
        ),
        size=len(rows),
    )


def split(rows: pd.DataFrame, design: Design) -> SplitRows:
    """The same, row by row in plain Python; months are a category in front of the covariates."""
    start, stop = rows["start"].to_numpy(float), rows["stop"].to_numpy(float)
    event = rows["event"].to_numpy(bool)
    edges = time_bands(start, stop, event).edges
    held = {np.searchsorted(edges, end) - 1 for end in stop[event]}
    found = []
    for row, (begin, end) in enumerate(zip(start, stop, strict=True)):
        for band, (low, high) in enumerate(pairwise(edges)):
            days = min(end, high) - max(begin, low)
            if days > 0 and band in held:
                found.append((row, band, days, bool(event[row]) and low < end <= high))
    at, band_of, lived, had = (np.array(column) for column in zip(*found, strict=True))
    names, codes = np.unique(band_of, return_inverse=True)
    month = Category(name="month", levels=tuple(map(str, names)), codes=codes.astype(np.int32))
    taken = design.take(at)
    terms = (month, *taken.terms) if len(names) > 1 else taken.terms
    return SplitRows(
        design=Design(terms=terms, size=taken.size),
        events=had.astype(np.float64),
        years=lived / 365.25,
        persons=rows["person_id"].to_numpy(str)[at],
    )
