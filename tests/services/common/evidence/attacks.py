"""Attacks on a log by whoever can write its database and sign with its key, triggers dropped.

Each is made in a transaction that is rolled back, so that thousands start from the same log. They
are judged against the leaves as they were: `first_bad` is the first that is not, which the attack
itself does not tell to whoever looks for it.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, text, update

from services.common.database import Database
from services.common.evidence.checkpoint import Checkpoint
from services.common.evidence.kept_log import KeptLog
from services.common.evidence.leaf import beside, leaf_bytes, read_of
from services.common.evidence.merkle import folded, grow, leaf_hash
from services.common.evidence.note import Kind, Note, SignerKey
from services.common.evidence.tables import APPEND_ONLY, HEAD
from services.common.evidence.witnessing import Watch
from tests.services.common.evidence.logs import SIGNER, TABLES, Kept, read
from tests.services.common.evidence.ports import LocalLog

WITNESS = SignerKey("lipei.test/witness/hospital", Kind.WITNESS, bytes([3]) * 32)

Bodies = list[bytes]


async def witnessed(log: Kept, folder: Path) -> KeptLog:
    """What a witness keeps that has looked at the log now."""
    kept = KeptLog(folder, "pricing")
    watch = Watch(kept=kept, log=LocalLog(log.database), cosigner=WITNESS)
    assert await watch.look([SIGNER.verifier], log.clock.now_us) is None
    return kept


@contextmanager
def attacking(database: Database, *, undo: bool = True) -> Iterator[Connection]:
    """A connection that may write everything; all of it is undone at the end."""
    with database.writing() as connection:
        for table in APPEND_ONLY:
            for verb in ("update", "delete"):
                connection.execute(text(f"DROP TRIGGER {table}_no_{verb}"))
        yield connection
        if undo:
            connection.rollback()


def bodies_in(connection: Connection) -> Bodies:
    leaf = TABLES.leaf.c
    return [
        bytes(body)
        for body in connection.execute(select(leaf.body).order_by(leaf.leaf_index)).scalars()
    ]


def first_bad(before: Sequence[bytes], after: Sequence[bytes], seen: int) -> int:
    """The first of the leaves that a witness has seen that is not there any more as it was."""
    for place in range(seen):
        if place >= len(after) or after[place] != before[place]:
            return place
    raise AssertionError("the attack changed nothing that was seen")


# ------------------------------------------------------------------------------ what is done to it


def edit(draw: random.Random, bodies: Bodies, seen: int) -> Bodies:
    """Somebody else is said to have read."""
    place = draw.randrange(seen)
    changed = dataclasses.replace(read_of(bodies[place]), who=f"nobody-{draw.random()}")
    return [*bodies[:place], leaf_bytes(changed), *bodies[place + 1 :]]


def deletion(draw: random.Random, bodies: Bodies, seen: int) -> Bodies:
    """A read never was; those after it move up."""
    place = draw.randrange(seen)
    return bodies[:place] + bodies[place + 1 :]


def insertion(draw: random.Random, bodies: Bodies, seen: int) -> Bodies:
    """A read that never was stands among the others."""
    place = draw.randrange(seen)
    return [*bodies[:place], leaf_bytes(read(draw.randrange(10**6, 10**9))), *bodies[place:]]


def reordering(draw: random.Random, bodies: Bodies, seen: int) -> Bodies:
    """Two reads change places."""
    one, other = draw.sample(range(seen), 2)
    found = list(bodies)
    found[one], found[other] = found[other], found[one]
    return found


def truncation(draw: random.Random, bodies: Bodies, seen: int) -> Bodies:
    """The last reads are gone."""
    return bodies[: draw.randrange(seen)]


def fork(draw: random.Random, bodies: Bodies, seen: int) -> Bodies:
    """From below the outside checkpoint on another history, longer than the true one."""
    place = draw.randrange(seen)
    more = len(bodies) - place + draw.randrange(5)
    start = draw.randrange(10**6, 10**9)
    return bodies[:place] + [leaf_bytes(read(start + number)) for number in range(more)]


def rebuild(draw: random.Random, bodies: Bodies, seen: int) -> Bodies:
    """Every leaf is written anew; a few say something else."""
    found = list(bodies)
    for place in draw.sample(range(seen), draw.randrange(1, 4)):
        changed = dataclasses.replace(read_of(found[place]), purpose=f"made-up-{draw.random()}")
        found[place] = leaf_bytes(changed)
    return found


CHANGES: dict[str, Callable[[random.Random, Bodies, int], Bodies]] = {
    "edit": edit,
    "deletion": deletion,
    "insertion": insertion,
    "reordering": reordering,
    "truncation": truncation,
    "fork": fork,
    "full rebuild": rebuild,
}
# How much of the log is made to agree with the lie.
COVERS = ("nothing", "hash", "everything")
# These rewrite all that stands in the database, or they are no such attack.
WHOLE = {"fork", "full rebuild"}


def attack(
    draw: random.Random,
    connection: Connection,
    name: str,
    cover: str,
    seen: int,
    signer: SignerKey = SIGNER,
) -> tuple[Bodies, Bodies]:
    """Do it; the leaves before and after."""
    before = bodies_in(connection)
    after = CHANGES[name](draw, before, seen)
    _write(connection, after, cover, signer)
    return before, after


def _write(connection: Connection, after: Bodies, cover: str, signer: SignerKey) -> None:
    leaf = TABLES.leaf
    hashes = [
        bytes(found)
        for found in connection.execute(select(leaf.c.hash).order_by(leaf.c.leaf_index)).scalars()
    ]
    connection.execute(delete(leaf))
    rows = []
    for place, body in enumerate(after):
        said = read_of(body)
        # Without cover the stored hash is the old one of that place, as after an UPDATE by hand.
        kept = cover == "nothing" and place < len(hashes)
        rows.append(
            {
                "leaf_index": place,
                "body": body,
                "hash": hashes[place] if kept else leaf_hash(body),
                **beside(said),
            }
        )
    if rows:
        connection.execute(insert(leaf), rows)
    if cover == "everything":
        build(connection, [leaf_hash(body) for body in after], signer)


def build(connection: Connection, hashes: Sequence[bytes], signer: SignerKey) -> None:
    """The tree, the head and signed checkpoints anew, as if it had never been otherwise."""
    sizes = list(connection.execute(select(TABLES.checkpoint.c.size)).scalars())
    connection.execute(delete(TABLES.node))
    connection.execute(delete(TABLES.checkpoint))
    growth = grow(0, (), hashes)
    if growth.nodes:
        names = ("level", "node_index", "hash")
        connection.execute(
            insert(TABLES.node), [dict(zip(names, node, strict=True)) for node in growth.nodes]
        )
    for size in sorted({*(size for size in sizes if size <= len(hashes)), len(hashes)}):
        root = folded(grow(0, (), hashes[:size]).peaks)
        said = Checkpoint(origin=signer.verifier.name, size=size, root=root).text()
        connection.execute(
            insert(TABLES.checkpoint),
            {
                "size": size,
                "key_id": signer.verifier.key_id.hex(),
                "root": root,
                "note": Note(said, (signer.sign(said),)).written(),
                "at_us": 0,
            },
        )
    connection.execute(
        update(TABLES.head)
        .where(TABLES.head.c.id == HEAD)
        .values(size=len(hashes), peaks=b"".join(growth.peaks), signed_size=len(hashes))
    )


def drawn(draw: random.Random) -> tuple[str, str]:
    """Which attack, and how well it covers its traces."""
    name = draw.choice(list(CHANGES))
    return name, "everything" if name in WHOLE else draw.choice(COVERS)
