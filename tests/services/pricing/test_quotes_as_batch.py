"""Quotes over gRPC, fractions and a book's renewal come to the same fen; past ones can be remade.

10,000 quotes in `make fault`. The control asks for the same with one factor changed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lipei.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.pricing.core.tariff import E4
from services.pricing.fitting.renewal.renew import renew_book
from tests.identities import everybody
from tests.services.pricing import by_fractions
from tests.services.pricing.at_hand import DEMO, demo_rates, demo_tree
from tests.services.pricing.fitting.renewal.books import work
from tests.services.pricing.process import serving

Stub = pricing_pb2_grpc.PricingServiceStub
# One in so many is asked for again, as it was kept.
_AGAIN = 10


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with (
        serving(tmp_path_factory.mktemp("state")) as pricing,
        everybody(pricing.address, "pricing") as channel,
    ):
        yield Stub(channel)


def person(draw: random.Random) -> dict[str, str]:
    found = {
        "age": str(draw.randint(18, 79)),
        "sex": draw.choice("FM"),
        "condition": draw.choice(["hypertension", "type2_diabetes", "both"]),
    }
    if draw.random() < 0.5:
        found["hba1c_percent"] = f"{draw.uniform(3.0, 19.9):.2f}"
    if draw.random() < 0.5:
        found["systolic_mmhg"] = f"{draw.uniform(60, 279):.1f}"
    return found


def technical(people: list[dict[str, str]], folder: Path) -> dict[str, int]:
    """What the renewal of a book of these people asks of each before balance and collar."""
    rows = [
        {"policy_id": str(number), "age": int(one["age"])}
        | {name: one[name] for name in ("sex", "condition")}
        | {"expiring_uncredited_minor": 3_500_00, "expiring_charged_minor": 3_500_00}
        for number, one in enumerate(people)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "book.parquet")
    made = work(folder / "book.parquet", folder, groups=())
    renew_book(made, lambda *_: None)
    found: dict[str, int] = {}
    for path in made.result.glob("renewals-*.parquet"):
        table = pq.read_table(path, columns=["policy_id", "technical_minor"])
        found |= dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return found


def differing(stub: Stub, count: int, folder: Path, tariff: Mapping[str, Any], name: str) -> int:
    """How many quotes are not what fractions or, without readings, the batch come to."""
    draw = random.Random(count)
    people = [person(draw) for _ in range(count)]
    batch = technical(people, folder)
    wrong = 0
    for number, one in enumerate(people):
        quote = stub.QuotePremium(
            pricing_pb2.QuotePremiumRequest(
                request_id=f"{name}-{number}",
                parent="policies/p-1",
                tariff=DEMO,
                start_date="2026-12-01",
                features=one,
            ),
            timeout=60,
        ).quote
        paid = quote.premium.minor_units
        assert sum(step.difference_e4 for step in quote.steps) == paid * E4
        wrong += paid != by_fractions.premium(tariff, one)
        if "hba1c_percent" not in one and "systolic_mmhg" not in one:
            assert paid == batch[str(number)]
        if number % _AGAIN == 0:
            asked = pricing_pb2.GetQuoteRequest(name=quote.name)
            kept = stub.GetQuote(asked, timeout=60).quote
            assert kept == quote
            # The tariff of this very content is what the fractions read.
            assert kept.tariff == demo_rates().version
    return wrong


@pytest.mark.parametrize(
    "count",
    [50, pytest.param(10_000, marks=[pytest.mark.fault, pytest.mark.timeout(1_800)])],
)
def test_quotes_are_those_of_fractions_and_of_the_batch(
    stub: Stub, count: int, tmp_path: Path
) -> None:
    assert differing(stub, count, tmp_path, demo_tree()["tariff"], f"same{count}") == 0


def test_the_comparison_sees_a_factor_that_is_a_thousandth_off(stub: Stub, tmp_path: Path) -> None:
    tariff = demo_tree()["tariff"]
    tariff["causes"][0]["tables"][1]["cells"][0]["factor_millionths"] += 1_000
    assert differing(stub, 20, tmp_path, tariff, "other") > 0
