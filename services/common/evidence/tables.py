"""Tables of an evidence log, the same in every service's database.

Leaves, nodes and checkpoints are never changed (APPEND_ONLY). `record`, `who`, `at_us`, `reader`,
`owner` and `member` of a leaf repeat what its bytes say, for look-ups; the bytes are what counts.
The head is one row: whoever appends locks it, and finds in it what appending needs of the tree.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from services.common.database import append_only_ddl

APPEND_ONLY = ("evidence_leaf", "evidence_node", "evidence_checkpoint")
HEAD = 1  # id of the head's only row
KEY_LENGTH = 80  # of a tenant's key, which is its kind and a name of at most 63 characters


@dataclass(frozen=True, kw_only=True, slots=True)
class EvidenceTables:
    """The tables of one log."""

    leaf: Table
    node: Table
    checkpoint: Table
    head: Table

    def all(self) -> tuple[Table, ...]:
        """Every table, in the order of making them."""
        return (self.leaf, self.node, self.checkpoint, self.head)


def tables(metadata: MetaData) -> EvidenceTables:
    """The tables as parts of this metadata."""
    leaf = Table(
        "evidence_leaf",
        metadata,
        Column("leaf_index", BigInteger, primary_key=True, autoincrement=False),
        Column("body", LargeBinary, nullable=False),
        Column("hash", LargeBinary, nullable=False),
        Column("record", String(512), nullable=False),
        Column("who", String(512), nullable=False),
        Column("at_us", BigInteger, nullable=False),
        Column("reader", String(KEY_LENGTH), nullable=False, server_default=""),
        Column("owner", String(KEY_LENGTH), nullable=False, server_default=""),
        Column("member", String(KEY_LENGTH), nullable=False, server_default=""),
        Index("ix_evidence_leaf_record", "record", "leaf_index"),
        Index("ix_evidence_leaf_who", "who", "leaf_index"),
        Index("ix_evidence_leaf_at_us", "at_us", "leaf_index"),
        Index("ix_evidence_leaf_reader", "reader", "leaf_index"),
        Index("ix_evidence_leaf_owner", "owner", "leaf_index"),
        Index("ix_evidence_leaf_member", "member", "leaf_index"),
        Index("ix_evidence_leaf_hash", "hash"),
    )
    # Complete subtrees from level 1 on; level 0 are the leaves' hashes.
    node = Table(
        "evidence_node",
        metadata,
        Column("level", Integer, primary_key=True, autoincrement=False),
        Column("node_index", BigInteger, primary_key=True, autoincrement=False),
        Column("hash", LargeBinary, nullable=False),
    )
    checkpoint = Table(
        "evidence_checkpoint",
        metadata,
        Column("size", BigInteger, primary_key=True, autoincrement=False),
        Column("key_id", String(8), primary_key=True),
        Column("root", LargeBinary, nullable=False),
        Column("note", Text, nullable=False),
        Column("at_us", BigInteger, nullable=False),
    )
    # peaks: hashes of the complete subtrees that make up the tree, one after the other.
    # signed_size, signed_us: of the newest checkpoint; signed_size -1 before the first.
    head = Table(
        "evidence_head",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("size", BigInteger, nullable=False),
        Column("peaks", LargeBinary, nullable=False),
        Column("signed_size", BigInteger, nullable=False),
        Column("signed_us", BigInteger, nullable=False),
        CheckConstraint(f"id = {HEAD}", name="one_row"),
    )
    return EvidenceTables(leaf=leaf, node=node, checkpoint=checkpoint, head=head)


def evidence_ddl(dialect: str) -> list[str]:
    """Statements after making the tables: triggers of those that never change, and the head."""
    triggers = [line for table in APPEND_ONLY for line in append_only_ddl(table, dialect)]
    columns = "id, size, peaks, signed_size, signed_us"
    empty = "''" if dialect == "postgresql" else "x''"
    head = f"INSERT INTO evidence_head ({columns}) VALUES ({HEAD}, 0, {empty}, -1, 0)"  # noqa: S608 # nosec B608 - constants of ours only
    return [*triggers, head]
