"""The gates before approval: each passed or not, by which figure, under which clause, all at once.

Pure over a tariff and the evidence that it is proposed with. What `checks` already finds stays
there and is only named here. A gate that cannot be judged has not been passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from services.pricing.core.banned import Ban, banned_faults
from services.pricing.core.checks import faults_of
from services.pricing.core.evidence import ABSENT, Evidence, TableEvidence, evidence_digest
from services.pricing.core.fault import Fault
from services.pricing.core.features import outcome_features
from services.pricing.core.golden import golden_faults
from services.pricing.core.incentive import LegalCap
from services.pricing.core.off_balance import totals
from services.pricing.core.one_reading import one_reading_effects
from services.pricing.core.rates import Rates, compile_rates
from services.pricing.core.reach import Reach, reach_of
from services.pricing.core.tariff import (
    MILLION,
    Band,
    Basis,
    FactorTable,
    NumericFeature,
    Tariff,
    factor_text,
)

# Faults of `checks` that are gates of their own.
_MONOTONE = frozenset({"NOT_MONOTONE", "BIOMETRIC_NOT_MONOTONE", "ABSENCE_PAYS"})
_LAYERS = frozenset({"BIOMETRIC_IN_TWO_LAYERS", "NOT_AN_OUTCOME"})
# Bases are whole 10⁻⁴ fen and sums of millionths: beyond this the change is not the approved one.
_OFF_BALANCE_MILLIONTHS = 1


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One gate: whether it is passed, the figure that says so, the clause, and what is wrong."""

    name: str
    passed: bool
    figure: str
    clause: str
    zh: str
    en: str
    faults: tuple[Fault, ...] = ()


class _Case(msgspec.Struct, frozen=True, kw_only=True):
    """What all gates look at; `rates` is None while the tariff is not in order."""

    tariff: Tariff
    basis: Basis
    evidence: Evidence
    bans: Sequence[Ban]
    law: LegalCap | None
    checked: list[Fault]
    rates: Rates | None
    reach: Reach | None


_Judged = tuple[str, list[Fault]]


def judge(
    tariff: Tariff, evidence: Evidence, bans: Sequence[Ban], law: LegalCap | None
) -> tuple[Gate, ...]:
    """Every gate, passed or not, in a fixed order.

    `law` is the legal cap on credits where the tariff is to be used; None while nobody has set it,
    which passes no cap. A tariff of format 1 rests on nothing and passes one gate at most.
    """
    if not isinstance(tariff.basis, Basis):
        text = "states no basis (format 2): evidence, windows, cap, collar, floor, off-balance"
        faults = (Fault("tariff.basis", "MISSING_KEY", text),)
        return (_gate("basis", f"format {tariff.format}", list(faults)),)
    checked = faults_of(tariff)
    rates = None if checked else compile_rates(tariff)
    case = _Case(
        tariff=tariff,
        basis=tariff.basis,
        evidence=evidence,
        bans=bans,
        law=law,
        checked=checked,
        rates=rates,
        reach=None if rates is None else reach_of(rates),
    )
    return tuple(_gate(name, *judged(case)) for name, judged in _GATES.items())


def all_passed(gates: Sequence[Gate]) -> bool:
    """Whether a tariff with these gates may be proposed, and go on being used."""
    return bool(gates) and all(gate.passed for gate in gates)


def _gate(name: str, figure: str, faults: list[Fault]) -> Gate:
    clause, zh, en = _SAID[name]
    return Gate(
        name=name,
        passed=not faults,
        figure=figure,
        clause=clause,
        zh=zh,
        en=en,
        faults=tuple(faults),
    )


def _in_order(case: _Case) -> _Judged:
    faults = [one for one in case.checked if one.reason not in _MONOTONE | _LAYERS]
    return f"{len(faults)} faults", faults


def _monotone(case: _Case) -> _Judged:
    faults = [one for one in case.checked if one.reason in _MONOTONE]
    biometrics = {
        one.name for one in case.tariff.features if isinstance(one, NumericFeature) if one.biometric
    }
    tables = [t for cause in case.tariff.causes for t in cause.tables if t.feature in biometrics]
    return f"{len(tables)} tables of {len(biometrics)} biometrics", faults


def _one_layer(case: _Case) -> _Judged:
    faults = [one for one in case.checked if one.reason in _LAYERS]
    return f"{len(outcome_features(case.tariff))} in the outcome layer", faults


def _one_reading(case: _Case) -> _Judged:
    if case.rates is None:
        return _unjudged()
    most = case.basis.one_reading_most_millionths
    faults, greatest = [], 0
    for path, effect in one_reading_effects(case.tariff, case.basis):
        if effect is None:
            text = "an outcome feature needs a window that says how it is made of readings"
            faults.append(Fault(path, "NO_WINDOW", text))
            continue
        greatest = max(greatest, effect)
        if effect > most:
            text = (
                f"one reading can lower this factor by {factor_text(effect)}; at most "
                f"{factor_text(most)}: draw the bands finer or the factors nearer"
            )
            faults.append(Fault(path, "ONE_READING_MOVES_TOO_MUCH", text))
    return f"{factor_text(greatest)} of at most {factor_text(most)}", faults


def _credit_cap(case: _Case) -> _Judged:
    cap = case.basis.credit_cap.share_millionths
    faults = []
    path = "tariff.basis.credit_cap.share_millionths"
    if case.law is None:
        text = "no legal cap is set where this is judged (LIPEI_PRICING_CREDIT_CAP); have it set"
        faults.append(Fault(path, "NO_LEGAL_CAP", text))
    elif cap > case.law.share_millionths:
        text = f"lies above the legal cap {factor_text(case.law.share_millionths)}"
        faults.append(Fault(path, "ABOVE_LEGAL_CAP", text))
    if case.reach is None:
        return "not judged", [*faults, *_unjudged()[1]]
    greatest = case.reach.greatest_credit_millionths
    if greatest > cap:
        text = (
            f"good readings lower a premium by up to {factor_text(greatest)}, the cap is "
            f"{factor_text(cap)}: draw the outcome factors nearer to that of absent readings"
        )
        faults.append(Fault("tariff.causes", "CREDIT_ABOVE_CAP", text))
    bound = "" if case.reach.exact else " (bound)"
    return f"{factor_text(greatest)}{bound} of at most {factor_text(cap)}", faults


def _collar(case: _Case) -> _Judged:
    collar = case.basis.collar
    low, high = factor_text(collar.least_millionths), factor_text(collar.greatest_millionths)
    # Its order is checked with the basis; a collar that lets anything through is none.
    faults = []
    if collar.least_millionths * 2 < MILLION or collar.greatest_millionths > 2 * MILLION:
        text = "lets a renewal halve or double; draw it nearer"
        faults.append(Fault("tariff.basis.collar", "COLLAR_TOO_WIDE", text))
    return f"{low} to {high}", faults


def _floor(case: _Case) -> _Judged:
    if case.reach is None:
        return _unjudged()
    floor, cheapest = case.basis.least_premium_minor, case.reach.cheapest_minor
    faults = []
    if cheapest < floor:
        text = f"somebody would pay {cheapest}, the floor is {floor}; mend factors, loads or floor"
        faults.append(Fault("tariff.basis.least_premium_minor", "BELOW_FLOOR", text))
    bound = "" if case.reach.exact else " (bound)"
    return f"{cheapest}{bound} against {floor}", faults


def _off_balance(case: _Case) -> _Judged:
    said = case.basis.off_balance
    bases = {cause.name: cause.base_e4 for cause in case.tariff.causes}
    indicated, selected = totals(case.evidence, bases)
    path = "tariff.basis.off_balance"
    faults = []
    if (indicated, selected) != (said.indicated_e4, said.selected_e4):
        text = f"the evidence gives {indicated} and {selected}; state these"
        faults.append(Fault(path, "NOT_AS_COMPUTED", text))
    aim = indicated * (MILLION + said.approved_change_millionths)
    if abs(selected * MILLION - aim) > indicated * _OFF_BALANCE_MILLIONTHS:
        text = "the bases do not give the change that was approved; propose anew"
        faults.append(Fault(path, "OFF_BALANCE", text))
    change = 0 if not indicated else (selected - indicated) * MILLION // indicated
    return f"{change} millionths of expected claims", faults


def _banned(case: _Case) -> _Judged:
    faults = list(banned_faults(case.tariff, case.basis.jurisdiction, case.bans))
    here = sum(case.basis.jurisdiction.startswith(ban.jurisdiction) for ban in case.bans)
    return f"{here} bans in {case.basis.jurisdiction}", faults


def _alternative(case: _Case) -> _Judged:
    given = {other.feature for other in case.basis.alternatives}
    needed = sorted(outcome_features(case.tariff))
    text = "who cannot reach the target needs another way to the same price; state it"
    faults = [
        Fault("tariff.basis.alternatives", "NO_ALTERNATIVE", f"{name}: {text}")
        for name in needed
        if name not in given
    ]
    return f"{len(needed) - len(faults)} of {len(needed)}", faults


def _finite(case: _Case) -> _Judged:
    faults, count = [], 0
    for cause in case.evidence.causes:
        for model in cause.models:
            for one in model.coefficients:
                count += 1
                if one.estimate_millionths is None or one.se_millionths is None:
                    path = f"evidence.{cause.name}.{model.part}.{one.name}"
                    text = "is not finite; take the level out or pool it, and fit again"
                    faults.append(Fault(path, "NOT_FINITE", text))
        for table in cause.tables:
            for cell in table.cells:
                if cell.indicated_millionths is None:
                    path = f"evidence.{cause.name}.{table.name}.{cell.cell}"
                    text = "has no finite indicated relativity; pool the cell, and fit again"
                    faults.append(Fault(path, "NOT_FINITE", text))
    return f"{count} coefficients", faults


def _converged(case: _Case) -> _Judged:
    models = [(cause.name, model) for cause in case.evidence.causes for model in cause.models]
    text = "did not converge; look for a level without claims, and fit again"
    faults = [
        Fault(f"evidence.{name}.{model.part}", "NOT_CONVERGED", text)
        for name, model in models
        if not model.converged
    ]
    return f"{len(models) - len(faults)} of {len(models)} models", faults


def _selection(case: _Case) -> _Judged:
    """Each factor is the one that was selected, and each departure has its reason."""
    departures = 0
    evidence = {cause.name: cause for cause in case.evidence.causes}
    gone = sorted(evidence.keys() - {cause.name for cause in case.tariff.causes})
    text = "the tariff has no such cause"
    faults = [Fault(f"evidence.{name}", "NOT_IN_TARIFF", text) for name in gone]
    for c, cause in enumerate(case.tariff.causes):
        mine = evidence.get(cause.name)
        if mine is None:
            text = "no evidence says what it costs"
            faults.append(Fault(f"tariff.causes[{c}]", "NO_EVIDENCE", text))
        tables = {} if mine is None else {table.name: table for table in mine.tables}
        for t, table in enumerate(cause.tables):
            path = f"tariff.causes[{c}].tables[{t}]"
            kept = tables.get(table.name)
            if kept is None:
                faults.append(Fault(path, "NO_EVIDENCE", "no evidence says how it was selected"))
                continue
            departures += sum(
                cell.selected_millionths != cell.indicated_millionths for cell in kept.cells
            )
            faults += _of_table(table, kept, path)
    return f"{departures} cells differ from what was indicated", faults


def _of_table(table: FactorTable, kept: TableEvidence, path: str) -> Iterator[Fault]:
    selected = {cell.cell: cell.selected_millionths for cell in kept.cells}
    if cells_of(table) != selected:
        text = "its factors are not the ones that were selected; propose anew"
        yield Fault(path, "NOT_AS_SELECTED", text)
    for cell in kept.cells:
        if cell.selected_millionths != cell.indicated_millionths and not cell.reason.strip():
            text = f"{cell.cell}: differs from what was indicated and says no reason"
            yield Fault(path, "NO_REASON", text)


def cells_of(table: FactorTable) -> dict[str, int]:
    """Factors by the cell's name in the evidence: level, first-last, or absent."""
    found = {
        f"{cell.first}-{cell.last}" if isinstance(cell, Band) else cell.level: (
            cell.factor_millionths
        )
        for cell in table.cells
    }
    if table.absent_factor_millionths is not None:
        found[ABSENT] = table.absent_factor_millionths
    return found


def _evidence(case: _Case) -> _Judged:
    faults = []
    found = evidence_digest(case.evidence)
    if found != case.basis.evidence_sha256:
        text = f"the evidence's digest is {found}; it is not what this tariff was proposed with"
        faults.append(Fault("tariff.basis.evidence_sha256", "WRONG_HASH", text))
    if case.evidence.data_sha256 != case.basis.data_sha256:
        text = "the evidence was fitted on other data"
        faults.append(Fault("tariff.basis.data_sha256", "WRONG_HASH", text))
    if case.evidence.synthetic and not case.tariff.synthetic:
        text = "was fitted on a synthetic book; say so"
        faults.append(Fault("tariff.synthetic", "SYNTHETIC", text))
    return found[:12], faults


def _golden(case: _Case) -> _Judged:
    if case.rates is None:
        return _unjudged()
    faults = list(golden_faults(case.rates))
    return f"{len(case.tariff.golden_quotes)} golden quotes", faults


def _unjudged() -> _Judged:
    text = "cannot be judged until the tariff is in order"
    return "not judged", [Fault("tariff", "NOT_JUDGED", text)]


_GATES: dict[str, Callable[[_Case], _Judged]] = {
    "in_order": _in_order,
    "monotone": _monotone,
    "one_layer": _one_layer,
    "one_reading": _one_reading,
    "credit_cap": _credit_cap,
    "collar": _collar,
    "floor": _floor,
    "off_balance": _off_balance,
    "banned_factors": _banned,
    "alternative": _alternative,
    "finite": _finite,
    "converged": _converged,
    "selection": _selection,
    "evidence": _evidence,
    "golden_quotes": _golden,
}
# Clause of CONVENTIONS.md (B, C) or DESIGN.md (5), then what a passed gate means.
_SAID: dict[str, tuple[str, str, str]] = {
    "basis": ("C Tariff", "费率表写明其依据与边界", "the tariff states what it rests on"),
    "in_order": ("C Tariff", "费率表无缺漏、无重叠", "the tariff has neither gap nor overlap"),
    "monotone": ("B Outcome factor", "各生物指标系数单调", "every biometric's factor is monotone"),
    "one_layer": (
        "B Outcome factor",
        "同一生物指标只在一层",
        "a biometric stands in the risk or the outcome layer, never in both",
    ),
    "one_reading": (
        "B Outcome factor",
        "单次读数的影响有界",
        "one reading moves a factor by no more than is stated",
    ),
    "credit_cap": ("B Credit", "优惠不超过法定上限", "no credit is above the legal cap"),
    "collar": ("C Collar and off-balance", "续保涨跌幅有界", "a renewal's change is bounded"),
    "floor": ("C Collar and off-balance", "保费不低于下限", "no premium is below the floor"),
    "off_balance": (
        "C Collar and off-balance",
        "选定系数对预期赔款的影响已平衡",
        "the selection changes expected claims by what was approved",
    ),
    "banned_factors": ("Design 5", "不含法律禁用的因子", "no factor that the law bans"),
    "alternative": (
        "Design 5",
        "达不到目标者另有途径",
        "who cannot reach a target has another way",
    ),
    "finite": ("C Errors", "模型系数均为有限数", "every coefficient is a finite number"),
    "converged": ("C Errors", "模型均已收敛", "every model has converged"),
    "selection": (
        "Design 5",
        "系数即选定值，偏离均有理由",
        "factors are those selected; each departure has its reason",
    ),
    "evidence": ("C Tariff", "证据与数据摘要相符", "evidence and data are those that it names"),
    "golden_quotes": ("Design 5", "示例报价可重现", "golden quotes come out to the fen"),
}
