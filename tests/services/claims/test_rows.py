"""The typed rows are the tables' columns, each with its type, empty where the table lets it be."""

from __future__ import annotations

from typing import get_type_hints

import pytest
from sqlalchemy import Table

from services.claims.storage import rows, tables


@pytest.mark.parametrize(
    ("row", "table"),
    [
        (rows.ClaimRow, tables.claim),
        (rows.MoveRow, tables.claim_move),
        (rows.ActRow, tables.claim_act),
        (rows.DecisionRow, tables.decision),
        (rows.CorrectionRow, tables.bill_correction),
    ],
)
def test_a_row_is_its_table(row: type, table: Table) -> None:
    columns = {
        one.name: one.type.python_type | None if one.nullable else one.type.python_type
        for one in table.c
    }
    assert get_type_hints(row) == columns
