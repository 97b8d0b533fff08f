"""The gates before approval: each passed or not, by what was measured, all at once.

Pure over a tariff and the evidence that it is proposed with. What `checks` already finds stays
there and is only named here. A gate that cannot be judged has not been passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import msgspec

from services.common.money import grouped_minor
from services.pricing.core.banned import Ban, banned_faults
from services.pricing.core.checks import faults_of, flat_below
from services.pricing.core.evidence import ABSENT, Evidence, TableEvidence, evidence_digest
from services.pricing.core.fault import Fault
from services.pricing.core.features import outcome_features
from services.pricing.core.gate_words import ASKED, CLAUSE
from services.pricing.core.golden import golden_faults
from services.pricing.core.incentive import LegalCap
from services.pricing.core.large_loss_gate import judged_load
from services.pricing.core.off_balance import totals
from services.pricing.core.one_reading import one_reading_effects
from services.pricing.core.open_sources import is_open
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
    scaled,
)

# Faults of `checks` that are gates of their own.
_MONOTONE = frozenset({"NOT_MONOTONE", "BIOMETRIC_NOT_MONOTONE", "ABSENCE_PAYS"})
_LAYERS = frozenset({"BIOMETRIC_IN_TWO_LAYERS", "NOT_AN_OUTCOME"})
_FLAT = frozenset({"NOT_FLAT"})
# Bases are whole 10⁻⁴ fen and sums of millionths: beyond this the change is not the approved one.
_OFF_BALANCE_MILLIONTHS = 1


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One gate: what it asks for, what was measured against what is allowed, and what is wrong.

    `figure` is the measure in English, `zh` and `en` the demand with the measure, `clause` where in
    docs/ the gate is explained, `faults` what is wrong and what to do.
    """

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


class _Measure(msgspec.Struct, frozen=True):
    """What was measured beside what is allowed, in both languages."""

    zh: str
    en: str


_Judged = tuple[_Measure, list[Fault]]


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
        measure = _Measure(f"格式为 {tariff.format}，须为 2", f"format {tariff.format}; asked: 2")
        return (_gate("basis", measure, list(faults)),)
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


def _gate(name: str, measure: _Measure, faults: list[Fault]) -> Gate:
    asked = ASKED[name]
    return Gate(
        name=name,
        passed=not faults,
        figure=measure.en,
        clause=CLAUSE,
        zh=f"{asked.zh}：{measure.zh}",
        en=f"{asked.en}: {measure.en}",
        faults=tuple(faults),
    )


def _in_order(case: _Case) -> _Judged:
    faults = [one for one in case.checked if one.reason not in _MONOTONE | _LAYERS | _FLAT]
    found = len(faults)
    return _Measure(f"发现 {found} 处，不得有", f"{found} found, none allowed"), faults


def _monotone(case: _Case) -> _Judged:
    faults = [one for one in case.checked if one.reason in _MONOTONE]
    biometrics = {
        one.name for one in case.tariff.features if isinstance(one, NumericFeature) if one.biometric
    }
    tables = [t for cause in case.tariff.causes for t in cause.tables if t.feature in biometrics]
    wrong, of = len(faults), f"{len(tables)} tables of {len(biometrics)} biometrics"
    measure = _Measure(
        f"{len(biometrics)} 项生物指标的 {len(tables)} 张表中 {wrong} 处违反，不得有",
        f"{wrong} breaches in {of}, none allowed",
    )
    return measure, faults


def _one_layer(case: _Case) -> _Judged:
    faults = [one for one in case.checked if one.reason in _LAYERS]
    count, wrong = len(outcome_features(case.tariff)), len(faults)
    measure = _Measure(
        f"结果层有 {count} 项，其中 {wrong} 处违反，不得有",
        f"{wrong} breaches, with {count} in the outcome layer, none allowed",
    )
    return measure, faults


def _flat_below(case: _Case) -> _Judged:
    """Below its clinical lower bound an outcome's factor does not change; each states its bound."""
    faults = [one for one in case.checked if one.reason in _FLAT]
    outcomes = outcome_features(case.tariff)
    for index, feature in enumerate(case.tariff.features):
        if not isinstance(feature, NumericFeature) or feature.name not in outcomes:
            continue
        text = ""
        if isinstance(feature.flat_below, msgspec.UnsetType):
            text = "must state the clinical lower bound, below which no factor changes; what was "
            text += "fitted without is fitted again, or the tariff proposed anew with it"
        elif _none_below(feature):
            text = "no value below it has a price, so that it bounds nothing"
        if text:
            faults.append(Fault(f"tariff.features[{index}].flat_below", "NO_LOWER_BOUND", text))
    count, wrong = len(outcomes), len(faults)
    measure = _Measure(
        f"{count} 项结果中 {wrong} 处违反，不得有",
        f"{wrong} breaches in {count} outcomes, none allowed",
    )
    return measure, faults


def _none_below(feature: NumericFeature) -> bool:
    try:
        bound = flat_below(feature)
        return bound is not None and bound <= scaled(feature.priced_first, feature.places)
    except ValueError:
        return False  # `in_order` tells of it


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
                f"one reading can lower this factor by {_percent(effect)}; at most "
                f"{_percent(most)}: draw the bands finer or the factors nearer"
            )
            faults.append(Fault(path, "ONE_READING_MOVES_TOO_MUCH", text))
    moved, allowed = _percent(greatest), _percent(most)
    measure = _Measure(
        f"一次读数最多使系数下降 {moved}，最多允许 {allowed}",
        f"one lowers a factor by up to {moved}, allowed up to {allowed}",
    )
    return measure, faults


def _credit_cap(case: _Case) -> _Judged:
    cap = case.basis.credit_cap.share_millionths
    faults = []
    path = "tariff.basis.credit_cap.share_millionths"
    if case.law is None:
        text = "no legal cap is set where this is judged (LIPEI_PRICING_CREDIT_CAP); have it set"
        faults.append(Fault(path, "NO_LEGAL_CAP", text))
    elif cap > case.law.share_millionths:
        text = f"lies above the legal cap {_percent(case.law.share_millionths)}; lower it"
        faults.append(Fault(path, "ABOVE_LEGAL_CAP", text))
    faults += _open_caps(case)
    if case.reach is None:
        measure, unjudged = _unjudged()
        return measure, [*faults, *unjudged]
    greatest = case.reach.greatest_credit_millionths
    if greatest > cap:
        text = (
            f"good readings lower a premium by up to {_percent(greatest)}, the cap is "
            f"{_percent(cap)}: draw the outcome factors nearer to that of absent readings"
        )
        faults.append(Fault("tariff.causes", "CREDIT_ABOVE_CAP", text))
    zh, en = _bound(case.reach)
    law = "—" if case.law is None else _percent(case.law.share_millionths)
    taken, allowed = _percent(greatest), _percent(cap)
    measure = _Measure(
        f"读数最多减去保费的 {taken}{zh}，费率表上限 {allowed}，法定上限 {law}",
        f"readings take off up to {taken}{en}, the tariff's cap is {allowed}, the law's {law}",
    )
    return measure, faults


def _open_caps(case: _Case) -> Iterator[Fault]:
    """Caps whose source admits that nobody has looked it up: the law's bound is no guess."""
    own, law = case.basis.credit_cap.source, case.law
    text = "says that it is still to be verified; look it up, and name where it is written"
    if is_open(own):
        yield Fault("tariff.basis.credit_cap.source", "SOURCE_OPEN", text)
    if law is not None and law.source != own and is_open(law.source):
        where = "the installation's cap (LIPEI_PRICING_CREDIT_CAP_SOURCE)"
        yield Fault("tariff.basis.credit_cap", "SOURCE_OPEN", f"{where} {text}")


def _collar(case: _Case) -> _Judged:
    collar = case.basis.collar
    low, high = factor_text(collar.least_millionths), factor_text(collar.greatest_millionths)
    measure = _Measure(
        f"续保为上期的 {low} 至 {high} 倍，允许 0.5 至 2 倍",
        f"{low} to {high} times the expiring premium, allowed 0.5 to 2",
    )
    # Its order is checked with the basis; a collar that lets anything through is none.
    faults = []
    if collar.least_millionths * 2 < MILLION or collar.greatest_millionths > 2 * MILLION:
        text = "lets a renewal halve or double; draw it nearer"
        faults.append(Fault("tariff.basis.collar", "COLLAR_TOO_WIDE", text))
    return measure, faults


def _floor(case: _Case) -> _Judged:
    if case.reach is None:
        return _unjudged()
    faults = []
    currency = case.tariff.currency
    cheapest = f"{grouped_minor(case.reach.cheapest_minor, currency)} {currency}"
    floor = f"{grouped_minor(case.basis.least_premium_minor, currency)} {currency}"
    if case.reach.cheapest_minor < case.basis.least_premium_minor:
        text = f"somebody would pay {cheapest}, the floor is {floor}; mend factors, loads or floor"
        faults.append(Fault("tariff.basis.least_premium_minor", "BELOW_FLOOR", text))
    zh, en = _bound(case.reach)
    measure = _Measure(
        f"最低的保费为 {cheapest}{zh}，不得低于 {floor}",
        f"the cheapest is {cheapest}{en}, allowed from {floor}",
    )
    return measure, faults


def _large_losses(case: _Case) -> _Judged:
    found = judged_load(case.tariff, case.evidence)
    return _Measure(found.zh, found.en), list(found.faults)


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
    change = round(Fraction((selected - indicated) * MILLION, indicated)) if indicated else 0
    changed, approved = _percent(change), _percent(said.approved_change_millionths)
    measure = _Measure(
        f"预期赔款变动 {changed}，批准 {approved}，误差不超过百万分之一",
        f"expected claims change by {changed}, approved {approved}, to a millionth",
    )
    return measure, faults


def _banned(case: _Case) -> _Judged:
    faults = list(banned_faults(case.tariff, case.basis.jurisdiction, case.bans))
    here = sum(case.basis.jurisdiction.startswith(ban.jurisdiction) for ban in case.bans)
    count, where = len(case.tariff.features), case.basis.jurisdiction
    bans = "ban" if here == 1 else "bans"
    measure = _Measure(
        f"{count} 项因子对照 {where} 的 {here} 条禁令，{len(faults)} 处违反，不得有",
        f"{len(faults)} breaches by {count} features against {here} {bans} in {where}, "
        "none allowed",
    )
    return measure, faults


def _alternative(case: _Case) -> _Judged:
    given = {other.feature for other in case.basis.alternatives}
    needed = sorted(outcome_features(case.tariff))
    text = "who cannot reach the target needs another way to the same price; state it"
    faults = [
        Fault("tariff.basis.alternatives", "NO_ALTERNATIVE", f"{name}: {text}")
        for name in needed
        if name not in given
    ]
    given_to = len(needed) - len(faults)
    measure = _Measure(
        f"{len(needed)} 项结果中 {given_to} 项已说明，须全部说明",
        f"stated for {given_to} of {len(needed)} outcomes, asked of all",
    )
    return measure, faults


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
    measure = _Measure(
        f"{count} 个模型系数与各指示系数中 {len(faults)} 个不是，不得有",
        f"{len(faults)} are not, among {count} coefficients and all cells, none allowed",
    )
    return measure, faults


def _converged(case: _Case) -> _Judged:
    models = [(cause.name, model) for cause in case.evidence.causes for model in cause.models]
    text = "did not converge; look for a level without claims, and fit again"
    faults = [
        Fault(f"evidence.{name}.{model.part}", "NOT_CONVERGED", text)
        for name, model in models
        if not model.converged
    ]
    done = len(models) - len(faults)
    measure = _Measure(
        f"{len(models)} 个模型中 {done} 个收敛，须全部收敛",
        f"{done} of {len(models)} models, asked of all",
    )
    return measure, faults


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
    measure = _Measure(
        f"{departures} 格不同于指示系数，{len(faults)} 处违反，不得有",
        f"{len(faults)} breaches, {departures} cells differ from what was indicated, none allowed",
    )
    return measure, faults


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
    measure = _Measure(
        f"证据摘要 {found[:12]}…，{len(faults)} 处不符，不得有",
        f"the evidence is {found[:12]}…, {len(faults)} breaches, none allowed",
    )
    return measure, faults


def _golden(case: _Case) -> _Judged:
    if case.rates is None:
        return _unjudged()
    faults = list(golden_faults(case.rates))
    of = len(case.tariff.golden_quotes)
    wrong = len({fault.path.partition("]")[0] for fault in faults})
    measure = _Measure(
        f"{of} 个示例报价中 {of - wrong} 个一致，须全部一致",
        f"{of - wrong} of {of} golden quotes, asked of all",
    )
    return measure, faults


def _unjudged() -> _Judged:
    text = "cannot be judged until the tariff is in order"
    measure = _Measure("费率表有缺陷，未能判断", "not judged while the tariff is not in order")
    return measure, [Fault("tariff", "NOT_JUDGED", text)]


def _bound(reach: Reach) -> tuple[str, str]:
    return ("", "") if reach.exact else ("（界限）", " (a bound)")


def _percent(millionths: int) -> str:
    sign = "−" if millionths < 0 else ""
    return f"{sign}{factor_text(abs(millionths) * 100)} %"


_GATES: dict[str, Callable[[_Case], _Judged]] = {
    "in_order": _in_order,
    "monotone": _monotone,
    "one_layer": _one_layer,
    "flat_below": _flat_below,
    "one_reading": _one_reading,
    "credit_cap": _credit_cap,
    "collar": _collar,
    "floor": _floor,
    "large_losses": _large_losses,
    "off_balance": _off_balance,
    "banned_factors": _banned,
    "alternative": _alternative,
    "finite": _finite,
    "converged": _converged,
    "selection": _selection,
    "evidence": _evidence,
    "golden_quotes": _golden,
}
