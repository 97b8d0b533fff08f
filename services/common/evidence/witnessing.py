"""How a witness looks at one log: what it demands before it keeps a checkpoint, and what alarms it.

Knows no socket and no file: the log answers through `LogPort`, `KeptLog` keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.evidence.checkpoint import Checkpoint, opened
from services.common.evidence.kept_log import Alarm, KeptLog, Reason
from services.common.evidence.merkle import HASH_BYTES, ProofRefused, verify_consistency
from services.common.evidence.note import Note, NoteRefused, SignerKey, VerifierKey

MOST_AT_ONCE = 10_000
# So many leaves are read again at each look: an edit in the middle is found without anybody asking.
AGAIN_AT_ONCE = 1_000
_COSIGN_EVERY_S = 60


class LogUnanswered(Exception):
    """The log gave no answer now. That proves nothing; how long it lasts is shown."""


class ProofMissing(Exception):
    """The log says that it cannot prove what it is asked: a tree with holes, or too small a one.

    `index` is the leaf that it says is wrong, if it names one.
    """

    def __init__(self, index: int | None = None) -> None:
        super().__init__(index)
        self.index = index


class LogPort(Protocol):
    """A log, as a witness may ask it. Each raises LogUnanswered."""

    async def checkpoint(self) -> str:
        """The newest checkpoint."""

    async def consistency(self, old: int, new: int) -> Sequence[bytes]:
        """A consistency proof. Raises ProofMissing."""

    async def hashes(self, start: int, count: int) -> bytes:
        """Hashes of leaves, made from their bytes as they are now. Raises ProofMissing."""


class Distrust(Exception):
    """What is to become an alarm."""

    def __init__(self, reason: Reason, offered: str = "", index: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offered = offered
        self.index = index  # the leaf that is wrong, when it is none that is kept


@dataclass(kw_only=True, slots=True)
class Watch:
    """One log under a witness's eyes."""

    kept: KeptLog
    log: LogPort
    cosigner: SignerKey
    again_from: int = 0  # where reading again goes on
    seen_us: int = 0  # when the log last answered with what is consistent

    async def look(self, keys: Sequence[VerifierKey], now_us: int) -> Alarm | None:
        """Ask once; keep what is proved. The alarm that is new, or None.

        Raises: LogUnanswered; nothing is kept then.
        """
        try:
            await self._follow(keys, now_us)
            await self._read_again()
        except Distrust as distrust:
            return await self._alarm(distrust, now_us)
        self.seen_us = now_us
        return None

    async def _follow(self, keys: Sequence[VerifierKey], now_us: int) -> None:
        written = await self.log.checkpoint()
        try:
            offered, note = opened(written, keys)
        except NoteRefused:
            raise Distrust(Reason.BAD_SIGNATURE, written) from None
        kept = self.kept.checkpoint
        if kept is not None:
            await self._prove(kept, offered, written)
        if kept is None or offered.size > kept.size:
            hashes = await self._added(offered, written)
            self.kept.move(offered, self._cosigned(note, now_us), hashes)
        elif self._is_old(now_us):
            self.kept.move(offered, self._cosigned(note, now_us), b"")

    async def _prove(self, kept: Checkpoint, offered: Checkpoint, written: str) -> None:
        if offered.size < kept.size:
            raise Distrust(Reason.ROLLED_BACK, written)
        if kept.size == 0:  # every tree begins with the empty one
            return
        try:
            same = offered.size == kept.size
            proof = () if same else await self.log.consistency(kept.size, offered.size)
            verify_consistency(kept.size, offered.size, kept.root, offered.root, proof)
        except ProofMissing:
            raise Distrust(Reason.TREE_BROKEN, written) from None
        except ProofRefused:
            raise Distrust(Reason.FORKED, written) from None

    async def _added(self, offered: Checkpoint, written: str) -> bytes:
        """Hashes of the leaves that the checkpoint adds; they must lead to its root."""
        parts, at = [], self.kept.size
        while at < offered.size:
            try:
                part = await self.log.hashes(at, min(MOST_AT_ONCE, offered.size - at))
            except ProofMissing as missing:
                raise Distrust(Reason.HISTORY_CHANGED, written, missing.index) from None
            if not part or len(part) % HASH_BYTES:
                raise Distrust(Reason.TREE_BROKEN, written)
            parts.append(part)
            at += len(part) // HASH_BYTES
        hashes = b"".join(parts)
        if at != offered.size or self.kept.root_with(hashes) != offered.root:
            raise Distrust(Reason.HISTORY_CHANGED, written)
        return hashes

    async def _read_again(self) -> None:
        if self.again_from >= self.kept.size:
            self.again_from = 0
        ours = self.kept.hashes(self.again_from, AGAIN_AT_ONCE)
        if not ours:
            return
        if await _differs(self.log, self.again_from, ours) is not None:
            raise Distrust(Reason.HISTORY_CHANGED)
        self.again_from += len(ours) // HASH_BYTES

    async def _alarm(self, distrust: Distrust, now_us: int) -> Alarm | None:
        if any(alarm.reason is distrust.reason for alarm in self.kept.alarms):
            return None  # told once, and the whole log is not compared at every look
        bad = await first_difference(self.kept, self.log)
        alarm = Alarm(
            reason=distrust.reason,
            at_us=now_us,
            first_bad_index=distrust.index if bad is None else bad,
            offered_note=distrust.offered,
        )
        self.kept.raise_alarm(alarm)
        return alarm

    def _cosigned(self, note: Note, now_us: int) -> Note:
        return note.signed(self.cosigner.sign(note.text, at_s=now_us // 1_000_000))

    def _is_old(self, now_us: int) -> bool:
        """Whether the cosignature is to say anew that nothing larger has been seen."""
        if self.kept.note is None:
            return True
        try:
            signed_s = self.cosigner.verifier.signed_at(self.kept.note)
        except NoteRefused:  # the witness has a new key
            return True
        return now_us // 1_000_000 - signed_s >= _COSIGN_EVERY_S


async def first_difference(kept: KeptLog, log: LogPort) -> int | None:
    """The first kept leaf that the log has otherwise, or not any more; None when all are there.

    Raises: LogUnanswered.
    """
    for start in range(0, kept.size, MOST_AT_ONCE):
        ours = kept.hashes(start, MOST_AT_ONCE)
        found = await _differs(log, start, ours)
        if found is not None:
            return found
    return None


async def _differs(log: LogPort, start: int, ours: bytes) -> int | None:
    """The first leaf from `start` on that the log has otherwise, or itself says is wrong."""
    count, found = len(ours) // HASH_BYTES, None
    while count:
        try:
            theirs = await log.hashes(start, count)
        except ProofMissing as missing:
            # Those before it may be otherwise as well; a log that names one out of reach lies.
            named = start if missing.index is None else missing.index
            found = min(max(named, start), start + count - 1)
            count = found - start
        else:
            differs = differs_at(ours[: count * HASH_BYTES], theirs)
            return found if differs is None else start + differs
    return found


def differs_at(ours: bytes, theirs: bytes) -> int | None:
    """The first of our hashes that theirs have otherwise or not at all; None when there is none.

    >>> differs_at(bytes(96), bytes(32) + b"x" * 64), differs_at(bytes(96), bytes(64))
    (1, 2)
    """
    if theirs.startswith(ours):
        return None
    for at in range(0, len(ours), HASH_BYTES):
        if theirs[at : at + HASH_BYTES] != ours[at : at + HASH_BYTES]:
            return at // HASH_BYTES
    return None
