"""What is proposed with a tariff and kept for ever: what the fit indicated, what was chosen.

Whole numbers only, so that it has one canonical JSON and one digest; a figure of the fit that is
not finite (NaN, infinity) stands as null, for the gates to see. Indicated and selected are never
merged: a selected relativity that differs carries the reason of whoever chose it.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from services.pricing.core.tariff import (
    AmountE4,
    FactorMillionths,
    Name,
    Part,
    Sha256,
    Text,
    canonical_bytes,
)

Count = Annotated[int, Meta(ge=0, description="a whole number from 0")]
Reason = Annotated[str, Meta(max_length=600, description="text of at most 600 characters")]
CellName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,60}\Z", description="a level, first-last, or absent")
]
ABSENT = "absent"


class Coefficient(Part, frozen=True):
    """One coefficient with its clustered standard error, in millionths; null is not finite."""

    name: Annotated[str, Meta(min_length=1, max_length=120)]
    estimate_millionths: int | None
    se_millionths: int | None


class Model(Part, frozen=True):
    """How one fit ended."""

    part: Literal["frequency", "severity"]
    family: Annotated[str, Meta(min_length=1, max_length=40)]
    rows: Count
    iterations: Count
    converged: bool
    coefficients: tuple[Coefficient, ...]


class Cell(Part, frozen=True):
    """One cell of one table: what it was fitted on, what was indicated, what was selected."""

    cell: CellName
    exposure_millionths: Count
    claims: Count
    amount_minor: Count
    indicated_millionths: FactorMillionths | None
    low95_millionths: FactorMillionths | None
    high95_millionths: FactorMillionths | None
    previous_millionths: FactorMillionths | None
    selected_millionths: FactorMillionths
    reason: Reason


class TableEvidence(Part, frozen=True):
    """The cells of one table, in the tariff's order, `absent` last where there is one."""

    name: Name
    cells: Annotated[tuple[Cell, ...], Meta(min_length=1)]


class CauseEvidence(Part, frozen=True):
    """One cause: its indicated base, how its models ended, its tables."""

    name: Name
    indicated_base_e4: AmountE4
    models: Annotated[tuple[Model, ...], Meta(min_length=1)]
    tables: tuple[TableEvidence, ...]


class FitWarning(Part, frozen=True):
    """What the fit warned of."""

    code: Annotated[str, Meta(min_length=1, max_length=60)]
    where: Annotated[str, Meta(max_length=200)]
    zh: Reason
    en: Reason


class Level(Part, frozen=True):
    """How the level of the bases was set; amounts are of a person and year of what was fitted.

    `pure_e4` is the best estimate of claims with the large-loss load, `scaling_millionths` what it
    was multiplied by for the target. Without a target the rest is null. `loads_loss_ratio` is what
    the declared loads alone would give, `margin` the share of the gross premium that is left after
    claims, fixed and variable expenses.
    """

    pure_e4: AmountE4
    large_loss_load_e4: AmountE4
    scaling_millionths: Annotated[int, Meta(ge=0)]
    gross_e4: AmountE4 | None
    target_loss_ratio_millionths: Count | None
    loads_loss_ratio_millionths: Count | None
    profit_millionths: Count | None
    margin_millionths: int | None


class TrendFrom(Part, frozen=True):
    """The yearly trend from a day on, in millionths."""

    day: Text
    yearly_millionths: int


class CauseBasis(Part, frozen=True):
    """What the study did to one cause: yearly trend by first day, and where claims were cut.

    `developed` are the shares of a quarter's amounts that are known after one quarter, two, ...
    """

    name: Name
    trend: tuple[TrendFrom, ...]
    threshold_minor: Count
    developed_millionths: tuple[Count, ...]


class StudyPart(Part, frozen=True):
    """Segments of one part of the holdout: train is what was fitted."""

    name: Text
    segments: Count
    exposure_millionths: Count


class StudyBasis(Part, frozen=True):
    """The basis of the experience; days as YYYY-MM-DD, the period ends before `after_day`."""

    valuation_day: Text | None
    first_day: Text
    after_day: Text
    trend_to_day: Text
    trend_source: Reason
    development_source: Reason
    reference_deductible_minor: Count
    reading_window_months: Count
    causes: tuple[CauseBasis, ...]
    holdout: tuple[StudyPart, ...]


class LargeLosses(Part, frozen=True):
    """What the large-loss load of a cause rests on: a person and year, scaled as the tariff's is.

    The interval of 95 % is of a bootstrap of people; `largest` is the largest claim's share.
    """

    cause: Name
    claims: Count
    persons: Count
    load_e4: AmountE4
    low95_e4: AmountE4
    high95_e4: AmountE4
    largest_millionths: Count


class Ratio(Part, frozen=True):
    """Actual over expected amounts of some people, with its interval of 95 %; null: not finite."""

    of: Text
    exposure_millionths: Count
    ratio_millionths: int | None
    low95_millionths: int | None
    high95_millionths: int | None


class Decile(Part, frozen=True):
    """A tenth of the exposure by what was expected of it: amounts a person and year."""

    actual_e4: int
    expected_e4: int


class HeldOut(Part, frozen=True):
    """One holdout: its level, its Gini with a bootstrap of people, its lift by decile."""

    name: Text
    overall: Ratio
    gini_millionths: int | None
    gini_low95_millionths: int | None
    gini_high95_millionths: int | None
    deciles: tuple[Decile, ...]


class Hazard(Part, frozen=True):
    """The p-value that a coefficient of Cox' model stays the same over time."""

    cause: Name
    name: Text
    p_millionths: int | None


class Validation(Part, frozen=True):
    """What the validation report found on what was held out, of the relativities it judged."""

    judged: Literal["indicated", "selected"]
    held_out: tuple[HeldOut, ...]
    hazards: tuple[Hazard, ...]
    fairness: tuple[Ratio, ...]


class Evidence(Part, frozen=True):
    """Everything that the gates judge beside the tariff itself, and what the memo says of it.

    `level`, `large_losses` and `study` are left out where the fit or its study does not tell,
    `validation` where there is no report of this fit and selection.
    """

    format: Literal[1]
    data_sha256: Sha256
    fit_sha256: Sha256
    run_card: Annotated[str, Meta(max_length=200)]
    synthetic: bool
    previous: Text | None
    causes: Annotated[tuple[CauseEvidence, ...], Meta(min_length=1)]
    warnings: tuple[FitWarning, ...]
    level: Level | UnsetType = UNSET
    study: StudyBasis | UnsetType = UNSET
    large_losses: tuple[LargeLosses, ...] | UnsetType = UNSET
    validation: Validation | UnsetType = UNSET


_decoder = msgspec.json.Decoder(Evidence)


def evidence_from(content: bytes) -> Evidence:
    """The evidence of canonical bytes.

    Raises: msgspec.ValidationError or DecodeError when they are none.
    """
    return _decoder.decode(content)


def evidence_digest(evidence: Evidence) -> str:
    """SHA-256 of its canonical JSON, in hex: what the tariff names it by."""
    return hashlib.sha256(canonical_bytes(evidence)).hexdigest()
