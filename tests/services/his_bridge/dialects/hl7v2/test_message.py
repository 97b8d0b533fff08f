"""Segments, delimiters, escapes and nulls as HL7 has them; and nothing raises but a refusal."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.his_bridge.core.outcomes import BillHappened, KeptOut, SetAside
from services.his_bridge.dialects.hl7v2.message import (
    MAX_SEGMENT_BYTES,
    MAX_SEGMENTS,
    Delimiters,
    Message,
    UnknownEscape,
    read_message,
    unescaped,
)
from services.his_bridge.dialects.hl7v2.refusals import Refusal, Refused
from tests.services.his_bridge.messages_hl7 import READING, dft, judge

USUAL = Delimiters("|", "^", "~", "\\", "&")
ALL = ("PID", "FT1", "PV1", "DG1")


def read(text: str, charset: str = "gb18030") -> Message:
    return read_message(text.encode(charset), charset, lambda _: ALL)


def refusals(raw: bytes) -> list[Refusal]:
    with pytest.raises(Refused) as refused:
        read_message(raw, "gb18030", lambda _: ALL)
    return [one.refusal for one in refused.value.denials]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r"])
def test_segments_may_end_as_they_like(end: str) -> None:
    outcome = judge(dft().replace("\r", end))
    assert isinstance(outcome, BillHappened)


def test_a_sender_may_choose_its_delimiters() -> None:
    # The usual ones are plain text then.
    other = str.maketrans("|^~\\&", "#*!?$")
    text = dft().translate(other).replace("普通门诊诊察费", "普通|门诊^费&~")
    outcome = judge(text)
    assert isinstance(outcome, BillHappened)
    assert outcome.bill is not None
    assert outcome.bill.total == 6_001
    assert outcome.bill.lines[0].code.display == "普通|门诊^费&~"


@pytest.mark.parametrize(
    "head", ["MSH|^~\\^|", "MSH|||", "MSHA^~\\&A", "MSH", "PID|1", "", "MSH|^|", "\u3000MSH|^~\\&|"]
)
def test_without_usable_delimiters_it_is_no_hl7(head: str) -> None:
    assert refusals(head.encode("gb18030")) == [Refusal.NOT_HL7]


def test_a_segment_that_nobody_knows_is_ignored() -> None:
    assert judge(dft() + "ZZZ|1|anything\rZ|\r|||\r") == judge(dft())


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (r"\.br\x", "\nx"),
        (r"\X26\\X4142\ ", "&AB "),
        (r"\XD6D0\文", "中文"),
        (r"\H\x\N\ ", "x "),
        (r"\.sp3\y", " y"),
        ('""', ""),
        ("plain", "plain"),
    ],
)
def test_escapes_stand_for_what_hl7_says(written: str, plain: str) -> None:
    assert unescaped(written, USUAL, "gb18030") == plain


@pytest.mark.parametrize(
    "written",
    [r"a\b", r"\Q\ ", r"\C2842\ ", r"\M2842\ ", r"\XF\ ", r"\XFF\ ", r"\.foo\ ", "\\\\\\"],
)
def test_an_escape_that_means_nothing_is_no_text(written: str) -> None:
    with pytest.raises(UnknownEscape):
        unescaped(written, USUAL, "gb18030")


def test_an_unknown_escape_is_a_fault_of_its_field_alone() -> None:
    outcome = judge(dft().replace("CG|110200001^", r"CG|1102\Q\1^"))
    assert isinstance(outcome, SetAside)
    assert {str(fault.path) for fault in outcome.faults} == {"FT1[1].7"}


def test_null_is_not_the_two_quotes_and_not_absence() -> None:
    pid = read('MSH|^~\\&|\rPID|""||x|""\r').first("PID")
    assert pid is not None
    assert (pid.is_null(1), pid.is_null(2), pid.is_null(9)) == (True, False, False)
    assert (pid.text(1), pid.text(2), pid.text(3)) == ("", "", "x")
    assert pid.repetitions(4) == []


def test_a_byte_order_mark_belongs_to_utf_8_alone() -> None:
    raw = b"\xef\xbb\xbfMSH|^~\\&|A\r"
    assert read_message(raw, "utf-8", lambda _: ALL).header.part(3) == "A"
    assert refusals(raw) == [Refusal.NOT_HL7]


def test_too_many_segments_are_refused_before_they_are_split() -> None:
    good = b"MSH|^~\\&|A\r"
    assert refusals(good + b"\r" * (2 * MAX_SEGMENTS)) == [Refusal.TOO_MANY_SEGMENTS]


def test_a_document_is_decoded_and_not_kept_but_a_charge_of_its_size_is_refused() -> None:
    good = b"MSH|^~\\&|A\r"
    long = b"|" * (MAX_SEGMENT_BYTES + 1)
    assert read_message(good + b"OBX" + long, "gb18030", lambda _: ALL).segments == []
    assert refusals(good + b"FT1" + long) == [Refusal.SEGMENT_TOO_LONG]
    assert refusals(good + b"OBX" + long + b"\xff") == [Refusal.NOT_IN_CHARSET]


def test_fields_and_repetitions_are_bounded() -> None:
    text = "MSH|^~\\&|A\rPID|" + "~x" * 100_000 + "|" * 100_000 + "\r"
    pid = read(text).first("PID")
    assert pid is not None
    assert len(pid.fields) < 100
    assert len(pid.repetitions(1)) <= 200


SAMPLE = dft().encode("gb18030")
PIECES = st.sampled_from([b"|", b"^", b"~", b"\\", b"&", b"\r", b"\n", b'""', b"\xb2\x5c", b"\xff"])
EDITS = st.lists(
    st.tuples(
        st.integers(0, len(SAMPLE)), st.integers(0, 8), st.one_of(PIECES, st.binary(max_size=6))
    ),
    min_size=1,
    max_size=6,
)


@given(edits=EDITS)
def test_whatever_happens_to_a_message_it_is_judged_or_refused(
    edits: list[tuple[int, int, bytes]],
) -> None:
    raw = SAMPLE
    for at, drop, put in edits:
        raw = raw[:at] + put + raw[at + drop :]
    outcome = judge(raw)
    assert isinstance(outcome, BillHappened | SetAside | KeptOut)
    if isinstance(outcome, SetAside):
        assert outcome.faults


@given(raw=st.binary(max_size=400))
def test_any_bytes_are_a_message_or_a_refusal(raw: bytes) -> None:
    with contextlib.suppress(Refused):
        READING.message(b"MSH|^~\\&|" + raw)
    with contextlib.suppress(Refused):
        READING.message(raw)
