"""Re-hashes a whole log and names the first leaf that is not what it was. Changes nothing.

`python -m services.common.evidence.audit --database URL --key FILE.vkey [--witness FOLDER --log N]`
works on a service's database or a copy of it. What the log says of itself (hashes, tree, head,
checkpoints) shows a clumsy hand only: whoever can write the database can write all of that anew.
What a witness keeps shows every hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, MetaData, Row, select

from services.common.database import Database
from services.common.evidence.checkpoint import opened
from services.common.evidence.kept_log import KeptBroken, KeptLog
from services.common.evidence.leaf import LeafRefused, read_of, tells
from services.common.evidence.merkle import EMPTY_ROOT, HASH_BYTES, grow, leaf_hash
from services.common.evidence.note import NoteRefused, VerifierKey, verifier_key
from services.common.evidence.tables import HEAD, EvidenceTables, tables
from services.common.settings import UnknownSetting

_AT_ONCE = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing that is not as it must be.

    `index` is the first leaf that it is about; `exact` when that leaf itself is what is wrong, and
    not one of the leaves from there on.
    """

    what: str
    index: int | None
    exact: bool


@dataclass(kw_only=True, slots=True)
class Findings:
    """What an audit found, one fault of each kind: the first."""

    leaves: int = 0
    faults: list[Fault] = field(default_factory=list)

    def add(self, what: str, index: int | None = None, *, exact: bool = True) -> None:
        """Keep the first of a kind."""
        if all(fault.what != what for fault in self.faults):
            self.faults.append(Fault(what=what, index=index, exact=exact))

    @property
    def first_bad_index(self) -> int | None:
        """The first leaf that is wrong, or from which on one is, when no fault is closer."""
        near = [(not fault.exact, fault.index) for fault in self.faults if fault.index is not None]
        return min(near)[1] if near else None


def audit(
    connection: Connection,
    log: EvidenceTables,
    keys: Sequence[VerifierKey],
    kept: KeptLog | None = None,
) -> Findings:
    """Every fault of a log by itself and, with `kept`, against what a witness keeps of it.

    Reads every leaf and node once, in order.
    """
    findings = Findings()
    signed = _checkpoints(connection, log, keys, findings)
    roots = {0: EMPTY_ROOT}
    peaks: tuple[bytes, ...] = ()
    for rows in _chunks(connection, log):
        start = findings.leaves
        hashes = [_leaf_hash(row, place, findings) for place, row in enumerate(rows, start)]
        if kept is not None:
            _compare(kept, start, hashes, findings)
        nodes: list[tuple[int, int, bytes]] = []
        end = start + len(hashes)
        # The tree stops at every signed size, to compare its root.
        for upto in (*(size for size in signed if start < size < end), end):
            some = hashes[findings.leaves - start : upto - start]
            growth = grow(findings.leaves, peaks, some)
            nodes += growth.nodes
            findings.leaves, peaks, roots[upto] = upto, growth.peaks, growth.root
        _nodes(connection, log, nodes, findings)
    _ends(connection, log, peaks, findings)
    for size, root in signed.items():
        if roots.get(size) != root:
            text = "a checkpoint's root is not that of its leaves"
            # With fewer leaves than it is of, the first that is missing; else it cannot be named.
            findings.add(text, findings.leaves if size > findings.leaves else None)
    if kept is not None and findings.leaves < kept.size:
        findings.add("leaves that a witness has seen are missing", findings.leaves)
    return findings


def _chunks(
    connection: Connection, log: EvidenceTables
) -> Iterator[Sequence[Row[tuple[object, ...]]]]:
    rows = connection.execute(select(log.leaf).order_by(log.leaf.c.leaf_index))
    yield from rows.partitions(_AT_ONCE)


def _leaf_hash(row: Row[tuple[object, ...]], place: int, findings: Findings) -> bytes:
    body = bytes(row.body)
    if row.leaf_index != place:
        findings.add("the leaves are not numbered without gaps", place)
    try:
        read = read_of(body)
    except LeafRefused:
        findings.add("a leaf is not in its one form", place)
    else:
        if not tells(read, row):
            findings.add("what stands beside a leaf is not what it says", place)
    found = leaf_hash(body)
    if bytes(row.hash) != found:
        findings.add("a leaf does not have its hash", place)
    return found


def _compare(kept: KeptLog, start: int, hashes: Sequence[bytes], findings: Findings) -> None:
    ours = kept.hashes(start, len(hashes))
    for place, found in enumerate(hashes[: len(ours) // HASH_BYTES]):
        if ours[place * HASH_BYTES : (place + 1) * HASH_BYTES] != found:
            findings.add("a leaf is not the one that a witness has seen", start + place)
            return


def _nodes(
    connection: Connection,
    log: EvidenceTables,
    nodes: Iterable[tuple[int, int, bytes]],
    findings: Findings,
) -> None:
    """Compare what these leaves complete with what is stored: of each level one run of indexes."""
    runs: dict[int, list[tuple[int, bytes]]] = {}
    for level, index, found in nodes:
        runs.setdefault(level, []).append((index, found))
    node = log.node.c
    for level, run in runs.items():
        query = select(node.node_index, node.hash).where(
            node.level == level, node.node_index.between(run[0][0], run[-1][0])
        )
        stored = {row.node_index: bytes(row.hash) for row in connection.execute(query)}
        for index, found in run:
            if stored.get(index) != found:
                findings.add(
                    "a node of the tree is not that of its leaves", index << level, exact=False
                )
                break


def _ends(
    connection: Connection, log: EvidenceTables, peaks: Sequence[bytes], findings: Findings
) -> None:
    """The head, and nodes over leaves that are not there."""
    head = connection.execute(select(log.head).where(log.head.c.id == HEAD)).first()
    if head is None or head.size != findings.leaves:
        lost = findings.leaves if head is None else min(head.size, findings.leaves)
        findings.add("the head counts other leaves than there are", lost)
    elif bytes(head.peaks) != b"".join(peaks):
        findings.add("the head's tree is not that of the leaves")
    node = log.node.c
    beyond = (row for row in connection.execute(select(node.level, node.node_index)))
    if any((row.node_index + 1) << row.level > findings.leaves for row in beyond):
        findings.add("the tree is of more leaves than there are", findings.leaves)


def _checkpoints(
    connection: Connection, log: EvidenceTables, keys: Sequence[VerifierKey], findings: Findings
) -> dict[int, bytes]:
    """Size → root of every checkpoint that the log's key has signed."""
    signed: dict[int, bytes] = {}
    for row in connection.execute(select(log.checkpoint).order_by(log.checkpoint.c.size)):
        try:
            found, _ = opened(row.note, keys)
        except NoteRefused:
            findings.add("a checkpoint is not signed by the log's key")
            continue
        if (found.size, found.root) != (row.size, bytes(row.root)):
            findings.add("what stands beside a checkpoint is not what it says")
        if signed.setdefault(found.size, found.root) != found.root:
            findings.add("the log signed two roots of one size")
    return signed


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every fault; 1 when there is one."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--database", required=True, help="SQLAlchemy URL of a service's database")
    parser.add_argument("--key", required=True, type=Path, help="the log's public key (.vkey)")
    parser.add_argument("--witness", type=Path, help="folder of a witness")
    parser.add_argument("--log", help="the log's name in that folder: claims, his_bridge, pricing")
    options = parser.parse_args(arguments)
    if (options.witness is None) != (options.log is None):
        parser.error("--witness and --log come together")
    try:
        keys = [verifier_key(line) for line in options.key.read_text("utf-8").splitlines()]
        kept = None if options.witness is None else KeptLog(options.witness, options.log)
        database = Database(options.database)
    except (OSError, NoteRefused, KeptBroken, UnknownSetting) as refused:
        sys.exit(str(refused))
    with database.reading() as connection:
        findings = audit(connection, tables(MetaData()), keys, kept)
    database.close()
    for fault in findings.faults:
        where = "" if fault.index is None else f", first at leaf {fault.index}"
        sys.stdout.write(f"{fault.what}{where}\n")
    sys.stdout.write(f"{findings.leaves} leaves, {len(findings.faults)} kinds of fault\n")
    return 1 if findings.faults else 0


if __name__ == "__main__":
    sys.exit(main())
