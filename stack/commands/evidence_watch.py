"""What logs and witnesses say of themselves now, and what is wrong with that."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipei.evidence.v1 import evidence_pb2 as pb
from lipei.evidence.v1.evidence_pb2_grpc import EvidenceServiceStub, WitnessServiceStub
from services.common.evidence.checkpoint import checkpoint_of
from services.common.evidence.note import NoteRefused, parsed
from stack.commands.calling import CALL_S, CallFailed, Failed, addresses, calling
from stack.commands.printing import print_table, rows, table, when
from stack.installation import SERVICES

WITNESS = "witness:"
AUDITOR = "auditor"
# A witness looks every two seconds; a log that it has not seen for so long is kept from it.
_SILENT_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What one witness keeps: log → note, as it says itself."""

    witness: str
    notes: Mapping[str, str]
    checkpoints: tuple[pb.KeptCheckpoint, ...]


def witnesses_of(state: Path) -> list[str]:
    """Names of the witnesses that run here, as run.json has them."""
    return sorted(name for name in addresses(state) if name.startswith(WITNESS))


def kept_by_witnesses(state: Path) -> list[Kept]:
    """What every witness that runs here keeps.

    Raises: CallFailed when one does not answer.
    """
    return [_kept(state, name) for name in witnesses_of(state)]


def _kept(state: Path, name: str) -> Kept:
    with calling(state, name, AUDITOR) as channel:
        request = pb.ListKeptCheckpointsRequest()
        answer = WitnessServiceStub(channel).ListKeptCheckpoints(request, timeout=CALL_S)
    return Kept(
        witness=name.removeprefix(WITNESS),
        notes={one.log: one.note for one in answer.checkpoints},
        checkpoints=tuple(answer.checkpoints),
    )


def looked(state: Path) -> dict[str, Any]:
    """Logs, witnesses and every fault as a sentence."""
    known = addresses(state)
    faults: list[str] = []
    logs = []
    for log in SERVICES:
        size = None
        if log in known:
            try:
                size = _log_size(state, log)
            except Failed as failed:
                faults += failed.lines
        logs.append({"log": log, "size": size})
    kept = []
    names = witnesses_of(state)
    if not names:
        faults.append("no witness runs here: nobody would notice that a log is rewritten")
    for name in names:
        try:
            one = _kept(state, name)
        except CallFailed as failed:
            faults += failed.lines
            continue
        kept += [_line(one.witness, checkpoint, faults) for checkpoint in one.checkpoints]
    return {"logs": logs, "witnesses": kept, "faults": faults}


def _log_size(state: Path, log: str) -> int | None:
    with calling(state, log, AUDITOR) as channel:
        answer = EvidenceServiceStub(channel).GetCheckpoint(
            pb.GetCheckpointRequest(), timeout=CALL_S
        )
    return size_of(answer.note)


def size_of(note: str) -> int | None:
    """The size that a checkpoint states; None when it is none. Verifies nothing."""
    try:
        return checkpoint_of(parsed(note).text).size
    except NoteRefused:
        return None


def _line(witness: str, kept: pb.KeptCheckpoint, faults: list[str]) -> dict[str, Any]:
    whose = f"{witness} on {kept.log}"
    for alarm in kept.alarms:
        bad = (
            f", first bad leaf {alarm.first_bad_index}" if alarm.HasField("first_bad_index") else ""
        )
        faults.append(f"ALARM of witness {whose}: {alarm.reason} since {when(alarm.time)}{bad}")
    silent_s = time.time() - kept.seen_time.ToMicroseconds() / 1e6
    if not kept.HasField("seen_time"):
        faults.append(f"witness {whose}: it has seen nothing consistent since it started")
    elif silent_s > _SILENT_S:
        faults.append(f"witness {whose}: nothing consistent seen for {silent_s:.0f} s")
    return {
        "witness": witness,
        "log": kept.log,
        "size": size_of(kept.note),
        "seen": when(kept.seen_time),
        "alarms": [alarm.reason for alarm in kept.alarms],
    }


def shown(found: Mapping[str, Any]) -> None:
    """Print both tables."""
    print_table(
        rows(
            table("log", "signed leaves", right=("signed leaves",)),
            ((log["log"], _number(log["size"])) for log in found["logs"]),
        )
    )
    made = table("witness", "log", "kept leaves", "last seen", "alarms", right=("kept leaves",))
    print_table(
        rows(
            made,
            (
                (
                    line["witness"],
                    line["log"],
                    _number(line["size"]),
                    line["seen"] or "never",
                    ", ".join(line["alarms"]) or "none",
                )
                for line in found["witnesses"]
            ),
        )
    )


def _number(size: int | None) -> str:
    return "-" if size is None else str(size)
