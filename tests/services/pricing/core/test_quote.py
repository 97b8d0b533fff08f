"""A quote keeps what was priced, what came off, and the readings that this rests on."""

from __future__ import annotations

from services.pricing.core.incentive import Incentive
from services.pricing.core.quote import Asked, Quote, quoted
from services.pricing.core.waterfall import price
from tests.services.pricing.at_hand import demo_rates
from tests.services.pricing.core.test_incentive import found

RATES = demo_rates()
VALUES = (52, 0, 1, None, None)
ASKED = Asked("P1", "diabetes-hypertension-demo", "2026-01-01", {"age": "52"})


def _quoted(incentive: Incentive | None) -> Quote:
    return quoted(
        ASKED,
        RATES,
        VALUES,
        price(RATES, VALUES),
        quote_id="q1",
        request_id="r1",
        created_us=1,
        incentive=incentive,
    )


def test_without_an_incentive_the_premium_is_the_waterfalls() -> None:
    quote = _quoted(None)
    assert (quote.premium_minor, quote.uncredited_minor) == (370_680, 370_680)
    assert quote.steps[-1].step == "rounding"
    assert {step.evidence for step in quote.steps} == {()}


def test_what_comes_off_rests_on_the_readings_of_the_run_and_no_other_step_does() -> None:
    incentive = found("2025-03", "2025-04", "2025-05")
    quote = _quoted(incentive)
    # 3706.80 less 10 % is 3336.12.
    assert (quote.premium_minor, quote.uncredited_minor) == (333_612, 370_680)
    resting = [(step.step, step.evidence) for step in quote.steps if step.evidence]
    assert resting == [("incentive", incentive.evidence)]
    assert len(incentive.evidence) == 9  # three a month


def test_without_a_legal_cap_nothing_comes_off() -> None:
    quote = _quoted(found("2025-03", cap=None))
    assert (quote.premium_minor, quote.uncredited_minor) == (370_680, 370_680)
    assert quote.steps[-2].difference_e4 == 0
