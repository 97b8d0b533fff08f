"""What makes a bill unacceptable, every fault at once; and that acceptable bills have none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings

from services.claims.core.adjudicate import adjudicate
from services.claims.core.facts import (
    BillFacts,
    Coding,
    DiagnosisFacts,
    LinePayment,
    PriorPayment,
    PriorPayments,
    SocialInsuranceFacts,
    UsageSnapshot,
)
from services.claims.core.intake import (
    UnacceptableBill,
    bill_faults,
    places_of,
    priced,
    unknown_codes,
)
from tests.services.claims.core.bills import ICD_10, YIBAO, bill, bills, line, plan_named, policy

NOBODY = PriorPayments()
replace = msgspec.structs.replace


def _reasons(facts: BillFacts, prior: PriorPayments = NOBODY) -> set[str]:
    return {fault.reason for fault in bill_faults(facts, prior, "CNY")}


def _with_line(**changes: object) -> BillFacts:
    return bill(replace(line(), **changes), line(2))


def _with_insurance(**changes: object) -> BillFacts:
    stated = replace(SocialInsuranceFacts(), **changes)
    return replace(bill(line(1), line(2)), social_insurance=stated)


BAD: dict[str, tuple[Callable[[], BillFacts], str]] = {
    "another currency": (lambda: replace(bill(), currency="USD"), "WRONG_CURRENCY"),
    "end before start": (lambda: replace(bill(), end_date=date(2025, 3, 9)), "END_BEFORE_START"),
    "no lines": (lambda: replace(bill(), lines=()), "NOTHING_BILLED"),
    "nothing billed": (lambda: bill(line(price="0")), "NOTHING_BILLED"),
    "one number twice": (lambda: bill(line(1), line(1)), "DUPLICATE_NUMBER"),
    "one diagnosis twice": (
        lambda: replace(
            bill(),
            diagnoses=(DiagnosisFacts(number=1, code=Coding(system=ICD_10, code="I10")),) * 2,
        ),
        "DUPLICATE_NUMBER",
    ),
    "no quantity": (lambda: _with_line(quantity=Decimal(0), billed=0), "NOT_POSITIVE"),
    "five decimal places": (lambda: bill(line(quantity="1.00001")), "TOO_PRECISE"),
    "seven decimal places": (lambda: bill(line(price="1.0000001")), "TOO_PRECISE"),
    "a negative price": (lambda: _with_line(unit_price=Decimal(-1), billed=0), "NEGATIVE"),
    "a negative amount": (lambda: _with_line(billed=-1), "OUT_OF_RANGE"),
    "too many units": (
        lambda: bill(line(quantity="1000000000.0001", price="0.000001")),
        "OUT_OF_RANGE",
    ),
    "a price of no service": (
        lambda: _with_line(unit_price=Decimal(10**15 + 1), billed=0),
        "OUT_OF_RANGE",
    ),
    "a product beyond the default context": (
        lambda: _with_line(quantity=Decimal("9" * 18), unit_price=Decimal("9" * 18)),
        "OUT_OF_RANGE",
    ),
    "a total above": (
        lambda: bill(line(1, price="6000000000000"), line(2, price="6000000000000")),
        "OUT_OF_RANGE",
    ),
    "a wrong product": (lambda: _with_line(billed=9_999), "NOT_QUANTITY_TIMES_PRICE"),
    "an unknown diagnosis": (lambda: _with_line(diagnosis_numbers=(7,)), "UNKNOWN_DIAGNOSIS"),
    "a negative payment": (lambda: _with_line(fund_paid=-1), "NEGATIVE"),
    "a line paid above": (lambda: _with_line(fund_paid=10_001), "PAID_ABOVE_BILL"),
    "a bill paid above": (lambda: _with_insurance(used=True, fund_paid=20_001), "PAID_ABOVE_BILL"),
    "paid above with the account": (
        lambda: _with_insurance(used=True, fund_paid=20_000, account_paid=1),
        "PAID_ABOVE_BILL",
    ),
    "paid but not used": (lambda: _with_insurance(used=False, fund_paid=1), "CONTRADICTION"),
    "a negative fund": (lambda: _with_insurance(fund_paid=-1), "NEGATIVE"),
    "lines above the bill's payment": (
        lambda: bill(line(1, fund_paid=500), line(2), paid=400),
        "LINES_DO_NOT_ADD_UP",
    ),
    "lines below the bill's payment": (
        lambda: bill(line(1, fund_paid=500), line(2, fund_paid=0), paid=600),
        "LINES_DO_NOT_ADD_UP",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_bill_is_named_for_what_it_is(name: str) -> None:
    make, reason = BAD[name]
    assert reason in _reasons(make())
    with pytest.raises(UnacceptableBill):
        adjudicate(plan_named("every-term"), policy(), UsageSnapshot(), make())


def test_the_good_neighbours_of_bad_bills_have_no_fault() -> None:
    assert _reasons(bill()) == set()
    assert _reasons(_with_insurance(used=True, fund_paid=20_000)) == set()
    assert _reasons(bill(line(1, fund_paid=500), line(2), paid=600)) == set()
    assert _reasons(bill(line(1, quantity="3.0001", price="0.333333"))) == set()


def test_the_largest_bill_that_is_accepted_is_priced_exactly() -> None:
    assert priced(Decimal(10**9), Decimal("10000.000000"), "CNY") == 10**15
    assert _reasons(bill(line(quantity="1000000000", price="10000"))) == set()
    # 34 digits, of which the default context would keep 28.
    quantity, price = Decimal("999999999.9999"), Decimal("999999999999999.999999")
    exact = (9_999_999_999_999 * 999_999_999_999_999_999_999 * 2 + 10**8) // (2 * 10**8)
    assert priced(quantity, price, "CNY") == exact


SNOMED = "http://snomed.info/sct"


@pytest.mark.parametrize("system", ["urn:nobody:knows", "", YIBAO.upper(), f"{YIBAO}|1"])
def test_codes_of_systems_that_the_plan_does_not_know_are_named(system: str) -> None:
    plan = plan_named("every-term")
    strange = Coding(system=system, code="V1")
    diagnosis = DiagnosisFacts(number=1, code=strange, principal=True)
    facts = replace(
        bill(line(1), replace(line(2), code=strange)),
        diagnoses=(diagnosis,),
    )
    assert [(fault.field, fault.reason) for fault in unknown_codes(plan, facts)] == [
        ("lines[1].code", "UNKNOWN_CODE_SYSTEM"),
        ("diagnoses[0].code", "UNKNOWN_CODE_SYSTEM"),
    ]
    assert unknown_codes(plan, bill(line(1), line(2))) == ()


@pytest.mark.parametrize(
    ("name", "services", "diagnoses"),
    [
        (
            "synthea-usd",
            [
                SNOMED,
                "http://www.nlm.nih.gov/research/umls/rxnorm",
                "http://hl7.org/fhir/sid/cvx",
            ],
            SNOMED,
        ),
        ("million-medical", [YIBAO], ICD_10),
        ("chronic-diabetes", [YIBAO], ICD_10),
    ],
)
def test_the_example_plans_know_the_systems_of_their_sources(
    name: str, services: list[str], diagnoses: str
) -> None:
    lines = [
        replace(line(number), code=Coding(system=one, code="1"))
        for number, one in enumerate(services)
    ]
    diagnosis = DiagnosisFacts(number=1, code=Coding(system=diagnoses, code="1"))
    facts = replace(bill(*lines), diagnoses=(diagnosis,))
    assert unknown_codes(plan_named(name), facts) == ()


def test_a_system_is_known_by_declaration_a_code_set_or_a_price_list() -> None:
    plan = replace(plan_named("every-term"), code_systems=())
    assert unknown_codes(plan, bill()) == ()
    bare = replace(plan, code_sets=(), providers=replace(plan.providers, listing=()))
    assert len(unknown_codes(bare, bill())) == 2
    assert unknown_codes(replace(bare, code_systems=(YIBAO, ICD_10)), bill()) == ()


def test_all_faults_come_at_once() -> None:
    facts = replace(_with_line(billed=1), currency="USD", end_date=date(2025, 3, 9))
    assert {"WRONG_CURRENCY", "END_BEFORE_START", "NOT_QUANTITY_TIMES_PRICE"} <= _reasons(facts)


def _paid(amount: int, *lines: tuple[int, int]) -> PriorPayments:
    told = tuple(LinePayment(number=number, amount=part) for number, part in lines)
    return PriorPayments(payments=(PriorPayment(payer="ELDER", amount=amount, lines=told),))


@pytest.mark.parametrize(
    ("prior", "reason"),
    [
        (_paid(-1), "NEGATIVE"),
        (_paid(10_001), "PAID_ABOVE_BILL"),
        (_paid(50, (1, 40)), "LINES_DO_NOT_ADD_UP"),
        (_paid(50, (9, 50)), "UNKNOWN_LINE"),
        (_paid(10_001, (1, 10_001)), "PAID_ABOVE_BILL"),
    ],
)
def test_bad_payments_of_earlier_insurers_are_named(prior: PriorPayments, reason: str) -> None:
    assert reason in _reasons(bill(), prior)
    assert _reasons(bill(), _paid(10_000, (1, 10_000))) == set()


def test_what_lines_and_bill_state_is_added_up() -> None:
    facts = bill(line(1, fund_paid=6_000))
    assert _reasons(facts, _paid(4_000)) == set()
    assert _reasons(facts, _paid(4_001)) == {"PAID_ABOVE_BILL"}


@settings(max_examples=50)
@given(bills())
def test_bills_as_other_tests_draw_them_are_acceptable(
    drawn: tuple[BillFacts, PriorPayments],
) -> None:
    assert bill_faults(*drawn, "CNY") == ()


def test_lines_keep_the_money_of_a_fund_that_states_some_lines_only() -> None:
    facts = bill(line(1, fund_paid=500), line(2), line(3), paid=1_500)
    decision = adjudicate(plan_named("every-term"), policy(), UsageSnapshot(), facts)
    paid = [
        sum(share.amount for share in one.shares if share.bearer.value == "prior_payer")
        for one in decision.lines
    ]
    assert paid == [500, 500, 500]


def test_the_largest_quantity_price_and_amount_are_still_good() -> None:
    assert _reasons(bill(line(quantity="1000000000", price="0.01"))) == set()
    assert _reasons(bill(line(quantity="0.0001", price=str(10**15)))) == set()


def test_what_is_out_of_range_is_not_multiplied() -> None:
    for facts in (
        _with_line(unit_price=Decimal(10**15 + 1), billed=0),
        _with_line(quantity=Decimal(10**9 + 1), billed=5),
    ):
        assert _reasons(facts) == {"OUT_OF_RANGE"}


def test_a_bill_paid_wholly_from_the_patients_own_account_is_good() -> None:
    assert _reasons(_with_insurance(used=True, account_paid=20_000)) == set()


def test_a_long_name_of_a_code_system_is_cut() -> None:
    code = Coding(system="x" * 300, code="V1")
    (fault,) = unknown_codes(plan_named("every-term"), bill(replace(line(), code=code)))
    assert fault.text == f"the plan knows no code system {'x' * 200}"


def test_places_are_those_after_the_point() -> None:
    written = {"1.25": 2, "7": 0, "0.5": 1, "1.2345": 4, "1E+2": -2}
    assert {one: places_of(Decimal(one)) for one in written} == written


@pytest.mark.parametrize("amount", [0, 1])
def test_an_earlier_insurer_may_have_paid_nothing_or_a_fen(amount: int) -> None:
    assert _reasons(bill(), _paid(amount)) == set()
    assert _reasons(bill(), _paid(amount, (1, amount))) == set()
