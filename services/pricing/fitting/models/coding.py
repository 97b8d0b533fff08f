"""Factors applied to an experience: the band or level of every segment, and who is left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.pricing.core.tariff import scaled
from services.pricing.fitting.models.design import Category, Codes, Design, Floats
from services.pricing.fitting.models.factors import Bands, Categories, Factor, FactorLevel
from services.pricing.fitting.models.refusal import FitFault, FitRefused

# The factor's table does not apply to the segment: its step is a factor of 1.
ELSEWHERE = -1
# An outcome without a value: priced as the worst band, and shown in none.
ABSENT = -2
# No price: beyond the first and last band, or without a value that is required.
OUTSIDE = -3

_LEVEL = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}", re.ASCII)
_MOST_LEVELS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """One factor on the segments: `codes` count the cells of its table, or are negative."""

    factor: Factor
    levels: tuple[FactorLevel, ...]  # of a category
    names: tuple[str, ...]
    codes: Codes
    base: int


def coded(factors: Iterable[Factor], frame: pd.DataFrame) -> dict[str, Coded]:
    """Every factor on every segment.

    Raises: FitRefused with each factor whose column is missing, holds other levels than the
    settings, or has levels that no tariff can name.
    """
    faults: list[FitFault] = []
    made = {}
    for factor in factors:
        try:
            made[factor.name] = _coded(factor, frame)
        except FitRefused as refused:
            faults += refused.faults
    if faults:
        raise FitRefused(faults)
    return made


def design_of(
    factors: Iterable[Coded],
    rows: NDArray[np.intp],
    *,
    unseen: Mapping[str, frozenset[int]],
) -> Design:
    """The design of chosen segments: base levels first, without the cells named in `unseen`.

    Where a table does not apply, or an outcome has no value, the base stands: no effect.
    """
    terms = []
    for one in factors:
        gone = unseen.get(one.factor.name, frozenset())
        kept = [place for place in range(len(one.names)) if place not in gone]
        order = [one.base, *(place for place in kept if place != one.base)]
        if len(order) < 2:
            continue
        lookup = np.zeros(len(one.names), dtype=np.int32)
        lookup[order] = np.arange(len(order), dtype=np.int32)
        codes = one.codes[rows]
        terms.append(
            Category(
                name=one.factor.name,
                levels=tuple(one.names[place] for place in order),
                codes=np.where(codes >= 0, lookup[codes], 0).astype(np.int32),
            )
        )
    return Design(terms=tuple(terms), size=len(rows))


def _coded(factor: Factor, frame: pd.DataFrame) -> Coded:
    if factor.column not in frame:
        text = f"the experience has no column {factor.column}; add it to the book, or say `column`"
        raise _refused(factor, "NO_COLUMN", text)
    applies = _applies(factor, frame)
    column = frame[factor.column]
    levels: tuple[FactorLevel, ...] = ()
    codes: Codes
    if isinstance(factor.shape, Categories):
        levels = factor.shape.levels or _found(factor, column[applies])
        names = tuple(level.name for level in levels)
        lookup = {level.value: place for place, level in enumerate(levels)}
        codes = np.asarray(column.astype(str).map(lookup).fillna(OUTSIDE), dtype=np.int32)
        strange = int(((codes == OUTSIDE) & applies).sum())
        if strange:
            text = f"{strange} segments have a level that `levels` does not list"
            raise _refused(factor, "UNKNOWN_LEVEL", text)
    else:
        names = factor.shape.names
        missing = ABSENT if factor.control is not None else OUTSIDE
        numbers = pd.to_numeric(column, errors="coerce")
        strange = int((numbers.isna() & column.notna()).sum())
        if strange:
            text = f"{strange} segments hold something else than a number, which bands need"
            raise _refused(factor, "NOT_A_NUMBER", text)
        codes = _banded(factor.shape, numbers.to_numpy(dtype=np.float64), missing)
    codes[~applies] = ELSEWHERE
    exposure = frame["exposure"].to_numpy(dtype=np.float64)
    return Coded(
        factor=factor,
        levels=levels,
        names=names,
        codes=codes,
        base=_base(factor, names, codes, exposure),
    )


def _banded(bands: Bands, values: Floats, missing: int) -> Codes:
    known = np.isfinite(values)
    steps = np.floor(np.where(known, values, 0.0) * 10**bands.places + 0.5)
    starts = np.array([scaled(first, bands.places) for first in bands.firsts])
    codes: Codes = (np.searchsorted(starts, steps, side="right") - 1).astype(np.int32)
    codes[(codes < 0) | (steps > scaled(bands.last, bands.places))] = OUTSIDE
    codes[~known] = missing
    return codes


def _applies(factor: Factor, frame: pd.DataFrame) -> NDArray[np.bool_]:
    gate = factor.applies_to
    if gate is None:
        return np.ones(len(frame), dtype=bool)
    if gate.feature not in frame:
        text = f"applies_to names {gate.feature}, which is no column of the experience"
        raise _refused(factor, "NO_COLUMN", text)
    return frame[gate.feature].isin(gate.levels).to_numpy(dtype=bool)


def _found(factor: Factor, column: pd.Series[str]) -> tuple[FactorLevel, ...]:
    values = sorted(column.dropna().astype(str).unique())
    if len(values) > _MOST_LEVELS or not all(_LEVEL.fullmatch(value) for value in values):
        text = (
            f"its {len(values)} levels are not names of letters, digits and _ (at most "
            f"{_MOST_LEVELS}); list `levels` with `value`, or give `bands` for a number"
        )
        raise _refused(factor, "LEVEL_NAMES", text)
    return tuple(FactorLevel(name=value, value=value, zh=value, en=value) for value in values)


def _base(factor: Factor, names: tuple[str, ...], codes: Codes, exposure: Floats) -> int:
    shown = codes >= 0
    held = np.bincount(codes[shown], weights=exposure[shown], minlength=len(names))
    if factor.control is not None:
        # Outcomes are clipped at the mean of those outside the programmes: above it is nobody.
        return int(np.flatnonzero(held)[-1]) if held.any() else len(names) - 1
    if factor.base:
        firsts = factor.shape.firsts if isinstance(factor.shape, Bands) else names
        if factor.base not in firsts:
            raise _refused(factor, "BASE", "`base` is none of its levels or first values")
        return firsts.index(factor.base)
    return int(held.argmax())


def _refused(factor: Factor, code: str, text: str) -> FitRefused:
    return FitRefused([FitFault(where=f"factors.{factor.name}", code=code, text=text)])
