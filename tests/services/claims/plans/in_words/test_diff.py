"""What a difference says, to whom, from when, and whether it is better or worse for them."""

from __future__ import annotations

import pytest

from services.claims.core.plan import Plan
from services.claims.plans.in_words.diff import Change, diff, lines
from services.claims.plans.loader import load_plan
from tests.services.claims.core.bills import CASES, PLANS


def _text(name: str) -> str:
    return (PLANS / f"{name}.yaml").read_text("utf-8")


def _changed(name: str, *swaps: tuple[str, str]) -> tuple[Change, ...]:
    old = _text(name)
    new = old
    for was, now in swaps:
        assert was in new, was
        new = new.replace(was, now, 1)
    return diff(_plan(old), _plan(new))


def _plan(text: str) -> Plan:
    return load_plan(text, "plan.yaml")


# (what is replaced, by what, the place, whether it is better or worse, the sentence in English)
TOLD = [
    (
        '{2024-01-01: "500.00"}',
        '{2024-01-01: "500.00", 2026-01-01: "800.00"}',
        "deductibles/yearly-deductible",
        "worse",
        "deductible: from 2026-01-01 on CNY 500.00 → CNY 800.00 (worse for the insured)",
    ),
    (
        '{2024-01-01: "500.00"}',
        '{2024-01-01: "500.00", 2026-01-01: null, 2027-01-01: "500.00"}',
        "deductibles/yearly-deductible",
        "better",
        "from 2026-01-01 to 2026-12-31 CNY 500.00 → no deductible (better for the insured)",
    ),
    (
        '{2024-01-01: "0.95"}',
        '{2024-01-01: "0.925"}',
        "shares/controlled-primary",
        "worse",
        "insurer's share: from 2024-01-01 on 95% → 92.5% (worse for the insured)",
    ),
    (
        "values: {2024-01-01: 60}",
        "values: {2024-01-01: 60, 2025-07-01: null}",
        "count_limits/visits",
        "better",
        "most claims: from 2025-07-01 on 60 claims → no limit (better for the insured)",
    ),
    (
        "values: {2024-01-01: 30}",
        "values: {2024-01-01: 31}",
        "waiting_periods/inpatient",
        "worse",
        "waiting period: from 2024-01-01 on 30 days → 31 days (worse for the insured)",
    ),
    (
        "{2024-01-01: {from: 18}}",
        "{2024-01-01: {from: 16, to: 70}}",
        "eligibility/holder",
        "depends",
        "insurable ages: from 2024-01-01 on from 18 years on → 16 to 70 years",
    ),
    (
        'demo-yibao: ["001109000020000", "003105*", "003114*"]',
        'demo-yibao: ["001109000020000", "003105*"]',
        "code_sets/not-medical",
        "better",
        "(better for the insured)",
    ),
    (
        "otherwise: {2024-01-01: excluded}",
        'otherwise: {2024-01-01: "0.30"}',
        "pre_existing",
        "better",
        "not covered → covered at a share of 30% (better for the insured)",
    ),
    (
        "exempt: {diagnoses: [injuries], care_types: [emergency]}",
        "exempt: {diagnoses: [injuries]}",
        "waiting_periods/inpatient",
        "worse",
        "kinds of care without waiting: emergency care → none (worse for the insured)",
    ),
]


@pytest.mark.parametrize(("was", "now", "place", "judged", "sentence"), TOLD)
def test_a_change_is_told_from_when_and_judged(
    was: str, now: str, place: str, judged: str, sentence: str
) -> None:
    (told,) = _changed("chronic-diabetes", (was, now))
    assert (told.place, told.effect.value) == (place, judged)
    assert sentence in told.sentence().en


@pytest.mark.parametrize(
    ("was", "now", "judged"),
    [
        (
            "2024-01-01: 48",
            "2024-01-01: 72",
            "from 2024-01-01 to 2025-12-31 48 hours → 72 hours (b",
        ),
        (
            "2024-01-01: 48",
            "2024-01-01: 36",
            "from 2024-01-01 to 2025-12-31 48 hours → 36 hours (w",
        ),
        ("2026-01-01: 24", "2026-01-01: null", "24 hours → without end (b"),
        ("2027-01-01: null", "2027-01-01: 24", "without end → 24 hours (w"),
        ("48, 2026-01-01: 24, 2027-01-01: null", "0", "48 hours → 0 hours (w"),
    ],
)
def test_more_hours_of_emergency_care_are_better(was: str, now: str, judged: str) -> None:
    """A plan without hours is without end, so that any hours that it gets are worse."""
    old = (CASES / "plans" / "conventions-options.yaml").read_text("utf-8")
    assert was in old
    changes = diff(_plan(old), _plan(old.replace(was, now, 1)))
    assert any(judged in one.sentence().en for one in changes), [
        one.sentence().en for one in changes
    ]


def test_a_change_names_its_clause_in_both_languages() -> None:
    (told,) = _changed("chronic-diabetes", ('{2024-01-01: "500.00"}', '{2024-01-01: "300.00"}'))
    said = told.sentence()
    assert "2.5 年度免赔额 500 元" in said.zh
    assert "500.00 元 → 300.00 元（对被保险人有利）" in said.zh
    assert "[2.5 Yearly deductible of 500 yuan" in said.en


def test_changes_stand_under_whom_they_concern() -> None:
    found = _changed(
        "chronic-diabetes",
        ('{2024-01-01: "500.00"}', '{2024-01-01: "300.00"}'),
        ('2025-01-01: "6000.00"', '2025-01-01: "7000.00"'),
        ('{2024-01-01: "0.95"}', '{2024-01-01: "1"}'),
    )
    said = list(lines(found, "en"))
    assert [line for line in said if not line.startswith(" ")] == [
        "Everybody and every charge",
        "Hospital tiers: primary hospitals; outcome tiers: in control",
        "Sections: diabetes drugs",
    ]


def test_a_term_that_comes_or_goes_is_told_whole() -> None:
    copay = _text("chronic-diabetes").partition("copays:\n")[2].partition("\nshares:")[0]
    (gone,) = _changed("chronic-diabetes", (f"copays:\n{copay}", ""))
    assert gone.sentence().en.startswith("copays, taken out: Sections: outpatient.")
    assert "[2.11 Copay of 20 yuan per outpatient visit] (visit)" in gone.sentence().en
    assert "The insured bears CNY 20.00 of each visit." in gone.sentence().en


def test_a_new_share_says_where_in_the_order_it_stands() -> None:
    new = (
        '  - {id: minors, clause: "2.6", when: {ages: {to: 17}}, unit: share,'
        ' values: {2024-01-01: "1"}}\n  - id: tertiary\n'
    )
    (told,) = _changed("chronic-diabetes", ("  - id: tertiary\n", new))
    assert 'It comes before "tertiary".' in told.sentence().en
    assert told.concerns.zh == "年龄：17 周岁及以下"


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ('{2024-01-01: "500.00"}', '{2024-01-01: "500", 2026-01-01: 500}'),
        ("[E10, E11, E12, E13, E14]", "[E14, E13, E12, E11, E10]"),
        (
            "[outpatient, emergency, pharmacy, chronic, online]",
            "[online, emergency, pharmacy, chronic, outpatient]",
        ),
    ],
)
def test_what_says_the_same_is_no_change(was: str, now: str) -> None:
    assert _changed("chronic-diabetes", (was, now)) == ()
    assert list(lines((), "en")) == ["Nothing changes for anybody."]


def test_words_that_change_in_one_language_are_no_change_in_the_other() -> None:
    (one,) = _changed("million-medical", ("zh: 特定药品, en: special", "zh: 特药, en: special"))
    said = one.sentence()
    assert "name: special drugs (only the Chinese words change) (changes no amount)" in said.en
    assert "特定药品 → 特药" in said.zh
    (one,) = _changed("million-medical", ("en: special drugs", "en: costly drugs"))
    said = one.sentence()
    assert "特定药品（仅英文文字变更）" in said.zh
    assert "special drugs → costly drugs" in said.en


def _with_codes(codes: str) -> Plan:
    """The plan whose special drugs are these."""
    text, was = _text("million-medical"), '2024-01-01:\n      demo-yibao: ["XL01*"]'
    assert text.count(was) == 1
    return _plan(text.replace(was, f"2024-01-01: {codes}"))


def test_of_a_long_list_the_sentence_counts_and_the_rest_is_for_machines() -> None:
    was = ", ".join(f"V{number}" for number in range(100, 140))
    now = ", ".join(f"V{number}" for number in range(102, 165))
    old, new = (_with_codes(f"{{demo-yibao: [{codes}]}}") for codes in (was, now))
    (one,) = diff(old, new)
    assert [text.en for text in one.removed] == ["demo-yibao V100", "demo-yibao V101"]
    assert [text.en for text in one.added] == [f"demo-yibao V{n}" for n in range(140, 165)]
    first = ", ".join(f"demo-yibao V{number}" for number in range(140, 150))
    sentence = one.sentence()
    told = f"without 2 (demo-yibao V100, demo-yibao V101) → with 25 ({first} and 15 more)"
    assert told in sentence.en
    assert "增加 25 项（" in sentence.zh
    assert sentence.zh.count("V1") == 12
    assert one.told(("en",))["added"] == [text.en for text in one.added]
    # A set that comes back from nothing is told in short as well.
    ended = _with_codes("null")
    (back,) = diff(ended, new)
    assert "nothing → 63 (" in back.sentence().en
    assert len(back.added) == 63


def test_rows_of_tables_are_compared_by_code_and_day() -> None:
    folder = CASES / "plans" / "every-edit.yaml"
    old = folder.read_text("utf-8")
    new = old.replace(
        "U2,3,day,20240101,*", "U2,3,day,20240101,20251231\n      U2,2,day,20260101,*"
    )
    (told,) = diff(_plan(old), _plan(new))
    assert told.sentence().en == (
        "table of units [2.2 Units of a day] U2 a day: most units: from 2026-01-01 on"
        " 3 units → 2 units (worse for the insured)"
    )
