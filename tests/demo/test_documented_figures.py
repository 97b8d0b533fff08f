"""Every figure of docs/demo.md is that of the default seed; another hospital needs another page."""

import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from demo.hospital.bills import NOT_FAULTY, Planted
from demo.hospital.hospital import SEED, Hospital, generate
from demo.hospital.months import GLUCOSE, PRESSURE, low_glucose
from demo.hospital.people import DIABETES_PLAN, MEDICAL_PLAN
from demo.hospital.readings import Course
from demo.hospital.split import CLINIC, HOSPITAL
from demo.hospital.truth import End

# As one line, whatever the page's line breaks.
PAGE = re.sub(
    r"\s+", " ", (Path(__file__).parents[2] / "docs" / "demo.md").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def hospital() -> Hospital:
    return generate(SEED)


def must_say(*sentences: str) -> None:
    assert [one for one in sentences if one not in PAGE] == []


def test_people_and_policies(hospital: Hospital) -> None:
    people, year = hospital.roster.people, hospital.roster.covers
    year = tuple(cover for cover in year if cover.last.year == 2025)
    kin = Counter(one.relationship for cover in year for one in cover.insured)
    plans = Counter(cover.plan for cover in year)
    tiers = Counter(one.outcome_tier for cover in year for one in cover.insured)
    agreed = Counter(
        (told.code_prefix, told.terms)
        for cover in year
        for one in cover.insured
        for told in one.disclosed
    )
    both = sum(one.diabetic and one.hypertensive for one in people)
    must_say(
        f"seed {SEED}, {len(people)} people (at least 20), {len(hospital.bills):,} bills",
        f"{kin['SELF']} hold a policy, {kin['SPOUSE']} are spouses, {kin['CHILD']} children, "
        f"{kin['PARENT']} parents",
        f"{sum(one.diabetic for one in people)} have diabetes, "
        f"{sum(one.hypertensive for one in people)} high blood pressure, {both} both; "
        f"{sum(one.social for one in people)} have social insurance",
        f"{len(year)} in 2025, of which {sum(bool(one.previous) for one in year)} renew one of "
        f"2024 without a gap and {sum(not one.previous for one in year)} begin on 2025-06-01; "
        f"{sum(one.last.month == 8 for one in year)} lapse after 2025-08-31",
        f"{plans[MEDICAL_PLAN]} are [million-medical]",
        f"{plans[DIABETES_PLAN]} diabetics hold",
        f"{tiers['controlled']} of them certified as controlled and {tiers['improving']} as",
        f"{agreed['M51', 'EXCLUDED']} excluded lumbar discs (M51), {agreed['E11', 'EXCLUDED']} "
        f"diabetics in a family's policy with diabetes excluded, {agreed['I10', 'AT_SHARE']} high "
        f"blood pressures at half share (I10); {agreed['E11', 'COVERED']} covered diabetes, "
        f"{agreed['E11.2', 'AT_SHARE']} of them with kidney trouble",
    )


def test_bills_and_who_paid_at_the_counter(hospital: Hospital) -> None:
    bills = hospital.bills
    care = Counter(bill.care for bill in bills)
    houses = Counter(bill.provider for bill in bills)
    stays = [len(bill.lines) for bill in bills if bill.care == "IMP"]
    fund, account, cash, total = (
        sum((getattr(bill, name) for bill in bills), Decimal(0))
        for name in ("fund_paid", "account_paid", "cash", "total")
    )
    must_say(
        f"三级甲等 hospital ({houses[HOSPITAL]:,} bills) and a community clinic ({houses[CLINIC]})",
        f"{care['AMB']} outpatient, {care['REFILL']} chronic refills, {care['EMER']} emergencies, "
        f"{care['IMP']} stays of {min(stays)} to {max(stays)} lines, {care['ONLINE']} on-line",
        f"{sum(len(bill.lines) for bill in bills):,} lines; {total:,.2f} yuan in all, the largest "
        f"{max(bill.total for bill in bills):,.2f}",
        f"fund {fund:,.2f}, patients' own accounts (个人账户) {account:,.2f}, "
        f"cash {cash:,.2f} yuan",
    )


def test_what_is_planted_and_the_truth(hospital: Hospital) -> None:
    kinds = Counter(bill.planted for bill in hospital.bills)
    odd = len(hospital.bills) - kinds[Planted.CLEAN]
    faulty = sum(count for kind, count in kinds.items() if kind not in NOT_FAULTY)
    clean = Counter(one.end for one in hospital.truth if one.planted is Planted.CLEAN)
    paid = [one.paid_fen for one in hospital.truth if one.end is End.PAID]
    must_say(
        f"{odd} of 1,500 bills are odd on purpose, {faulty} of them faulty "
        f"({faulty / len(hospital.bills):.1%})",
        f"Of {kinds[Planted.CLEAN]:,} clean bills {clean[End.PAID]} are paid and "
        f"{clean[End.CLOSED_ZERO]} owe nothing",
        f"{len(paid)} bills are paid {Decimal(sum(paid)) / 100:,.2f} yuan",
        "With this seed none does",
    )
    assert clean[End.PENDED] == 0
    for one in hospital.truth:
        if one.planted is not Planted.CLEAN:
            row = next(
                line
                for line in PAGE.split("| |")
                if line.strip("| ").startswith(f"{one.planted.value} | {kinds[one.planted]} |")
            )
            assert all(reason in row for reason in {one.reason, *one.refused_lines.values()})


def test_readings_and_what_they_earn(hospital: Hospital) -> None:
    record, members = hospital.record, hospital.participants
    courses = Counter(record.courses.values())
    programmes = Counter(one.programme for one in members)
    shares = Counter(str(one.share) for one in members)
    must_say(
        f"{len(record.hospital):,} values in the hospital's system",
        f"{len(record.home):,} measured at home",
        f"Of {len(record.courses)} people {courses[Course.WELL]} are well controlled, "
        f"{courses[Course.IMPROVING]} improve during the year, {courses[Course.POOR]} are poorly "
        f"controlled, {courses[Course.CARELESS]} skip readings",
        f"{low_glucose(record.all)} glucose values lie below 3.9 mmol/L",
        f"{len(members)} people are in a programme, {programmes[GLUCOSE]} for glucose (whoever has "
        f"diabetes) and {programmes[PRESSURE]} for blood pressure",
        f"{shares['0.10']} earn 10 % of next year's premium, {shares['0.06']} earns 6 %, "
        f"{shares['0.03']} earn 3 %, {shares['0']} nothing",
    )
