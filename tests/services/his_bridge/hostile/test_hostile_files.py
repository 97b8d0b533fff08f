"""Whatever is dropped, its sender gets a receipt or the record waits, and memory is bounded."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.services.his_bridge import messages_hl7
from tests.services.his_bridge.hostile.attacked import MIB, Attacked, attacked
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import BASE_URL, PROFILE
from tests.services.his_bridge.test_dropped_corrections import CSV_PROFILE, HEADER, NUMBER, ROW

AROUND, CLAIMS, _ = good(60)
NEXT = itertools.count(1)
SETTLED = "settle_s: 0"
# What a receipt says of a file as a whole, and the fault of its record in quarantine.
Expected = tuple[str, str]
TAKEN = "taken"


def dumped(*resources: dict[str, object]) -> bytes:
    return b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in resources)


def packed(**files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return made.getvalue()


def bomb(mib: int, wrap: Callable[[io.BytesIO], io.BufferedIOBase]) -> bytes:
    made = io.BytesIO()
    with wrap(made) as file:
        for _ in range(mib):
            file.write(bytes(MIB))
    return made.getvalue()


@cache
def gzip_bomb(mib: int) -> bytes:
    return bomb(mib, lambda made: gzip.GzipFile(fileobj=made, mode="wb", compresslevel=1))


def zip_bomb(mib: int) -> bytes:
    made = io.BytesIO()
    with (
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.ndjson", "w") as entry,
    ):
        for _ in range(mib):
            entry.write(bytes(MIB))
    return made.getvalue()


def overlapping() -> bytes:
    """An archive whose thousand entries are one and the same bytes."""
    whole = packed(a_dot_ndjson=bytes(MIB))
    at, end = whole.rfind(b"PK\x01\x02"), whole.rfind(b"PK\x05\x06")
    entry, tail = whole[at:end], bytearray(whole[end:])
    count = 1000
    tail[8:12] = count.to_bytes(2, "little") * 2
    tail[12:16] = (len(entry) * count).to_bytes(4, "little")
    return whole[:at] + entry * count + bytes(tail)


def claim_with(**more: object) -> bytes:
    return dumped(*AROUND, {**CLAIMS[-1], "id": f"hostile-{next(NEXT)}", **more})


def written(text: str) -> bytes:
    """A claim with a piece of JSON that no writer of ours would write."""
    return claim_with(extension="HERE").replace(b'"HERE"', text.encode())


def lines() -> bytes:
    """Blank lines as long as a line may be."""
    return (b" " * (5 * MIB) + b"\n") * 36


# What takes long to make is made by its test.
FHIR: dict[str, tuple[str, bytes | Callable[[], bytes], Expected]] = {
    "a zip bomb": ("a.zip", lambda: zip_bomb(256), ("LINE_TOO_LONG", "")),
    "a zip bomb of lines": (
        "l.zip",
        lambda: packed(a_dot_ndjson=lines()),
        ("UNPACKS_TOO_LARGE", ""),
    ),
    "a gzip bomb": ("a.ndjson.gz", lambda: gzip_bomb(256), ("LINE_TOO_LONG", "")),
    "a gzip bomb of lines": (
        "l.ndjson.gz",
        lambda: gzip.compress(lines(), compresslevel=1),
        ("UNPACKS_TOO_LARGE", ""),
    ),
    "a gzip bomb in gzip": (
        "b.ndjson.gz",
        lambda: gzip.compress(gzip_bomb(256)),
        ("OTHER_FORMAT", ""),
    ),
    "a zip in a zip": ("b.zip", lambda: packed(a_dot_zip=zip_bomb(4)), ("ENTRY_UNUSABLE", "")),
    "overlapping entries": ("c.zip", overlapping, ("ENTRY_UNUSABLE", "")),
    "a path out of the folder": (
        "d.zip",
        packed(**{"..__..__etc__a_dot_ndjson": dumped(CLAIMS[0])}),
        ("ENTRY_UNUSABLE", ""),
    ),
    "a line of 10 MiB": (
        "a.ndjson",
        lambda: claim_with(note="x" * (10 * MIB)),
        ("LINE_TOO_LONG", ""),
    ),
    "a record as large as one may be": (
        "c.ndjson",
        lambda: claim_with(note=[{"text": "x"}] * (9 * MIB // 2 // 15)),
        (TAKEN, "RECORD_TOO_LARGE"),
    ),
    "another charset": ("d.ndjson", "姓名".encode("gb18030") * MIB, ("WRONG_CHARSET", "")),
    "a document type": (
        "e.ndjson",
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        ("OTHER_FORMAT", ""),
    ),
    "deep JSON": (
        "f.ndjson",
        lambda: written("[" * 500_000 + "]" * 500_000),
        (TAKEN, "RECORD_TOO_LARGE"),
    ),
    "NaN": ("g.ndjson", written("NaN"), (TAKEN, "NOT_A_NUMBER")),
    "1e400": (
        "h.ndjson",
        claim_with(total={"value": "HERE", "currency": "CNY"}).replace(b'"HERE"', b"1e400"),
        (TAKEN, "NUMBER_MALFORMED"),
    ),
    "a key twice": (
        "i.ndjson",
        claim_with(total={"value": 1, "currency": "CNY"}).replace(
            b'"value": 1,', b'"value": 1, "value": 2,'
        ),
        (TAKEN, "DUPLICATE_KEY"),
    ),
}


@pytest.fixture(scope="module")
def fhir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Attacked, Path]]:
    folder = tmp_path_factory.mktemp("fhir").resolve()
    place = folder / "drop" / "Claim"
    place.mkdir(parents=True, mode=0o750)
    source = f"source: {{kind: files, format: ndjson, folder: {folder / 'drop'}, settle_s: 0}}\n"
    profile = PROFILE.replace(f"base_url: {BASE_URL}\n", "") + source
    with attacked(folder, profile) as found:
        (place / "0.ndjson").write_bytes(dumped(*AROUND, CLAIMS[0]))
        found.good()
        yield found, place


def told(place: Path, name: str) -> str:
    """What the sender is told of its file: taken, or why not; with advice and never a value."""
    (receipt,) = place.glob(f"*/{name}.receipt.json")
    said = json.loads(receipt.read_text("utf-8"))
    if said["outcome"] == "refused":
        (why,) = said["reasons"]
        assert why["advice"]
        return str(why["reason"])
    return str(said["outcome"])


def attack(
    attacked_at: tuple[Attacked, Path], name: str, content: bytes, expected: Expected
) -> Expected:
    bridge, place = attacked_at
    (place / name).write_bytes(content)
    failure, reasons = bridge.attack()
    assert not failure  # nothing of it stops the folder
    # Faults that follow from the first are told as well.
    return told(place, name), expected[1] if expected[1] in reasons else " ".join(reasons)


@pytest.mark.parametrize("what", FHIR)
def test_resources_that_no_good_sender_drops(fhir: tuple[Attacked, Path], what: str) -> None:
    name, made, expected = FHIR[what]
    content = made if isinstance(made, bytes) else made()
    assert attack(fhir, name, content, expected) == expected
    # And the next good file is taken.
    bridge, place = fhir
    number = list(FHIR).index(what) + 1
    (place / f"{number}.ndjson").write_bytes(dumped(*AROUND, CLAIMS[number]))
    bridge.good()


def test_a_link_is_put_away_unread(fhir: tuple[Attacked, Path], tmp_path: Path) -> None:
    bridge, place = fhir
    (tmp_path / "secret").write_bytes(dumped(*AROUND, CLAIMS[50]))
    (place / "link.ndjson").symlink_to(tmp_path / "secret")
    assert bridge.attack() == ("", {})
    assert told(place, "link.ndjson") == "NOT_A_FILE"
    assert (tmp_path / "secret").exists()


CSV_ROW = ROW.format(bill=1, number=NUMBER, amount="5.00", rev=1)
CSV: dict[str, tuple[bytes, Expected]] = {
    "semicolons among commas": (
        (HEADER + CSV_ROW.replace(",", ";", 3)).encode(),
        ("ROW_UNUSABLE", ""),
    ),
    "tabs": ((HEADER + CSV_ROW).replace(",", "\t").encode(), ("HEADER_UNUSABLE", "")),
    "a quote without end": ((HEADER + 'B9,"' + "x" * MIB).encode(), ("LINE_TOO_LONG", "")),
    "a cell of 10 MiB": (
        (HEADER + CSV_ROW.replace("C1", "x" * (10 * MIB))).encode(),
        ("LINE_TOO_LONG", ""),
    ),
    "another charset": ((HEADER + CSV_ROW).encode() + b"\xff", ("WRONG_CHARSET", "")),
    "an amount of 1e400": (
        (HEADER + CSV_ROW.replace("B1,", "B2,").replace("5.00", "1e400")).encode(),
        (TAKEN, "NUMBER_MALFORMED"),
    ),
    "an amount of NaN": (
        (HEADER + CSV_ROW.replace("B1,", "B3,").replace("5.00", "NaN")).encode(),
        (TAKEN, "NUMBER_MALFORMED"),
    ),
    "a bill of rows without end": (
        (HEADER + CSV_ROW.replace("B1,", "B4,") * 60_000).encode(),
        ("LINE_TOO_LONG", ""),
    ),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Attacked, Path]]:
    folder = tmp_path_factory.mktemp("csv").resolve()
    place = folder / "drop" / "Bill"
    place.mkdir(parents=True, mode=0o750)
    text = CSV_PROFILE.replace("FOLDER", str(folder / "drop"))
    text = text.replace("csv-hospital", "demo-hospital")
    with attacked(folder, text) as found:
        (place / "0.csv").write_text(HEADER + CSV_ROW.replace("B1,", "B0,"))
        found.good()
        yield found, place


@pytest.mark.parametrize("what", CSV)
def test_rows_that_no_good_sender_drops(rows: tuple[Attacked, Path], what: str) -> None:
    content, expected = CSV[what]
    assert attack(rows, f"{what.replace(' ', '-')}.csv", content, expected) == expected


HL7: dict[str, tuple[bytes, Expected]] = {
    "mixed delimiters": (
        messages_hl7.dft().replace("PID|", "PID#").encode("gb18030"),
        (TAKEN, "IDENTITY_MISSING"),
    ),
    "no message at all": (b"PID|1\r" * 1000, ("OTHER_FORMAT", "")),
    "a message of 10 MiB": (
        messages_hl7.dft().encode("gb18030") + b"ZZZ|" + b"|^~&" * (10 * MIB // 4),
        ("LINE_TOO_LONG", ""),
    ),
    "half a character": (
        messages_hl7.dft().encode("gb18030") + b"ZZZ|\x81",
        (TAKEN, "NOT_IN_CHARSET"),
    ),
    "an envelope without end": (b"FHS|^~\\&\rBHS|^~\\&\r" * 5, ("ENVELOPE_BROKEN", "")),
}


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Attacked, Path]]:
    folder = tmp_path_factory.mktemp("hl7").resolve()
    place = folder / "drop" / "HL7v2"
    place.mkdir(parents=True, mode=0o750)
    source = f"source: {{kind: files, format: hl7, folder: {folder / 'drop'}, settle_s: 0}}"
    text = messages_hl7.PROFILE
    begin = text.index("source:")
    end = text.index("\n", begin) + 1
    assert not text[end:].startswith(" ")
    with attacked(folder, f"{text[:begin]}{source}\n{text[end:]}") as found:
        (place / "0.hl7").write_bytes(messages_hl7.dft().encode("gb18030"))
        found.good(bills=0)  # a charge, whose visit goes on
        yield found, place


@pytest.mark.parametrize("what", HL7)
def test_messages_that_no_good_sender_drops(messages: tuple[Attacked, Path], what: str) -> None:
    content, expected = HL7[what]
    assert attack(messages, f"{what.replace(' ', '-')}.hl7", content, expected) == expected
