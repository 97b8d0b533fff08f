"""Workings are true, their numbers are stated, and what a case expects follows from them."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.claims.plans.cases import run_cases
from services.claims.plans.workings import plain, read_working
from services.common.strict_yaml import StrictYamlError, load
from tests.services.claims import workings
from tests.services.claims.core.bills import CASES, PLANS, plan_named
from tests.services.claims.plans.test_cases import ONE

FILES = sorted(CASES.glob("*.yaml"))

GOOD = [
    ("100 - 20 = 80", "80", ""),
    ("8000.00 - 1000.00 = 7000.00  deductible", "7000", "deductible"),
    ("B1: (1200.05 - 200 - 1000) * 0.9 = 0.045 before rounding", "0.045", "before rounding"),
    ("round(0.045) = 0.05", "0.05", ""),
    ("round(0.0449) = 0.04 half up", "0.04", "half up"),
    ("round(20 - 20.045) = 0.00", None, None),
    ("floor(100 / 3) = 33.33 its part before the remainder", "33.33", None),
    ("round(99.5, 0) = 100 whole yen", "100", "whole yen"),
    ("floor(99.55, 1) = 99.5", "99.5", ""),
    ("min(50, 30, 40) = 30 the tightest", "30", "the tightest"),
    ("max(0, 20 - 30) = 0", "0", ""),
    ("sum(1, 2, 3) = 6", "6", ""),
    ("100 / 8 = 12.5", "12.5", ""),
    ("2 + 3 * 4 - 6 / 3 = 12", "12", ""),
    ("10 - 4 - 3 = 3", "3", ""),
    ("64 / 4 / 2 = 8", "8", ""),
]


@pytest.mark.parametrize(("text", "value", "reason"), GOOD, ids=lambda one: str(one)[:30])
def test_a_line_is_read_exactly(text: str, value: str | None, reason: str | None) -> None:
    working = read_working(text)
    if value is not None:
        assert working.value == Fraction(value)
        assert working.holds
    else:
        assert not working.holds
        assert plain(working.value) == "-0.05"
    if reason is not None:
        assert working.reason == reason


UNREADABLE = [
    ("100 - 20", "one equation"),
    ("100 - 20 = 80 = 80", "one equation"),
    ("100 - 20 = 80, after copay", "one number, then a space"),
    ("100 - 20 = eighty", "one number, then a space"),
    ("100 - 20 = -80", "one number, then a space"),
    ("100 - 20 = 080", "one number, then a space"),
    ("100 x 20 = 2000", "a number was expected|was not expected"),
    ("100 20 = 2000", "'20' was not expected"),
    ("1,000 - 20 = 980", "no arithmetic"),
    ("1_000 - 20 = 980", "no arithmetic"),
    ("010 - 2 = 8", "no arithmetic"),
    ("1.5.5 - 2 = 8", "no arithmetic"),
    ("1e3 - 2 = 998", "was not expected"),
    ("(1 + 2 = 3", r"\) was expected, but"),
    ("1 + 2) = 3", "was not expected"),
    ("1 + = 1", "the expression ends"),
    ("= 1", "the expression ends"),
    ("-1 + 2 = 1", "a number was expected"),
    ("1 / (2 - 2) = 0", "divided by 0"),
    ("round(1, 7) = 1", "for whole units"),
    ("round(1, 0.5) = 1", "for whole units"),
    ("round(1, 0, 0) = 1", "for whole units"),
    ("max(1) = 1", "two values or more"),
    ("exec(1) = 1", "a number was expected"),
    ("__import__ = 1", "no arithmetic"),
    ("1 ** 2 = 1", "a number was expected"),
    (f"{'(' * 21}1{')' * 21} = 1", "at most 20 deep"),
    (f"{'1 + ' * 60}1 = 61", "at most 60 numbers"),
    (f"1 = 1 {'x' * 500}", "at most 500 characters"),
]


@pytest.mark.parametrize(("text", "why"), UNREADABLE, ids=lambda text: text[:30])
def test_what_is_no_working_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_working(text)


@given(st.text(alphabet="0123456789.+-*/(), =:roundmixasfl", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        working = read_working(text)
    except ValueError:
        return
    assert working.holds == (working.value == working.result)


@given(st.fractions())
def test_a_value_is_written_so_that_it_reads_back(value: Fraction) -> None:
    assert Fraction(plain(value)) == value


WORKED_ONE = ONE.replace(
    "        expect:\n",
    "        working:\n"
    '          - "100 - 20 = 80 after the copay"\n'
    '          - "round(80 * 0.60) = 48"\n'
    '          - "80 - 48 = 32"\n'
    '          - "20 + 32 = 52"\n'
    "        expect:\n",
)
WRONG = [
    ("80 - 48 = 32", "80 - 48 = 33", "WRONG_WORKING", "it is 32, not 33"),
    ("80 - 48 = 32", "80 x 48 = 32", "NOT_A_WORKING", "was not expected"),
    ('"80 - 48 = 32"', "32", "NOT_TEXT", "in quotes"),
]


@pytest.mark.parametrize(("old", "new", "reason", "why"), WRONG, ids=lambda text: text[:30])
def test_a_wrong_working_is_a_fault_with_its_line(
    old: str, new: str, reason: str, why: str
) -> None:
    plan = plan_named("every-term")
    assert run_cases(plan, WORKED_ONE, "case.yaml").passed
    line = 1 + WORKED_ONE.splitlines().index('          - "80 - 48 = 32"')
    with pytest.raises(StrictYamlError) as caught:
        run_cases(plan, WORKED_ONE.replace(old, new), "case.yaml")
    assert [(one.line, one.reason) for one in caught.value.faults] == [(line, reason)]
    assert why in str(caught.value)


def test_a_case_may_have_a_working_of_its_own_beside_its_events() -> None:
    plan = plan_named("every-term")
    own = ONE.replace("    events:\n", '    working: ["1 + 1 = 2"]\n    events:\n')
    assert run_cases(plan, own, "case.yaml").passed
    with pytest.raises(StrictYamlError, match="it is 2, not 3"):
        run_cases(plan, own.replace("= 2", "= 3"), "case.yaml")


# --- the audit of the files, and that it can fail ---


@cache
def _tree(path: Path) -> dict[str, Any]:
    return load(path.read_bytes(), path.name)


@cache
def _of_plan(name: str) -> tuple[frozenset[Fraction], frozenset[str]]:
    """The numbers that a plan states, and its accumulators that count claims."""
    of_tests = CASES / "plans" / f"{name}.yaml"
    tree = _tree(of_tests if of_tests.exists() else PLANS / f"{name}.yaml")
    return workings.numbers_of(tree), workings.counted(tree)


def _audited(tree: dict[str, Any]) -> list[str]:
    given = tree.get("given", {})
    of_given = workings.numbers_of(given)
    faults = []
    for case in tree["cases"]:
        policies = case.get("policies", given.get("policies", {})).values()
        names = {tree["plan"], *(one["plan"] for one in policies if "plan" in one)}
        plans = [_of_plan(name) for name in sorted(names)]
        stated = of_given.union(*(numbers for numbers, _ in plans))
        counts = frozenset[str]().union(*(counted for _, counted in plans))
        faults += [f"{case['case']}: {fault}" for fault in workings.audit(case, stated, counts)]
    return faults


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_amount_of_the_cases_is_worked_and_every_working_stands(path: Path) -> None:
    assert _audited(_tree(path)) == []


def test_enough_cases_are_worked_and_no_two_are_the_same() -> None:
    trees = [_tree(path) for path in FILES]
    facts = Counter(
        workings.facts_of(tree["plan"], tree.get("given", {}), case)
        for tree in trees
        for case in tree["cases"]
    )
    assert [one for one, times in facts.items() if times > 1] == []
    worked = [case["case"] for tree in trees for case in tree["cases"] if workings.is_worked(case)]
    assert len(worked) >= 250


AUDITED = [
    ("100 - 20 = 80 after the copay", "101 - 20 = 81", "nobody states 101"),
    ("round(80 * 0.60) = 48", "round(80 * 0.61) = 48.8", "nobody states 0.61"),
    ("100 - 20 = 80 after the copay", "1 + 1 = 2", "anything can be made"),
    ("20 + 32 = 52", "20 + 20 = 40", "no line gives paid_by patient 52"),
    ("80 - 48 = 32", "80 - 48 = 33", "it is 32"),
    ("80 - 48 = 32", "80 x 48 = 32", "was not expected"),
]


@pytest.mark.parametrize(("old", "new", "said"), AUDITED, ids=lambda text: text[:30])
def test_an_audit_finds_what_is_wrong(old: str, new: str, said: str) -> None:
    assert _audited(load(WORKED_ONE, "case.yaml")) == []
    found = _audited(load(WORKED_ONE.replace(old, new), "case.yaml"))
    assert any(said in one for one in found), found


def test_an_expected_amount_is_no_fact() -> None:
    circular = WORKED_ONE.replace("round(80 * 0.60) = 48", "52 - 4 = 48")
    assert any("nobody states 52" in one for one in _audited(load(circular, "case.yaml")))


def test_a_case_under_another_name_or_in_other_words_is_the_same() -> None:
    tree = load(WORKED_ONE, "case.yaml")
    other = load(ONE.replace("A visit with a copay", "Another visit"), "case.yaml")
    elsewhere = load(ONE.replace("2025-03-10", "2025-03-11"), "case.yaml")
    first, second, third = (
        workings.facts_of(one["plan"], {}, one["cases"][0]) for one in (tree, other, elsewhere)
    )
    assert first == second != third
