"""What changes between two tariffs is told once, where it prices, in both languages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.pricing.core.difference import Effect, changes, effects
from services.pricing.core.tariff import Tariff
from tests.services.pricing.at_hand import demo_rates
from tests.services.pricing.core.test_gates import alter
from tests.services.pricing.proposals import format_2_tree, proposal

OLD, _ = proposal()


def altered(path: str, value: object) -> Tariff:
    tree = format_2_tree()
    alter(tree, path, value)
    return msgspec.convert(tree, Tariff)


def base() -> Tariff:
    return msgspec.convert(format_2_tree(), Tariff)


def told(path: str, value: object) -> list[tuple[str, str]]:
    return [(one.place, one.en) for one in changes(base(), altered(path, value))]


_CELL = "causes[0].tables[3].cells[1].factor_millionths"


@pytest.mark.parametrize(
    ("path", "value", "place", "english"),
    [
        (_CELL, 910_000, "inpatient.hba1c.7.0–7.4", "0.9 → 0.91 (+1.1 %)"),
        (_CELL, 880_000, "inpatient.hba1c.7.0–7.4", "0.9 → 0.88 (−2.2 %)"),
        ("causes[0].tables[1].cells[0].factor_millionths", 1, "inpatient.sex.F", "0.000001"),
        (
            "causes[0].tables[3].absent_factor_millionths",
            1_100_000,
            "inpatient.hba1c.absent",
            "1.1",
        ),
        ("causes[0].base_e4", 1_254_000_000, "inpatient.base", "1,140.00 → 1,254.00 CNY (+10.0 %)"),
        ("large_loss_load_e4", 0, "large_loss_load_e4", "85.00 → 0.00 CNY (−100.0 %)"),
        ("variable_expense_millionths", 0, "variable_expense_millionths", "0.12 → 0"),
        ("rounding", {"mode": "half_up", "to_minor_units": 100}, "rounding", "1 → 100"),
        ("valid_last", "2027-12-31", "valid_last", "None → 2027-12-31"),
        ("features[0].priced_last", "78", "features.age", "priced range: 18–79 → 18–78"),
        (
            "features[3].flat_below",
            "6.5",
            "features.hba1c_percent",
            "clinical lower bound: 7.0 → 6.5",
        ),
        ("features[2].levels[3].priced", True, "features.condition.type1_diabetes", "priced now"),
        ("causes[0].tables[3].applies_to", None, "inpatient.hba1c", "type2_diabetes both → all"),
        ("basis.credit_cap.share_millionths", 100_000, "basis.credit_cap", "0.3 → 0.1"),
        ("basis.collar.least_millionths", 900_000, "basis.collar", "0.8–1.25 → 0.9–1.25"),
        ("basis.windows[0].months", 6, "basis.windows.hba1c_percent", "changes"),
        ("basis.alternatives[0].en", "walks", "basis.alternatives.hba1c_percent", "changes"),
        ("basis.data_sha256", "e" * 64, "basis.data_sha256", "d → e"),
        ("assumptions[0].en", "other", "assumptions.base_inpatient", "changes"),
        ("title_en", "Other", "title_en", "→ Other"),
    ],
)
def test_a_change_is_told_with_its_place(
    path: str, value: object, place: str, english: str
) -> None:
    found = told(path, value)
    assert [one[0] for one in found] == [place]
    said = found[0][1].replace("d" * 64, "d").replace("e" * 64, "e")
    assert english in said
    every = changes(base(), altered(path, value))
    assert all(one.zh and one.en and one.zh != one.en for one in every)


def test_nothing_changes_between_a_tariff_and_itself() -> None:
    assert changes(OLD, OLD) == []


def test_a_band_that_was_only_split_changes_nothing() -> None:
    tree = format_2_tree()
    ages = tree["causes"][0]["tables"][0]["cells"]
    ages[0]["last"] = "24"
    ages.insert(1, {"first": "25", "last": "29", "factor_millionths": 350_000})
    assert changes(base(), msgspec.convert(tree, Tariff)) == []


def test_bands_that_move_alike_beside_each_other_are_told_as_one() -> None:
    tree = format_2_tree()
    ages = tree["causes"][0]["tables"][0]["cells"]
    ages[0] |= {"last": "23", "factor_millionths": 400_000}
    for first, last in (("29", "29"), ("24", "28")):
        ages.insert(1, {"first": first, "last": last, "factor_millionths": 400_000})
    (one,) = changes(base(), msgspec.convert(tree, Tariff))
    assert one.place == "inpatient.age.18–29"


def test_an_edge_that_moved_is_told_for_those_whom_it_concerns() -> None:
    tree = format_2_tree()
    ages = tree["causes"][0]["tables"][0]["cells"]
    ages[0]["last"], ages[1]["first"] = "27", "28"
    (one,) = changes(base(), msgspec.convert(tree, Tariff))
    assert one.place == "inpatient.age.28–29"
    assert "0.35 → 0.5 (+42.9 %)" in one.en


def factor_at(table: dict[str, Any], age: int) -> int:
    (found,) = [
        cell["factor_millionths"]
        for cell in table["cells"]
        if int(cell["first"]) <= age <= int(cell["last"])
    ]
    return int(found)


@pytest.mark.parametrize("edges", [(25, 40), (29, 30), (30, 31), (18, 60), (78, 79), (44, 45)])
def test_what_is_told_of_bands_is_what_each_value_pays(edges: tuple[int, int]) -> None:
    tree = format_2_tree()
    ages = tree["causes"][0]["tables"][0]
    firsts = [18, *(edge + 1 for edge in edges if edge < 79)]
    lasts = [*(edge for edge in edges if edge < 79), 79]
    ages["cells"] = [
        {"first": str(first), "last": str(last), "factor_millionths": 500_000 + 250_000 * number}
        for number, (first, last) in enumerate(zip(firsts, lasts, strict=True))
    ]
    old = format_2_tree()["causes"][0]["tables"][0]
    expected: list[list[int]] = []
    for age in range(18, 80):
        pair = factor_at(old, age), factor_at(ages, age)
        if expected and expected[-1][1] == age - 1 and tuple(expected[-1][2:]) == pair:
            expected[-1][1] = age
        else:
            expected.append([age, age, *pair])
    places = [
        f"inpatient.age.{first}" if first == last else f"inpatient.age.{first}–{last}"
        for first, last, before, after in expected
        if before != after
    ]
    assert [one.place for one in changes(base(), msgspec.convert(tree, Tariff))] == places


def test_a_range_that_only_one_prices_has_no_factor_in_the_other() -> None:
    tree = format_2_tree()
    tree["causes"][0]["tables"][0]["cells"].pop()
    tree["causes"][0]["tables"][1]["cells"].append({"level": "X", "factor_millionths": 900_000})
    found = [(one.place, one.en) for one in changes(base(), msgspec.convert(tree, Tariff))]
    assert found == [
        ("inpatient.age.75–79", "Inpatient care, age 75–79: 3 → —"),
        ("inpatient.sex.X", "Inpatient care, sex X: — → 0.9"),
    ]


def test_a_load_that_was_nothing_is_told_without_a_share() -> None:
    (one,) = changes(altered("large_loss_load_e4", 0), base())
    assert one.en == "large-loss load 0.00 → 85.00 CNY"
    (other,) = changes(base(), altered("large_loss_load_e4", 85_000_049))
    assert other.en == "large-loss load 85.00 → 85.000049 CNY (+0.0 %)"


def test_parts_of_the_smallest_unit_stand_behind_the_point_of_a_currency_without_one() -> None:
    before, after = (
        msgspec.structs.replace(base(), currency="JPY", large_loss_load_e4=load)
        for load in (850_000, 855_000)
    )
    (one,) = changes(before, after)
    assert one.en == "large-loss load 85 → 85.5 JPY (+0.6 %)"


def test_everything_behind_something_new_is_told_too() -> None:
    tree = format_2_tree()
    tree["features"][0]["name"] = "years"
    tree["features"][1]["levels"][1]["priced"] = False
    tree["features"][2]["levels"].append(
        {"name": "copd", "zh": "慢阻肺", "en": "COPD", "priced": True}
    )
    tree["features"][3] = tree["features"][1] | {"name": "hba1c_percent"}
    tree["features"][4] |= {"places": 1, "unit_ucum": "kPa", "required": True}
    tree["causes"][0]["name"] = "ward"
    tree["causes"][1]["tables"][0]["name"] = "years"
    tree["causes"][1]["tables"][1]["cells"][0]["factor_millionths"] = 1_100_000
    tree["causes"][2]["base_e4"] = 0
    found = {one.place: (one.zh, one.en) for one in changes(base(), msgspec.convert(tree, Tariff))}
    assert found["features.age"] == ("取消因子 age", "feature age is gone")
    assert found["features.years"] == ("新增因子 years", "feature years is new")
    assert found["features.sex.M"] == ("性别 M：不承保", "sex M: is priced no more")
    assert found["features.condition.copd"][0].endswith("copd：承保")
    assert found["features.condition.copd"][1].endswith("copd: is priced now")
    assert found["features.hba1c_percent"][1] == "feature hba1c_percent changes"
    assert "features.systolic_mmhg" in found
    assert found["ward"] == ("新增责任 ward", "cause ward is new")
    assert found["inpatient"][1] == "cause inpatient is gone"
    assert found["outpatient.years"][1].endswith("table years is new")
    assert found["outpatient.age"][1].endswith("table age is gone")
    assert found["outpatient.condition.hypertension"][1].endswith("1 → 1.1 (+10.0 %)")
    assert "injury.base" in found


def test_a_level_that_was_never_priced_is_no_change() -> None:
    tree = format_2_tree()
    tree["features"][2]["levels"].pop()
    assert changes(base(), msgspec.convert(tree, Tariff)) == []


def test_what_the_other_tariff_does_not_ask_is_left_out() -> None:
    tree = format_2_tree()
    tree["features"].pop()
    for cause in tree["causes"]:
        cause["tables"] = [one for one in cause["tables"] if one["feature"] != "systolic_mmhg"]
    tree["basis"]["windows"].pop()
    tree["basis"]["alternatives"].pop()
    for golden in tree["golden_quotes"]:
        golden["features"].pop("systolic_mmhg", None)
    new, _ = proposal(tree)
    name = "man of 67, both conditions, HbA1c 6.4 % and 133 mmHg"
    asked = {golden.name: golden.features for golden in OLD.golden_quotes}[name]
    (found,) = [one for one in effects(OLD, new, {name: asked}) if one.name == name]
    assert found.old_minor is not None
    assert found.new_minor is not None
    assert found.new_minor > found.old_minor


def test_what_is_new_or_gone_is_said() -> None:
    tree = format_2_tree()
    gone: dict[str, Any] = tree["causes"].pop()
    tree["causes"][0]["tables"].pop(1)
    found = changes(base(), msgspec.convert(tree, Tariff))
    assert ["inpatient.sex", gone["name"]] == [one.place for one in found]
    assert found[1].zh == "取消责任 injury"
    back = changes(msgspec.convert(tree, Tariff), base())
    assert back[1].en == "cause injury is new"


def test_a_format_that_states_a_basis_is_told() -> None:
    found = changes(demo_rates().tariff, OLD)
    assert ("format", "format: 1 → 2") in [(one.place, one.en) for one in found]


def test_effects_are_premiums_of_the_golden_quotes_and_further_profiles() -> None:
    new, _ = proposal(msgspec.to_builtins(msgspec.structs.replace(OLD, profit_millionths=60_000)))
    profiles = {
        "young": {"age": "20", "sex": "F", "condition": "hypertension"},
        "child": {"age": "8", "sex": "F", "condition": "hypertension"},
    }
    found = {one.name: one for one in effects(OLD, new, profiles)}
    assert len(found) == len(OLD.golden_quotes) + 2
    for golden, other in zip(OLD.golden_quotes, new.golden_quotes, strict=True):
        one = found[golden.name]
        assert (one.old_minor, one.new_minor) == (golden.premium_minor, other.premium_minor)
        assert one.change_millionths is not None
        assert one.change_millionths > 0
    assert found["child"] == Effect("child", None, None)
    assert found["child"].change_millionths is None


def test_a_change_is_taken_towards_zero_in_both_directions() -> None:
    assert Effect("", 300, 200).change_millionths == -333_333
    assert Effect("", 300, 400).change_millionths == 333_333
    assert Effect("", 0, 400).change_millionths is None
