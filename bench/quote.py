"""Quotes: over gRPC beside an empty call; the waterfall beside numpy tables and bare products."""

from __future__ import annotations

import random
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TypeAlias

import msgspec
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from bench.live import Live
from bench.processes import Meter
from bench.rows import Report, Sizes, percentile
from lipei.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from lipei.type.v1 import coding_pb2, reading_pb2
from services.common.transport.channels import channel
from services.pricing import messages
from services.pricing.core.features import read
from services.pricing.core.quote import Asked
from services.pricing.core.quote import quoted as quote_of
from services.pricing.core.rates import FactorLookup, Rates, compile_rates
from services.pricing.core.tariff import E4, MILLION, CategoryFeature, Feature
from services.pricing.core.waterfall import price
from services.pricing.tariffs.loader import example_tariffs, load_folder

TARIFF = "diabetes-hypertension-demo"
_DAY = date(2026, 12, 1)
# One a day over a whole window of twelve months.
READINGS = 365
_LAST_READING = datetime(2026, 9, 30, tzinfo=UTC)
_DIABETIC = {"age": "52", "sex": "F", "condition": "type2_diabetes"}
_GIVEN = 0.7  # of the features that a person may leave out
_ABSENT = -1
_HEALTH = "an empty unary call on the same server: its health check"
_NUMPY = "all people at once by numpy tables, every factor applied, the premium only: no steps"

_TABLES = 10

_Column: TypeAlias = NDArray[np.int64]
_Values: TypeAlias = tuple[int | None, ...]


def measure(report: Report, sizes: Sizes) -> None:
    """The kernel: premiums with every step.

    Raises: RuntimeError when numpy's premiums are not the kernel's: it would be no floor.
    """
    rates = load_folder(example_tariffs()).on(TARIFF, _DAY)
    people = [read(rates.tariff.features, _person(rates, n)).values for n in range(sizes.priced)]
    cpu, begun = time.process_time(), time.perf_counter()
    premiums = [price(rates, values).premium_minor for values in people]
    ours, cpu = time.perf_counter() - begun, time.process_time() - cpu
    columns = np.array([[_ABSENT if v is None else v for v in values] for values in people])
    begun = time.perf_counter()
    floor_premiums = _by_tables(rates, columns)
    floor = time.perf_counter() - begun
    if floor_premiums.tolist() != premiums:
        raise RuntimeError("the floor of the quote does not price what the kernel prices")
    count = sizes.priced
    report.add(
        "price one person, kernel alone",
        "µs",
        ours / count * 1e6,
        floor / count * 1e6,
        cpu_ms=cpu / count * 1e3,
        what_floor_is=_NUMPY,
        n=count,
    )


def explained(report: Report, sizes: Sizes) -> None:
    """A quote with every step beside the bare product of its ten tables, and as it is sent.

    Raises: RuntimeError when the bare product is not the premium: it would be no floor.
    """
    rates = _ten_tables(load_folder(example_tariffs()).on(TARIFF, _DAY))
    people = [read(rates.tariff.features, _person(rates, n)).values for n in range(sizes.priced)]
    bare = _bare(rates)
    if any(abs(bare(some) - price(rates, some).premium_minor) > 1 for some in people):
        raise RuntimeError("the bare product does not price what the kernel prices")
    cpu = time.process_time()
    ours = _each(lambda some: price(rates, some), people)
    cpu = time.process_time() - cpu
    floor = _each(bare, people)
    for percent in (50, 99):
        report.add(
            f"an explained quote, p{percent}",
            "µs",
            percentile(ours, percent) * 1e6,
            percentile(floor, percent) * 1e6,
            cpu_ms=cpu / len(people) * 1e3,
            what_floor_is="the bare product of the same ten tables in floats, explained to nobody",
            n=len(people),
        )
    asked = Asked("bench", TARIFF, _DAY.isoformat(), dict(_DIABETIC))

    def sent(some: tuple[int | None, ...]) -> bytes:
        made = quote_of(
            asked,
            rates,
            some,
            price(rates, some),
            quote_id="0" * 32,
            request_id="bench",
            created_us=1,
        )
        return messages.quote(made).SerializeToString()

    ready = [pricing_pb2.Quote.FromString(sent(some)) for some in people]
    begun = time.process_time()
    for some in people:
        sent(some)
    spent = time.process_time() - begun
    begun = time.process_time()
    for message in ready:
        message.SerializeToString()
    report.add(
        "quotes priced, explained and serialised, on one core",
        "quotes/s",
        len(people) / spent,
        len(people) / (time.process_time() - begun),
        cpu_ms=spent / len(people) * 1e3,
        what_floor_is="protobuf's serialising of the same quotes, ready-made",
        n=len(people),
    )


def _each(work: Callable[[_Values], object], people: Sequence[_Values]) -> list[float]:
    took = []
    for some in people:
        begun = time.perf_counter()
        work(some)
        took.append(time.perf_counter() - begun)
    return took


def _ten_tables(rates: Rates) -> Rates:
    """The example tariff without its last table, so that it has ten."""
    *others, last = rates.tariff.causes
    shorter = msgspec.structs.replace(last, tables=last.tables[:-1])
    tariff = msgspec.structs.replace(rates.tariff, causes=(*others, shorter))
    if sum(len(cause.tables) for cause in tariff.causes) != _TABLES:
        raise RuntimeError("the example tariff has not the ten tables that are compared")
    return compile_rates(tariff)


def _bare(rates: Rates) -> Callable[[_Values], float]:
    """Only the premium, by look-ups and float products, as a script would have it."""
    tariff = rates.tariff
    loads = tariff.large_loss_load_e4 + tariff.fixed_expense_e4
    kept = 1 - (tariff.variable_expense_millionths + tariff.profit_millionths) / MILLION
    causes = [
        (
            cause.base_e4,
            [
                (
                    table.feature,
                    table.starts,
                    [label.factor_millionths / MILLION if label else 0.0 for label in table.labels],
                    table.absent.factor_millionths / MILLION if table.absent else 0.0,
                    table.gate,
                    table.gate_levels,
                )
                for table in cause.tables
            ],
        )
        for cause in rates.causes
    ]

    def premium(values: _Values) -> float:
        total = float(loads)
        for base, tables in causes:
            amount = float(base)
            for feature, starts, factors, absent, gate, levels in tables:
                if gate >= 0 and values[gate] not in levels:
                    continue
                value = values[feature]
                if value is None:
                    amount *= absent
                else:
                    amount *= factors[value if starts is None else bisect_right(starts, value) - 1]
            total += amount
        return total / kept / E4

    return premium


async def quoted(report: Report, sizes: Sizes, live: Live) -> None:
    """Quotes over gRPC, priced, sealed and kept, taking turns with the empty call.

    First of people without a programme, then of one whose year of readings may earn a credit.
    """
    rates = load_folder(example_tariffs()).on(TARIFF, _DAY)
    member = f"members/{live.token('CN-ID', '99000119700101001X')}"
    part = pricing_pb2.Participation(
        member=member, programme="diabetes-glucose", time_zone="Asia/Shanghai"
    )
    actuary, partner = live.stack.identity("chief_actuary"), live.stack.identity("partner")
    async with (
        channel(live.target("pricing"), actuary, "pricing") as pricing,
        channel(live.target("pricing"), partner, "pricing") as devices,
    ):
        stub = pricing_pb2_grpc.PricingServiceStub(pricing)
        health = health_pb2_grpc.HealthStub(pricing)
        await pricing_pb2_grpc.PricingServiceStub(devices).RecordReadings(
            pricing_pb2.RecordReadingsRequest(request_id="bench", readings=_diary(member))
        )

        async def empty(_number: int) -> None:
            await health.Check(health_pb2.HealthCheckRequest())

        async def plain(number: int) -> None:
            await stub.QuotePremium(_question(f"plain-{number}", _person(rates, number)))

        async def credited(number: int) -> None:
            asked = _question(f"credited-{number}", _DIABETIC)
            asked.participation.CopyFrom(part)
            await stub.QuotePremium(asked)

        await empty(0)
        for path, quote in (("quote", plain), (f"quote, {READINGS} readings", credited)):
            ours, floor = [], []
            spent = Meter({"pricing": live.processes["pricing"]})
            for number in range(sizes.quotes):
                with spent:
                    ours.append(await _took(quote, number))
                floor.append(await _took(empty, number))
            _add(report, path, ours, floor, spent)


def _add(report: Report, path: str, ours: list[float], floor: list[float], spent: Meter) -> None:
    for percent in (50, 99):
        report.add(
            f"{path} over gRPC, p{percent}",
            "ms",
            percentile(ours, percent) * 1e3,
            percentile(floor, percent) * 1e3,
            cpu_ms=spent.total_ms / len(ours),
            what_floor_is=_HEALTH,
            n=len(ours),
        )


def _question(request_id: str, features: Mapping[str, str]) -> pricing_pb2.QuotePremiumRequest:
    return pricing_pb2.QuotePremiumRequest(
        request_id=f"bench-{request_id}",
        parent="policies/bench",
        tariff=TARIFF,
        start_date=_DAY.isoformat(),
        features=features,
    )


def _diary(member: str) -> list[reading_pb2.Reading]:
    """One glucose a day up to the end of the window's last month, from a connected device."""
    token = member.removeprefix("members/")
    readings = []
    for back in range(READINGS):
        made = reading_pb2.Reading(
            name=f"{member}/readings/bench-{back}",
            member_token=token,
            code=coding_pb2.Coding(system="http://loinc.org", code="14771-0"),
            value=f"{5 + back % 3}.{back % 10}",
            unit="mmol/L",
            provenance=reading_pb2.READING_PROVENANCE_DEVICE,
        )
        made.effective_time.FromDatetime(_LAST_READING - timedelta(days=back))
        made.receive_time.CopyFrom(made.effective_time)
        readings.append(made)
    return readings


async def _took(call: Callable[[int], Awaitable[None]], number: int) -> float:
    begun = time.perf_counter()
    await call(number)
    return time.perf_counter() - begun


def _person(rates: Rates, number: int) -> Mapping[str, str]:
    """Features that the tariff prices, drawn from the number alone."""
    draw = random.Random(number)
    return {
        feature.name: _value(feature, draw)
        for feature in rates.tariff.features
        if feature.required or draw.random() < _GIVEN
    }


def _value(feature: Feature, draw: random.Random) -> str:
    if isinstance(feature, CategoryFeature):
        return draw.choice([level.name for level in feature.levels if level.priced])
    first, last = float(feature.priced_first), float(feature.priced_last)
    return f"{draw.uniform(first, last):.{feature.places}f}"


def _by_tables(rates: Rates, columns: _Column) -> _Column:
    """Premiums in minor units, by the same whole-number steps as the kernel's."""
    total = np.zeros(len(columns), np.int64)
    for cause in rates.causes:
        amount = np.full(len(columns), cause.base_e4)
        for table in cause.tables:
            amount = (amount * _factors(table, columns) + MILLION // 2) // MILLION
        total += amount
    tariff = rates.tariff
    total += tariff.large_loss_load_e4 + tariff.fixed_expense_e4
    kept = MILLION - tariff.variable_expense_millionths - tariff.profit_millionths
    gross = (2 * total * MILLION + kept) // (2 * kept)
    unit = E4 * tariff.rounding.to_minor_units
    return (2 * gross + unit) // (2 * unit) * unit // E4


def _factors(table: FactorLookup, columns: _Column) -> _Column:
    values = columns[:, table.feature]
    cells = np.array([label.factor_millionths if label else 0 for label in table.labels])
    place = (
        values if table.starts is None else np.searchsorted(table.starts, values, side="right") - 1
    )
    absent = table.absent.factor_millionths if table.absent else 0
    found = np.where(values == _ABSENT, absent, cells[place])
    if table.gate >= 0:
        applies = np.isin(columns[:, table.gate], list(table.gate_levels))
        found = np.where(applies, found, table.elsewhere.factor_millionths)
    return found
