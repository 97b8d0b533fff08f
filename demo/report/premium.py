"""One person's premium before and after the year: two cascades, the readings and months between.

Reads two quotes and the readings behind them; computes no price and judges no month.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from demo.figures import money, money_e4, premium_parts
from demo.report.parts import cascade
from lipei.pricing.v1 import pricing_pb2
from lipei.type.v1 import reading_pb2

_ZONE = ZoneInfo("Asia/Shanghai")
_HBA1C, _GLUCOSE = "4548-4", ("14771-0", "15074-8")
# The plot's scale: glucose in mmol/L and HbA1c in % fit the same axis.
_LOW, _HIGH = 3.0, 13.0
_TICKS = (4, 6, 8, 10, 12)
_COLOURS = {
    pricing_pb2.MONTH_RESULT_ON_TARGET: ("on", "on target"),
    pricing_pb2.MONTH_RESULT_OFF_TARGET: ("off", "off target"),
    pricing_pb2.MONTH_RESULT_NOT_ENOUGH: ("none", "not enough readings"),
}


def premium_view(
    before: pricing_pb2.Quote,
    after: pricing_pb2.Quote,
    readings: Sequence[reading_pb2.Reading],
) -> dict[str, Any]:
    """Both quotes as cascades on one scale, and the readings that made the difference."""
    most = max(part.premium_e4 for quote in (before, after) for part in premium_parts(quote))
    return {
        "said": _said(before, after),
        "sides": [_side(quote, most) for quote in (before, after)],
        "plot": _plot(after.incentive, readings),
    }


def _said(before: pricing_pb2.Quote, after: pricing_pb2.Quote) -> str:
    incentive = after.incentive
    share = Decimal(incentive.credit_millionths).scaleb(-4).normalize()
    run = (
        f"{incentive.run_months} months on target in a row "
        f"({incentive.run_first_month} to {incentive.run_last_month}) earn {share:f} % of it"
        if incentive.run_months
        else "no month was on target"
    )
    return (
        f"{before.start_date}: {_money(before.premium)}. {after.start_date}: "
        f"{_money(after.premium_without_credit)} without a credit; {run}, so that "
        f"{_money(after.premium)} is owed. Every step is a whole number of 1/10,000 fen and the "
        "differences add up to the premium exactly."
    )


def _side(quote: pricing_pb2.Quote, most: int) -> dict[str, Any]:
    currency = quote.premium.currency_code
    rows = []
    begin = 0
    for part in premium_parts(quote):
        if part.difference_e4:
            label = f"{part.text_zh} {part.text_en}"
            text = money_e4(part.difference_e4, currency)
            rows.append((label, begin, part.premium_e4, text, False))
        begin = part.premium_e4
    rows.append(("保费 Premium", 0, begin, _money(quote.premium), True))
    return {
        "title": f"from {quote.start_date}: {_money(quote.premium)}",
        "rows": cascade(rows, most),
        "steps": [
            {
                "step": step.step,
                "zh": step.text_zh,
                "en": step.text_en,
                "evidence": _evidence(step.evidence),
                "change": money_e4(step.difference_e4, currency),
                "premium": money_e4(step.premium_e4, currency),
            }
            for step in quote.steps
        ],
    }


def _evidence(names: Sequence[str]) -> str:
    return ", ".join(name.rpartition("/")[2] for name in names)


def _plot(
    incentive: pricing_pb2.Incentive, readings: Sequence[reading_pb2.Reading]
) -> dict[str, Any]:
    used = {name for month in incentive.months for name in month.evidence}
    wanted = [one for one in readings if one.code.code in (_HBA1C, *_GLUCOSE)]
    moments = [_moment(one) for one in wanted]
    begin, end = _whole_months(moments)
    whole = (end - begin) / timedelta(seconds=1)
    dots = []
    for one, moment in zip(wanted, moments, strict=True):
        lab = one.code.code == _HBA1C
        kind = "HbA1c" if lab else "fasting glucose" if one.code.code == "14771-0" else "glucose"
        counted = "counted" if one.name in used else "not counted"
        dots.append(
            {
                "x": round(100 * ((moment - begin) / timedelta(seconds=1)) / whole, 2),
                "y": _height(float(one.value)),
                "kind": "lab" if lab else "home",
                "colour": "provider" if lab else "prior" if one.name in used else "aside",
                "label": f"{moment:%Y-%m-%d} {kind} {one.value} {one.unit}, {counted}",
            }
        )
    return {
        "title": "血糖与糖化血红蛋白 · home glucose (mmol/L) and laboratory HbA1c (%)",
        "bands": [
            {
                "bottom": _height(4.4),
                "height": round(_height(7.0) - _height(4.4), 2),
                "label": "target of fasting glucose 4.4–7.0 mmol/L",
            }
        ],
        "ticks": [{"at": _height(float(tick)), "label": str(tick)} for tick in _TICKS],
        "dots": dots,
        "months": _months(incentive, begin, end),
        "key": [
            {"colour": "provider", "label": "laboratory HbA1c, through the hospital"},
            {"colour": "prior", "label": "home glucose that a month was judged by"},
            {"colour": "aside", "label": "other home glucose"},
        ],
    }


def _months(incentive: pricing_pb2.Incentive, begin: datetime, end: datetime) -> list[dict[str, str]]:
    judged = {one.month: one for one in incentive.months}
    found = []
    month = begin
    while month < end:
        name = f"{month:%Y-%m}"
        one = judged.get(name)
        colour, said = ("out", "outside the window") if one is None else _COLOURS[one.result]
        found.append({"colour": colour, "short": f"{month:%m}", "label": f"{name}: {said}"})
        month = _next_month(month)
    return found


def _whole_months(moments: Sequence[datetime]) -> tuple[datetime, datetime]:
    first, last = min(moments), max(moments)
    return _month(first), _next_month(_month(last))


def _month(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(month: datetime) -> datetime:
    return _month(month + timedelta(days=32))


def _moment(reading: reading_pb2.Reading) -> datetime:
    return reading.effective_time.ToDatetime(tzinfo=UTC).astimezone(_ZONE)


def _height(value: float) -> float:
    return round(100 * (min(max(value, _LOW), _HIGH) - _LOW) / (_HIGH - _LOW), 2)


def _money(amount: object) -> str:
    return money(amount.minor_units, amount.currency_code)  # type: ignore[attr-defined]  # Money
