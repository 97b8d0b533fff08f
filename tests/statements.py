"""Databases of one kind share what SQLAlchemy has compiled: a test's own asks for the same again.

A service keeps one engine for its life and compiles each statement once; a test run makes two
thousand engines, and spent a fifth of its time on compiling for each anew.
"""

from __future__ import annotations

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.util import LRUCache

_MOST = 5_000  # more than the three services have


def share_compiled_statements() -> None:
    """From now on every engine of this process takes part, once it connects."""
    dialects: dict[tuple[object, ...], Dialect] = {}
    compiled: LRUCache[object, object] = LRUCache(_MOST)

    @event.listens_for(Engine, "engine_connect")
    def share(connection: Connection) -> None:
        engine = connection.engine
        if engine._compiled_cache is not compiled:
            # Dialects are part of a statement's key.
            engine.dialect = dialects.setdefault(_settings(engine.dialect), engine.dialect)
            engine._compiled_cache = compiled  # type: ignore[assignment] # typed as a plain mapping
        connection.dialect = engine.dialect


def _settings(dialect: Dialect) -> tuple[object, ...]:
    """What an engine was made with: one that commits by itself shares nothing with others."""
    return tuple(
        sorted(
            (name, repr(value))
            for name, value in vars(dialect).items()
            if value is None or isinstance(value, str | int | tuple)
        )
    )
