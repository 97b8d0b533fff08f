"""What a log can prove, read from its tables: checkpoints, inclusion, consistency, leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select

from services.common.evidence.leaf import LeafRefused, read_of, tells
from services.common.evidence.merkle import (
    Subtree,
    consistency_path,
    folded,
    inclusion_path,
    subtrees,
)
from services.common.evidence.tables import HEAD, EvidenceTables

_NAMES = 500  # of records in one statement


class TreeBroken(RuntimeError):
    """Hashes that the log must hold are not there: somebody removed them."""


class LeafMislabelled(RuntimeError):
    """What stands beside a leaf is not what it says: somebody hid it from look-ups."""

    def __init__(self, index: int) -> None:
        super().__init__(f"what stands beside leaf {index} is not what it says")
        self.index = index


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptCheckpoint:
    """A checkpoint as the log signed it."""

    size: int
    root: bytes
    note: str
    at_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """A leaf as it stands in the log."""

    index: int
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Which leaves are asked for; empty texts and None ask for all. Times are microseconds."""

    record: str = ""
    who: str = ""
    from_us: int | None = None
    before_us: int | None = None
    tenant: str = ""  # key: its people's and machines' reads, and reads of its records


class Proofs:
    """Reads one log within a connection of the caller's. Writes nothing."""

    def __init__(self, connection: Connection, tables: EvidenceTables) -> None:
        self.connection = connection
        self._tables = tables

    def size(self) -> int:
        """Number of leaves, signed or not."""
        head = self._tables.head.c
        found: int = self.connection.execute(select(head.size).where(head.id == HEAD)).scalar_one()
        return found

    def checkpoint(self, size: int | None = None) -> KeptCheckpoint | None:
        """The newest checkpoint, or the one of a size; None when there is none."""
        table = self._tables.checkpoint
        query = select(table).order_by(table.c.size.desc(), table.c.at_us.desc()).limit(1)
        if size is not None:
            query = query.where(table.c.size == size)
        row = self.connection.execute(query).first()
        if row is None:
            return None
        return KeptCheckpoint(size=row.size, root=bytes(row.root), note=row.note, at_us=row.at_us)

    def index_of(self, leaf_hash: bytes) -> int | None:
        """The first leaf with this hash."""
        leaf = self._tables.leaf.c
        query = select(leaf.leaf_index).where(leaf.hash == leaf_hash).order_by(leaf.leaf_index)
        found: int | None = self.connection.execute(query.limit(1)).scalar()
        return found

    def body(self, index: int) -> bytes | None:
        """The bytes of one leaf."""
        leaf = self._tables.leaf.c
        found = self.connection.execute(select(leaf.body).where(leaf.leaf_index == index)).scalar()
        return None if found is None else bytes(found)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The inclusion proof of a leaf in the tree of a size, which the caller has checked.

        Raises: TreeBroken.
        """
        return self._folded(inclusion_path(index, size))

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The consistency proof between two sizes, which the caller has checked.

        Raises: TreeBroken.
        """
        return self._folded(consistency_path(old, new))

    def root(self, size: int) -> bytes:
        """Root of the tree over the first `size` leaves.

        Raises: TreeBroken.
        """
        (found,) = self._folded((subtrees(0, size),))
        return found

    def listed(self, asked: Asked, start: int, most: int) -> list[Leaf]:
        """Leaves that are asked for, in order from an index on.

        Finds them by what stands beside the bytes; one that is hidden from a condition shows where
        nothing is asked for. Bytes that are no leaf are handed out: their hash tells.

        Raises: LeafMislabelled with the first of these that says something else.
        """
        leaf = self._tables.leaf.c
        query = select(self._tables.leaf).where(leaf.leaf_index >= start)
        if asked.record:
            query = query.where(leaf.record == asked.record)
        if asked.who:
            query = query.where(leaf.who == asked.who)
        if asked.from_us is not None:
            query = query.where(leaf.at_us >= asked.from_us)
        if asked.before_us is not None:
            query = query.where(leaf.at_us < asked.before_us)
        query = query.order_by(leaf.leaf_index).limit(most)
        # One index each: for "reader or owner" SQLite would sort all of the tenant's leaves.
        queries = [query]
        if asked.tenant:
            queries = [query.where(column == asked.tenant) for column in (leaf.reader, leaf.owner)]
        # All at once: a refusal midway would leave SQLite's snapshot open with the cursor.
        rows = {
            row.leaf_index: row for one in queries for row in self.connection.execute(one).all()
        }
        return [_leaf(rows[index]) for index in sorted(rows)[:most]]

    def about(
        self, member: str, records: Sequence[str], tenant: str, places: range, most: int
    ) -> list[Leaf]:
        """Leaves about one member, in order: below their name, or of the records.

        Those in these places of the log; with a tenant those of them that concern it.

        Raises: LeafMislabelled, as `listed`.
        """
        leaf = self._tables.leaf.c
        query = select(self._tables.leaf).where(
            leaf.leaf_index >= places.start, leaf.leaf_index < places.stop
        )
        if tenant:
            query = query.where(or_(leaf.reader == tenant, leaf.owner == tenant))
        query = query.order_by(leaf.leaf_index).limit(most)
        wheres = [leaf.member == member]
        wheres += [
            leaf.record.in_(records[at : at + _NAMES]) for at in range(0, len(records), _NAMES)
        ]
        found = (self.connection.execute(query.where(where)).all() for where in wheres)
        rows = {row.leaf_index: row for some in found for row in some}
        return [_leaf(rows[index]) for index in sorted(rows)[:most]]

    def _folded(self, path: Sequence[Sequence[Subtree]]) -> list[bytes]:
        hashes = self._hashes([subtree for node in path for subtree in node])
        return [folded([hashes[subtree] for subtree in node]) for node in path]

    def _hashes(self, wanted: Sequence[Subtree]) -> dict[Subtree, bytes]:
        leaf, node = self._tables.leaf.c, self._tables.node.c
        by_level: dict[int, list[int]] = {}
        for level, index in wanted:
            by_level.setdefault(level, []).append(index)
        found: dict[Subtree, bytes] = {}
        leaves = by_level.pop(0, [])
        if leaves:
            query = select(leaf.leaf_index, leaf.hash).where(leaf.leaf_index.in_(leaves))
            found |= {(0, row[0]): bytes(row[1]) for row in self.connection.execute(query)}
        if by_level:
            # For (level, node_index) IN (...) SQLite reads the whole table; each of these it finds.
            near = [
                and_(node.level == level, node.node_index.in_(indexes))
                for level, indexes in by_level.items()
            ]
            nodes = select(node.level, node.node_index, node.hash).where(or_(*near))
            for row in self.connection.execute(nodes):
                found[row[0], row[1]] = bytes(row[2])
        if len(found) != len(set(wanted)):
            raise TreeBroken("hashes of the tree are missing")
        return found


def _leaf(row: Row[Any]) -> Leaf:
    body = bytes(row.body)
    try:
        labelled = tells(read_of(body), row)
    except LeafRefused:
        labelled = True
    if not labelled:
        raise LeafMislabelled(row.leaf_index)
    return Leaf(index=row.leaf_index, body=body)
