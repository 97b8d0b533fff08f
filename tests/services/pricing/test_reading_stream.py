"""Readings as a stream: each batch answered by itself, held up, ended in words, sent again."""

from __future__ import annotations

import hashlib
import queue
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from lipei.type.v1 import reading_pb2 as rb
from services.common.grpc_edge import error_of
from services.common.transport.channels import sync_channel
from stack.authority import Authority
from tests.identities import DOMAIN, acting, equip, everybody
from tests.services.pricing.process import Pricing, serving
from tests.services.pricing.reading_requests import reading, recording, weeks

AT = "2025-03-03 07:00"


@pytest.fixture(scope="module")
def pricing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pricing]:
    with serving(tmp_path_factory.mktemp("state")) as found:
        yield found


@pytest.fixture
def stub(pricing: Pricing) -> Iterator[PricingServiceStub]:
    with everybody(pricing.address, "pricing") as channel:
        yield PricingServiceStub(channel)


@pytest.fixture
def token(request: pytest.FixtureRequest) -> str:
    """A member of this test's own."""
    return "k1." + hashlib.sha256(request.node.nodeid.encode()).hexdigest()


def batch(request_id: str, *readings: rb.Reading) -> pb.StreamReadingsRequest:
    return pb.StreamReadingsRequest(request_id=request_id, readings=readings)


def counts(answer: pb.StreamReadingsResponse) -> tuple[int, int]:
    assert answer.WhichOneof("outcome") == "recorded"
    return answer.recorded.recorded_count, answer.recorded.known_count


class Sending:
    """A stream into which a test sends one message after the other."""

    def __init__(self, stub: PricingServiceStub) -> None:
        self._messages: queue.SimpleQueue[pb.StreamReadingsRequest | None] = queue.SimpleQueue()
        self.call: Any = stub.StreamReadings(iter(self._messages.get, None), timeout=60)

    def __call__(self, message: pb.StreamReadingsRequest) -> pb.StreamReadingsResponse:
        self._messages.put(message)
        answer: pb.StreamReadingsResponse = next(self.call)
        return answer

    def end(self) -> str:
        """How the stream ends, by its reason; empty when it ends well."""
        self._messages.put(None)
        try:
            assert list(self.call) == []
        except grpc.RpcError as error:
            return error_of(error).reason
        return ""


def test_each_batch_is_answered_by_itself_and_a_faulty_one_loses_no_other(
    stub: PricingServiceStub, token: str
) -> None:
    good, low = weeks(token, "2025-03", "6.0"), reading(token, "low", "glucose", "3.1", AT)
    off = reading(token, "off", "hba1c", "55", AT)
    changed = reading(token, "2025-03-03", "fasting", "9.9", AT)
    stranger = [batch("s-1", *good), batch("s-2", low, off), batch("s-3", changed)]
    told = [*stranger, batch("bad id", low), batch("s-4"), batch("s-1", low), batch("s-5", low)]
    answers = list(stub.StreamReadings(iter(told), timeout=60))
    assert [one.request_id for one in answers] == [one.request_id for one in told]
    assert counts(answers[0]) == (3, 0)
    said = [
        (one.fault.code, one.fault.reason, [(v.field, v.reason) for v in one.fault.violations])
        for one in answers[1:6]
    ]
    assert said == [
        ("INVALID_ARGUMENT", "INVALID_REQUEST", [("readings[1].value", "OUT_OF_BOUNDS")]),
        ("ALREADY_EXISTS", "READING_DIFFERS", [("readings[0].name", "READING_DIFFERS")]),
        ("INVALID_ARGUMENT", "INVALID_REQUEST", [("request_id", "MALFORMED")]),
        ("INVALID_ARGUMENT", "INVALID_REQUEST", [("readings", "COUNT")]),
        ("ALREADY_EXISTS", "REQUEST_ID_REUSED", []),
    ]
    assert counts(answers[6]) == (1, 0)
    assert len(answers[6].recorded.coach_tasks) == 1


def test_the_faults_are_what_record_readings_says(stub: PricingServiceStub, token: str) -> None:
    off = [
        reading(token, "off", "hba1c", "55", AT, device="Li's"),
        reading("x", "", "hba1c", "", AT),
    ]
    with pytest.raises(grpc.RpcError) as refused:
        stub.RecordReadings(recording("same", off), timeout=60)
    fault = error_of(refused.value)
    (answer,) = stub.StreamReadings(iter([batch("same", *off)]), timeout=60)
    told = [(one.field, one.reason, one.text) for one in answer.fault.violations]
    assert told == [(one.field, one.reason, one.text) for one in fault.violations]
    assert len(told) > 3
    assert (answer.fault.code, answer.fault.reason) == (fault.code.name, fault.reason)


def test_a_member_streams_about_themselves_alone(
    pricing: Pricing, stub: PricingServiceStub, token: str
) -> None:
    mine = reading(token, "mine", "glucose", "6.1", AT, by="TYPED", receive_time=None)
    other = reading("k1." + "d" * 64, "theirs", "glucose", "6.1", AT, by="TYPED", receive_time=None)
    with sync_channel(pricing.address, acting("desk-member", "member", token), "pricing") as own:
        told = iter([batch("m-1", other), batch("m-2", mine)])
        theirs, ours = PricingServiceStub(own).StreamReadings(told, timeout=60)
    assert (theirs.fault.code, theirs.fault.reason) == ("NOT_FOUND", "NOT_FOUND")
    assert counts(ours) == (1, 0)


def test_a_batch_sent_again_counts_once_and_is_answered_the_same(
    stub: PricingServiceStub, token: str
) -> None:
    low = reading(token, "low", "glucose", "3.1", AT)
    first, again = stub.StreamReadings(iter([batch("a-1", low), batch("a-1", low)]), timeout=60)
    assert first == again
    unary = stub.RecordReadings(recording("a-1", [low]), timeout=60)
    assert unary == first.recorded
    (control,) = stub.StreamReadings(iter([batch("a-2", low)]), timeout=60)
    assert counts(control) == (0, 1)


def test_a_sender_who_takes_no_answer_is_held_up_by_the_wire(stub: PricingServiceStub) -> None:
    """About a megabyte each way a batch: what nobody takes is not worked out ahead either."""
    taken, many = [], 60
    large = [rb.Reading(name="x" * 900)] * 1_000

    def sending() -> Iterator[pb.StreamReadingsRequest]:
        for number in range(many):
            taken.append(number)
            yield batch(f"h-{number}", *large)

    call: Any = stub.StreamReadings(sending(), timeout=60)
    assert next(call).fault.reason == "INVALID_REQUEST"
    before = 0
    while before < len(taken) < many:
        before = len(taken)
        threading.Event().wait(1.0)  # time enough for several batches more
    assert len(taken) < many
    assert len(list(call)) == many - 1  # the control: it was held up, and goes on
    assert len(taken) == many


def test_who_is_revoked_in_mid_stream_sends_no_more(tmp_path: Path) -> None:
    token = "k1." + "c" * 64
    with serving(tmp_path) as pricing, everybody(pricing.address, "pricing") as channel:
        sending = Sending(PricingServiceStub(channel))
        assert counts(sending(batch("r-1", reading(token, "a", "glucose", "6.1", AT)))) == (1, 0)
        Authority(equip(tmp_path, sandbox=True), DOMAIN).revoke("desk-partner")
        with pytest.raises(grpc.RpcError) as ended:
            sending(batch("r-2", reading(token, "b", "glucose", "6.1", AT)))
        assert error_of(ended.value).reason == "CERTIFICATE_REVOKED"


def test_a_service_that_stops_answers_what_it_has_and_says_come_again(tmp_path: Path) -> None:
    token = "k1." + "b" * 64
    with serving(tmp_path) as pricing, everybody(pricing.address, "pricing") as channel:
        sending = Sending(PricingServiceStub(channel))
        assert counts(sending(batch("t-1", reading(token, "a", "glucose", "6.1", AT)))) == (1, 0)
        pricing.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as ended:
            next(sending.call)
        fault = error_of(ended.value)
        assert (fault.code, fault.reason) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
        assert fault.retry_after_s is not None
        assert pricing.process.wait(60) == 0


def test_a_stream_that_is_no_batch_ends_in_words(pricing: Pricing, token: str) -> None:
    good = batch("w-1", reading(token, "a", "glucose", "6.1", AT)).SerializeToString()
    with everybody(pricing.address, "pricing") as channel:
        raw: Any = channel.stream_stream("/lipei.pricing.v1.PricingService/StreamReadings")
        call = raw(iter([good, b"\xff\xff"]), timeout=60)
        assert counts(pb.StreamReadingsResponse.FromString(next(call))) == (1, 0)
        with pytest.raises(grpc.RpcError) as ended:
            next(call)
    assert error_of(ended.value).reason == "MALFORMED_MESSAGE"
