"""What each gate asks for, in words, and where the gates are explained."""

from __future__ import annotations

import msgspec

# Of the documents that are shipped: a row for each gate by its name.
CLAUSE = "docs/tariffs.md#gates"


class Asked(msgspec.Struct, frozen=True):
    """The demand of a gate in both languages."""

    zh: str
    en: str


ASKED: dict[str, Asked] = {
    "basis": Asked("费率表写明其依据与边界", "the tariff states what it rests on"),
    "in_order": Asked(
        "费率表无缺漏、无重叠、无自相矛盾",
        "the tariff has no gap, no overlap and no fault of its own",
    ),
    "monotone": Asked("各生物指标系数单调", "every biometric's factor is monotone"),
    "one_layer": Asked(
        "同一生物指标只在一层",
        "a biometric stands in the risk or the outcome layer, never in both",
    ),
    "flat_below": Asked(
        "结果系数在临床下限以下不变",
        "an outcome's factor does not change below its clinical lower bound",
    ),
    "one_reading": Asked(
        "单次读数对系数的影响有界",
        "one reading moves a factor no further than is stated",
    ),
    "credit_cap": Asked("优惠不超过上限", "no credit is above the cap"),
    "collar": Asked("续保涨跌幅有界", "a renewal changes within bounds"),
    "floor": Asked("保费不低于下限", "no premium is below the floor"),
    "large_losses": Asked(
        "大额赔付附加不由一件赔案决定",
        "no single claim decides the large-loss load",
    ),
    "off_balance": Asked(
        "选定系数对预期赔款的影响已平衡",
        "the selection changes expected claims by what was approved",
    ),
    "banned_factors": Asked("不含法律禁用的因子", "no factor that the law bans"),
    "alternative": Asked("达不到目标者另有途径", "who cannot reach a target has another way"),
    "finite": Asked("模型系数均为有限数", "every coefficient is a finite number"),
    "converged": Asked("模型均已收敛", "every model has converged"),
    "selection": Asked(
        "系数即选定值，偏离均有理由",
        "factors are those selected; each departure has its reason",
    ),
    "evidence": Asked(
        "证据与数据和费率表所列摘要相符",
        "evidence and data are those that the tariff names by digest",
    ),
    "golden_quotes": Asked(
        "示例报价逐分重现",
        "golden quotes come out to the smallest unit of money",
    ),
}
