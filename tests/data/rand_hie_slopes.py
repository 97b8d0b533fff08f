"""The slopes that the simulated book takes from the RAND Health Insurance Experiment.

`python -m tests.data.rand_hie_slopes FOLDER` prints them from `FOLDER/pricing`. Adults only (age 18
or more in the year), every year that they were observed, exposure as recorded. Log-linear Poisson
models of physician visits and of admissions; Gamma models of dollars per visit and admission.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import statsmodels.api as sm

Floats = npt.NDArray[np.float64]

FILE = "pricing/sampleSelection_RandHIE.csv.gz"
ADULT_AGE, CENTRE_AGE = 18, 45


def adults(folder: Path) -> pd.DataFrame:
    """Person-years of adults: counts, dollars, exposure and the design's columns."""
    rows = pd.read_csv(folder / FILE)
    rows = rows[rows["xage"] >= ADULT_AGE]
    return pd.DataFrame(
        {
            "person": rows["zper"].to_numpy(),
            "outpatient": rows["mdvis"].to_numpy(),
            "inpatient": rows["totadm"].to_numpy(),
            "inpatient_dollars": rows["inpdol"].to_numpy(),
            "outpatient_dollars": rows["outpdol"].to_numpy(),
            "exposure": rows["time"].to_numpy(),
            "const": 1.0,
            "age_10y": ((rows["xage"] - CENTRE_AGE) / 10).to_numpy(),
            "female": rows["female"].to_numpy(),
            "chronic_10": (rows["disea"] / 10).to_numpy(),
            "ln_coinsurance": np.log1p(rows["coins"]).to_numpy(),
            "individual_deductible": rows["idp"].to_numpy(),
        }
    )


DESIGN = ["const", "age_10y", "female", "chronic_10", "ln_coinsurance", "individual_deductible"]


def frequency(rows: pd.DataFrame, cause: str) -> dict[str, float]:
    """Coefficients of a count, its rate at the base, and the variance of the person's frailty."""
    model = sm.GLM(
        rows[cause], rows[DESIGN], family=sm.families.Poisson(), exposure=rows["exposure"]
    )
    fitted = model.fit(tol=1e-12)
    found = {name: float(fitted.params[name]) for name in DESIGN[1:-1]}
    healthy = rows["chronic_10"].quantile(0.25)
    at_base = fitted.params["const"] + healthy * fitted.params["chronic_10"]
    found["base_rate"] = float(np.exp(at_base))
    found["mean_rate"] = float(rows[cause].sum() / rows["exposure"].sum())
    found["frailty_variance"] = _frailty_variance(rows, cause, np.asarray(fitted.mu))
    return found


def _frailty_variance(rows: pd.DataFrame, cause: str, expected: Floats) -> float:
    """Covariance of two years of one person, over the product of what is expected of them.

    Years of one person are independent given the frailty, so the covariance of their residuals is
    the variance of the frailty alone, whatever the dispersion inside a year is.
    """
    residual = rows[cause].to_numpy() - expected
    terms = {"y": residual, "yy": residual**2, "m": expected, "mm": expected**2}
    sums = pd.DataFrame(terms).groupby(rows["person"].to_numpy()).sum()
    between = (sums["y"] ** 2 - sums["yy"]).sum() / (sums["m"] ** 2 - sums["mm"]).sum()
    return float(between)


def severity(rows: pd.DataFrame, cause: str) -> dict[str, float]:
    """Slopes and dispersion of the dollars of one visit or admission.

    Of years with exactly one: those of several are one sum, and their parts are not independent.
    The dearest 1 % are left out, whose place the simulated book gives to a Pareto tail.
    """
    paid = rows[(rows[cause] == 1) & (rows[f"{cause}_dollars"] > 0)]
    paid = paid[paid[f"{cause}_dollars"] <= paid[f"{cause}_dollars"].quantile(0.99)]
    family = sm.families.Gamma(link=sm.families.links.Log())
    model = sm.GLM(paid[f"{cause}_dollars"], paid[DESIGN], family=family)
    fitted = model.fit(tol=1e-12, scale="X2")
    return {name: float(fitted.params[name]) for name in ("age_10y", "female", "chronic_10")} | {
        "dispersion": float(fitted.scale),
        "number": float(len(paid)),
    }


def main() -> None:
    """Print every constant to four places."""
    rows = adults(Path(sys.argv[1]))
    for name, found in (
        ("outpatient", frequency(rows, "outpatient")),
        ("inpatient", frequency(rows, "inpatient")),
        ("severity of outpatient", severity(rows, "outpatient")),
        ("severity of inpatient", severity(rows, "inpatient")),
    ):
        sys.stdout.write(f"{name}\n")
        for what, value in found.items():
            sys.stdout.write(f"  {what:24} {value:.4f}\n")
    chronic = rows["chronic_10"].quantile([0.25, 0.75])
    sys.stdout.write(f"chronic index, quartiles / 10: {chronic.to_list()}\n")


if __name__ == "__main__":
    main()
