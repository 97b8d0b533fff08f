"""Bühlmann–Straub on Hachemeister's bodily injury data agrees with R's actuar.

Source: Hachemeister (1975), as `hachemeister` of the R package actuar 3.3-2; its `cm(~state,
hachemeister, ratios = ratio.1:ratio.12, weights = weight.1:weight.12)` prints these values.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from services.pricing.fitting.models.credibility import buhlmann_straub

pytestmark = pytest.mark.data


def test_premium_and_variances_are_those_published() -> None:
    wide = pd.read_csv(Path(os.environ["DATA"]) / "pricing" / "hachemeister.csv")
    long = pd.wide_to_long(wide, ["ratio", "weight"], i="state", j="quarter", sep=".")
    found = buhlmann_straub(
        long.index.get_level_values("state").to_numpy(), long["ratio"], long["weight"]
    )
    assert found.collective == pytest.approx(1683.713, abs=5e-4)
    assert found.between == pytest.approx(89638.73, abs=5e-3)
    assert found.within == pytest.approx(139120026, abs=0.5)
    assert found.groups["credibility"].between(0.7, 1).all()
