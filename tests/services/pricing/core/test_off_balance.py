"""What a selection does to a book's expected claims, worked out by hand."""

from __future__ import annotations

from fractions import Fraction

from services.pricing.core.evidence import (
    CauseEvidence,
    Cell,
    Evidence,
    Model,
    TableEvidence,
)
from services.pricing.core.off_balance import expected, rebased, totals
from services.pricing.core.tariff import MILLION

_Cells = list[tuple[int, int, int, int]]  # exposure in years, claims in fen, indicated, selected


def cause(name: str, base: int, *tables: _Cells) -> CauseEvidence:
    model = Model(
        part="frequency", family="poisson", rows=1, iterations=1, converged=True, coefficients=()
    )
    return CauseEvidence(
        name=name,
        indicated_base_e4=base,
        models=(model,),
        tables=tuple(
            TableEvidence(
                name=f"t{number}",
                cells=tuple(_cell(f"c{place}", *cell) for place, cell in enumerate(cells)),
            )
            for number, cells in enumerate(tables)
        ),
    )


def _cell(name: str, exposure: int, amount: int, indicated: int, selected: int) -> Cell:
    return Cell(
        cell=name,
        exposure_millionths=exposure * MILLION,
        claims=1,
        amount_minor=amount,
        indicated_millionths=indicated,
        low95_millionths=None,
        high95_millionths=None,
        previous_millionths=None,
        selected_millionths=selected,
        reason="r",
    )


def evidence(*causes: CauseEvidence) -> Evidence:
    return Evidence(
        format=1,
        data_sha256="d" * 64,
        fit_sha256="f" * 64,
        run_card="",
        synthetic=True,
        previous=None,
        causes=causes,
        warnings=(),
    )


def test_cells_count_by_their_claims_and_tables_multiply() -> None:
    """300 fen of claims: 100 at 1 -> 1.3 and 200 at 2 -> 2; then half of them at 1 -> 0.8.

    (100 x 1.3 + 200 x 1) / 300 = 1.1; (150 x 0.8 + 150 x 1) / 300 = 0.9; 300 x 1.1 x 0.9 = 297.
    """
    by_age = [(1, 100, MILLION, 1_300_000), (1, 200, 2 * MILLION, 2 * MILLION)]
    by_sex = [(5, 150, MILLION, 800_000), (5, 150, MILLION, MILLION)]
    said = evidence(cause("ward", 1_000, by_age, by_sex))
    (found,) = expected(said)
    assert found.indicated_e4 == 300 * 10_000
    assert found.selected_e4 == 297 * 10_000
    assert totals(said, {"ward": 1_000}) == (3_000_000, 2_970_000)
    assert totals(said, {"ward": 2_000}) == (3_000_000, 5_940_000)
    assert rebased(said, 0) == {"ward": 1_010}  # 1,000 / 0.99
    assert rebased(said, 100_000) == {"ward": 1_111}
    assert rebased(said, -10_000) == {"ward": 1_000}


def test_the_claims_of_a_cause_are_those_of_its_fullest_table() -> None:
    """A table that applies to some has the claims of those alone, and moves those alone."""
    whole = [(1, 100, MILLION, MILLION), (1, 300, MILLION, MILLION)]
    some = [(1, 100, MILLION, 1_500_000)]
    (found,) = expected(evidence(cause("ward", 1_000, some, whole)))
    assert found.indicated_e4 == 400 * 10_000


def test_without_claims_cells_count_by_exposure_and_without_both_not_at_all() -> None:
    quiet = [(3, 0, MILLION, 2 * MILLION), (1, 0, MILLION, MILLION)]
    empty = [(0, 0, MILLION, 5 * MILLION)]
    partly = [(9, 100, MILLION, MILLION), (9, 0, MILLION, 3 * MILLION)]
    (found,) = expected(evidence(cause("ward", 1_000, empty, quiet, partly)))
    assert found.selected_e4 / found.indicated_e4 == Fraction(7, 4)


def test_one_factor_moves_the_bases_of_all_causes() -> None:
    dearer = [(1, 100, MILLION, 2 * MILLION)]
    same = [(1, 300, MILLION, MILLION)]
    said = evidence(cause("ward", 1_000, dearer), cause("clinic", 500, same))
    # 400 were expected, 500 would be: every base by 0.8.
    assert rebased(said, 0) == {"ward": 800, "clinic": 400}
    assert totals(said, rebased(said, 0)) == (4_000_000, 4_000_000)


def test_a_cause_that_the_tariff_does_not_price_brings_nothing() -> None:
    same = [(1, 300, MILLION, MILLION)]
    said = evidence(cause("ward", 1_000, same), cause("clinic", 0, same), cause("none", 7))
    assert totals(said, {"clinic": 5}) == (6_000_000, 0)
    assert totals(said, {"ward": 1_000}) == (6_000_000, 3_000_000)
    assert rebased(said, 0) == {"ward": 1_000, "clinic": 0, "none": 7}
    nothing = evidence(cause("none", 7), cause("nor", 3))
    assert rebased(nothing, 50_000) == {"none": 7, "nor": 3}
    assert totals(nothing, {"none": 7}) == (0, 0)


def test_the_smallest_claim_is_weighed_exactly() -> None:
    said = evidence(cause("ward", 10**9, [(1, 1, MILLION, MILLION)]))
    assert rebased(said, 0) == {"ward": 10**9}


def test_bases_round_half_up() -> None:
    half = [(1, 100, MILLION, 2 * MILLION)]
    assert rebased(evidence(cause("ward", 1_001, half)), 0) == {"ward": 501}
    assert rebased(evidence(cause("ward", 999, half)), 0) == {"ward": 500}
