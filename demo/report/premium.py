"""One person's premium before and after the year: two cascades, the readings and months between.

Reads two quotes and the readings behind them; computes no price and judges no month.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from demo.figures import is_seen, money, money_e4, premium_parts, said_of_credit
from demo.hospital.months import came_late
from demo.hospital.readings import Kind, Reading
from demo.report.parts import cascade
from lipei.pricing.v1 import pricing_pb2
from lipei.type.v1 import money_pb2

_KINDS = (Kind.HBA1C, Kind.FASTING, Kind.GLUCOSE)
_MG_DL = Decimal("18.016")
_FASTING = Decimal("4.4"), Decimal("7.0")
# The plot's scale: glucose in mmol/L and HbA1c in % fit the same axis.
_LOW, _HIGH = Decimal(3), Decimal(13)
_TICKS = (4, 6, 8, 10, 12)
_COLOURS = {
    pricing_pb2.MONTH_RESULT_ON_TARGET: ("on", "on target"),
    pricing_pb2.MONTH_RESULT_OFF_TARGET: ("off", "off target"),
    pricing_pb2.MONTH_RESULT_NOT_ENOUGH: ("none", "not enough readings"),
}


def premium_view(
    before: pricing_pb2.Quote,
    after: pricing_pb2.Quote,
    readings: Sequence[Reading],
) -> dict[str, Any]:
    """Both quotes as cascades on one scale, and the person's readings between them."""
    most = max(part.premium_e4 for quote in (before, after) for part in premium_parts(quote))
    return {
        "said": _said(before, after),
        "sides": [_side(quote, most) for quote in (before, after)],
        "plot": _plot(after.incentive, readings),
    }


def _said(before: pricing_pb2.Quote, after: pricing_pb2.Quote) -> str:
    return (
        f"{before.start_date}: {_money(before.premium)}. {after.start_date}: "
        f"{said_of_credit(after)} Every step is a whole number of 1/10,000 fen, and the "
        "differences add up to the premium exactly."
    )


def _side(quote: pricing_pb2.Quote, most: int) -> dict[str, Any]:
    currency = quote.premium.currency_code
    rows = []
    begin = 0
    for part in premium_parts(quote):
        if is_seen(part):
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


def _plot(incentive: pricing_pb2.Incentive, readings: Sequence[Reading]) -> dict[str, Any]:
    used = {name.rpartition("/")[2] for month in incentive.months for name in month.evidence}
    wanted = [one for one in readings if one.kind in _KINDS]
    begin = _month(min(one.at for one in wanted))
    end = _next_month(max(one.at for one in wanted))
    dots = []
    for one in wanted:
        laboratory = one.kind is Kind.HBA1C
        late = came_late(one)
        counted = not late and (laboratory or one.key in used)
        said = ", came too late" if late else "" if counted else ", no month was judged by it"
        dots.append(
            {
                "x": round(100 * ((one.at - begin) / (end - begin)), 2),
                "y": _height(one.value / _MG_DL if one.unit == "mg/dL" else one.value),
                "kind": ("lab" if laboratory else "home") + (" late" if late else ""),
                "colour": "provider" if laboratory else "prior" if counted else "aside",
                "label": f"{one.at:%Y-%m-%d} {one.kind.value} {one.value} {one.unit}{said}",
            }
        )
    return {
        "title": "血糖与糖化血红蛋白 · home glucose (mmol/L) and laboratory HbA1c (%)",
        "bands": [
            {
                "bottom": _height(_FASTING[0]),
                "height": round(_height(_FASTING[1]) - _height(_FASTING[0]), 2),
                "label": "target of fasting glucose, 4.4–7.0 mmol/L",
            }
        ],
        "ticks": [{"at": _height(Decimal(tick)), "label": str(tick)} for tick in _TICKS],
        "dots": dots,
        "months": _months(incentive, begin, end),
        "key": [
            {
                "colour": "provider",
                "label": "laboratory HbA1c (target below 7.0 %), through the hospital",
            },
            {"colour": "prior", "label": "home glucose that a month was judged by"},
            {"colour": "aside", "label": "other home glucose"},
            {"colour": "late", "label": "hollow: came more than 7 days after its month"},
            {"colour": "band", "label": "target of fasting glucose (after meals: below 10.0)"},
            {"colour": "on", "label": "month on target"},
            {"colour": "off", "label": "off target"},
            {"colour": "none", "label": "not enough readings"},
            {"colour": "out", "label": "pale: not in the renewal's window"},
        ],
    }


def _months(
    incentive: pricing_pb2.Incentive, begin: datetime, end: datetime
) -> list[dict[str, str]]:
    judged = {one.month: one for one in incentive.months}
    found = []
    month = begin
    while month < end:
        name = f"{month:%Y-%m}"
        one = judged.get(name)
        colour, said = ("out", "outside the window") if one is None else _COLOURS[one.result]
        found.append(
            {"colour": colour, "short": f"{month:%y}-{month:%m}", "label": f"{name}: {said}"}
        )
        month = _next_month(month)
    return found


def _month(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(moment: datetime) -> datetime:
    return _month(_month(moment) + timedelta(days=32))


def _height(value: Decimal) -> float:
    return round(float(100 * (min(max(value, _LOW), _HIGH) - _LOW) / (_HIGH - _LOW)), 2)


def _money(amount: money_pb2.Money) -> str:
    return money(amount.minor_units, amount.currency_code)
