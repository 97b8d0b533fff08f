"""What takes a bill back may say no more than which one; it undoes the same as a whole one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import settlement_pb2
from lipei.type.v1 import bill_pb2
from services.claims.bill_intake import is_bare
from tests.services.claims.given import DRUG, line, submission, yuan
from tests.services.claims.serving import Served
from tests.services.claims.test_corrections import Desk, stood
from tests.services.claims.test_reviews import books, got, paid, refused, used
from tests.services.claims.test_stated_anew import desk, of_theirs, sent, service
from tests.tenants import of_hospital, of_insurer

__all__ = ["desk", "service"]  # fixtures

GIVEN = of_theirs(line(1, DRUG, "30000.00"))
OTHERS = sorted(
    {field.name for field in bill_pb2.Bill.DESCRIPTOR.fields}
    - {"name", "bill_number", "provider_id", "kind"}
)


def bare(given: bill_pb2.Bill = GIVEN, **changes: Any) -> bill_pb2.Bill:
    told: dict[str, Any] = {
        "name": f"{given.name}.2",
        "bill_number": given.bill_number,
        "provider_id": given.provider_id,
        "kind": bill_pb2.BILL_KIND_REVERSAL,
    }
    return bill_pb2.Bill(**{**told, **changes})


def whole(given: bill_pb2.Bill = GIVEN) -> bill_pb2.Bill:
    found = bill_pb2.Bill()
    found.CopyFrom(given)
    found.MergeFrom(bare(given))
    return found


@pytest.fixture
def taken_back(service: Served, desk: Desk) -> Callable[[bill_pb2.Bill], Any]:
    """Takes the bill back as its hospital does; what its claim and the books say then."""

    def take(reversal: bill_pb2.Bill) -> Any:
        desk.who = of_hospital("general")
        (claim,) = service.claims.SubmitClaim(submission(reversal, wait_s=0)).claims
        desk.who = of_insurer()
        return got(service, claim.name), used(service), books(service)

    return take


def at(service: Served, desk: Desk, state: str) -> pb.Claim:
    """The bill's claim where it stands."""
    desk.who = of_hospital("general")
    claim = service.claims.SubmitClaim(submission(GIVEN, wait_s=0)).claims[0]
    desk.who = of_insurer()
    if state == "registered":
        return got(service, claim.name)
    if state == "withdrawn":
        withdrawal = pb.WithdrawClaimsRequest(request_id="w", consents=[GIVEN.consent])
        desk.who = of_hospital("general")
        service.claims.WithdrawClaims(withdrawal)
        desk.who = of_insurer()
        return got(service, claim.name)
    service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=claim.name))
    found = got(service, claim.name)
    return paid(service, found) if state == "paid" else found


@pytest.mark.parametrize("state", ["registered", "withdrawn", "payable", "paid"])
@pytest.mark.parametrize("orders", [(bare, whole), (whole, bare)])
def test_it_undoes_what_a_whole_one_does_whichever_comes_first(
    service: Served, desk: Desk, taken_back: Any, state: str, orders: Any
) -> None:
    at(service, desk, state)
    first, second = orders
    claim, using, money = taken_back(first())
    recovers = state == "paid"
    over = pb.CLAIM_STATE_RECOVERY_OPEN if recovers else pb.CLAIM_STATE_WITHDRAWN
    assert (claim.state, using, claim.HasField("recoverable")) == (over, {}, recovers)
    assert money.get("claims:recoverable", 0) == (2_000_000 if recovers else 0)
    assert "claims:incurred" not in money
    for again in (first(), second(), first()):
        assert taken_back(again) == (claim, using, money)


def test_it_waits_for_the_banks_word_and_recovers_what_was_paid(
    service: Served, desk: Desk, taken_back: Any
) -> None:
    claim = at(service, desk, "paid")
    stood(service, claim, "payment_sent")
    desk.who = of_hospital("general")
    fault = refused(service.claims.SubmitClaim, submission(bare(), wait_s=0))
    assert (fault.code, fault.reason) == (grpc.StatusCode.ABORTED, "PAYMENT_UNDER_WAY")
    stood(service, claim, "paid")
    after, _, _ = taken_back(bare())
    assert (after.state, after.recoverable) == (pb.CLAIM_STATE_RECOVERY_OPEN, yuan("20000"))


def test_a_repeated_one_leaves_alone_what_was_stated_anew_since(
    service: Served, desk: Desk
) -> None:
    at(service, desk, "payable")
    desk.who = of_hospital("general")
    once = submission(bare(), wait_s=0)
    first = service.claims.SubmitClaim(once).claims[0].name
    anew = sent(service, desk, of_theirs(line(1, DRUG, "26000.00"), release="b1.3"))
    desk.who = of_hospital("general")
    assert [one.name for one in service.claims.SubmitClaim(once).claims] == [first]
    desk.who = of_insurer()
    assert got(service, anew.name).state == pb.CLAIM_STATE_PAYABLE
    # The control: another reversal takes that back.
    desk.who = of_hospital("general")
    service.claims.SubmitClaim(submission(bare(name=f"{GIVEN.name}.4"), wait_s=0))
    desk.who = of_insurer()
    assert got(service, anew.name).state == pb.CLAIM_STATE_WITHDRAWN


@pytest.mark.parametrize(
    "kind", [kind for kind in bill_pb2.BillKind.values() if kind != bill_pb2.BILL_KIND_REVERSAL]
)
def test_no_other_bill_is_ever_bare(service: Served, desk: Desk, kind: Any) -> None:
    claim = at(service, desk, "payable")
    for who in (of_hospital("general"), of_insurer()):
        desk.who = who
        fault = refused(service.claims.SubmitClaim, submission(bare(kind=kind), wait_s=0))
        assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
        assert {"bill.lines", "bill.total", "bill.member_token"} <= {
            one.field for one in fault.violations
        }
    desk.who = of_insurer()
    assert got(service, claim.name) == claim


@pytest.mark.parametrize("field", OTHERS)
def test_what_says_more_than_which_bill_is_a_whole_one_or_at_fault(field: str) -> None:
    full = whole(of_theirs(line(1, DRUG, "30000.00")))
    full.hospital_tier = bill_pb2.HOSPITAL_TIER_TERTIARY
    full.referral, full.emergency_admission = False, True
    full.authorisation = full.late_reason = "A"
    full.social_insurance.used = True
    full.licences.append(bill_pb2.LICENCE_HOSPITAL)
    full.liability = bill_pb2.LIABILITY_NOBODY
    full.papers.append("p")
    full.diagnoses.add(number=1)
    assert is_bare(bare())
    more = bare()
    descriptor = bill_pb2.Bill.DESCRIPTOR.fields_by_name[field]
    if descriptor.is_repeated:
        getattr(more, field).extend(getattr(full, field))
    elif descriptor.message_type is not None:
        getattr(more, field).CopyFrom(getattr(full, field))
    else:
        setattr(more, field, getattr(full, field))
    assert more != bare()
    assert not is_bare(more)


def test_one_that_is_half_bare_is_refused(service: Served, desk: Desk) -> None:
    claim = at(service, desk, "payable")
    desk.who = of_hospital("general")
    half = bare(consent=GIVEN.consent)
    fault = refused(service.claims.SubmitClaim, submission(half, wait_s=0))
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    desk.who = of_insurer()
    assert got(service, claim.name) == claim


def test_it_takes_back_no_other_bill_and_none_of_another_hospital(
    service: Served, desk: Desk
) -> None:
    claim = at(service, desk, "payable")
    for who, reversal in (
        (of_hospital("general"), bare(bill_number="B2")),
        (of_hospital("general"), bare(provider_id="another")),
        (of_hospital("another"), bare(name="hospitals/another/bills/b1.2")),
        (of_insurer("another"), bare()),
    ):
        desk.who = who
        fault = refused(service.claims.SubmitClaim, submission(reversal, wait_s=0))
        assert (fault.code, fault.reason) == (grpc.StatusCode.NOT_FOUND, "BILL_UNKNOWN")
    desk.who = of_hospital("general")
    for spoilt in (bare(name=""), bare(bill_number=""), bare(provider_id="")):
        fault = refused(service.claims.SubmitClaim, submission(spoilt, wait_s=0))
        assert (fault.code, len(fault.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, 1)
    desk.who = of_insurer()
    assert got(service, claim.name) == claim
