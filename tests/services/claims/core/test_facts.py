"""Facts keep numbers in one form, so that equal facts have equal bytes."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.claims.core.facts import (
    Authorisation,
    Coding,
    ContractPrice,
    DisclosedCondition,
    EarlierService,
    PreExistingTerms,
    ReviewedLine,
    plain_decimal,
)
from services.common.dated import Dated
from tests.services.claims.core.bills import DAY, YIBAO, line

NEXT = DAY + timedelta(days=1)
CODE = Coding(system=YIBAO, code="V1")
EARLIER = EarlierService(
    bill_number="B0",
    provider_id="CLINIC",
    code=CODE,
    service_date=DAY,
    quantity=Decimal("2.50"),
    unit_price=Decimal("3.00"),
    units=Decimal("1.50"),
)
KEPT: list[tuple[Any, str, str]] = [
    (
        DisclosedCondition(
            code_prefix="I10", terms=PreExistingTerms.AT_SHARE, share=Decimal("0.50")
        ),
        "share",
        "0.5",
    ),
    (
        Authorisation(id="A", start=DAY, end=DAY, codes=(CODE,), units=Decimal("2.00")),
        "units",
        "2",
    ),
    (EARLIER, "quantity", "2.5"),
    (EARLIER, "unit_price", "3"),
    (EARLIER, "units", "1.5"),
    (line(1, "V1", "100.00", "1.50"), "unit_price", "100"),
    (line(1, "V1", "100.00", "1.50"), "quantity", "1.5"),
    (ReviewedLine(number=1, clause="8.5", quantity=Decimal("1.10")), "quantity", "1.1"),
    (ReviewedLine(number=1, clause="8.5", unit_price=Decimal("1.10")), "unit_price", "1.1"),
]


@pytest.mark.parametrize("number", range(len(KEPT)))
def test_a_number_is_kept_without_what_does_not_count(number: int) -> None:
    fact, field, written = KEPT[number]
    assert str(getattr(fact, field)) == written
    longer = Decimal(f"{written}0" if "." in written else f"{written}.0")
    again = msgspec.structs.replace(fact, **{field: longer})
    assert msgspec.json.encode(again) == msgspec.json.encode(fact)


def test_a_price_is_kept_plain_and_may_end() -> None:
    price = ContractPrice(code=CODE, price=Dated(((DAY, Decimal("80.00")), (NEXT, None))))
    assert [None if one is None else str(one) for _, one in price.price.values] == ["80", None]


def test_a_whole_number_has_no_exponent_and_no_point() -> None:
    plain = [str(plain_decimal(Decimal(one))) for one in ("1E+2", "10", "0.00", "7.250")]
    assert plain == ["100", "10", "0", "7.25"]
