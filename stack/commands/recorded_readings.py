"""Readings of a file or a pipe, recorded through a stream that may break, and what became of them.

Decides nothing: the service says what is at fault, and what it knows already.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import typer

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from lipei.type.v1 import reading_pb2
from services.common.refusals import RpcFault, Violation
from stack.commands.calling import CALL_S, CallFailed, Failed, calling, fresh_request_id
from stack.commands.json_lines import PLACE, by_line, read_lines
from stack.commands.printing import stepwise
from stack.commands.recording_lines import in_batches, whole_lines
from stack.commands.streaming_lines import Broken, Stream

Lines = Sequence[tuple[int, reading_pb2.Reading]]

PIPE = "-"
# Longer than the service lets a stream last: it ends it, and says so.
_STREAM_S = 300.0
_AT_ONCE = 64 << 10  # what a pipe holds
_LONGEST_LINE = 1 << 20


class RecordedReadings:
    """What became of the readings of one command."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._lines: dict[str, Lines] = {}  # of the batches that are not answered
        self.whole = pb.RecordReadingsResponse()
        self.left_out = 0

    def from_file(self, content: bytes, source: str) -> None:
        """Record all lines, with a bar on a terminal; a batch at fault stops no other.

        Raises: Failed with all faults, and how much was recorded.
        """
        batches = whole_lines(content, source, reading_pb2.Reading, self._call)
        faults: list[str] = []
        total = sum(map(len, batches))
        with stepwise("readings", total, "readings sent") as step:
            for lines, answer in self._answers(batches):
                if answer.HasField("fault"):
                    faults += by_line(_failed(answer.fault), lines)
                else:
                    self._add(answer.recorded)
                step(len(lines))
        if faults:
            here = self.whole.recorded_count + self.whole.known_count
            raise Failed(*faults, *([f"the other {here} lines are recorded"] if here else ()))

    def from_pipe(self, descriptor: int) -> None:
        """Record lines as they come in; what is at fault is told at once and left out.

        Raises: Failed when the stream breaks for good, with the lines that may be lost.
        """
        for lines, answer in self._answers(self._arriving(descriptor)):
            if answer.HasField("fault"):
                self._without_faulty(lines, _failed(answer.fault))
            else:
                self._add(answer.recorded)

    def _answers(
        self, batches: Iterable[Lines]
    ) -> Iterator[tuple[Lines, pb.StreamReadingsResponse]]:
        stream: Stream[pb.StreamReadingsRequest, pb.StreamReadingsResponse] = Stream(
            map(self._request, batches), self._opened
        )
        try:
            for answer in stream.answers():
                yield self._lines.pop(answer.request_id), answer
        except Broken as broken:
            numbers = [number for lines in self._lines.values() for number, _ in lines]
            told = [*broken.failed.lines]
            if self.whole.recorded_count + self.whole.known_count or self.left_out:
                told.append(
                    f"of the lines {min(numbers)} to {max(numbers)} nobody knows whether they are "
                    "recorded; record them again: what is known changes nothing"
                )
            raise Failed(*told) from None

    @contextmanager
    def _opened(
        self, requests: Iterator[pb.StreamReadingsRequest]
    ) -> Iterator[Iterable[pb.StreamReadingsResponse]]:
        with calling(self._state, "pricing", "partner") as channel:
            yield PricingServiceStub(channel).StreamReadings(requests, timeout=_STREAM_S)

    def _request(self, lines: Lines) -> pb.StreamReadingsRequest:
        request_id = fresh_request_id()
        self._lines[request_id] = lines
        readings = [reading for _, reading in lines]
        return pb.StreamReadingsRequest(request_id=request_id, readings=readings)

    def _arriving(self, descriptor: int) -> Iterator[Lines]:
        """Lines that came together, once the last of them is whole."""
        rest, number = b"", 1
        while chunk := os.read(descriptor, _AT_ONCE):
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            if len(rest) > _LONGEST_LINE:
                raise Failed(f"{PIPE}: a line of more than {_LONGEST_LINE} bytes is no reading")
            yield from self._read(whole + newline, number)
            number += whole.count(b"\n") + len(newline)
        yield from self._read(rest, number)

    def _read(self, content: bytes, first: int) -> Iterator[Lines]:
        lines, faults = read_lines(content, PIPE, reading_pb2.Reading, first)
        self._tell(faults)
        self.left_out += len({fault.split(": ")[0] for fault in faults})
        yield from in_batches(lines)

    def _without_faulty(self, lines: Lines, failed: CallFailed) -> None:
        """Record the rest of a batch of which something is at fault: a pipe is not read twice."""
        while lines:
            self._tell(by_line(failed, lines))
            places = {
                int(at[1]) for one in failed.fault.violations if (at := PLACE.match(one.field))
            }
            self.left_out += len(places) or len(lines)
            lines = [line for place, line in enumerate(lines) if places and place not in places]
            if not lines:
                return
            try:
                self._add(self._call([reading for _, reading in lines], False))
                return
            except CallFailed as again:
                if not again.fault.violations:
                    raise
                failed = again

    def _call(
        self, readings: Sequence[reading_pb2.Reading], judge: bool
    ) -> pb.RecordReadingsResponse:
        # A new request each time: the readings' names tell what is known, and the answer says so.
        request = pb.RecordReadingsRequest(
            request_id=fresh_request_id(), readings=readings, validate_only=judge
        )
        with calling(self._state, "pricing", "partner") as channel:
            return PricingServiceStub(channel).RecordReadings(request, timeout=CALL_S)

    def _add(self, answer: pb.RecordReadingsResponse) -> None:
        self.whole.recorded_count += answer.recorded_count
        self.whole.known_count += answer.known_count
        self.whole.coach_tasks.extend(answer.coach_tasks)

    def _tell(self, faults: Sequence[str]) -> None:
        for fault in faults:
            typer.echo(fault, err=True)


def _failed(fault: pb.BatchFault) -> CallFailed:
    violations = tuple(Violation(one.field, one.reason, one.text) for one in fault.violations)
    code = grpc.StatusCode[fault.code]
    return CallFailed("pricing", RpcFault(code, fault.reason, fault.text, violations, None, {}))
