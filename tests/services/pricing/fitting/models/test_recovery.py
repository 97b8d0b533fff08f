"""What is true of the simulated book is found again, as often as an interval of 95 % promises.

Negative control: the errors that the Poisson model claims for itself hold the truth of the
outpatient cause far less often, because a person's visits go together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from services.pricing.fitting.simulated.truth import CAUSES
from tests.services.pricing.fitting.models.known_truth import Recovered, recovered

# Age, sex, coinsurance, three regions.
COEFFICIENTS = 6


def share(found: Iterable[Recovered], error: Callable[[Recovered], float]) -> float:
    """How many of the intervals hold the truth."""
    held = [one.covered(error(one)) for one in found]
    return sum(held) / len(held)


def clustered(one: Recovered) -> float:
    return one.se_clustered


def naive(one: Recovered) -> float:
    return one.se_naive


def test_intervals_of_five_books_hold_the_truth() -> None:
    found = [one for seed in range(5) for one in recovered(seed)]
    assert len(found) == 5 * COEFFICIENTS * len(CAUSES)
    assert 0.90 <= share(found, clustered) <= 0.99
    assert share([one for one in found if one.cause == "outpatient"], naive) < 0.90


@pytest.mark.fault
@pytest.mark.timeout(3_600)
def test_intervals_of_a_hundred_books_hold_the_truth() -> None:
    found = [one for seed in range(100) for one in recovered(seed)]
    for cause in CAUSES:
        own = [one for one in found if one.cause == cause]
        assert len(own) == 100 * COEFFICIENTS
        assert 0.90 <= share(own, clustered) <= 0.99, cause
    assert share([one for one in found if one.cause == "outpatient"], naive) < 0.90
