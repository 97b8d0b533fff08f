"""`lipei evidence ...`: who read what, and the proof of it."""

from __future__ import annotations

import itertools
import json
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from lipei.evidence.v1 import evidence_pb2 as pb
from lipei.evidence.v1.evidence_pb2_grpc import EvidenceServiceStub
from services.common.evidence import verify as stand_alone
from services.common.evidence.checkpoint import checkpoint_of
from services.common.evidence.leaf import LeafRefused, read_of
from services.common.evidence.note import Note, NoteRefused, parsed
from services.common.evidence.proof_file import proof_file
from stack.commands.calling import CALL_S, Failed, calling, content_of
from stack.commands.evidence_audit import audited
from stack.commands.evidence_watch import AUDITOR, Kept, kept_by_witnesses, looked, shown
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.printing import (
    plain,
    print_json,
    print_table,
    rows,
    say,
    table,
    told_time,
    when,
)
from stack.commands.withheld import pages

app = typer.Typer(help="Who read what, and the proof of it.", no_args_is_help=True)

_PAGE = 1_000
_LOOK_EVERY_S = 2.0
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Log(StrEnum):
    """The logs of an installation, by their services."""

    CLAIMS = "claims"
    HIS_BRIDGE = "his_bridge"
    PRICING = "pricing"


OneLog = Annotated[Log, typer.Argument(help="Whose log.")]


@app.command("list")
def list_leaves(  # noqa: PLR0913, PLR0917 - options of a command
    log: OneLog,
    record: Annotated[str, typer.Option(help="Reads of this record.")] = "",
    who: Annotated[str, typer.Option(help="Reads by this person or machine.")] = "",
    since: Annotated[str, typer.Option(help="From this time on, 2026-05-04T04:00:00Z.")] = "",
    until: Annotated[str, typer.Option(help="Before this time.")] = "",
    tenant: Annotated[
        str, typer.Option(help="By this tenant or of its records: insurer/ID, hospital/ID.")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 0,
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """List reads of sensitive data, oldest first.

    A tenant's auditor (--as auditor:insurer/ID) sees the reads that concern the tenant.
    """
    size = min(limit or _PAGE, _PAGE)
    request = pb.ListLeavesRequest(record=record, who=who, tenant=tenant, page_size=size)
    for text, moment, option in (
        (since, request.start_time, "--since"),
        (until, request.end_time, "--until"),
    ):
        if text:
            _parse(text, moment, option)
    with calling(state, log, AUDITOR) as channel:
        leaves = _leaves(EvidenceServiceStub(channel), request)
        found = [_read(leaf) for leaf in itertools.islice(leaves, limit or None)]
    if as_json:
        print_json(found)
        return
    if not found:
        say(f"{log.value} has no read of sensitive data on record that you asked for and may see")
        return
    names = ("index", "time", "who", "role", "purpose", "consent", "record", "level")
    made = table("leaf", "time (UTC)", *names[2:], right=("leaf",))
    lines = ({**read, "time": told_time(str(read["time"]))} for read in found)
    print_table(rows(made, ([str(line.get(name, "")) for name in names] for line in lines)))
    if len(found) == limit:
        say(f"the first {limit}, and there may be more: a larger --limit, or a later --since")


@app.command("member")
def member_reads(
    log: OneLog,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The member's token.")],
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """List who read a member's data, oldest first, by tenant and role. Acts as that member.

    For a member who asked an insurer or a hospital: --as insurer_intake --purpose member-request.
    """
    request = pb.ListMemberReadsRequest(member=f"members/{token}", page_size=_PAGE)
    reads: list[pb.MemberRead] = []
    with calling(state, log, f"member:{token}") as channel:
        stub = EvidenceServiceStub(channel)
        for answer, _ in pages(stub.ListMemberReads, request):
            reads.extend(answer.reads)
    if as_json:
        print_json({"reads": [plain(read) for read in reads]})
        return
    if not reads:
        say(f"{log.value} has no read of this member's data on record that you may see")
        return
    names = ("reader", "role", "purpose", "consent", "record")
    made = table("time (UTC)", *names)
    lines = ([when(read.time), *(getattr(read, name) for name in names)] for read in reads)
    print_table(rows(made, lines))


@app.command()
def prove(
    log: OneLog,
    leaf: Annotated[str, typer.Argument(help="Index of the leaf, or its hash in hex.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="File; standard output if absent.")
    ] = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Write the proof that a read is in the log: leaf, nodes and a cosigned checkpoint.

    Needs nothing else to be verified but the keys: `lipei evidence verify`, or the file
    services/common/evidence/verify.py alone.
    """
    request = pb.GetInclusionProofRequest()
    if _HASH.fullmatch(leaf):
        request.leaf_hash = bytes.fromhex(leaf)
    elif leaf.isascii() and leaf.isdecimal() and len(leaf) < 19:
        request.index = int(leaf)
    else:
        raise Failed("name the leaf by its index or by its hash, 64 hex digits", exit_code=2)
    kept = kept_by_witnesses(state)
    with calling(state, log, AUDITOR) as channel:
        stub = EvidenceServiceStub(channel)
        checkpoint = _checkpoint(stub, kept, log)
        request.tree_size = checkpoint_of(checkpoint.text).size
        answer = stub.GetInclusionProof(request, timeout=CALL_S)
    body = answer.leaf.body.encode("ascii", "replace")
    text = proof_file(body, answer.leaf.index, answer.hashes, checkpoint)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, "utf-8")
        say(f"{out}: leaf {answer.leaf.index} of {answer.tree_size}")


@app.command()
def verify(
    proof: Annotated[Path, typer.Argument(help="File that `lipei evidence prove` wrote.")],
    log_key: Annotated[str, typer.Option(help="The log's verifier key, or a file with it.")] = "",
    witness_key: Annotated[
        list[str] | None, typer.Option(help="A witness's; may be repeated. All must have cosigned.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A witness's checkpoint in place of the proof's own.")
    ] = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Verify a proof; exit 1 when it proves nothing. Asks no service.

    Without keys it takes those in the state directory, which is no proof against whoever runs it.
    """
    keys = state / "keys"
    words = [str(proof)]
    try:
        origin = stand_alone.read_proof(content_of(proof).decode()).checkpoint.partition("\n")[0]
    except (stand_alone.NotVerified, UnicodeDecodeError):
        origin = ""
    name = origin.rpartition("/")[2]
    words += ["--log-key", log_key or str(keys / f"{name}_evidence.vkey")]
    witnesses = witness_key or ([] if log_key else map(str, sorted(keys.glob("witness_*.vkey"))))
    for found in witnesses:
        words += ["--witness-key", found]
    if checkpoint is not None:
        words += ["--checkpoint", str(checkpoint)]
    code = stand_alone.main(words)
    if code:
        raise Failed("the proof was not verified", exit_code=code)


@app.command()
def watch(
    once: Annotated[bool, typer.Option("--once", help="Look once.")] = False,
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Show logs and witnesses until Ctrl-C; exit 1 as soon as something is wrong."""
    while True:
        found = looked(state)
        if as_json:
            print_json(found)
        else:
            shown(found)
        if found["faults"]:
            raise Failed(*found["faults"])
        if once or as_json:
            return
        time.sleep(_LOOK_EVERY_S)


@app.command()
def audit(
    log: Annotated[Log | None, typer.Argument(help="Whose log; all when absent.")] = None,
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Hash every leaf anew and compare with what every witness keeps; exit 1 on a difference.

    Names the first leaf that is not what it was.
    """
    found = [audited(state, one) for one in ([log] if log else Log)]
    if as_json:
        print_json(found)
    else:
        made = table(
            "log", "leaves", "witness", "keeps", "first bad leaf", right=("leaves", "keeps")
        )
        for one in found:
            for line in one["witnesses"]:
                bad = line["first_bad_index"]
                cells = (one["log"], str(one["leaves"]), line["witness"], str(line["keeps"]))
                rows(made, [(*cells, "none" if bad is None else str(bad))])
        print_table(made)
    faults = [fault for one in found for fault in one["faults"]]
    if faults:
        raise Failed(*faults)


def _leaves(stub: EvidenceServiceStub, request: pb.ListLeavesRequest) -> Iterator[pb.Leaf]:
    for answer, _ in pages(stub.ListLeaves, request):
        yield from answer.leaves


def _read(leaf: pb.Leaf) -> dict[str, Any]:
    """A leaf as plain values, whether or not somebody spoiled it."""
    try:
        read = read_of(leaf.body.encode())
    except LeafRefused:
        return {"index": leaf.index, "record": "NOT A LEAF"}
    said: dict[str, Any] = json.loads(leaf.body)
    moment = datetime.fromtimestamp(read.at_us // 1_000_000, UTC)
    return {"index": leaf.index, "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"), **said}


def _parse(text: str, moment: Timestamp, option: str) -> None:
    try:
        moment.FromJsonString(text)
    except ValueError:
        raise Failed(f"{option}: write a time such as 2026-05-04T04:00:00Z", exit_code=2) from None


def _checkpoint(stub: EvidenceServiceStub, kept: list[Kept], log: str) -> Note:
    """The largest checkpoint that a witness keeps, cosigned by all that keep it; else the log's."""
    found: dict[str, Note] = {}
    for one in kept:
        try:
            note = parsed(one.notes.get(log, ""))
        except NoteRefused:
            continue
        joined = found.get(note.text, note)
        for signature in note.signatures:
            joined = joined.signed(signature)
        found[note.text] = joined
    if found:
        return max(found.values(), key=lambda note: (checkpoint_of(note.text).size, note.text))
    return parsed(stub.GetCheckpoint(pb.GetCheckpointRequest(), timeout=CALL_S).note)
