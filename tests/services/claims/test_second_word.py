"""What takes two people: whose word counts, what is refused or withdrawn, what fits no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import provider_pb2 as providers
from lipei.claims.v1 import reason_pb2, review_pb2
from lipei.pricing.v1 import registry_pb2
from lipei.type.v1 import access_pb2
from services.claims import second_word
from services.claims.storage.acts import ActKind
from services.common.access.caller import Caller
from services.common.access.labels import role_name, rpc_of
from tests.services.claims.given import DRUG, PLAN, PLANS, id_number, imported, line, policy, yuan
from tests.services.claims.serving import Served, Stuck, served, token
from tests.services.claims.test_providers import proposed, word
from tests.services.claims.test_reviews import (
    BIG,
    NOTE,
    asked,
    books,
    decided,
    got,
    paid,
    refused,
    used,
)
from tests.tenants import of_insurer, of_member

ADJUSTER, SENIOR = access_pb2.ROLE_ADJUSTER, access_pb2.ROLE_SENIOR_ADJUSTER
INTAKE, PAYMENTS = access_pb2.ROLE_INSURER_INTAKE, access_pb2.ROLE_PAYMENTS
REVIEWS, PROVIDERS = "lipei.claims.v1.ReviewService", "lipei.claims.v1.ProviderService"
TARIFFS = registry_pb2.DESCRIPTOR.services_by_name["TariffService"].full_name
# By which rpc the second word on each act is said.
CONFIRMED_BY = {
    **{f"{REVIEWS}/{rpc}": f"{REVIEWS}/ConfirmReview" for rpc in second_word.PROPOSED_BY.values()},
    f"{PROVIDERS}/ProposeProviderAccount": f"{PROVIDERS}/ConfirmProviderAccount",
    f"{TARIFFS}/ProposeTariff": f"{TARIFFS}/ApproveTariff",
}
LIFE_CYCLE = Path(__file__).parents[3] / "docs" / "life-cycle.md"
Propose = Callable[[Served, pb.Claim], pb.Claim]


class Desk:
    """Who calls."""

    def __init__(self) -> None:
        self.who: Caller = of_insurer()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def service(database_url: str, desk: Desk) -> Iterator[Served]:
    """Claims where two must agree on every 150,000 yuan or more."""
    with served(database_url, workflows=Stuck(), caller=lambda: desk.who) as made:
        plan = (PLANS / f"{PLAN}.yaml").read_text()
        plan += '\nfour_eyes: {clause: "5.6", unit: CNY, values: {2024-01-01: "150000.00"}}\n'
        made.claims.PublishPlan(pb.PublishPlanRequest(request_id="p", yaml=plan.encode()))
        imported(made, policy(1))
        yield made


def who(subject: str, *roles: int) -> Caller:
    """Somebody of the insurer's; with every role when none is named."""
    caller = of_insurer()
    return replace(caller, subject=subject, roles=frozenset(roles) or caller.roles)


def _review(service: Served, claim: pb.Claim) -> pb.Claim:
    request = asked(review_pb2.ReviewClaimRequest, claim, note=NOTE)
    found: pb.Claim = service.review.ReviewClaim(request).claim
    return found


def _adjust(service: Served, claim: pb.Claim) -> pb.Claim:
    less = review_pb2.LineReview(number=1, clause="1.1", unit_price="49999.00")
    request = asked(review_pb2.AdjustClaimRequest, claim, lines=[less], note=NOTE)
    found: pb.Claim = service.review.AdjustClaim(request).claim
    return found


def _reverse(service: Served, claim: pb.Claim) -> pb.Claim:
    request = asked(review_pb2.ReverseClaimRequest, claim, note=NOTE)
    found: pb.Claim = service.review.ReverseClaim(request).claim
    return found


def _write_off(service: Served, claim: pb.Claim) -> pb.Claim:
    request = asked(review_pb2.WriteOffRecoveryRequest, claim, note=NOTE)
    found: pb.Claim = service.review.WriteOffRecovery(request).claim
    return found


def _recover(service: Served, claim: pb.Claim) -> pb.Claim:
    back = {"amount": claim.recoverable, "paying_account": "main"}
    request = asked(review_pb2.RecordRecoveryRequest, claim, **back)
    found: pb.Claim = service.review.RecordRecovery(request).claim
    return found


def said(service: Served, claim: pb.Claim, **fields: Any) -> pb.Claim:
    request = asked(review_pb2.ConfirmReviewRequest, claim, **fields)
    found: pb.Claim = service.review.ConfirmReview(request).claim
    return found


# Each act: what proposes it, after which others (proposed by one and confirmed by another) it can
# be, and where the claim goes once it is confirmed.
ACTS: dict[ActKind, tuple[Propose, tuple[Propose, ...], pb.ClaimState.ValueType]] = {
    ActKind.REVIEW: (_review, (), pb.CLAIM_STATE_PAYABLE),
    ActKind.ADJUST: (_adjust, (_review,), pb.CLAIM_STATE_RECOVERY_OPEN),
    ActKind.REVERSE: (_reverse, (_review,), pb.CLAIM_STATE_RECOVERY_OPEN),
    ActKind.RECOVER: (_recover, (_review, _reverse), pb.CLAIM_STATE_RECOVERED),
    ActKind.WRITE_OFF: (_write_off, (_review, _reverse), pb.CLAIM_STATE_WRITTEN_OFF),
}


def proposal(service: Served, desk: Desk, kind: ActKind) -> pb.Claim:
    """A claim of which anna, who may do everything, has proposed this."""
    propose, before, _ = ACTS[kind]
    claim = decided(service, "B1", BIG)
    for earlier in before:
        desk.who = who("anna")
        claim = earlier(service, claim)
        desk.who = who("bert")
        claim = said(service, claim)
        if claim.state == pb.CLAIM_STATE_PAYABLE:
            claim = paid(service, claim)
    desk.who = who("anna")
    found = propose(service, claim)
    assert (found.awaits_confirmation, found.proposal.kind) == (True, kind.value)
    return found


def test_every_act_that_can_be_proposed_is_in_the_tables() -> None:
    assert set(ACTS) == set(second_word.PROPOSED_BY)


def test_the_table_of_the_docs_says_who_proposes_and_whose_word_counts() -> None:
    text = LIFE_CYCLE.read_text(encoding="utf-8").partition("## What takes two people")[2]
    row = re.compile(r"^\| `(\w+)`[^|]*\| ([a-z_, ]+) \| (?:two of )?([a-z_, ]+) \|", re.MULTILINE)
    told = row.findall(text)
    counts = {rpc: second_word.of_act(kind) for kind, rpc in second_word.PROPOSED_BY.items()}
    counts["ProposeProviderAccount"] = second_word.OF_ACCOUNTS
    wanted = []
    for proposes, confirms in CONFIRMED_BY.items():
        rpc = proposes.rpartition("/")[2]
        word_of = counts.get(rpc, roles_of(confirms)) & roles_of(confirms)
        wanted.append((rpc, names(roles_of(proposes)), names(word_of)))
    assert told == wanted


def roles_of(rpc: str) -> frozenset[int]:
    labels = rpc_of(f"/{rpc}")
    assert labels is not None
    return labels.roles


def names(roles: frozenset[int]) -> str:
    return ", ".join(map(role_name, sorted(roles)))


@pytest.mark.parametrize("kind", ACTS)
def test_who_may_not_propose_it_neither_confirms_nor_rejects_it(
    service: Served, desk: Desk, kind: ActKind
) -> None:
    claim, before = proposal(service, desk, kind), (used(service), books(service))
    senior_only = ADJUSTER not in second_word.of_act(kind)
    assert senior_only == (kind is not ActKind.REVIEW)
    role = PAYMENTS if kind is ActKind.RECOVER else SENIOR
    desk.who = who("anna", role)
    yes = asked(review_pb2.ConfirmReviewRequest, claim)
    assert refused(service.review.ConfirmReview, yes).reason == "SAME_PERSON"
    desk.who = who("cem", ADJUSTER)
    if senior_only:
        no = asked(review_pb2.ConfirmReviewRequest, claim, reject=True, note=NOTE)
        for request in (yes, no):
            fault = refused(service.review.ConfirmReview, request)
            assert (fault.code.name, fault.reason) == ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")
            assert role_name(role) in fault.text
        assert got(service, claim.name).awaits_confirmation
        desk.who = who("anna")
        assert (used(service), books(service)) == before
        desk.who = who("dora", role)
    after = service.review.ConfirmReview(yes).claim
    assert (after.state, after.awaits_confirmation) == (ACTS[kind][2], False)


@pytest.mark.parametrize("kind", ACTS)
def test_a_rejection_says_why_and_the_proposer_is_told(
    service: Served, desk: Desk, kind: ActKind
) -> None:
    claim, before = proposal(service, desk, kind), (used(service), books(service))
    shown = got(service, claim.name).proposal.amount
    amount = {ActKind.ADJUST: "39999"}.get(kind, "190000")
    assert shown == yuan(amount)
    desk.who = who("bert")
    silent = asked(review_pb2.ConfirmReviewRequest, claim, reject=True, note=" ")
    fault = refused(service.review.ConfirmReview, silent)
    assert [(one.field, one.reason) for one in fault.violations] == [("note", "MISSING")]
    after = said(service, claim, reject=True, note="not by these papers")
    assert (after.state, after.awaits_confirmation) == (claim.state, False)
    assert (used(service), books(service)) == before
    desk.who = who("anna")
    told = got(service, claim.name).refusal
    assert (told.kind, told.withdrawn, told.actor, told.note) == (
        *(kind.value, False, "bert"),
        "not by these papers",
    )
    desk.who = of_member(token("CN-ID", id_number(100)))
    assert not got(service, claim.name).HasField("refusal")
    desk.who = who("bert")
    again = ACTS[kind][0](service, after)
    assert again.awaits_confirmation
    assert not got(service, claim.name).HasField("refusal")


@pytest.mark.parametrize("kind", ACTS)
def test_who_proposed_it_withdraws_it(service: Served, desk: Desk, kind: ActKind) -> None:
    claim, before = proposal(service, desk, kind), (used(service), books(service))
    after = said(service, claim, reject=True)
    assert (after.state, after.awaits_confirmation) == (claim.state, False)
    assert (used(service), books(service)) == before
    told = got(service, claim.name).refusal
    assert (told.kind, told.withdrawn, told.actor) == (kind.value, True, "anna")
    desk.who = who("bert")
    late = asked(review_pb2.ConfirmReviewRequest, claim)
    assert refused(service.review.ConfirmReview, late).reason == "CLAIM_CHANGED"
    late.revision = after.revision
    assert refused(service.review.ConfirmReview, late).reason == "NOTHING_TO_CONFIRM"


@pytest.mark.parametrize("kind", ACTS)
def test_nobody_acts_past_what_waits(service: Served, desk: Desk, kind: ActKind) -> None:
    claim = proposal(service, desk, kind)
    request: Any = {
        ActKind.REVIEW: review_pb2.ReviewClaimRequest,
        ActKind.ADJUST: review_pb2.AdjustClaimRequest,
        ActKind.REVERSE: review_pb2.ReverseClaimRequest,
        ActKind.RECOVER: review_pb2.RecordRecoveryRequest,
        ActKind.WRITE_OFF: review_pb2.WriteOffRecoveryRequest,
    }[kind]
    call = getattr(service.review, second_word.PROPOSED_BY[kind])
    for person in ("anna", "bert"):
        desk.who = who(person)
        assert refused(call, asked(request, claim)).reason == "PROPOSAL_STANDS"
    assert got(service, claim.name).proposal.actor == "anna"


@pytest.mark.on_postgresql
def test_what_comes_to_another_amount_by_now_is_not_confirmed(service: Served, desk: Desk) -> None:
    claim = proposal(service, desk, ActKind.REVIEW)
    # The member's other bill takes the deductible, so that this one's falls away.
    decided(service, "B2", line(1, DRUG, "20000.00"))
    assert got(service, claim.name).revision == claim.revision
    before = used(service), books(service)
    desk.who = who("bert")
    yes = asked(review_pb2.ConfirmReviewRequest, claim)
    fault = refused(service.review.ConfirmReview, yes)
    assert (fault.code.name, fault.reason) == ("FAILED_PRECONDITION", "PROPOSAL_OUTDATED")
    assert fault.metadata == {"proposed_minor_units": "19000000", "now_minor_units": "20000000"}
    assert "comes to 200000.00 CNY, and came to 190000.00 when it was proposed" in fault.text
    assert (used(service), books(service)) == before
    assert got(service, claim.name).awaits_confirmation
    after = said(service, claim, reject=True, note="the deductible is used up")
    anew = _review(service, after)
    desk.who = who("anna")
    assert said(service, anew).decision.benefit == yuan("200000")


@pytest.mark.parametrize("kind", [ActKind.REVIEW, ActKind.REVERSE])
def test_who_refused_or_would_have_reversed_does_not_decide_the_appeal(
    service: Served, desk: Desk, kind: ActKind
) -> None:
    claim = proposal(service, desk, kind)
    desk.who = who("cem")
    after = said(service, claim, reject=True, note=NOTE)
    if kind is ActKind.REVIEW:
        desk.who = who("bert")
        deny = review_pb2.LineReview(
            number=1, clause="1.1", deny_reason=reason_pb2.REASON_MEDICAL_NECESSITY
        )
        request = asked(review_pb2.ReviewClaimRequest, after, lines=[deny])
        after = service.review.ReviewClaim(request).claim
    desk.who = of_member(token("CN-ID", id_number(100)))
    objected = service.review.AppealClaim(asked(review_pb2.AppealClaimRequest, after)).claim
    up = review_pb2.APPEAL_OUTCOME_UPHOLD
    judge = asked(review_pb2.DecideAppealRequest, objected, outcome=up)
    for person in ("anna", "cem"):
        desk.who = who(person)
        assert refused(service.review.DecideAppeal, judge).reason == "SAME_PERSON"
    desk.who = who("dora")
    assert service.review.DecideAppeal(judge).claim.state == pb.CLAIM_STATE_UPHELD


def test_an_account_is_rejected_with_a_reason_or_withdrawn(service: Served, desk: Desk) -> None:
    desk.who = who("anna", INTAKE)
    first, second = proposed(service).name, proposed(service, valid_from="2026-02-01").name
    desk.who = who("bert", INTAKE)
    for request in (word(first), word(first, reject=True, note="closed")):
        fault = refused(service.providers.ConfirmProviderAccount, request)
        assert (fault.code.name, fault.reason) == ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")
    desk.who = who("cem", PAYMENTS)
    silent = refused(service.providers.ConfirmProviderAccount, word(first, reject=True))
    assert [(one.field, one.reason) for one in silent.violations] == [("note", "MISSING")]
    talks = refused(service.providers.ConfirmProviderAccount, word(first, note="yes"))
    assert [(one.field, one.reason) for one in talks.violations] == [("note", "UNEXPECTED")]
    service.providers.ConfirmProviderAccount(word(first, reject=True, note="closed"))
    desk.who = who("anna", INTAKE)
    service.providers.ConfirmProviderAccount(word(second, reject=True))
    asks = providers.ListProviderAccountsRequest()
    told = [
        (one.state, one.proposer, one.decider, one.note)
        for one in service.providers.ListProviderAccounts(asks).accounts
    ]
    assert told == [
        (providers.PROVIDER_ACCOUNT_STATE_WITHDRAWN, "anna", "anna", ""),
        (providers.PROVIDER_ACCOUNT_STATE_REJECTED, "anna", "cem", "closed"),
    ]


def test_the_history_says_whose_proposal_was_carried_out(service: Served, desk: Desk) -> None:
    desk.who = who("first")
    proposal = _review(service, decided(service, "B1", BIG))
    desk.who = who("second")
    claim = paid(service, said(service, proposal))
    desk.who = who("first")
    proposal = _reverse(service, claim)
    desk.who = who("third")
    after = said(service, proposal)
    told = [(one.cause, one.proposed_by) for one in got(service, after.name).moves]
    carried_out = {("approve", "first"), ("release_payment", "first")}
    carried_out |= {("reverse", "first"), ("open_recovery", "first")}
    assert {one for one in told if one[1]} == carried_out
    assert ("refer_to_review", "") in told
    desk.who = of_member(token("CN-ID", id_number(100)))
    assert not any(one.proposed_by for one in got(service, after.name).moves)


def test_whoever_proposes_is_told_what_it_comes_to_by_now(service: Served, desk: Desk) -> None:
    desk.who = who("first")
    claim = decided(service, "B1", BIG)
    # The member's other bill takes the deductible, so that this one's falls away.
    decided(service, "B2", line(1, DRUG, "20000.00"))
    after = _review(service, got(service, claim.name))
    assert (after.decision.benefit, after.proposal.amount) == (yuan("190000"), yuan("200000"))
    assert after.proposal.actor == ""  # as in lists


def test_who_comes_too_late_is_told_that_something_waits_but_no_member_is(
    service: Served, desk: Desk
) -> None:
    desk.who = who("first")
    claim = decided(service, "B1", BIG)
    _review(service, claim)
    late = asked(review_pb2.ReviewClaimRequest, claim)
    fault = refused(service.review.ReviewClaim, late)
    assert (fault.reason, fault.metadata.get("proposed")) == ("CLAIM_CHANGED", "true")
    desk.who = of_member(token("CN-ID", id_number(100)))
    fault = refused(service.review.SupplyFacts, asked(review_pb2.SupplyFactsRequest, claim))
    assert (fault.reason, "proposed" in fault.metadata) == ("CLAIM_CHANGED", False)
