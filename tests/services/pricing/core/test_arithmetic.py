"""A column rounds as one number does: the arithmetic of a quote and of a book is one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.core.arithmetic import (
    BILLION,
    MAX_COLUMN_E4,
    applied,
    balanced,
    clipped,
    less_credit,
    to_multiple,
)

_AMOUNTS = st.lists(st.integers(0, MAX_COLUMN_E4), min_size=1, max_size=8)


@given(_AMOUNTS, st.integers(0, 1_000_000), st.integers(1, 1_000 * BILLION - 1))
def test_a_column_rounds_as_single_numbers_do(amounts: list[int], share: int, k: int) -> None:
    column = np.array(amounts, np.int64)
    shares = np.full(len(amounts), share, np.int64)
    assert applied(column, shares).tolist() == [applied(a, share) for a in amounts]
    assert less_credit(column, shares).tolist() == [less_credit(a, share) for a in amounts]
    assert balanced(column, k).tolist() == [balanced(a, k) for a in amounts]
    assert to_multiple(column, 100).tolist() == [to_multiple(a, 100) for a in amounts]
    least, most = np.full(len(amounts), 5_000), np.full(len(amounts), 7_000_000)
    assert clipped(column, least, most).tolist() == [min(max(a, 5_000), 7_000_000) for a in amounts]


def test_an_amount_one_step_outside_is_moved_by_one() -> None:
    assert [clipped(amount, 7, 9) for amount in (6, 7, 8, 9, 10)] == [7, 7, 8, 9, 9]
