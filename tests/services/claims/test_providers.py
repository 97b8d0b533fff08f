"""Prices and accounts of providers: from the file to the decision, from two people to the bank."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import text

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import decision_pb2, policy_pb2, reason_pb2, review_pb2, settlement_pb2
from lipei.claims.v1 import provider_pb2 as providers
from lipei.type.v1 import bill_pb2
from services.claims.storage.sealed import paying_subject
from services.common.access.caller import Caller, calling_as
from services.common.refusals import RpcFault
from services.common.strict_yaml import MAX_BYTES
from tests.sandbox import SandboxBank, sandbox_bank
from tests.services.claims.given import (
    BED,
    DRUG,
    HOSPITAL,
    PLAN,
    PLANS,
    SCAN,
    bill,
    imported,
    line,
    policy,
    publish,
    submission,
    yuan,
)
from tests.services.claims.serving import Served, served
from tests.services.claims.stock import Stock, insured
from tests.services.claims.test_benefits import published
from tests.services.claims.test_reviews import asked, books, got, refused
from tests.tenants import of_hospital, of_installation, of_insurer

OF_DRUG = f"system: demo-yibao, code: {DRUG}, unit: CNY"
OF_BED = f'system: demo-yibao, code: "{BED}", unit: CNY'
LIST = f"""
format: 1
provider: {HOSPITAL}
currency: CNY
first_day: 2026-01-01
direct_billing: {{2026-01-01: false, 2026-05-01: true}}
prices:
  - {{{OF_DRUG}, values: {{2026-01-01: "100.00", 2026-05-01: "80.00"}}}}
  - {{{OF_BED}, values: {{2026-03-01: "500.00", 2026-06-01: null}}}}
"""
# Beds go to the provider, everything else to the member.
SPLIT = (
    (PLANS / f"{PLAN}.yaml")
    .read_text("utf-8")
    .replace(f"id: {PLAN}", "id: split")
    .replace('{2024-01-01: "10000.00"}', '{2024-01-01: "0.00"}')
    + """
payees:
  - {id: hospital, clause: "2.1", when: {sections: [inpatient]}, values: {2024-01-01: provider}}
  - {id: holder, clause: "2.1", values: {2024-01-01: member}}
"""
)


@dataclass
class Desk:
    """Who calls."""

    who: Caller = field(default_factory=of_insurer)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBank]:
    with sandbox_bank(tmp_path_factory.mktemp("bank")) as running:
        yield running


@pytest.fixture
def stock() -> Stock:
    return insured(1)


@pytest.fixture
def service(stocked_url: str, desk: Desk) -> Iterator[Served]:
    with served(stocked_url, caller=lambda: desk.who) as running:
        yield running


def priced(
    service: Served, yaml: str = LIST, *, dry_run: bool = False
) -> providers.ImportPriceListResponse:
    request = providers.ImportPriceListRequest(
        request_id=uuid.uuid4().hex, yaml=yaml.encode(), dry_run=dry_run
    )
    answer: providers.ImportPriceListResponse = service.providers.ImportPriceList(request)
    return answer


def person(name: str) -> Caller:
    """Somebody of the insurer's."""
    return replace(of_insurer(), subject=name)


def from_the_hospital(given: bill_pb2.Bill) -> bill_pb2.Bill:
    given.name = f"hospitals/general/bills/{given.bill_number.lower()}"
    given.consent = "hospitals/general/consents/c"
    return given


def decided(service: Served, given: bill_pb2.Bill) -> pb.Claim:
    (claim,) = service.claims.SubmitClaim(submission(given)).claims
    return got(service, claim.name)


def borne(claim: pb.Claim) -> dict[tuple[int, int], int]:
    """Minor units by bearer and reason."""
    found: dict[tuple[int, int], int] = {}
    for share in (share for one in claim.decision.lines for share in one.shares):
        key = (share.bearer, share.reason)
        found[key] = found.get(key, 0) + share.amount.minor_units
    return found


# --------------------------------------------------------------------------------------- prices


@pytest.mark.parametrize(
    ("days", "price"),
    [(("2026-04-02", "2026-04-30"), 100), (("2026-04-30", "2026-05-01"), 80)],
)
def test_the_price_is_the_one_of_the_day_of_discharge(
    service: Served, days: tuple[str, str], price: int
) -> None:
    assert priced(service).price_count == 2
    claim = decided(service, bill("B1", line(1, DRUG, "120.00", "200"), days=days))
    assert claim.decision.allowed == yuan(200 * price)
    above = decision_pb2.BEARER_PATIENT, reason_pb2.REASON_PRICE_ABOVE_CONTRACT
    assert borne(claim)[above] == 200 * (120 - price) * 100
    service.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))


def test_a_code_absent_from_the_list_that_day_is_denied(service: Served) -> None:
    priced(service)
    lines = line(1, DRUG, "100.00", "200"), line(2, SCAN, "600.00"), line(3, BED, "300.00")
    claim = decided(service, bill("B1", *lines))
    assert [one.outcome for one in claim.decision.lines] == [
        decision_pb2.LINE_OUTCOME_CUT,
        decision_pb2.LINE_OUTCOME_DENIED,
        decision_pb2.LINE_OUTCOME_ALLOWED,
    ]
    assert claim.decision.lines[1].shares[0].reason == reason_pb2.REASON_NOT_IN_PRICE_LIST
    ended = bill("B2", line(1, BED, "300.00"), days=("2026-06-02", "2026-06-03"))
    claim = decided(service, ended)
    assert {share.reason for share in claim.decision.lines[0].shares} == {
        reason_pb2.REASON_NOT_IN_PRICE_LIST
    }
    before_the_list = bill("B3", line(1, SCAN, "600.00"), days=("2026-02-27", "2026-02-28"))
    assert decided(service, before_the_list).state == pb.CLAIM_STATE_DENIED


def test_outside_the_lists_days_and_for_other_insurers_the_billed_price_stands(
    service: Served, desk: Desk
) -> None:
    priced(service, LIST.replace("first_day:", "last_day: 2026-05-07\nfirst_day:"))
    claim = decided(service, bill("B1", line(1, SCAN, "600.00")))  # 4 to 8 May
    assert claim.decision.allowed == yuan("600")
    desk.who = of_insurer("other")
    publish(service)
    theirs = policy(2)
    imported(service, theirs)
    claim = decided(service, bill("B2", line(1, SCAN, "600.00"), person=200))
    assert claim.decision.allowed == yuan("600")


def test_a_provider_that_bills_directly_bears_what_is_above_its_contract(
    service: Served, desk: Desk
) -> None:
    priced(service)
    desk.who = of_hospital("general")
    given = from_the_hospital(bill("B1", line(1, DRUG, "120.00", "200")))
    (name,) = (c.name for c in service.claims.SubmitClaim(submission(given)).claims)
    desk.who = of_insurer()
    provider = decision_pb2.BEARER_PROVIDER, reason_pb2.REASON_PRICE_ABOVE_CONTRACT
    assert borne(got(service, name))[provider] == 800_000
    # A member who hands the bill in has paid it; and before May nobody billed directly.
    members = decided(service, bill("B2", line(1, DRUG, "121.00", "10")))
    assert provider not in borne(members)
    desk.who = of_hospital("general")
    early = bill("B3", line(1, DRUG, "121.00", "10"), days=("2026-04-02", "2026-04-30"))
    given = from_the_hospital(early)
    (name,) = (c.name for c in service.claims.SubmitClaim(submission(given)).claims)
    desk.who = of_insurer()
    assert provider not in borne(got(service, name))


def test_a_list_that_comes_late_is_for_later_decisions_until_a_person_says_so(
    service: Served,
) -> None:
    claim = decided(service, bill("B1", line(1, DRUG, "100.00", "200")))
    with service.database.writing() as connection:
        connection.execute(text("UPDATE claim SET state = 'paid', paid = benefit"))
    priced(service)
    assert got(service, claim.name).decision == claim.decision
    found = got(service, claim.name)
    after = service.review.AdjustClaim(asked(review_pb2.AdjustClaimRequest, found)).claim
    assert (after.decision.allowed, after.recoverable) == (yuan("16000"), yuan("4000"))
    service.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))


def test_every_fault_of_a_list_is_named_with_its_line_and_nothing_is_stored(
    service: Served,
) -> None:
    faulty = f"""format: 1
provider: {HOSPITAL}
currency: XYZ
first_day: 2026-01-01
last_day: 2025-12-31
surprise: 1
prices:
  - {{{OF_DRUG}, values: {{2026-05-01: "100.00", 2026-01-01: "80.00"}}}}
  - {{system: nowhere, code: "{BED}", unit: CNY, values: {{2026-02-30: "1.00"}}}}
  - {{{OF_DRUG}, values: {{2026-01-01: 0.5}}}}
"""
    fault = _refused(service, faulty)
    found = {(v.field.split()[0], v.reason) for v in fault.violations}
    assert {
        ("yaml:3", "UNKNOWN_CURRENCY"),
        ("yaml:5", "ENDS_BEFORE_START"),
        ("yaml:6", "UNKNOWN_KEY"),
        ("yaml:8", "DATES_OUT_OF_ORDER"),
        ("yaml:9", "UNKNOWN_CODE_SYSTEM"),
        ("yaml:10", "DUPLICATE_CODE"),
    } <= found
    assert ("yaml:9", "IMPOSSIBLE_DATE") in found
    empty = LIST.partition("prices:")[0] + "prices: []\n"
    assert {v.reason for v in _refused(service, empty).violations} == {"EMPTY_LIST"}
    assert priced(service, dry_run=True).price_count == 2
    with service.database.reading() as connection:
        assert not connection.execute(text("SELECT * FROM price_list")).all()


@pytest.mark.on_postgresql
@pytest.mark.parametrize("stocked_url", ["postgresql"], indirect=True)  # one sealed value
def test_a_hospitals_twenty_thousand_prices_come_as_a_table(service: Served) -> None:
    rows = [f"    M{n:019d},CNY,{n % 9_000}.50,2026-01-01,\n" for n in range(20_000)]
    own = f"    {DRUG},CNY,100.00,20260101,20260430\n    {DRUG},CNY,80.00,20260501,\n"
    head = LIST.partition("prices:")[0] + "prices:\n  system: demo-yibao\n  csv: |\n"
    yaml = head + "    code,unit,price,effective,deletion\n" + "".join(rows) + own
    assert priced(service, yaml).price_count == 20_001
    claim = decided(service, bill("B1", line(1, DRUG, "120.00", "200")))
    assert claim.decision.allowed == yuan("16000")
    service.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))
    broken = yaml.replace(",CNY,", ",USD,")
    fault = _refused(service, broken)
    assert {v.reason for v in fault.violations} == {"WRONG_UNIT"}
    assert fault.violations[0].field.startswith("yaml:11 prices.csv[1].unit")
    left_off = int(fault.metadata["violations_left_off"])
    assert left_off == 20_002 - len(fault.violations)
    fault = _refused(service, "#" * (MAX_BYTES + 1))
    assert [v.reason for v in fault.violations] == ["TOO_LONG"]


def _refused(service: Served, yaml: str) -> RpcFault:
    return refused(
        service.providers.ImportPriceList,
        providers.ImportPriceListRequest(request_id=uuid.uuid4().hex, yaml=yaml.encode()),
    )


def test_the_same_list_again_is_no_news_and_another_takes_its_place(service: Served) -> None:
    first = priced(service)
    lines = LIST.strip().split("\n")
    turned = "\n".join([*lines[:-2], lines[-1], lines[-2], "# the same"])
    assert priced(service, turned).price_list_hash == first.price_list_hash
    second = priced(service, LIST.replace('"80.00"', '"70.00"'))
    assert second.price_list_hash != first.price_list_hash
    with service.database.reading() as connection:
        assert len(connection.execute(text("SELECT seq FROM price_list")).all()) == 2
    claim = decided(service, bill("B1", line(1, DRUG, "100.00", "200")))
    assert claim.decision.allowed == yuan("14000")


# -------------------------------------------------------------------------------------- accounts


def account(number: str = "6222777700000001", **changes: str) -> policy_pb2.PayeeAccount:
    told = {
        "holder_name": "示例医院",
        "account_number": number,
        "bank_code": "104100000004",
        "valid_from": "2026-01-01",
        **changes,
    }
    return policy_pb2.PayeeAccount(**told)


def proposed(service: Served, **changes: str) -> providers.ProviderAccount:
    request = providers.ProposeProviderAccountRequest(
        request_id=uuid.uuid4().hex, provider_id=HOSPITAL, account=account(**changes)
    )
    answer: providers.ProviderAccount = service.providers.ProposeProviderAccount(request).account
    return answer


def word(
    name: str, *, reject: bool = False, note: str = "", number: str = "6222777700000001"
) -> providers.ConfirmProviderAccountRequest:
    return providers.ConfirmProviderAccountRequest(
        name=name,
        request_id=uuid.uuid4().hex,
        reject=reject,
        note=note,
        account_number="" if reject else number,
    )


@pytest.mark.on_postgresql
def test_an_account_is_set_by_two_people_and_listed_without_its_number(
    service: Served, desk: Desk
) -> None:
    desk.who = person("anna")
    found = proposed(service)
    fault = refused(service.providers.ConfirmProviderAccount, word(found.name))
    assert fault.reason == "SAME_PERSON"
    desk.who = person("bo")
    request = word(found.name)
    done = service.providers.ConfirmProviderAccount(request)
    assert done.account.state == providers.PROVIDER_ACCOUNT_STATE_CONFIRMED
    assert service.providers.ConfirmProviderAccount(request) == done
    fault = refused(service.providers.ConfirmProviderAccount, word(found.name, reject=True))
    assert fault.reason == "DECIDED_ALREADY"
    (listed,) = service.providers.ListProviderAccounts(
        providers.ListProviderAccountsRequest(provider_id=HOSPITAL)
    ).accounts
    assert listed == done.account
    with service.database.reading() as connection:
        rows = connection.execute(text("SELECT * FROM provider_account")).all()
        answers = connection.execute(text("SELECT response FROM request_log")).all()
    assert b"62227777" not in repr(rows).encode() + repr(answers).encode()
    assert b"62227777" not in bytes(rows[0].sealed)


def test_whoever_confirms_states_the_number_and_another_is_refused(
    service: Served, desk: Desk
) -> None:
    desk.who = person("anna")
    found = proposed(service, number="6222777700000009")
    desk.who = person("bo")
    for nothing in ("", " "):
        request = word(found.name, number=nothing)
        fault = refused(service.providers.ConfirmProviderAccount, request)
        told = [(one.field, one.reason) for one in fault.violations]
        assert told == [("account_number", "MISSING")]
    request = word(found.name)
    fault = refused(service.providers.ConfirmProviderAccount, request)
    assert (fault.code.name, fault.reason) == ("FAILED_PRECONDITION", "ACCOUNT_DIFFERS")
    assert "6222" not in repr(fault)
    request = word(found.name, number="6222 7777 0000 0009")
    done = service.providers.ConfirmProviderAccount(request)
    assert done.account.state == providers.PROVIDER_ACCOUNT_STATE_CONFIRMED
    with service.database.reading() as connection:
        kept = connection.execute(text("SELECT * FROM request_log")).all()
    assert "62227777" not in repr(kept)


@pytest.mark.on_postgresql
def test_another_insurers_account_does_not_exist(service: Served, desk: Desk) -> None:
    desk.who = person("anna")
    found = proposed(service)
    desk.who = of_insurer("other")
    fault = refused(service.providers.ConfirmProviderAccount, word(found.name))
    assert fault.code.name == "NOT_FOUND"
    none = service.providers.ListProviderAccounts(providers.ListProviderAccountsRequest())
    assert not none.accounts


def test_every_fault_of_an_account_is_named_and_no_value_of_it(service: Served) -> None:
    request = providers.ProposeProviderAccountRequest(
        request_id="?", account=account("no number!", bank_code="1", valid_from="2026-02-30")
    )
    fault = refused(service.providers.ProposeProviderAccount, request)
    assert {v.field for v in fault.violations} == {
        "request_id",
        "provider_id",
        "account.account_number",
        "account.bank_code",
        "account.valid_from",
    }
    assert "no number" not in repr(fault)


# ---------------------------------------------------------------------------------------- payouts


@pytest.fixture
def paying(database_url: str, desk: Desk, bank: SandboxBank) -> Iterator[Served]:
    """A plan that pays beds and drugs of a stay to the hospital, under policy 1."""
    with served(database_url, caller=lambda: desk.who, bank_url=bank.url) as running:
        published(running, SPLIT)
        imported(running, policy(1, plan="split"))
        yield running


def run_payouts(service: Served) -> int:
    """One payout run to its end; how many payouts it gathered."""

    async def once() -> int:
        steps, nobody = service.workflows.settlement, None
        context: Any = nobody
        asked_ = settlement_pb2.GatherPayoutsRequest(paying_account="main")
        gathered = await steps.GatherPayouts(asked_, context)
        for file in gathered.unsent_files:
            sending = settlement_pb2.SendPaymentFileRequest(payment_file=file)
            await steps.SendPaymentFile(sending, context)
        reading = settlement_pb2.ReadBankAnswersRequest(paying_account="main")
        while (await steps.ReadBankAnswers(reading, context)).open:  # noqa: ASYNC110 -- the bank's
            await asyncio.sleep(0.02)
        return int(gathered.payouts)

    with calling_as(of_installation()):
        return asyncio.run(once())


def confirmed(service: Served, desk: Desk, **changes: str) -> None:
    before = desk.who
    desk.who = person("anna")
    found = proposed(service, **changes)
    desk.who = person("bo")
    number = changes.get("number", HIS)
    service.providers.ConfirmProviderAccount(word(found.name, number=number))
    desk.who = before


def paid_to(service: Served, bank: SandboxBank) -> dict[str, int]:
    """Account -> minor units that the bank has executed, by the orders that it was sent."""
    accounts: dict[str, str] = {}
    with service.database.reading() as connection:
        sealer = service.keys.sealer(connection)
        for row in connection.execute(text("SELECT message_id, sealed FROM payment_file")):
            place = {"table": "payment_file", "column": "sealed", "row": row.message_id}
            order = sealer.open(row.sealed, **place, subject=paying_subject("main")).decode()
            accounts |= dict(_PAYMENT.findall(order))
    found: dict[str, int] = {}
    for one in bank.paid():
        number = accounts[one["end_to_end_id"]]
        found[number] = found.get(number, 0) + int(one["amount"])
    return found


_PAYMENT = re.compile(r"<EndToEndId>(\w+)<.*?<CdtrAcct>.*?<Id>(\d+)<", re.DOTALL)
HIS, THEIRS = "6222777700000001", "6222000000000001"  # the insured's, as given.policy has it


@pytest.mark.on_postgresql
def test_what_is_the_providers_goes_to_its_account_and_waits_until_it_has_one(
    paying: Served, desk: Desk, bank: SandboxBank
) -> None:
    claim = decided(paying, bill("B1", line(1, DRUG, "300.00")))
    assert claim.decision.lines[0].payee == decision_pb2.PAYEE_PROVIDER
    assert got(paying, claim.name).payout_waits == ""
    assert run_payouts(paying) == 0  # nobody has an account of the hospital's
    assert got(paying, claim.name).payout_waits == "NO_PAYEE_ACCOUNT"
    desk.who = person("anna")
    found = proposed(paying)
    desk.who = of_insurer()
    assert run_payouts(paying) == 0  # one person alone sets none
    desk.who = person("bo")
    paying.providers.ConfirmProviderAccount(word(found.name))
    desk.who = of_insurer()
    assert run_payouts(paying) == 1
    assert paid_to(paying, bank) == {HIS: 30_000}
    after = got(paying, claim.name)
    assert (after.state, after.payout_waits) == (pb.CLAIM_STATE_PAID, "")


def test_the_account_of_the_day_is_paid(paying: Served, desk: Desk, bank: SandboxBank) -> None:
    confirmed(paying, desk)
    confirmed(paying, desk, number="6222777700000002", valid_from="2199-01-01")
    decided(paying, bill("B1", line(1, DRUG, "300.00")))
    assert run_payouts(paying) == 1
    assert paid_to(paying, bank) == {HIS: 30_000}
    confirmed(paying, desk, number="6222777700000003", valid_from="2026-01-02")
    decided(paying, bill("B2", line(1, DRUG, "301.00")))
    run_payouts(paying)
    assert paid_to(paying, bank) == {HIS: 30_000, "6222777700000003": 30_100}


def mixed(number: str) -> bill_pb2.Bill:
    """A stay that the provider is paid for, with a special drug that is the member's."""
    return bill(number, line(1, SCAN, "300.00"), line(2, "XL01XX00000001", "200.00"))


@pytest.mark.on_postgresql
def test_a_claim_of_two_payees_is_two_payouts_and_paid_when_both_are(
    paying: Served, desk: Desk, bank: SandboxBank
) -> None:
    confirmed(paying, desk)
    claim = decided(paying, mixed("B1"))
    assert [one.payee for one in claim.decision.lines] == [
        decision_pb2.PAYEE_PROVIDER,
        decision_pb2.PAYEE_MEMBER,
    ]
    assert run_payouts(paying) == 2
    assert paid_to(paying, bank) == {HIS: 30_000, THEIRS: 20_000}
    assert len({one["end_to_end_id"] for one in bank.paid()}) == 2
    after = got(paying, claim.name)
    assert (after.state, after.paid) == (pb.CLAIM_STATE_PAID, yuan("500"))
    assert [move.cause for move in after.moves][-2:] == ["send_payment", "confirm_payment"]
    assert run_payouts(paying) == 0
    assert books(paying) == {"claims:incurred": 50_000, "bank:main": -50_000}


@pytest.mark.both_databases
def test_when_one_payees_bank_refuses_only_that_part_is_paid_again(
    paying: Served, desk: Desk, bank: SandboxBank
) -> None:
    confirmed(paying, desk, number="6222777700000000")  # the bank refuses what ends so
    claim = decided(paying, mixed("B1"))
    assert run_payouts(paying) == 2
    after = got(paying, claim.name)
    assert (after.state, after.paid) == (pb.CLAIM_STATE_PAYMENT_FAILED, yuan("200"))
    assert after.payout_waits == "REFUSED:AC04"
    confirmed(paying, desk)  # takes the claim up again
    assert run_payouts(paying) == 1
    assert paid_to(paying, bank) == {THEIRS: 20_000, HIS: 30_000}
    after = got(paying, claim.name)
    assert (after.state, after.paid) == (pb.CLAIM_STATE_PAID, yuan("500"))
    assert books(paying) == {"claims:incurred": 50_000, "bank:main": -50_000}


def test_a_correction_pays_each_payee_their_difference_and_takes_none_from_another(
    paying: Served, desk: Desk, bank: SandboxBank
) -> None:
    confirmed(paying, desk)
    claim = decided(paying, mixed("B1"))
    run_payouts(paying)
    more = bill("B1", line(1, SCAN, "350.00"), line(2, "XL01XX00000001", "200.00"))
    more.kind = bill_pb2.BILL_KIND_CORRECTION
    paying.claims.SubmitClaim(submission(more, wait_s=0))
    apply = paying.settlement.ApplyCorrection
    desk.who = of_installation()
    done = apply(settlement_pb2.ApplyCorrectionRequest(name=claim.name, number=1))
    desk.who = of_insurer()
    assert (done.state, done.held) == (pb.CLAIM_STATE_PAYABLE, False), got(paying, claim.name)
    assert run_payouts(paying) == 1
    assert paid_to(paying, bank) == {HIS: 35_000, THEIRS: 20_000}
    # What was the provider's is the member's now: no money of one pays the other's.
    other = bill("B1", line(1, SCAN, "150.00"), line(2, "XL01XX00000001", "450.00"))
    other.kind = bill_pb2.BILL_KIND_CORRECTION
    paying.claims.SubmitClaim(submission(other, wait_s=0))
    desk.who = of_installation()
    assert apply(settlement_pb2.ApplyCorrectionRequest(name=claim.name, number=2)).held
    desk.who = of_insurer()
    found = got(paying, claim.name)
    assert (found.state, found.awaits_adjustment) == (pb.CLAIM_STATE_PAID, True)
    fault = refused(paying.review.AdjustClaim, asked(review_pb2.AdjustClaimRequest, found))
    assert fault.reason == "PAYEE_CHANGED"
    assert "reverse the claim" in fault.text
    # After an appeal nobody reverses it: the way out is the hospital's.
    appealed = asked(review_pb2.AppealClaimRequest, found)
    appealed = asked(review_pb2.DecideAppealRequest, paying.review.AppealClaim(appealed).claim)
    appealed.outcome = review_pb2.APPEAL_OUTCOME_OVERTURN
    desk.who = person("bo")
    pended = paying.review.DecideAppeal(appealed).claim
    fault = refused(paying.review.ReviewClaim, asked(review_pb2.ReviewClaimRequest, pended))
    assert (fault.reason, pended.state) == ("PAYEE_CHANGED", pb.CLAIM_STATE_PENDED_REVIEW)
    assert "take the bill back" in fault.text
    desk.who = of_insurer()
    other.kind = bill_pb2.BILL_KIND_REVERSAL
    paying.claims.SubmitClaim(submission(other, wait_s=0))
    after = got(paying, claim.name)
    assert (after.state, after.recoverable) == (pb.CLAIM_STATE_RECOVERY_OPEN, yuan("550"))
