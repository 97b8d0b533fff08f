"""What a selection does to the expected claims of the book, and the bases that put it right.

To first order, table by table, weighted by the claims that each cell had: what the workbook can
say without the policies themselves. Exact in Fractions, so that two sides compute the same.
"""

from __future__ import annotations

from fractions import Fraction

import msgspec

from services.pricing.core.evidence import CauseEvidence, Cell, Evidence
from services.pricing.core.tariff import E4, MILLION


class Expected(msgspec.Struct, frozen=True):
    """Yearly expected claims of one cause in the book, 10⁻⁴ minor units, at the indicated bases."""

    cause: str
    indicated_e4: Fraction
    selected_e4: Fraction


def expected(evidence: Evidence) -> list[Expected]:
    """Each cause's expected claims at the indicated and at the selected relativities."""
    return [_of_cause(cause) for cause in evidence.causes]


def rebased(evidence: Evidence, approved_change_millionths: int) -> dict[str, int]:
    """Bases by cause that change the book's expected claims by what was approved, half-up.

    One factor for all causes: the selection decides how people differ, the bases what all pay.
    """
    found = expected(evidence)
    selected = sum((one.selected_e4 for one in found), Fraction(0))
    aim = sum((one.indicated_e4 for one in found), Fraction(0))
    aim *= Fraction(MILLION + approved_change_millionths, MILLION)
    factor = aim / selected if selected else Fraction(1)
    return {cause.name: _half_up(cause.indicated_base_e4 * factor) for cause in evidence.causes}


def totals(evidence: Evidence, bases: dict[str, int]) -> tuple[int, int]:
    """The book's expected claims as indicated, and as selected with these bases, half-up."""
    indicated, selected = Fraction(0), Fraction(0)
    for cause, one in zip(evidence.causes, expected(evidence), strict=True):
        indicated += one.indicated_e4
        if cause.indicated_base_e4:
            moved = Fraction(bases.get(cause.name, 0), cause.indicated_base_e4)
            selected += one.selected_e4 * moved
    return _half_up(indicated), _half_up(selected)


def _of_cause(cause: CauseEvidence) -> Expected:
    total = Fraction(max((_claims(table.cells) for table in cause.tables), default=0) * E4)
    moved = Fraction(1)
    for table in cause.tables:
        weights = [cell.amount_minor for cell in table.cells]
        if not any(weights):
            weights = [cell.exposure_millionths for cell in table.cells]
        weighed = sum(weights)
        if not weighed:
            continue
        shares = (
            Fraction(weight * cell.selected_millionths, cell.indicated_millionths or MILLION)
            for weight, cell in zip(weights, table.cells, strict=True)
        )
        moved *= sum(shares, Fraction(0)) / weighed
    return Expected(cause.name, total, total * moved)


def _claims(cells: tuple[Cell, ...]) -> int:
    return sum(cell.amount_minor for cell in cells)


def _half_up(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)
