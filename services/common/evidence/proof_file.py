"""A proof as a file of C2SP (tlog-proof): the leaf, its index, the nodes, the checkpoint."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from services.common.evidence.note import Note

HEADER = "c2sp.org/tlog-proof@v1"


def proof_file(leaf: bytes, index: int, hashes: Sequence[bytes], checkpoint: Note) -> str:
    """The text of the file, which needs nothing else to be verified but the keys.

    The leaf stands in `extra`, which the form leaves to its users. `verify.py` reads it.
    """
    extra = base64.b64encode(leaf).decode()
    nodes = [base64.b64encode(found).decode() for found in hashes]
    head = [HEADER, f"extra {extra}", f"index {index}", *nodes]
    return "\n".join(head) + "\n\n" + checkpoint.written()
