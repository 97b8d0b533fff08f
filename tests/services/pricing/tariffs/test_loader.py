"""A tariff file is used whole or not at all; every fault is named with its path, all at once."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import services.pricing
from services.pricing.core.tariff import content_hash, version_of
from services.pricing.tariffs.loader import (
    TariffRefused,
    example_tariffs,
    load_folder,
    load_tariff,
)
from services.pricing.tariffs.strict_json import NotJson, load
from tests.services.pricing.at_hand import DEMO, DEMO_FILE, demo_tree, sealed, unsealed

AGE, SEX, CONDITION, HBA1C, SYSTOLIC = range(5)
Tree = dict[str, Any]


def faults(content: bytes) -> list[tuple[str, str]]:
    with pytest.raises(TariffRefused) as refused:
        load_tariff(content, "a.json")
    return [(fault.path, fault.reason) for _, fault in refused.value.faults]


def table(tree: Tree, number: int, cause: int = 0) -> Tree:
    found: Tree = tree["tariff"]["causes"][cause]["tables"][number]
    return found


def test_the_examples_load_and_reproduce_their_golden_quotes() -> None:
    book = load_folder(example_tariffs())
    assert [rates.tariff.id for rates in book.versions()] == [DEMO]
    tariff = book.versions()[0].tariff
    assert tariff.synthetic
    assert "not for sale" in tariff.notice_en
    assert len(tariff.golden_quotes) >= 5
    assert len(tariff.assumptions) >= 5


def test_layout_of_the_file_does_not_change_the_name() -> None:
    spaced = json.dumps(demo_tree(), indent=7, ensure_ascii=True).encode()
    rates = load_tariff(spaced, "a.json")
    assert rates.version == load_tariff(DEMO_FILE.read_bytes(), "b.json").version
    assert rates.version == version_of(rates.tariff)


# --- one fault each: how it comes about, its path below `tariff.`, its reason


def set_at(*path: str | int, value: Any) -> Callable[[Tree], None]:
    def alter(tree: Tree) -> None:
        place: Any = tree["tariff"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return alter


def drop(*path: str | int) -> Callable[[Tree], None]:
    def alter(tree: Tree) -> None:
        place: Any = tree["tariff"]
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return alter


def cells(number: int, *path: str | int, value: Any, cause: int = 0) -> Callable[[Tree], None]:
    return set_at("causes", cause, "tables", number, "cells", *path, value=value)


def second_hba1c_table(tree: Tree) -> None:
    again = {**table(tree, HBA1C), "name": "hba1c_again"}
    tree["tariff"]["causes"][0]["tables"].append(again)


def risk_layer_in_outpatient(tree: Tree) -> None:
    table(tree, 2, cause=1)["layer"] = "risk"


def unused_feature(tree: Tree) -> None:
    again = {**tree["tariff"]["features"][SYSTOLIC], "name": "diastolic_mmhg"}
    tree["tariff"]["features"].append(again)


def no_amounts(tree: Tree) -> None:
    for cause in tree["tariff"]["causes"]:
        cause["base_e4"] = 0


def nothing_priced(tree: Tree) -> None:
    for level in tree["tariff"]["features"][SEX]["levels"]:
        level["priced"] = False


T0 = "causes[0].tables"
ONE_FAULT: list[tuple[str, Callable[[Tree], None], str, str]] = [
    ("unknown key", set_at("color", value="red"), "color", "UNKNOWN_KEY"),
    (
        "unknown key in a cell",
        cells(AGE, 0, "factor", value=1),
        f"{T0}[0].cells[0].factor",
        "UNKNOWN_KEY",
    ),
    ("missing key", drop("profit_millionths"), "profit_millionths", "MISSING_KEY"),
    ("text for a number", set_at("fixed_expense_e4", value="60"),
     "fixed_expense_e4", "WRONG_VALUE"),
    ("true for a number", set_at("fixed_expense_e4", value=True),
     "fixed_expense_e4", "WRONG_VALUE"),
    ("negative amount", set_at("fixed_expense_e4", value=-1), "fixed_expense_e4", "WRONG_VALUE"),
    ("impossible date", set_at("valid_first", value="2026-02-30"), "valid_first", "WRONG_VALUE"),
    ("interpolation", set_at("causes", 0, "tables", AGE, "interpolation", value="linear"),
     f"{T0}[0].interpolation", "WRONG_VALUE"),
    ("unknown kind", set_at("causes", 0, "tables", AGE, "kind", value="spline"),
     f"{T0}[0].kind", "WRONG_VALUE"),
    ("a factor of 0", cells(AGE, 0, "factor_millionths", value=0),
     f"{T0}[0].cells[0].factor_millionths", "WRONG_VALUE"),
    ("full-width edge", cells(AGE, 0, "first", value="１８"),
     f"{T0}[0].cells[0].first", "WRONG_VALUE"),
    ("a list for an object", set_at("rounding", value=[]), "rounding", "WRONG_TYPE"),
    ("an object for a list", set_at("causes", value={}), "causes", "WRONG_TYPE"),
    ("no golden quote", set_at("golden_quotes", value=[]), "golden_quotes", "TOO_FEW"),
    ("unknown currency", set_at("currency", value="XXX"), "currency", "UNKNOWN_CURRENCY"),
    ("ends before it begins", set_at("valid_last", value="2024-12-31"),
     "valid_last", "IMPOSSIBLE_DATES"),
    ("bounds crossed", set_at("features", AGE, "priced_last", value="17"),
     "features[0].priced_last", "BOUNDS_CROSSED"),
    ("places of an edge", cells(HBA1C, 0, "last", value="6.90"),
     f"{T0}[3].cells[0].last", "WRONG_PLACES"),
    ("gap inside", cells(AGE, 1, "first", value="31"), f"{T0}[0].cells[1].first", "GAP"),
    ("gap at the beginning", cells(AGE, 0, "first", value="19"), f"{T0}[0].cells[0].first", "GAP"),
    ("gap at the end", cells(AGE, 9, "last", value="78"), f"{T0}[0].cells[9].last", "GAP"),
    ("overlap", cells(AGE, 1, "first", value="29"), f"{T0}[0].cells[1].first", "OVERLAP"),
    ("outside at the beginning", cells(AGE, 0, "first", value="17"),
     f"{T0}[0].cells[0].first", "OUTSIDE_PRICED_RANGE"),
    ("outside at the end", cells(AGE, 9, "last", value="80"),
     f"{T0}[0].cells[9].last", "OUTSIDE_PRICED_RANGE"),
    ("level without a cell", drop("causes", 0, "tables", SEX, "cells", 1), f"{T0}[1].cells", "GAP"),
    ("cell of an unpriced level", cells(CONDITION, 0, "level", value="type1_diabetes"),
     f"{T0}[2].cells[0].level", "UNKNOWN_LEVEL"),
    ("not monotone", cells(HBA1C, 2, "factor_millionths", value=890_000),
     f"{T0}[3].cells[2].factor_millionths", "NOT_MONOTONE"),
    ("biometric of any shape", set_at("causes", 0, "tables", HBA1C, "monotone", value="no"),
     f"{T0}[3].monotone", "BIOMETRIC_NOT_MONOTONE"),
    ("falls below the clinical bound", set_at("features", 3, "flat_below", value="7.1"),
     f"{T0}[3].cells[1].factor_millionths", "NOT_FLAT"),
    ("clinical bound of other places", set_at("features", 3, "flat_below", value="7.00"),
     "features[3].flat_below", "WRONG_PLACES"),
    ("clinical bound that nobody has", set_at("features", 3, "flat_below", value="2.9"),
     "features[3].flat_below", "BOUNDS_CROSSED"),
    ("clinical bound above all values", set_at("features", 3, "flat_below", value="20.1"),
     "features[3].flat_below", "BOUNDS_CROSSED"),
    ("leaving out pays", set_at("causes", 0, "tables", HBA1C, "absent_factor_millionths",
                                value=990_000),
     f"{T0}[3].absent_factor_millionths", "ABSENCE_PAYS"),
    ("absent factor of a required feature",
     set_at("causes", 0, "tables", AGE, "absent_factor_millionths", value=1_000_000),
     f"{T0}[0].absent_factor_millionths", "ABSENT_FACTOR"),
    ("factor beyond the bounds", cells(AGE, 9, "factor_millionths", value=3_000_001),
     f"{T0}[0].cells[9].factor_millionths", "FACTOR_OUT_OF_BOUNDS"),
    ("unknown feature", set_at("causes", 2, "tables", SEX, "feature", value="gender"),
     "causes[2].tables[1].feature", "UNKNOWN_FEATURE"),
    ("bands over a category", set_at("causes", 2, "tables", AGE, "feature", value="condition"),
     "causes[2].tables[0].kind", "WRONG_KIND"),
    ("applies to an optional number",
     set_at("causes", 0, "tables", HBA1C, "applies_to", "feature", value="systolic_mmhg"),
     f"{T0}[3].applies_to.feature", "UNKNOWN_FEATURE"),
    ("applies to an unknown level",
     set_at("causes", 0, "tables", HBA1C, "applies_to", "levels", 0, value="gout"),
     f"{T0}[3].applies_to.levels[0]", "UNKNOWN_LEVEL"),
    ("age as an outcome", set_at("causes", 2, "tables", AGE, "layer", value="outcome"),
     "causes[2].tables[0].layer", "NOT_AN_OUTCOME"),
    ("a biometric twice in a cause", second_hba1c_table, f"{T0}[5].feature", "PRICED_TWICE"),
    ("a biometric in both layers", risk_layer_in_outpatient,
     "causes[1].tables[2].layer", "BIOMETRIC_IN_TWO_LAYERS"),
    ("a fact that prices nothing", unused_feature, "features[5]", "UNUSED_FEATURE"),
    ("duplicate name", set_at("causes", 1, "name", value="inpatient"),
     "causes[1]", "DUPLICATE_NAME"),
    ("loads above half", set_at("profit_millionths", value=400_000),
     "profit_millionths", "LOADS_TOO_HIGH"),
    ("no risk", no_amounts, "causes", "NO_RISK"),
    ("no level priced", nothing_priced, "features[1].levels", "NOTHING_PRICED"),
    ("golden quote off by a fen", set_at("golden_quotes", 0, "premium_minor", value=345_370),
     "golden_quotes[0].premium_minor", "GOLDEN_QUOTE_DIFFERS"),
    ("golden quote of nobody", set_at("golden_quotes", 0, "features", "sex", value="X"),
     "golden_quotes[0].features.sex", "UNKNOWN_LEVEL"),
    ("a changed factor breaks the golden quotes",
     cells(CONDITION, 1, "factor_millionths", value=1_290_000),
     "golden_quotes[0].premium_minor", "GOLDEN_QUOTE_DIFFERS"),
]  # fmt: skip  # one row is one fault


@pytest.mark.parametrize(
    ("alter", "path", "reason"), [row[1:] for row in ONE_FAULT], ids=[row[0] for row in ONE_FAULT]
)
def test_a_fault_is_found_and_named(alter: Callable[[Tree], None], path: str, reason: str) -> None:
    tree = demo_tree()
    alter(tree)
    found = faults(sealed(tree))
    assert (f"tariff.{path}", reason) in found
    assert "WRONG_HASH" not in {fault for _, fault in found}


def test_a_reversed_band_is_named() -> None:
    tree = demo_tree()
    table(tree, AGE)["cells"][1].update(first="39", last="30")
    assert ("tariff.causes[0].tables[0].cells[1].last", "BAND_REVERSED") in faults(sealed(tree))


TEXT_FAULTS: list[tuple[str, Callable[[str], str | bytes], str, str]] = [
    ("float", lambda t: t.replace("60000000,", "60000000.0,"),
     "tariff.fixed_expense_e4", "FLOAT"),
    ("1e400", lambda t: t.replace("60000000,", "1e400,"), "tariff.fixed_expense_e4", "FLOAT"),
    ("NaN", lambda t: t.replace("60000000,", "NaN,"), "tariff.fixed_expense_e4", "NOT_A_NUMBER"),
    ("Infinity", lambda t: t.replace("60000000,", "-Infinity,"),
     "tariff.fixed_expense_e4", "NOT_A_NUMBER"),
    ("endless number", lambda t: t.replace("60000000,", "9" * 5000 + ","),
     "tariff.fixed_expense_e4", "TOO_MANY_DIGITS"),
    ("duplicate key", lambda t: t.replace('"synthetic"', '"synthetic": false, "synthetic"'),
     "tariff.synthetic", "DUPLICATE_KEY"),
    ("duplicate key in a cell", lambda t: t.replace(
        '{"level": "F",', '{"level": "M", "level": "F",', 1),
     "tariff.causes[0].tables[1].cells[0].level", "DUPLICATE_KEY"),
    ("half a character", lambda t: t.replace('"zh": "女"', '"zh": "\\ud83d"'),
     "tariff.features[1].levels[0].zh", "BROKEN_TEXT"),
    ("half a character in a key", lambda t: t.replace('"rounding"', '"\\ud83d"'),
     "tariff", "BROKEN_TEXT"),
    ("edited after publication", lambda t: t.replace("60000000,", "60000001,"),
     "sha256", "WRONG_HASH"),
    ("another hash", lambda t: t.replace(t.split('"')[3], "0" * 64), "sha256", "WRONG_HASH"),
    ("a hash in capitals", lambda t: t.replace(t.split('"')[3], t.split('"')[3].upper()),
     "sha256", "WRONG_VALUE"),
    ("cut off", lambda t: t[: len(t) // 2], "", "NOT_JSON"),
    ("two objects", lambda t: t + t, "", "NOT_JSON"),
    ("a comment", lambda t: "// demo\n" + t, "", "NOT_JSON"),
    ("empty", lambda _: "", "", "NOT_JSON"),
    ("a list", lambda t: f"[{t}]", "", "NOT_AN_OBJECT"),
    ("GB18030", lambda t: t.encode("gb18030"), "", "NOT_UTF8"),
    ("a deep nest", lambda _: '{"a":' * 60 + "1" + "}" * 60, "", "TOO_DEEP"),
    ("a bottomless nest", lambda _: "[" * 200_000, "", "TOO_DEEP"),
    ("a deep nest of lists", lambda _: '{"a":' + "[" * 60 + "]" * 60 + "}", "", "TOO_DEEP"),
    ("5 MB", lambda t: t + " " * (5 << 20), "", "TOO_LARGE"),
]  # fmt: skip  # one row is one fault


@pytest.mark.parametrize(
    ("alter", "path", "reason"),
    [row[1:] for row in TEXT_FAULTS],
    ids=[row[0] for row in TEXT_FAULTS],
)
def test_what_python_would_read_silently_is_refused(
    alter: Callable[[str], str | bytes], path: str, reason: str
) -> None:
    altered = alter(DEMO_FILE.read_text("utf-8"))
    found = faults(altered if isinstance(altered, bytes) else altered.encode())
    assert (path, reason) in found


def test_a_byte_that_is_not_utf_8_and_a_mark_in_front_are_told_with_their_line() -> None:
    with pytest.raises(NotJson, match=r"^line 2: not UTF-8"):
        load(b'{\n"a": "\xb1"}')
    with pytest.raises(NotJson, match=r"^line 1: begins with a byte order mark"):
        load(b'\xef\xbb\xbf{"a": 1}')


def test_all_faults_of_a_file_come_at_once() -> None:
    tree = demo_tree()
    tree["tariff"]["color"] = "red"
    tree["tariff"]["fixed_expense_e4"] = "sixty"
    table(tree, AGE)["cells"][1]["first"] = "32"  # gap
    table(tree, HBA1C)["cells"][2]["factor_millionths"] = 1  # not monotone, below the bounds
    table(tree, AGE, cause=1)["cells"][1]["first"] = "39"  # overlap
    del table(tree, SYSTOLIC)["cells"][0]["last"]
    text = unsealed(tree).decode()
    text = text.replace('"synthetic": true', '"synthetic": NaN, "id": "again"')
    text = text.replace('"large_loss_load_e4": 85000000', '"large_loss_load_e4": 8.5')
    assert set(faults(text.encode())) == {
        ("tariff.synthetic", "NOT_A_NUMBER"),
        ("tariff.id", "DUPLICATE_KEY"),
        ("tariff.large_loss_load_e4", "FLOAT"),
        ("tariff.color", "UNKNOWN_KEY"),
        ("tariff.fixed_expense_e4", "WRONG_VALUE"),
        ("tariff.causes[0].tables[4].cells[0].last", "MISSING_KEY"),
        ("tariff.causes[0].tables[0].cells[1].first", "GAP"),
        ("tariff.causes[0].tables[3].cells[2].factor_millionths", "NOT_MONOTONE"),
        ("tariff.causes[0].tables[3].cells[2].factor_millionths", "FACTOR_OUT_OF_BOUNDS"),
        ("tariff.causes[1].tables[0].cells[1].first", "OVERLAP"),
    }


def test_a_wrong_hash_hides_no_other_fault() -> None:
    tree = demo_tree()
    tree["tariff"]["golden_quotes"][0]["premium_minor"] += 1
    assert set(faults(unsealed(tree))) == {
        ("sha256", "WRONG_HASH"),
        ("tariff.golden_quotes[0].premium_minor", "GOLDEN_QUOTE_DIFFERS"),
    }
    tree["tariff"]["currency"] = "XXX"
    del tree["tariff"]["format"]
    assert set(faults(unsealed(tree))) == {
        ("sha256", "WRONG_HASH"),
        ("tariff.format", "MISSING_KEY"),
    }


def test_the_hash_fault_says_which_hash_the_content_has() -> None:
    tree = demo_tree()
    tree["tariff"]["title_en"] += "!"
    with pytest.raises(TariffRefused, match=content_hash(tree["tariff"])):
        load_tariff(unsealed(tree), "a.json")


def test_a_folder_is_refused_whole_with_the_faults_of_every_file(tmp_path: Path) -> None:
    shutil.copy(DEMO_FILE, tmp_path / "good.json")
    assert len(load_folder(tmp_path).versions()) == 1
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "worse.json").write_text("{")
    with pytest.raises(TariffRefused) as refused:
        load_folder(tmp_path)
    assert [(source, fault.reason) for source, fault in refused.value.faults] == [
        ("bad.json", "MISSING_KEY"),
        ("bad.json", "MISSING_KEY"),
        ("worse.json", "NOT_JSON"),
    ]


def test_a_folder_without_tariffs_or_with_two_for_one_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TariffRefused, match="holds no tariff"):
        load_folder(tmp_path)
    with pytest.raises(TariffRefused, match="holds no tariff"):
        load_folder(tmp_path / "nowhere")
    (tmp_path / "one.json").write_bytes(DEMO_FILE.read_bytes())
    tree = demo_tree()
    tree["tariff"]["valid_first"] = "2027-01-01"
    (tmp_path / "two.json").write_bytes(sealed(tree))
    with pytest.raises(TariffRefused, match="let the earlier one end"):
        load_folder(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(TariffRefused, match=r"folder\.json: file: cannot be read"):
        load_folder(tmp_path)


def test_every_reason_has_a_case() -> None:
    """A reason that no case reaches may be dead or wrong; those of gates have theirs there."""
    seen = {row[3] for row in ONE_FAULT} | {row[3] for row in TEXT_FAULTS}
    elsewhere = {"BAND_REVERSED", "VERSIONS_OVERLAP", "NO_TARIFF", "UNREADABLE"}
    assert reasons_in_source() == seen | elsewhere


def reasons_in_source() -> set[str]:
    folder = Path(services.pricing.__path__[0])
    makers = {"Fault", "NotJson", "_Refused"}
    found = set()
    gates = {"gates.py", "banned.py", "basis_checks.py", "large_loss_gate.py"}
    for path in [*(folder / "core").glob("*.py"), *(folder / "tariffs").glob("*.py")]:
        if path.name in gates:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in makers:
                found |= {
                    argument.value
                    for argument in node.args
                    if isinstance(argument, ast.Constant)
                    and isinstance(argument.value, str)
                    and argument.value.isupper()
                    and " " not in argument.value
                }
    return found
