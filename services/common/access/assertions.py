"""Which client assertions were used: each counts once, on whichever replica it comes first."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, String, Table, delete, insert
from sqlalchemy.exc import IntegrityError

from services.common.access.tokens import Assertion
from services.common.database import Database

TABLE = "used_assertion"


def tables(metadata: MetaData) -> Table:
    """The table of used assertions; a row is of no use once its assertion has expired."""
    return Table(
        TABLE,
        metadata,
        Column("issuer", String(300), primary_key=True),
        Column("jti", String(128), primary_key=True),
        Column("expires_us", BigInteger, nullable=False, index=True),
    )


class UsedAssertions:
    """Remembers used assertions until they expire, in the service's own database."""

    def __init__(self, database: Database, metadata: MetaData) -> None:
        self._database = database
        self._table = metadata.tables[TABLE]

    async def use(self, assertion: Assertion, now_s: float) -> bool:
        """Whether this is its first use; it is on the disk before the answer."""
        return await self._database.run(self._use, assertion, now_s)

    def _use(self, assertion: Assertion, now_s: float) -> bool:
        table = self._table
        try:
            with self._database.writing() as connection:
                connection.execute(delete(table).where(table.c.expires_us < int(now_s * 1e6)))
                connection.execute(
                    insert(table).values(
                        issuer=assertion.issuer,
                        jti=assertion.jti,
                        # Rounded up: it must not be forgotten while it could still be used.
                        expires_us=int(assertion.expires_s * 1e6) + 1,
                    )
                )
        except IntegrityError:
            return False
        return True
