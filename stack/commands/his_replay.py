"""`lipei his replay`: records in quarantine read once more, any number of them."""

from __future__ import annotations

from typing import Annotated

import typer

from lipei.his_bridge.v1 import his_bridge_pb2
from lipei.his_bridge.v1 import operations_pb2 as pb
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from lipei.his_bridge.v1.operations_pb2_grpc import OperationsServiceStub
from stack.commands.by_option import by_option
from stack.commands.calling import CALL_S, Failed, calling, fresh_request_id
from stack.commands.his_operations import SOURCE_CALL_S, id_of, parent_of
from stack.commands.options import DEFAULT_STATE, AsJson, Hospital, RequestId, State
from stack.commands.printing import counted, print_json, say, stepwise

# Records of one call: each comes to its end in seconds, and what is done stays done.
AT_ONCE = 100
_OPTIONS = {
    "records": "RECORD",
    "stage": "--stage",
    "max_records": "--max",
    "request_id": "--request-id",
}
_COUNTS = ("replayed_count", "released_count", "quarantined_count", "held_count")


def replay(
    hospital: Hospital,
    records: Annotated[
        list[str] | None, typer.Argument(metavar="RECORD...", help="Names of `his quarantine`.")
    ] = None,
    stage: Annotated[str, typer.Option("--stage", help="Only those stopped there.")] = "",
    most: Annotated[
        int, typer.Option("--max", min=1, help="Without names: the oldest so many.")
    ] = 100,
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
    parent, once = parent_of(hospital), fresh_request_id(request_id)
    with (
        by_option(_OPTIONS),
        calling(state, "his_bridge", "hospital_records", id_of(hospital)) as channel,
    ):
        replaying = Replaying(OperationsServiceStub(channel), parent, once)
        if records:
            names = [one if "/" in one else f"{parent}/quarantine/{one}" for one in records]
            replaying.named(names)
        else:
            waiting = _waiting(HisBridgeServiceStub(channel), parent)
            replaying.oldest(stage, waiting if everything else most, waiting)
    if as_json:
        print_json(replaying.whole)
        return
    _say(replaying.whole, id_of(hospital))


class Replaying:
    """Calls that replay a portion each; `whole` is what they did together."""

    def __init__(self, stub: OperationsServiceStub, parent: str, once: str) -> None:
        self.whole = pb.ReplayQuarantineResponse()
        self._stub = stub
        self._parent = parent
        self._once = once
        self._calls = 0

    def named(self, names: list[str]) -> None:
        """Replay these records."""
        with stepwise("replaying", len(names), "records") as step:
            for start in range(0, len(names), AT_ONCE):
                some = names[start : start + AT_ONCE]
                self._call(pb.ReplayQuarantineRequest(records=some))
                step(len(some))

    def oldest(self, stage: str, most: int, waiting: int) -> None:
        """Replay the oldest so many of those that wait: what fails waits anew, and is not next."""
        most = min(most, waiting)
        with stepwise("replaying", most, "records") as step:
            done = 0
            while done < most:
                size = min(AT_ONCE, most - done)
                answer = self._call(pb.ReplayQuarantineRequest(stage=stage, max_records=size))
                if not done:
                    most = min(most, waiting - answer.conflict_count - answer.bytes_gone_count)
                done += size
                step(size)
                if answer.replayed_count < size:
                    return

    def _call(self, request: pb.ReplayQuarantineRequest) -> pb.ReplayQuarantineResponse:
        request.parent = self._parent
        request.request_id = f"{self._once}-{self._calls}" if self._calls else self._once
        self._calls += 1
        answer = self._stub.ReplayQuarantine(request, timeout=SOURCE_CALL_S)
        for name in _COUNTS:
            setattr(self.whole, name, getattr(self.whole, name) + getattr(answer, name))
        self.whole.reading_later |= answer.reading_later
        self.whole.conflict_count = answer.conflict_count
        self.whole.bytes_gone_count = answer.bytes_gone_count
        return answer


def _waiting(stub: HisBridgeServiceStub, parent: str) -> int:
    request = his_bridge_pb2.GetSourceStatusRequest(hospital=parent)
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
