"""Segments scored by the relativities of the tariff before, and by the models behind the tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from services.pricing.fitting.models.fit_result import Fit
from services.pricing.fitting.report.scoring import INDICATED, PREVIOUS, scored
from services.pricing.fitting.selection.cells import rows_of
from services.pricing.fitting.selection.choice import Choice, Selection
from tests.services.pricing.fitting.models.fitting import fitted, settings
from tests.services.pricing.fitting.models.made_book import MadeBook, made_book


@pytest.fixture(scope="module")
def book() -> MadeBook:
    return made_book(1_500, 3)


@pytest.fixture(scope="module")
def found(book: MadeBook) -> Fit:
    return fitted(book)


def selection(fit: Fit, before: Callable[[str, str], float | None]) -> Selection:
    """Everything as indicated; `before` is the previous factor over the indicated one, by cell."""
    choices = []
    for row in rows_of(fit, None):
        share = before(row.key[1], row.cell)
        choices.append(
            Choice(
                cause=row.key[0],
                table=row.key[1],
                cell=row.cell,
                indicated_millionths=row.indicated,
                selected_millionths=row.indicated,
                previous_millionths=None if share is None else round(row.indicated * share),
                reason="",
            )
        )
    return Selection(format=1, fit_sha256="0" * 64, previous="old", choices=tuple(choices))


def judged(book: MadeBook, fit: Fit, chosen: Selection | None) -> pd.DataFrame:
    return scored(book.experience, fit, settings(), chosen)


def test_a_tariff_of_before_with_the_same_factors_expects_the_same(
    book: MadeBook, found: Fit
) -> None:
    same = judged(book, found, selection(found, lambda table, cell: 1.0))
    assert same[PREVIOUS].to_numpy() == pytest.approx(same[INDICATED].to_numpy(), rel=1e-5)
    assert PREVIOUS not in judged(book, found, selection(found, lambda table, cell: None))
    assert PREVIOUS not in judged(book, found, None)


def test_a_table_that_it_did_not_have_is_one_and_a_cell_without_one_factor_as_indicated(
    book: MadeBook, found: Fit
) -> None:
    def before(table: str, cell: str) -> float | None:
        if table == "sex" or cell == "40–49":
            return None
        return 1.0

    frame = judged(book, found, selection(found, before))
    share = (frame[PREVIOUS] / frame[INDICATED]).groupby(frame["sex"]).agg(["min", "max"])
    assert share["min"].to_numpy() == pytest.approx(share["max"].to_numpy(), rel=1e-5)
    (sex,) = (one for one in found.causes[0].tables if one.name == "sex")
    by_level = {cell.level: cell.indicated for cell in sex.cells}
    assert share["min"]["F"] / share["min"]["M"] == pytest.approx(
        by_level["M"] / by_level["F"], rel=1e-4
    )
    assert np.isclose(frame[PREVIOUS].sum(), frame[INDICATED].sum())
