"""Visits of the RAND Health Insurance Experiment: the published fit, and honest errors beside it.

Coefficients and naive errors: Stata 11, as statsmodels holds them for this table (class RandHIE,
statsmodels/discrete/tests/results/results_discrete.py); the model is that of Cameron and Trivedi,
Microeconometrics (2005), chapter 20: visits to a doctor in a year, no exposure.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from services.pricing.fitting.models.design import Design, Number
from services.pricing.fitting.models.regression import Fitted, regress

pytestmark = pytest.mark.data

# Coefficient and standard error.
STATA = {
    "intercept": (0.700352877227, 0.01116266712362),
    "lncoins": (-0.052535114675, 0.00288398915279),
    "idp": (-0.247086797633, 0.01061725196728),
    "lpi": (0.035290201794, 0.00182833684966),
    "fmde": (-0.03457750643, 0.00161284852954),
    "physlm": (0.271713973711, 0.01223913844387),
    "disea": (0.033941474461, 0.00056476496963),
    "hlthg": (-0.012635035534, 0.00925061122826),
    "hlthf": (0.054056326828, 0.01530987068312),
    "hlthp": (0.206115121809, 0.02627928267502),
}
DISPERSION = 6.28


@pytest.fixture(scope="module")
def visits() -> pd.DataFrame:
    folder = Path(os.environ["DATA"]) / "pricing"
    table = pd.read_csv(folder / "statsmodels_randhie.csv.gz")
    # The same rows in the same order, with the person.
    person = pd.read_csv(folder / "sampleSelection_RandHIE.csv.gz", usecols=["zper", "mdvis"])
    assert (person["mdvis"] == table["mdvis"]).all()
    return table.assign(person=person["zper"])


@pytest.fixture(scope="module")
def found(visits: pd.DataFrame) -> Fitted:
    names = [name for name in STATA if name != "intercept"]
    terms = tuple(Number(name=name, values=visits[name].to_numpy(float)) for name in names)
    design = Design(terms=terms, size=len(visits))
    return regress(
        "poisson",
        design,
        visits["mdvis"],
        np.ones(len(visits)),
        visits["person"],
        where="mdvis",
    )


def test_coefficients_and_errors_are_those_published(found: Fitted) -> None:
    assert found.model.rows == 20_190
    assert found.model.cells < 3_000
    for one in found.model.coefficients:
        estimate, error = STATA[one.name]
        assert one.estimate == pytest.approx(estimate, abs=1e-4)
        assert one.se_naive == pytest.approx(error, abs=1e-4)


def test_dispersion_shows_that_the_published_errors_are_too_small(found: Fitted) -> None:
    """2.4 to 2.9 times too small for robust errors, 3.6 to 4.9 when clustered by person."""
    assert found.model.pearson_dispersion == pytest.approx(DISPERSION, abs=0.005)
    for one in found.model.coefficients:
        assert 2.4 < one.se_robust / one.se_naive < 3.0
        assert 3.6 < one.se_clustered / one.se_naive < 4.9


def test_errors_are_those_of_statsmodels(found: Fitted, visits: pd.DataFrame) -> None:
    wide = found.design.wide(slice(None))
    model = sm.GLM(visits["mdvis"].to_numpy(), wide, family=sm.families.Poisson())
    by_person = {"groups": visits["person"].to_numpy(), "use_correction": True}
    clustered = model.fit(cov_type="cluster", cov_kwds=by_person, tol=1e-12)
    robust = model.fit(cov_type="HC0", tol=1e-12)
    assert found.coefficients == pytest.approx(clustered.params, abs=1e-9)
    assert found.errors.clustered == pytest.approx(clustered.bse, rel=1e-6)
    assert found.errors.robust == pytest.approx(robust.bse, rel=1e-6)
    assert found.model.pearson_dispersion == pytest.approx(
        clustered.pearson_chi2 / clustered.df_resid, rel=1e-9
    )
    assert found.model.deviance == pytest.approx(clustered.deviance, rel=1e-9)
