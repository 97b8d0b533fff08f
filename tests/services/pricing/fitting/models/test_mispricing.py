"""The full tariff lies nearest to what people truly cost, over several simulated books.

Controls: with the outcomes of other people it lies further off than no price for control at all,
and what EVIDENCE calls stacking, the latest reading and a rule together, undercharges those most
who upload the best of four.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.services.pricing.fitting.models.mispriced import SEEDS, Found, interval, mispriced


def further(found: list[Found], group: str, one: str, other: str) -> float:
    """The lower end of how much further off `one` is than `other`, seed by seed."""
    return interval([seed[group][one][0] - seed[group][other][0] for seed in found])[1]


def off(found: list[Found], group: str, way: str) -> float:
    return interval([seed[group][way][0] for seed in found])[0]


@pytest.mark.fault
@pytest.mark.timeout(3_600)
def test_the_full_tariff_misprices_least() -> None:
    found = [mispriced(seed) for seed in SEEDS]
    ways = ("one price", "flat", "rule", "full")
    for worse, better in pairwise(ways):
        assert further(found, "all", worse, better) > 0, (worse, better)
    for other in ("latest", "latest and rule"):
        assert off(found, "all", "full") < off(found, "all", other)
        assert further(found, "upload the best of four", other, "full") > 0
        assert off(found, "worsened by 0.5 % or more", "full") < off(
            found, "worsened by 0.5 % or more", other
        )
    assert further(found, "all", "full", "truth") > 0, "nothing is better than the truth"
    assert further(found, "all", "shuffled", "flat") > 0, "others' outcomes are worth nothing"
