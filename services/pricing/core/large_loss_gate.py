"""Whether the large-loss load rests on more than one claim, and how sure it is, for the approver.

Large losses are few by nature: an interval is wide, and is shown rather than refused. A load that
one claim decides is that claim's keying or chance, and needs a reason of the tariff's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from services.common.money import grouped_minor
from services.pricing.core.evidence import Evidence, LargeLosses
from services.pricing.core.fault import Fault
from services.pricing.core.tariff import E4, MILLION, Tariff

# The assumption of a tariff that says on what other ground its load stands.
ASSUMPTION = "large_losses"
# One claim may be this share of the whole load.
_ONE_CLAIM_MOST = MILLION // 2


class LoadJudged(msgspec.Struct, frozen=True):
    """What was measured, in both languages, and what is wrong."""

    zh: str
    en: str
    faults: tuple[Fault, ...]


def judged_load(tariff: Tariff, evidence: Evidence) -> LoadJudged:
    """The load with its interval and the claims it rests on; at fault where one decides it.

    Causes are taken as independent: their half intervals add as squares.
    """
    if tariff.large_loss_load_e4 == 0:
        return LoadJudged("无大额附加", "there is no load", ())
    told = evidence.large_losses
    if isinstance(told, msgspec.UnsetType):
        text = "the evidence does not say what the load rests on; fit and propose again"
        faults = (Fault("evidence.large_losses", "NOT_STATED", text),)
        return LoadJudged("证据未说明其依据", "the evidence does not tell", faults)
    total = sum(one.load_e4 for one in told)
    low = total - math.isqrt(sum((one.load_e4 - one.low95_e4) ** 2 for one in told))
    high = total + math.isqrt(sum((one.high95_e4 - one.load_e4) ** 2 for one in told))
    claims = sum(one.claims for one in told)
    largest = max((_share(one, total) for one in told), default=0)
    load, least, most = (
        grouped_minor((amount + E4 // 2) // E4, tariff.currency)
        for amount in (total, max(low, 0), high)
    )
    share, allowed = f"{largest / 10_000:.0f} %", f"{_ONE_CLAIM_MOST / 10_000:.0f} %"
    return LoadJudged(
        f"每人年 {load} {tariff.currency}（95% 区间 {least} 至 {most}），来自 {claims} 件赔案，"
        f"最大一件占 {share}，允许 {allowed}",
        f"{load} {tariff.currency} a person-year (95 %: {least} to {most}) from {claims:,} claims, "
        f"the largest {share} of it, allowed {allowed}",
        tuple(_faults(tariff, largest)),
    )


def _share(one: LargeLosses, total: int) -> int:
    """The largest claim of a cause as a share of the whole load, in millionths."""
    return one.largest_millionths * one.load_e4 // total if total else 0


def _faults(tariff: Tariff, largest: int) -> Iterator[Fault]:
    if largest > _ONE_CLAIM_MOST and ASSUMPTION not in {one.name for one in tariff.assumptions}:
        text = (
            f"one claim is {largest / 10_000:.0f} % of the large-loss load: check it at its "
            "source, take more years, or say in tariff.assumptions."
            f"{ASSUMPTION} on what other ground the load stands, with its source"
        )
        yield Fault("tariff.large_loss_load_e4", "ONE_CLAIM_DECIDES", text)
