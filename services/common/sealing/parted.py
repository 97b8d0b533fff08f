"""Erasures of before, parted from the tokens of those who were erased. For migrations only.

Each row held a keyed hash of the request, token and all, beside the opaque id that is left; and of
a member who had it done a hash of their own token. Whoever has the database, and for the first the
master key, could confirm by them a token that they guessed.
"""

from __future__ import annotations

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, MetaData, inspect, update

from services.common.access.tenant import Kind
from services.common.database import append_only_ddl
from services.common.sealing.tables import ERASURE, erasure_table

_erasure = erasure_table(MetaData())


def part_erasures(connection: Connection) -> None:
    """Drop the hash of the request, and of a member's name keep that it was a member.

    A database made anew has no such column: the table's one definition is without it.
    """
    if "fingerprint" not in {one["name"] for one in inspect(connection).get_columns(ERASURE)}:
        return
    operations = Operations(MigrationContext.configure(connection))
    dialect = connection.dialect.name
    # Forgetting whose they were changes no erasure; meanwhile the refusal of UPDATE rests.
    if dialect == "sqlite":
        operations.execute(f"DROP TRIGGER {ERASURE}_no_update")
    else:
        operations.execute(f"ALTER TABLE {ERASURE} DISABLE TRIGGER {ERASURE}_append_only")
    tenant = _erasure.c.tenant
    mine = update(_erasure).where(tenant.startswith(f"{Kind.MEMBER}/"))
    operations.execute(mine.values(tenant=str(Kind.MEMBER)))
    operations.drop_column(ERASURE, "fingerprint")
    if dialect == "sqlite":
        operations.execute(append_only_ddl(ERASURE, dialect)[0])
    else:
        operations.execute(f"ALTER TABLE {ERASURE} ENABLE TRIGGER {ERASURE}_append_only")
