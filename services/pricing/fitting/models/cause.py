"""One cause of claims: its frequency, its severity, and the tables that come of both.

Frequency counts what the study counts, severity only claims with an amount; the base, calibrated
on the amounts themselves, makes good what zeros and shaping leave between the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.pricing.fitting.models.coding import Coded, design_of
from services.pricing.fitting.models.design import Floats
from services.pricing.fitting.models.fit_result import LargeLoad, TableFit
from services.pricing.fitting.models.large_load import large_load
from services.pricing.fitting.models.refusal import FitFault, FitRefused
from services.pricing.fitting.models.regression import Fitted, regress
from services.pricing.fitting.models.relativities import PARTS, Effect, Seen, Shaped, shaped
from services.pricing.fitting.models.settings import CauseModel, FitSettings

Unseen = Mapping[str, frozenset[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedCause:
    """Both models and the shaped tables; `pure` is the yearly cost at base levels, balanced.

    `balance` is the claims' amount over what the two models expected of the same segments, before
    anything was shaped. `yearly` is what each segment would cost in a whole year by the tables and
    the base, fully reported and at the reference cover; `large` is the yearly cost above the
    large-loss threshold, per person.
    """

    model: CauseModel
    frequency: Fitted
    severity: Fitted
    shaped: tuple[Shaped, ...]
    pure: float
    balance: float
    large: LargeLoad
    yearly: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """A fitted model, the levels without a claim, and its mean in every segment."""

    fitted: Fitted
    silent: Unseen
    means: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """The columns of the segments that one cause reads."""

    exposure: Floats
    volume: Floats
    counts: Floats
    loss: Floats
    excess: Floats
    cost_offset: Floats
    persons: NDArray[np.intp]


def fit_cause(
    cause: CauseModel,
    coded: Mapping[str, Coded],
    segments: pd.DataFrame,
    claims: pd.DataFrame,
    settings: FitSettings,
) -> FittedCause:
    """Frequency × severity of one cause on the segments and claims that are to be learnt from.

    The outcome tables are shaped first; the other factors are then fitted beside them as they
    stand, so that a bound on an outcome does not make the sick pay twice, or the well for them.

    Raises: FitRefused.
    """
    read = _columns(cause.name, segments)
    frequency = _frequency(cause.name, cause.frequency, coded, read, np.ones(len(segments)))
    severity = _severity(cause, coded, segments, claims, read)
    outcomes = [name for name in cause.frequency if coded[name].factor.control is not None]
    tables = [_table(coded[name], frequency, severity, read, settings) for name in outcomes]
    given = frequency
    if outcomes:
        risks = tuple(name for name in cause.frequency if name not in outcomes)
        held = _product(coded, tables, len(segments))
        given = _frequency(cause.name, risks, coded, read, held)
    tables += [
        _table(coded[name], given, severity, read, settings, frequency)
        for name in dict.fromkeys((*cause.frequency, *cause.severity))
        if name not in outcomes
    ]
    order = [*dict.fromkeys((*cause.frequency, *cause.severity))]
    tables.sort(key=lambda one: order.index(one.table.name))
    whole = read.volume * read.cost_offset
    relative = _product(coded, tables, len(segments))
    pure = float(read.loss.sum() / (whole * relative).sum())
    return FittedCause(
        model=cause,
        frequency=frequency.fitted,
        severity=severity.fitted,
        shaped=tuple(tables),
        pure=pure,
        balance=float(read.loss.sum() / (whole * frequency.means * severity.means).sum()),
        large=_large(cause.name, claims, read),
        yearly=relative * pure,
    )


def relativities(coded: Coded, table: TableFit) -> Floats:
    """The indicated relativity of every segment: 1 where the table does not apply."""
    absent = 1.0 if table.absent_factor is None else table.absent_factor
    by_code = np.array([*(cell.indicated for cell in table.cells), absent, 1.0])
    # Codes −1 (does not apply) and −2 (absent) count from the end.
    return np.asarray(by_code[coded.codes], dtype=np.float64)


def _columns(name: str, segments: pd.DataFrame) -> _Columns:
    def column(text: str) -> Floats:
        return segments[text].to_numpy(dtype=np.float64)

    exposure = column("exposure")
    return _Columns(
        exposure=exposure,
        volume=exposure * column(f"frequency_offset_{name}"),
        counts=column(f"claims_{name}"),
        loss=column(f"loss_{name}_minor"),
        excess=column(f"excess_{name}_minor"),
        cost_offset=column(f"severity_offset_{name}"),
        persons=pd.factorize(segments["person_id"], sort=True)[0],
    )


def _table(
    coded: Coded,
    frequency: _Model,
    severity: _Model,
    read: _Columns,
    settings: FitSettings,
    together: _Model | None = None,
) -> Shaped:
    """One table; `together` fitted the outcomes beside it that `frequency` holds as they stand.

    The errors are those of that model: outcomes are held at what was estimated, and how sure the
    sick's own relativity is depends on how sure the outcomes' are.
    """
    seen = Seen(
        codes=coded.codes,
        parts=read.persons % PARTS,
        exposure=read.exposure,
        claims=read.counts,
        amount=read.loss,
        expected=read.volume * frequency.means / _own(coded, frequency),
    )
    rate = _effect(coded, frequency)
    if together is not None:
        rate = Effect(logs=rate.logs, covariance=_effect(coded, together).covariance)
    return shaped(coded, rate, _effect(coded, severity), seen, settings)


def _large(cause: str, claims: pd.DataFrame, read: _Columns) -> LargeLoad:
    by_claim = read.excess  # of a segment, where single claims do not tell
    if "excess_minor" in claims:
        by_claim = claims.loc[claims["cause"] == cause, "excess_minor"].to_numpy(dtype=np.float64)
    by_person = np.bincount(read.persons, weights=read.excess).astype(np.float64)
    return large_load(by_claim, by_person, float(read.volume.sum()))


def _product(coded: Mapping[str, Coded], tables: Sequence[Shaped], size: int) -> Floats:
    found = np.ones(size)
    for one in tables:
        found *= relativities(coded[one.table.name], one.table)
    return found


def _frequency(
    cause: str,
    names: Sequence[str],
    coded: Mapping[str, Coded],
    read: _Columns,
    held: Floats,
) -> _Model:
    """The yearly rate by these factors, beside others that hold as they stand.

    A level without one claim has no finite coefficient. Its segments tell the others nothing
    (their fitted mean would be 0), so that they are left out; its relativity is 0 until
    credibility speaks.
    """
    where = f"{cause}.frequency"
    factors = [coded[name] for name in names]
    kept = np.ones(len(read.counts), dtype=bool)
    silent = _silent(factors, read.counts, where)
    for one in factors:
        kept &= ~np.isin(one.codes, list(silent[one.factor.name]))
    rows = np.flatnonzero(kept)
    fitted = regress(
        "poisson",
        design_of(factors, rows, unseen=silent),
        read.counts[rows],
        (read.volume * held)[rows],
        read.persons[rows],
        where=where,
    )
    everyone = design_of(factors, np.arange(len(read.counts)), unseen=silent)
    means = held * np.exp(everyone.predictor(fitted.coefficients))
    return _Model(fitted=fitted, silent=silent, means=means)


def _severity(
    cause: CauseModel,
    coded: Mapping[str, Coded],
    segments: pd.DataFrame,
    claims: pd.DataFrame,
    read: _Columns,
) -> _Model:
    """The mean cost of a claim, on single claims with an amount."""
    where = f"{cause.name}.severity"
    own = claims[claims["cause"] == cause.name]
    paid = own[~own["zero"].to_numpy(dtype=bool)]
    rows = pd.Index(segments["segment_id"]).get_indexer(pd.Index(paid["segment_id"]))
    if (rows < 0).any():
        text = f"{int((rows < 0).sum())} claims name a segment that the experience has not"
        raise FitRefused([FitFault(where=where, code="NO_SEGMENT", text=text)])
    factors = [coded[name] for name in cause.severity]
    without = _silent(factors, np.bincount(rows, minlength=len(segments)), where)
    fitted = regress(
        "gamma",
        design_of(factors, rows, unseen=without),
        paid["loss_minor"].to_numpy(dtype=np.float64) / read.cost_offset[rows],
        np.ones(len(rows)),
        paid["person_id"],
        where=where,
        left_out=len(own) - len(paid),
    )
    everyone = design_of(factors, np.arange(len(segments)), unseen=without)
    means = np.exp(everyone.predictor(fitted.coefficients))
    return _Model(fitted=fitted, silent=without, means=means)


def _silent(
    factors: list[Coded], counts: NDArray[np.float64] | NDArray[np.intp], where: str
) -> dict[str, frozenset[int]]:
    """The cells of each factor without one claim; there must be one at each base."""
    found = {}
    faults = []
    for one in factors:
        shown = one.codes >= 0
        held = np.bincount(one.codes[shown], weights=counts[shown], minlength=len(one.names))
        found[one.factor.name] = frozenset(np.flatnonzero(held == 0).tolist())
        if one.factor.control is not None and not shown.any():
            text = f"nobody has a value of {one.factor.column}: the book has no readings for it; "
            text += f"take {one.factor.name} out of `fit.causes`"
            faults.append(
                FitFault(where=f"{where}.{one.factor.name}", code="NO_READINGS", text=text)
            )
        elif held[one.base] == 0:
            text = f"its base level {one.names[one.base]} has no claim; choose another `base`, "
            text += "join it with another level, or leave the factor out of this model"
            faults.append(
                FitFault(where=f"{where}.{one.factor.name}", code="BASE_WITHOUT_CLAIMS", text=text)
            )
    if faults:
        raise FitRefused(faults)
    return found


def _effect(coded: Coded, model: _Model) -> Effect:
    """What a model says of a factor's cells; 1 where it is not in the model."""
    name, count = coded.factor.name, len(coded.names)
    logs, covariance = np.zeros(count), np.zeros((count, count))
    logs[list(model.silent.get(name, frozenset()))] = np.nan
    if coded.factor.control is not None:
        logs[coded.base :] = 0.0  # worse than the worst that anyone has costs as much
    place = {cell: index for index, cell in enumerate(coded.names)}
    fitted = model.fitted
    mine = [n for n, (factor, _) in enumerate(fitted.design.columns) if factor == name]
    cells = [place[fitted.design.columns[n][1]] for n in mine]
    logs[cells] = fitted.coefficients[mine]
    covariance[np.ix_(cells, cells)] = fitted.errors.covariance[np.ix_(mine, mine)]
    return Effect(logs=logs, covariance=covariance)


def _own(coded: Coded, frequency: _Model) -> Floats:
    """The factor's own part of each segment's rate, to be divided out."""
    by_code = np.exp(np.concatenate((np.nan_to_num(_effect(coded, frequency).logs), [0.0, 0.0])))
    return np.asarray(by_code[coded.codes], dtype=np.float64)
