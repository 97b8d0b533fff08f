"""A fit's file: there and back without a change, one form, no number that JSON cannot carry."""

from __future__ import annotations

import json

import msgspec
import pytest

from services.pricing.core.tariff import CategoryFeature, Level, NumericFeature
from services.pricing.fitting.models.fit_result import (
    CauseFit,
    CellFit,
    Coefficient,
    Fit,
    FitWarning,
    ModelFit,
    TableFit,
    fit_bytes,
    fit_from,
)


def model(estimate: float = -1.5) -> ModelFit:
    intercept = Coefficient(
        name="intercept",
        level="",
        estimate=estimate,
        se_naive=0.1,
        se_robust=0.2,
        se_clustered=0.3,
        low95=-2.1,
        high95=-0.9,
    )
    return ModelFit(
        family="poisson",
        link="log",
        rows=10,
        cells=2,
        left_out=0,
        persons=5,
        iterations=4,
        converged=True,
        deviance=9.25,
        pearson_dispersion=1.25,
        coefficients=(intercept,),
    )


def cell(level: str, relativity: float) -> CellFit:
    return CellFit(
        level=level,
        first=None,
        last=None,
        exposure=5.5,
        claims=3,
        amount_minor=120_000.0,
        frequency_relativity=relativity,
        severity_relativity=1.0,
        raw=relativity,
        credibility=1.0,
        indicated=relativity,
        raw_low95=0.4,
        raw_high95=2.5,
        low95=0.5,
        high95=2.0,
        thin=True,
    )


def fit(estimate: float = -1.5, relativity: float = 1.1) -> Fit:
    sex = CategoryFeature(
        name="sex",
        zh="性别",
        en="sex",
        required=True,
        levels=(
            Level(name="F", zh="女", en="female", priced=True),
            Level(name="M", zh="男", en="male", priced=True),
        ),
    )
    age = NumericFeature(
        name="age",
        zh="年龄",
        en="age",
        unit_ucum="a",
        unit_zh="岁",
        unit_en="years",
        places=0,
        when_finer="refuse",
        plausible_first="0",
        plausible_last="120",
        priced_first="18",
        priced_last="70",
        required=True,
        biometric=False,
    )
    table = TableFit(
        name="sex",
        feature="sex",
        kind="categories",
        layer="risk",
        monotone="no",
        applies_to=None,
        absent_factor=None,
        cells=(cell("F", 1.0), cell("M", relativity)),
    )
    cause = CauseFit(
        name="outpatient",
        zh="门诊",
        en="outpatient",
        base_e4=1_234_567,
        frequency=model(estimate),
        severity=model(),
        tables=(table,),
    )
    thin = FitWarning(code="THIN_LEVEL", where="outpatient.sex.M", zh="件数少", en="few claims")
    return Fit(
        format=1,
        book="0" * 64,
        synthetic=True,
        run_card="fit-00000000",
        currency="CNY",
        features=(sex, age),
        causes=(cause,),
        large_loss_load_e4=10_000,
        target_loss_ratio=0.7,
        warnings=(thin,),
    )


def test_a_fit_comes_back_from_its_file_unchanged_and_in_one_form() -> None:
    content = fit_bytes(fit(estimate=0.1 + 0.2))
    assert fit_from(content) == fit(estimate=0.1 + 0.2)
    assert fit_bytes(fit_from(content)) == content
    tree = json.loads(content)
    assert json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False) == (
        content.decode()
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_never_written(number: float) -> None:
    with pytest.raises(ValueError, match="estimate"):
        fit_bytes(fit(estimate=number))
    with pytest.raises(ValueError, match="relativity"):
        fit_bytes(fit(relativity=number))
    assert fit_bytes(fit())


def test_an_optional_number_that_is_not_finite_is_not_read_as_absent() -> None:
    whole = fit()
    table = msgspec.structs.replace(whole.causes[0].tables[0], absent_factor=float("nan"))
    cause = msgspec.structs.replace(whole.causes[0], tables=(table,))
    with pytest.raises(ValueError, match="not finite"):
        fit_bytes(msgspec.structs.replace(whole, causes=(cause,)))


def test_an_unknown_key_is_refused() -> None:
    tree = json.loads(fit_bytes(fit()))
    tree["extra"] = 1
    with pytest.raises(msgspec.ValidationError, match="extra"):
        fit_from(json.dumps(tree).encode())
