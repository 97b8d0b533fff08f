"""A programme's dated promises: before they begin, while they hold, and once they have ended."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from services.common.dated import Dated
from services.pricing.core.programme import (
    LowGlucose,
    NoTargetInForce,
    Programme,
    Programmes,
    Steps,
)
from services.pricing.core.readings import Measured, Quantity
from tests.services.pricing.core.reading_cases import programmes

GLUCOSE = programmes().named("diabetes-glucose")
FIRST, ENDED = date(2025, 1, 1), date(2026, 1, 1)
LOW = Measured(Quantity.GLUCOSE, 38, False)  # 3.8 mmol/L


def _from(first: date, *, named: str = "late") -> Programme:
    return msgspec.structs.replace(
        GLUCOSE,
        id=named,
        low_glucose=Dated(((first, LowGlucose(39, "a guideline")), (ENDED, None))),
        incentive=Dated(((first, Steps((30_000, 60_000), "a promise")), (ENDED, None))),
    )


def test_a_promise_that_has_ended_pays_no_run_anything() -> None:
    programme = _from(FIRST)
    assert [programme.steps_on(FIRST).share_of(run) for run in (0, 1, 2, 9)] == [
        0,
        30_000,
        60_000,
        60_000,
    ]
    assert [programme.steps_on(ENDED).share_of(run) for run in (0, 1, 9)] == [0, 0, 0]


def test_before_its_first_day_a_programme_promises_and_bounds_nothing() -> None:
    programme, before = _from(FIRST), date(2024, 12, 31)
    for ask in (programme.steps_on, programme.low_glucose_on):
        with pytest.raises(NoTargetInForce):
            ask(before)


def test_a_bound_that_has_ended_sends_no_coach() -> None:
    programme = _from(FIRST)
    assert programme.low_glucose_on(FIRST) == 39
    assert programme.low_glucose_on(ENDED) is None
    assert Programmes([programme]).is_low_glucose(LOW, FIRST)
    assert not Programmes([programme]).is_low_glucose(LOW, ENDED)


def test_a_programme_that_has_yet_to_begin_does_not_silence_the_next() -> None:
    both = Programmes([_from(FIRST), _from(date(2024, 1, 1), named="early")])
    assert both.is_low_glucose(LOW, date(2024, 6, 1))
    assert not both.is_low_glucose(msgspec.structs.replace(LOW, value=39), date(2024, 6, 1))
