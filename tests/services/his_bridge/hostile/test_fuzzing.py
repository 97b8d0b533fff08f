"""Any bytes, made of good ones: every record is read or named, every file and frame cut or refused.

The seeds are good records of each dialect; a mutation cuts off, doubles, flips, splices two seeds
or puts in what readers stumble over. `make fault` does it for long.
"""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.his_bridge.core.outcomes import SetAside
from services.his_bridge.cutting.formats import cutter_of
from services.his_bridge.cutting.lines import Gunzip, Lines, LineTooLong, PackedBadly
from services.his_bridge.cutting.refusals import FileRefused
from services.his_bridge.dialects.fhir_r4.bundle import KeyRepeated, NotABundle, frame
from services.his_bridge.dialects.hl7v2.framing import Deframer, NotFramed, framed
from services.his_bridge.profiles.loader import SourceProfile, parse_profile
from services.his_bridge.profiles.source_kinds.files import CsvSettings, FileFormat, FilesSettings
from services.his_bridge.sources.bulk_files import next_page, read_manifest
from services.his_bridge.trying import told, try_out
from tests.services.his_bridge import messages_hl7
from tests.services.his_bridge.dialects.yibao.messages import PROFILE as YIBAO_PROFILE
from tests.services.his_bridge.dialects.yibao.test_messages import STORY
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import PROFILE, patient
from tests.services.his_bridge.sources.sql.hospital import BILL, LINE
from tests.services.his_bridge.sources.sql.hospital import PROFILE as SQL_PROFILE
from tests.services.his_bridge.test_dropped_corrections import HEADER, NUMBER, ROW

SHORT = settings(max_examples=60)
LONG = settings(max_examples=5_000)
# What parsers of such records have stumbled over.
WORDS = [
    *(b"\x00", b"\x0b", b"\x1c\r", b"\r", b"\n", b"|", b"^", b"~", b"\\", b"&", b"\\X0D\\", b"\\F"),
    *(b"\xff", b"\x81", b"\xef\xbb\xbf", "玕".encode("gb18030"), b"\xed\xa0\x80", b"\\ud800"),
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"true", b"-0", b"1e400", b"NaN"),
    *(b"9" * 40, b"-1", b"0.001", b"9999-12-31", b"0000-00-00", b"2026-02-30T25:61:61+99:99"),
    *(b"<!DOCTYPE a [", b"<!ENTITY x SYSTEM 'file:///'>", b"../", b"\x1f\x8b\x08", b"PK\x03\x04"),
]


def dumped(*ones: object) -> bytes:
    return b"\n".join(json.dumps(one, ensure_ascii=False).encode() for one in ones)


AROUND, CLAIMS, _ = good(2)
SEEDS: dict[str, tuple[SourceProfile, Sequence[bytes]]] = {
    "fhir_r4": (
        parse_profile(PROFILE, "p"),
        [dumped(CLAIMS[0]), dumped(*AROUND[:3], *CLAIMS), dumped(patient())],
    ),
    "hl7v2": (
        parse_profile(messages_hl7.PROFILE, "p"),
        [
            messages_hl7.dft().encode("gb18030"),
            framed(messages_hl7.dft().encode("gb18030")),
            b"FHS|^~\\&\rBHS|^~\\&\r" + messages_hl7.dft().encode("gb18030") + b"BTS|1\rFTS|1\r",
        ],
    ),
    "sql_rows": (
        parse_profile(SQL_PROFILE, "p"),
        [dumped({"head": dict(BILL), "lines": [dict(LINE), dict(LINE)]})],
    ),
    "yibao": (parse_profile(YIBAO_PROFILE, "p"), [dumped(one) for one in STORY]),
}


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A seed after one to six mutations."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(content)))
        until = min(len(content), at + draw(st.integers(0, 40)))
        how = draw(st.sampled_from(["cut", "drop", "double", "flip", "splice", "put"]))
        if how == "cut":
            content = content[:at]
        elif how == "drop":
            content = content[:at] + content[until:]
        elif how == "double":
            content = (
                content[:until] + content[at:until] * draw(st.integers(1, 3)) + content[until:]
            )
        elif how == "flip" and at < len(content):
            bit = 1 << draw(st.integers(0, 7))
            content = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
        elif how == "splice":
            other = draw(st.sampled_from(seeds))
            content = content[:at] + other[draw(st.integers(0, len(other))) :]
        else:
            content = content[:at] + draw(st.sampled_from(WORDS)) + content[at:]
    return content


def each_is_read_or_named(dialect: str, data: st.DataObject) -> None:
    profile, seeds = SEEDS[dialect]
    for one in try_out(data.draw(mutated(seeds)), profile):
        json.dumps(told(one))
        if isinstance(one.outcome, SetAside):
            assert one.outcome.faults
            assert all(fault.text for fault in one.outcome.faults)


@pytest.mark.parametrize("dialect", SEEDS)
@SHORT
@given(data=st.data())
def test_any_record_is_read_or_named(dialect: str, data: st.DataObject) -> None:
    each_is_read_or_named(dialect, data)


@pytest.mark.fault
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dialect", SEEDS)
@LONG
@given(data=st.data())
def test_any_record_is_read_or_named_for_long(dialect: str, data: st.DataObject) -> None:
    each_is_read_or_named(dialect, data)


def csv_settings() -> FilesSettings:
    rules = CsvSettings(key="BILL_NO", lines=("LINE_NO", "CODE", "QTY", "AMT"), version="REV")
    return FilesSettings(folder=Path("/x"), format=FileFormat.CSV, charset="utf-8", csv=rules)


def cut_csv(content: bytes, size: int) -> None:
    _cut(csv_settings(), content, size)


def cut_ndjson(content: bytes, size: int) -> None:
    _cut(FilesSettings(folder=Path("/x"), format=FileFormat.NDJSON, charset="utf-8"), content, size)


def cut_hl7(content: bytes, size: int) -> None:
    _cut(FilesSettings(folder=Path("/x"), format=FileFormat.HL7, charset="gb18030"), content, size)


def _cut(found: FilesSettings, content: bytes, size: int) -> None:
    with contextlib.suppress(FileRefused):
        for cut in cutter_of(found, 1 << 16)(iter(pieces(content, size))):
            assert cut.raw


def cut_frames(content: bytes, size: int) -> None:
    deframer = Deframer(1 << 16)
    with contextlib.suppress(NotFramed):
        for piece in pieces(content, size):
            list(deframer.feed(piece))
        deframer.end()


def cut_bundle(content: bytes, size: int) -> None:
    with contextlib.suppress(NotABundle, KeyRepeated):
        assert all(one.kind == "Claim" for one in frame(content, "Claim").entries)


def read_pages(content: bytes, size: int) -> None:
    found = read_manifest(content, "https://his.example/status/1")
    assert found is None or isinstance(next_page(found), str)


def unpack(content: bytes, size: int) -> None:
    gunzip, lines = Gunzip(100, 1 << 20), Lines(1 << 16)
    with contextlib.suppress(PackedBadly, LineTooLong):
        for piece in pieces(content, size):
            for plain in gunzip.feed(piece):
                list(lines.feed(plain))
        gunzip.end()


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


MANIFEST = {
    "transactionTime": "2026-03-01T08:00:00.000Z",
    "output": [{"type": "Claim", "url": "http://127.0.0.1/a", "count": 1}],
    "link": [{"relation": "next", "url": "http://127.0.0.1/b"}],
}
ROWS = (HEADER + ROW.format(bill=1, number=NUMBER, amount="5.00", rev=1)).encode()
FRAMINGS: dict[str, tuple[Callable[[bytes, int], None], Sequence[bytes]]] = {
    "csv": (cut_csv, [ROWS]),
    "ndjson": (cut_ndjson, SEEDS["fhir_r4"][1]),
    "hl7 batch": (cut_hl7, SEEDS["hl7v2"][1]),
    "mllp": (cut_frames, SEEDS["hl7v2"][1]),
    "bundle": (
        cut_bundle,
        [dumped({"resourceType": "Bundle", "entry": [{"resource": c} for c in CLAIMS]})],
    ),
    "manifest": (read_pages, [dumped(MANIFEST)]),
    "gzip": (unpack, [gzip.compress(dumped(*CLAIMS))]),
}


@pytest.mark.parametrize("framing", FRAMINGS)
@SHORT
@given(data=st.data(), size=st.integers(1, 400))
def test_any_bytes_are_cut_or_refused(framing: str, data: st.DataObject, size: int) -> None:
    work, seeds = FRAMINGS[framing]
    work(data.draw(mutated(seeds)), size)


@pytest.mark.fault
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("framing", FRAMINGS)
@LONG
@given(data=st.data(), size=st.integers(1, 400))
def test_any_bytes_are_cut_or_refused_for_long(
    framing: str, data: st.DataObject, size: int
) -> None:
    work, seeds = FRAMINGS[framing]
    work(data.draw(mutated(seeds)), size)
