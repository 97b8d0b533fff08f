"""The tutorial runs from its first cell to its last, and shows what the code says today.

ruff checks and formats its cells; mypy reads no notebooks: their execution stands in its place.
"""

from __future__ import annotations

import pytest

from tests.project.notebook import TUTORIAL, committed, executed, texts

KIBI = 1024


@pytest.mark.timeout(600)
@pytest.mark.fault
def test_a_small_book_goes_from_first_cell_to_quote() -> None:
    told = texts(executed(3_000))
    assert len(told) == len(texts(committed()))
    assert "all passed: True\n" in told
    assert "each against himself" in "".join(told)
    assert "yuan a year" in told[-1]


def test_its_outputs_are_committed_and_small() -> None:
    notebook = committed()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    pictures = [o for c in cells for o in c.outputs if "image/svg+xml" in o.get("data", {})]
    assert len(pictures) >= 4
    assert TUTORIAL.stat().st_size < 500 * KIBI


@pytest.mark.fault
@pytest.mark.timeout(1_800)
def test_its_outputs_are_those_of_today() -> None:
    """`python -m tests.project.notebook` renews them."""
    assert texts(executed()) == texts(committed())
