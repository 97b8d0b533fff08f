"""A bill is cancelled after its consent was withdrawn: HIS, bridge, Temporal, claims, all real."""

from __future__ import annotations

import pytest

from lipei.claims.v1 import claims_pb2, settlement_pb2
from lipei.his_bridge.v1 import consent_pb2, his_bridge_pb2
from tests.e2e.test_corrections import dearer
from tests.e2e.test_withdrawals import Parts, parts
from tests.services.claims.test_corrections import stood
from tests.services.claims.test_reviews import paid
from tests.services.his_bridge.records import Resource, claim
from tests.tenants import of_installation, of_insurer

__all__ = ["parts"]  # a fixture

PAID, OWED_NOTHING, STAYS, UNDECIDED, NEVER_LEFT = "b0", "b1", "b2", "undecided", "late"


def cancelled(key: str) -> Resource:
    return {**claim(key), "status": "cancelled"}


def claims_of(parts: Parts) -> dict[str, claims_pb2.Claim]:
    parts.callers.append(of_insurer())
    request = claims_pb2.ListClaimsRequest(parent="policies/-")
    found = {one.bill_number: one for one in parts.claims.claims.ListClaims(request).claims}
    parts.callers.pop()
    return found


def decide(parts: Parts, key: str) -> None:
    parts.callers.append(of_installation())
    name = claims_of(parts)[f"NO-{key}"].name
    parts.claims.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=name))
    parts.callers.pop()


def test_what_was_handed_over_is_taken_back_and_the_money_recovered(parts: Parts) -> None:
    parts.his.put([dearer(PAID), claim(UNDECIDED)])
    parts.pull_bills()
    for key in (PAID, OWED_NOTHING, STAYS):
        decide(parts, key)
    parts.callers.append(of_installation())
    paid(parts.claims, claims_of(parts)[f"NO-{PAID}"])
    parts.callers.pop()
    parts.his.put([claim(NEVER_LEFT)])
    parts.bridge.pull_all()  # released, not yet handed over
    parts.withdraw(consent_pb2.CONSENT_PURPOSE_CLAIM_SETTLEMENT)
    parts.relay()
    before = claims_of(parts)
    assert before[f"NO-{PAID}"].state == claims_pb2.CLAIM_STATE_PAID
    assert before[f"NO-{UNDECIDED}"].state == claims_pb2.CLAIM_STATE_WITHDRAWN

    parts.his.put([cancelled(key) for key in (PAID, OWED_NOTHING, UNDECIDED, NEVER_LEFT)])
    for _ in range(2):  # what is repeated changes nothing
        parts.pull_bills()
        found = claims_of(parts)
        assert {key: found[f"NO-{key}"].state for key in (PAID, OWED_NOTHING, UNDECIDED)} == {
            PAID: claims_pb2.CLAIM_STATE_RECOVERY_OPEN,
            OWED_NOTHING: claims_pb2.CLAIM_STATE_WITHDRAWN,
            UNDECIDED: claims_pb2.CLAIM_STATE_WITHDRAWN,
        }
        back = found[f"NO-{PAID}"]
        assert back.recoverable.minor_units == back.decision.benefit.minor_units > 0
    after = claims_of(parts)
    assert after[f"NO-{STAYS}"] == before[f"NO-{STAYS}"]
    # What never left is not heard of: else claims would have refused its reversal.
    assert f"NO-{NEVER_LEFT}" not in after
    assert not parts.bridge.bills(state=his_bridge_pb2.DELIVERY_STATE_REFUSED)
    taken = parts.bridge.bills(state=his_bridge_pb2.DELIVERY_STATE_TAKEN)
    assert {one.bill.bill_number for one in taken} == {
        f"NO-{key}" for key in (PAID, OWED_NOTHING, UNDECIDED)
    }
    assert not parts.bridge.bills(state=his_bridge_pb2.DELIVERY_STATE_PENDING)


@pytest.mark.fault
def test_one_whose_payment_the_bank_has_is_taken_back_after_its_word_and_the_others_at_once(
    parts: Parts,
) -> None:
    parts.his.put([dearer(PAID), claim(UNDECIDED)])
    parts.pull_bills()
    decide(parts, PAID)
    parts.callers.append(of_installation())
    sent = paid(parts.claims, claims_of(parts)[f"NO-{PAID}"])
    stood(parts.claims, sent, "payment_sent")
    parts.callers.pop()
    parts.withdraw(consent_pb2.CONSENT_PURPOSE_CLAIM_SETTLEMENT)
    parts.his.put([cancelled(PAID)])
    parts.bridge.pull_all()  # it is the first to be handed over
    parts.his.put([cancelled(UNDECIDED)])
    parts.pull_bills()
    found = claims_of(parts)
    assert found[f"NO-{PAID}"].state == claims_pb2.CLAIM_STATE_PAYMENT_SENT
    assert found[f"NO-{UNDECIDED}"].state == claims_pb2.CLAIM_STATE_WITHDRAWN
    (waits,) = parts.bridge.bills(state=his_bridge_pb2.DELIVERY_STATE_PENDING)
    assert waits.bill.bill_number == f"NO-{PAID}"
    stood(parts.claims, sent, "paid")
    parts.pull_bills()
    back = claims_of(parts)[f"NO-{PAID}"]
    assert back.state == claims_pb2.CLAIM_STATE_RECOVERY_OPEN
    assert back.recoverable == back.paid
    assert not parts.bridge.bills(state=his_bridge_pb2.DELIVERY_STATE_PENDING)
