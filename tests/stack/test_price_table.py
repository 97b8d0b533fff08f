"""Tables of prices as spreadsheets export them: the encodings, and the lines of faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.claims.plans.price_list import load_price_list, price_list_hash
from services.common.strict_yaml import StrictYamlError
from stack.commands.price_table import price_table
from stack.commands.spreadsheet import Encoding
from tests.stack.typed import lipei

HEAD = (("provider", 'H"1: #'), ("currency", "CNY"), ("first_day", "2026-01-01"))
BESIDE = ("--provider", "H1", "--currency", "CNY", "--first-day", "2026-01-01")
HEADING = "code,unit,price,effective,deletion,name"
# A row may begin with a blank.
TABLE = f"{HEADING}\r\n A1,CNY,80.00,20260101,,床位费\r\nB1,CNY,5.10,20260101,20260301,\r\n"
OF_SYSTEM = ("--system", "demo-yibao")


def read(content: bytes, encoding: str = "") -> str:
    """The hash of the list that a table is."""
    made = price_table(content, "f", HEAD, "demo-yibao", encoding)
    prices = load_price_list(made.yaml, "f")
    assert (prices.provider_id, len(prices.prices)) == ('H"1: #', 2)
    return price_list_hash(prices)


def test_a_table_is_one_list_in_each_encoding_whether_it_is_told_or_found_out() -> None:
    plain = read(TABLE.encode())
    assert read(TABLE.encode("utf-8-sig")) == plain
    assert read(TABLE.encode("gb18030")) == plain
    assert read(TABLE.encode("gb18030"), Encoding.GB18030) == plain
    assert read(TABLE.replace("\r\n", "\n").encode(), Encoding.UTF_8) == plain
    assert read(TABLE.replace("80.00", "80.01").encode()) != plain
    for wrong, encoding in (
        (TABLE.encode("gb18030"), "utf-8"),
        (TABLE.encode("utf-16"), ""),
        (TABLE.encode() + b"\xff", ""),
    ):
        with pytest.raises(StrictYamlError, match="save it as CSV in UTF-8"):
            read(wrong, encoding)


def test_every_fault_of_a_table_is_told_with_its_own_line(tmp_path: Path) -> None:
    table = tmp_path / "prices.CSV"
    broken = TABLE.replace("80.00", "八十").replace("20260301", "20250301")
    table.write_bytes(broken.encode("gb18030"))
    typed = lipei("providers", "prices", table, *BESIDE, *OF_SYSTEM)
    assert typed.code == 1
    assert [line.partition(" ")[0] for line in typed.said] == [f"{table}:2:", f"{table}:3:", "2"]
    assert typed.said[-1] == "2 faults; nothing was stored"
    table.write_text(TABLE, "utf-8")
    typed = lipei("providers", "prices", table, *BESIDE)  # no code system anywhere
    assert (typed.code, typed.said[0].startswith(f"{table}:0: prices.csv: ")) == (1, True)
    table.write_text(TABLE, "utf-8")
    typed = lipei("providers", "prices", table, *BESIDE[:2], *OF_SYSTEM)
    assert (typed.code, typed.said) == (
        2,
        [f"{table}: a table needs --currency, --first-day beside it"],
    )


def test_what_a_table_needs_beside_it_is_refused_of_a_file_that_says_it_itself(
    tmp_path: Path,
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("format: 1\n")
    typed = lipei("providers", "prices", file, *BESIDE)
    assert (typed.code, typed.said) == (
        2,
        [f"{file}: it says these itself; leave out what is for a .csv"],
    )
