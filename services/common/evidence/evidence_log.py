"""The log of one service: reads become leaves, durable before `append` returns, in one order.

Whoever appends holds the head's row (PostgreSQL) or the database (SQLite) for one short
transaction, so that any number of replicas make one dense sequence. Calls that come while one is
being written wait for the next and share it. Knows no caller and no rpc.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import grpc
from sqlalchemy import Connection, insert, select, update

from services.common.database import Database
from services.common.evidence.access_read import AccessRead
from services.common.evidence.checkpoint import Checkpoint
from services.common.evidence.leaf import LeafRefused, beside, leaf_bytes
from services.common.evidence.merkle import HASH_BYTES, folded, grow, leaf_hash
from services.common.evidence.note import Note, SignerKey
from services.common.evidence.tables import HEAD, EvidenceTables
from services.common.log import logger
from services.common.refusals import Refused

SIGN_AFTER_LEAVES = 1_000
# A minute is what is promised; the less a witness has not seen, the less can be rewritten.
SIGN_AFTER_S = 10.0
_LOOK_EVERY_S = 1.0
_MOST_AT_ONCE = 2_000
_MOST_WAITING = 20_000
_RETRY_S = 1.0

_Leaf: TypeAlias = tuple[bytes, AccessRead]


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Where the log stands. `signed_size` is -1 before the first checkpoint."""

    size: int
    peaks: tuple[bytes, ...]
    signed_size: int
    signed_us: int


class EvidenceLog:
    """Appends leaves and signs checkpoints. One per process and database."""

    def __init__(
        self,
        database: Database,
        tables: EvidenceTables,
        signer: SignerKey,
        now_us: Callable[[], int],
        *,
        sign_after_s: float = SIGN_AFTER_S,
        sign_after_leaves: int = SIGN_AFTER_LEAVES,
    ) -> None:
        self._database = database
        self._tables = tables
        self._signer = signer
        self._now_us = now_us
        self._sign_after_us = int(sign_after_s * 1e6)
        self._sign_after_leaves = sign_after_leaves
        self._waiting: deque[tuple[list[_Leaf], asyncio.Future[None]]] = deque()
        self._waiting_leaves = 0
        self._writing: asyncio.Task[None] | None = None

    async def append(self, reads: Sequence[AccessRead]) -> None:
        """Make these reads part of the log; return when they are on the disk.

        A caller that gives up meanwhile may leave its leaves behind: they say what it asked for.

        Raises: Refused (UNAVAILABLE EVIDENCE_NOT_WRITTEN) when they cannot be written now; the
        answer that they stand for must not leave then.
        """
        if not reads:
            return
        try:
            leaves = [(leaf_bytes(read), read) for read in reads]
        except LeafRefused as fault:
            raise self._not_written(fault) from None
        if self._waiting_leaves and self._waiting_leaves + len(leaves) > _MOST_WAITING:
            raise self._not_written(OverflowError())
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((leaves, done))
        self._waiting_leaves += len(leaves)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write_waiting())
        await done

    async def keep_signing(self) -> None:
        """Sign a checkpoint whenever the newest is old and leaves have come; runs until cancelled.

        Any number of replicas may do so.
        """
        first = True
        while True:
            try:
                await self._database.run(self._sign_when_due, first)
                first = False
            except Exception as fault:  # noqa: BLE001 - the database may be away; the next round comes
                logger().warning("checkpoint_not_signed", fault=type(fault).__name__)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _write_waiting(self) -> None:
        while self._waiting:
            batch: list[_Leaf] = []
            calls: list[asyncio.Future[None]] = []
            while self._waiting and len(batch) < _MOST_AT_ONCE:
                leaves, done = self._waiting.popleft()
                batch += leaves
                calls.append(done)
            try:
                await self._database.run(self._write, batch)
            except Exception as fault:  # noqa: BLE001 - whatever it is, each caller must hear of it
                refused: Exception | None = self._not_written(fault)
            else:
                refused = None
            self._waiting_leaves -= len(batch)
            for done in calls:
                if done.done():  # its caller has gone
                    continue
                if refused is None:
                    done.set_result(None)
                else:
                    done.set_exception(refused)

    def _not_written(self, fault: Exception) -> Refused:
        logger().error("evidence_not_written", fault=type(fault).__name__)
        return Refused(
            grpc.StatusCode.UNAVAILABLE,
            "EVIDENCE_NOT_WRITTEN",
            "the read cannot be put on record now, so nothing is read; retry",
            retry_after_s=_RETRY_S,
        )

    def _write(self, leaves: Sequence[_Leaf]) -> None:
        with self._database.writing() as connection:
            head = self._locked_head(connection)
            while leaves:
                # A checkpoint stands at every thousandth unsigned leaf, also within one call.
                room = self._sign_after_leaves - (head.size - max(head.signed_size, 0))
                some, leaves = leaves[: max(room, 1)], leaves[max(room, 1) :]
                head = self._grown(connection, head, some)
                if head.size - max(head.signed_size, 0) >= self._sign_after_leaves:
                    head = self._signed(connection, head)
            self._keep(connection, head)

    def _grown(self, connection: Connection, head: Head, leaves: Sequence[_Leaf]) -> Head:
        hashes = [leaf_hash(body) for body, _ in leaves]
        growth = grow(head.size, head.peaks, hashes)
        connection.execute(
            insert(self._tables.leaf),
            [
                {
                    "leaf_index": head.size + number,
                    "body": body,
                    "hash": found,
                    **beside(read),
                }
                for number, ((body, read), found) in enumerate(zip(leaves, hashes, strict=True))
            ],
        )
        if growth.nodes:
            names = ("level", "node_index", "hash")
            rows = [dict(zip(names, node, strict=True)) for node in growth.nodes]
            connection.execute(insert(self._tables.node), rows)
        return Head(
            size=head.size + len(leaves),
            peaks=growth.peaks,
            signed_size=head.signed_size,
            signed_us=head.signed_us,
        )

    def _sign_when_due(self, first: bool) -> None:
        """Sign when it is time; the first time also when the newest is signed by another key."""
        with self._database.reading() as connection:
            head = self._head(connection, lock=False)
            new_key = first and not self._has_signed(connection, head.signed_size)
        if not self._due(head) and not new_key:
            return
        with self._database.writing() as connection:
            head = self._locked_head(connection)
            if self._due(head) or (new_key and not self._has_signed(connection, head.size)):
                self._keep(connection, self._signed(connection, head))

    def _due(self, head: Head) -> bool:
        if head.size == head.signed_size:
            return False
        return head.signed_size < 0 or self._now_us() - head.signed_us >= self._sign_after_us

    def _has_signed(self, connection: Connection, size: int) -> bool:
        found = self._tables.checkpoint.c
        key_id = self._signer.verifier.key_id.hex()
        query = select(found.size).where(found.size == size, found.key_id == key_id)
        return connection.execute(query).first() is not None

    def _signed(self, connection: Connection, head: Head) -> Head:
        root, now_us = folded(head.peaks), self._now_us()
        text = Checkpoint(origin=self._signer.verifier.name, size=head.size, root=root).text()
        connection.execute(
            insert(self._tables.checkpoint),
            {
                "size": head.size,
                "key_id": self._signer.verifier.key_id.hex(),
                "root": root,
                "note": Note(text, (self._signer.sign(text),)).written(),
                "at_us": now_us,
            },
        )
        return Head(size=head.size, peaks=head.peaks, signed_size=head.size, signed_us=now_us)

    def _locked_head(self, connection: Connection) -> Head:
        return self._head(connection, lock=True)

    def _head(self, connection: Connection, *, lock: bool) -> Head:
        head = self._tables.head
        query = select(head).where(head.c.id == HEAD)
        row = connection.execute(query.with_for_update() if lock else query).one()
        peaks = bytes(row.peaks)
        return Head(
            size=row.size,
            peaks=tuple(peaks[at : at + HASH_BYTES] for at in range(0, len(peaks), HASH_BYTES)),
            signed_size=row.signed_size,
            signed_us=row.signed_us,
        )

    def _keep(self, connection: Connection, head: Head) -> None:
        connection.execute(
            update(self._tables.head)
            .where(self._tables.head.c.id == HEAD)
            .values(
                size=head.size,
                peaks=b"".join(head.peaks),
                signed_size=head.signed_size,
                signed_us=head.signed_us,
            )
        )
