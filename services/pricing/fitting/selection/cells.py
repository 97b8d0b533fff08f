"""The rows of a selection: each cell of a fit with what stands behind it. Knows no workbook."""

from __future__ import annotations

from collections.abc import Container, Iterator
from decimal import Decimal

import msgspec

from services.pricing.core.evidence import ABSENT
from services.pricing.core.tariff import (
    MILLION,
    BandTable,
    FactorTable,
    Tariff,
)
from services.pricing.fitting.models.fit_result import CellFit, Fit, TableFit, cell_title


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of one table of one cause. Relativities in millionths.

    None where there is none: no severity without a claim, nothing but what was indicated without
    anybody exposed. The interval is that of what was indicated.
    """

    cause: str
    table: str
    cell: str
    feature: str
    monotone: str
    exposure: float = 0.0
    claims: int = 0
    amount_minor: int = 0
    frequency: int | None = None
    severity: int | None = None
    raw: int | None = None
    credibility: int | None = None
    indicated: int
    low95: int | None = None
    high95: int | None = None
    thin: bool = False
    bounded: bool = False  # held by a bound, and so may an end of its interval be
    previous: int | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Cause, table, cell."""
        return self.cause, self.table, self.cell


def rows_of(fit: Fit, previous: Tariff | None) -> list[Row]:
    """Every cell of a fit in its order, the factor of an absent value last in its table."""
    bounded = {one.where for one in fit.warnings if one.code == "BOUNDED"}
    return [
        row
        for cause in fit.causes
        for table in cause.tables
        for row in _rows(cause.name, table, _table_of(previous, cause.name, table.name), bounded)
    ]


def millionths(value: float) -> int:
    """A relativity in millionths, half-up from the shortest decimal that names it."""
    return int((Decimal(repr(value)) * MILLION).to_integral_value("ROUND_HALF_UP"))


def cell_name(cell: CellFit) -> str:
    """A level such as F, or a band such as 7.0-7.4."""
    return cell.level if cell.level is not None else f"{cell.first}-{cell.last}"


def _rows(
    cause: str, table: TableFit, old: FactorTable | None, bounded: Container[str]
) -> Iterator[Row]:
    for cell in table.cells:
        exposed = cell.exposure > 0
        yield Row(
            cause=cause,
            table=table.name,
            feature=table.feature,
            monotone=table.monotone,
            cell=cell_name(cell),
            exposure=cell.exposure,
            claims=cell.claims,
            amount_minor=round(cell.amount_minor),
            frequency=millionths(cell.frequency_relativity) if exposed else None,
            severity=millionths(cell.severity_relativity) if cell.claims else None,
            raw=millionths(cell.raw) if exposed else None,
            credibility=millionths(cell.credibility),
            indicated=millionths(cell.indicated),
            low95=None if cell.low95 is None else millionths(cell.low95),
            high95=None if cell.high95 is None else millionths(cell.high95),
            thin=cell.thin,
            bounded=f"{cause}.{table.name}.{cell_title(cell)}" in bounded,
            previous=_previous(old, cell),
        )
    if table.absent_factor is not None:
        yield Row(
            cause=cause,
            table=table.name,
            feature=table.feature,
            monotone="no",
            cell=ABSENT,
            indicated=millionths(table.absent_factor),
            previous=None if old is None else old.absent_factor_millionths,
        )


def _table_of(tariff: Tariff | None, cause: str, table: str) -> FactorTable | None:
    for one in () if tariff is None else tariff.causes:
        for other in one.tables:
            if (one.name, other.name) == (cause, table):
                return other
    return None


def _previous(old: FactorTable | None, cell: CellFit) -> int | None:
    """What the previous tariff has for the whole cell; None where that is not one factor."""
    if old is None:
        return None
    if not isinstance(old, BandTable):
        found = [one.factor_millionths for one in old.cells if one.level == cell.level]
        return found[0] if found else None
    if cell.first is None or cell.last is None:
        return None
    first, last = Decimal(cell.first), Decimal(cell.last)
    for band in old.cells:
        if Decimal(band.first) <= first and last <= Decimal(band.last):
            return band.factor_millionths
    return None
