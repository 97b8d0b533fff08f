"""Carries a log over to leaves that say whose they are: two columns beside each, from its bytes.

Every service's migration calls it once. The leaves' bytes, hashes and tree stay as they are.
"""

from __future__ import annotations

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    select,
    update,
)

from services.common.database import append_only_ddl
from services.common.evidence.leaf import LeafRefused, read_of, reader_of
from services.common.evidence.tables import KEY_LENGTH

_LEAF = "evidence_leaf"
_AT_ONCE = 2_000


def say_whose(connection: Connection) -> None:
    """Add `reader` and `owner` to the leaves, with what the bytes of those that there are say.

    No leaf of before names an owner. What is no leaf of any version says nothing.
    """
    operations = Operations(MigrationContext.configure(connection))
    dialect = connection.dialect.name
    for name in ("reader", "owner"):
        added = Column(name, String(KEY_LENGTH), nullable=False, server_default="")
        operations.add_column(_LEAF, added)
    # Filling columns that are new changes no leaf; meanwhile the refusal of UPDATE rests.
    if dialect == "sqlite":
        operations.execute(f"DROP TRIGGER {_LEAF}_no_update")
    else:
        operations.execute(f"ALTER TABLE {_LEAF} DISABLE TRIGGER {_LEAF}_append_only")
    _fill(connection)
    if dialect == "sqlite":
        operations.execute(append_only_ddl(_LEAF, dialect)[0])
    else:
        operations.execute(f"ALTER TABLE {_LEAF} ENABLE TRIGGER {_LEAF}_append_only")
    for name in ("reader", "owner"):
        operations.create_index(f"ix_{_LEAF}_{name}", _LEAF, [name, "leaf_index"])


def _fill(connection: Connection) -> None:
    leaf = Table(
        _LEAF,
        MetaData(),
        Column("leaf_index", BigInteger, primary_key=True),
        Column("body", LargeBinary),
        Column("reader", String),
    ).c
    change = update(leaf.leaf_index.table).where(leaf.leaf_index == bindparam("at"))
    after = -1
    while True:
        query = select(leaf.leaf_index, leaf.body).where(leaf.leaf_index > after)
        rows = connection.execute(query.order_by(leaf.leaf_index).limit(_AT_ONCE)).all()
        if not rows:
            return
        after = rows[-1].leaf_index
        said = [(row.leaf_index, _reader(bytes(row.body))) for row in rows]
        known = [{"at": index, "reader": reader} for index, reader in said if reader]
        if known:
            connection.execute(change.values(reader=bindparam("reader")), known)


def _reader(body: bytes) -> str:
    try:
        return reader_of(read_of(body).uri)
    except LeafRefused:
        return ""
