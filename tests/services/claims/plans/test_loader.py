"""The strict plan loader: good plans load, every fault is found with its line, all at once."""

from __future__ import annotations

import msgspec
import pytest

from services.claims.core.canonical import plan_version
from services.claims.core.facts import Coding
from services.claims.core.intake import unknown_codes
from services.claims.plans.cases import run_cases
from services.claims.plans.checks import MAX_SECTIONS
from services.claims.plans.in_words import diff, explain
from services.claims.plans.legal_days import longer_than_law
from services.claims.plans.loader import load_plan
from services.claims.plans.price_list import load_price_list
from services.claims.plans.seen_by_nobody import paid_unseen
from services.claims.plans.unused import unused
from services.common.strict_yaml import Fault, StrictYamlError
from tests.services.claims.core.bills import CASES, PLANS, bill, line, plan_of_file

replace = msgspec.structs.replace
SMALL = """\
format: 1
id: small
name: {zh: 小, en: Small}
currency: CNY
first_day: 2025-01-01
clauses:
  "1": {zh: 一, en: One}
general:
  {not_covered: "1", outside_sections: "1", duplicates: "1", impossible_dates: "1",
   missing_facts: "1"}
code_sets:
  drugs: {2025-01-01: {demo-yibao: ["XA10*", "XC01"]}}
  tumours: {2025-01-01: {icd-10: [C]}}
sections:
  - {id: drugs, clause: "1", name: {zh: 药, en: drugs}, codes: [drugs],
     in_force: {2025-01-01: true}}
  - {id: other, clause: "1", name: {zh: 其他, en: other}, in_force: {2025-01-01: true}}
pre_existing: {clause: "1", otherwise: {2025-01-01: excluded}}
prices: {clause: "1"}
social_insurance: {clause: "1"}
coordination: {clause: "1"}
deductibles:
  - {id: yearly, clause: "1", scope: member, period: policy_year, unit: CNY,
     values: {2025-01-01: "100.00", 2026-01-01: 80}}
shares:
  - {id: drugs, clause: "1", when: {sections: [drugs]}, unit: share, values: {2025-01-01: "0.8"}}
  - {id: other, clause: "1", unit: share, values: {2025-01-01: 1}}
"""


def _faults(yaml: str) -> list[Fault]:
    with pytest.raises(StrictYamlError) as caught:
        load_plan(yaml, "plan.yaml")
    return caught.value.faults


def _line(yaml: str, text: str) -> int:
    return next(n for n, row in enumerate(yaml.splitlines(), start=1) if text in row)


@pytest.mark.parametrize("name", ["million-medical", "chronic-diabetes", "synthea-usd"])
def test_example_plans_load(name: str) -> None:
    assert plan_of_file(PLANS / f"{name}.yaml").id == name


def test_a_plan_is_read_as_written() -> None:
    plan = load_plan(SMALL, "plan.yaml")
    assert [value for _, value in plan.deductibles[0].values.values] == [10_000, 8_000]
    codes = plan.code_sets[0].codes.values[0][1]
    assert codes is not None
    assert (codes[0].exact, codes[0].prefixes) == (("XC01",), ("XA10",))
    tumours = plan.code_sets[1].codes.values[0][1]
    assert tumours is not None
    assert tumours[0].prefixes == ("C",)  # a disease stands for those below it


def test_comments_and_the_order_of_keys_do_not_rename_a_plan_and_a_fen_does() -> None:
    name = plan_version(load_plan(SMALL, "a"))
    head, rest = SMALL.split("id: small\n", 1)
    reordered = f"# a comment\n{head}{rest}id: small\n"
    assert plan_version(load_plan(reordered, "b")) == name
    assert plan_version(load_plan(SMALL.replace("100.00", "100.01"), "c")) != name
    assert plan_version(load_plan(SMALL.replace('"100.00"', '"100"'), "d")) == name


def test_a_file_names_code_systems_of_its_own_beside_the_built_in_ones() -> None:
    own = "urn:oid:2.16.156.10011.2.3"
    named = SMALL.replace("id: small\n", f"id: small\nsystems: {{ours: '{own}'}}\n")
    plan = load_plan(named.replace("demo-yibao", "ours"), "plan.yaml")
    codes = plan.code_sets[0].codes.values[0][1]
    assert codes is not None
    assert codes[0].system == own
    drug, built_in = Coding(system=own, code="XC01"), "urn:lipei:demo:yibao-code"
    assert unknown_codes(plan, bill(replace(line(), code=drug))) == ()
    # The built-in system that no code set names any more is unknown now.
    assert [fault.reason for fault in unknown_codes(plan, bill(line()))] == ["UNKNOWN_CODE_SYSTEM"]
    said = "\n".join(explain.lines(plan, "en"))
    assert f"ours: Its URI is {own}." in said
    assert "It holds: ours XA10*, ours XC01." in said
    # Another word for the same system changes no code set.
    again = load_plan(
        named.replace("demo-yibao", "ours").replace("ours: [", "mine: [").replace("{ours", "{mine"),
        "plan.yaml",
    )
    assert {one.place.split("/")[0] for one in diff.diff(plan, again)} == {"systems"}
    # A built-in one may be named again as it is, which says nothing new.
    same = SMALL.replace("id: small\n", f"id: small\nsystems: {{demo-yibao: '{built_in}'}}\n")
    assert plan_version(load_plan(same, "a")) == plan_version(load_plan(SMALL, "b"))


def test_what_no_term_names_is_a_warning_with_its_line_and_no_fault() -> None:
    papers = "papers: {invoice: {zh: 发票, en: Invoice}}\n"
    idle = SMALL.replace("general:", '  "2": {zh: 二, en: Two}\ngeneral:') + papers
    found = unused(load_plan(idle, "p"), idle, "p")
    assert [(one.path, one.line) for one in found] == [
        ("clauses.2", _line(idle, '"2":')),
        ("code_sets.tumours", _line(idle, "tumours")),
        ("papers.invoice", _line(idle, "papers")),
    ]
    excluded = (
        'exclusions: [{id: t, clause: "2", diagnoses: [tumours], in_force: {2025-01-01: true}}]'
    )
    asked = 'required_papers: [{id: p, clause: "2", values: {2025-01-01: [invoice]}}]'
    used = f"{idle}{excluded}\n{asked}\n"
    assert unused(load_plan(used, "p"), used, "p") == ()


def test_an_outcome_tier_that_nothing_else_knows_is_a_warning_and_may_be_a_misspelt_one() -> None:
    text = (PLANS / "hypertension-tiers.yaml").read_text("utf-8")
    right = "when: {outcome_tiers: [controlled]}"
    assert text.count(right) == 1
    assert unused(load_plan(text, "p"), text, "p") == ()
    typo = text.replace(right, right.replace("controlled", "contolled"))
    name = "  controlled: {zh: 血压达标, en: in control}\n"
    assert typo.count(name) == 1
    nameless = typo.replace(name, "")  # a name of a tier that no term has is a fault
    (found,) = unused(load_plan(nameless, "p"), nameless, "p")
    assert (found.line, found.reason) == (_line(nameless, "contolled"), "TIER_ONCE")
    assert found.path == "shares[0].when.outcome_tiers"
    assert "no `names` know the outcome tier 'contolled'; where a programme" in found.text
    both = typo.replace("[contolled]", "[contolled, controlled]")
    (found,) = unused(load_plan(both, "p"), both, "p")
    assert "did you mean 'controlled'?" in found.text
    # Two terms that name one tier agree on how it is written.
    twice = nameless.replace("outcome_tiers: [improving]", "outcome_tiers: [improving, contolled]")
    assert unused(load_plan(twice, "p"), twice, "p") == ()


def test_clocks_above_the_laws_days_are_a_warning_with_their_line_and_no_fault() -> None:
    written = """\
clocks:
  clause: "1"
  unit: days
  decision_days: {2025-01-01: 30}
  payment_days: {2025-01-01: 10,
    2026-01-01: 11, 2027-01-01: null}
  minimum_days: {2025-01-01: 61}
  notice_days: {2025-01-01: 4}
"""
    yaml = SMALL + written
    found = longer_than_law(load_plan(yaml, "p"), yaml, "p")
    assert [(one.path, one.line, one.reason) for one in found] == [
        (f"clocks.{path}", _line(yaml, near), "LONGER_THAN_LAW")
        for path, near in (
            ("payment_days.2026-01-01", "2026-01-01: 11"),
            ("minimum_days.2025-01-01", "minimum_days"),
            ("notice_days.2025-01-01", "notice_days"),
        )
    ]
    articles = [one.text.partition(" of the ")[2].partition(";")[0] for one in found]
    assert articles == [f"Insurance Law, article {article}" for article in (23, 25, 24)]
    assert longer_than_law(load_plan(SMALL, "p"), SMALL, "p") == ()


@pytest.mark.parametrize(
    ("ceiling", "says"),
    [
        (None, "without `auto_pay_ceiling`: from 2025-01-01"),
        ('2025-01-01: "1000.00", 2026-01-01: "1000.01"', "is above: from 2026-01-01"),
        ('2025-01-01: "1000.00", 2026-01-01: null', "without `auto_pay_ceiling`: from 2026-01-01"),
        ('2025-01-01: "1000.00"', None),
    ],
)
def test_a_benefit_for_two_people_that_nobody_looks_at_is_a_warning(
    ceiling: str | None, says: str | None
) -> None:
    yaml = f'{SMALL}four_eyes: {{clause: "1", unit: CNY, values: {{2025-01-01: "1000.00"}}}}\n'
    if ceiling:
        yaml += f'auto_pay_ceiling: {{clause: "1", unit: CNY, values: {{{ceiling}}}}}\n'
    found = paid_unseen(load_plan(yaml, "p"), yaml, "p")
    assert [(one.line, one.reason) for one in found] == (
        [(_line(yaml, "four_eyes"), "PAID_UNSEEN")] if says else []
    )
    assert all(says in one.text for one in found if says)
    assert paid_unseen(load_plan(SMALL, "p"), SMALL, "p") == ()


def test_price_lists_and_cases_name_code_systems_as_their_files_and_plans_do() -> None:
    prices = """\
format: 1
provider: H1
currency: CNY
first_day: 2025-01-01
systems: {ours: "urn:x:1"}
prices: [{system: ours, code: A1, unit: CNY, values: {2025-01-01: "1.00"}}]
"""
    assert load_price_list(prices.encode(), "p").prices[0].code.system == "urn:x:1"
    named = SMALL.replace("id: small\n", "id: small\nsystems: {ours: 'urn:x:1'}\n")
    cases = """\
plan: small
cases:
  - case: a drug of the insurer's own list is paid
    codes: ours
    member: {born: 1990-01-01}
    policy: {first_day: 2025-01-01, last_day: 2025-12-31}
    events:
      - claim: B1
        day: 2025-05-01
        provider: H1
        care: outpatient
        diagnoses: [J00]
        social_insurance: {used: false}
        lines: [{code: XC01, price: "300.00"}]
        expect: {pays: "160.00"}
"""
    assert run_cases(load_plan(named.replace("demo-yibao", "ours"), "p"), cases, "c").passed
    with pytest.raises(StrictYamlError) as caught:
        run_cases(load_plan(SMALL, "p"), cases, "c")
    assert {fault.reason for fault in caught.value.faults} == {"UNKNOWN_CODE_SYSTEM"}


# (what is replaced, by what, the reason, a piece of the path)
BAD = [
    ("id: small", "id: small\nmood: good", "UNKNOWN_KEY", "mood"),
    ("id: small", "id: small\nid: small", "DUPLICATE_KEY", "id"),
    ("id: small", "id: Small Plan", "NOT_AN_ID", "id"),
    ("format: 1", "format: 2", "UNKNOWN_FORMAT", "format"),
    ("currency: CNY", "currency: RMB", "UNKNOWN_CURRENCY", "currency"),
    ("currency: CNY\n", "", "MISSING_KEY", "currency"),
    ("first_day: 2025-01-01", "first_day: 2025-02-30", "IMPOSSIBLE_DATE", "first_day"),
    ("first_day: 2025-01-01", "first_day: 1 January", "NOT_A_DATE", "first_day"),
    ("first_day: 2025-01-01", "first_day: 2024-12-31", "NO_FIRST_VALUE", "values"),
    ('"100.00", 2026', "100.00, 2026", "FLOAT", "values"),
    ('"100.00", 2026', '"-1", 2026', "NEGATIVE", "values"),
    ('"100.00", 2026', '"1e400", 2026', "NOT_AN_AMOUNT", "values"),
    ('"100.00", 2026', '"NaN", 2026', "NOT_AN_AMOUNT", "values"),
    ('"100.00", 2026', '"0.005", 2026', "NOT_AN_AMOUNT", "values"),
    ("2026-01-01: 80", "2024-01-01: 80", "DATES_OUT_OF_ORDER", "values"),
    ("2026-01-01: 80", "2026-13-01: 80", "IMPOSSIBLE_DATE", "values"),
    ("unit: CNY", "unit: USD", "WRONG_UNIT", "unit"),
    ("period: policy_year, unit: CNY,", "period: policy_year,", "MISSING_KEY", "unit"),
    ("period: policy_year", "period: week", "UNKNOWN_WORD", "period"),
    ("period: policy_year, ", "", "MISSING_KEY", "period"),
    ("scope: member", "scope: treatment", "NO_PERIOD", "period"),
    ('values: {2025-01-01: "0.8"}', 'values: {2025-01-01: "1.01"}', "SHARE_OUT_OF_RANGE", "shares"),
    ('values: {2025-01-01: "0.8"}', "values: {}", "NOT_DATED", "shares"),
    ("when: {sections: [drugs]}", "when: {sections: [dentist]}", "UNKNOWN_REFERENCE", "sections"),
    ("when: {sections: [drugs]}", "when: {sections: []}", "EMPTY_LIST", "sections"),
    ("when: {sections: [drugs]}", "when: {weather: rain}", "UNKNOWN_KEY", "weather"),
    ("when: {sections: [drugs]}, ", "", "UNREACHABLE_SHARE", "shares"),
    (
        'other, clause: "1", unit',
        'other, clause: "1", when: {tiers: [primary]}, unit',
        "NO_DEFAULT_SHARE",
        "shares",
    ),
    (
        '{id: drugs, clause: "1", name',
        '{id: drugs, clause: "9", name',
        "UNKNOWN_REFERENCE",
        "clause",
    ),
    ('{id: drugs, clause: "1", name', "{id: drugs, name", "MISSING_KEY", "clause"),
    ("codes: [drugs]", "codes: [pills]", "UNKNOWN_REFERENCE", "codes"),
    ("in_force: {2025-01-01: true}", 'in_force: {2025-01-01: "true"}', "NOT_A_BOOLEAN", "in_force"),
    ("demo-yibao", "yibao-2027", "UNKNOWN_CODE_SYSTEM", "drugs"),
    ('"XA10*", "XC01"', '"XA10*", "XA10*"', "DUPLICATE_CODE", "drugs"),
    ('"XA10*", "XC01"', '"*"', "BAD_CODE", "drugs"),
    ("id: small\n", "id: small\nnames: {x: {zh: 甲, en: X}}\n", "UNKNOWN_REFERENCE", "names"),
    (
        "general:",
        "names: {drugs: {zh: 甲, en: X}, tumours: {zh: 乙, en: X}}\ngeneral:",
        "DUPLICATE_NAME",
        "names",
    ),
    ('"XA10*", "XC01"', "", "EMPTY_LIST", "drugs.2025-01-01.demo-yibao"),
    ("{icd-10: [C]}", "{}", "EMPTY_LIST", "tumours.2025-01-01"),
    ('"XA10*", "XC01"', "10", "NOT_TEXT", "drugs"),
    (
        '  - {id: other, clause: "1", name',
        '  - {id: drugs, clause: "1", name',
        "DUPLICATE_ID",
        "sections",
    ),
    (
        "otherwise: {2025-01-01: excluded}",
        "otherwise: {2025-01-01: maybe}",
        "UNKNOWN_WORD",
        "pre_existing",
    ),
    ("pre_existing: {clause", "pre_existing: {clauses", "MISSING_KEY", "pre_existing"),
]


BAD += [
    ("id: small\n", "id: small\ncode_systems: [yibao-2027]\n", "UNKNOWN_CODE_SYSTEM", "systems"),
    (
        "id: small\n",
        "id: small\ncode_systems: [cvx, cvx]\n",
        "DUPLICATE_CODE_SYSTEM",
        "code_systems",
    ),
    ('"XA10*", "XC01"', '"XA10*", "ｘa10*"', "DUPLICATE_CODE", "drugs"),
    ('"1": {zh: 一, en: One}', f'"{"1" * 81}": {{zh: 一, en: One}}', "TOO_LONG", "clauses"),
    ('"1": {zh: 一', '"1\\0": {zh: 一', "CONTROL_CHARACTER", "clauses"),
    ("en: One}", 'en: "One\\0"}', "CONTROL_CHARACTER", "clauses"),
    ("en: Small}", 'en: "Sm\\ell"}', "CONTROL_CHARACTER", "name"),
    ('"XA10*", "XC01"', '"XA10*", "XC01\\u0085"', "CONTROL_CHARACTER", "drugs"),
    ('"1": {zh: 一', '"1\u202e": {zh: 一', "CONTROL_CHARACTER", "clauses"),
    ("en: One}", 'en: "O\u202ane"}', "CONTROL_CHARACTER", "clauses"),
    ("en: Small}", 'en: "Sm\\u2066all"}', "CONTROL_CHARACTER", "name"),
    ('"XA10*", "XC01"', '"XA10*", "XC01\u2069"', "CONTROL_CHARACTER", "drugs"),
    ("id: drugs,", f"id: {'d' * 65},", "NOT_AN_ID", "sections"),
    ('"100.00", 2026', '"10000000000000.01", 2026', "OUT_OF_RANGE", "values"),
    ('"100.00", 2026', '"999999999999999999", 2026', "OUT_OF_RANGE", "values"),
]
_HOURS = 'providers: {emergency_exception: {clause: "1", in_force: {2025-01-01: true}, hours: %s}}'
_SCANS = (
    'mutual_recognition: [{id: s, clause: "1", codes: [drugs], unit: days,'
    " values: {2025-01-01: 7}, denies: %s}]"
)
# What a plan may say otherwise than the conventions: in place of, the value, the reason, where.
OPTIONS = [
    ("deductibles:", _HOURS, "{2025-01-01: 72, 2026-01-01: null}", "", ""),
    ("deductibles:", _HOURS, "{2025-01-01: -1}", "OUT_OF_RANGE", "hours"),
    ("deductibles:", _HOURS, "{2025-01-01: 8785}", "OUT_OF_RANGE", "hours"),
    ("deductibles:", _HOURS, '{2025-01-01: "72"}', "NOT_A_WHOLE_NUMBER", "hours"),
    ("deductibles:", _HOURS, "72", "NOT_DATED", "hours"),
    ("deductibles:", _HOURS, "{2025-06-01: 72}", "NO_FIRST_VALUE", "hours"),
    ("deductibles:", _SCANS, "{2025-01-01: later_claim}", "", ""),
    ("deductibles:", _SCANS, "{2025-01-01: earlier}", "UNKNOWN_WORD", "denies"),
    (
        'prices: {clause: "1"}',
        'prices: {clause: "1", without_list: %s}',
        "denied",
        "NOT_DATED",
        "w",
    ),
    (
        'prices: {clause: "1"}',
        'prices: {clause: "1", without_list: %s}',
        "{2025-01-01: pended}",
        "UNKNOWN_WORD",
        "without_list",
    ),
    (
        'coordination: {clause: "1"}',
        'coordination: {clause: "1", place: %s}',
        "{2025-01-01: second}",
        "UNKNOWN_WORD",
        "place",
    ),
    (
        "deductibles:",
        'outcome_tier_day: {clause: "1", values: %s}',
        "{2025-01-01: today}",
        "UNKNOWN_WORD",
        "outcome_tier_day",
    ),
    (
        "deductibles:",
        "outcome_tier_day: {values: %s}",
        "{2025-01-01: stay_end}",
        "MISSING_KEY",
        "c",
    ),
    ("deductibles:", 'redecision: {clause: "1"}', "", "MISSING_KEY", "redecision.others"),
    (
        "deductibles:",
        'redecision: {clause: "1", others: %s}',
        "{2025-01-01: perhaps}",
        "UNKNOWN_WORD",
        "redecision",
    ),
    (
        "deductibles:",
        'redecision: {clause: "9", others: {2025-01-01: again}}',
        "",
        "UNKNOWN_REFERENCE",
        "c",
    ),
]


@pytest.mark.parametrize(("place", "option", "value", "reason", "path"), OPTIONS)
def test_an_option_is_read_or_refused_with_its_line(
    place: str, option: str, value: str, reason: str, path: str
) -> None:
    said = option % value if "%s" in option else option
    yaml = SMALL.replace(place, f"{said}\n{place}" if place.endswith(":") else said, 1)
    if not reason:
        assert load_plan(yaml, "plan.yaml") != load_plan(SMALL, "plan.yaml")
        return
    (found,) = _faults(yaml)
    assert found.reason == reason
    assert path in found.path
    assert found.line == _line(yaml, said)


@pytest.mark.parametrize(("old", "new", "reason", "path"), BAD, ids=lambda text: text[:30])
def test_a_fault_is_named_with_its_place(old: str, new: str, reason: str, path: str) -> None:
    assert old in SMALL
    found = [fault for fault in _faults(SMALL.replace(old, new, 1)) if fault.reason == reason]
    assert found, "another fault was found"
    assert any(path in fault.path for fault in found)
    assert all(fault.line >= 1 and fault.text for fault in found)


@pytest.mark.parametrize(
    ("named", "reason", "path"),
    [
        ("{icd-10: 'urn:other'}", "SHADOWS_CODE_SYSTEM", "systems.icd-10"),
        ("{mine: 'http://loinc.org'}", "DUPLICATE_CODE_SYSTEM", "systems.mine"),
        ("{a: 'urn:x:1', b: 'urn:x:1'}", "DUPLICATE_CODE_SYSTEM", "systems.b"),
        ("{Mine: 'urn:x:1'}", "NOT_AN_ID", "systems.Mine"),
        ("{mine: 7}", "NOT_TEXT", "systems.mine"),
        ("[mine]", "NOT_A_MAPPING", "systems"),
        ("{mine: yibao}", "NOT_A_URI", "systems.mine"),
        ("{mine: 'urn:a b'}", "NOT_A_URI", "systems.mine"),
        ("{mine: 'http:///x'}", "NOT_A_URI", "systems.mine"),
        ("{mine: 'urn:oid:2.16.01'}", "NOT_A_URI", "systems.mine"),
        ("{mine: 'urn:药'}", "NOT_A_URI", "systems.mine"),
        (f"{{mine: 'urn:{'x' * 252}'}}", "NOT_A_URI", "systems.mine"),
    ],
)
def test_a_code_system_has_one_word_and_one_uri(named: str, reason: str, path: str) -> None:
    found = _faults(SMALL.replace("id: small\n", f"id: small\nsystems: {named}\n"))
    assert [(fault.reason, fault.path) for fault in found] == [(reason, path)]


@pytest.mark.parametrize(
    "term",
    [
        "sampling_rate: 0",
        "referrals: []",
    ],
)
def test_what_the_engine_cannot_apply_yet_is_refused_and_not_ignored(term: str) -> None:
    key = term.split(":", maxsplit=1)[0]
    assert [(fault.reason, fault.path) for fault in _faults(f"{SMALL}{term}\n")] == [
        ("UNKNOWN_KEY", key)
    ]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("id: small", "id: small\ndeductable: []", "did you mean deductibles?"),
        ("id: small", "id: small\nxyzzy: []", "known: appeals, authorisations"),
        ('"100.00"', "100,000", "if it is part of an amount: 80,000 is written 80000"),
        ('"100.00"', '"100.00", 2026: 5', "write a date as 2026-01-31"),
    ],
)
def test_a_slip_is_told_with_what_was_meant(old: str, new: str, text: str) -> None:
    (fault,) = _faults(SMALL.replace(old, new, 1))
    assert text in fault.text
    assert ("80000" in text) is ("80000" in fault.text)


def _term(key: str, value: int) -> str:
    head = {
        "months": "waiting_periods:\n  - {unit: months",
        "days": "waiting_periods:\n  - {unit: days",
        "units": "unit_limits:\n  - {unit: units, scope: member, period: lifetime",
        "claims": "count_limits:\n  - {unit: claims, scope: member, period: lifetime",
    }[key]
    return f'{SMALL}{head}, id: one, clause: "1",\n     values: {{2025-01-01: {value}}}}}\n'


@pytest.mark.parametrize(
    ("key", "most"),
    [("months", 1_200), ("days", 36_500), ("units", 10**9), ("claims", 10**9)],
)
def test_a_term_that_could_never_be_decided_is_refused_with_its_line(key: str, most: int) -> None:
    assert load_plan(_term(key, most), "plan.yaml").id == "small"
    bad = _term(key, most + 1)
    assert [(fault.reason, fault.line) for fault in _faults(bad)] == [
        ("OUT_OF_RANGE", _line(bad, f"2025-01-01: {most + 1}"))
    ]


RECOGNISED = """\
mutual_recognition:
  - {id: scans, clause: "1", codes: [drugs], unit: days,
     values: {2025-01-01: 14, 2026-01-01: 0, 2027-01-01: null}}
"""


def test_mutual_recognition_is_read_as_written() -> None:
    plan = load_plan(SMALL + RECOGNISED, "plan.yaml")
    (term,) = plan.mutual_recognition
    assert (term.id, term.clause, term.codes) == ("scans", "1", ("drugs",))
    assert [value for _, value in term.values.values] == [14, 0, None]
    assert plan_version(plan) != plan_version(load_plan(SMALL, "plan.yaml"))
    assert load_plan(f"{SMALL}mutual_recognition: []\n", "plan.yaml") == load_plan(SMALL, "b")


@pytest.mark.parametrize(
    ("old", "new", "reason", "path"),
    [
        ("unit: days", "mood: good, unit: days", "UNKNOWN_KEY", "[0].mood"),
        ("unit: days,", "care_types: [inpatient], unit: days,", "UNKNOWN_KEY", "[0].care_types"),
        ("id: scans, ", "", "MISSING_KEY", "[0].id"),
        ('clause: "1", ', "", "MISSING_KEY", "[0].clause"),
        ('clause: "1"', 'clause: "9"', "UNKNOWN_REFERENCE", "[0].clause"),
        ("codes: [drugs], ", "", "MISSING_KEY", "[0].codes"),
        ("codes: [drugs]", "codes: []", "EMPTY_LIST", "[0].codes"),
        ("codes: [drugs]", "codes: [pills]", "UNKNOWN_REFERENCE", "[0].codes"),
        ("unit: days,", "", "MISSING_KEY", "[0].unit"),
        ("unit: days", "unit: months", "WRONG_UNIT", "[0].unit"),
        ("2025-01-01: 14", "2025-01-01: -1", "OUT_OF_RANGE", "[0].values"),
        ("2025-01-01: 14", "2025-01-01: 3651", "OUT_OF_RANGE", "[0].values"),
        ("2025-01-01: 14", '2025-01-01: "14"', "NOT_A_WHOLE_NUMBER", "[0].values"),
        ("2025-01-01: 14, 2026-01-01: 0", "2026-01-01: 0", "NO_FIRST_VALUE", "[0].values"),
    ],
)
def test_a_fault_of_mutual_recognition_is_named_with_its_place(
    old: str, new: str, reason: str, path: str
) -> None:
    assert old in RECOGNISED
    yaml = SMALL + RECOGNISED.replace(old, new, 1)
    (fault,) = _faults(yaml)
    assert fault.reason == reason
    assert fault.path.startswith(f"mutual_recognition{path}")
    assert fault.line >= _line(yaml, "mutual_recognition:") + 1


def test_all_faults_of_mutual_recognition_come_at_once() -> None:
    bad = (
        SMALL
        + """\
mutual_recognition:
  - {id: scans, clause: "9", codes: [pills],
     unit: hours,
     values: {2025-01-01: -14}}
  - {id: scans, clause: "1", codes: [drugs], unit: days, values: {2025-01-01: 14}}
"""
    )
    first = _line(bad, "mutual_recognition:")
    assert [(fault.line, fault.reason) for fault in _faults(bad)] == [
        (first, "DUPLICATE_ID"),
        (first + 1, "UNKNOWN_REFERENCE"),
        (first + 1, "UNKNOWN_REFERENCE"),
        (first + 2, "WRONG_UNIT"),
        (first + 3, "OUT_OF_RANGE"),
    ]


def test_all_faults_come_at_once_with_their_lines() -> None:
    bad = (
        SMALL.replace("currency: CNY", "currency: RMB")
        .replace("period: policy_year", "period: week")
        .replace('"0.8"', '"80"')
    )
    assert [(fault.line, fault.reason) for fault in _faults(bad)] == [
        (_line(bad, "RMB"), "UNKNOWN_CURRENCY"),
        (_line(bad, "week"), "UNKNOWN_WORD"),
        (_line(bad, '"80"'), "SHARE_OUT_OF_RANGE"),
    ]


def test_faults_of_form_do_not_hide_faults_of_terms() -> None:
    bad = (
        SMALL.replace("id: small", "id: small\nid: small")
        .replace('"100.00"', "100.00")
        .replace("period: policy_year", "period: week")
    )
    assert [(fault.line, fault.reason) for fault in _faults(bad)] == [
        (_line(bad, "id: small") + 1, "DUPLICATE_KEY"),
        (_line(bad, "period: week"), "UNKNOWN_WORD"),
        (_line(bad, " 100.00"), "FLOAT"),
    ]
    broken = f"{bad}shares: [\n"
    assert [fault.reason for fault in _faults(broken)][-1] == "NOT_YAML"


def test_two_sections_that_take_all_that_is_left_overlap() -> None:
    bad = SMALL.replace("codes: [drugs],", "", 1)
    assert [fault.reason for fault in _faults(bad)] == ["OVERLAPPING_SECTIONS"]


@pytest.mark.parametrize(
    ("more", "overlaps"),
    [
        ("XA1001", True),
        ("XA1001*", True),
        ("XA*", True),
        ("XC01", True),
        ("XC0*", True),
        ("XC011", False),
        ("XB*", False),
    ],
)
def test_code_sets_of_two_sections_must_not_overlap(more: str, overlaps: bool) -> None:
    more_codes = f'  more: {{2026-01-01: {{demo-yibao: ["{more}"]}}}}\n'
    yaml = SMALL.replace("  tumours:", f"{more_codes}  tumours:")
    yaml = yaml.replace("{2026-01-01: {demo", "{2025-01-01: null, 2026-01-01: {demo")
    yaml = yaml.replace("en: other}, in_force", "en: other}, codes: [more], in_force")
    if not overlaps:
        assert load_plan(yaml, "plan.yaml").id == "small"
        return
    faults = _faults(yaml)
    assert [fault.reason for fault in faults] == ["OVERLAPPING_SECTIONS"]
    assert "from 2026-01-01" in faults[0].text


def test_sections_are_too_many_before_each_is_compared_with_each() -> None:
    line = next(one for one in SMALL.splitlines() if one.startswith("  - {id: other"))
    more = "\n".join(line.replace("id: other", f"id: more-{n}", 1) for n in range(MAX_SECTIONS))
    reasons = {fault.reason for fault in _faults(SMALL.replace(line, f"{line}\n{more}"))}
    assert "TOO_MANY" in reasons
    assert "OVERLAPPING_SECTIONS" not in reasons


def test_sections_for_different_care_may_share_codes() -> None:
    yaml = SMALL.replace("en: drugs}, codes: [drugs]", "en: drugs}, care_types: [inpatient]")
    yaml = yaml.replace("en: other}, in_force", "en: other}, care_types: [outpatient], in_force")
    assert len(load_plan(yaml, "plan.yaml").sections) == 2


@pytest.mark.parametrize("counts", ["deductible", "copay", "deductible, copay"])
def test_an_out_of_pocket_maximum_counts_coinsurance(counts: str) -> None:
    scope = "scope: treatment, unit: CNY"

    def maximum(counted: str) -> str:
        return f"""\
out_of_pocket:
  - {{id: most, clause: "1", {scope}, counts: [{counted}], values: {{2025-01-01: 1}}}}
"""

    faults = _faults(SMALL + maximum(counts))
    assert [(one.reason, one.path) for one in faults] == [
        ("COINSURANCE_NOT_COUNTED", "out_of_pocket[0].counts")
    ]
    assert len(load_plan(SMALL + maximum(f"{counts}, coinsurance"), "plan.yaml").out_of_pocket) == 1


def test_accumulators_share_one_list_of_names() -> None:
    ceiling = """\
ceilings:
  - {id: yearly, clause: "1", scope: member, period: lifetime, unit: CNY, values: {2025-01-01: 1}}
"""
    assert [fault.reason for fault in _faults(SMALL + ceiling)] == ["DUPLICATE_ID"]


def test_the_plans_of_tests_have_every_term_between_them() -> None:
    plans = [plan_of_file(path) for path in sorted((CASES / "plans").glob("*.yaml"))]
    empty = [
        name
        for name in plans[0].__struct_fields__
        if not any(getattr(plan, name) for plan in plans)
    ]
    assert empty == []


def test_a_text_of_a_language_that_runs_leftwards_is_taken_with_its_marks() -> None:
    name = "\u200fتاما\u200e One"
    assert load_plan(SMALL.replace("en: Small}", f'en: "{name}"}}'), "plan.yaml").name.en == name
