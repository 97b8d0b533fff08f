"""The loader of benefit terms: read as written, and every fault with its line, all at once."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from services.claims.core.plan_parts import Ages
from services.claims.plans.loader import load_plan
from services.common.strict_yaml import Fault, StrictYamlError
from tests.services.claims.plans.test_loader import SMALL

BENEFITS = """\
authorisations:
  - {id: pills, clause: "1", codes: [drugs], requires: [cancer], in_force: {2025-01-01: true}}
  - {id: cancer, clause: "1", codes: [tumours], in_force: {2025-01-01: true}}
ceilings:
  - {id: family, clause: "1", scope: family, period: policy_year, unit: CNY, ages: {to: 64},
     values: {2025-01-01: 1000},
     family_step: {members: 2, add: {2025-01-01: 100}, most: {2025-01-01: 1200}}}
payees:
  - {id: direct, clause: "1", when: {ages: {from: 18}}, values: {2025-01-01: provider}}
  - {id: rest, clause: "1", values: {2025-01-01: member}}
sampling: {clause: "1", unit: share, values: {2025-01-01: "0.05"}}
four_eyes: {clause: "1", unit: CNY, values: {2025-01-01: 5000}}
undisputed_first: {clause: "1", in_force: {2025-01-01: true}}
copays:
  - {id: signed, clause: "1", unit: CNY, values: {2025-01-01: 1},
     when: {referral: true, contracted_provider: true, family_doctor_contract: true,
            sexes: [female]}}
unit_limits:
  - {id: units, clause: "1", scope: member, period: lifetime, unit: units,
     values: {2025-01-01: 1}}
clocks: {clause: "1", unit: days, decision_days: {2025-01-01: 20, 2026-01-01: null},
  notice_days: {2025-01-01: 1}}
"""
DEDUCTIBLES = """\
deductibles:
  - {id: own, clause: "1", scope: member, period: policy_year, unit: CNY,
     embedded_in: all, values: {2025-01-01: 100}}
  - {id: all, clause: "1", scope: family, period: policy_year, unit: CNY,
     values: {2025-01-01: 300}}
"""
_START = SMALL.index("deductibles:")
_END = SMALL.index("shares:")
YAML = SMALL[:_START] + DEDUCTIBLES + SMALL[_END:] + BENEFITS


def _faults(yaml: str) -> list[Fault]:
    with pytest.raises(StrictYamlError) as caught:
        load_plan(yaml, "plan.yaml")
    return caught.value.faults


def test_benefit_terms_are_read_as_written() -> None:
    plan = load_plan(YAML, "plan.yaml")
    assert [(one.id, one.requires) for one in plan.authorisations] == [
        ("pills", ("cancer",)),
        ("cancer", ()),
    ]
    (ceiling,) = plan.ceilings
    assert ceiling.covers.ages == Ages(last=64)
    step = ceiling.family_step
    assert step is not None
    assert step.most is not None
    day = date(2025, 1, 1)
    assert (step.members, step.add.on(day), step.most.on(day)) == (2, 10_000, 120_000)
    assert [one.embedded_in for one in plan.deductibles] == ["all", ""]
    assert plan.sampling is not None
    assert plan.sampling.values.on(day) == Decimal("0.05")
    assert plan.clocks is not None
    assert plan.clocks.decision_days is not None
    assert [plan.clocks.decision_days.on(date(year, 1, 1)) for year in (2025, 2026)] == [20, None]
    assert (plan.clocks.clause, plan.clocks.payment_days) == ("1", None)
    (copay,) = plan.copays
    assert (copay.when.referral, copay.when.contracted_provider) == (True, True)


# (what is replaced, by what, the reason, a piece of the path)
BAD = [
    ("requires: [cancer]", "requires: [pills]", "CYCLE", "authorisations[0]"),
    ("requires: [cancer]", "requires: [gout]", "UNKNOWN_REFERENCE", "authorisations[0]"),
    ("requires: [cancer]", "requires: [Gout]", "NOT_AN_ID", "requires[0]"),
    ("codes: [drugs], requires: [cancer],", "", "NEEDS_FOR_EVERYTHING", "authorisations[0]"),
    (
        'cancer, clause: "1", codes: [tumours]',
        'cancer, clause: "1", sections: [drugs]',
        "REQUIRES_NO_CODES",
        "authorisations[0]",
    ),
    ("id: cancer", "id: pills", "DUPLICATE_ID", "authorisations[1]"),
    (
        "scope: family, period: policy_year, unit: CNY, ages",
        "scope: member, period: policy_year, unit: CNY, ages",
        "NOT_A_FAMILYS",
        "family_step",
    ),
    ("most: {2025-01-01: 1200}", "most: {2025-01-01: 999}", "CAP_BELOW_VALUE", "ceilings[0]"),
    ("members: 2, ", "", "MISSING_KEY", "family_step.members"),
    ("members: 2", "members: 0", "OUT_OF_RANGE", "family_step.members"),
    ("ages: {to: 64}", "ages: {from: 65, to: 64}", "EMPTY_BAND", "ages"),
    ('"0.05"', '"1.01"', "SHARE_OUT_OF_RANGE", "sampling"),
    (
        'unit: share, values: {2025-01-01: "0.05"}',
        'values: {2025-01-01: "0.05"}',
        "MISSING_KEY",
        "sampling.unit",
    ),
    (
        'four_eyes: {clause: "1", unit: CNY',
        'four_eyes: {clause: "1", unit: USD',
        "WRONG_UNIT",
        "four_eyes",
    ),
    (
        "in_force: {2025-01-01: true}}\ncopays",
        "in_force: {2025-01-01: 1}}\ncopays",
        "NOT_A_BOOLEAN",
        "undisputed_first",
    ),
    ("notice_days: {2025-01-01: 1}", "notice_days: {2025-01-01: 0}", "OUT_OF_RANGE", "notice"),
    ("notice_days: {2025", "notice_hours: {2025", "UNKNOWN_KEY", "clocks.notice_hours"),
    ("notice_days: {2025-01-01: 1}", "notice_days: 1", "NOT_DATED", "clocks.notice_days"),
    ("notice_days: {2025", "payment_days: {2026", "NO_FIRST_VALUE", "clocks.payment_days"),
    ('clocks: {clause: "1", unit: days', 'clocks: {clause: "1", unit: months', "WRONG_UNIT", "cl"),
    ('clocks: {clause: "1", ', "clocks: {", "MISSING_KEY", "clocks.clause"),
    (
        "decision_days: {2025-01-01: 20, 2026-01-01: null},\n  notice_days: {2025-01-01: 1}",
        "",
        "MISSING_KEY",
        "clocks",
    ),
    ("values: {2025-01-01: provider}", "values: {2025-01-01: bank}", "UNKNOWN_WORD", "payees[0]"),
    ("when: {ages: {from: 18}}, ", "", "UNREACHABLE_PAYEE", "payees[0]"),
    (
        'id: rest, clause: "1",',
        'id: rest, clause: "1", when: {referral: true},',
        "NO_DEFAULT_PAYEE",
        "payees[1]",
    ),
    ("sexes: [female]", "sexes: [other]", "UNKNOWN_WORD", "sexes"),
    ("referral: true", "referral: maybe", "NOT_A_BOOLEAN", "referral"),
    ("family_doctor_contract: true", "family_doctor_contract: false", "NEVER_HOLDS", "copays[0]"),
    ("embedded_in: all", "embedded_in: none", "UNKNOWN_REFERENCE", "deductibles[0]"),
    (
        'id: all, clause: "1", scope: family',
        'id: all, clause: "1", scope: policy',
        "WRONG_SCOPE",
        "deductibles[0]",
    ),
    (
        'id: all, clause: "1", scope: family, period: policy_year',
        'id: all, clause: "1", scope: family, period: lifetime',
        "UNLIKE_FAMILY",
        "deductibles[0]",
    ),
    ("id: all, clause", "id: all, embedded_in: own, clause", "EMBEDDED_TWICE", "deductibles[0]"),
]


@pytest.mark.parametrize(("old", "new", "reason", "path"), BAD, ids=lambda text: text[:30])
def test_a_fault_of_a_benefit_term_is_named_with_its_line(
    old: str, new: str, reason: str, path: str
) -> None:
    assert old in YAML
    bad = YAML.replace(old, new, 1)
    found = [fault for fault in _faults(bad) if fault.reason == reason]
    assert found, "another fault was found"
    assert any(path in fault.path for fault in found)
    first = bad[: bad.index("deductibles:")].count("\n")
    assert all(fault.line > first and fault.text for fault in found)


CONFLICTS = {
    "ceilings": (
        "scope: family, period: policy_year, unit: CNY, ages: {to: 64},"
        " values: {2025-01-01: null, 2026-01-01: 5}"
    ),
    "unit_limits": (
        "scope: member, period: lifetime, unit: units, values: {2025-01-01: null, 2026-01-01: 0}"
    ),
    "copays": (
        "unit: CNY, values: {2025-01-01: null, 2026-01-01: 2}, when: {referral: true,"
        " contracted_provider: true, family_doctor_contract: true, sexes: [female]}"
    ),
    "authorisations": "codes: [drugs], in_force: {2025-01-01: null, 2026-01-01: true}",
    "payees": "when: {ages: {from: 18}}, values: {2025-01-01: null, 2026-01-01: member}",
}


@pytest.mark.parametrize("key", CONFLICTS)
def test_two_terms_about_the_same_on_one_day_are_refused_at_the_later(key: str) -> None:
    head = f"{key}:\n"
    more = f'  - {{id: again, clause: "1", {CONFLICTS[key]}}}\n'
    bad = YAML.replace(head, head + more, 1)
    (fault,) = [one for one in _faults(bad) if one.reason == "CONFLICTING_TERMS"]
    assert fault.path == f"{key}[1]"
    assert "2026-01-01" in fault.text


def test_terms_that_follow_one_another_do_not_conflict() -> None:
    more = (
        '  - {id: again, clause: "1", scope: family, period: policy_year, unit: CNY,'
        " ages: {to: 64}, values: {2025-01-01: null, 2026-01-01: 5}}\n"
    )
    until = "values: {2025-01-01: 1000, 2026-01-01: null}"
    ended = YAML.replace("values: {2025-01-01: 1000}", until)
    assert load_plan(ended.replace("ceilings:\n", f"ceilings:\n{more}"), "plan.yaml").id == "small"


def _shares(default: str) -> str:
    """The plan with a share of 0 for drugs and this one for the rest."""
    yaml = YAML.replace('"0.8"}', "0}")
    return yaml.replace(
        "unit: share, values: {2025-01-01: 1}", f"unit: share, values: {{2025-01-01: {default}}}"
    )


def test_a_plan_that_can_never_pay_is_refused() -> None:
    zero = _shares("0")
    assert [fault.reason for fault in _faults(zero)] == ["NEVER_PAYS"]
    head, rest = YAML.split("pre_existing:", 1)
    head = head.replace("in_force: {2025-01-01: true}", "in_force: {2025-01-01: null}")
    ended = f"{head}pre_existing:{rest}"
    assert [fault.reason for fault in _faults(ended)] == ["NEVER_PAYS"]
    nothing = YAML + (
        'count_limits:\n  - {id: none, clause: "1", scope: member, period: policy_year,'
        " unit: claims, values: {2025-01-01: 0}}\n"
    )
    assert [fault.reason for fault in _faults(nothing)] == ["NEVER_PAYS"]


def test_a_plan_that_pays_on_some_day_is_a_plan() -> None:
    assert load_plan(_shares("0, 2027-01-01: 1"), "plan.yaml").id == "small"
    excluded = "otherwise: {2025-01-01: excluded}"
    at_share = _shares("0").replace(excluded, 'otherwise: {2025-01-01: "0.5"}')
    assert load_plan(at_share, "plan.yaml").id == "small"


def test_a_circle_of_three_is_told_once() -> None:
    bad = YAML.replace(
        'id: cancer, clause: "1", codes: [tumours]',
        'id: cancer, clause: "1", requires: [third], codes: [tumours]',
    ).replace(
        "ceilings:",
        '  - {id: third, clause: "1", codes: [drugs, tumours], requires: [pills],'
        " in_force: {2025-01-01: true}}\nceilings:",
        1,
    )
    found = [fault for fault in _faults(bad) if fault.reason == "CYCLE"]
    assert [fault.path for fault in found] == ["authorisations[0]"]
    assert "pills requires cancer requires third requires pills" in found[0].text
