"""Decoding before splitting: no character moves a field, and none hides the end of a segment."""

from __future__ import annotations

import pytest

from services.his_bridge.core.hl7v2_terms import CHARSETS
from services.his_bridge.core.outcomes import BillHappened
from services.his_bridge.dialects.hl7v2.message import read_message
from services.his_bridge.dialects.hl7v2.refusals import Refusal, Refused
from tests.services.his_bridge.messages_hl7 import dft, judge

DELIMITERS = b"|^&~\\"
# The unified ideographs of GBK (464 of these 20,902 end in a delimiter).
GBK = range(0x4E00, 0x9FA6)


def hazardous() -> list[str]:
    return [chr(code) for code in GBK if chr(code).encode("gb18030")[-1] in DELIMITERS]


def name_of(character: str) -> str:
    return f"普通{character}诊察费{character}"


def split_bytes_first(raw: bytes) -> list[list[str]]:
    """What whoever splits before decoding reads: the control."""
    return [
        [field.decode("gb18030", "replace") for field in line.split(b"|")]
        for line in raw.split(b"\r")
    ]


def charge(character: str) -> str:
    text = name_of(character)
    return dft(
        f"FT1|1|T1|{text}|20260301||CG|110200001^{text}^YB|{text}||2|100|50",
        "FT1|2|T2||20260301||CG|110200001^x^YB|||1|7|7",
    )


def test_every_hazardous_character_leaves_every_field_in_its_place() -> None:
    found = hazardous()
    assert len(found) == 464
    shifted = []
    for character in found:
        outcome = judge(charge(character))
        assert isinstance(outcome, BillHappened)
        assert outcome.bill is not None
        first, second = outcome.bill.lines
        amounts = (first.billed, second.billed, outcome.bill.total)
        if amounts != (10_000, 700, 10_700) or first.code.display != name_of(character):
            shifted.append(character)
    assert shifted == []


def test_the_control_that_splits_bytes_first_moves_charges() -> None:
    def amount(character: str) -> str:
        lines = split_bytes_first(charge(character).encode("gb18030"))
        return next(line for line in lines if line[0] == "FT1")[11]

    moved = [one for one in hazardous() if amount(one) != "100"]
    assert len(moved) > 100
    assert amount("瑋") != "100"
    assert amount("玮") == "100"


@pytest.mark.parametrize("charset", CHARSETS)
def test_no_byte_below_0x30_stands_within_a_character(charset: str) -> None:
    # So CR, LF, VT and FS can be looked for before anything is decoded.
    every = "".join(chr(code) for code in range(0x80, 0x110000) if not 0xD800 <= code < 0xE000)
    assert {byte for byte in set(every.encode(charset, "ignore")) if byte < 0x30} == set()


@pytest.mark.parametrize(
    ("charset", "bad"), [("gb18030", b"\xff"), ("gb18030", b"\x81\r"), ("utf-8", b"\xc3(")]
)
def test_bytes_outside_the_charset_are_refused_wherever_they_stand(
    charset: str, bad: bytes
) -> None:
    good = b"MSH|^~\\&|A|B|||20260301||DFT^P03|1|P|2.5\rZZZ|x"
    assert read_message(good, charset, lambda _: ()).header.part(10) == "1"
    with pytest.raises(Refused) as refused:
        read_message(good + bad, charset, lambda _: ())
    assert [one.refusal for one in refused.value.denials] == [Refusal.NOT_IN_CHARSET]


@pytest.mark.parametrize(
    ("charset", "named", "fits"),
    [
        ("gb18030", "GB 18030-2000", True),
        ("gb18030", "GBK", True),
        ("gb18030", "", True),
        ("gb18030", "ASCII", True),
        ("gb18030", "UNICODE UTF-8", False),
        ("gb18030", "8859/1", False),
        ("utf-8", "UNICODE UTF-8", True),
        ("utf-8", "GB18030", False),
        ("iso-8859-1", "8859/1", True),
        ("gb18030", "GB18030~UNICODE UTF-8", True),
    ],
)
def test_msh_18_must_not_contradict_the_profile(charset: str, named: str, fits: bool) -> None:
    raw = f"MSH|^~\\&|A|B|||20260301||DFT^P03|1|P|2.5||||||{named}\r".encode()
    if fits:
        read_message(raw, charset, lambda _: ())
        return
    with pytest.raises(Refused) as refused:
        read_message(raw, charset, lambda _: ())
    assert [one.refusal for one in refused.value.denials] == [Refusal.CHARSET_CONTRADICTED]


def test_utf_8_is_no_gb18030() -> None:
    # Most UTF-8 text is not even decodable as GB18030; what is, MSH-18 tells.
    text = dft().replace("GB18030", "UNICODE UTF-8")
    assert not isinstance(judge(text.encode()), BillHappened)


def test_utf_8_that_is_gb18030_as_well_is_not_read_as_gb18030() -> None:
    """Its characters would be others, which swallow delimiters: fields would move."""

    def read(text: str, charset: str) -> None:
        read_message(text.encode(charset), "gb18030", lambda _: ())

    short = "MSH|^~\\&|A|B|||20260301||DFT^P03|1|P|2.5\rPID|1||7||张^三|\r"
    assert "张" not in short.encode().decode("gb18030")  # it decodes, to something else
    with pytest.raises(Refused) as refused:
        read(short, "utf-8")
    assert [one.refusal for one in refused.value.denials] == [Refusal.CHARSET_CONTRADICTED]
    read(short, "gb18030")  # unstated, and what it is
    # A statement is believed of few bytes, which may be both by chance, and of many it is not.
    stated = "MSH|^~\\&|A|B|||20260301||DFT^P03|1|P|2.5||||||GB18030\rPID|1||7||{}|\r"
    read(stated.format("模模"), "gb18030")
    assert "模模".encode("gb18030").decode("utf-8")
    even = next(t for t in ("张三丰安娜李四王五", "张三丰安娜李四王五六") if is_gb18030(t))
    with pytest.raises(Refused):
        read(stated.format(even), "utf-8")
    read(stated.format(even), "gb18030")


def is_gb18030(text: str) -> bool:
    """Whether the text's UTF-8 can be read as GB18030."""
    try:
        text.encode().decode("gb18030")
    except UnicodeDecodeError:
        return False
    return True
