"""The memo's sections on how the level was set and on the experience. Says what evidence holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from msgspec import UnsetType

from services.pricing.core.evidence import Evidence, Level, StudyBasis
from services.pricing.core.tariff import E4, MILLION, factor_text
from services.pricing.fitting.selection.memo_page import Block, Grid, Heading, Paragraph

_Say = Callable[[str, str], str]
_Money = Callable[[int], str]
_Lines = list[tuple[str, ...]]


def level_blocks(
    evidence: Evidence, titles: Mapping[str, str], say: _Say, money: _Money
) -> Iterator[Block]:
    """Best estimate, scaling, target and what is left of the premium beside claims and expenses."""
    yield Heading(2, say("费率水平如何确定", "How the level was set"))
    level = evidence.level
    if not isinstance(level, Level):
        yield Paragraph(say("拟合未载明。", "The fit does not tell."))
        return
    rows: _Lines = [
        (
            titles.get(cause.name, cause.name),
            money(_best(cause.indicated_base_e4, level)),
            money(cause.indicated_base_e4),
        )
        for cause in evidence.causes
    ]
    load = level.large_loss_load_e4
    scaled = load * level.scaling_millionths // MILLION
    rows.append((say("大额赔付附加", "large-loss load"), money(load), money(scaled)))
    header = (
        say("责任", "cause"),
        say("最佳估计基准（每年）", "best-estimate base, a year"),
        say("经水平调整的基准", "after scaling"),
    )
    yield Grid(header, tuple(rows))
    yield Grid((say("项目", "item"), say("值", "value")), tuple(_level_rows(level, say, money)))
    yield Paragraph(_judgement(level, say))


def load_blocks(
    evidence: Evidence, titles: Mapping[str, str], say: _Say, money: _Money
) -> Iterator[Block]:
    """What the large-loss load rests on, by cause; nothing where the fit does not tell."""
    told = evidence.large_losses
    if isinstance(told, UnsetType):
        return
    header = (
        say("大额赔付附加：责任", "large-loss load: cause"),
        say("每人年", "a person-year"),
        say("95% 区间（按人自助法）", "95 % interval (bootstrap of people)"),
        say("大额赔案", "claims above the threshold"),
        say("涉及人数", "people"),
        say("最大一件占比", "share of the largest claim"),
    )
    rows = [
        (
            titles.get(one.cause, one.cause),
            money(one.load_e4),
            f"{money(one.low95_e4)} – {money(one.high95_e4)}",
            f"{one.claims:,}",
            f"{one.persons:,}",
            _percent(one.largest_millionths),
        )
        for one in told
    ]
    yield Grid(header, tuple(rows))


def _best(base_e4: int, level: Level) -> int:
    return base_e4 * MILLION // level.scaling_millionths if level.scaling_millionths else base_e4


def _level_rows(level: Level, say: _Say, money: _Money) -> Iterator[tuple[str, str]]:
    best = say("每人年赔款最佳估计（含大额附加）", "claims a person-year, best estimate with load")
    yield best, money(level.pure_e4)
    yield say("水平调整系数", "scaling of bases and load"), factor_text(level.scaling_millionths)
    for zh, en, share in (
        ("目标赔付率", "target loss ratio", level.target_loss_ratio_millionths),
        (
            "仅按所列费用与利润的赔付率",
            "loss ratio that the declared loads alone give",
            level.loads_loss_ratio_millionths,
        ),
        ("所列利润占比", "declared profit, share", level.profit_millionths),
        (
            "扣除赔款与费用后所余占毛保费",
            "left of the gross premium after claims and expenses",
            level.margin_millionths,
        ),
    ):
        if share is not None:
            yield say(zh, en), signed(share)
    if level.gross_e4 is not None:
        yield (
            say("平均毛保费（每人年）", "mean gross premium, a person-year"),
            money(level.gross_e4),
        )


def _judgement(level: Level, say: _Say) -> str:
    margin, profit = level.margin_millionths, level.profit_millionths
    if margin is None or profit is None:
        return say(
            "未设目标赔付率：基准为最佳估计，未作水平调整。",
            "No target loss ratio is set: the bases are best estimates and were not scaled.",
        )
    factor, left, said = factor_text(level.scaling_millionths), signed(margin), signed(profit)
    return say(
        f"基准与大额附加已由最佳估计乘以 {factor}，以达到目标赔付率；"
        f"毛保费中扣除赔款与费用后实余 {left}，所列利润为 {said}。",
        f"Bases and load are the best estimate times {factor}, to reach the target loss ratio; "
        f"claims and expenses leave {left} of the gross premium, the declared profit is {said}.",
    )


def signed(millionths: int) -> str:
    """A share that may be below 0, as a decimal."""
    return f"{'−' if millionths < 0 else ''}{factor_text(abs(millionths))}"


def study_blocks(
    evidence: Evidence, titles: Mapping[str, str], say: _Say, money: _Money
) -> Iterator[Block]:
    """Days, trend, development, threshold, cover and holdout of the experience."""
    yield Heading(2, say("经验数据的口径", "Basis of the experience"))
    study = evidence.study
    if not isinstance(study, StudyBasis):
        yield Paragraph(say("无研究文件，未载明。", "There is no study that tells."))
        return
    not_said = say("未载明", "not stated")
    rows: _Lines = [
        (say("评估日", "valuation day"), study.valuation_day or not_said),
        (
            say("经验期", "experience period"),
            say(
                f"{study.first_day} 起，至 {study.after_day} 前",
                f"from {study.first_day} to before {study.after_day}",
            ),
        ),
        (say("趋势推至", "trended to"), study.trend_to_day),
        (say("趋势来源", "source of the trend"), study.trend_source or not_said),
        (say("发展来源", "source of the development"), study.development_source or not_said),
        (
            say("参考免赔额", "reference deductible"),
            money(study.reference_deductible_minor * E4),
        ),
        (say("读数窗口（月）", "window of readings, months"), str(study.reading_window_months)),
    ]
    yield Grid((say("项目", "item"), say("值", "value")), tuple(rows))
    rows = [
        (
            titles.get(one.name, one.name),
            ", ".join(f"{signed(rate.yearly_millionths)} ({rate.day})" for rate in one.trend)
            or not_said,
            money(one.threshold_minor * E4),
            ", ".join(_percent(share) for share in one.developed_millionths) or not_said,
        )
        for one in study.causes
    ]
    header = (
        say("责任", "cause"),
        say("年趋势（自何日）", "yearly trend (from day)"),
        say("大额门槛", "large-loss threshold"),
        say("各季已知赔款占比", "amounts known after quarters 1, 2, ..."),
    )
    yield Grid(header, tuple(rows))
    rows = [
        (part.name, f"{part.segments:,}", f"{part.exposure_millionths / MILLION:,.0f}")
        for part in study.holdout
    ]
    parts = (say("留出", "holdout"), say("分段数", "segments"), say("人年", "person-years"))
    yield Grid(parts, tuple(rows))
    yield Paragraph(
        say(
            "只有 train 部分用于拟合。", "Only the part train was fitted; the others were held out."
        )
    )


def _percent(millionths: int) -> str:
    return f"{(millionths + 500) // 1000 / 10:.1f} %"
