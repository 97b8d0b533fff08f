"""The search finds a value in every encoding, at every offset, and nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.canary.planted import EVERYTHING
from tests.canary.search import Search, files_below, needles, table

NAME = EVERYTHING["name"]
ENCODED: dict[str, Callable[[str], bytes]] = {
    "utf-8": lambda text: text.encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "gb18030": lambda text: text.encode("gb18030"),
    "json": lambda text: json.dumps({"name": text}).encode(),
    "hex": lambda text: text.encode().hex().encode(),
    "hex, capitals": lambda text: text.encode().hex().upper().encode(),
    "percent": lambda text: f"/p?name={quote(text)}".encode(),
    "repr of bytes": lambda text: repr(text.encode()).encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64, one before": lambda text: base64.b64encode(b"x" + text.encode() + b"yz"),
    "base64, two before": lambda text: base64.b64encode(b"xy" + text.encode() + b"z"),
    "base64url": lambda text: base64.urlsafe_b64encode(b"\xff" + text.encode() + b"\xff"),
}


@pytest.mark.parametrize("encoding", list(ENCODED))
@pytest.mark.parametrize("kind", list(EVERYTHING))
def test_a_value_is_found_in_every_encoding(kind: str, encoding: str) -> None:
    data = b"\x00before " + ENCODED[encoding](EVERYTHING[kind]) + b" after\x00"
    assert {find.kind for find in Search(EVERYTHING).in_bytes("here", data)} == {kind}


def test_a_key_is_found_raw_in_hex_and_in_base64() -> None:
    key = bytes(range(100, 132))
    search = Search({"key": key})
    for written in (key, key.hex().encode(), base64.b64encode(b"a" + key)):
        assert [find.kind for find in search.in_bytes("here", written)] == ["key"]
    assert search.in_bytes("here", bytes(1000)) == []


def test_no_needle_is_so_short_that_chance_finds_it() -> None:
    for value in EVERYTHING.values():
        assert min(map(len, needles(value).values())) >= 6


def test_names_of_files_count_and_a_find_names_the_kind_and_never_the_value(
    tmp_path: Path,
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / f"{NAME}.log").write_bytes(b"")
    finds = Search(EVERYTHING).everywhere(files_below(tmp_path))
    assert [(find.kind, find.encoding) for find in finds] == [("name", "utf-8")]
    told = table([*finds])
    assert "name" in told.split()
