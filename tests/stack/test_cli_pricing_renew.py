"""`lipei pricing renew` on a small book: what it prints, writes and refuses."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openpyxl import load_workbook

from services.pricing.fitting.renewal.plan import hold
from services.pricing.fitting.renewal.work import HELD, alone
from services.pricing.fitting.run_card import RunCard
from services.pricing.tariffs.loader import example_tariffs
from stack.commands.failing import Failed
from stack.commands.pricing_folder import opened
from stack.commands.pricing_renew import kept_alone, work_of
from tests.services.pricing.fitting.renewal.books import people, write_book
from tests.stack.typed import Typed, lipei


def renewal_folder(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A pricing folder with a book of these rows and the example's tariff."""
    assert lipei("pricing", "init", path).code == 0
    (path / "renewal").mkdir()
    write_book(path / "renewal" / "book.parquet", rows)
    (path / "tariff").mkdir()
    example = example_tariffs() / "diabetes-hypertension-demo.json"
    (path / "tariff" / "my-tariff.json").write_bytes(example.read_bytes())
    settings = path / "pricing.yaml"
    settings.write_text(
        settings.read_text("utf-8")
        .replace("  # credit_cap", "  credit_cap")
        .replace("  # collar", "  collar"),
        "utf-8",
    )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with 400 policies."""
    return renewal_folder(tmp_path, people(400))


def renew(folder: Path, *options: str) -> Typed:
    """The command on a pricing folder."""
    return lipei("pricing", "renew", "-f", folder, *options)


def test_a_book_is_renewed_with_its_dislocation_and_a_run_card(folder: Path) -> None:
    found = renew(folder, "--movers", "1")
    assert found.code == 0, found.err
    assert "400 of 400 policies renewed, 0 referred" in found.out
    assert "sex F" in found.out
    assert found.out.count("largest rises") == 1
    step = f"next: `lipei pricing report -f {folder / 'pricing.yaml'}`\n"
    assert found.out.endswith(step), "without outcome tiers there is nothing to hand over"
    book = load_workbook(folder / "renewal" / "dislocation.xlsx", read_only=True)
    assert book.sheetnames == ["renewal", "change", "by sex", "largest rises", "largest falls"]
    rows = list(book["change"].iter_rows(values_only=True))
    assert rows[1][:2] == ("book", 400)
    assert sum(int(str(row[1])) for row in rows[2:]) == 400
    (card,) = (folder / "runs").glob("*.json")
    said = msgspec.json.decode(card.read_bytes(), type=RunCard)
    assert said.command == "renew"
    assert said.synthetic
    assert "renewal/renewals/manifest.json" in said.outputs
    for name in said.outputs:
        assert (folder / name).stat().st_mode & 0o777 == 0o600, name
        assert (folder / name).parent.stat().st_mode & 0o777 == 0o700, name


def test_who_is_referred_is_counted_by_reason(folder: Path) -> None:
    rows = people(50)
    rows[3]["age"], rows[4]["age"], rows[5]["condition"] = 85, 86, "type1_diabetes"
    write_book(folder / "renewal" / "book.parquet", rows)
    found = renew(folder)
    assert found.code == 0, found.err
    told = found.out.splitlines()
    at = told.index("47 of 50 policies renewed, 3 referred")
    assert told[at + 1].startswith("  2 referred: age: ")
    assert told[at + 2].startswith("  1 referred: condition: ")
    book = load_workbook(folder / "renewal" / "dislocation.xlsx", read_only=True)
    cells = [row[:2] for row in book["renewal"].iter_rows(values_only=True)]
    assert (told[at + 1].strip().removeprefix("2 "), 2) in cells


def test_a_target_out_of_reach_names_the_range_and_the_settings(folder: Path) -> None:
    settings = folder / "pricing.yaml"
    text = settings.read_text("utf-8").replace("approved_change: '0'", "approved_change: '0.9'")
    settings.write_text(text, "utf-8")
    found = renew(folder)
    assert found.code == 1
    assert "an approved change of 90 %, is out of reach of the collar" in found.err
    assert "the collar allows" in found.err
    assert not (folder / "renewal" / "renewals").exists()


def test_the_ends_of_what_is_allowed_can_be_asked_for(folder: Path) -> None:
    settings = folder / "pricing.yaml"
    usual = settings.read_text("utf-8")

    def with_change(change: Decimal) -> Typed:
        text = usual.replace("approved_change: '0'", f"approved_change: '{change:f}'")
        settings.write_text(text, "utf-8")
        return renew(folder)

    refused = with_change(Decimal("0.9"))
    said = re.search(r"an approved_change from (-\d\.\d{6}) to (\d\.\d{6});", refused.err)
    assert said is not None
    step = Decimal("0.000001")
    for end, beyond in zip(map(Decimal, said.groups()), (-step, step), strict=True):
        assert with_change(end).code == 0
        again = with_change(end + beyond)
        assert again.code == 1
        assert said[0] in again.err


def test_faults_of_the_book_come_by_kind_with_rows_and_never_a_value(folder: Path) -> None:
    rows = people(50)
    rows[3]["age"], rows[4]["age"] = 777, 777
    write_book(folder / "renewal" / "book.parquet", rows)
    found = renew(folder)
    assert found.code == 2
    assert "(OUT_OF_BOUNDS; 2 rows: 4, 5)" in found.err
    assert "777" not in found.err


def test_a_tariff_or_book_that_is_not_there_is_said(folder: Path) -> None:
    (folder / "renewal" / "book.parquet").unlink()
    found = renew(folder)
    assert found.code == 1
    assert "renewal.book" in found.err
    (folder / "tariff" / "my-tariff.json").unlink()
    found = renew(folder)
    assert found.code == 2
    assert "renewal.tariff" in found.err


def test_a_renewal_that_was_started_here_is_not_cleared_away_by_another(folder: Path) -> None:
    work, _ = work_of(opened(folder))
    hold(work)
    refused = renew(folder)
    assert refused.code == 2
    assert f"renewal {work.unfinished.name} was started in this folder" in refused.err
    assert "`lipei pricing renew result" in refused.err
    assert (work.unfinished / HELD).exists()
    assert not work.result.exists()
    (work.unfinished / HELD).unlink()
    with alone(work):
        refused = renew(folder)
        assert refused.code == 2
        assert "another `lipei pricing renew` is at work" in refused.err
        with pytest.raises(Failed, match="at work"), kept_alone(work):
            pass
    # Control: with nobody else there it is done, and leaves no trace of the lock.
    assert renew(folder).code == 0
    assert {path.name for path in (folder / "renewal").iterdir()} == {
        *("book.parquet", "renewals", "dislocation.json", "dislocation.xlsx")
    }
