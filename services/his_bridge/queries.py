"""Queries of the bridge's database off the event loop: what the servicers read comes from here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.common.database import Database
from services.common.sealing import SubjectKeys


class Queries:
    """Each query is a transaction of its own, in the database's thread pool."""

    def __init__(self, database: Database, keys: SubjectKeys) -> None:
        self._database = database
        self._keys = keys

    async def plain(self, query: Callable[..., Any], *args: Any) -> Any:
        """What `query(connection, *args)` answers."""

        def work() -> Any:
            with self._database.reading() as connection:
                return query(connection, *args)

        return await self._database.run(work)

    async def opened(self, query: Callable[..., Any], *args: Any) -> Any:
        """What `query(connection, sealer, *args)` answers: it opens what it reads."""

        def work() -> Any:
            with self._database.reading() as connection:
                return query(connection, self._keys.sealer(connection), *args)

        return await self._database.run(work)
