"""Case files are decided as they say, the runner says where not, and nothing lacks a case."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from services.claims.core.explain import explain
from services.claims.core.plan import Plan
from services.claims.core.reasons import Reason
from services.claims.plans.cases import CaseReport, run_cases
from services.common.strict_yaml import StrictYamlError, load
from tests.services.claims.core.bills import CASES, PLANS, ROOT, plan_named

FILES = sorted(CASES.glob("*.yaml"))

# Clauses that no decision can name, and why.
_OF_SECTIONS = "a section's own clause is named only when it or its share has ended"
_PAYS_OUT = "who is paid, and when, cuts nothing"
NEVER_NAMED = {
    "every-term": {
        "2.1": _OF_SECTIONS,
        "2.4": _OF_SECTIONS,
        "2.5": _OF_SECTIONS,
        "7.2": "an exception lets through and cuts nothing",
    },
    "every-benefit": {
        "1.1": "cover on the date is every-term's",
        "2.1": _OF_SECTIONS,
        "2.2": _OF_SECTIONS,
        "2.3": _OF_SECTIONS,
        "2.4": _OF_SECTIONS,
        "2.5": _OF_SECTIONS,
        "2.6": _OF_SECTIONS,
        "7.1": _PAYS_OUT,
        "7.2": _PAYS_OUT,
        "8.8": _PAYS_OUT,
    },
    "every-edit": {},
    "conventions-combined": {
        "1.1": "cover on the date is conventions-time's",
        "6.3": "another ceiling is always tighter",
    },
    "conventions-edits": {},
    "conventions-flow": {
        "2.2": "what the family has borne is named under its member's clause",
        "2.4": "at most its share's cut is lower",
        "5.2": "four eyes cut nothing",
        "5.3": "nobody is drawn by it in the cases",
        "5.4": _PAYS_OUT,
        "6.1": _PAYS_OUT,
    },
    "conventions-money": {"6.4": "another ceiling is always tighter"},
    "conventions-options": {
        "2.2": "an exception lets through and cuts nothing",
        "4.1": "which tier counts cuts nothing",
        "4.2": "what is decided again cuts nothing",
    },
    "conventions-otherwise": {},
    "side-by-side": {},
    "conventions-policies": {},
    "conventions-time": {
        "4.3": "an exception lets through and cuts nothing",
        "7.2": "what other insurers paid is conventions-money's",
    },
    "million-medical": {
        "2.1": _OF_SECTIONS,
        "2.2": _OF_SECTIONS,
        "2.3": _OF_SECTIONS,
    },
    "chronic-diabetes": {
        "2.1": _OF_SECTIONS,
        "2.2": _OF_SECTIONS,
        "2.3": _OF_SECTIONS,
        "2.4": _OF_SECTIONS,
        "4.2": "that diabetes is covered cuts nothing",
    },
    "city-huiminbao": {
        "2.1": _OF_SECTIONS,
        "2.2": _OF_SECTIONS,
        "2.3": _OF_SECTIONS,
        "3.3": "that other conditions are covered cuts nothing",
    },
    "hypertension-tiers": {
        "2.1": _OF_SECTIONS,
        "2.2": _OF_SECTIONS,
        "2.3": _OF_SECTIONS,
        "3.2": "that hypertension is covered cuts nothing",
    },
    "outpatient-copay": {
        "2.1": _OF_SECTIONS,
        "2.2": _OF_SECTIONS,
        "2.5": "a copay of 0 cuts nothing",
        "3.2": "that old conditions are covered cuts nothing",
    },
    "family-deductible": {
        "2.1": _OF_SECTIONS,
        "2.2": _OF_SECTIONS,
        "2.4": "the family's deductible ends the member's, which is named",
    },
    "synthea-usd": {
        "2.1": _OF_SECTIONS,
        "2.2": _OF_SECTIONS,
        "2.3": _OF_SECTIONS,
        "2.4": _OF_SECTIONS,
        "2.5": _OF_SECTIONS,
    },
}


@cache
def _report(path: Path) -> tuple[Plan, CaseReport]:
    yaml = path.read_bytes()
    plan = plan_named(load(yaml, str(path))["plan"])
    return plan, run_cases(plan, yaml, str(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_case_is_decided_as_written(path: Path) -> None:
    _, report = _report(path)
    assert report.passed, "\n".join(line for line in report.lines() if "agrees" not in line)
    assert len(report.results) >= 10


def test_every_reason_has_a_case() -> None:
    reached = {
        reason
        for path in FILES
        for result in _report(path)[1].results
        for one in result.made
        for reason in (
            *(share.reason for line in one.decision.lines for share in line.shares),
            *(pend.reason for pend in one.decision.pends),
        )
    }
    assert set(Reason) - reached == set()


@pytest.mark.parametrize("name", NEVER_NAMED)
def test_every_clause_of_a_plan_has_a_case(name: str) -> None:
    made = [
        one.decision
        for path in FILES
        for result in _report(path)[1].results
        for one in result.made
        if one.plan.id == name
    ]
    named = {share.clause for decision in made for line in decision.lines for share in line.shares}
    named |= {pend.clause for decision in made for pend in decision.pends}
    unnamed = {clause.id for clause in plan_named(name).clauses} - named
    assert unnamed == set(NEVER_NAMED[name])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_decision_of_a_case_is_explained_whatever_it_waits_for(path: Path) -> None:
    for result in _report(path)[1].results:
        for one in result.made:
            decision, told = one.decision, explain(one.plan, one.decision)
            assert len(told.zh) == len(told.en) >= 1 + len(decision.lines) + len(decision.pends)


def test_every_example_plan_has_cases() -> None:
    having = {_report(path)[0].id for path in FILES}
    assert {path.stem for path in PLANS.glob("*.yaml")} <= set(NEVER_NAMED) <= having


# --- the runner itself ---

ONE = """\
plan: every-term
cases:
  - case: A visit with a copay
    codes: demo-yibao
    member: {born: 1980-06-15, social_insurance: true}
    policy: {first_day: 2025-01-01, last_day: 2025-12-31, covered_since: 2024-01-01}
    providers: {CLINIC: {tier: primary}}
    events:
      - claim: B1
        provider: CLINIC
        care: outpatient
        day: 2025-03-10
        diagnoses: [J06]
        lines: [{code: V1, price: "100.00"}]
        expect:
          decision: auto_approved
          paid_by: {insurer: "48.00", patient: "52.00"}
          because: {copay 3.4: "20.00", coinsurance 4.3: "32.00", benefit 4.3: "48.00"}
          awaits: []
          lines: {1: {outcome: cut, section: outpatient, allowed: "100.00", benefit: "48.00"}}
          balances: {visits: 1, family-ceiling: "48.00", rehabilitation-units: "0"}
"""


def _run(yaml: str) -> CaseReport:
    return run_cases(plan_named("every-term"), yaml, "case.yaml")


def test_a_case_that_agrees_has_no_differences() -> None:
    report = _run(ONE)
    assert report.passed
    assert list(report.lines()) == [
        "agrees   A visit with a copay",
        "1 cases, 1 agree, 0 differ",
    ]


DIFFERENT = [
    (
        "decision: auto_approved",
        "decision: denied",
        "the claim is auto_approved, the case says denied",
    ),
    (
        'insurer: "48.00"',
        'insurer: "50.00"',
        "the insurer pays 48.00, the case says 50.00: 2.00 less",
    ),
    (
        'patient: "52.00"',
        'patient: "50.00"',
        "the patient bears 52.00, the case says 50.00: 2.00 more",
    ),
    (', patient: "52.00"', "", "the patient bears 52.00, the case says 0.00: 52.00 more"),
    (
        'copay 3.4: "20.00"',
        'copay 3.4: "20.01"',
        "copay under clause 3.4 is 20.00, the case says 20.01: 0.01 less",
    ),
    (
        'copay 3.4: "20.00"',
        'deductible 3.1: "20.00"',
        "deductible under clause 3.1 is nothing, the case says 20.00",
    ),
    ('copay 3.4: "20.00", ', "", "copay under clause 3.4 is 20.00, the case does not name it"),
    (
        "awaits: []",
        "awaits: [provider.tier]",
        "the claim awaits nothing, the case says provider.tier",
    ),
    ("outcome: cut", "outcome: allowed", "line 1: outcome is cut, the case says allowed"),
    (
        "section: outpatient",
        "section: dental",
        "line 1: section is outpatient, the case says dental",
    ),
    (
        'allowed: "100.00"',
        'allowed: "99.00"',
        "line 1: allowed is 100.00, the case says 99.00: 1.00 more",
    ),
    ("visits: 1", "visits: 2", "balance visits is 1, the case says 2"),
    (
        'rehabilitation-units: "0"',
        'rehabilitation-units: "1.5"',
        "balance rehabilitation-units is 0 units, the case says 1.5 units",
    ),
    ("lines: {1: {", "lines: {2: {", "there is no line 2"),
    (
        "decision: auto_approved",
        "refused: [NOTHING_BILLED]",
        "the bill is accepted, the case says refused (NOTHING_BILLED)",
    ),
    (
        'price: "100.00"',
        "price: 0",
        "the bill is refused: lines: nothing is billed; send the lines",
    ),
    (
        'price: "100.00"',
        'price: "100.00", system: loinc',
        "the bill is refused: lines[0].code: the plan knows no code system http://loinc.org",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), DIFFERENT, ids=lambda text: text[:30])
def test_a_difference_is_said_in_an_actuarys_words(old: str, new: str, said: str) -> None:
    assert old in ONE
    report = _run(ONE.replace(old, new))
    assert not report.passed
    assert f"after B1: {said}" in report.results[0].differences
    assert f"    case.yaml:3: after B1: {said}" in list(report.lines())


_BACKWARDS = "{provider: C, first_day: 2025-02-01, last_day: 2025-01-01}"
_ENDLESS = "first_day: 2025-01-01, last_day: 9999-12-31"
BAD = [
    ("plan: every-term", "plan: other", "OTHER_PLAN"),
    ("codes: demo-yibao", "codes: latin", "UNKNOWN_CODE_SYSTEM"),
    ("social_insurance: true", "mood: good", "UNKNOWN_KEY"),
    ("born: 1980-06-15", "born: 1980-06-31", "IMPOSSIBLE_DATE"),
    ("born: 1980-06-15, ", "", "MISSING_KEY"),
    ("care: outpatient", "care: spa", "UNKNOWN_WORD"),
    ("        day: 2025-03-10\n", "", "MISSING_KEY"),
    ('price: "100.00"', "price: 100.00", "FLOAT"),
    ('price: "100.00"', 'price: "-1"', "NEGATIVE"),
    ("copay 3.4", "copay 9.9", "UNKNOWN_REASON"),
    ("copay 3.4", "kopay 3.4", "UNKNOWN_REASON"),
    ("visits: 1", "visitz: 1", "UNKNOWN_REFERENCE"),
    ("lines: {1:", "lines: {one:", "NOT_A_WHOLE_NUMBER"),
    (
        'price: "100.00"',
        'price: "999999999999999999", quantity: "999999999999999999"',
        "OUT_OF_RANGE",
    ),
    ('price: "100.00"', 'price: "100.00", quantity: "1000000000.0001"', "OUT_OF_RANGE"),
    ('insurer: "48.00"', 'insurer: "10000000000000.01"', "OUT_OF_RANGE"),
    ('insurer: "48.00"', 'insurer: "48.001"', "NOT_AN_AMOUNT"),
    ('price: "100.00"', 'price: "10000.01", quantity: 1000000000', "OUT_OF_RANGE"),
    ("claim: B1", "review: B1", "UNKNOWN_CLAIM"),
    ("claim: B1", "completion: B1", "UNKNOWN_CLAIM"),
    ("claim: B1", "reversal: B1", "UNKNOWN_CLAIM"),
    ("claim: B1", "void: B1", "UNKNOWN_CLAIM"),
    ("claim: B1", "bill: B1", "NO_EVENT"),
    ("claim: B1", "claim: B1\n        review: B1", "NO_EVENT"),
    ("last_day: 2025-12-31", "last_day: 2024-12-31", "DATES_OUT_OF_ORDER"),
    ("born: 1980-06-15,", "born: 1980-06-15, weather: rain,", "UNKNOWN_KEY"),
    (
        "born: 1980-06-15,",
        "born: 1980-06-15, cover_first_day: 2025-05-01, cover_last_day: 2025-04-01,",
        "DATES_OUT_OF_ORDER",
    ),
    (
        "born: 1980-06-15,",
        "born: 1980-06-15, authorisations: [{id: A, first_day: 2025-01-01, last_day: 2025-12-31}],",
        "AUTHORISES_EVERYTHING",
    ),
    (
        "born: 1980-06-15,",
        f"born: 1980-06-15, family_doctor: [{_BACKWARDS}],",
        "DATES_OUT_OF_ORDER",
    ),
    ("last_day: 2025-12-31", "last_day: 9999-12-31", "IMPOSSIBLE_DATE"),
    ("born: 1980-06-15,", "born: 1980-06-15, cover_last_day: 9999-12-31,", "IMPOSSIBLE_DATE"),
    (
        "born: 1980-06-15,",
        f"born: 1980-06-15, family_doctor: [{{provider: C, {_ENDLESS}}}],",
        "IMPOSSIBLE_DATE",
    ),
    (
        "born: 1980-06-15,",
        f"born: 1980-06-15, authorisations: [{{id: A, codes: [A], {_ENDLESS}}}],",
        "IMPOSSIBLE_DATE",
    ),
    (
        "first_day: 2025-01-01",
        "covered_since: 9999-12-15, first_day: 2025-01-01",
        "IMPOSSIBLE_DATE",
    ),
    ("        day: 2025-03-10\n", "        day: 9999-12-31\n", "IMPOSSIBLE_DATE"),
    (
        "codes: demo-yibao\n    member: {born",
        "codes: demo-yibao\n    member: {disclosed: [{diagnosis: J45, terms: at_share}], born",
        "CONTRADICTION",
    ),
    (
        "member: {born",
        "member: {disclosed: [{diagnosis: J45, terms: covered, share: 1}], born",
        "CONTRADICTION",
    ),
    ("events:", "event:", "NO_EVENTS"),
    ("decision: auto_approved", "decisions: auto_approved", "UNKNOWN_KEY"),
    ("    policy:", "    workings: 1 + 1\n    policy:", "UNKNOWN_KEY"),
    ("    policy:", "    working: 1 + 1\n    policy:", "NOT_A_LIST"),
]


@pytest.mark.parametrize(("old", "new", "reason"), BAD, ids=lambda text: text[:30])
def test_a_case_file_with_a_fault_is_refused_with_its_line(old: str, new: str, reason: str) -> None:
    assert old in ONE
    with pytest.raises(StrictYamlError) as caught:
        _run(ONE.replace(old, new, 1))
    assert reason in {fault.reason for fault in caught.value.faults}


def test_a_day_beyond_what_policies_may_name_is_told_with_its_line_key_and_bounds() -> None:
    bad = ONE.replace("last_day: 2025-12-31", "last_day: 9999-12-31")
    with pytest.raises(StrictYamlError) as caught:
        _run(bad)
    (fault,) = caught.value.faults
    line = bad[: bad.index("9999")].count("\n") + 1
    assert (fault.line, fault.reason) == (line, "IMPOSSIBLE_DATE")
    assert fault.path.endswith("policy.last_day")
    assert fault.text == "write a day from 1900-01-01 to 2199-12-31"
    last = _run(ONE.replace("last_day: 2025-12-31", "last_day: 2199-12-31"))
    assert last.results


MORE_EVENTS = [
    ("      - claim: B1\n        expect: {}\n", "MISSING_KEY"),
    (
        "      - review: B1\n        lines: {1: {clause: '8.5'}}\n        expect: {}\n",
        "NOTHING_REVIEWED",
    ),
    ("      - review: B1\n        lines: {1: {units: 1}}\n        expect: {}\n", "UNKNOWN_KEY"),
    ("      - review: B1\n", "MISSING_KEY"),
    ("      - reversal: B1\n        lines: {2: 1}\n        expect: {}\n", "UNKNOWN_LINE"),
    ("      - reversal: B1\n        lines: {1: 2}\n        expect: {}\n", "ABOVE_BILLED"),
    ("      - completion: B1\n        price: '1.00'\n        expect: {}\n", "UNKNOWN_KEY"),
    ("      - plan_change: {nothing: {2025-04-01: 1}}\n", "UNKNOWN_REFERENCE"),
    ("      - plan_change: {other: {2025-04-01: '1.01'}}\n", "SHARE_OUT_OF_RANGE"),
    ("      - price_list: CLINIC\n", "MISSING_KEY"),
    ("      - endorsement: {mood: good}\n", "UNKNOWN_KEY"),
]


@pytest.mark.parametrize(("more", "reason"), MORE_EVENTS, ids=lambda text: text[:30])
def test_a_fault_of_a_later_event_is_refused_with_its_line(more: str, reason: str) -> None:
    with pytest.raises(StrictYamlError) as caught:
        _run(ONE + more)
    lines = len(ONE.splitlines())
    assert reason in {fault.reason for fault in caught.value.faults if fault.line > lines}


SEVERAL = """\
plan: conventions-policies
cases:
  - case: Two policies
    codes: demo-yibao
    members: {ann: {born: 1980-06-15}, bob: {born: 1981-06-15}}
    policies:
      one: {first_day: 2025-01-01, last_day: 2025-12-31}
      two: {plan: conventions-policies, first_day: 2025-02-01, last_day: 2025-12-31, insures: [ann]}
    history: {balances: [{policy: one, accumulator: yearly, period: 2025-01-01, used: 0}]}
    events:
      - {claim: B1, provider: C, day: 2025-03-01, lines: [{code: S1, price: 300}],
         expect: {order: [one, two], policies: {one: {pays: 100}}}}
      - {review: B1, policy: two, expect: {policies: {two: {takes_back: 0}}}}
"""
OF_SEVERAL = [
    ("plan: conventions-policies, first", "plan: no-such-plan, first", "UNKNOWN_PLAN"),
    ("plan: conventions-policies, first", "plan: conventions-otherwise, first", "OTHER_CURRENCY"),
    ("insures: [ann]", "insures: [eve]", "UNKNOWN_REFERENCE"),
    ("insures: [ann]", "renews: three", "UNKNOWN_REFERENCE"),
    ("insures: [ann]", "member: {born: 1980-06-15}", "CONTRADICTION"),
    ("insures: [ann]", "order: 0", "OUT_OF_RANGE"),
    ("insures: [ann]", "colour: red", "UNKNOWN_KEY"),
    (
        "    history:",
        "    policy: {first_day: 2025-01-01, last_day: 2025-12-31}\n    history:",
        "CONTRADICTION",
    ),
    ("{policy: one, acc", "{acc", "MISSING_KEY"),
    ("{policy: one, acc", "{policy: six, acc", "UNKNOWN_REFERENCE"),
    ("order: [one, two]", "order: [one, six]", "UNKNOWN_REFERENCE"),
    ("policies: {one: {pays", "policies: {six: {pays", "UNKNOWN_REFERENCE"),
    ("{order: [one, two]", "{pays: 1, order: [one, two]", "UNKNOWN_KEY"),
    ("review: B1, policy: two", "review: B1", "MISSING_KEY"),
    (
        "{review: B1, policy: two, expect: {policies: {two: {takes_back: 0}}}}",
        (
            "{correction: B1, member: bob, provider: C, day: 2025-03-01, expect: {},"
            " lines: [{code: S1, price: 300}]}"
        ),
        "BILL_OF_ANOTHER",
    ),
    ("claim: B1,", "claim: B1, sender: stranger,", "UNKNOWN_WORD"),
    ("pays: 100}", "waits_for: six}", "UNKNOWN_REFERENCE"),
]


def _several(yaml: str) -> CaseReport:
    source = str(CASES / "several.yaml")
    return run_cases(plan_named("conventions-policies"), yaml, source)


@pytest.mark.parametrize(("old", "new", "reason"), OF_SEVERAL, ids=lambda text: text[:30])
def test_a_fault_of_several_policies_is_refused(old: str, new: str, reason: str) -> None:
    assert _several(SEVERAL).passed
    assert old in SEVERAL
    with pytest.raises(StrictYamlError) as caught:
        _several(SEVERAL.replace(old, new, 1))
    assert reason in {fault.reason for fault in caught.value.faults}


APART = [
    (
        "order: [one, two]",
        "order: [two, one]",
        "the bill is claimed under one, two, the case says two, one",
    ),
    (
        "one: {pays: 100}",
        "one: {pays: 99}",
        "under one: what is paid now is 100.00, the case says 99.00: 1.00 more",
    ),
    (
        "one: {pays: 100}",
        "one: {waits_for: two}",
        "under one: the claim waits for the decision of nobody, the case says two",
    ),
    ("claim: B1,", "claim: B1, member: bob,", "under two: the bill opens no claim"),
]


@pytest.mark.parametrize(("old", "new", "said"), APART, ids=lambda text: text[:30])
def test_a_difference_names_its_policy(old: str, new: str, said: str) -> None:
    expect_two = SEVERAL.replace("one: {pays: 100}", "one: {pays: 100}, two: {pays: 100}")
    report = _several(expect_two.replace(old, new, 1))
    assert f"after B1: {said}" in report.results[0].differences


def test_a_case_that_differs_tells_what_the_engine_did() -> None:
    said = list(_run(ONE.replace('insurer: "48.00"', 'insurer: "50.00"')).lines())
    assert said[2:] == [
        "    after B1 the plan decides B1: auto_approved, category visit, 48.00 of 100.00",
        "      line 1 V1 in outpatient: cut, allowed 100.00",
        "        the patient bears 20.00: copay (clause 3.4 Outpatient copay)",
        "        the patient bears 32.00: coinsurance (clause 4.3 Share otherwise)",
        "        the insurer pays 48.00: benefit (clause 4.3 Share otherwise)",
        "1 cases, 0 agree, 1 differ",
    ]


def test_what_waits_is_told_as_nobody_s_yet() -> None:
    said = list(_run(ONE.replace("        care: outpatient\n", "")).lines())
    assert "      line 1 waits for bill.care_type (clause 8.4 Papers)" in said
    assert any(line.startswith("        nobody bears yet 100.00: fact_missing") for line in said)


def test_a_tier_that_came_too_late_is_told_with_the_day_that_it_missed() -> None:
    (told,) = _of_tiers("2025-01-02", "2025-03-10")
    assert told == (
        "      outcome tier in-control of 2025-01-02 came too late and does not count:"
        " it takes one certified by 2025-01-01, the first day of the policy year"
        " (clause 4.1 Day of the outcome tier)"
    )
    # The plan looks at the last day of the stay in 2026, at its first in 2027.
    assert "by 2026-03-10, the last day of the stay" in _of_tiers("2026-03-11", "2026-03-10")[0]
    assert "by 2027-03-09, the first day of the stay" in _of_tiers("2027-03-10", "2027-03-10")[0]
    in_time = ("2025-01-01", "2025-03-10"), ("2026-03-10",) * 2, ("2027-03-09", "2027-03-10")
    for certified, last_day in in_time:
        assert not _of_tiers(certified, last_day)


def test_of_several_tiers_those_are_told_that_came_too_late() -> None:
    told = _of_tiers(
        "2025-01-01}, {tier: in-control, certified: 2025-02-03}, "
        "{tier: in-control, certified: 2025-02-01",
        "2025-03-10",
    )
    assert [line.split()[4] for line in told] == ["2025-02-01", "2025-02-03"]


def _of_tiers(certified: str, last_day: str) -> list[str]:
    """What a case that differs says of the tiers of a stay of two days, 2025 to 2027."""
    first_day = f"{last_day[:-2]}{int(last_day[-2:]) - 1:02}"
    yaml = f"""
plan: conventions-options
given:
  codes: demo-yibao
  member: {{born: 1980-06-15, outcome_tiers: [{{tier: in-control, certified: {certified}}}]}}
  policy: {{first_day: {last_day[:4]}-01-01, last_day: {last_day[:4]}-12-31}}
  providers: {{PRICED: {{}}}}
cases:
  - case: Differs
    events:
      - claim: B1
        provider: PRICED
        care: outpatient
        from: {first_day}
        to: {last_day}
        lines: [{{code: P1, price: 80}}]
        expect: {{paid_by: {{insurer: 1, patient: 79}}}}
"""
    report = run_cases(plan_named("conventions-options"), yaml, "case.yaml")
    return [line for line in report.lines() if line.startswith("      outcome tier ")]


def test_a_plan_that_reads_no_tier_tells_of_none() -> None:
    late = "born: 1980-06-15, outcome_tier: {tier: any, certified: 2025-12-31}"
    differs = ONE.replace('insurer: "48.00"', 'insurer: "50.00"')
    with_tier = differs.replace("born: 1980-06-15", late)
    assert with_tier != differs
    assert list(_run(with_tier).lines()) == list(_run(differs).lines())


def test_two_claims_received_at_one_place_are_refused() -> None:
    line = "lines: [{code: V1, price: 1}]"
    claims = [
        f"{{claim: {name}, order: 1, provider: C, day: 2025-03-10, {line}, expect: {{}}}}"
        for name in ("B2", "B3")
    ]
    both = f"{ONE}      - together: [{', '.join(claims)}]\n"
    with pytest.raises(StrictYamlError) as caught:
        _run(both)
    assert {fault.reason for fault in caught.value.faults} == {"DUPLICATE_NUMBER"}


def test_all_faults_of_a_case_file_come_at_once() -> None:
    bad = ONE.replace("care: outpatient", "care: spa").replace("visits: 1", "visitz: 1")
    with pytest.raises(StrictYamlError) as caught:
        _run(bad)
    assert [fault.reason for fault in caught.value.faults] == ["UNKNOWN_WORD", "UNKNOWN_REFERENCE"]


def test_what_the_engine_would_refuse_is_told_beside_the_faults_of_a_file() -> None:
    backwards = ONE.replace("day: 2025-03-10", "from: 2025-03-10\n        to: 2025-03-09")
    nothing = ONE.replace("A visit", "Another").replace('"100.00"}]', "0}]").split("cases:\n")[1]
    both = backwards + nothing
    refused = run_cases(plan_named("every-term"), both, "cases.yaml")
    assert ["refused" in one.differences[0] for one in refused.results] == [True, True]
    with pytest.raises(StrictYamlError) as caught:
        _run(both.replace("visits: 1", "visitz: 1", 1))
    assert [(one.line, one.reason) for one in caught.value.faults] == [
        (22, "UNKNOWN_REFERENCE"),
        (29, "NOTHING_BILLED"),
    ]
    with pytest.raises(StrictYamlError) as caught:
        _run(both.replace("claim: B1\n", "claim: B1\n        caer: outpatient\n", 1))
    assert [(one.line, one.reason) for one in caught.value.faults] == [
        (9, "END_BEFORE_START"),
        (10, "UNKNOWN_KEY"),
        (30, "NOTHING_BILLED"),
    ]
    expected = both.replace("decision: auto_approved", "refused: [END_BEFORE_START]", 1)
    with pytest.raises(StrictYamlError) as caught:  # not of a bill that the case says is refused
        _run(expected.replace("claim: B1\n", "claim: B1\n        caer: outpatient\n", 1))
    assert [one.reason for one in caught.value.faults] == ["UNKNOWN_KEY", "NOTHING_BILLED"]


def test_two_cases_of_one_name_are_refused() -> None:
    body = ONE.split("cases:\n")[1]
    with pytest.raises(StrictYamlError, match="two cases are named"):
        _run(ONE + body)


def test_withdrawing_what_was_never_claimed_is_a_difference() -> None:
    report = _run(ONE + "      - withdraw: B9\n        expect: {}\n")
    assert report.results[0].differences == ("after B9: there is no such claim to withdraw",)


NOWHERE = (ONE + ONE.split("cases:\n")[1].replace("A visit", "Another")).replace(
    "provider: CLINIC", "provider: NOWHERE", 1
)


def test_a_provider_whom_a_file_with_providers_does_not_name_is_refused_and_told() -> None:
    stranger, known = _run(NOWHERE).results
    said = "after B1: the bill is refused: nobody knows provider NOWHERE; name it under providers"
    assert stranger.differences == (said,)
    assert not known.differences
    named_in_none = re.sub(r"(?m)^ +providers: .*\n", "", NOWHERE)
    assert "providers" not in named_in_none
    assert "nobody knows" not in str(_run(named_in_none).results)


_SERVED = "{bill: B0, provider: NOWHERE, code: V9, day: 2025-01-02, price: 1}"
_SIGNED = "{provider: NOWHERE, first_day: 2025-01-01, last_day: 2025-12-31}"


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        ("    events:\n", f"    history: {{services: [{_SERVED}]}}\n    events:\n"),
        ("social_insurance: true}", f"social_insurance: true, family_doctor: [{_SIGNED}]}}"),
    ],
    ids=["history", "family doctor"],
)
def test_a_provider_whom_a_fact_names_is_known(fact: str, told: str) -> None:
    assert fact in NOWHERE
    assert "nobody knows" not in str(_run(NOWHERE.replace(fact, told, 1)).results)


@pytest.mark.parametrize(
    ("balance", "counts"),
    [
        ("family-ceiling, period: 2025-01-01, used: 40000", True),
        ("family-ceiling, period: 2025-12-31, used: 40000", True),  # any day of the year
        ("family-ceiling, period: 2024-12-31, used: 40000", False),
        ("family-ceiling, used: 40000", True),  # the policy has one year
        ("visits, period: 2025-03-31, used: 2", True),
        ("visits, period: 2025-04-01, used: 2", False),
        ("lifetime-ceiling, used: 100000", True),
        ("lifetime-ceiling, period: 2025-01-01, used: 100000", True),
    ],
)
def test_a_balance_of_history_is_of_the_period_in_which_its_day_lies(
    balance: str, *, counts: bool
) -> None:
    (result,) = _run(_after(ONE, balance)).results
    (line,) = result.made[0].decision.lines
    assert (line.benefit == 0) == counts


@pytest.mark.parametrize(
    ("balance", "said"),
    [
        ("family-ceiling, used: 1", "of which policy_year was it used"),
        ("visits, used: 1", "of which calendar_month was it used"),
        ("stay-ceiling, used: 1", "each claim begins with nothing of it used"),
    ],
)
def test_a_balance_that_would_count_for_nothing_is_refused(balance: str, said: str) -> None:
    two_years = ONE.replace("first_day: 2025-01-01", "first_day: 2024-12-31")
    with pytest.raises(StrictYamlError, match=said):
        _run(_after(two_years, balance))


def _after(yaml: str, balance: str) -> str:
    history = f"    history: {{balances: [{{accumulator: {balance}}}]}}\n"
    return yaml.replace("    events:\n", f"{history}    events:\n")


def test_a_member_whom_nobody_knows_is_a_fault_unless_the_case_says_refused() -> None:
    people = "members: {ANN: {born: 1980-06-15}}"
    ann = re.sub(r"member: \{.*\}", people, ONE)
    stranger = ann.replace("claim: B1\n", "claim: B1\n        member: BOB\n")
    with pytest.raises(StrictYamlError, match="defines no member 'BOB'"):
        _run(stranger)
    refused = stranger[: stranger.index("        expect:")] + "        expect: {refused: [%s]}\n"
    assert _run(refused % "UNKNOWN_MEMBER").passed
    with pytest.raises(StrictYamlError, match="defines no member 'BOB'"):
        _run(refused % "UNKNOWN_PROVIDER")


def test_two_balances_of_one_period_are_refused_and_of_two_are_not() -> None:
    """They would be one row of the books; each in a month of its own is the control."""
    visits = "visits, period: 2025-03-%s, used: 1}, {accumulator: visits, period: 2025-%s, used: 1"
    with pytest.raises(StrictYamlError, match="an earlier balance is of the same accumulator"):
        _run(_after(ONE, visits % ("01", "03-31")))
    assert _run(_after(ONE, visits % ("01", "02-28"))).results


def test_a_member_that_is_no_name_is_a_fault() -> None:
    people = "members: {ANN: {born: 1980-06-15}}"
    ann = re.sub(r"member: \{.*\}", people, ONE)
    for wrong in ("[ANN]", "{a: ANN}", "1"):
        with pytest.raises(StrictYamlError) as caught:
            _run(ann.replace("claim: B1\n", f"claim: B1\n        member: {wrong}\n"))
        assert any(fault.path.endswith("member") for fault in caught.value.faults)


def test_nothing_happens_to_a_bill_that_was_refused() -> None:
    refused = ONE[: ONE.index("        expect:")].replace('price: "100.00"', "price: 0")
    refused += "        expect: {refused: [NOTHING_BILLED]}\n"
    assert _run(refused).passed
    with pytest.raises(StrictYamlError, match="B1 was refused and is no claim"):
        _run(refused + "      - completion: B1\n        care: online\n        expect: {}\n")
    report = _run(refused + "      - withdraw: B1\n        expect: {}\n")
    assert report.results[0].differences == ("after B1: there is no such claim to withdraw",)


def test_a_bill_of_before_the_plan_had_terms_ends_its_case_and_no_other() -> None:
    early = ONE.replace("first_day: 2025-01-01", "first_day: 2023-01-01")
    early = early.replace("2025-03-10", "2023-12-31").replace("with a copay", "too early")
    report = _run(ONE + early.split("cases:\n")[1])
    agrees, differs = report.results
    assert not agrees.differences
    (said,) = differs.differences
    assert said == "after B1: it cannot be decided: plan every-term has no terms before 2024-01-01"


def test_the_example_in_the_docs_is_decided_as_written() -> None:
    page = (ROOT / "docs" / "cases.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    assert run_cases(plan_named("million-medical"), example, "docs/cases.md").passed
