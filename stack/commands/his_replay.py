"""`lipei his replay`: records in quarantine read once more, any number of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from lipei.his_bridge.v1 import his_bridge_pb2
from lipei.his_bridge.v1 import operations_pb2 as pb
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from lipei.his_bridge.v1.operations_pb2_grpc import OperationsServiceStub
from stack.commands.calling import CALL_S, Failed, calling, fresh_request_id
from stack.commands.his_operations import SOURCE_CALL_S, Hospital, id_of, parent_of
from stack.commands.options import DEFAULT_STATE, AsJson, RequestId, State
from stack.commands.printing import counted, print_json, say, stepwise

# Records of one call: each comes to its end in seconds, and what is done stays done.
AT_ONCE = 100
_COUNTS = ("replayed_count", "released_count", "quarantined_count", "held_count")


def replay(
    hospital: Hospital,
    records: Annotated[
        list[str] | None, typer.Argument(metavar="RECORD...", help="Names of `his quarantine`.")
    ] = None,
    stage: Annotated[str, typer.Option("--stage", help="Only those stopped there.")] = "",
    most: Annotated[int, typer.Option("--max", help="Without names: the oldest so many.")] = 100,
    everything: Annotated[bool, typer.Option("--all", help="All that wait now.")] = False,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Have records in quarantine read once more: those named, the oldest, or all.

    Shows how far it is. Ctrl-C ends it after what was read; the same command goes on.
    """
    if records and (stage or everything):
        raise Failed("name records, or a --stage, or --all", exit_code=2)
    with calling(state, "his_bridge", "hospital_records", id_of(hospital)) as channel:
        if not records:
            most = _waiting(channel, hospital) if everything else most
        done = _replayed(
            OperationsServiceStub(channel),
            list(_requests(hospital, records or [], stage, most, fresh_request_id(request_id))),
        )
    if as_json:
        print_json(done)
        return
    _say(done, id_of(hospital))


def _requests(
    hospital: str, records: list[str], stage: str, most: int, request_id: str
) -> Iterator[pb.ReplayQuarantineRequest]:
    parent = parent_of(hospital)
    names = [one if "/" in one else f"{parent}/quarantine/{one}" for one in records]
    number = len(names) or max(most, 1)
    for start in range(0, number, AT_ONCE):
        request = pb.ReplayQuarantineRequest(
            parent=parent,
            request_id=request_id if not start else f"{request_id}-{start // AT_ONCE}",
            records=names[start : start + AT_ONCE],
        )
        if not names:
            request.stage = stage
            # A senseless number is the bridge's to refuse.
            request.max_records = min(AT_ONCE, most - start) if most > 0 else most
        yield request


def _replayed(
    stub: OperationsServiceStub, requests: list[pb.ReplayQuarantineRequest]
) -> pb.ReplayQuarantineResponse:
    """The sums of what the calls did; ends early when nothing waits any more."""
    whole = pb.ReplayQuarantineResponse()
    sizes = [len(one.records) or one.max_records for one in requests]
    with stepwise("replaying", sum(sizes), "records") as step:
        for request, size in zip(requests, sizes, strict=True):
            answer = stub.ReplayQuarantine(request, timeout=SOURCE_CALL_S)
            for name in _COUNTS:
                setattr(whole, name, getattr(whole, name) + getattr(answer, name))
            whole.reading_later |= answer.reading_later
            whole.conflict_count = answer.conflict_count
            whole.bytes_gone_count = answer.bytes_gone_count
            step(size)
            if answer.replayed_count < size:
                break
    return whole


def _waiting(channel: object, hospital: str) -> int:
    """How many records wait for a person now: what fails once more must not be tried for ever."""
    stub = HisBridgeServiceStub(channel)  # type: ignore[arg-type]  # the caller's channel
    request = his_bridge_pb2.GetSourceStatusRequest(hospital=parent_of(hospital))
    answer = stub.GetSourceStatus(request, timeout=CALL_S)
    return max(1, sum(one.quarantined_count for one in answer.channels))


def _say(done: pb.ReplayQuarantineResponse, hospital: str) -> None:
    read = counted(done.replayed_count, "record")
    if done.reading_later:
        say(f"{read}: the pull under way reads them")
    else:
        say(
            f"{read} read once more: {done.released_count} released, {done.held_count} held, "
            f"{done.quarantined_count} in quarantine again"
        )
    if done.conflict_count:
        say(
            f"{counted(done.conflict_count, 'record')} left out: the HIS sent two contents under "
            "one version, and nobody can say which is right. A new version of the record "
            f"resolves it by itself; `lipei his quarantine {hospital}` names them"
        )
    if done.bytes_gone_count:
        say(
            f"{counted(done.bytes_gone_count, 'record')} left out: the bytes are gone after 90 "
            "days; have the HIS send them again"
        )
