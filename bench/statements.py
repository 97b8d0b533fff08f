"""What a database is asked: statements and transactions, counted where SQLAlchemy sends them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event

# They open a transaction or set it up; the transactions are counted by their commits.
_NOT_COUNTED = ("BEGIN", "PRAGMA")


@dataclass
class Asked:
    """Statements, a bulk insert being one, and commits of the engine's transactions.

    What triggers do inside the database is not seen.
    """

    statements: int = 0
    commits: int = 0


@contextmanager
def counted(engine: Engine) -> Iterator[Asked]:
    """Counts what the engine's connections send from here to the end of the block."""
    asked = Asked()

    def on_statement(
        _connection: Any, _cursor: Any, statement: str, _values: Any, _context: Any, _many: bool
    ) -> None:
        if not statement.startswith(_NOT_COUNTED):
            asked.statements += 1

    def on_commit(_connection: Any) -> None:
        asked.commits += 1

    event.listen(engine, "before_cursor_execute", on_statement)
    event.listen(engine, "commit", on_commit)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", on_statement)
        event.remove(engine, "commit", on_commit)
