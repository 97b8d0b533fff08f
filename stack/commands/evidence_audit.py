"""A whole log read again over the wire, beside what every witness keeps of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from lipei.evidence.v1 import evidence_pb2 as pb
from lipei.evidence.v1.evidence_pb2_grpc import EvidenceServiceStub, WitnessServiceStub
from services.common.evidence.checkpoint import opened
from services.common.evidence.merkle import HASH_BYTES, leaf_hash, root_of
from services.common.evidence.note import Note, NoteRefused, VerifierKey, verifier_key
from services.common.evidence.witnessing import differs_at
from services.common.refusals import error_of
from stack.commands.calling import CALL_S, Failed, calling
from stack.commands.evidence_watch import AUDITOR, WITNESS, Kept, kept_by_witnesses

_PAGE = 1_000
_HASHES = 10_000


def audited(state: Path, log: str) -> dict[str, Any]:
    """Leaves, what each witness keeps, the first leaf that differs, and every fault.

    Each leaf is hashed here, from its bytes: the log's own hashes are not asked for.
    """
    with calling(state, log, AUDITOR) as channel:
        stub = EvidenceServiceStub(channel)
        # A tenant's auditor is refused here, and not told that the leaves of others are gone.
        stub.ListLeafHashes(pb.ListLeafHashesRequest(count=1), timeout=CALL_S)
        hashes, mislabelled = _hashed(stub)
    keys = _keys(state / "keys" / f"{log}_evidence.vkey")
    lines, faults = [], []
    if mislabelled is not None:
        faults.append(f"{log}: what stands beside leaf {mislabelled} is not what it says")
    for kept in kept_by_witnesses(state):
        line, said = _compared(state, kept, log, hashes, keys)
        lines.append(line)
        faults += said
    if not lines:
        faults.append(f"{log}: no witness runs here, so a rewritten log could not be told")
    return {"log": log, "leaves": len(hashes) // HASH_BYTES, "witnesses": lines, "faults": faults}


def _hashed(stub: EvidenceServiceStub) -> tuple[bytes, int | None]:
    """Hashes up to the first index that is missing or mislabelled, and that one if mislabelled."""
    request, hashes = pb.ListLeavesRequest(page_size=_PAGE), list[bytes]()
    while True:
        try:
            answer = stub.ListLeaves(request, timeout=CALL_S)
        except grpc.RpcError as error:
            fault = error_of(error)
            if fault.reason != "LEAF_MISLABELLED":
                raise
            bad = int(fault.metadata["index"])
            if not 0 < bad - len(hashes) < request.page_size:
                return b"".join(hashes), bad
            request.page_size = bad - len(hashes)  # those before it, of the same page
            continue
        for leaf in answer.leaves:
            if leaf.index != len(hashes):
                return b"".join(hashes), None
            # What is no leaf any more need not be ASCII; its hash is another one anyway.
            hashes.append(leaf_hash(leaf.body.encode()))
        if not answer.next_page_token:
            return b"".join(hashes), None
        request.page_token = answer.next_page_token


def _compared(
    state: Path, kept: Kept, log: str, hashes: bytes, keys: list[VerifierKey]
) -> tuple[dict[str, Any], list[str]]:
    whose, note = f"{log}, witness {kept.witness}", kept.notes.get(log, "")
    line: dict[str, Any] = {"witness": kept.witness, "keeps": 0, "first_bad_index": None}
    if not note:
        return line, [f"{whose}: keeps no checkpoint"]
    faults = []
    try:
        checkpoint, opened_note = opened(note, keys)
        _cosigned(_keys(state / "keys" / f"witness_{kept.witness}.vkey"), opened_note)
    except NoteRefused as refused:
        return line, [f"{whose}: {refused}"]
    line["keeps"] = checkpoint.size
    ours = _mirrored(state, kept.witness, log, checkpoint.size)
    split = [ours[at : at + HASH_BYTES] for at in range(0, len(ours), HASH_BYTES)]
    if root_of(split) != checkpoint.root:
        faults.append(f"{whose}: its hashes do not lead to its own checkpoint")
    bad = differs_at(ours, hashes)
    if bad is not None:
        line["first_bad_index"] = bad
        faults.append(f"{whose}: leaf {bad} is not what it was, or is gone")
    return line, faults


def _mirrored(state: Path, witness: str, log: str, size: int) -> bytes:
    parts, at = [], 0
    with calling(state, WITNESS + witness, AUDITOR) as channel:
        stub = WitnessServiceStub(channel)
        while at < size:
            request = pb.ListKeptHashesRequest(
                log=log, start_index=at, count=min(_HASHES, size - at)
            )
            part = stub.ListKeptHashes(request, timeout=CALL_S).hashes
            if not part:
                break
            parts.append(part)
            at += len(part) // HASH_BYTES
    return b"".join(parts)


def _keys(file: Path) -> list[VerifierKey]:
    try:
        return [verifier_key(line) for line in file.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError, NoteRefused):
        raise Failed(f"{file}: holds no verifier key; put the log's there", exit_code=2) from None


def _cosigned(keys: list[VerifierKey], note: Note) -> None:
    """Return when one of a witness's keys has signed. Raises: NoteRefused."""
    signers = {(signature.name, signature.key_id) for signature in note.signatures}
    known = [key for key in keys if (key.name, key.key_id) in signers]
    if not known:
        raise NoteRefused("the checkpoint is not cosigned by this witness")
    for key in known:
        key.signed_at(note)
