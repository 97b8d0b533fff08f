"""Lines add up to the total to the smallest coin, or the bill is not whole."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.his_bridge.core.balance import balance
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.parsed import ParsedLine
from services.his_bridge.core.terms import LineWithoutNet


def line(quantity: Decimal, price: Decimal, net: Decimal | None) -> ParsedLine:
    return ParsedLine(
        path="item[0]",
        number=1,
        concept=None,
        quantity=quantity,
        unit_price=price,
        net=net,
        states_amount=True,
    )


def judged(lines: list[ParsedLine], total: Decimal, currency: str = "CNY") -> list[Reason]:
    found = balance(lines, total, total_path="total", currency=currency, rule=LineWithoutNet())
    return [fault.reason for fault in found.faults]


quantities = st.decimals("0.0001", "10000", places=4)
prices = st.decimals("0", "100000", places=6)


@given(st.lists(st.tuples(quantities, prices), min_size=1, max_size=5), st.integers(-3, 3))
def test_exactly_the_sum_of_lines_rounded_once_balances(
    pairs: list[tuple[Decimal, Decimal]], off_by: int
) -> None:
    fen = Decimal("0.01")
    lines = [line(q, p, (q * p).quantize(fen, ROUND_HALF_UP)) for q, p in pairs]
    total = sum((one.net or Decimal(0) for one in lines), Decimal(0)) + off_by * fen
    if total >= 0:
        assert judged(lines, total) == ([Reason.LINES_DO_NOT_ADD_UP] if off_by else [])


@pytest.mark.parametrize(
    ("quantity", "price", "net", "fits"),
    [
        ("1", "0.005", "0.01", True),  # a half goes up
        ("1", "0.005", "0.00", False),
        ("3", "33.335", "100.01", True),  # 100.005, rounded once
        ("3", "33.335", "100.02", False),  # what rounding the price first would give
        ("0.5", "0.01", "0.01", True),
        ("9999999999.9999", "999.999999", "9999999989999.90", True),
    ],
)
def test_a_net_is_quantity_times_price_rounded_once_half_up(
    quantity: str, price: str, net: str, fits: bool
) -> None:
    reasons = judged([line(Decimal(quantity), Decimal(price), Decimal(net))], Decimal(net))
    assert reasons == ([] if fits else [Reason.LINE_DOES_NOT_MULTIPLY])


def test_yen_have_no_fractions() -> None:
    one = line(Decimal(1), Decimal("100.4"), None)
    assert judged([one], Decimal(100), "JPY") == []
    assert judged([one], Decimal("100.4"), "JPY") == [Reason.AMOUNT_TOO_FINE]
