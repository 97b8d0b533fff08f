"""JSON records of a dropped file are the same records however they are laid out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.his_bridge.core.faults import Reason
from services.his_bridge.core.outcomes import BillHappened, SetAside
from services.his_bridge.cutting.formats import objects_of
from services.his_bridge.cutting.refusals import FileRefused
from services.his_bridge.trying import try_out
from tests.services.his_bridge.dialects.yibao.messages import (
    FOUND,
    PERSON,
    cancelled,
    fee,
    fees,
    settled,
)
from tests.services.his_bridge.sources.test_files import profile_for

MOST = 1 << 16
RECORD = fees("2026-03-01 10:00:00", fee("f1", "8.00"), baseinfo=PERSON)
LAYOUTS: dict[str, Callable[[list[Any]], str]] = {
    "one a line": lambda all_: "\n".join(json.dumps(one, ensure_ascii=False) for one in all_),
    "one after the other": lambda all_: "\n".join(
        json.dumps(one, ensure_ascii=False, indent=2) for one in all_
    ),
    "an array on one line": lambda all_: json.dumps(all_, ensure_ascii=False),
    "an array over lines": lambda all_: json.dumps(all_, ensure_ascii=False, indent=4),
    "an array of a record a line": lambda all_: (
        "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in all_) + "\n]\n"
    ),
    "commas in front": lambda all_: (
        "[" + "\n,".join(json.dumps(one, ensure_ascii=False, indent=0) for one in all_) + "]"
    ),
}


def cut(content: bytes, charset: str = "utf-8", most: int = MOST, step: int = 7) -> list[Any]:
    def pieces() -> Iterator[bytes]:
        yield from (content[at : at + step] for at in range(0, len(content), step))

    return list(objects_of(pieces(), charset, most))


def refusal(text: str, **more: Any) -> tuple[str, int]:
    with pytest.raises(FileRefused) as refused:
        cut(text.encode(), **more)
    return str(refused.value.reason), refused.value.line


# Their last byte is `[`, `{`, a backslash, `]` or `}` where the charset is taken for ASCII.
SIGNS = {"utf-8": "", "gb18030": "乕亄乗乚亇", "big5": "久叻"}


@pytest.mark.parametrize("charset", SIGNS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_the_same_records(
    layout: Callable[[list[Any]], str], charset: str
) -> None:
    told = [{"name": '{[,"\\ \\"', "note": SIGNS[charset], "number": n} for n in range(3)]
    found = cut(layout(told).encode(charset), charset)
    assert [json.loads(one.raw) for one in found] == told
    assert SIGNS[charset].encode() in found[0].raw  # UTF-8 now


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=4), JSON, max_size=4), min_size=1, max_size=4),
    st.sampled_from(sorted(LAYOUTS)),
    st.integers(1, 40),
)
def test_whatever_stands_in_them(told: list[Any], layout: str, step: int) -> None:
    found = cut(LAYOUTS[layout](told).encode(), step=step)
    assert [json.loads(one.raw) for one in found] == told


def test_each_record_is_named_by_the_line_on_which_it_begins() -> None:
    assert [
        one.line for one in cut(b'\n[\n  {\n  "a": 1\n  },\n  {"a": 2}, {\n  "a": 3}\n]\n')
    ] == [
        3,
        6,
        6,
    ]


def test_one_broken_line_is_that_record_alone() -> None:
    """The control: lines stay lines, also where the first of them is the broken one."""
    whole = '{"a": 1}'
    assert [one.raw for one in cut(f'{whole}\n{{"a": \n{whole}'.encode())] == [
        whole.encode(),
        b'{"a":',
        whole.encode(),
    ]
    assert len(cut(f'{{"a": \n{whole}\n{whole}'.encode())) == 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[\n{"a": 1}\n', 1),  # cut short between two records
        ('[{"a": 1},\n{\n"a": ', 2),  # and within one
        ('{\n"a": 1,\n', 1),
        ('[\n{"a": 1}\n{"a": 2}\n]', 3),  # no comma
        ('[{"a": 1},\n,{"a": 2}]', 2),
        ('[1,\n{"a": 1}]', 1),
        ('[[{"a": 1}]]', 1),
        ('[{"a": 1}]\n}', 2),
        ('{\n"a": 1\n}\nend', 4),
        ("[" * 100_000, 1),
    ],
)
def test_what_is_no_list_of_records_is_refused_as_a_whole(text: str, line: int) -> None:
    assert refusal(text, most=1 << 20) == ("OTHER_FORMAT", line)


def test_a_record_over_lines_is_bounded_as_a_line_is() -> None:
    bomb = '[\n{"a": [\n' + "0,\n" * MOST + "0]}]"
    assert refusal(bomb, step=4096) == ("LINE_TOO_LONG", 2)
    assert refusal("[{\n" + '"丂": "' + "丂" * (MOST // 2) + '"}]', step=4096)[0] == "LINE_TOO_LONG"


def test_what_is_tried_is_named_as_the_quarantine_and_a_cancellation_name_it(
    tmp_path: Path,
) -> None:
    dropped = profile_for(tmp_path, "format: ndjson")
    profile = msgspec.structs.replace(FOUND, source=dropped.source)
    told = [
        {**RECORD, "msgid": "m1"},
        settled("2026-03-01 11:00:00", "8.00", baseinfo=PERSON),
        cancelled("2026-03-01 12:00:00"),
    ]
    found = try_out(json.dumps(told, ensure_ascii=False).encode(), profile)
    assert [one.record for one in found] == ["fee-m1", "setl-s1", "cancel-s1"]
    assert getattr(found[2].outcome, "reverses", None) == found[1].record


def laid_out(record: str) -> bytes:
    return f"[\n{record}\n]\n".encode()


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (lambda text: text.replace('"cnt": 1', '"cnt": 1,\n"cnt": 2'), Reason.DUPLICATE_KEY),
        (
            lambda text: text.replace('"cnt": 1', '"cnt": ' + "[" * 9000 + "]" * 9000),
            Reason.TOO_DEEP,
        ),
        (
            lambda text: text.replace('"cnt": 1', '"cnt": [' + "1,\n" * 260_000 + "1]"),
            Reason.RECORD_TOO_LARGE,
        ),
        (lambda text: text.replace('"cnt": 1', '"cnt": NaN'), Reason.NOT_A_NUMBER),
        (lambda text: text.replace('"cnt": 1', '"cnt": 1,'), Reason.NOT_JSON),
    ],
)
def test_a_record_of_an_array_is_read_as_strictly_as_a_line(
    spoilt: Callable[[str], str], reason: Reason, tmp_path: Path
) -> None:
    text = json.dumps(RECORD, ensure_ascii=False, indent=1)
    assert spoilt(text) != text
    dropped = profile_for(tmp_path, "format: ndjson")
    profile = msgspec.structs.replace(
        FOUND, source=dropped.source, limits=msgspec.structs.replace(FOUND.limits, max_body_mib=6)
    )
    good, bad = (try_out(laid_out(one), profile)[0].outcome for one in (text, spoilt(text)))
    assert isinstance(good, BillHappened)
    assert isinstance(bad, SetAside)
    assert reason in {fault.reason for fault in bad.faults}
