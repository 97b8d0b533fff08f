"""Whether the large-loss load rests on more than one claim, and how sure it is, for the approver.

Large losses are few by nature: an interval is wide, and is shown rather than refused. A load that
one claim decides is that claim's keying or chance, and needs a reason of the tariff's own.
Evidence of another load than the tariff's, or that cannot be true of any claims, judges nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from services.common.money import grouped_minor
from services.pricing.core.evidence import Evidence, LargeLosses
from services.pricing.core.fault import Fault
from services.pricing.core.open_sources import is_open
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
    """The load with its interval and the claims it rests on; every fault of it at once.

    Causes are taken as independent: their half intervals add as squares.
    """
    told = evidence.large_losses
    none = LoadJudged("无大额附加", "there is no load", ())
    if isinstance(told, msgspec.UnsetType):
        if tariff.large_loss_load_e4 == 0:
            return none
        text = "the evidence does not say what the load rests on; fit and propose again"
        silent = (Fault("evidence.large_losses", "NOT_STATED", text),)
        return LoadJudged("证据未说明其依据", "the evidence does not tell", silent)
    total = sum(one.load_e4 for one in told)
    largest = max((_share(one, total) for one in told), default=0)
    faults = [*_contradictions(tariff, told), *_sum_faults(tariff, total, len(told))]
    faults += _one_decides(tariff, largest)
    if tariff.large_loss_load_e4 == 0 and not faults:
        return none
    low = total - math.isqrt(sum((one.load_e4 - one.low95_e4) ** 2 for one in told))
    high = total + math.isqrt(sum((one.high95_e4 - one.load_e4) ** 2 for one in told))
    claims = sum(one.claims for one in told)
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
        tuple(faults),
    )


def _share(one: LargeLosses, total: int) -> int:
    """The largest claim of a cause as a share of the whole load, in millionths."""
    return one.largest_millionths * one.load_e4 // total if total else 0


def _contradictions(tariff: Tariff, told: Sequence[LargeLosses]) -> Iterator[Fault]:
    """What cannot be true of any claims of this tariff's causes."""
    causes = {cause.name for cause in tariff.causes}
    times = Counter(one.cause for one in told)
    for place, one in enumerate(told):
        path = f"evidence.large_losses[{place}]"
        if one.cause not in causes:
            yield Fault(f"{path}.cause", "UNKNOWN_CAUSE", "the tariff has no such cause")
        if times[one.cause] > 1:
            yield Fault(f"{path}.cause", "DUPLICATE_NAME", "is told of more than once")
        if one.load_e4 and not one.claims:
            yield Fault(f"{path}.claims", "LOAD_WITHOUT_CLAIMS", "no claim makes this load")
        if not min(one.claims, 1) <= one.persons <= one.claims:
            text = "must be from 1 to the number of claims, and 0 of none"
            yield Fault(f"{path}.persons", "OUT_OF_RANGE", text)
        if not one.low95_e4 <= one.load_e4 <= one.high95_e4:
            text = "must hold the load: low95_e4, load_e4 and high95_e4 in this order"
            yield Fault(f"{path}.low95_e4", "BOUNDS_CROSSED", text)
        if not _may_be_largest(one):
            text = "is no share that the largest of so many claims can have"
            yield Fault(f"{path}.largest_millionths", "OUT_OF_RANGE", text)


def _may_be_largest(one: LargeLosses) -> bool:
    """Whether the share, rounded to a millionth, lies between an equal part and the whole."""
    if not one.claims:
        return one.largest_millionths == 0
    least = (2 * one.largest_millionths + 1) * one.claims >= 2 * MILLION
    return least and one.largest_millionths <= MILLION


def _sum_faults(tariff: Tariff, total: int, causes: int) -> Iterator[Fault]:
    # The fit rounds each cause's load and their sum by up to half a unit each.
    if 2 * abs(total - tariff.large_loss_load_e4) > causes + 1:
        text = (
            f"the evidence adds up to a load of {total}, the tariff has "
            f"{tariff.large_loss_load_e4}; fit and propose again"
        )
        yield Fault("evidence.large_losses", "DOES_NOT_ADD_UP", text)


def _one_decides(tariff: Tariff, largest: int) -> Iterator[Fault]:
    """One claim that decides the load, without another ground that says where it is written."""
    if largest <= _ONE_CLAIM_MOST:
        return
    grounds = [
        (place, one.source)
        for place, one in enumerate(tariff.assumptions)
        if one.name == ASSUMPTION
    ]
    if not grounds:
        text = (
            f"one claim is {largest / 10_000:.0f} % of the large-loss load: check it at its "
            "source, take more years, or say in tariff.assumptions."
            f"{ASSUMPTION} on what other ground the load stands, with its source"
        )
        yield Fault("tariff.large_loss_load_e4", "ONE_CLAIM_DECIDES", text)
    text = "says that it is still to be verified, and excuses no load that one claim decides"
    for place, source in grounds:
        if is_open(source):
            yield Fault(f"tariff.assumptions[{place}].source", "SOURCE_OPEN", text)
