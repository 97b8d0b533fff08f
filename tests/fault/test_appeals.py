"""Paid claims are appealed, overturned and paid more while processes are killed at any moment."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from demo.insurer import Insurer
from lipei.claims.v1 import claims_pb2, claims_pb2_grpc, review_pb2, review_pb2_grpc
from lipei.type.v1 import bill_pb2
from services.common.refusals import error_of
from services.common.transport.certificates import Identity
from services.common.transport.channels import sync_channel
from tests.fault.story import CARELESS, OURS, Story, story, until
from tests.services.claims import given

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]
CLAIMS = 16  # each of a person of their own, who has a deductible of 10,000 yuan
KILLED = ("claims", "worker:claims", "bank", "temporal")
# A person must look above 100,000 yuan; the first look leaves three units of four.
PRICE, WON = "50000.00", 190_000_00
_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# Each twice; then what was sent and got no word waits its thirty seconds in peace.
KILLS = 2 * len(KILLED)
_PAUSE_S, _CALL_S = 0.1, 10.0


class People:
    """Intake, an adjuster and a senior one who had no part in it; each repeats what is cut off."""

    def __init__(self, one: Story, who: dict[str, Identity]) -> None:
        address = one.stack.addresses["claims"]
        self._channels = {role: sync_channel(address, own, "claims") for role, own in who.items()}

    def does(self, role: str, method: str, request: Any) -> Any:
        """The answer, however often the call is cut off; the request keeps its id."""
        channel = self._channels[role]
        stub: Any = review_pb2_grpc.ReviewServiceStub(channel)
        if method == "GetClaim":
            stub = claims_pb2_grpc.ClaimsServiceStub(channel)
        call = getattr(stub, method)
        while True:
            try:
                return call(request, timeout=_CALL_S)
            except grpc.RpcError as error:
                if error_of(error).code not in _AGAIN:
                    raise
                time.sleep(_PAUSE_S)

    def sees(self, name: str) -> claims_pb2.Claim:
        request = claims_pb2.GetClaimRequest(name=name)
        claim: claims_pb2.Claim = self.does("adjuster", "GetClaim", request).claim
        return claim

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()


@pytest.mark.parametrize("payer", [OURS, CARELESS])  # the latter pays twice: the control
def test_an_appeal_that_is_won_is_paid_once_whatever_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payer: str
) -> None:
    installed = story(tmp_path / "state", people=CLAIMS, payer=payer)
    with installed as one, acting(one, monkeypatch) as people:
        bills = [dear(bill) for bill in one.intake.bills(CLAIMS)]
        one.intake.hand_in(bills)
        names = [name for found in one.intake.acknowledged.values() for name in found]
        with killing(one) as kills, ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(won, people, name) for name in names]:
                done.result()
        claims = [people.sees(name) for name in names]
        url = f"{one.stack.addresses['bank']}/book"
        book = httpx.get(url, trust_env=False, timeout=60).json()["payments"]
        with Insurer(one.stack.addresses["claims"], one.stack.identity) as insurer:
            books = insurer.books()
    assert set(kills) == set(KILLED), "the control: each was killed"
    if payer == CARELESS:
        assert len({entry["end_to_end_id"] for entry in book}) < len(book)
        return
    assert {claim.paid.minor_units for claim in claims} == {WON}
    assert len({entry["end_to_end_id"] for entry in book}) == len(book) == 2 * CLAIMS
    assert sum(int(entry["amount"]) for entry in book) == CLAIMS * WON
    assert not books.ledger_sum_minor_units
    assert not books.conservation_violations
    assert not books.payout_mismatches


@contextmanager
def acting(one: Story, monkeypatch: pytest.MonkeyPatch) -> Iterator[People]:
    """Three people of the sandbox."""
    who = {}
    for role, name in (("adjuster", "anna"), ("insurer_intake", "bo"), ("senior_adjuster", "cy")):
        monkeypatch.setenv("LIPEI_PERSON", name)
        who[role] = one.stack.identity(role)
    monkeypatch.delenv("LIPEI_PERSON")
    people = People(one, who)
    try:
        yield people
    finally:
        people.close()


def dear(bill: bill_pb2.Bill) -> bill_pb2.Bill:
    """The bill with so much of one drug that a person must look."""
    del bill.lines[:]
    bill.lines.append(given.line(1, given.DRUG, PRICE, "4"))
    bill.total.CopyFrom(bill.lines[0].billed)
    return bill


def won(people: People, name: str) -> None:
    """From the first look, which cuts, over an appeal to the second, which does not, and paid."""
    cut = [review_pb2.LineReview(number=1, clause="1.1", units="3")]
    reaches(people, name, claims_pb2.CLAIM_STATE_PENDED_REVIEW)
    acts(people, name, "adjuster", "ReviewClaim", lines=cut)
    reaches(people, name, claims_pb2.CLAIM_STATE_PAID)
    acts(people, name, "insurer_intake", "AppealClaim")
    overturn = review_pb2.APPEAL_OUTCOME_OVERTURN
    acts(people, name, "senior_adjuster", "DecideAppeal", outcome=overturn, note="x")
    acts(people, name, "adjuster", "ReviewClaim")
    reaches(people, name, claims_pb2.CLAIM_STATE_PAID)


def acts(people: People, name: str, role: str, method: str, **told: Any) -> None:
    """What a person does with the claim as they see it."""
    made: Callable[..., Any] = getattr(review_pb2, f"{method}Request")
    revision = people.sees(name).revision
    request = made(name=name, request_id=uuid.uuid4().hex, revision=revision, **told)
    people.does(role, method, request)


def reaches(people: People, name: str, state: claims_pb2.ClaimState.ValueType) -> None:
    until(lambda: people.sees(name).state == state, look_every_s=0.2)


@contextmanager
def killing(one: Story) -> Iterator[list[str]]:
    """Kill one process after the other while the block runs; the names of those killed."""
    killed: list[str] = []
    over = threading.Event()

    def kill() -> None:
        rng = random.Random(5)
        while not over.is_set() and len(killed) < KILLS:
            name = KILLED[len(killed) % len(KILLED)]
            one.silence_the_bank()  # it pays the next file and says nothing
            over.wait(rng.uniform(0.0, 1.0))
            one.kill(name)
            killed.append(name)
            over.wait(rng.uniform(0.0, 1.0))

    thread = threading.Thread(target=kill, name="killing")
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()
