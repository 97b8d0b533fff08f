"""A tariff's name is its content, and anybody can compute it."""

from __future__ import annotations

import hashlib
import json
from datetime import date

import msgspec
import pytest

from services.pricing.core.book import Book, TariffNotInForce, UnknownTariff, is_tariff_name
from services.pricing.core.golden import golden_faults
from services.pricing.core.rates import Rates, compile_rates
from services.pricing.core.tariff import (
    canonical_bytes,
    factor_text,
    scaled,
    tariff_from,
    version_of,
    written,
)
from tests.services.pricing.at_hand import DEMO, demo_rates, demo_tree


def test_any_json_writer_gives_the_same_hash() -> None:
    tree = demo_tree()
    plain = json.dumps(
        tree["tariff"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
    assert plain == canonical_bytes(demo_rates().tariff)
    digest = hashlib.sha256(plain).hexdigest()
    assert digest == tree["sha256"]
    assert version_of(demo_rates().tariff) == demo_rates().version == f"{DEMO}@sha256:{digest}"


def test_canonical_bytes_read_back_into_the_same_tariff() -> None:
    tariff = demo_rates().tariff
    assert tariff_from(canonical_bytes(tariff)) == tariff


def test_another_content_has_another_name() -> None:
    tariff = demo_rates().tariff
    other = msgspec.structs.replace(tariff, fixed_expense_e4=tariff.fixed_expense_e4 + 1)
    assert version_of(other) != version_of(tariff)


@pytest.mark.parametrize(
    ("text", "places", "steps"), [("7.4", 1, 74), ("52", 0, 52), ("0.05", 2, 5), ("10.00", 2, 1000)]
)
def test_an_edge_reads_and_writes_in_one_way(text: str, places: int, steps: int) -> None:
    assert scaled(text, places) == steps
    assert written(steps, places) == text


@pytest.mark.parametrize(("text", "places"), [("7", 1), ("7.40", 1), ("7.0", 0), ("7.", 0)])
def test_an_edge_with_other_places_is_refused(text: str, places: int) -> None:
    with pytest.raises(ValueError, match="exactly"):
        scaled(text, places)


def test_factors_read_as_people_write_them() -> None:
    assert [factor_text(m) for m in (1_000_000, 1_250_000, 10_000_000, 1)] == [
        "1",
        "1.25",
        "10",
        "0.000001",
    ]


def version(first: date, last: date | None) -> Rates:
    tariff = demo_rates().tariff
    return compile_rates(msgspec.structs.replace(tariff, valid_first=first, valid_last=last))


OLD = version(date(2026, 1, 1), date(2026, 12, 31))
NEW = version(date(2027, 1, 1), None)


def test_the_active_version_is_the_one_valid_that_day() -> None:
    book = Book([NEW, OLD])
    assert book.faults() == []
    assert book.on(DEMO, date(2026, 12, 31)).version == OLD.version
    assert book.on(DEMO, date(2027, 1, 1)).version == NEW.version
    assert book.on(OLD.version, date(2026, 1, 1)).version == OLD.version


def test_no_tariff_prices_before_or_after_its_time() -> None:
    book = Book([NEW, OLD])
    with pytest.raises(TariffNotInForce, match="2026-01-01 to 2026-12-31"):
        book.on(DEMO, date(2025, 12, 31))
    with pytest.raises(TariffNotInForce, match=r"valid from 2026-01-01 to 2026-12-31$"):
        book.on(OLD.version, date(2027, 1, 1))
    with pytest.raises(TariffNotInForce, match=r"valid from 2027-01-01$"):
        book.on(NEW.version, date(2026, 12, 31))
    with pytest.raises(UnknownTariff):
        book.on("another", date(2027, 1, 1))
    with pytest.raises(UnknownTariff):
        book.on(f"{DEMO}@sha256:{'0' * 64}", date(2027, 1, 1))


def test_two_versions_on_one_day_are_a_fault() -> None:
    overlapping = version(date(2026, 12, 31), None)
    assert [fault.reason for fault in Book([OLD, overlapping]).faults()] == ["VERSIONS_OVERLAP"]


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        (DEMO, True),
        (f"{DEMO}@sha256:{'a' * 64}", True),
        (f"{DEMO}@sha256:{'A' * 64}", False),
        (f"{DEMO}@sha256:{'a' * 63}", False),
        (f"{DEMO}@md5:{'a' * 64}", False),
        (f"{DEMO}\n", False),
        ("", False),
        ("Demo", False),
        ("ｄemo", False),
    ],
)
def test_a_tariff_name_is_an_id_or_an_exact_version(text: str, is_name: bool) -> None:
    assert is_tariff_name(text) is is_name


def test_every_golden_quote_is_judged_whatever_the_one_before_says() -> None:
    tariff = demo_rates().tariff
    first, second, *others = tariff.golden_quotes
    nobody = msgspec.structs.replace(first, features={**first.features, "sex": "X"})
    off = msgspec.structs.replace(second, premium_minor=second.premium_minor + 1)
    rates = compile_rates(msgspec.structs.replace(tariff, golden_quotes=(nobody, off, *others)))
    assert [fault.path for fault in golden_faults(rates)] == [
        "tariff.golden_quotes[0].features.sex",
        "tariff.golden_quotes[1].premium_minor",
    ]
