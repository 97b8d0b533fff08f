"""The threat model keeps its word: every row names a test, and the test is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "docs" / "threat-model.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows(text: str) -> list[list[str]]:
    """The cells of each row of each table that tells of tests."""
    found, telling = [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else []
        if not cells:
            telling = False
        elif cells[-1] == "test":
            telling = True
        elif telling and set(line) - set("|-: "):
            found.append(cells)
    return found


def missing(text: str) -> list[str]:
    """Rows without a test, and tests that are not where they are said to be."""
    faults = []
    for cells in rows(text):
        named = TEST.findall(cells[-1])
        if not named:
            faults.append(f"no test: {cells[:2]}")
        faults += [f"{path}::{test}" for path, test in named if test not in _tests_in(path)]
    return faults


def _tests_in(path: str) -> set[str]:
    if not (ROOT / path).is_file():
        return set()
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_row_names_a_test_that_exists() -> None:
    assert missing(MODEL.read_text("utf-8")) == []


def test_every_boundary_has_every_kind_of_threat() -> None:
    text = MODEL.read_text("utf-8")
    for boundary in ("Hospital", "Insurer", "Operator", "Bank", "Auditor", "Member and partner"):
        section = text.split(f"\n## {boundary}\n", 1)[1].split("\n## ", 1)[0]
        assert {cells[0] for cells in rows(section)} == set("STRIDE"), boundary


@pytest.mark.parametrize(
    "row",
    [
        "| S | a | b | c | none |",
        "| S | a | b | c | `tests/project/test_threat_model.py::test_that_is_not_there` |",
        "| S | a | b | c | `tests/project/test_nowhere.py::test_it` |",
    ],
)
def test_a_row_without_its_test_is_a_fault(row: str) -> None:
    """Negative control."""
    assert len(missing(f"| | threat | we do | left | test |\n|---|---|---|---|---|\n{row}\n")) == 1
