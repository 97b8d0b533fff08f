"""What a report found on what was held out, in whole numbers, for the evidence and the memo.

report/validation.json names the fit and the selection that it judged: of others it says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import msgspec
import numpy as np
import pandas as pd

from services.pricing.core.evidence import Decile, Hazard, HeldOut, Ratio, Validation
from services.pricing.core.tariff import E4, MILLION, canonical_bytes
from services.pricing.fitting.models.survival_files import Survival
from services.pricing.fitting.report import measures
from services.pricing.fitting.report.scoring import INDICATED, SELECTED

FILE = "validation.json"
AGES = (0, 30, 40, 50, 60, 70, 121)
_HELD_OUT = ("last_year", "person")
_SEED = 20_26


class Validated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: whose validation it is, by SHA-256; no selection: the indicated were judged."""

    fit_sha256: str
    selection_sha256: str | None
    validation: Validation


def validated_bytes(found: Validated) -> bytes:
    """The one JSON form of the file."""
    return canonical_bytes(found)


def validation(scored: pd.DataFrame, survival: Survival | None, region: str) -> Validation:
    """Both holdouts by themselves, the test of proportional hazards, and fairness on all held out.

    `scored` has a row a segment, amounts in minor units; without `survival` no hazard was tested.
    """
    judged = SELECTED if SELECTED in scored else INDICATED
    held = scored[scored["holdout"] != "train"]
    parts = [(name, scored[scored["holdout"] == name]) for name in _HELD_OUT]
    causes = () if survival is None else survival.causes
    return Validation(
        judged="selected" if judged == SELECTED else "indicated",
        held_out=tuple(_held_out(name, part, judged) for name, part in parts if len(part)),
        hazards=tuple(
            Hazard(
                cause=cause.cause,
                name=f"{one.name} {one.level}".strip(),
                p_millionths=_millionths(one.p_proportional),
            )
            for cause in causes
            for one in cause.checked
        ),
        fairness=tuple(_fairness(held, judged, region)) if len(held) else (),
    )


def age_bands(frame: pd.DataFrame) -> pd.Series | None:
    """Each segment's age band; None without ages."""
    if "age" not in frame:
        return None
    titles = [f"{low}–{high - 1}" for low, high in pairwise(AGES)]
    return pd.cut(frame["age"], list(AGES), right=False, labels=titles)


def _held_out(name: str, part: pd.DataFrame, judged: str) -> HeldOut:
    whole = measures.actual_expected(part, judged, np.zeros(len(part), np.int64))
    gini = measures.gini(part, judged, seed=_SEED)
    return HeldOut(
        name=name,
        overall=_ratio("all", whole.iloc[0]),
        gini_millionths=_millionths(gini["gini"]),
        gini_low95_millionths=_millionths(gini["low95"]),
        gini_high95_millionths=_millionths(gini["high95"]),
        deciles=tuple(
            Decile(
                actual_e4=round(float(row["actual_a_year"]) * E4),
                expected_e4=round(float(row["expected_a_year"]) * E4),
            )
            for _, row in measures.lift(part, judged).iterrows()
        ),
    )


def _fairness(held: pd.DataFrame, judged: str, region: str) -> Iterator[Ratio]:
    for name, by in (
        ("sex", held.get("sex")),
        ("age", age_bands(held)),
        (region, held.get(region)),
    ):
        if by is not None:
            for _, row in measures.actual_expected(held, judged, by).iterrows():
                yield _ratio(f"{name} {row['group']}", row)


def _ratio(name: str, row: pd.Series) -> Ratio:
    return Ratio(
        of=name,
        exposure_millionths=round(float(row["exposure"]) * MILLION),
        ratio_millionths=_millionths(row["ratio"]),
        low95_millionths=_millionths(row["low95"]),
        high95_millionths=_millionths(row["high95"]),
    )


def _millionths(value: float | None) -> int | None:
    return None if value is None or not math.isfinite(value) else round(float(value) * MILLION)
