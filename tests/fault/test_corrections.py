"""Paid bills are corrected at the hospital while processes are killed: from the HIS to the bank."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.insurer import Insurer
from lipei.claims.v1 import claims_pb2
from tests.fault.checks import judge
from tests.fault.story import Story, story, until

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]
PEOPLE, YEAR = 4, (20, 40)
CORRECTED = 2
_PAID = claims_pb2.CLAIM_STATE_PAID
_ADJUSTED = (_PAID, claims_pb2.CLAIM_STATE_PAYABLE, claims_pb2.CLAIM_STATE_PAYMENT_SENT)


def paid_claims(one: Story) -> dict[str, claims_pb2.Claim]:
    """Bill number -> its claim, of those that the bank has confirmed."""
    with Insurer(one.stack.addresses["claims"], one.stack.identity) as insurer:
        found = insurer.claims(anew=True)
    return {claim.bill_number: claim for claim in found if claim.state == _PAID}


def dearer(bill: Mapping[str, Any]) -> dict[str, Any]:
    """The bill with its first charge once more: all of what is more is the patient's to claim."""
    made = copy.deepcopy(dict(bill))
    more = copy.deepcopy(made["item"][0])
    more["sequence"] = max(item["sequence"] for item in made["item"]) + 1
    for extension in more.get("extension", ()):
        if "valueMoney" in extension:
            extension["valueMoney"]["value"] = 0
    made["item"].append(more)
    made["total"]["value"] = round(made["total"]["value"] + more["net"]["value"], 2)
    return made


def test_corrections_of_paid_bills_pay_the_difference_once_whatever_is_killed(
    tmp_path: Path,
) -> None:
    with story(tmp_path / "state", people=PEOPLE, year=YEAR) as one:
        one.bill_at_the_hospital(YEAR[1])
        until(one.at_rest)
        before = paid_claims(one)
        bills = {bill["identifier"][0]["value"]: bill for bill in one.bills}
        numbers = [number for number in bills if number in before][:CORRECTED]
        assert len(numbers) == CORRECTED, "the control: so many are paid"
        one.silence_the_bank()
        one.restate([dearer(bills[number]) for number in numbers])
        one.kill("claims", "worker:claims")
        one.restate([])
        one.kill("worker:claims", "bank")
        until(lambda: one.corrections_done() == CORRECTED)
        until(one.at_rest)
        after = paid_claims(one)
        url = f"{one.stack.addresses['bank']}/book"
        book = httpx.get(url, trust_env=False, timeout=60).json()["payments"]
        verdict = judge(one)
        with Insurer(one.stack.addresses["claims"], one.stack.identity) as insurer:
            books = insurer.books()
    assert set(after) == set(before)
    grown = [n for n in numbers if after[n].paid.minor_units > before[n].paid.minor_units]
    assert grown, "the control: a correction has paid more"
    for number in after:
        assert after[number].paid == after[number].decision.benefit
    times = Counter(entry["end_to_end_id"] for entry in book)
    assert set(times.values()) == {1}
    paid = sum(claim.paid.minor_units for claim in after.values())
    assert paid == sum(int(entry["amount"]) for entry in book)
    assert len(book) == len(before) + len(grown)
    assert verdict.paid_twice == 0
    assert verdict.replayed == verdict.claims
    # The judge's other words are about claims of one payout each; these are about all books.
    assert not books.ledger_sum_minor_units
    assert not books.conservation_violations
    assert not books.payout_mismatches
    owed = {one.account: one.posted.minor_units for one in books.balances}
    assert (owed["claims:incurred"], owed.get("claims:payable", 0)) == (paid, 0)
