"""Carries a log over to leaves that say whose they are: columns beside each, from its bytes.

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
from services.common.evidence.leaf import LeafRefused, beside, read_of
from services.common.evidence.tables import KEY_LENGTH

_LEAF = "evidence_leaf"
NEW = ("reader", "owner", "member")
_AT_ONCE = 2_000


def say_whose(connection: Connection) -> None:
    """Add NEW to the leaves, with what the bytes of those that there are say.

    No leaf of before names an owner. What is no leaf of any version says nothing.
    """
    operations = Operations(MigrationContext.configure(connection))
    dialect = connection.dialect.name
    for name in NEW:
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
    for name in NEW:
        operations.create_index(f"ix_{_LEAF}_{name}", _LEAF, [name, "leaf_index"])


def _fill(connection: Connection) -> None:
    leaf = Table(
        _LEAF,
        MetaData(),
        Column("leaf_index", BigInteger, primary_key=True),
        Column("body", LargeBinary),
        *(Column(name, String) for name in NEW),
    ).c
    change = update(leaf.leaf_index.table).where(leaf.leaf_index == bindparam("at"))
    after = -1
    while True:
        query = select(leaf.leaf_index, leaf.body).where(leaf.leaf_index > after)
        rows = connection.execute(query.order_by(leaf.leaf_index).limit(_AT_ONCE)).all()
        if not rows:
            return
        after = rows[-1].leaf_index
        said = [{"at": row.leaf_index, **_said(bytes(row.body))} for row in rows]
        known = [values for values in said if any(values[name] for name in NEW)]
        if known:
            connection.execute(change.values({name: bindparam(name) for name in NEW}), known)


def _said(body: bytes) -> dict[str, str | int]:
    try:
        found = beside(read_of(body))
    except LeafRefused:
        return dict.fromkeys(NEW, "")
    return {name: found[name] for name in NEW}
