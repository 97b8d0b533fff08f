"""Frames are cut alike however the bytes arrive, and what is no frame is never swallowed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.his_bridge.dialects.hl7v2.framing import (
    HEAD_BYTES,
    Broken,
    Deframer,
    Frame,
    NotFramed,
    framed,
)

MOST = 10_000
VT, FS, CR = b"\x0b", b"\x1c", b"\r"


def cut(*chunks: bytes, most: int = MOST) -> list[Frame]:
    deframer = Deframer(most)
    return [frame for chunk in chunks for frame in deframer.feed(chunk)]


def test_one_message() -> None:
    assert cut(framed(b"MSH|a\rPID")) == [Frame(b"MSH|a\rPID")]


@pytest.mark.parametrize("between", [b"", b"\r", b"\n", b"\r\n \r"])
def test_line_ends_and_blanks_may_stand_between_messages(between: bytes) -> None:
    found = cut(VT + b"a" + FS + between + VT + b"b" + FS + between)
    assert found == [Frame(b"a"), Frame(b"b")]


def test_garbage_is_not_skipped_and_what_came_before_it_counts() -> None:
    deframer = Deframer(MOST)
    found = []
    frames = deframer.feed(framed(b"a") + b"GET / HTTP/1.1\r\n")
    found.append(next(frames))
    with pytest.raises(NotFramed):
        next(frames)
    assert found == [Frame(b"a")]


def test_a_message_that_begins_within_another_cuts_it_short() -> None:
    assert cut(VT + b"half" + framed(b"whole")) == [
        Frame(b"half", Broken.CUT_SHORT),
        Frame(b"whole"),
    ]


def test_the_end_of_the_connection_cuts_a_message_short() -> None:
    deframer = Deframer(MOST)
    assert list(deframer.feed(VT + b"ha")) == []
    assert deframer.end() == Frame(b"ha", Broken.CUT_SHORT)
    assert deframer.end() is None


def test_of_an_oversized_message_only_the_head_is_kept() -> None:
    deframer = Deframer(MOST)
    assert list(deframer.feed(VT + b"MSH" + b"x" * MOST)) == []
    for _ in range(8):
        assert list(deframer.feed(b"y" * MOST)) == []
        assert deframer.held <= HEAD_BYTES
    found = list(deframer.feed(FS + framed(b"next")))
    assert [frame.broken for frame in found] == [Broken.OVERSIZED, None]
    assert len(found[0].raw) == HEAD_BYTES


def test_a_message_without_end_is_given_up() -> None:
    deframer = Deframer(MOST)
    assert list(deframer.feed(VT + b"y" * MOST)) == []
    with pytest.raises(NotFramed):
        list(deframer.feed(b"y" * 11 * MOST))


def test_a_message_of_just_the_allowed_size_is_whole() -> None:
    assert cut(framed(b"x" * MOST)) == [Frame(b"x" * MOST)]


MESSAGES = st.lists(st.binary(max_size=60).map(lambda b: b.translate(None, VT + FS)), max_size=6)


@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 400), max_size=12))
def test_frames_do_not_depend_on_how_the_bytes_arrive(
    messages: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(map(framed, messages))
    edges = [0, *sorted(min(at, len(stream)) for at in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(edges)]
    assert cut(*chunks) == [Frame(message) for message in messages]


@given(chunks=st.lists(st.binary(max_size=300), max_size=20))
def test_no_bytes_at_all_are_anything_but_frames_or_a_fault(chunks: list[bytes]) -> None:
    deframer = Deframer(100)
    try:
        for chunk in chunks:
            for frame in deframer.feed(chunk):
                assert len(frame.raw) <= HEAD_BYTES
    except NotFramed:
        pass
    assert deframer.held <= max(100, HEAD_BYTES)
