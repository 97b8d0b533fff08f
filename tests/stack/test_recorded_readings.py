"""Readings through a stream: from a pipe as lines come in, and over a service that is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
from google.protobuf.json_format import MessageToJson

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from lipei.type.v1 import reading_pb2 as rb
from services.common.state import read_addresses
from stack.commands import streaming_lines
from stack.commands.calling import Failed, calling
from stack.commands.recorded_readings import RecordedReadings
from tests.identities import equip
from tests.services.pricing.process import serving
from tests.services.pricing.reading_requests import reading
from tests.stack.typed import lipei

TOKEN = "k1." + "a" * 64
AT = "2025-03-03 07:00"
PATIENCE_S = 60.0
MANY = 6_000


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    found = tmp_path_factory.mktemp("state")
    with serving(found):
        yield equip(found, sandbox=True)


def line(one: rb.Reading) -> bytes:
    return MessageToJson(one, indent=None).encode() + b"\n"


def low(name: str) -> rb.Reading:
    """One that raises a coach's task, so that each one is told of when all are listed."""
    return reading(TOKEN, name, "glucose", "3.1", AT)


def tasks(state: Path) -> list[str]:
    """The readings of which there is a task, each as often as there is one."""
    found: list[str] = []
    request = pb.ListCoachTasksRequest(parent="members/-", page_size=1_000)
    with calling(state, "pricing", "partner") as channel:
        while True:
            page = PricingServiceStub(channel).ListCoachTasks(request, timeout=PATIENCE_S)
            found += [task.reading for task in page.tasks]
            request.page_token = page.next_page_token
            if not request.page_token:
                return found


def until(holds: object) -> None:
    """Wait for what a thread does."""
    end = time.monotonic() + PATIENCE_S
    while not holds():  # type: ignore[operator]  # any call that tells
        assert time.monotonic() < end
        time.sleep(0.01)


def test_lines_of_a_pipe_are_recorded_as_they_come_and_faulty_ones_left_out(
    state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recording = RecordedReadings(state)
    ours, theirs = os.pipe()
    with ThreadPoolExecutor() as pool:
        done = pool.submit(recording.from_pipe, ours)
        first = line(reading(TOKEN, "p1", "glucose", "6.1", AT))
        os.write(theirs, first + first[:20])
        until(lambda: recording.whole.recorded_count == 1)  # and the pipe is open still
        os.write(theirs, first[20:])
        until(lambda: recording.whole.known_count == 1)
        off = reading(TOKEN, "off", "glucose", "999", AT)
        good = reading(TOKEN, "p2", "glucose", "6.2", AT)
        os.write(theirs, b"{}}\n" + line(off) + line(good))
        until(lambda: recording.whole.recorded_count == 2)
        os.write(theirs, line(reading(TOKEN, "p3", "glucose", "6.3", AT)).rstrip())
        os.close(theirs)
        done.result(PATIENCE_S)
    os.close(ours)
    assert (recording.whole.recorded_count, recording.left_out) == (3, 2)
    said = capfd.readouterr().err
    assert "-:3: is no lipei.type.v1.Reading" in said
    assert "  line 4 value: must lie in" in said
    assert "line 5" not in said


def test_the_command_reads_a_pipe_and_fails_where_lines_were_left_out(state: Path) -> None:
    for more, code in ((b"", 0), (b"{}}\n", 1)):
        ours, theirs = os.pipe()
        os.write(theirs, line(reading(TOKEN, "c1", "glucose", "6.1", AT)) + more)
        os.close(theirs)
        with mock.patch("stack.commands.readings.stdin_descriptor", lambda end=ours: end):
            typed = lipei("readings", "record", "-", "--state", state)
        os.close(ours)
        assert typed.code == code, typed.err
        assert typed.out.startswith("0 recorded, 1 known" if code else "1 recorded, 0 known")
        left_out = "1 of the lines were at fault and left out"
        assert (left_out in typed.said) is bool(code)


# The control, without resuming, is a part of `make fault`.
@pytest.mark.parametrize("resumes", [True, pytest.param(False, marks=pytest.mark.fault)])
def test_a_service_killed_in_mid_stream_loses_and_doubles_nothing(
    tmp_path: Path, resumes: bool
) -> None:
    content = b"".join(line(low(f"r{number}")) for number in range(MANY))
    state = equip(tmp_path, sandbox=True)
    recording = RecordedReadings(state)
    comes_again = streaming_lines._comes_again if resumes else lambda _failed: False
    with (
        mock.patch.object(streaming_lines, "_comes_again", comes_again),
        ThreadPoolExecutor() as pool,
    ):
        with serving(state) as pricing:
            done = pool.submit(recording.from_file, content, "f")
            until(lambda: recording.whole.recorded_count >= 2_000)
            pricing.stop(signal.SIGKILL)
        before = recording.whole.recorded_count
        assert before < MANY, "it was killed in mid-stream"
        with serving(state):
            until(lambda: read_addresses(state)["pricing"] != pricing.address)
            if resumes:
                done.result(PATIENCE_S)
                told = recording.whole.recorded_count, recording.whole.known_count
                assert told == (MANY, 0)
            else:  # the control: who does not resume loses what comes after
                with pytest.raises(Failed, match="nobody knows whether they are recorded"):
                    done.result(PATIENCE_S)
            found = tasks(state)
            assert len(found) == len({*found})
            assert (len(found) == MANY) is resumes
            if not resumes:
                again = lipei("readings", "record", _written(tmp_path, content), "--state", state)
                assert f"{MANY - len(found)} recorded, {len(found)} known" in again.out
                assert len(tasks(state)) == MANY


def _written(folder: Path, content: bytes) -> Path:
    file = folder / "again.jsonl"
    file.write_bytes(content)
    return file
