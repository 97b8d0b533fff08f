"""The generated hospital: the same seed, the same bytes; bills are right unless planted."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from demo import fhir
from demo.hospital import care, wards
from demo.hospital.bills import FACT_UNSAID, NOT_FAULTY, Bill, Planted
from demo.hospital.codes import DISEASES, SERVICES
from demo.hospital.hospital import Hospital, generate
from demo.hospital.insured import LAPSE_LAST, LATE_START
from demo.hospital.people import MEDICAL_PLAN, check_digit
from demo.hospital.readings import MONTHS, Kind, Source
from demo.hospital.split import HOSPITAL, counting
from demo.hospital.truth import ASIDE_FOR, End
from demo.scenario import generated

ROOT = Path(__file__).parents[2]
# The one that the demo takes; whole hospitals of the others are for `make fault`.
DEMO, OTHERS = 20250101, (1, 7)
SEEDS = [*OTHERS, DEMO]
FINGERPRINT = """
import hashlib, json
from demo.scenario import generated
scenario = generated(7, people=50, bills=200)
digest = hashlib.sha256(json.dumps(scenario.resources, ensure_ascii=False).encode())
for policies in scenario.policies:
    for policy in policies:
        digest.update(policy.SerializeToString(deterministic=True))
print(digest.hexdigest())
"""


@pytest.fixture(
    scope="module", params=[*(pytest.param(seed, marks=pytest.mark.fault) for seed in OTHERS), DEMO]
)
def hospital(request: pytest.FixtureRequest) -> Hospital:
    return generate(request.param)


@pytest.fixture(scope="module")
def resources(hospital: Hospital) -> list[dict[str, Any]]:
    return fhir.resources(hospital)


@pytest.fixture(scope="module")
def claims(resources: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Bill number → FHIR Claim."""
    return {
        one["identifier"][0]["value"]: one for one in resources if one["resourceType"] == "Claim"
    }


def fingerprint(hash_seed: str) -> str:
    """The hospital of seed 7 as another process makes it."""
    environ = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"}
    command = [sys.executable, "-c", FINGERPRINT]
    return subprocess.run(
        command, env=environ, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def test_the_same_seed_gives_the_same_bytes_in_every_process() -> None:
    assert fingerprint("1") == fingerprint("2")


def test_another_seed_gives_another_hospital() -> None:
    small = [generate(seed, people=50, bills=200) for seed in SEEDS]
    texts = [json.dumps(fhir.resources(one)).encode() for one in small]
    assert len({hashlib.sha256(text).hexdigest() for text in texts}) == len(SEEDS)


def test_the_hospital_has_the_size_that_was_promised(hospital: Hospital) -> None:
    assert len(hospital.roster.people) == 300
    assert len(hospital.bills) == 1500
    assert len({bill.number for bill in hospital.bills}) == 1500


def test_at_least_fifteen_in_a_hundred_bills_are_faulty_and_ten_of_each_kind(
    hospital: Hospital,
) -> None:
    kinds = Counter(bill.planted for bill in hospital.bills)
    assert kinds.keys() == set(Planted)
    assert min(kinds.values()) >= 10
    faulty = sum(count for kind, count in kinds.items() if kind not in NOT_FAULTY)
    assert faulty >= 0.15 * len(hospital.bills)


def test_the_truth_of_every_bill_is_what_its_kind_says(hospital: Hospital) -> None:
    denied = {
        Planted.DUPLICATE: "DUPLICATE",
        Planted.EXCLUDED: "DIAGNOSIS_EXCLUDED",
        Planted.PRE_EXISTING: "PRE_EXISTING",
        Planted.WAITING: "WAITING_PERIOD",
        Planted.NOT_COVERED: "NOT_COVERED_ON_DATE",
        Planted.TOO_OLD: "DEPENDANT_NOT_ELIGIBLE",
        Planted.WRONG_HOUSE: "PROVIDER_NOT_LISTED",
    }
    cut = {Planted.SAME_EXAMINATION: "DUPLICATE_EXAMINATION", Planted.TOO_MANY: "FREQUENCY"}
    others = {
        Planted.UNKNOWN_MEMBER: (End.REFUSED, "UNKNOWN_MEMBER"),
        Planted.FACT_MISSING: (End.PENDED, "FACT_MISSING"),
        Planted.LARGE: (End.PENDED, "REVIEW_NEEDED"),
        Planted.NO_CONSENT: (End.HELD, "NO_CONSENT"),
        Planted.WITHDRAWN: (End.WITHDRAWN, "CONSENT_WITHDRAWN"),
    }
    for bill, truth in zip(hospital.bills, hospital.truth, strict=True):
        kind = bill.planted
        assert (truth.bill_number, truth.planted) == (bill.number, kind)
        if kind in ASIDE_FOR:
            assert (truth.end, truth.reason) == (End.QUARANTINED, ASIDE_FOR[kind])
        elif kind in denied:
            assert (truth.end, truth.reason) == (End.DENIED, denied[kind])
        elif kind in cut:
            assert truth.end in (End.PAID, End.CLOSED_ZERO)
            assert list(truth.refused_lines.values()) == [cut[kind]]
        elif kind in others:
            assert (truth.end, truth.reason) == others[kind]
        else:
            # A dear stay may wait for a person without anybody having planned it.
            assert truth.end in (End.PAID, End.CLOSED_ZERO) or truth.reason == "REVIEW_NEEDED"
            assert set(truth.refused_lines.values()) <= {"BENEFIT_EXCLUDED", "FREQUENCY"}


def test_clean_bills_that_wait_are_rare(hospital: Hospital) -> None:
    clean = [one for one in hospital.truth if one.planted is Planted.CLEAN]
    assert sum(one.end is End.PENDED for one in clean) <= 0.01 * len(clean)
    assert sum(one.end is End.PAID for one in clean) >= 0.2 * len(clean)


@pytest.mark.parametrize("people", [20, 21, 34])
@pytest.mark.parametrize("bills", [40, 77])
def test_small_hospitals_hold_every_kind_of_oddity(people: int, bills: int) -> None:
    small = generate(3, people=people, bills=bills)
    assert len(small.roster.people) == people
    assert len(small.bills) == bills
    assert {bill.planted for bill in small.bills} == set(Planted)


def test_every_bill_as_made_out_adds_up(hospital: Hospital) -> None:
    for bill in hospital.bills:
        for line in bill.lines:
            exact = line.quantity * line.service.price
            assert line.net == exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
            assert line.fund_paid is None or 0 <= line.fund_paid <= line.net
            assert (line.fund_paid is None) == (not bill.social)
            assert (line.fund_paid or 0) <= counting(line.service, line.net)
        assert bill.fund_paid + bill.account_paid + bill.cash == bill.total
        assert bill.cash >= 0 <= bill.account_paid
        if bill.care == "IMP":
            assert 10 <= len(bill.lines) <= 60


def test_every_kind_of_care_and_of_charge_is_there(hospital: Hospital) -> None:
    assert {bill.care for bill in hospital.bills} == {"AMB", "REFILL", "EMER", "IMP", "ONLINE"}
    kinds = {line.service.kind for bill in hospital.bills for line in bill.lines}
    assert {"drug", "lab", "imaging", "bed", "surgery", "consumable"} <= kinds
    classes = {line.service.list_class for bill in hospital.bills for line in bill.lines}
    assert classes == {"甲", "乙", "丙"}
    kin = {one.relationship for cover in hospital.roster.covers for one in cover.insured}
    assert kin == {"SELF", "SPOUSE", "CHILD", "PARENT"}


def test_colds_come_in_winter_and_old_people_stay_most(hospital: Hospital) -> None:
    clean = [bill for bill in hospital.bills if bill.planted is Planted.CLEAN]
    months = Counter(bill.start.month for bill in clean if bill.diseases[0] in ("J06.9", "J11.1"))
    assert sum(months[m] for m in (11, 12, 1, 2)) > sum(months[m] for m in (4, 5, 6, 7, 8, 9))
    stays = [bill.person.born.year <= 1965 for bill in clean if bill.care == "IMP"]
    old = [person.born.year <= 1965 for person in hospital.roster.people]
    assert sum(stays) / len(stays) > sum(old) / len(old)


def balanced(claim: dict[str, Any]) -> bool:
    """Whether a FHIR claim's numbers agree, read as exact decimals."""

    def exact(node: Any) -> Decimal:
        return Decimal(str(node["value"]))

    lines = claim["item"]
    multiply = all(
        (exact(line["quantity"]) * exact(line["unitPrice"])).quantize(
            Decimal("0.01"), ROUND_HALF_UP
        )
        == exact(line["net"])
        and exact(line["net"]) > 0
        for line in lines
    )
    funds = [exact(e["valueMoney"]) for line in lines for e in line.get("extension", [])]
    stated = [
        exact(part["valueMoney"])
        for extension in claim.get("extension", [])
        for part in extension["extension"]
        if part["url"] == "fundPaid"
    ]
    return (
        multiply
        and sum(map(exact, (line["net"] for line in lines))) == exact(claim["total"])
        and sum(funds) == sum(stated)
    )


def test_only_bills_with_planted_numbers_do_not_balance_in_fhir(
    hospital: Hospital, claims: dict[str, dict[str, Any]]
) -> None:
    wrong = {Planted.UNBALANCED, Planted.WRONG_LINE, Planted.NEGATIVE}
    for bill in hospital.bills:
        assert balanced(claims[bill.number]) == (bill.planted not in wrong), bill.planted


def test_each_planted_fault_is_the_only_fault_of_its_bill(
    hospital: Hospital, claims: dict[str, dict[str, Any]], resources: list[dict[str, Any]]
) -> None:
    patients = {o["id"]: o for o in resources if o["resourceType"] == "Patient"}
    for bill in hospital.bills:
        claim = claims[bill.number]
        period = claim["billablePeriod"]
        system = claim["item"][0]["productOrService"]["coding"][0]["system"]
        identifiers = patients[bill.person.key]["identifier"]
        impossible = period["start"].startswith("2025-02-30")
        faults = {
            Planted.IMPOSSIBLE_DATE: impossible,
            Planted.END_BEFORE_START: not impossible and period["end"] < period["start"],
            Planted.UNKNOWN_CODE: system != "urn:lipei:demo:yibao-code",
            Planted.NO_IDENTITY: all(one["system"] != fhir.CN_ID for one in identifiers),
            Planted.NEGATIVE: any(line["net"]["value"] < 0 for line in claim["item"]),
        }
        for fault, found in faults.items():
            assert found == (bill.planted is fault), (bill.number, fault)
        assert ("extension" not in claim) == (bill.planted in FACT_UNSAID)


def test_who_never_consented_has_no_other_bill_and_nobody_elses_consent_ends_one(
    hospital: Hospital,
) -> None:
    silent = {person.key for person in hospital.silent}
    leaving = {person.key for person in hospital.leaving}
    assert silent
    assert not silent & leaving
    assert silent <= {person.key for person in hospital.roster.people}
    assert not silent & {one.person.key for one in hospital.participants}
    for bill, truth in zip(hospital.bills, hospital.truth, strict=True):
        assert (bill.person.key in silent) == (truth.end is End.HELD)
        if truth.end in (End.PENDED, End.WITHDRAWN):
            assert (bill.person.key in leaving) == (truth.end is End.WITHDRAWN)
    # The same people of a smaller hospital, which is made sooner.
    size = {"people": 50, "bills": 200}
    small, scenario = generate(hospital.seed, **size), generated(hospital.seed, **size)
    consenting = {number for _, number in scenario.consenting}
    assert {number for _, number in scenario.withdrawing} <= consenting
    assert not {one.id_number for one in small.silent} & consenting
    assert small.silent
    assert len(scenario.withdrawing) == len(small.leaving) >= 1


def content(bill: Bill, claims: dict[str, dict[str, Any]]) -> str:
    """A bill without its number and without ids of records."""
    claim = {**claims[bill.number]}
    for key in ("id", "identifier", "diagnosis"):
        del claim[key]
    claim["item"] = [{**item, "encounter": None} for item in claim["item"]]
    return json.dumps([claim, bill.diseases], sort_keys=True)


def test_duplicates_and_nothing_else_repeat_an_earlier_bill(
    hospital: Hospital, claims: dict[str, dict[str, Any]]
) -> None:
    seen: set[str] = set()
    for bill in hospital.bills:
        text = content(bill, claims)
        assert (text in seen) == (bill.planted is Planted.DUPLICATE)
        seen.add(text)


def test_nobody_is_billed_twice_for_one_day_except_by_duplicates(hospital: Hospital) -> None:
    days: Counter[tuple[str, date]] = Counter()
    for bill in hospital.bills:
        if bill.planted is not Planted.DUPLICATE:
            for index in range((bill.end.date() - bill.start.date()).days + 1):
                days[bill.person.key, bill.start.date() + timedelta(days=index)] += 1
    assert set(days.values()) == {1}


def test_planted_denials_have_the_facts_that_deny_them(hospital: Hospital) -> None:
    roster = hospital.roster
    for bill in hospital.bills:
        if bill.planted is Planted.UNKNOWN_MEMBER:
            assert bill.person not in roster.people
        elif bill.planted is Planted.NOT_COVERED:
            cover = roster.cover_of(bill.person)
            assert not cover.start <= bill.start.date() <= cover.last
        elif bill.planted in {Planted.WAITING, Planted.PRE_EXISTING, Planted.CLEAN}:
            cover = roster.cover_of(bill.person)
            agreed = roster.insured(bill.person).disclosed
            assert cover.start <= bill.start.date() <= bill.end.date() <= cover.last
            excluded = any(
                bill.diseases[0].startswith(one.code_prefix)
                for one in agreed
                if one.terms == "EXCLUDED"
            )
            served = (bill.start.date() - cover.start).days >= 30 or bool(cover.previous)
            assert excluded == (bill.planted is Planted.PRE_EXISTING)
            assert served == (bill.planted is not Planted.WAITING)


def test_no_examination_but_a_planted_one_is_repeated_in_the_other_house_too_soon(
    hospital: Hospital,
) -> None:
    seen: dict[tuple[str, str], list[tuple[date, str]]] = {}
    repeated = set()
    for bill in hospital.bills:
        for line in bill.lines:
            if line.service.code.startswith(("002102", "002103")):
                before = seen.setdefault((bill.person.key, line.service.code), [])
                if any(
                    house != bill.provider and abs((line.day - day).days) <= 14
                    for day, house in before
                ):
                    repeated.add(bill.number)
                before.append((line.day, bill.provider))
    copies = {
        bill.number
        for bill in hospital.bills
        if bill.planted in (Planted.SAME_EXAMINATION, Planted.DUPLICATE)
    }
    planted = {b.number for b in hospital.bills if b.planted is Planted.SAME_EXAMINATION}
    assert planted <= repeated <= copies
    houses = Counter(bill.provider for bill in hospital.bills if bill.number in planted)
    assert len(houses) == 2
    assert houses[HOSPITAL] > 0


def test_policies_of_the_year_cover_everybody_once(hospital: Hospital) -> None:
    year = [one for one in hospital.roster.covers if one.last.year == 2025]
    covered = Counter(one.person.key for cover in year for one in cover.insured)
    assert covered == Counter(person.key for person in hospital.roster.people)
    for cover in year:
        assert bool(cover.previous) == (cover.start != LATE_START)
        assert cover.last in (LAPSE_LAST, date(2025, 12, 31))
        assert [one.relationship for one in cover.insured].count("SELF") == 1
        heads = [one.person for one in cover.insured if one.relationship == "SELF"]
        assert heads[0].diabetic or cover.plan == MEDICAL_PLAN


def test_identity_numbers_are_well_formed_unique_and_of_no_existing_area(
    hospital: Hospital,
) -> None:
    numbers = [person.id_number for person in hospital.roster.people]
    assert len(set(numbers)) == len(numbers)
    for number in numbers:
        assert number is not None
        assert number.startswith("99")
        assert number[-1] == check_digit(number[:17])


# The two examples of GB 11643-1999.
@pytest.mark.parametrize("number", ["11010519491231002X", "440524188001010014"])
def test_the_check_digit_is_the_standards(number: str) -> None:
    assert check_digit(number[:17]) == number[17]


def test_treatments_use_codes_that_exist() -> None:
    every = [
        one
        for module in (care, wards)
        for value in vars(module).values()
        for one in (value if isinstance(value, tuple) else (value,))
        if isinstance(one, care.Treatment)
    ]
    assert len(every) > 25
    used = {use.code for treatment in every for use in treatment.uses}
    assert used <= SERVICES.keys()
    assert {code for treatment in every for code in treatment.diseases} <= DISEASES.keys()


def test_a_scenario_expects_what_was_planted() -> None:
    scenario = generated(5, people=50, bills=200)
    assert scenario.generated is not None
    planted = Counter(bill.planted for bill in scenario.generated.bills)
    aside, strangers = sum(planted[kind] for kind in ASIDE_FOR), planted[Planted.UNKNOWN_MEMBER]
    assert scenario.expected.quarantined == aside >= 7
    assert scenario.expected.refused == strangers >= 1
    held, gone = planted[Planted.NO_CONSENT], planted[Planted.WITHDRAWN]
    assert (scenario.expected.held, scenario.expected.withdrawn) == (held, gone) == (2, 2)
    assert scenario.expected.claims == 200 - aside - strangers - held
    assert scenario.expected.pended == planted[Planted.FACT_MISSING] + planted[Planted.LARGE]


def test_readings_run_over_fourteen_months_and_home_ones_are_not_in_the_hospital(
    hospital: Hospital, resources: list[dict[str, Any]]
) -> None:
    record = hospital.record
    assert {(one.at.year, one.at.month) for one in record.all} == set(MONTHS)
    assert {one.source for one in record.hospital} == {Source.LABORATORY, Source.CLINIC}
    assert {one.source for one in record.home} == {Source.DEVICE, Source.TYPED}
    ids = [one.key for one in record.home]
    assert len(set(ids)) == len(ids)
    assert all(one.received >= one.at for one in record.all)
    low = [one for one in record.home if one.kind is Kind.FASTING and one.unit == "mmol/L"]
    assert any(one.value < Decimal("3.9") for one in low)
    tests = Counter(one.person.key for one in record.hospital if one.kind is Kind.HBA1C)
    assert max(tests.values()) == 5
    observed = [o for o in resources if o["resourceType"] == "Observation"]
    values = sum(max(1, len(one.get("component", []))) for one in observed)
    assert values == len(record.hospital)
    assert all(one["issued"] >= one["effectiveDateTime"] for one in observed)


def test_on_line_follow_ups_are_virtual_encounters(
    hospital: Hospital, resources: list[dict[str, Any]]
) -> None:
    classes = {
        one["id"]: one["class"]["code"] for one in resources if one["resourceType"] == "Encounter"
    }
    for bill in hospital.bills:
        assert (classes[f"e{bill.number[-6:]}"] == "VR") == (bill.care == "ONLINE")
