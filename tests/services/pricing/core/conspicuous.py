"""Programmes whose flags hold, and members who are priced under them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, tzinfo
from functools import cache

from services.pricing.core.incentive import Beside, Incentive, LegalCap, assess
from services.pricing.core.months import PersonalTarget
from services.pricing.core.programme import Programme
from services.pricing.core.readings import Reading
from services.pricing.programmes.loader import example_programmes, parse_programme

CAP = LegalCap(200_000, "a regulation")


@cache
def holding(name: str) -> Programme:
    """An example programme with every `then` at hold."""
    text = (example_programmes() / f"{name}.yaml").read_text("utf-8")
    assert "then: note" in text
    return parse_programme(text.replace("then: note", "then: hold").encode(), f"{name}.yaml")


def assessed(
    readings: Iterable[Reading],
    programme: Programme,
    personal: Sequence[PersonalTarget] = (),
    *,
    renewal: date = date(2026, 1, 1),
    zone: tzinfo = UTC,
    beside: Beside = Beside(),  # noqa: B008 - immutable
) -> Incentive:
    return assess(
        readings,
        programme,
        personal,
        renewal=renewal,
        expiring_start=None,
        zone=zone,
        cap=CAP,
        beside=beside,
    )
