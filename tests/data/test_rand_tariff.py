"""A demographic tariff of admissions and inpatient dollars, from a company's CSV to fit.json."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

from services.pricing.core.tariff import E4
from services.pricing.fitting.models.fit_result import CellFit, Fit, fit_from
from tests.data.rand_book import rand_folder
from tests.stack.typed import lipei

pytestmark = pytest.mark.data

# shared data's README: so many admissions cost nothing.
FREE_ADMISSIONS = 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = rand_folder(Path(os.environ["DATA"]), tmp_path_factory.mktemp("rand") / "book")
    for command in ("check", "study", "fit"):
        done = lipei("pricing", command, "-f", made)
        assert done.code == 0, done.err
    return made


@pytest.fixture(scope="module")
def found(folder: Path) -> Fit:
    return fit_from((folder / "fit" / "fit.json").read_bytes())


@pytest.fixture(scope="module")
def learnt(folder: Path, found: Fit) -> pd.DataFrame:
    """The segments that were learnt from, with the cell of every table."""
    rows = pd.read_parquet(folder / "study" / "experience.parquet")
    rows = rows[rows["holdout"] == "train"].reset_index(drop=True)
    columns = {"coinsurance": "coins", "chronic_index": "disea"}
    for table in found.causes[0].tables:
        values = rows[columns.get(table.name, table.name)]
        cells = [name(cell) for cell in table.cells]
        if table.kind == "categories":
            rows[f"t_{table.name}"] = values
            continue
        starts = [float(cell.first or 0) for cell in table.cells]
        places = (
            np.searchsorted(starts, np.floor(values.astype(float) * 10 + 0.5) / 10, side="right")
            - 1
        )
        rows[f"t_{table.name}"] = np.array(cells)[places]
    return rows


def name(cell: CellFit) -> str:
    return cell.level if cell.level is not None else f"{cell.first}–{cell.last}"


def test_frequency_is_that_of_statsmodels(found: Fit, learnt: pd.DataFrame) -> None:
    model = found.causes[0].frequency
    wanted = {(one.name, one.level): one for one in model.coefficients}
    bases = {
        table.name: next(name(c) for c in table.cells if (table.name, name(c)) not in wanted)
        for table in found.causes[0].tables
    }
    terms = " + ".join(f"C(t_{one}, Treatment('{base}'))" for one, base in bases.items())
    oracle = smf.glm(
        f"claims_inpatient ~ {terms}",
        learnt,
        family=sm.families.Poisson(),
        exposure=learnt["exposure"] * learnt["frequency_offset_inpatient"],
    ).fit(
        tol=1e-12,
        cov_type="cluster",
        cov_kwds={"groups": pd.factorize(learnt["person_id"])[0], "use_correction": True},
    )
    for (factor, level), one in wanted.items():
        label = f"C(t_{factor}, Treatment('{bases[factor]}'))[T.{level}]" if level else "Intercept"
        assert one.estimate == pytest.approx(oracle.params[label], abs=1e-7)
        assert one.se_clustered == pytest.approx(oracle.bse[label], rel=1e-5)
    assert model.pearson_dispersion == pytest.approx(oracle.pearson_chi2 / oracle.df_resid)


def test_free_admissions_are_counted_and_left_out_of_severity(found: Fit, folder: Path) -> None:
    claims = pd.read_parquet(folder / "study" / "claims.parquet")
    assert claims["zero"].sum() >= FREE_ADMISSIONS
    assert found.causes[0].severity.left_out >= FREE_ADMISSIONS - 2  # those held out by person
    assert "ZERO_AMOUNTS" in {warning.code for warning in found.warnings}


def test_the_tariff_says_what_the_experiment_is_known_for(found: Fit) -> None:
    """Who pays a share goes to hospital less; the young, men and the healthy cost less."""
    tables = {one.name: [c.indicated for c in one.cells] for one in found.causes[0].tables}
    assert tables["coinsurance"] == sorted(tables["coinsurance"], reverse=True)
    assert 0.6 < tables["coinsurance"][-1] < 0.9
    assert tables["chronic_index"] == sorted(tables["chronic_index"])
    women, men = tables["sex"]
    assert men < women
    assert max(tables["age"][:2]) < min(tables["age"][2:])


def test_the_premiums_of_the_book_have_the_target_loss_ratio(
    found: Fit, learnt: pd.DataFrame
) -> None:
    net = np.full(len(learnt), found.causes[0].base_e4 / E4)
    for table in found.causes[0].tables:
        factors = {name(cell): cell.indicated for cell in table.cells}
        net *= learnt[f"t_{table.name}"].map(factors).to_numpy()
    loads = found.loads
    assert loads is not None
    net += (found.large_loss_load_e4 + loads.fixed_expense_e4) / E4
    shares = (loads.variable_expense_millionths + loads.profit_millionths) / 1e6
    gross = (net / (1 - shares) * learnt["exposure"]).sum()
    claims = learnt[["loss_inpatient_minor", "excess_inpatient_minor"]].sum().sum()
    assert claims / gross == pytest.approx(0.75, rel=1e-5)
