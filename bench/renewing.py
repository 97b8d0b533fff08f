"""The renewal of a whole book beside DuckDB's join of the same people with the same tables."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.quote import TARIFF
from bench.rows import Report, Sizes
from services.pricing.core.features import outcome_features
from services.pricing.core.rates import FactorLookup, Rates
from services.pricing.core.tariff import E4, MILLION, CategoryFeature, Collar, CreditCap
from services.pricing.fitting.experience.tables import connect
from services.pricing.fitting.renewal.renew import renew_book
from services.pricing.fitting.renewal.settings import RenewalSettings
from services.pricing.fitting.renewal.terms import Terms
from services.pricing.fitting.renewal.work import Work
from services.pricing.tariffs.loader import example_tariffs, load_folder

_COLLAR = Collar(least_millionths=850_000, greatest_millionths=1_250_000, source="bench")
_CAP = CreditCap(share_millionths=200_000, source="bench")
_CHUNK = 1_000_000
_FLOOR = (
    "DuckDB, Parquet to Parquet: the same people joined with the tariff's tables, every factor and "
    "the clipped premium kept as floats; no balance, no waterfall, no check of a row"
)


def measure(report: Report, sizes: Sizes, folder: Path) -> None:
    """Rows renewed in a second, with collar, off-balance and every waterfall."""
    rates = load_folder(example_tariffs()).on(TARIFF, date(2026, 12, 1))
    book = folder / "book.parquet"
    _write_book(book, sizes.renewals)
    work = Work(
        book=book,
        book_sha256="bench",
        rates=rates,
        settings=_settings(),
        terms=Terms(collar=_COLLAR, cap=_CAP),
        folder=folder / "renewal",
    )
    turns = [
        (
            _timed(lambda: _joined(rates, book, folder / "floor.parquet")),
            _timed(lambda: renew_book(work, lambda *_: None)),
        )
        for _ in range(sizes.turns)
    ]
    floor, floor_cpu = (statistics.median(turn[0][place] for turn in turns) for place in (0, 1))
    ours, cpu = (statistics.median(turn[1][place] for turn in turns) for place in (0, 1))
    for path, spent, least in (
        ("renew a book, Parquet to Parquet, balanced under a collar", ours, floor),
        ("renew a book, Parquet to Parquet, CPU of all threads", cpu, floor_cpu),
    ):
        report.add(
            path,
            "s",
            spent,
            least,
            cpu_ms=cpu * 1e3 / sizes.renewals,
            what_floor_is=_FLOOR,
            n=sizes.renewals,
        )


def _settings() -> RenewalSettings:
    return RenewalSettings(
        book="book.parquet",
        tariff="",
        collar=_COLLAR,
        change_millionths=0,
        cap=_CAP,
        shards=64,
        groups=(),
        columns={},
    )


def _write_book(path: Path, rows: int) -> None:
    """People drawn evenly; each expiring premium lies around what the tariff asks."""
    drawn = np.random.default_rng(20_26)
    conditions = np.array(["hypertension", "type2_diabetes", "both"])
    writer: pq.ParquetWriter | None = None
    for begin in range(0, rows, _CHUNK):
        count = min(_CHUNK, rows - begin)
        age = drawn.integers(18, 80, count)
        expiring = (150_000 + age * 4_000 * drawn.uniform(0.7, 1.3, count)).astype(np.int64)
        credit = drawn.choice([0, 30_000, 60_000, 100_000], count)
        table = pa.table(
            {
                "policy_id": pa.array([f"p{number}" for number in range(begin, begin + count)]),
                "age": pa.array(age),
                "sex": pa.array(np.where(drawn.random(count) < 0.5, "F", "M")),
                "condition": pa.array(conditions[drawn.integers(0, 3, count)]),
                "expiring_uncredited_minor": pa.array(expiring),
                "expiring_charged_minor": pa.array(expiring * (MILLION - credit) // MILLION),
                "credit_millionths": pa.array(credit),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _joined(rates: Rates, book: Path, out: Path) -> None:
    outcome = outcome_features(rates.tariff)
    with connect() as database:
        people = database.read_parquet(str(book))
        sums = []
        for c, cause in enumerate(rates.causes):
            product = [str(float(cause.base_e4))]
            for t, lookup in enumerate(cause.tables):
                name = rates.tariff.features[lookup.feature].name
                if name in outcome:
                    continue
                factors = database.from_arrow(_factors(rates, lookup)).set_alias("factors")
                joined = people.set_alias("people").join(factors, f"people.{name} = value")
                people = joined.project(f"* EXCLUDE (value, factor), factor AS f{c}_{t}")
                product.append(f"f{c}_{t}")
            sums.append(" * ".join(product))
        loads = (rates.tariff.large_loss_load_e4 + rates.tariff.fixed_expense_e4) / E4
        kept = (
            1
            - (rates.tariff.variable_expense_millionths + rates.tariff.profit_millionths) / MILLION
        )
        gross = f"(({' + '.join(sums)}) / {E4} + {loads}) / {kept}"
        before = "expiring_uncredited_minor"
        clipped = f"least(greatest({gross}, 0.85 * {before}), 1.25 * {before})"
        charged = f"{clipped} * (1 - credit_millionths / {MILLION})"
        priced = people.project(f"*, {gross} AS technical, {charged} AS charged")
        priced.write_parquet(str(out))


def _factors(rates: Rates, lookup: FactorLookup) -> pa.Table:
    """One table of the tariff with a row for each value that a person may have."""
    feature = rates.tariff.features[lookup.feature]
    values: Sequence[object]
    if isinstance(feature, CategoryFeature):
        values, cells = [level.name for level in feature.levels], list(lookup.labels)
    else:
        years = range(int(feature.priced_first), int(feature.priced_last) + 1)
        at = np.searchsorted(np.array(lookup.starts), np.array(years), side="right") - 1
        values, cells = years, [lookup.labels[int(cell)] for cell in at]
    pairs = [(v, c.factor_millionths) for v, c in zip(values, cells, strict=True) if c is not None]
    return pa.table(
        {"value": [value for value, _ in pairs], "factor": [f / MILLION for _, f in pairs]}
    )


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    cpu, begun = time.process_time(), time.perf_counter()
    work()
    return time.perf_counter() - begun, time.process_time() - cpu
