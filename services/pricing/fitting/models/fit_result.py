"""What a fit found, as immutable data: the file fit/fit.json. Knows no frame and no estimator.

Written as canonical JSON (keys sorted, no spaces), never as a pickle, so that the same data and
settings give the same bytes. Relativities are floats here; a tariff takes millionths.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from services.pricing.core.tariff import AppliesTo, Feature, PlainDecimal, canonical_bytes


class FitPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A piece of a fit: every key must stand in the file, and no other."""


class FitWarning(FitPart, frozen=True):
    """Something that the actuary should look at before selecting.

    `code` is stable (THIN_LEVEL ...), `where` names cause, table and level (`outpatient.age_band.
    60-64`), the sentences say what and what to do.
    """

    code: str
    where: str
    zh: str
    en: str


class Coefficient(FitPart, frozen=True):
    """One coefficient on the log scale; the interval of 95 % stands on the clustered error.

    `name` is the factor (`intercept` for the base), `level` its level or band, empty for the
    intercept and for a factor that enters as a number. `se_naive` takes the model at its word,
    `se_robust` allows any variance per policy-year, `se_clustered` also lets one person's
    policy-years go together.
    """

    name: str
    level: str
    estimate: float
    se_naive: float
    se_robust: float
    se_clustered: float
    low95: float
    high95: float


class ModelFit(FitPart, frozen=True):
    """One generalised linear model. `rows` before and `cells` after grouping.

    `pearson_dispersion` is Pearson χ² / (rows − coefficients) on the ungrouped rows. `deviance` is
    of the ungrouped rows too. `left_out` counts what the model may not see: a severity's claims
    of amount 0.
    """

    family: Literal["poisson", "gamma"]
    link: Literal["log"]
    rows: int
    cells: int
    left_out: int
    persons: int
    iterations: int
    converged: bool
    deviance: float
    pearson_dispersion: float
    coefficients: tuple[Coefficient, ...]


class CellFit(FitPart, frozen=True):
    """One row of a factor table, with what stands behind it.

    A category's cell has `level`, a band's `first` and `last` (plain decimals, both inside).
    `raw` = frequency × severity relativity of the models, `credibility` the weight Z that it
    carries against the table's own mean (1 where the level is not thin), `indicated` what came of
    it after credibility, the direction asked for and the bounds. `low95` to `high95` is the
    interval of `indicated`, `raw_low95` to `raw_high95` that of `raw` (`intervals.py`); null where
    nobody was exposed, of whom the data says nothing.
    """

    level: str | None
    first: PlainDecimal | None
    last: PlainDecimal | None
    exposure: float
    claims: int
    amount_minor: float
    frequency_relativity: float
    severity_relativity: float
    raw: float
    credibility: float
    raw_low95: float | None
    raw_high95: float | None
    indicated: float
    low95: float | None
    high95: float | None
    thin: bool


def cell_title(cell: CellFit) -> str:
    """A cell as a person reads it: its level, or its band as first–last."""
    return cell.level if cell.level is not None else band_title(str(cell.first), str(cell.last))


def band_title(first: str, last: str) -> str:
    """A band as a person reads it; of one value it is the value."""
    return first if first == last else f"{first}–{last}"


class TableFit(FitPart, frozen=True):
    """One factor of one cause. `absent_factor` prices a person of whom the value is unknown."""

    name: str
    feature: str
    kind: Literal["bands", "categories"]
    layer: Literal["risk", "outcome"]
    monotone: Literal["no", "rising", "falling"]
    applies_to: AppliesTo | None
    absent_factor: float | None
    cells: tuple[CellFit, ...]


class LargeLoad(FitPart, frozen=True):
    """What a cause's large-loss load rests on; amounts a person and year, in minor units.

    They are best estimates, before any scaling. `claims` and `persons` had something above the
    threshold; `largest` is the largest claim's share of it all.
    """

    claims: int
    persons: int
    load_minor: float
    low95: float
    high95: float
    largest: float


class CauseFit(FitPart, frozen=True):
    """One cause of claims: yearly cost at the base levels in 10⁻⁴ minor units, calibrated.

    `large` is null in a fit of before.
    """

    name: str
    zh: str
    en: str
    base_e4: int
    frequency: ModelFit
    severity: ModelFit
    tables: tuple[TableFit, ...]
    large: LargeLoad | None = None


class Loads(FitPart, frozen=True):
    """What a gross premium holds beside claims, as the calibration took it."""

    fixed_expense_e4: int
    variable_expense_millionths: int
    profit_millionths: int


class Scaling(FitPart, frozen=True):
    """How far the bases stand from the best estimate.

    `pure_minor` is the claims' best estimate with the large-loss load, a person and year of what
    was fitted; `factor` is what bases and load were multiplied by, 1 without a target.
    """

    pure_minor: float
    factor: float


class Fit(FitPart, frozen=True):
    """Everything that selection and the report need of a fit.

    `book` is the SHA-256 of the experience that it was fitted on; `run_card` names the run by the
    digests of what went in, so that a rerun has the same name: the card in runs/ that lists this
    file among its outputs tells the rest. `large_loss_load_e4` is per person and year, calibrated
    as the bases are. A target of None leaves the bases as fitted: pure premiums. `loads` are those
    that the target was reckoned with; null without a target. `scaling` is null in a fit of before.
    """

    format: Literal[1]
    book: str
    synthetic: bool
    run_card: str
    currency: str
    features: tuple[Feature, ...]
    causes: tuple[CauseFit, ...]
    large_loss_load_e4: int
    target_loss_ratio: float | None
    warnings: tuple[FitWarning, ...]
    loads: Loads | None = None
    scaling: Scaling | None = None


def fit_bytes(fit: Fit) -> bytes:
    """The one JSON form of a fit.

    Raises: ValueError when a number in it is not finite, which JSON cannot carry.
    """
    content = canonical_bytes(fit)
    try:
        same = fit_from(content) == fit
    except msgspec.ValidationError as error:
        raise ValueError(f"not a fit that can be written: {error}") from None
    if not same:
        raise ValueError("not a fit that can be written: a number in it is not finite")
    return content


def fit_from(content: bytes) -> Fit:
    """The fit that `fit_bytes` wrote.

    Raises: msgspec.ValidationError when the bytes are not a fit of this format.
    """
    return _decoder.decode(content)


_decoder = msgspec.json.Decoder(Fit)
