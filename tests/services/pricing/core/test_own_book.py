"""An insurer's own tariffs go before the installed ones of their id, on their days alone."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from services.pricing.core.book import Active, Book, TariffNotInForce, UnknownTariff
from services.pricing.core.incentive import Incentive, LegalCap
from services.pricing.core.quote import Asked, quoted, shadow_of
from services.pricing.core.rates import compile_rates
from services.pricing.core.waterfall import price
from tests.services.pricing.at_hand import DEMO, WOMAN_52, demo_rates, priced
from tests.services.pricing.proposals import format_2_tree, proposal

FIRST, LAST = date(2027, 1, 1), date(2027, 12, 31)
OWN = compile_rates(proposal(format_2_tree(DEMO))[0])
INSTALLED = demo_rates()
BOOK = Book([INSTALLED]).with_own([Active(OWN, FIRST, LAST)])


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 12, 31), INSTALLED),
        (FIRST, OWN),
        (LAST, OWN),
        (date(2028, 1, 1), INSTALLED),
    ],
)
def test_an_own_tariff_goes_first_on_its_days(day: date, expected: object) -> None:
    assert BOOK.on(DEMO, day) is expected
    assert BOOK.on(INSTALLED.version, day) is INSTALLED


def test_outside_its_days_it_prices_nothing_and_says_when() -> None:
    assert BOOK.on(OWN.version, FIRST) is OWN
    with pytest.raises(TariffNotInForce, match=r"valid from 2027-01-01 to 2027-12-31$"):
        BOOK.on(OWN.version, date(2026, 12, 31))
    alone = Book([]).with_own([Active(OWN, FIRST, None)])
    assert alone.on(DEMO, date(2199, 1, 1)) is OWN
    with pytest.raises(TariffNotInForce, match=r"valid from 2027-01-01$"):
        alone.on(DEMO, date(2026, 12, 31))
    with pytest.raises(UnknownTariff):
        alone.on("other", FIRST)


def test_the_list_names_both_once() -> None:
    assert {rates.version for rates in BOOK.versions()} == {OWN.version, INSTALLED.version}
    assert Book([OWN], [Active(OWN, FIRST, LAST)]).versions() == [OWN]
    assert Book([INSTALLED]).versions() == [INSTALLED]


def test_a_shadow_is_the_same_persons_premium_by_the_other_tariff() -> None:
    waterfall = priced(INSTALLED, WOMAN_52)
    values = (52, 0, 1, 72, None)
    assert price(INSTALLED, values) == waterfall
    made = quoted(
        Asked("p", DEMO, "2027-01-01", WOMAN_52),
        INSTALLED,
        values,
        waterfall,
        quote_id="q",
        request_id="r",
        created_us=1,
    )
    tree = format_2_tree()
    tree["profit_millionths"] = 60_000
    other = compile_rates(proposal(tree)[0])
    shadow = shadow_of(DEMO, other, made)
    assert (shadow.tariff_id, shadow.tariff_version) == (DEMO, other.version)
    plain = price(other, values).premium_minor
    assert shadow.premium_minor == plain != waterfall.premium_minor
    for cap, expected in ((None, plain), (LegalCap(50_000, "a law"), plain * 95 / 100)):
        incentive = Incentive(
            programme="p",
            window_first="2026-01",
            window_last="2026-12",
            months=(),
            run_first="",
            run_last="",
            run_months=3,
            share_millionths=100_000,
            cap=cap,
        )
        credited = shadow_of(DEMO, other, msgspec.structs.replace(made, incentive=incentive))
        assert abs(credited.premium_minor - expected) <= 0.5
