"""Every segment of a study with what it cost and what a tariff's factors expected it to cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.pricing.core.evidence import ABSENT
from services.pricing.core.tariff import E4, MILLION
from services.pricing.fitting.models.coding import OUTSIDE, Coded, coded
from services.pricing.fitting.models.factors import Factor
from services.pricing.fitting.models.fit_result import CauseFit, Fit
from services.pricing.fitting.models.settings import FitSettings
from services.pricing.fitting.selection.cells import cell_name
from services.pricing.fitting.selection.choice import Selection

Floats = NDArray[np.float64]
Model = Literal["frequency", "severity"]

ACTUAL, INDICATED, SELECTED, FLAT = "actual", "indicated", "selected", "flat"
# The relativities of the tariff before, where the selection names one.
PREVIOUS = "previous"
# Of one cause: claims that happened, and that the frequency model's factors expected.
CLAIMS, EXPECTED_CLAIMS = "claims_", "expected_claims_"
# Of one cause: the amount of one claim that the severity model's factors expected, minor units.
EXPECTED_AMOUNT = "expected_amount_"
# Of one factor: the cell of its tables that a segment stands in, in the tariff's order.
CELL = "cell_"
NO_VALUE, NOT_ASKED = "no value", "does not apply"


def scored(
    experience: pd.DataFrame, fit: Fit, settings: FitSettings, selection: Selection | None
) -> pd.DataFrame:
    """The segments that the tariff prices, with `actual` and what each tariff expected of them.

    Amounts are minor units over the segment's exposure: losses trended, developed and capped as
    the study has them. `indicated`, `selected` (when something was), `previous` (when the selection
    names one: its relativities at the bases of now) and `flat`, which charges everybody the same a
    year, each sum to `actual` over what was learnt from: a tariff's level is a matter of the loads,
    and is not what a report of its relativities is about.
    """
    frame: pd.DataFrame = experience.sort_values("segment_id", ignore_index=True)
    by_factor = coded(_factors(fit, settings), frame)
    priced = ~np.any([one.codes == OUTSIDE for one in by_factor.values()], axis=0)
    frame = frame.loc[priced].reset_index(drop=True)
    by_factor = coded(_factors(fit, settings), frame)
    if "holdout" not in frame:
        frame["holdout"] = "train"
    exposure = frame["exposure"].to_numpy(np.float64)
    chosen = {} if selection is None else _chosen(selection)
    before = {} if selection is None else _previous(selection)
    actual, indicated, selected, previous = (np.zeros(len(frame)) for _ in range(4))
    for cause in fit.causes:
        offset = exposure * frame[f"frequency_offset_{cause.name}"].to_numpy(np.float64)
        cost = offset * frame[f"severity_offset_{cause.name}"].to_numpy(np.float64)
        actual += frame[f"loss_{cause.name}_minor"].to_numpy(np.float64)
        base = cause.base_e4 / E4
        indicated += cost * base * _product(cause, by_factor, {})
        selected += cost * base * _product(cause, by_factor, chosen)
        previous += cost * base * _product(cause, by_factor, before)
        frame[EXPECTED_CLAIMS + cause.name] = offset * _models(cause, by_factor, "frequency")
        frame[EXPECTED_AMOUNT + cause.name] = frame[f"severity_offset_{cause.name}"] * _models(
            cause, by_factor, "severity"
        )
    for name, one in by_factor.items():
        frame[CELL + name] = _titles(one)
    frame[ACTUAL] = actual
    learnt = (frame["holdout"] == "train").to_numpy()
    tariffs = {INDICATED: indicated, FLAT: exposure}
    tariffs |= {} if selection is None else {SELECTED: selected}
    tariffs |= {PREVIOUS: previous} if before else {}
    for name, expected in tariffs.items():
        frame[name] = expected * (actual[learnt].sum() / expected[learnt].sum())
    for cause in fit.causes:
        name = EXPECTED_CLAIMS + cause.name
        happened = frame[CLAIMS + cause.name].to_numpy(np.float64)[learnt].sum()
        frame[name] *= happened / frame[name].to_numpy()[learnt].sum()
    return frame


def _titles(one: Coded) -> Any:  # pandas-stubs know no categorical of texts
    named = [level.en for level in one.levels]
    names = named if len({*named}) == len(one.names) else list(one.names)
    # Codes −1 (does not apply) and −2 (absent) count from the end.
    titles = [*names, NO_VALUE, NOT_ASKED]
    places: Any = np.where(one.codes < 0, one.codes + len(titles), one.codes)
    categories: Any = titles
    return pd.Categorical.from_codes(places, categories=categories, ordered=True)


def _factors(fit: Fit, settings: FitSettings) -> Sequence[Factor]:
    named = {table.name for cause in fit.causes for table in cause.tables}
    return [factor for name, factor in settings.factors.items() if name in named]


def _chosen(selection: Selection) -> Mapping[tuple[str, str, str], float]:
    return {
        (one.cause, one.table, one.cell): one.selected_millionths / MILLION
        for one in selection.choices
    }


def _previous(selection: Selection) -> Mapping[tuple[str, str, str], float]:
    """What the tariff before has for every cell; nothing without one.

    A table that it did not have is 1 throughout. A cell for which it has no one factor is left out,
    and stands as indicated.
    """
    had = {
        (one.cause, one.table) for one in selection.choices if one.previous_millionths is not None
    }
    if not had:
        return {}
    found = {}
    for one in selection.choices:
        if one.previous_millionths is not None:
            found[one.cause, one.table, one.cell] = one.previous_millionths / MILLION
        elif (one.cause, one.table) not in had:
            found[one.cause, one.table, one.cell] = 1.0
    return found


def _product(
    cause: CauseFit, by_factor: Mapping[str, Coded], chosen: Mapping[tuple[str, str, str], float]
) -> Floats:
    """The relativity of every segment: what was selected, and elsewhere what was indicated."""
    found = [
        _looked_up(
            by_factor[table.name],
            [
                chosen.get((cause.name, table.name, cell_name(cell)), cell.indicated)
                for cell in table.cells
            ],
            chosen.get((cause.name, table.name, ABSENT), table.absent_factor or 1.0),
        )
        for table in cause.tables
    ]
    return _multiplied(found, by_factor)


def _models(cause: CauseFit, by_factor: Mapping[str, Coded], model: Model) -> Floats:
    """The relativity of every segment by one of the two models, before anything was shaped."""
    found = [
        _looked_up(
            by_factor[table.name],
            [
                cell.frequency_relativity if model == "frequency" else cell.severity_relativity
                for cell in table.cells
            ],
            1.0,
        )
        for table in cause.tables
    ]
    return _multiplied(found, by_factor)


def _multiplied(found: Sequence[Floats], by_factor: Mapping[str, Coded]) -> Floats:
    product = np.ones(len(next(iter(by_factor.values())).codes))
    for one in found:
        product *= one
    return product


def _looked_up(known: Coded, cells: Sequence[float], absent: float) -> Floats:
    # Codes -1 (does not apply) and -2 (absent) count from the end.
    by_code = np.array([*cells, absent, 1.0])
    return np.asarray(by_code[known.codes], dtype=np.float64)
