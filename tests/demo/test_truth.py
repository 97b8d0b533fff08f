"""The demo's truth says what was worked out by hand from the plans' text: truth.yaml."""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.hospital.benefit import Used, fen
from demo.hospital.bills import ZONE, Bill, Line, Planted
from demo.hospital.codes import SERVICES
from demo.hospital.insured import Roster
from demo.hospital.people import Cover, Disclosed, Insured, Person
from demo.hospital.split import CLINIC, HOSPITAL
from demo.hospital.truth import End, expectations

CASES = yaml.safe_load(Path(__file__).with_name("truth.yaml").read_text("utf-8"))["cases"]
SECTIONS = ("outpatient", "special drugs", "drugs", "checks")


def roster_of(case: Mapping[str, Any]) -> Roster:
    """One policy with one member."""
    member, policy = case.get("member", {}), case.get("policy", {})
    person = Person(
        key="p1",
        name="王伟",
        female=False,
        born=member.get("born", date(1970, 5, 1)),
        id_number=None,
        social=member.get("social_insurance", True),
    )
    insured = Insured(
        person=person,
        relationship=member.get("relationship", "SELF"),
        disclosed=tuple(
            Disclosed(code_prefix=one["diagnosis"], terms=one["terms"], share=one.get("share", ""))
            for one in member.get("agreed", [])
        ),
        outcome_tier=member.get("tier", ""),
    )
    cover = Cover(
        policy_id="demo-1",
        plan=case["plan"],
        start=policy.get("first", date(2025, 1, 1)),
        last=policy.get("last", date(2025, 12, 31)),
        previous="" if policy.get("new") else "demo-0",
        insured=(insured,),
        holder_name=person.name,
        account_number="1",
        bank_code="1",
    )
    return Roster(people=(person,), covers=(cover,))


def bill_of(number: int, told: Mapping[str, Any], person: Person) -> Bill:
    """A bill as the hospital would make it out."""
    settled = told.get("settled", True)
    first, last = told["from"], told.get("to", told["from"])
    lines = [
        Line(
            service=SERVICES[line["code"]],
            quantity=Decimal(line.get("quantity", 1)),
            net=Decimal(fen(SERVICES[line["code"]].price * line.get("quantity", 1))) / 100,
            day=last,
            fund_paid=Decimal(line.get("fund", 0)) if settled else None,
        )
        for line in told["lines"]
    ]
    return Bill(
        number=str(number),
        person=person,
        provider=CLINIC if told.get("house") == "clinic" else HOSPITAL,
        care=told["care"],
        start=datetime.combine(first, time(9), ZONE),
        end=datetime.combine(last, time(9), ZONE) + timedelta(minutes=30),
        diseases=tuple(told["diseases"]),
        lines=tuple(lines),
        social=settled,
        account_paid=Decimal(0),
        planted=Planted[told.get("planted", "CLEAN")],
    )


def used_of(told: Mapping[str, Any]) -> Used:
    """What had been used up before; amounts in yuan."""
    used = Used(
        deductible=fen(Decimal(told.get("deductible", 0))),
        out_of_pocket=fen(Decimal(told.get("out_of_pocket", 0))),
        rehabilitation=told.get("rehabilitation", 0),
    )
    for section in SECTIONS:
        used.by_section[section] = fen(Decimal(told.get(section, 0)))
    return used


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_a_case_worked_out_by_hand(case: Mapping[str, Any]) -> None:
    roster = roster_of(case)
    bills = tuple(
        bill_of(number, told, roster.people[0]) for number, told in enumerate(case["bills"], 1)
    )
    found = expectations(roster, bills, before={"p1": used_of(case.get("used", {}))})
    for told, one in zip(case["bills"], found, strict=True):
        expected = told["expect"]
        assert one.end is End(expected["end"])
        assert one.reason == expected.get("reason", "")
        assert one.benefit_fen == fen(Decimal(expected.get("benefit", 0)))
        assert dict(one.refused_lines) == expected.get("refused", {})


def test_there_are_cases_of_every_end_that_the_insurer_can_give() -> None:
    ends = {told["expect"]["end"] for case in CASES for told in case["bills"]}
    assert ends == {"paid", "closed at zero", "denied", "pended"}
