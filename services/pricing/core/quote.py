"""A quote as it is kept: what was asked, what was priced, and how the premium came about."""

from __future__ import annotations

import msgspec

from services.pricing.core.rates import Rates
from services.pricing.core.waterfall import Waterfall


class Asked(msgspec.Struct, frozen=True):
    """What a caller asked for, word for word; two askings are the same when all of it is."""

    policy_id: str
    tariff: str
    start_date: str
    features: dict[str, str]


class QuotedStep(msgspec.Struct, frozen=True):
    """One step of the waterfall with the texts that were shown then."""

    step: str
    cell: str
    factor_millionths: int
    difference_e4: int
    premium_e4: int
    text_zh: str
    text_en: str


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A premium with every step. It is never changed; a new price is a new quote."""

    id: str
    request_id: str
    asked: Asked
    tariff_version: str
    currency: str
    premium_minor: int
    created_us: int
    values: tuple[int | None, ...]
    steps: tuple[QuotedStep, ...]


def quoted(
    asked: Asked,
    rates: Rates,
    values: tuple[int | None, ...],
    waterfall: Waterfall,
    *,
    quote_id: str,
    request_id: str,
    created_us: int,
) -> Quote:
    """The quote that a waterfall makes; `values` are what the kernel priced, after rounding."""
    return Quote(
        id=quote_id,
        request_id=request_id,
        asked=asked,
        tariff_version=rates.version,
        currency=rates.tariff.currency,
        premium_minor=waterfall.premium_minor,
        created_us=created_us,
        values=values,
        steps=tuple(
            QuotedStep(
                step=step.label.step,
                cell=step.label.cell,
                factor_millionths=step.label.factor_millionths,
                difference_e4=step.difference_e4,
                premium_e4=step.premium_e4,
                text_zh=step.label.text_zh,
                text_en=step.label.text_en,
            )
            for step in waterfall.steps
        ),
    )
