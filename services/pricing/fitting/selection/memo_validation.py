"""The memo's section on what was found on people and years that the fit had not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from services.pricing.core.evidence import Evidence, HeldOut, Ratio, Validation
from services.pricing.fitting.selection.memo_basis import signed
from services.pricing.fitting.selection.memo_page import Block, Grid, Heading, Paragraph

_Say = Callable[[str, str], str]
_Money = Callable[[int], str]
_PARTS = {
    "last_year": ("留出的最后一年", "the last year, held out"),
    "person": ("留出的人员", "people held out"),
}
# Below it a hazard that stays proportional is doubted.
_DOUBTED = 50_000


def validation_blocks(
    evidence: Evidence, titles: Mapping[str, str], say: _Say, money: _Money
) -> Iterator[Block]:
    """Level, separation and lift on both holdouts, proportional hazards, and fairness."""
    yield Heading(2, say("验证结果", "Validation results"))
    found = evidence.validation
    if not isinstance(found, Validation):
        yield Paragraph(
            say(
                "待补：本拟合与选定系数没有验证报告（lipei pricing report）。",
                "Open: there is no validation report of this fit and selection "
                "(lipei pricing report).",
            )
        )
        return
    judged = say(
        "选定系数" if found.judged == "selected" else "指示系数",
        f"{found.judged} relativities",
    )
    yield Paragraph(
        say(
            f"以下为{judged}在未参与拟合的数据上的结果；区间为 95%，按人聚类。",
            f"The {judged} on what was not fitted; intervals of 95 %, clustered by person.",
        )
    )
    if not found.held_out:
        yield Paragraph(say("没有留出数据。", "Nothing was held out."))
    else:
        yield _overall(found, say)
    for part in found.held_out:
        yield Heading(3, say(f"十分位提升：{_part(part, say)}", f"Lift: {_part(part, say)}"))
        yield _lift(part, say, money)
    yield from _hazards(found, titles, say)
    if found.fairness:
        yield Heading(3, say("公平性：实际与预期", "Fairness: actual against expected"))
        header = (say("组", "group"), *_ratio_header(say))
        yield Grid(header, tuple((one.of, *_ratio(one)) for one in found.fairness))


def _part(part: HeldOut, say: _Say) -> str:
    return say(*_PARTS.get(part.name, (part.name, part.name)))


def _overall(found: Validation, say: _Say) -> Grid:
    header = (
        say("样本", "sample"),
        *_ratio_header(say),
        say("基尼系数", "Gini"),
        say("其 95% 区间", "its 95 %"),
    )
    rows = [
        (
            _part(part, say),
            *_ratio(part.overall),
            _short(part.gini_millionths),
            _between(part.gini_low95_millionths, part.gini_high95_millionths),
        )
        for part in found.held_out
    ]
    return Grid(header, tuple(rows))


def _lift(part: HeldOut, say: _Say, money: _Money) -> Grid:
    header = (
        say("预期十分位", "decile of expected"),
        say("实际（每人年）", "actual, a person-year"),
        say("预期（每人年）", "expected, a person-year"),
    )
    rows = [
        (str(number), money(one.actual_e4), money(one.expected_e4))
        for number, one in enumerate(part.deciles, 1)
    ]
    return Grid(header, tuple(rows))


def _hazards(found: Validation, titles: Mapping[str, str], say: _Say) -> Iterator[Block]:
    yield Heading(
        3, say("比例风险检验（Cox，首次出险）", "Proportional hazards (Cox, first event)")
    )
    if not found.hazards:
        yield Paragraph(say("未作检验。", "Not tested."))
        return
    doubted = [
        one for one in found.hazards if one.p_millionths is not None and one.p_millionths < _DOUBTED
    ]
    yield Paragraph(
        say(
            f"检验 {len(found.hazards)} 个系数，{len(doubted)} 个 p < 0.05"
            f"（若皆成立，约有 {len(found.hazards) / 20:.1f} 个偶然如此）。",
            f"{len(found.hazards)} coefficients tested, {len(doubted)} with p < 0.05 (about "
            f"{len(found.hazards) / 20:.1f} would be by chance alone).",
        )
    )
    if doubted:
        header = (say("责任", "cause"), say("系数", "coefficient"), "p")
        rows = [
            (titles.get(one.cause, one.cause), one.name, _short(one.p_millionths))
            for one in doubted
        ]
        yield Grid(header, tuple(rows))


def _ratio_header(say: _Say) -> tuple[str, ...]:
    return (
        say("人年", "person-years"),
        say("实际/预期", "actual / expected"),
        say("95% 区间", "95 % interval"),
    )


def _ratio(one: Ratio) -> tuple[str, ...]:
    years = f"{one.exposure_millionths / 1e6:,.0f}"
    return (
        years,
        _short(one.ratio_millionths),
        _between(one.low95_millionths, one.high95_millionths),
    )


def _between(low: int | None, high: int | None) -> str:
    return f"{_short(low)} – {_short(high)}"


def _short(millionths: int | None) -> str:
    """Three decimals."""
    return "—" if millionths is None else signed((millionths + 500) // 1000 * 1000)
