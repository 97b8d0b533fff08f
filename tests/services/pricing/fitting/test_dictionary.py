"""The data dictionary in the documents is the one that `check` demands."""

from __future__ import annotations

from pathlib import Path

from services.pricing.fitting.dictionary import TABLES, Kind, markdown
from services.pricing.fitting.partners.settings import PARTNER_TABLES

DOCUMENT = Path(__file__).parents[4] / "docs" / "tariffs.md"


def test_the_documents_show_the_dictionary() -> None:
    shown = DOCUMENT.read_text("utf-8")
    assert markdown() in shown
    assert markdown(PARTNER_TABLES) in shown


def test_keys_are_columns_and_choices_are_listed() -> None:
    for table in (*TABLES.values(), *PARTNER_TABLES.values()):
        assert set(table.key) <= {column.name for column in table.columns}
        for column in table.columns:
            assert bool(column.choices) == (column.kind is Kind.CHOICE)
            assert column.zh
            assert column.en
