"""A policy priced alone, the renewal of its whole book, and fractions come to the same fen.

Of 1,000,000 policies in `make fault`. The oracle reads the tariff's file and shares no code with
the core; the control is the same comparison with one factor changed by a thousandth.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.pricing.core.arithmetic import less_credit, to_multiple
from services.pricing.core.features import read
from services.pricing.core.renewal import bounds_e4, bounds_minor, renewed
from services.pricing.core.tariff import E4, MILLION
from services.pricing.core.waterfall import price
from services.pricing.fitting.renewal.renew import renew_book
from tests.services.pricing import by_fractions
from tests.services.pricing.at_hand import demo_tree
from tests.services.pricing.fitting.renewal.books import COLLAR, RATES, work

CONDITIONS = ("hypertension", "type2_diabetes", "both")
CREDITS = (0, 30_000, 60_000, 100_000, 123_457)


def drawn(count: int) -> pa.Table:
    """Policies named by their row, in all cells of the demo tariff."""
    random = np.random.default_rng(7)
    return pa.table(
        {
            "policy_id": [str(number) for number in range(count)],
            "age": random.integers(18, 80, count),
            "sex": np.array(["F", "M"])[random.integers(0, 2, count)],
            "condition": np.array(CONDITIONS)[random.integers(0, 3, count)],
            "expiring_uncredited_minor": random.integers(2_000_00, 7_000_00, count),
            "expiring_charged_minor": random.integers(1_900_00, 7_000_00, count),
            "credit_millionths": np.array(CREDITS)[random.integers(0, len(CREDITS), count)],
        }
    )


def differing(count: int, folder: Path, tariff: Mapping[str, Any]) -> int:
    """How many policies' premiums are not those of the fractions; what else must hold is held to.

    The book's total is summed by fractions too, and lies within a millionth of its target.
    """
    book = drawn(count)
    pq.write_table(book, folder / "book.parquet")
    made = work(folder / "book.parquet", folder, groups=())
    manifest = renew_book(made, lambda *_: None)
    rows = list(zip(*(book[name].to_pylist() for name in book.column_names[1:]), strict=True))
    features = RATES.tariff.features
    k = manifest.off_balance_billionths
    bounds = (COLLAR.least_millionths, COLLAR.greatest_millionths)

    @cache
    def exact(age: int, sex: str, condition: str) -> int:
        return by_fractions.gross_e4(tariff, {"age": str(age), "sex": sex, "condition": condition})

    total, wrong, seen = Fraction(0), 0, 0
    for path in sorted(made.result.glob("renewals-*.parquet")):
        table = pq.read_table(path, columns=["policy_id", "uncredited_minor", "charged_minor"])
        for policy, uncredited, charged in zip(
            *(c.to_pylist() for c in table.columns), strict=True
        ):
            age, sex, condition, expiring, _, credit = rows[int(policy)]
            values = read(features, {"age": str(age), "sex": sex, "condition": condition}).values
            held = bounds_minor(expiring, COLLAR)
            alone = renewed(price(RATES, values), k, bounds_e4(expiring, COLLAR), 1)
            assert sum(step.difference_e4 for step in alone.steps) == alone.premium_minor * E4
            assert held[0] <= uncredited <= held[1]
            assert uncredited == alone.premium_minor
            assert charged == to_multiple(less_credit(uncredited * E4, credit), 1) // E4
            said = by_fractions.renewed(exact(age, sex, condition), k, expiring, bounds, credit)
            wrong += (uncredited, charged) != (said[0], said[2])
            total += said[1]
            seen += 1
    assert seen == count == manifest.renewed
    if not wrong:
        assert abs(total / manifest.target_e4 - 1) <= Fraction(1, MILLION)
    return wrong


@pytest.mark.parametrize(
    "count",
    [2_000, pytest.param(1_000_000, marks=[pytest.mark.fault, pytest.mark.timeout(1_800)])],
)
def test_one_policy_its_book_and_fractions_agree_to_the_fen(count: int, tmp_path: Path) -> None:
    assert differing(count, tmp_path, demo_tree()["tariff"]) == 0


def test_the_comparison_sees_a_factor_that_is_a_thousandth_off(tmp_path: Path) -> None:
    tariff = demo_tree()["tariff"]
    tariff["causes"][0]["tables"][0]["cells"][2]["factor_millionths"] += 1_000
    assert differing(500, tmp_path, tariff) > 0
