"""What the actuary is told of a fit beside its figures: sentences in Chinese and English."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from services.pricing.fitting.models.cause import FittedCause
from services.pricing.fitting.models.coding import OUTSIDE, Coded
from services.pricing.fitting.models.design import Floats
from services.pricing.fitting.models.fit_result import CellFit, FitWarning, cell_title
from services.pricing.fitting.models.relativities import Shaped
from services.pricing.fitting.models.settings import FitSettings

# Beyond it naive errors mislead, and the report says by how much.
_DISPERSED = 1.5
# Of what the models expected: beyond it frequency × severity misses something that matters.
_OFF_BALANCE = 0.05


def left_out(coded: Iterable[Coded]) -> Iterator[FitWarning]:
    """Segments that no price is fitted for."""
    for one in coded:
        count = int(np.count_nonzero(one.codes == OUTSIDE))
        if count:
            yield FitWarning(
                code="OUTSIDE_PRICED_RANGE",
                where=f"factors.{one.factor.name}",
                zh=f"{count} 段暴露的{one.factor.zh}缺失或在定价范围之外，未参与拟合",
                en=f"{count} segments have no {one.factor.en}, or one outside the priced range; "
                "they are left out of the fit",
            )


def of_cause(fitted: FittedCause, settings: FitSettings) -> Iterator[FitWarning]:
    """Everything noteworthy in one cause."""
    name = fitted.model.name
    zeros = fitted.severity.model.left_out
    if zeros:
        yield FitWarning(
            code="ZERO_AMOUNTS",
            where=f"{name}.severity",
            zh=f"{zeros} 件零赔款赔案不计入频率与案均赔款",
            en=f"{zeros} claims of 0 count in neither frequency nor severity",
        )
    dispersion = fitted.frequency.model.pearson_dispersion
    if dispersion > _DISPERSED:
        yield FitWarning(
            code="OVERDISPERSED",
            where=f"{name}.frequency",
            zh=f"皮尔逊离散度 {dispersion:.2f}：须用按人聚类的标准误，朴素标准误偏小",
            en=f"Pearson dispersion {dispersion:.2f}: judge by the errors clustered by person, "
            "the naive ones are too small",
        )
    if abs(fitted.balance - 1) > _OFF_BALANCE:
        yield FitWarning(
            code="OFF_BALANCE",
            where=name,
            zh=f"实际赔款为频率×件均模型预期的 {fitted.balance:.3f} 倍，"
            "基数已按实际校准；请检查遗漏因素",
            en=f"claims are {fitted.balance:.3f} times what frequency × severity expected; the "
            "base is calibrated to the claims, but look for a factor that is missing",
        )
    for one in fitted.shaped:
        if len(one.table.cells) == 1:
            yield FitWarning(
                code="ONE_LEVEL",
                where=f"{name}.{one.table.name}.{cell_title(one.table.cells[0])}",
                zh="该因子只有这一档，不区分任何人；请在 levels 中补列，或从 fit.causes 中去掉",
                en="it is the factor's one level, so that the factor prices nobody apart; list the"
                " others under `levels`, or take the factor out of fit.causes",
            )
        yield from _of_table(name, one, settings)


def of_load(cause: str, excess: Floats, settings: FitSettings) -> Iterator[FitWarning]:
    """Whether few claims decide a cause's large-loss load; `excess` is of each of its claims."""
    total = float(excess.sum())
    if not total:
        return
    where = f"{cause}.large_losses"
    largest = float(excess.max()) / total
    if largest > settings.large_loss_one_claim_most:
        yield FitWarning(
            code="ONE_LARGE_LOSS",
            where=where,
            zh=f"一件赔案占大额赔款附加的 {largest:.0%}"
            f"（上限 {settings.large_loss_one_claim_most:.0%}）：请核对该赔案，"
            "或改用更多年度或其他业务的附加",
            en=f"one claim is {largest:.0%} of the large-loss load (at most "
            f"{settings.large_loss_one_claim_most:.0%}): check that claim at its source, or take "
            "the load from more years or another book",
        )
    # A Poisson number of losses, as in the study's table of thresholds.
    error = float(np.sqrt((excess**2).sum())) / total
    if error > settings.large_loss_error_most:
        yield FitWarning(
            code="LARGE_LOAD_UNSURE",
            where=where,
            zh=f"大额赔款附加的相对标准误为 {error:.0%}"
            f"（上限 {settings.large_loss_error_most:.0%}）："
            "请降低 study.large_loss_minor 或采用更多年度的数据",
            en=f"the large-loss load has a relative standard error of {error:.0%} (at most "
            f"{settings.large_loss_error_most:.0%}): lower study.large_loss_minor, or take more "
            "years",
        )


def _of_table(cause: str, one: Shaped, settings: FitSettings) -> Iterator[FitWarning]:
    where = f"{cause}.{one.table.name}"
    for cell, credible in zip(one.table.cells, one.credible, strict=True):
        if not cell.thin:
            continue
        at = f"{where}.{cell_title(cell)}"
        if cell_title(cell) == one.base:
            yield FitWarning(
                code="THIN_BASE",
                where=at,
                zh=f"基准档仅 {cell.claims} 件赔案（少于 {settings.thin_claims}），"
                "表中其他系数均以其为 1；请在 base 另选基准档或合并档次",
                en=f"the base level has {cell.claims} claims, fewer than {settings.thin_claims}, "
                "and every other level of its table is told against it; name another `base`, or "
                "join levels",
            )
            continue
        if cell.exposure == 0:
            yield FitWarning(
                code="NO_EXPOSURE",
                where=at,
                zh=f"数据中无人属于此档；系数 {cell.indicated:.3f} 完全来自信度补充",
                en=f"nobody in the data; its relativity {cell.indicated:.3f} is its complement's "
                "alone",
            )
            continue
        if cell.claims == 0:
            yield FitWarning(
                code="NO_CLAIMS",
                where=at,
                zh=f"没有一件赔案；系数 {cell.indicated:.3f} 完全来自信度补充",
                en=f"not one claim; its relativity {cell.indicated:.3f} is its complement's alone",
            )
            continue
        yield _thin_level(at, cell, credible, settings)
    told: Mapping[str, tuple[tuple[str, ...], str, str]] = {
        "POOLED": (
            one.pooled,
            "单调约束使系数变动一成以上",
            "the declared direction moved the relativity by a tenth or more",
        ),
        "BOUNDED": (
            one.bounded,
            "系数受上下限或单次读数影响上限约束",
            "a bound holds the relativity: the range, or the effect of one reading",
        ),
    }
    for code, (levels, zh, en) in told.items():
        for level in levels:
            yield FitWarning(code=code, where=f"{where}.{level}", zh=zh, en=en)


def _thin_level(at: str, cell: CellFit, credible: float, settings: FitSettings) -> FitWarning:
    """What credibility made of a thin level, apart from what direction and bounds made of that."""
    zh = f"系数由 {cell.raw:.3f} 调整为 {credible:.3f}"
    en = f"its relativity goes from {cell.raw:.3f} to {credible:.3f}"
    if f"{credible:.3f}" != f"{cell.indicated:.3f}":
        zh += f"，再经单调约束与上下限调整为 {cell.indicated:.3f}"
        en += f", and by direction and bounds to {cell.indicated:.3f}"
    return FitWarning(
        code="THIN_LEVEL",
        where=at,
        zh=f"仅 {cell.claims} 件赔案（少于 {settings.thin_claims}）；"
        f"按信度 {cell.credibility:.2f}，{zh}",
        en=f"{cell.claims} claims, fewer than {settings.thin_claims}; at credibility "
        f"{cell.credibility:.2f} {en}",
    )
