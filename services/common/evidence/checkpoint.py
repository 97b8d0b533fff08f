"""Checkpoints of C2SP (tlog-checkpoint): what a log says of itself at a size, as a signed note."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.evidence.merkle import EMPTY_ROOT, HASH_BYTES, MOST_LEAVES
from services.common.evidence.note import Note, NoteRefused, VerifierKey, decoded, parsed

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class CheckpointRefused(NoteRefused):
    """A note that is no checkpoint, or none of this log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Origin, number of leaves and root. Our logs write no extension lines and read them over."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The text that is signed.

        >>> print(Checkpoint(origin="example.com/log", size=0, root=EMPTY_ROOT).text(), end="")
        example.com/log
        0
        47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
        """
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def checkpoint_of(text: str) -> Checkpoint:
    """What a note's text says.

    Raises: CheckpointRefused when it is not the text of a checkpoint.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise CheckpointRefused("a checkpoint is origin, size and root on a line each")
    origin, size, root = lines[:3]
    if not _SIZE.fullmatch(size) or int(size) > MOST_LEAVES:
        raise CheckpointRefused("a checkpoint's size is a plain decimal number")
    found = decoded(root)
    if len(found) != HASH_BYTES:
        raise CheckpointRefused("a checkpoint's root is 32 bytes in base64")
    if size == "0" and found != EMPTY_ROOT:
        raise CheckpointRefused("a log without leaves has the empty root")
    return Checkpoint(origin=origin, size=int(size), root=found)


def opened(written: str | bytes, keys: Sequence[VerifierKey]) -> tuple[Checkpoint, Note]:
    """The checkpoint that one of a log's keys has signed, and its note.

    A log has one key, and two while the key changes; its origin is the name of each.

    Raises: NoteRefused when the note is malformed, not signed by it, or of another log.
    """
    note = parsed(written)
    ids = {(signature.name, signature.key_id) for signature in note.signatures}
    known = [key for key in keys if (key.name, key.key_id) in ids]
    if not known:
        raise NoteRefused("the checkpoint is not signed by a key that is known")
    for key in known:
        key.signed_at(note)
    found = checkpoint_of(note.text)
    if found.origin != known[0].name:
        raise CheckpointRefused("the checkpoint is of another log")
    return found, note
