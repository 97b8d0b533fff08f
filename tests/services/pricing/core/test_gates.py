"""The gates on cases that an actuary can read, their figures, and properties."""

from __future__ import annotations

import ast
import copy
import re
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

import services.pricing.core
from services.common.strict_yaml import load
from services.pricing.core import gates, reach
from services.pricing.core.banned import Ban, banned_faults
from services.pricing.core.basis_checks import basis_faults
from services.pricing.core.evidence import Evidence
from services.pricing.core.gate_words import ASKED, CLAUSE
from services.pricing.core.gates import all_passed, judge
from services.pricing.core.incentive import LegalCap
from services.pricing.core.off_balance import rebased, totals
from services.pricing.core.one_reading import one_reading_effects
from services.pricing.core.rates import compile_rates
from services.pricing.core.reach import reach_of
from services.pricing.core.tariff import Basis, Tariff
from tests.services.pricing import proposals
from tests.services.pricing.proposals import LAW, bans, evidence_tree, format_2_tree, proposal

CASES = load((Path(__file__).parent / "gates.yaml").read_bytes(), "gates.yaml")["cases"]
NUMBERS = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_STEP = re.compile(r"\[([0-9]+)\]|([^.\[\]]+)")


def alter(tree: dict[str, Any], path: str, value: object) -> None:
    """Set what stands at a path; "absent" takes the key out."""
    *way, last = [int(number) if number else key for number, key in _STEP.findall(path)]
    at: Any = tree
    for step in way:
        at = at[step]
    if value == "absent":
        del at[last]
    else:
        at[last] = value


def made(case: dict[str, Any]) -> tuple[Tariff, Evidence]:
    """The tariff and the evidence of a case."""
    tariff = format_2_tree()
    trees = {"tariff": tariff, "evidence": evidence_tree(tariff)}
    for path, value in (case.get("change") or {}).items():
        alter(trees, path, value)
    for old, new in (case.get("rename_golden") or {}).items():
        for golden in tariff["golden_quotes"]:
            golden["features"][new] = golden["features"].pop(old)
    change = case.get("approved", 0)
    tariff["basis"]["off_balance"]["approved_change_millionths"] = change
    if case.get("rebase") or change:
        bases = rebased(msgspec.convert(trees["evidence"], Evidence), change)
        for cause in tariff["causes"]:
            cause["base_e4"] = bases[cause["name"]]
    found, evidence = proposal(tariff, trees["evidence"])
    trees = {
        "tariff": msgspec.json.decode(msgspec.json.encode(found)),
        "evidence": msgspec.json.decode(msgspec.json.encode(evidence)),
    }
    for path, value in (case.get("edit") or {}).items():
        alter(trees, path, value)
    return msgspec.convert(trees["tariff"], Tariff), msgspec.convert(trees["evidence"], Evidence)


@pytest.mark.parametrize("name", CASES)
def test_a_case_fails_these_gates_and_no_others(name: str) -> None:
    case = CASES[name]
    share = case.get("law", LAW.share_millionths)
    law = None if share is None else LegalCap(share, case.get("law_source", "a law"))
    judged = judge(*made(case), bans(), law)
    failed = {gate.name: [fault.reason for fault in gate.faults] for gate in judged}
    assert {gate: reasons for gate, reasons in failed.items() if reasons} == case["fails"]
    assert [gate.name for gate in judged if not gate.passed] == [
        gate for gate in failed if gate in case["fails"]
    ]
    assert all_passed(judged) is (not case["fails"])


FIGURES = {
    "in_order": "0 found, none allowed",
    "monotone": "0 breaches in 4 tables of 2 biometrics, none allowed",
    "one_layer": "0 breaches, with 2 in the outcome layer, none allowed",
    "flat_below": "0 breaches in 2 outcomes, none allowed",
    "one_reading": "one lowers a factor by up to 8.5107 %, allowed up to 12 %",
    "credit_cap": "readings take off up to 17.668 %, the tariff's cap is 30 %, the law's 40 %",
    "collar": "0.8 to 1.25 times the expiring premium, allowed 0.5 to 2",
    "floor": "the cheapest is 1,725.37 CNY, allowed from 1,000.00 CNY",
    "large_losses": "85.00 CNY a person-year (95 %: 59.50 to 119.00) from 40 claims, the largest "
    "11 % of it, allowed 50 %",
    "off_balance": "expected claims change by 0 %, approved 0 %, to a millionth",
    "banned_factors": "0 breaches by 5 features against 1 ban in CN, none allowed",
    "alternative": "stated for 2 of 2 outcomes, asked of all",
    "finite": "0 are not, among 6 coefficients and all cells, none allowed",
    "converged": "6 of 6 models, asked of all",
    "selection": "0 breaches, 0 cells differ from what was indicated, none allowed",
    "golden_quotes": "5 of 5 golden quotes, asked of all",
}


def figures(case: dict[str, Any]) -> dict[str, str]:
    found = {gate.name: gate.figure for gate in judge(*made(case), bans(), LAW)}
    assert re.fullmatch(
        "the evidence is [0-9a-f]{12}…, [0-9]+ breaches, none allowed", found.pop("evidence")
    )
    return found


def test_an_outcome_without_a_lower_bound_is_told_the_way_to_one() -> None:
    case = CASES["an outcome states its clinical lower bound"]
    (text,) = (fault.text for gate in judge(*made(case), bans(), LAW) for fault in gate.faults)
    assert text == (
        "must state the clinical lower bound, below which no factor changes; "
        "what was fitted without is fitted again, or the tariff proposed anew with it"
    )


def test_a_gate_says_the_figure_that_it_judges_by() -> None:
    assert figures({}) == FIGURES
    for name, gate, figure in (
        ("a fit that did not converge is no ground", "converged", "5 of 6 models, asked of all"),
        (
            "who cannot reach a target has another way",
            "alternative",
            "stated for 0 of 2 outcomes, asked of all",
        ),
        (
            "a cell that differs from what was indicated says why",
            "selection",
            "2 breaches, 2 cells differ from what was indicated, none allowed",
        ),
        (
            "a change of the bases that was approved is in balance",
            "off_balance",
            "expected claims change by 5 %, approved 5 %, to a millionth",
        ),
    ):
        assert figures(CASES[name])[gate] == figure


def test_a_change_for_less_has_its_sign_and_every_wrong_quote_is_counted() -> None:
    approved = CASES["a change of the bases that was approved is in balance"]
    less = figures({**approved, "approved": -50_000})["off_balance"]
    assert less == "expected claims change by −5 %, approved −5 %, to a millionth"
    wrong = {f"tariff.golden_quotes[{place}].premium_minor": 1 for place in (0, 3)}
    assert figures({"edit": wrong})["golden_quotes"] == "3 of 5 golden quotes, asked of all"


def test_without_a_ban_there_are_none_to_breach() -> None:
    told = figures({"change": {"tariff.basis.jurisdiction": "JP"}})["banned_factors"]
    assert told == "0 breaches by 5 features against 0 bans in JP, none allowed"


def test_a_load_is_told_to_the_fen_and_its_largest_claim_to_the_percent() -> None:
    half_a_fen = {"evidence.large_losses[0].high95_e4": 119_005_000}
    assert "59.50 to 119.01)" in figures({"change": half_a_fen})["large_losses"]
    assert "59.50 to 119.00)" in figures({"change": _more(half_a_fen, -1)})["large_losses"]
    share = {"evidence.large_losses[0].largest_millionths": 605_001}
    told = figures({"change": share})["large_losses"]
    assert told.endswith("the largest 61 % of it, allowed 50 %")
    judged = {gate.name: gate.faults for gate in judge(*made({"change": share}), bans(), LAW)}
    (decided,) = judged["large_losses"]
    assert decided.text.startswith("one claim is 61 % of the large-loss load: check it")
    without = figures(CASES["causes without a large loss make no load"])
    assert without["large_losses"] == "there is no load"


def _more(change: dict[str, int], by: int) -> dict[str, int]:
    return {path: value + by for path, value in change.items()}


def test_figures_of_nothing_are_nothing() -> None:
    without: dict[str, Any] = {
        f"tariff.basis.windows[{number}].credibility_millionths": 0 for number in (0, 1)
    }
    tree = format_2_tree()
    for c, cause in enumerate(tree["causes"]):
        for t, table in enumerate(cause["tables"]):
            for place in range(len(table["cells"])):
                without[f"evidence.causes[{c}].tables[{t}].cells[{place}].amount_minor"] = 0
    found = figures({"change": without})
    assert found["one_reading"] == "one lowers a factor by up to 0 %, allowed up to 12 %"
    assert found["off_balance"] == FIGURES["off_balance"]


def test_a_figure_that_is_a_bound_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_MOST_COMBINATIONS", 1)
    found = figures({})
    assert "(a bound)" in found["credit_cap"]
    assert "(a bound)" in found["floor"]


def test_no_gates_at_all_are_not_passed() -> None:
    assert not all_passed(())


def test_every_gate_says_its_clause_and_its_figure() -> None:
    judged = judge(*proposal(), bans(), LAW)
    assert [gate.name for gate in judged] == list(gates._GATES)
    assert all(gate.figure and gate.clause and gate.zh and gate.en for gate in judged)
    assert ASKED.keys() == {*gates._GATES, "basis"}


def test_a_gate_says_the_same_figures_in_both_languages() -> None:
    for name in CASES:
        for gate in judge(*made(CASES[name]), bans(), LAW):
            assert gate.en.endswith(f": {gate.figure}")
            assert set(NUMBERS.findall(gate.zh)) == set(NUMBERS.findall(gate.en)), gate.name


def test_every_gate_is_explained_where_it_says() -> None:
    page, _, heading = CLAUSE.partition("#")
    text = (Path(__file__).parents[4] / page).read_text("utf-8")
    (section,) = (part for part in text.split("\n## ") if part.lower().startswith(heading))
    told = set(re.findall(r"^\| `([a-z_]+)`(?:, `([a-z_]+)`)? \|", section, re.MULTILINE))
    assert {name for row in told for name in row if name} == {*gates._GATES, "basis"}


def test_every_gate_and_every_reason_has_a_case() -> None:
    told = {gate for case in CASES.values() for gate in case["fails"]}
    assert told == {*gates._GATES, "basis"}
    reasons = {one for case in CASES.values() for some in case["fails"].values() for one in some}
    folder = Path(services.pricing.core.__path__[0])
    assert (
        reasons_in(*(folder / f"{one}.py" for one in ("gates", "banned", "large_loss_gate")))
        <= reasons
    )


def reasons_in(*files: Path) -> set[str]:
    return {
        str(node.args[1].value)
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Fault"
        and isinstance(node.args[1], ast.Constant)
    }


_BASIS: list[tuple[str, object, str, str]] = [
    ("collar.least_millionths", 1_000_001, "tariff.basis.collar", "BOUNDS_CROSSED"),
    ("collar.greatest_millionths", 999_999, "tariff.basis.collar", "BOUNDS_CROSSED"),
    ("windows[0].feature", "weight", "tariff.basis.windows[0].feature", "UNKNOWN_FEATURE"),
    ("windows[0].feature", "sex", "tariff.basis.windows[0].feature", "UNKNOWN_FEATURE"),
    ("windows[0].feature", "age", "tariff.basis.windows[0].feature", "UNKNOWN_FEATURE"),
    ("windows[1].feature", "hba1c_percent", "tariff.basis.windows[1].feature", "DUPLICATE_NAME"),
    (
        "windows[0].one_reading_months",
        13,
        "tariff.basis.windows[0].one_reading_months",
        "BOUNDS_CROSSED",
    ),
    ("windows[0].stratum_mean", "8", "tariff.basis.windows[0].stratum_mean", "WRONG_PLACES"),
    ("windows[0].stratum_mean", "20.1", "tariff.basis.windows[0].stratum_mean", "BOUNDS_CROSSED"),
    (
        "alternatives[0].feature",
        "weight",
        "tariff.basis.alternatives[0].feature",
        "UNKNOWN_FEATURE",
    ),
]


@pytest.mark.parametrize(("path", "value", "where", "reason"), _BASIS)
def test_a_basis_that_contradicts_itself_is_at_fault(
    path: str, value: object, where: str, reason: str
) -> None:
    tree = format_2_tree()
    alter(tree["basis"], path, value)
    found = list(basis_faults(msgspec.convert(tree, Tariff)))
    assert (where, reason) in [(one.path, one.reason) for one in found]


def test_a_basis_at_its_own_bounds_is_in_order() -> None:
    for path, value in (
        ("collar.least_millionths", 1_000_000),
        ("collar.greatest_millionths", 1_000_000),
        ("windows[0].one_reading_months", 12),
        ("windows[0].stratum_mean", "3.0"),
        ("windows[0].stratum_mean", "20.0"),
    ):
        tree = format_2_tree()
        alter(tree["basis"], path, value)
        assert not list(basis_faults(msgspec.convert(tree, Tariff)))


def test_every_fault_of_a_basis_comes_at_once() -> None:
    tree = format_2_tree()
    windows = tree["basis"]["windows"]
    windows.insert(0, {**windows[0], "feature": "weight"})
    windows[1]["stratum_mean"] = "8"
    windows[2]["stratum_mean"] = "999"
    found = list(basis_faults(msgspec.convert(tree, Tariff)))
    assert [(one.path[-22:], one.reason) for one in found] == [
        ("sis.windows[0].feature", "UNKNOWN_FEATURE"),
        ("indows[1].stratum_mean", "WRONG_PLACES"),
        ("indows[2].stratum_mean", "BOUNDS_CROSSED"),
    ]


@pytest.mark.parametrize(
    ("first", "last", "banned"),
    [
        ("2020-01-01", "2024-12-31", False),
        ("2020-01-01", "2025-01-01", True),
        ("2027-12-31", None, True),
        ("2028-01-01", None, False),
    ],
)
def test_a_ban_counts_on_every_day_that_it_shares(
    first: str, last: str | None, banned: bool
) -> None:
    tree = format_2_tree()
    tree |= {"valid_first": "2025-01-01", "valid_last": "2027-12-31"}
    ban = Ban(
        name="sex",
        jurisdiction="CN",
        first=date.fromisoformat(first),
        last=None if last is None else date.fromisoformat(last),
        words=("sex",),
        phrases=(),
        source="a law",
    )
    found = list(banned_faults(msgspec.convert(tree, Tariff), "CN", [ban]))
    assert bool(found) is banned


def test_format_1_names_no_basis_and_format_2_has_one() -> None:
    tree = format_2_tree()
    tree["format"] = 1
    assert [one.reason for one in basis_faults(msgspec.convert(tree, Tariff))] == ["UNKNOWN_KEY"]
    del tree["basis"]
    assert not list(basis_faults(msgspec.convert(tree, Tariff)))
    tree["format"] = 2
    assert [one.reason for one in basis_faults(msgspec.convert(tree, Tariff))] == ["MISSING_KEY"]


def test_one_reading_moves_a_mean_by_its_share_of_the_months() -> None:
    """HbA1c 3.0 against 8.5 in 3 of 12 months at Z 0.6 moves u by 0.825, 9 steps of 0.1.

    From 7.5-7.9 (0.94) one reaches 6.9 (0.86) then: 8.5106 %. From 8.5 (1) no lower than 7.6.
    """
    tariff, _ = proposal()
    assert isinstance(tariff.basis, Basis)
    effects = dict(one_reading_effects(tariff, tariff.basis))
    assert effects["tariff.causes[0].tables[3]"] == 85_107
    # The systolic: (150 - 60) * 0.25 * 0.6 = 13.5, 14 steps: 0.92 against 0.96 and 0.98 at 140.
    assert effects["tariff.causes[0].tables[4]"] == 61_225


def test_more_credibility_or_months_never_lets_one_reading_move_less() -> None:
    before = 0
    for credibility in range(0, 1_000_001, 50_000):
        tree = format_2_tree()
        tree["basis"]["windows"][0]["credibility_millionths"] = credibility
        tariff = msgspec.convert(tree, Tariff)
        assert isinstance(tariff.basis, Basis)
        effect = dict(one_reading_effects(tariff, tariff.basis))["tariff.causes[0].tables[3]"]
        assert effect is not None
        assert effect >= before
        before = effect
    assert before == 113_403  # from 0.97 to 0.86, 11 steps apart; 1 is 16 steps away


def test_the_reach_is_exact_or_a_bound_that_is_no_narrower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates = compile_rates(proposal()[0])
    exact = reach_of(rates)
    assert exact.exact
    goldens = {one.name: one.premium_minor for one in rates.tariff.golden_quotes}
    assert exact.dearest_minor == max(goldens.values())
    monkeypatch.setattr(reach, "_MOST_COMBINATIONS", 1)
    bound = reach_of(rates)
    assert not bound.exact
    assert bound.cheapest_minor <= exact.cheapest_minor
    assert bound.dearest_minor >= exact.dearest_minor
    assert bound.greatest_credit_millionths >= exact.greatest_credit_millionths


def test_rebased_bases_keep_the_expected_claims_or_change_them_by_what_was_approved() -> None:
    tree = format_2_tree()
    evidence = evidence_tree(tree)
    for cell in evidence["causes"][0]["tables"][0]["cells"][:4]:
        cell["selected_millionths"] = 400_000
        cell["reason"] = "softer for the young"
    said = msgspec.convert(evidence, Evidence)
    for change in (-50_000, 0, 1, 80_000):
        indicated, selected = totals(said, rebased(said, change))
        assert abs(selected * 1_000_000 - indicated * (1_000_000 + change)) <= indicated
    unmoved = {cause["name"]: cause["base_e4"] for cause in tree["causes"]}
    indicated, selected = totals(said, unmoved)  # negative control: without moving the bases
    assert abs(selected - indicated) * 1_000_000 > indicated


def test_the_proposal_of_these_tests_can_be_altered_without_altering_the_next() -> None:
    first = copy.deepcopy(proposals.format_2_tree())
    proposals.format_2_tree()["basis"].clear()
    assert proposals.format_2_tree() == first
