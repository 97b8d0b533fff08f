"""What must be true once all is at rest, whatever was killed. Each fault is one sentence.

The same checks judge ours and the control.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc
import httpx

from demo.bridge import Bridge
from demo.insurer import MOVING, PENDED, Insurer
from lipei.claims.v1 import claims_pb2, claims_pb2_grpc
from services.claims.core.life_cycle import ClaimState, Event, IllegalMove, advance
from services.common.grpc_edge import error_of
from services.common.transport.channels import sync_channel
from tests.fault.story import HOSPITAL, Story

_ASK_S = 30.0
_PAID = claims_pb2.CLAIM_STATE_PAID


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found. `faults` is empty when all is right."""

    faults: tuple[str, ...]
    claims: int
    replayed: int
    payments: int
    paid_twice: int


def judge(story: Story) -> Verdict:
    """Compare what was handed in, the claims, the ledger and the bank's own book."""
    payments = httpx.get(
        f"{story.stack.addresses['bank']}/book", trust_env=False, timeout=_ASK_S
    ).json()
    executed: list[dict[str, str]] = payments["payments"]
    with Insurer(story.stack.addresses["claims"], story.stack.identity) as insurer:
        claims = insurer.claims(anew=True)
        books = insurer.books()
    auditor = story.stack.identity("auditor")
    channel = sync_channel(story.stack.addresses["claims"], auditor, "claims")
    try:
        stub = claims_pb2_grpc.ClaimsServiceStub(channel)
        told = [_told(stub, claim.name) for claim in claims]
        replays = [list(_replay_faults(stub, claim)) for claim in claims]
    finally:
        channel.close()
    faults = [
        *_lost(story, claims),
        *_unfinished(story, claims),
        *_money(claims, books, executed),
        *(fault for claim in told for fault in _path_faults(claim)),
        *(fault for found in replays for fault in found),
        *_hospital(story),
    ]
    times = Counter(entry["end_to_end_id"] for entry in executed)
    return Verdict(
        faults=tuple(faults),
        claims=len(claims),
        replayed=sum(not found for found in replays),
        payments=len(executed),
        paid_twice=sum(count > 1 for count in times.values()),
    )


def _lost(story: Story, claims: Sequence[claims_pb2.Claim]) -> Iterator[str]:
    """Every acknowledged submission has the very claims that were answered; no bill has two."""
    names = {claim.name for claim in claims}
    for number, answered in story.intake.acknowledged.items():
        if len(answered) != 1 or not names.issuperset(answered):
            yield f"lost: bill {number} was acknowledged and its claim is not there"
    if len(story.intake.acknowledged) != story.intake.handed_in:
        yield f"unanswered: {story.intake.handed_in - len(story.intake.acknowledged)} submissions"
    bills = Counter((claim.provider_id, claim.bill_number) for claim in claims)
    for (_, number), count in bills.items():
        if count > 1:
            yield f"duplicated: bill {number} has {count} claims"
    expected = len(story.intake.acknowledged) + story.expected_claims
    if len(claims) != expected:
        yield f"there are {len(claims)} claims, and should be {expected}"


def _unfinished(story: Story, claims: Sequence[claims_pb2.Claim]) -> Iterator[str]:
    """Every claim is at an end, or waits for a person; ours are paid, and the year's known pend."""
    handed_in = {name for names in story.intake.acknowledged.values() for name in names}
    for claim in claims:
        state = claims_pb2.ClaimState.Name(claim.state)
        if claim.state in MOVING or claim.state == claims_pb2.CLAIM_STATE_PAYMENT_FAILED:
            yield f"unfinished: {claim.name} is {state}"
        elif claim.name in handed_in and claim.state != _PAID:
            yield f"unpaid: {claim.name} is owed money and is {state}"
    pended = sum(claim.state in PENDED for claim in claims)
    year = story.scenario.expected if story.scenario else None
    # Nobody withdraws a consent here, so what would end by that waits for a person too.
    expected = (year.pended or 0) + year.withdrawn if year else 0
    if pended != expected:
        yield f"{pended} claims wait for a person, not {expected}"


def _money(
    claims: Sequence[claims_pb2.Claim],
    books: claims_pb2.CheckBooksResponse,
    executed: Sequence[dict[str, str]],
) -> Iterator[str]:
    """The ledger is zero and whole, and the bank's book is ours: once each, to the fen."""
    for name in ("ledger_sum_minor_units", "conservation_violations", "payout_mismatches"):
        if getattr(books, name):
            yield f"books: {name} is {getattr(books, name)}"
    for balance in books.balances:
        if balance.pending.minor_units:
            yield f"books: {balance.account} has a pending transfer of no payout that is open"
        if balance.account == "claims:payable" and balance.posted.minor_units:
            yield "books: something is owed still, and nothing is payable"
    for end_to_end_id, count in Counter(entry["end_to_end_id"] for entry in executed).items():
        if count > 1:
            yield f"paid twice: {end_to_end_id} was executed {count} times"
    ours = {c.end_to_end_id: c.decision.benefit.minor_units for c in claims if c.state == _PAID}
    theirs: Counter[str] = Counter()
    for entry in executed:
        theirs[entry["end_to_end_id"]] += int(entry["amount"])
    differing = [one for one in ours.keys() | theirs.keys() if ours.get(one) != theirs.get(one)]
    if differing:
        yield f"the bank's book is not ours for {len(differing)} payouts"
    if books.paid_count != len(ours) or sum(each.minor_units for each in books.paid) != sum(
        ours.values()
    ):
        yield "books: the payouts are not the paid claims' benefits"


def _told(stub: claims_pb2_grpc.ClaimsServiceStub, name: str) -> claims_pb2.Claim:
    answer = stub.GetClaim(claims_pb2.GetClaimRequest(name=name), timeout=_ASK_S)
    claim: claims_pb2.Claim = answer.claim
    return claim


def _replay_faults(
    stub: claims_pb2_grpc.ClaimsServiceStub, claim: claims_pb2.Claim
) -> Iterator[str]:
    try:
        stub.ReplayClaim(claims_pb2.ReplayClaimRequest(name=claim.name), timeout=_ASK_S)
    except grpc.RpcError as error:
        yield f"no replay: {claim.name} answers {error_of(error).reason}"


def _path_faults(claim: claims_pb2.Claim) -> Iterator[str]:
    """The moves lead from nothing to where the claim is, by the table, without a repeat."""
    here: ClaimState | None = None
    for move in claim.moves:
        came_from, to = _state(move.from_state), _state(move.to_state)
        if came_from is not here:
            yield f"path: {claim.name} leaves {came_from} and is {here}"
        if came_from is None:
            legal = to is ClaimState.RECEIVED
        else:
            try:
                legal = advance(came_from, Event(move.cause)).state is to
            except (IllegalMove, ValueError):
                legal = False
        if not legal:
            yield f"path: {claim.name} went from {came_from} to {to} by {move.cause}"
        here = to
    if here is not _state(claim.state):
        yield f"path: {claim.name} ends at {here} and is {_state(claim.state)}"
    repeated = [each for each, n in Counter(move.cause for move in claim.moves).items() if n > 1]
    if repeated:
        yield f"path: {claim.name} repeats {', '.join(repeated)}"


def _state(number: claims_pb2.ClaimState.ValueType) -> ClaimState | None:
    name = claims_pb2.ClaimState.Name(number).removeprefix("CLAIM_STATE_").lower()
    return None if name == "unspecified" else ClaimState(name)


def _hospital(story: Story) -> Iterator[str]:
    """Every bill at the hospital is answered for, or set aside with its reason."""
    if story.scenario is None:
        return
    if not story.whole_year:
        yield "hospital: the test did not bill the whole year"
    records = story.stack.identity("hospital_records", HOSPITAL)
    with Bridge(story.stack.addresses["his_bridge"], HOSPITAL, records) as bridge:
        pulled = bridge.pulled()
    if pulled.pending:
        yield "hospital: a released bill has no answer"
    if pulled.bills != story.billed:
        yield f"hospital: {pulled.bills} of {story.billed} bills came through the bridge"
    expected = story.scenario.expected
    if pulled.refused != expected.refused:
        yield f"hospital: {pulled.refused} bills were refused, not {expected.refused}"
    if pulled.quarantined != expected.quarantined:
        yield f"hospital: {pulled.quarantined} records set aside, not {expected.quarantined}"
