"""Every fault of every line at once: those that are read here, and those that the service finds."""

from __future__ import annotations

import json
from collections.abc import Sequence

import grpc
import pytest

from lipei.pricing.v1 import pricing_pb2 as pb
from services.common.refusals import RpcFault, Violation
from stack.commands.calling import CallFailed
from stack.commands.failing import Failed
from stack.commands.recording_lines import record_lines

GOOD: dict[str, object] = {"days": 30}
BAD: dict[str, object] = {"days": 0}
BROKEN: dict[str, object] = {"days": "SECRET"}


class Service:
    """Finds fault with events of no days, and keeps what it is not only to judge."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.judged = 0

    def call(self, events: Sequence[pb.MedicationEvent], judge: bool) -> int:
        wrong = tuple(
            Violation(f"events[{place}].days", "OUT_OF_RANGE", "must be 1 to 366")
            for place, one in enumerate(events)
            if not one.days
        )
        if wrong:
            code = grpc.StatusCode.INVALID_ARGUMENT
            raise CallFailed("pricing", RpcFault(code, "INVALID", "no", wrong, None, {}))
        if judge:
            self.judged += len(events)
        else:
            self.kept += [one.days for one in events]
        return len(events)


def content(*events: dict[str, object]) -> bytes:
    return "\n".join(map(json.dumps, events)).encode()


def faults(service: Service, *events: dict[str, object]) -> list[str]:
    with pytest.raises(Failed) as failed:
        record_lines(content(*events), "f", pb.MedicationEvent, service.call)
    return list(failed.value.lines)


def test_a_line_that_cannot_be_read_hides_no_fault_of_another_and_nothing_is_recorded() -> None:
    service = Service()
    told = faults(service, GOOD, BROKEN, BAD)
    assert told[0] == "f:2: days must be a whole number"
    assert [one for one in told[1:] if "line 3 days" in one]
    assert service.kept == []
    assert "SECRET" not in " ".join(told)


def test_what_comes_after_a_refused_batch_is_judged_and_not_recorded() -> None:
    service = Service()
    told = faults(service, *[GOOD] * 1_000, BAD, *[GOOD] * 999, *[GOOD] * 1_000, BAD)
    assert len(service.kept) == service.judged == 1_000
    assert [one for one in told if "line 1001 days" in one]
    assert [one for one in told if "line 3001 days" in one]
    assert told[-1] == "the 1000 lines before were recorded, none from here on"


def test_a_service_that_does_not_answer_is_asked_once() -> None:
    asked = []

    def call(events: Sequence[pb.MedicationEvent], judge: bool) -> int:
        asked.append(judge)
        code = grpc.StatusCode.UNAVAILABLE
        raise CallFailed("pricing", RpcFault(code, "", "down", (), None, {}))

    with pytest.raises(Failed):
        record_lines(content(*[GOOD] * 3_000), "f", pb.MedicationEvent, call)
    assert asked == [False]


def test_without_a_fault_every_batch_is_recorded_and_none_only_judged() -> None:
    service = Service()
    lines = content(*[GOOD] * 1_001)
    assert record_lines(lines, "f", pb.MedicationEvent, service.call) == [1_000, 1]
    assert (len(service.kept), service.judged) == (1_001, 0)
