"""The simulated book's slopes are what the RAND experiment's public-use table gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.pricing.fitting.simulated.truth import truth
from tests.data.rand_hie_slopes import adults, frequency, severity

pytestmark = pytest.mark.data


@pytest.mark.parametrize("cause", ["inpatient", "outpatient"])
def test_the_truth_s_slopes_are_rand_s(cause: str) -> None:
    rows = adults(Path(os.environ["DATA"]))
    found, used = frequency(rows, cause), truth().frequency[cause]
    assert used.age_10y == round(found["age_10y"], 4)
    assert used.female == round(found["female"], 4)
    assert used.chronic == round(found["chronic_10"], 4)
    assert used.ln_coinsurance == round(found["ln_coinsurance"], 4)
    assert used.base_rate == round(found["base_rate"], 4)
    paid, amounts = severity(rows, cause), truth().severity[cause]
    assert amounts.age_10y == round(paid["age_10y"], 4)
    assert amounts.female == round(paid["female"], 4)
    assert amounts.chronic == round(paid["chronic_10"], 4)
    assert amounts.dispersion == round(paid["dispersion"], 4)


def test_the_frailty_s_variance_is_of_visits() -> None:
    found = frequency(adults(Path(os.environ["DATA"])), "outpatient")
    assert truth().frailty_variance == round(found["frailty_variance"], 4)
