"""The filing memo of a tariff, in Chinese or English: what a regulator and the next actuary read.

Made of the tariff, its evidence and its gates alone; says nothing that is not in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.common.money import grouped_minor
from services.pricing.core.evidence import ABSENT, CauseEvidence, Cell, Evidence
from services.pricing.core.gates import Gate, cells_of
from services.pricing.core.tariff import (
    E4,
    BandTable,
    Basis,
    CategoryFeature,
    FactorTable,
    Tariff,
    factor_text,
    version_of,
)
from services.pricing.fitting.selection.memo_basis import level_blocks, load_blocks, study_blocks
from services.pricing.fitting.selection.memo_page import (
    Block,
    Grid,
    Heading,
    Language,
    Paragraph,
)
from services.pricing.fitting.selection.memo_validation import validation_blocks

# Told apart by law or custom; the memo shows how far each of them moves a price.
_PROTECTED = ("sex", "gender", "age", "region")


def memo(
    tariff: Tariff, evidence: Evidence, gates: Sequence[Gate], language: Language
) -> list[Block]:
    """The memo's blocks in order; of a tariff of format 2 that passes its checks."""
    return list(_Memo(tariff, evidence, gates, language).blocks())


class _Memo:
    def __init__(
        self, tariff: Tariff, evidence: Evidence, gates: Sequence[Gate], language: Language
    ) -> None:
        if not isinstance(tariff.basis, Basis):
            raise TypeError("a tariff of format 1 states no basis to file")
        self._tariff = tariff
        self._basis = tariff.basis
        self._evidence = evidence
        self._gates = gates
        self._zh = language == "zh"
        self._titles = {one.name: self._of(one, "") for one in tariff.features}
        self._titles |= {
            f"{one.name} {level.name}": self._of(level, "")
            for one in tariff.features
            if isinstance(one, CategoryFeature)
            for level in one.levels
        }

    def blocks(self) -> Iterator[Block]:
        tariff = self._tariff
        yield Heading(1, self._of(tariff, "title"))
        yield Paragraph(version_of(tariff))
        yield Paragraph(self._of(tariff, "notice"))
        yield from self._formula()
        causes = {cause.name: self._of(cause, "") for cause in tariff.causes}
        yield from level_blocks(self._evidence, causes, self._say, self._money)
        yield from load_blocks(self._evidence, causes, self._say, self._money)
        yield from study_blocks(self._evidence, causes, self._say, self._money)
        yield from self._factors()
        yield from self._selection()
        yield from validation_blocks(self._evidence, causes, self._say, self._money)
        yield from self._outcomes()
        yield from self._assumptions()
        yield from self._fairness()
        yield from self._judged()
        yield from self._examples()
        yield from self._data()

    def _say(self, zh: str, en: str) -> str:
        return zh if self._zh else en

    def _of(self, thing: object, name: str) -> str:
        suffix = "zh" if self._zh else "en"
        return str(getattr(thing, f"{name}_{suffix}" if name else suffix))

    def _money(self, amount_e4: int) -> str:
        """An amount to the minor unit; what a base has beyond it stands in the tariff's file."""
        currency = self._tariff.currency
        return f"{grouped_minor((amount_e4 + E4 // 2) // E4, currency)} {currency}"

    def _grid(self, header: Sequence[tuple[str, str]], rows: Sequence[tuple[str, ...]]) -> Grid:
        return Grid(tuple(self._say(zh, en) for zh, en in header), tuple(rows))

    def _formula(self) -> Iterator[Block]:
        tariff = self._tariff
        yield Heading(2, self._say("保费公式", "The premium"))
        yield Paragraph(
            self._say(
                "毛保费 =（各责任“基准纯保费 × 各系数”之和 + 大额赔付附加 + 固定费用）"
                "÷（1 − 变动费用 − 利润）。系数为百万分之一的整数，"
                "金额为万分之一最小货币单位的整数，每步四舍五入，最后一步取整。",
                "Gross premium = (sum over causes of base × factors + large-loss load + fixed "
                "expense) / (1 − variable expense − profit). Factors are whole millionths, amounts "
                "whole 1/10,000 minor units, rounded half-up at each step; the last step rounds "
                "the premium.",
            )
        )
        bases = {cause.name: cause.indicated_base_e4 for cause in self._evidence.causes}
        rows: list[tuple[str, ...]] = [
            (
                self._of(cause, ""),
                self._money(bases.get(cause.name, 0)),
                self._money(cause.base_e4),
            )
            for cause in tariff.causes
        ]
        header = (
            ("责任", "cause"),
            ("指示基准（每年）", "indicated base, a year"),
            ("采用基准（每年）", "base used, a year"),
        )
        yield self._grid(header, rows)
        last = tariff.valid_last
        until = self._say("至后续版本", "until a later version") if last is None else str(last)
        rows = [
            (self._say("币种", "currency"), tariff.currency),
            (self._say("生效", "valid"), f"{tariff.valid_first} – {until}"),
            (self._say("大额赔付附加", "large-loss load"), self._money(tariff.large_loss_load_e4)),
            (self._say("固定费用", "fixed expense"), self._money(tariff.fixed_expense_e4)),
            (
                self._say("变动费用占比", "variable expense, share"),
                factor_text(tariff.variable_expense_millionths),
            ),
            (self._say("利润占比", "profit, share"), factor_text(tariff.profit_millionths)),
            (
                self._say("取整至", "rounded to"),
                self._money(tariff.rounding.to_minor_units * E4),
            ),
            (
                self._say("最低保费", "least premium"),
                self._money(self._basis.least_premium_minor * E4),
            ),
        ]
        yield self._grid((("项目", "item"), ("值", "value")), rows)

    def _factors(self) -> Iterator[Block]:
        yield Heading(2, self._say("系数", "Factors"))
        kept = {cause.name: cause for cause in self._evidence.causes}
        for cause in self._tariff.causes:
            for table in cause.tables:
                layer = table.layer if isinstance(table, BandTable) else "risk"
                said = self._say("结果层" if layer == "outcome" else "风险层", f"{layer} layer")
                feature = self._titles.get(table.feature, table.feature)
                yield Heading(3, f"{self._of(cause, '')} · {feature} ({table.name}, {said})")
                if table.applies_to is not None:
                    levels = ", ".join(
                        self._titles.get(f"{table.applies_to.feature} {level}", level)
                        for level in table.applies_to.levels
                    )
                    yield Paragraph(self._say(f"仅适用于 {levels}", f"Applies to {levels} only"))
                yield self._table(table, kept.get(cause.name))

    def _table(self, table: FactorTable, kept: CauseEvidence | None) -> Grid:
        found = () if kept is None else kept.tables
        cells = {cell.cell: cell for one in found if one.name == table.name for cell in one.cells}
        cause = "" if kept is None else kept.name
        # A warning writes a band as people read it, with a dash; of one value it is the value.
        bounded = {one.where for one in self._evidence.warnings if one.code == "BOUNDED"}
        rows: list[tuple[str, ...]] = []
        for name, factor in cells_of(table).items():
            cell = cells.get(name)
            title = self._titles.get(f"{table.feature} {name}", self._name(name))
            figures = list(_figures(cell))
            if f"{cause}.{table.name}.{self._name(name).replace('-', '–')}" in bounded:
                figures[3] += self._say("（受上下限约束）", " (held by a bound)")
            rows.append((title, *figures, factor_text(factor)))
        header = (
            ("格", "cell"),
            ("暴露人年", "exposure"),
            ("赔案", "claims"),
            ("指示", "indicated"),
            ("指示的 95% 区间", "its 95 % interval"),
            ("现行", "previous"),
            ("采用", "selected"),
        )
        return self._grid(header, rows)

    def _name(self, cell: str) -> str:
        if cell == ABSENT:
            return self._say("未提供", "not given")
        half = len(cell) // 2
        return cell[:half] if cell[half:] == f"-{cell[:half]}" else cell  # a band of one value

    def _selection(self) -> Iterator[Block]:
        yield Heading(2, self._say("偏离指示系数之处及理由", "Where selected differs, and why"))
        rows: list[tuple[str, ...]] = [
            (
                f"{cause.name}.{table.name} {self._name(cell.cell)}",
                _factor(cell.indicated_millionths),
                factor_text(cell.selected_millionths),
                cell.reason,
            )
            for cause in self._evidence.causes
            for table in cause.tables
            for cell in table.cells
            if cell.selected_millionths != cell.indicated_millionths
        ]
        if rows:
            header = (
                ("格", "cell"),
                ("指示", "indicated"),
                ("选定", "selected"),
                ("理由", "reason"),
            )
            yield self._grid(header, rows)
        else:
            yield Paragraph(self._say("无。", "None."))
        balance = self._basis.off_balance
        change = factor_text(abs(balance.approved_change_millionths))
        sign = "−" if balance.approved_change_millionths < 0 else ""
        indicated, selected = self._money(balance.indicated_e4), self._money(balance.selected_e4)
        yield Paragraph(
            self._say(
                f"所拟合经验的实际赔款（经趋势与发展调整，在大额门槛处截断，不含留出部分）为 "
                f"{indicated}；以此为权重，由指示系数与基准改为选定系数与采用基准后为 {selected}；"
                f"批准的变动为 {sign}{change}。",
                f"The fitted experience's actual claims (trended, developed, cut at the large-loss "
                f"threshold, without what was held out) are {indicated}; weighted by them, "
                f"selected relativities and the bases used instead of those indicated make it "
                f"{selected}; the approved change is {sign}{change}.",
            )
        )

    def _outcomes(self) -> Iterator[Block]:
        basis = self._basis
        yield Heading(2, self._say("健康结果与优惠", "Health outcomes and credits"))
        cap = factor_text(basis.credit_cap.share_millionths)
        yield Paragraph(
            self._say(
                f"优惠法定上限 {cap}（{basis.credit_cap.source}）。",
                f"Legal cap on credits: {cap} ({basis.credit_cap.source}).",
            )
        )
        low = factor_text(basis.collar.least_millionths)
        high = factor_text(basis.collar.greatest_millionths)
        yield Paragraph(
            self._say(
                f"续保保费为上期保费的 {low} 至 {high} 倍（{basis.collar.source}）。",
                f"A renewal costs {low} to {high} times the expiring premium "
                f"({basis.collar.source}).",
            )
        )
        rows: list[tuple[str, ...]] = [
            (
                window.feature,
                str(window.months),
                str(window.one_reading_months),
                factor_text(window.credibility_millionths),
                window.stratum_mean,
                window.source,
            )
            for window in basis.windows
        ]
        if rows:
            header = (
                ("因子", "feature"),
                ("窗口（月）", "months"),
                ("单次读数最多决定（月）", "months by one reading"),
                ("可信度 Z", "credibility Z"),
                ("未参与者均值", "mean of non-participants"),
                ("来源", "source"),
            )
            yield self._grid(header, rows)
            yield Paragraph(
                self._say("读数自收到次日起计入。", "Readings count from the day after receipt.")
            )

    def _assumptions(self) -> Iterator[Block]:
        yield Heading(2, self._say("假设与来源", "Assumptions and sources"))
        rows: list[tuple[str, ...]] = [
            (one.name, self._of(one, ""), one.source) for one in self._tariff.assumptions
        ]
        names = (("名称", "name"), ("假设", "assumption"), ("来源", "source"))
        yield self._grid(names, rows) if rows else Paragraph(self._say("未另列。", "None listed."))
        rows = [(one.code, one.where, self._of(one, "")) for one in self._evidence.warnings]
        if rows:
            yield Heading(3, self._say("拟合警告", "Warnings of the fit"))
            header = (("代码", "code"), ("位置", "where"), ("说明", "what"))
            yield self._grid(header, rows)

    def _fairness(self) -> Iterator[Block]:
        yield Heading(2, self._say("公平性说明", "Fairness"))
        rows: list[tuple[str, ...]] = []
        for feature in self._tariff.features:
            if feature.name not in _PROTECTED:
                continue
            for cause in self._tariff.causes:
                for table in cause.tables:
                    if table.feature == feature.name:
                        found = cells_of(table).values()
                        spread = f"{factor_text(min(found))} – {factor_text(max(found))}"
                        rows.append((self._of(feature, ""), self._of(cause, ""), spread))
        header = (("因子", "feature"), ("责任", "cause"), ("系数范围", "range of factors"))
        if rows:
            yield self._grid(header, rows)
        rows = [
            (other.feature, self._of(other, ""), other.source) for other in self._basis.alternatives
        ]
        if rows:
            header = (
                ("因子", "feature"),
                ("达不到目标者的途径", "the way of who cannot reach a target"),
                ("来源", "source"),
            )
            yield self._grid(header, rows)
        names = ", ".join(self._of(one, "") for one in self._tariff.features)
        yield Paragraph(
            self._say(
                f"本费率只使用以下因子：{names}。", f"The tariff uses these factors only: {names}."
            )
        )

    def _judged(self) -> Iterator[Block]:
        yield Heading(2, self._say("审核关口", "Gates"))
        passed = {True: self._say("通过", "passed"), False: self._say("未通过", "not passed")}
        rows: list[tuple[str, ...]] = [
            (gate.name, self._of(gate, ""), passed[gate.passed]) for gate in self._gates
        ]
        header = (
            ("关口", "gate"),
            ("要求与测得", "what is asked, and what was measured"),
            ("结果", "result"),
        )
        yield self._grid(header, rows)

    def _examples(self) -> Iterator[Block]:
        yield Heading(2, self._say("示例报价", "Golden quotes"))
        rows: list[tuple[str, ...]] = [
            (
                golden.name,
                ", ".join(f"{name} {value}" for name, value in sorted(golden.features.items())),
                self._money(golden.premium_minor * E4),
            )
            for golden in self._tariff.golden_quotes
        ]
        header = (("名称", "name"), ("因子值", "features"), ("保费", "premium"))
        yield self._grid(header, rows)

    def _data(self) -> Iterator[Block]:
        yield Heading(2, self._say("数据与证据", "Data and evidence"))
        rows: list[tuple[str, ...]] = [
            (self._say("数据摘要", "data"), self._basis.data_sha256),
            (self._say("证据摘要", "evidence"), self._basis.evidence_sha256),
            (self._say("拟合摘要", "fit"), self._evidence.fit_sha256),
            (self._say("运行记录", "run card"), self._evidence.run_card),
            (self._say("现行费率", "previous tariff"), self._evidence.previous or "—"),
        ]
        yield self._grid((("项目", "item"), ("SHA-256", "SHA-256")), rows)
        rows = [
            (
                self._of(cause, ""),
                model.part,
                model.family,
                str(model.rows),
                str(model.iterations),
                self._say("是", "yes") if model.converged else self._say("否", "no"),
            )
            for cause, kept in zip(self._tariff.causes, self._evidence.causes, strict=False)
            for model in kept.models
        ]
        header = (
            ("责任", "cause"),
            ("模型", "model"),
            ("分布", "family"),
            ("行数", "rows"),
            ("迭代", "iterations"),
            ("收敛", "converged"),
        )
        yield self._grid(header, rows)


def _figures(cell: Cell | None) -> tuple[str, ...]:
    if cell is None:
        return ("—",) * 5
    low, high = cell.low95_millionths, cell.high95_millionths
    interval = "—" if low is None or high is None else f"{_short(low)} – {_short(high)}"
    years = f"{cell.exposure_millionths / 1e6:,.0f}" if cell.exposure_millionths else "—"
    return (
        years,
        f"{cell.claims:,}" if cell.exposure_millionths else "—",
        _factor(cell.indicated_millionths),
        interval,
        _factor(cell.previous_millionths),
    )


def _short(millionths: int) -> str:
    return f"{(millionths + 500) // 1000 / 1000:.3f}"


def _factor(millionths: int | None) -> str:
    return "—" if millionths is None else factor_text(millionths)
