"""The kernel against premiums that were worked out by hand; the cases are in quotes.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.common.strict_yaml import load
from services.pricing.core.tariff import E4
from tests.services.pricing.at_hand import demo_rates, priced

FILE = Path(__file__).with_name("quotes.yaml")
CASES = load(FILE.read_bytes(), FILE.name)["cases"]
CAUSES = ("inpatient", "outpatient", "injury")


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_the_premium_and_its_parts_are_those_of_the_hand(case: Mapping[str, Any]) -> None:
    given = {name: str(value) for name, value in case["features"].items()}
    found = priced(demo_rates(), given)
    for cause in CAUSES:
        amount = sum(
            step.difference_e4 for step in found.steps if step.label.step.startswith(f"{cause}.")
        )
        assert yuan(amount) == Decimal(case[cause]), cause
    gross = found.steps[-1].premium_e4 - found.steps[-1].difference_e4
    assert found.steps[-1].label.step == "rounding"
    assert yuan(gross) == Decimal(case["gross"])
    assert yuan(found.premium_minor * E4) == Decimal(case["premium"])


def yuan(amount_e4: int) -> Decimal:
    return Decimal(amount_e4).scaleb(-6)
