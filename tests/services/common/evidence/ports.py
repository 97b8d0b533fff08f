"""A log as a witness asks it, straight from the database or from a connection under attack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection

from services.common.database import Database
from services.common.evidence.merkle import leaf_hash
from services.common.evidence.proofs import Asked, LeafMislabelled, Proofs, TreeBroken
from services.common.evidence.witnessing import LogUnanswered, ProofMissing
from tests.services.common.evidence.logs import TABLES


class LocalLog:
    """Answers as the service does."""

    def __init__(self, database: Database, connection: Connection | None = None) -> None:
        self._database = database
        self._connection = connection
        self.silent = False
        self.asked: list[str] = []

    async def checkpoint(self) -> str:
        """The newest checkpoint."""
        with self._proofs("checkpoint") as proofs:
            found = proofs.checkpoint()
        if found is None:
            raise LogUnanswered
        return found.note

    async def consistency(self, old: int, new: int) -> Sequence[bytes]:
        """A consistency proof."""
        with self._proofs("consistency") as proofs:
            if new > proofs.size():
                raise ProofMissing
            try:
                return proofs.consistency(old, new)
            except TreeBroken:
                raise ProofMissing from None

    async def hashes(self, start: int, count: int) -> bytes:
        """Hashes of leaves as they are now."""
        with self._proofs("hashes") as proofs:
            try:
                leaves = proofs.listed(Asked(), start, count)
            except LeafMislabelled as found:
                raise ProofMissing(found.index) from None
        return b"".join(
            leaf_hash(leaf.body) for place, leaf in enumerate(leaves, start) if leaf.index == place
        )

    @contextmanager
    def _proofs(self, what: str) -> Iterator[Proofs]:
        if self.silent:
            raise LogUnanswered
        self.asked.append(what)
        if self._connection is not None:
            yield Proofs(self._connection, TABLES)
        else:
            with self._database.reading() as connection:
                yield Proofs(connection, TABLES)


class Bent(LocalLog):
    """A log that answers one question otherwise."""

    def __init__(self, database: Database, **answers: Callable[..., object]) -> None:
        super().__init__(database)
        for name, answer in answers.items():
            setattr(self, name, answer)
