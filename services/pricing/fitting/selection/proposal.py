"""Fit + selection + settings → a tariff with its evidence, or every reason why there is none.

What was indicated stays in the evidence beside what was selected, for ever; the tariff holds the
selected alone, the evidence's digest, and bases that the selection has not moved unnoticed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import UNSET

from services.pricing.core.checks import Fault, faults_of
from services.pricing.core.evidence import (
    ABSENT,
    CauseEvidence,
    Cell,
    Coefficient,
    Evidence,
    FitWarning,
    Model,
    StudyBasis,
    TableEvidence,
    Validation,
    evidence_digest,
)
from services.pricing.core.features import read
from services.pricing.core.off_balance import rebased, totals
from services.pricing.core.rates import Rates, compile_rates
from services.pricing.core.tariff import (
    E4,
    MILLION,
    AlternativeStandard,
    AppliesTo,
    Assumption,
    Band,
    BandTable,
    Basis,
    CategoryTable,
    Cause,
    Collar,
    CreditCap,
    FactorBounds,
    FactorTable,
    FeatureWindow,
    GoldenQuote,
    LevelFactor,
    OffBalance,
    Rounding,
    Tariff,
    canonical_bytes,
    content_hash,
    factor_text,
)
from services.pricing.core.waterfall import price
from services.pricing.fitting.models.fit_result import CauseFit, Fit, ModelFit, TableFit
from services.pricing.fitting.selection.basis import large_losses_of, level_of
from services.pricing.fitting.selection.cells import Row, cell_name, millionths, rows_of
from services.pricing.fitting.selection.choice import Choice, Selection
from services.pricing.fitting.selection.settings import TariffSettings
from services.pricing.tariffs.loader import readable

_Chosen = Mapping[tuple[str, str, str], Choice]


class ProposalRefused(ValueError):
    """No tariff can be made of it; `faults` holds all, with paths of pricing.yaml or the tariff."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{fault.path}: {fault.text}" for fault in faults))


class Proposal(msgspec.Struct, frozen=True):
    """A tariff and what it is proposed with; the gates have not been judged."""

    tariff: Tariff
    evidence: Evidence


def proposal(
    fit: Fit,
    fit_sha256: str,
    selection: Selection,
    settings: TariffSettings,
    study: StudyBasis | None = None,
    validation: Validation | None = None,
) -> Proposal:
    """The tariff of a selection, its bases moved to the approved change, its golden quotes priced.

    Raises: ProposalRefused with every fault.
    """
    faults = list(_missing(fit, fit_sha256, selection, settings))
    chosen = {(one.cause, one.table, one.cell): one for one in selection.choices}
    rows = rows_of(fit, None)
    faults += [
        Fault(".".join(row.key), "NOT_SELECTED", "is in the fit and not in the selection")
        for row in rows
        if row.key not in chosen
    ]
    if faults:
        raise ProposalRefused(faults)
    evidence = evidence_of(fit, fit_sha256, selection, study, validation)
    bases = rebased(evidence, settings.approved_change)
    tariff = _tariff(fit, chosen, settings, evidence, bases)
    content = canonical_bytes({"sha256": content_hash(tariff), "tariff": tariff})
    file, faults = readable(content)
    if file is None or faults:
        raise ProposalRefused(faults)
    # Without golden quotes a tariff is at fault; they can only be priced once it has no other.
    found = [one for one in faults_of(file.tariff) if one.path != "tariff.golden_quotes"]
    if found:
        raise ProposalRefused(found)
    golden = _golden(compile_rates(file.tariff), settings)
    return Proposal(msgspec.structs.replace(file.tariff, golden_quotes=golden), evidence)


def tariff_file(tariff: Tariff) -> bytes:
    """The file of a tariff: its hash and its content, indented for people."""
    content = canonical_bytes({"sha256": content_hash(tariff), "tariff": tariff})
    return msgspec.json.format(content, indent=1) + b"\n"


def _missing(
    fit: Fit, fit_sha256: str, selection: Selection, settings: TariffSettings
) -> Iterator[Fault]:
    for name, window in settings.windows.items():
        if name in _outcomes(fit) and (window.credibility is None or not window.stratum_mean):
            text = "must say credibility and stratum_mean, for there is no study to take them from"
            yield Fault(f"tariff.windows.{name}", "NO_STUDY", text)
    if settings.credit_cap is None:
        text = "must be set with share and source: the law's bound on credits has no default"
        yield Fault("tariff.credit_cap", "NO_LEGAL_CAP", text)
    if not settings.golden:
        text = "must name at least one profile: its premium is replayed at every start"
        yield Fault("tariff.golden", "TOO_FEW", text)
    yield from _other_loads(fit, settings)
    if selection.fit_sha256 != fit_sha256:
        text = "is of another fit than fit/fit.json; run `lipei pricing select` again"
        yield Fault("selection", "OTHER_FIT", text)


def _other_loads(fit: Fit, settings: TariffSettings) -> Iterator[Fault]:
    """Loads that are not those which the fit's bases were brought to the target loss ratio with."""
    if fit.loads is None:
        return
    for name, here, there in (
        ("fixed_expense_minor", settings.fixed_expense_minor, fit.loads.fixed_expense_e4 // E4),
        (
            "variable_expense",
            factor_text(settings.variable_expense),
            factor_text(fit.loads.variable_expense_millionths),
        ),
        ("profit", factor_text(settings.profit), factor_text(fit.loads.profit_millionths)),
    ):
        if here != there:
            text = (
                f"is {here}, and the fit reached its target loss ratio with {there} "
                "(fit.loads): write the same in both, and fit again after a change of fit.loads"
            )
            yield Fault(f"tariff.{name}", "OTHER_LOADS", text)


def _tariff(
    fit: Fit,
    chosen: _Chosen,
    settings: TariffSettings,
    evidence: Evidence,
    bases: Mapping[str, int],
) -> Tariff:
    placeholder = GoldenQuote(name="placeholder", features={}, premium_minor=0)
    share, source = settings.credit_cap or (0, "")
    indicated, selected = totals(evidence, dict(bases))
    basis = Basis(
        jurisdiction=settings.jurisdiction,
        data_sha256=fit.book,
        evidence_sha256=evidence_digest(evidence),
        windows=_windows(fit, settings),
        one_reading_most_millionths=settings.one_reading_most,
        credit_cap=CreditCap(share_millionths=share, source=source),
        collar=Collar(
            least_millionths=settings.collar.least,
            greatest_millionths=settings.collar.greatest,
            source=settings.collar.source,
        ),
        least_premium_minor=settings.least_premium_minor,
        off_balance=OffBalance(
            indicated_e4=indicated,
            selected_e4=selected,
            approved_change_millionths=settings.approved_change,
        ),
        alternatives=_alternatives(fit, settings),
    )
    return Tariff(
        format=2,
        id=settings.id,
        title_zh=settings.title.zh,
        title_en=settings.title.en,
        notice_zh=("合成数据，不得用于销售。" if fit.synthetic else "") + settings.notice.zh,
        notice_en=("Synthetic, not for sale. " if fit.synthetic else "") + settings.notice.en,
        synthetic=fit.synthetic,
        currency=fit.currency,
        valid_first=settings.valid_first,
        valid_last=settings.valid_last,
        assumptions=tuple(
            Assumption(name=name, zh=said.zh, en=said.en, source=said.source)
            for name, said in settings.assumptions.items()
        ),
        factor_bounds=FactorBounds(
            least_millionths=settings.factor_bounds.least,
            greatest_millionths=settings.factor_bounds.greatest,
        ),
        features=fit.features,
        causes=tuple(
            Cause(
                name=cause.name,
                zh=cause.zh,
                en=cause.en,
                base_e4=bases[cause.name],
                tables=tuple(_table(cause, table, chosen) for table in cause.tables),
            )
            for cause in fit.causes
        ),
        large_loss_load_e4=fit.large_loss_load_e4,
        fixed_expense_e4=settings.fixed_expense_minor * E4,
        variable_expense_millionths=settings.variable_expense,
        profit_millionths=settings.profit,
        rounding=Rounding(mode="half_up", to_minor_units=settings.rounding_minor),
        golden_quotes=(placeholder,),
        basis=basis,
    )


def _outcomes(fit: Fit) -> list[str]:
    names = [
        table.feature for cause in fit.causes for table in cause.tables if table.layer == "outcome"
    ]
    return list(dict.fromkeys(names))


def _windows(fit: Fit, settings: TariffSettings) -> tuple[FeatureWindow, ...]:
    # A window of a feature that the fit has not is no fault: one file serves several fits.
    return tuple(
        FeatureWindow(
            feature=name,
            months=window.months,
            one_reading_months=window.one_reading_months,
            credibility_millionths=window.credibility,
            stratum_mean=window.stratum_mean,
            readings_count_from="day_after_receipt",
            source=window.source,
        )
        for name, window in settings.windows.items()
        if name in _outcomes(fit) and window.credibility is not None and window.stratum_mean
    )


def _alternatives(fit: Fit, settings: TariffSettings) -> tuple[AlternativeStandard, ...]:
    return tuple(
        AlternativeStandard(feature=name, zh=said.zh, en=said.en, source=said.source)
        for name, said in settings.alternatives.items()
        if name in _outcomes(fit)
    )


def _table(cause: CauseFit, table: TableFit, chosen: _Chosen) -> FactorTable:
    def factor(cell: str) -> int:
        return chosen[cause.name, table.name, cell].selected_millionths

    absent = None if table.absent_factor is None else factor(ABSENT)
    applies_to: AppliesTo | None = table.applies_to
    if table.kind == "categories":
        return CategoryTable(
            name=table.name,
            feature=table.feature,
            applies_to=applies_to,
            absent_factor_millionths=absent,
            cells=tuple(
                LevelFactor(level=cell.level or "", factor_millionths=factor(cell_name(cell)))
                for cell in table.cells
            ),
        )
    return BandTable(
        name=table.name,
        feature=table.feature,
        layer=table.layer,
        interpolation="none",
        monotone=table.monotone,
        applies_to=applies_to,
        absent_factor_millionths=absent,
        cells=tuple(
            Band(
                first=cell.first or "",
                last=cell.last or "",
                factor_millionths=factor(cell_name(cell)),
            )
            for cell in table.cells
        ),
    )


def _golden(rates: Rates, settings: TariffSettings) -> tuple[GoldenQuote, ...]:
    faults, found = [], []
    for name, given in settings.golden.items():
        features = read(rates.tariff.features, given)
        faults += [
            Fault(f"tariff.golden.{name}.{one.feature}", one.reason, one.text)
            for one in features.faults
        ]
        if not features.faults:
            premium = price(rates, features.values).premium_minor
            found.append(GoldenQuote(name=name, features=dict(given), premium_minor=premium))
    if faults:
        raise ProposalRefused(faults)
    return tuple(found)


def evidence_of(
    fit: Fit,
    fit_sha256: str,
    selection: Selection,
    study: StudyBasis | None = None,
    validation: Validation | None = None,
) -> Evidence:
    """What was indicated beside what was selected, of every cell; the selection is the fit's."""
    rows = rows_of(fit, None)
    chosen = {(one.cause, one.table, one.cell): one for one in selection.choices}
    level, large = level_of(fit), large_losses_of(fit)
    return Evidence(
        format=1,
        data_sha256=fit.book,
        fit_sha256=fit_sha256,
        run_card=fit.run_card,
        synthetic=fit.synthetic,
        previous=selection.previous,
        causes=tuple(
            CauseEvidence(
                name=cause.name,
                indicated_base_e4=cause.base_e4,
                models=(_model("frequency", cause.frequency), _model("severity", cause.severity)),
                tables=tuple(
                    TableEvidence(
                        name=table.name,
                        cells=tuple(
                            _cell(row, chosen[row.key])
                            for row in rows
                            if row.key[:2] == (cause.name, table.name)
                        ),
                    )
                    for table in cause.tables
                ),
            )
            for cause in fit.causes
        ),
        warnings=tuple(
            FitWarning(code=one.code, where=one.where, zh=one.zh, en=one.en) for one in fit.warnings
        ),
        level=UNSET if level is None else level,
        study=UNSET if study is None else study,
        large_losses=UNSET if large is None else large,
        validation=UNSET if validation is None else validation,
    )


def _model(part: str, fit: ModelFit) -> Model:
    return Model(
        part="frequency" if part == "frequency" else "severity",
        family=fit.family,
        rows=fit.rows,
        iterations=fit.iterations,
        converged=fit.converged,
        coefficients=tuple(
            Coefficient(
                name=f"{one.name} {one.level}".strip(),
                estimate_millionths=_finite(one.estimate),
                se_millionths=_finite(one.se_clustered),
            )
            for one in fit.coefficients
        ),
    )


def _cell(row: Row, choice: Choice) -> Cell:
    return Cell(
        cell=row.cell,
        exposure_millionths=round(row.exposure * MILLION),
        claims=row.claims,
        amount_minor=row.amount_minor,
        indicated_millionths=row.indicated,
        low95_millionths=_relativity(row.low95),
        high95_millionths=_relativity(row.high95),
        previous_millionths=choice.previous_millionths,
        selected_millionths=choice.selected_millionths,
        reason=choice.reason,
    )


def _relativity(value: int | None) -> int | None:
    """A bound as a factor may be; what is off the scale is left out."""
    return value if value is not None and 1 <= value <= 100 * MILLION else None


def _finite(value: float) -> int | None:
    return millionths(value) if math.isfinite(value) else None
