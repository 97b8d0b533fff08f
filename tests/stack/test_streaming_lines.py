"""A stream that breaks: what was not answered is sent again, in its order, and little waits."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from services.common.refusals import RpcFault
from stack.commands.calling import CallFailed, Failed
from stack.commands.streaming_lines import GIVE_UP_S, WINDOW, Broken, Stream

GONE = RpcFault(grpc.StatusCode.UNAVAILABLE, "STOPPING", "stops", (), 0.5, {})
DENIED = RpcFault(grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED", "no", (), None, {})
EXPIRED = RpcFault(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", "late", (), None, {})


@dataclass(frozen=True)
class One:
    """A batch, and its answer."""

    request_id: str


class Service:
    """Keeps each batch once, and breaks an opening as the test says."""

    def __init__(self, *ends: tuple[int, RpcFault | None]) -> None:
        """Each opening: after so many batches it breaks, None: before the answer to the last."""
        self._ends = list(ends)
        self.kept: list[str] = []
        self.seen: list[list[str]] = []

    @contextmanager
    def opens(self, batches: Iterator[One]) -> Iterator[Iterable[One]]:
        yield self._stream(batches)

    def _stream(self, batches: Iterator[One]) -> Iterator[One]:
        seen: list[str] = []
        self.seen.append(seen)
        last, fault = self._ends.pop(0) if self._ends else (None, None)
        if last == 0:
            raise CallFailed("pricing", fault or GONE)
        for batch in batches:
            seen.append(batch.request_id)
            if batch.request_id not in self.kept:
                self.kept.append(batch.request_id)
            if len(seen) == last and fault is None:
                raise CallFailed("pricing", GONE)  # recorded, and the answer is lost
            yield batch
            if len(seen) == last:
                raise CallFailed("pricing", fault or GONE)


def batches(*names: str) -> list[One]:
    return [One(name) for name in names]


def streamed(service: Service, some: Iterable[One], **more: Any) -> list[str]:
    told: dict[str, Any] = {"pause": lambda _s: None, **more}
    return [one.request_id for one in Stream(some, service.opens, **told).answers()]


def test_every_batch_is_answered_once_in_its_order() -> None:
    service = Service()
    assert streamed(service, batches(*"abcdefgh")) == [*"abcdefgh"]
    assert service.seen == [[*"abcdefgh"]]
    assert streamed(Service(), []) == []


@pytest.mark.parametrize("fault", [GONE, EXPIRED, None])
def test_what_was_not_answered_is_sent_again(fault: RpcFault | None) -> None:
    service = Service((3, fault), (1, fault), (0, GONE), (2, None))
    assert streamed(service, batches(*"abcdefgh")) == [*"abcdefgh"]
    assert service.kept == [*"abcdefgh"]
    assert len(service.seen) == 5
    again = service.seen[1][0]
    assert again == ("c" if fault is None else "d")


def test_a_refusal_that_no_repeating_mends_ends_it() -> None:
    service = Service((2, DENIED))
    stream: Stream[One, One] = Stream(batches(*"abcd"), service.opens, pause=lambda _s: None)
    found: list[str] = []
    with pytest.raises(Broken) as broken:
        found.extend(one.request_id for one in stream.answers())
    assert service.kept == ["a", "b"]
    assert found == ["a", "b"]
    assert {*broken.value.unanswered} <= {One("c"), One("d")}


def test_where_nothing_ever_answered_it_is_told_at_once() -> None:
    with pytest.raises(Broken):
        streamed(Service((0, GONE)), batches("a"), pause=pytest.fail)


def test_a_service_that_stays_away_is_waited_for_a_minute() -> None:
    clock = [0.0]

    def pause(seconds: float) -> None:
        clock[0] += seconds

    how = {"pause": pause, "now_s": lambda: clock[0]}
    with pytest.raises(Broken):
        streamed(Service((1, GONE), *[(0, GONE)] * 1_000), batches("a", "b"), **how)
    assert GIVE_UP_S < clock[0] < GIVE_UP_S + 2
    short = Service((1, GONE), *[(0, GONE)] * 5)
    assert streamed(short, batches("a", "b"), **how) == ["a", "b"]  # the control


def test_few_batches_are_under_way_while_nothing_is_answered() -> None:
    taken = []

    def many() -> Iterator[One]:
        for number in range(100):
            taken.append(number)
            yield One(str(number))

    most: list[int] = []

    class Slow(Service):
        def _stream(self, batches: Iterator[One]) -> Iterator[One]:
            for batch in super()._stream(batches):
                most.append(len(taken) - int(batch.request_id))
                yield batch

    assert len(streamed(Slow(), many())) == 100
    assert max(most) <= 2 * WINDOW + 2


def test_a_silent_source_keeps_its_stream_and_finds_another_when_that_ended() -> None:
    lines: queue.SimpleQueue[One | None] = queue.SimpleQueue()
    service = Service((1, GONE), (1, GONE))
    answers = Stream(iter(lines.get, None), service.opens, pause=lambda _s: None).answers()
    for name in "abc":
        lines.put(One(name))
        assert next(answers).request_id == name
    lines.put(None)
    assert list(answers) == []
    assert service.seen == [["a"], ["b"], ["c"]]


def test_what_goes_wrong_in_the_source_is_told_after_what_came_before() -> None:
    def source() -> Iterator[One]:
        yield One("a")
        raise Failed("the line is too long")

    found = []
    with pytest.raises(Failed, match="too long"):
        found.extend(streamed(service := Service(), source()))
    assert service.kept == ["a"]
