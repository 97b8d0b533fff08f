"""Rows of a hospital's table of persons, by the number that its messages carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from services.his_bridge.profiles.source_kinds.sql import Marks
from services.his_bridge.sources.sql import statements
from services.his_bridge.sources.sql.cursor import Value
from services.his_bridge.sources.sql.rows import AT_ONCE, Types, key_text
from services.his_bridge.sources.sql.values import canonical, exact, one_of


def persons_by_number(
    connection: Connection,
    types: Types,
    persons: Marks,
    columns: Sequence[str],
    numbers: Sequence[str],
) -> Mapping[str, bytes]:
    """The row of each number as a record; what the table does not have is left out."""
    known = types.get(persons.table, {})
    table = statements.clause(persons.table, (persons.key, *columns), known)
    found: dict[str, list[dict[str, Any]]] = {}
    for start in range(0, len(numbers), AT_ONCE):
        some = [Value("text", number) for number in numbers[start : start + AT_ONCE]]
        statement = statements.rows_of(persons, table, columns, some)
        for _, key, *values in connection.execute(statement):
            row = {name: exact(value) for name, value in zip(columns, values, strict=True)}
            found.setdefault(key_text(key), []).append(row)
    return {number: canonical({"head": one_of(rows)}) for number, rows in found.items()}
