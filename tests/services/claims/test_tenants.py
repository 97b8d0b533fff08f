"""What is another tenant's does not exist: for every rpc of claims, over a socket, both databases.

Two insurers share the installation. `anxin` has p1, a family of two; `taihe` has p2, which insures
the first of them as well. Both bills come from the hospital `general`.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import policy_pb2, review_pb2, settlement_pb2
from lipei.type.v1 import bill_pb2
from services.claims import second_word
from services.claims.core.life_cycle import Event
from services.claims.desk import Desk as Transaction
from services.claims.plan_shelf import PlanShelf
from services.claims.serving import find
from services.claims.storage import claims as store
from services.common.access.caller import Caller, NobodyCalls, calling_as
from services.common.access.tenant import INSTALLATION, Kind, Tenant
from services.common.refusals import DETAILS_KEY, error_of
from tests.services.claims.given import (
    DRUG,
    PLANS,
    bill,
    id_number,
    imported,
    line,
    policy,
    publish,
    submission,
    yuan,
)
from tests.services.claims.serving import Served, served, token
from tests.services.claims.stock import Stock
from tests.tenants import of_hospital, of_installation, of_insurer, of_member

SHARED, SPOUSE, STRANGER = 100, 101, 999
NEVER_CLAIM, NEVER_POLICY = "0" * 32, "p9"


@dataclass
class Desk:
    """The service, and who calls it: `caller` for everything, or for one block."""

    service: Served
    caller: list[Caller]

    @contextmanager
    def of(self, caller: Caller) -> Iterator[Served]:
        """Let the caller call everything inside the block."""
        self.caller.append(caller)
        try:
            yield self.service
        finally:
            self.caller.pop()


@contextmanager
def desk(url: str) -> Iterator[Desk]:
    """A service at which the insurer `anxin` calls."""
    callers = [of_insurer("anxin")]
    with served(url, caller=lambda: callers[-1]) as running:
        yield Desk(running, callers)


def two_insurers(url: str) -> None:
    """Fill a database with both insurers' plans and policies."""
    with desk(url) as made:
        publish(made.service)
        imported(made.service, policy(1, people=2))
        with made.of(of_insurer("taihe")) as service:
            publish(service)
            imported(service, shared(policy(2)))


_TWO_INSURERS = Stock("two_insurers", two_insurers)


@pytest.fixture
def stock() -> Stock:
    return _TWO_INSURERS


@pytest.fixture
def both(stocked_url: str) -> Iterator[Desk]:
    with desk(stocked_url) as made:
        yield made


@pytest.fixture
def two(stocked_sqlite: str) -> Iterator[Desk]:
    with desk(stocked_sqlite) as made:
        yield made


def shared(made: policy_pb2.Policy) -> policy_pb2.Policy:
    """The policy for the person whom p1 insures as well."""
    made.members[0].document.number = id_number(SHARED)
    return made


def from_hospital(given: bill_pb2.Bill, hospital: str = "general") -> bill_pb2.Bill:
    """The bill under the hospital's name for it."""
    given.name = f"hospitals/{hospital}/bills/{given.bill_number.lower()}"
    given.consent = f"hospitals/{hospital}/consents/c1"
    return given


def submitted(made: Desk, caller: Caller, given: bill_pb2.Bill) -> list[pb.Claim]:
    """The claims that the caller is told of."""
    with made.of(caller) as service:
        return list(service.claims.SubmitClaim(submission(given)).claims)


def status_bytes(call: Callable[[Any], Message], request: Message) -> tuple[str, str, bytes]:
    """Code, text and details of a refusal, as they came over the wire."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    error: Any = caught.value
    details = dict(error.trailing_metadata())[DETAILS_KEY]
    return error.code().name, error.details(), details


def refusal(call: Callable[[Any], Message], request: Message) -> list[tuple[str, str]]:
    """(field, reason) of every violation."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    fault = error_of(caught.value)
    return [(v.field, v.reason) for v in fault.violations] or [("", fault.reason)]


OF_PERSONS = tuple(review_pb2.DESCRIPTOR.services_by_name["ReviewService"].methods_by_name)


def _about(kind: type[Any], name: str) -> Message:
    """A request of ReviewService that is refused for its claim only."""
    made: Message = kind(name=name, request_id=uuid.uuid4().hex)
    if kind.__name__.removesuffix("Request") in second_word.SAID_WHY:
        made.note = "why"  # type: ignore[attr-defined]  # of one of those messages
    if isinstance(made, review_pb2.DecideAppealRequest):
        made.outcome = review_pb2.APPEAL_OUTCOME_UPHOLD
    if isinstance(made, review_pb2.RecordRecoveryRequest):
        made.bank_reference, made.value_date = "R1", "2025-06-01"
    if isinstance(made, review_pb2.RecordRefusalNoticeRequest):
        made.sent_day, made.channel = "2026-06-01", pb.NOTICE_CHANNEL_LETTER
    return made


BY_NAME: dict[str, Callable[[str], Message]] = {
    "GetClaim": lambda name: pb.GetClaimRequest(name=name),
    "ExplainClaim": lambda name: pb.ExplainClaimRequest(name=name),
    "ReplayClaim": lambda name: pb.ReplayClaimRequest(name=name),
    **{one: functools.partial(_about, getattr(review_pb2, f"{one}Request")) for one in OF_PERSONS},
    "GiveUpWaiting": lambda name: settlement_pb2.GiveUpWaitingRequest(name=name),
    "AdjudicateClaim": lambda name: settlement_pb2.AdjudicateClaimRequest(name=name),
    "ApplyCorrection": lambda name: settlement_pb2.ApplyCorrectionRequest(name=name, number=1),
    "SettleClaims": lambda name: settlement_pb2.SettleClaimsRequest(names=[name]),
}


def rpc(service: Served, name: str) -> Callable[[Any], Message]:
    """The stub's method."""
    stubs = (service.claims, service.review, service.settlement)
    stub = next(stub for stub in stubs if hasattr(stub, name))
    found: Callable[[Any], Message] = getattr(stub, name)
    return found


def test_every_rpc_that_names_a_claim_is_tried_here() -> None:
    naming = {
        method.name
        for file in (pb, review_pb2, settlement_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if {"name", "names"} & set(method.input_type.fields_by_name.keys())
    }
    assert naming == BY_NAME.keys()


@pytest.mark.both_databases
def test_another_tenants_claim_is_refused_byte_for_byte_like_one_that_never_was(
    both: Desk, subtests: pytest.Subtests
) -> None:
    (claim,) = submitted(both, of_insurer("anxin"), bill("B1", person=SPOUSE))
    never = f"policies/{NEVER_POLICY}/claims/{NEVER_CLAIM}"
    others = [
        of_insurer("taihe"),
        of_hospital(),
        of_member(token("CN-ID", id_number(SHARED))),
        of_member(token("CN-ID", id_number(STRANGER))),
    ]
    for caller in others:
        for name, request in BY_NAME.items():
            with subtests.test(rpc=name, caller=caller.uri), both.of(caller) as service:
                code, text, details = status_bytes(rpc(service, name), request(claim.name))
                assert code == "NOT_FOUND"
                assert claim.name.encode() in details
                told = details.replace(claim.name.encode(), never.encode())
                assert (code, text, told) == status_bytes(rpc(service, name), request(never))
    mine = [of_insurer("anxin"), of_member(token("CN-ID", id_number(SPOUSE)))]
    for caller in mine:
        for name, request in BY_NAME.items():
            with subtests.test(rpc=name, owner=caller.uri), both.of(caller) as service:
                if name in OF_PERSONS:  # found, and refused because nobody has looked at it
                    assert status_bytes(rpc(service, name), request(claim.name))[0] == "ABORTED"
                else:
                    rpc(service, name)(request(claim.name))
    with both.of(of_installation()) as service:
        # These none of its roles may call.
        for name in BY_NAME.keys() - {"ExplainClaim", *OF_PERSONS}:
            rpc(service, name)(BY_NAME[name](claim.name))


def listed(made: Desk, caller: Caller, parent: str = "policies/-") -> list[tuple[str, str]]:
    """(policy, bill) of the claims that the caller sees in a list."""
    with made.of(caller) as service:
        found = service.claims.ListClaims(pb.ListClaimsRequest(parent=parent)).claims
    return [(claim.name.split("/")[1], claim.bill_number) for claim in found]


@pytest.mark.on_postgresql
def test_lists_hold_the_tenants_own_claims_only(both: Desk) -> None:
    submitted(both, of_hospital(), from_hospital(bill("B1")))  # p1 and p2
    submitted(both, of_insurer("anxin"), bill("B2", person=SPOUSE))  # p1, from nobody's hospital
    submitted(both, of_hospital("rural"), from_hospital(bill("B3", person=SPOUSE), "rural"))
    everything = [("p1", "B1"), ("p2", "B1"), ("p1", "B2"), ("p1", "B3")]
    assert listed(both, of_insurer("anxin")) == [("p1", "B1"), ("p1", "B2"), ("p1", "B3")]
    assert listed(both, of_insurer("taihe")) == [("p2", "B1")]
    assert listed(both, of_insurer("unknown")) == []
    assert listed(both, of_hospital()) == [("p1", "B1"), ("p2", "B1")]
    assert listed(both, of_hospital("rural")) == [("p1", "B3")]
    assert listed(both, of_member(token("CN-ID", id_number(SHARED)))) == everything[:2]
    assert listed(both, of_member(token("CN-ID", id_number(SPOUSE)))) == everything[2:]
    assert listed(both, of_member(token("CN-ID", id_number(STRANGER)))) == []
    # Of bills and their numbers an auditor sees nothing, of claims all.
    assert [policy for policy, _ in listed(both, of_installation())] == [p for p, _ in everything]
    # A policy of another insurer's is as unknown as one that never was.
    for unknown in ("policies/p1", f"policies/{NEVER_POLICY}"):
        with both.of(of_insurer("taihe")) as service:
            request = pb.ListClaimsRequest(parent=unknown)
            code, *_ = status_bytes(service.claims.ListClaims, request)
        assert code == "NOT_FOUND"
    # Who has no policies learns of none whether it exists.
    him = of_member(token("CN-ID", id_number(SHARED)))
    assert listed(both, him, f"policies/{NEVER_POLICY}") == []
    assert listed(both, of_insurer("anxin"), "policies/p1") == listed(both, of_insurer("anxin"))


def test_in_a_family_policy_nobody_sees_the_spouses_claim(both: Desk) -> None:
    (hers,) = submitted(both, of_insurer("anxin"), bill("B1", person=SPOUSE))
    his = Tenant(Kind.MEMBER, token("CN-ID", id_number(SHARED)))
    her = Tenant(Kind.MEMBER, token("CN-ID", id_number(SPOUSE)))
    place = hers.name.split("/")[1::2]
    with both.service.database.reading() as connection:
        sealer = both.service.keys.sealer(connection)
        assert store.find_claim(connection, sealer, his, *place) is None
        assert store.find_claim(connection, sealer, her, *place) is not None
        # Negative control: without the filter the same look-up finds it.
        assert store.find_claim(connection, sealer, INSTALLATION, *place) is not None


def test_a_page_token_of_another_tenant_is_refused(two: Desk) -> None:
    for number in range(3):
        submitted(two, of_insurer("anxin"), bill(f"B{number}", person=SPOUSE))
    request = pb.ListClaimsRequest(parent="policies/-", page_size=2)
    with two.of(of_insurer("anxin")) as service:
        request.page_token = service.claims.ListClaims(request).next_page_token
        assert len(service.claims.ListClaims(request).claims) == 1
    for caller in (of_insurer("taihe"), of_hospital(), of_installation()):
        with two.of(caller) as service:
            found = refusal(service.claims.ListClaims, request)
        assert found == [("page_token", "FOREIGN_PAGE_TOKEN")]


def test_two_tenants_may_use_one_request_id(both: Desk) -> None:
    mine, theirs = bill("B1", person=SPOUSE), bill("B2")
    answers = {}
    for caller, given in ((of_insurer("anxin"), mine), (of_insurer("taihe"), theirs)):
        with both.of(caller) as service:
            request = submission(given, request_id="one")
            (claim,) = service.claims.SubmitClaim(request).claims
            assert service.claims.SubmitClaim(request).claims[0].name == claim.name
        answers[claim.name.split("/")[1]] = claim.bill_number
    assert answers == {"p1": "B1", "p2": "B2"}
    with both.of(of_insurer("taihe")) as service:
        answer = imported(service, policy(5), request_id="two")
        with both.of(of_insurer("anxin")):
            assert imported(service, policy(6), request_id="two").created == answer.created == 1


def importing(*policies: policy_pb2.Policy, dry_run: bool = False) -> pb.ImportPoliciesRequest:
    return pb.ImportPoliciesRequest(request_id=uuid.uuid4().hex, policies=policies, dry_run=dry_run)


def test_a_policy_id_of_another_insurers_is_refused_and_nothing_overwritten(both: Desk) -> None:
    with both.of(of_insurer("taihe")) as service:
        # Word for word the first revision, another content, the next revision: all the same.
        for attempt in (
            policy(1, people=2),
            policy(1),
            policy(1, people=2, revision=2, effective_date="2026-06-01"),
        ):
            found = refusal(service.claims.ImportPolicies, importing(attempt))
            assert found == [("policies[0].policy_id", "POLICY_ID_TAKEN")]
            (fault,) = service.claims.ImportPolicies(importing(attempt, dry_run=True)).faults
            assert fault.reason == "POLICY_ID_TAKEN"
            assert "anxin" not in fault.text
        assert imported(service, policy(7)).created == 1
    with both.of(of_insurer("anxin")) as service:
        assert imported(service, policy(1, people=2)).unchanged == 1


def test_another_insurers_policy_cannot_be_continued(two: Desk) -> None:
    with two.of(of_insurer("taihe")) as service:
        for previous in ("p1", NEVER_POLICY):
            renewal = shared(policy(3, previous_policy_id=previous))
            found = refusal(service.claims.ImportPolicies, importing(renewal))
            assert found == [("policies[0].previous_policy_id", "UNKNOWN_POLICY")]
        assert imported(service, shared(policy(3, previous_policy_id="p2"))).created == 1


@pytest.mark.on_postgresql
def test_a_plan_that_the_insurer_has_not_published_does_not_exist(both: Desk) -> None:
    plan = "chronic-diabetes"
    version = publish(both.service, plan)  # by anxin
    with both.of(of_insurer("taihe")) as service:
        for named in (plan, version, f"{plan}@sha256:{'0' * 64}"):
            found = refusal(service.claims.ImportPolicies, importing(policy(3, plan=named)))
            assert found == [("policies[0].plan", "UNKNOWN_PLAN")]
        assert publish(service, plan) == version  # it has the file: the same hash, published by it
        assert imported(service, policy(3, plan=version)).created == 1


def test_an_insurers_newest_plan_is_its_own(two: Desk) -> None:
    text = (PLANS / "million-medical.yaml").read_text(encoding="utf-8")
    deductible = 'values: {2024-01-01: "10000.00"}'
    later = text.replace(deductible, deductible.replace("10000", "9000"), 1)
    assert later != text
    with two.of(of_insurer("taihe")) as service:
        service.claims.PublishPlan(pb.PublishPlanRequest(request_id="later", yaml=later.encode()))
        imported(service, policy(3))
    imported(two.service, policy(4))
    (theirs,) = submitted(two, of_insurer("taihe"), bill("B1", person=300))
    (mine,) = submitted(two, of_insurer("anxin"), bill("B2", person=400))
    assert theirs.decision.plan_version != mine.decision.plan_version
    assert (theirs.decision.benefit, mine.decision.benefit) == (yuan("21000"), yuan("20000"))


def test_an_insurer_opens_its_own_claims_and_the_hospital_the_rest(both: Desk) -> None:
    submitted(both, of_hospital(), from_hospital(bill("B0", person=SPOUSE)))
    (mine,) = submitted(both, of_insurer("anxin"), bill("B1"))
    assert mine.name.startswith("policies/p1/")
    from_both = submitted(both, of_hospital(), from_hospital(bill("B1")))
    assert [claim.name.split("/")[1] for claim in from_both] == ["p1", "p2"]
    assert from_both[0].name == mine.name
    # The second insurer pays what the first one left.
    assert [claim.decision.benefit for claim in from_both] == [yuan("20000"), yuan("10000")]
    assert listed(both, of_hospital()) == [("p1", "B0"), ("p1", "B1"), ("p2", "B1")]
    (again,) = submitted(both, of_insurer("anxin"), bill("B1"))
    assert again.name == mine.name


@pytest.mark.on_postgresql
def test_a_member_of_another_insurers_is_as_unknown_as_nobody(both: Desk) -> None:
    with both.of(of_insurer("taihe")) as service:
        submit = service.claims.SubmitClaim
        spouse = status_bytes(submit, submission(bill("B1", person=SPOUSE)))
        assert spouse == status_bytes(submit, submission(bill("B1", person=STRANGER)))
        assert spouse[0] == "NOT_FOUND"
    me = of_member(token("CN-ID", id_number(SHARED)))
    with both.of(me) as service:
        assert status_bytes(service.claims.SubmitClaim, submission(bill("B1", person=SPOUSE))) == (
            spouse
        )
    assert listed(both, of_installation()) == []


def test_a_hospital_hands_in_its_own_bills_only(both: Desk) -> None:
    with both.of(of_hospital("rural")) as service:
        submit = service.claims.SubmitClaim
        anothers = from_hospital(bill("B1"), "general")
        code, _text, details = status_bytes(submit, submission(anothers))
        assert (code, anothers.name.encode() in details) == ("NOT_FOUND", True)
        assert refusal(submit, submission(bill("B1"))) == [("bill.name", "NOT_A_NAME")]
    assert listed(both, of_installation()) == []


def test_a_hospital_that_knows_anothers_bill_gets_none_of_its_claims(both: Desk) -> None:
    submitted(both, of_hospital(), from_hospital(bill("B1")))
    with both.of(of_hospital("rural")) as service:
        stolen = submission(from_hospital(bill("B1"), "rural"))
        told = status_bytes(service.claims.SubmitClaim, stolen)
        guessed = submission(from_hospital(bill("B1", line(1, DRUG, "1.00")), "rural"))
        # Nor whether it has guessed the content.
        assert told == status_bytes(service.claims.SubmitClaim, guessed)
        assert told[0] == "ALREADY_EXISTS"
    assert listed(both, of_hospital("rural")) == []


def test_a_hospital_cannot_tell_from_a_refusal_whom_an_insurer_insures(both: Desk) -> None:
    def made_up(person: int, number: str = "X1", **changes: Any) -> bill_pb2.Bill:
        given = from_hospital(bill(number, person=person))
        given.ClearField("social_insurance")
        for place in (given.total, given.lines[0].billed):
            place.currency_code = changes.get("currency", "CNY")
        given.lines[0].code.system = changes.get("system", given.lines[0].code.system)
        return given

    submitted(both, of_hospital(), from_hospital(bill("B1", person=SPOUSE)))
    told = {}
    with both.of(of_hospital()) as service:
        for name, changes in (
            ("currency", {"currency": "USD"}),
            ("codes", {"system": "urn:of:nobody"}),
            ("number", {"number": "B1"}),
        ):
            insured, nobody = (
                status_bytes(service.claims.SubmitClaim, submission(made_up(person, **changes)))
                for person in (SHARED, STRANGER)
            )
            assert insured == nobody, name
            told[name] = insured[0]
    assert told == {"currency": "NOT_FOUND", "codes": "NOT_FOUND", "number": "ALREADY_EXISTS"}
    # Negative control: an insurer is told why, so the bills differ in nothing but the member.
    found = {}
    for person in (SHARED, STRANGER):
        dollars = submission(made_up(person, currency="USD"))
        found[person] = refusal(both.service.claims.SubmitClaim, dollars)
    assert found == {SHARED: [("", "OTHER_CURRENCY")], STRANGER: [("", "UNKNOWN_MEMBER")]}


def test_a_bill_that_nobodys_hospital_brought_goes_to_no_hospital_that_is_not_known(
    both: Desk,
) -> None:
    (hers,) = submitted(both, of_insurer("anxin"), bill("B1", person=SPOUSE))
    with both.of(of_hospital("rural")) as service:
        stolen = submission(from_hospital(bill("B1", person=SPOUSE), "rural"))
        assert refusal(service.claims.SubmitClaim, stolen) == [("", "BILL_CONFLICT")]
    assert listed(both, of_hospital("rural")) == []
    # The provider's own hospital, known by another bill, gets it.
    submitted(both, of_hospital(), from_hospital(bill("B2")))
    (found,) = submitted(both, of_hospital(), from_hospital(bill("B1", person=SPOUSE)))
    assert found.name == hers.name
    # Once a second hospital has used the same identifier, no bill of nobody's goes to either.
    submitted(both, of_hospital("rural"), from_hospital(bill("B3"), "rural"))
    submitted(both, of_insurer("anxin"), bill("B4", person=SPOUSE))
    for hospital in ("general", "rural"):
        with both.of(of_hospital(hospital)) as service:
            asked = submission(from_hospital(bill("B4", person=SPOUSE), hospital))
            assert refusal(service.claims.SubmitClaim, asked) == [("", "BILL_CONFLICT")]


def test_a_hospital_is_told_what_it_must_know_of_its_claims(two: Desk) -> None:
    (first, _) = submitted(two, of_hospital(), from_hospital(bill("B1")))
    assert first.name
    assert first.decision.benefit == yuan("20000")
    assert not first.member
    assert not first.HasField("paid")
    assert not first.decision.usage_changes
    (whole,) = submitted(
        two, of_insurer("anxin"), bill("B1")
    )  # negative control: the insurer sees them
    assert whole.member
    assert whole.decision.usage_changes


def test_what_another_insurer_allowed_is_no_earlier_service(both: Desk) -> None:
    scan, drug = "002103000010000", "12000.00"
    (theirs,) = submitted(both, of_insurer("taihe"), bill("B1", line(1, scan, drug)))
    (mine,) = submitted(both, of_insurer("anxin"), bill("B2", line(1, scan, drug)))
    assert theirs.decision.benefit == mine.decision.benefit != yuan(0)
    (again,) = submitted(both, of_insurer("anxin"), bill("B3", line(1, scan, drug)))
    assert again.state == pb.CLAIM_STATE_DENIED  # negative control: one's own is a duplicate


@pytest.mark.on_postgresql
def test_books_are_those_of_the_tenants_claims(both: Desk) -> None:
    submitted(both, of_hospital(), from_hospital(bill("B1")))
    found = {}
    for name, caller in (
        ("anxin", of_insurer("anxin")),
        ("taihe", of_insurer("taihe")),
        ("other", of_insurer("other")),
        ("all", of_installation()),
    ):
        with both.of(caller) as service:
            books = service.claims.CheckBooks(pb.CheckBooksRequest())
        assert books.ledger_sum_minor_units == books.conservation_violations == 0
        assert books.payout_mismatches == 0
        incurred = [b.posted for b in books.balances if b.account == "claims:incurred"]
        found[name] = (sum(state.count for state in books.claims), incurred)
    assert found == {
        "anxin": (1, [yuan("20000")]),
        "taihe": (1, [yuan("10000")]),
        "other": (0, []),
        "all": (2, [yuan("30000")]),
    }


def test_who_reads_no_diagnosis_gets_no_hash_of_one(two: Desk) -> None:
    (claim,) = submitted(two, of_insurer("anxin"), bill("B1", person=SPOUSE))
    assert claim.decision.output_hash
    with two.of(of_installation()) as service:
        shown = service.claims.GetClaim(pb.GetClaimRequest(name=claim.name)).claim.decision
        same = service.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))
    for found in (shown, same):
        assert (found.input_hash, found.output_hash) == ("", "")
        assert found.commitment == claim.decision.commitment != ""


def test_a_caller_of_no_tenant_with_a_tenants_role_is_refused(two: Desk) -> None:
    nobody = of_insurer("")
    several = Caller(
        uri="x", roles=nobody.roles, subject="x", purpose="", insurer="a", hospital="b"
    )
    for caller in (nobody, several):
        with two.of(caller) as service:
            call = service.claims.ListClaims
            assert refusal(call, pb.ListClaimsRequest(parent="policies/-")) == [
                ("", "TENANT_UNCLEAR")
            ]


def test_only_an_insurer_imports_and_publishes(two: Desk) -> None:
    yaml = (PLANS / "million-medical.yaml").read_bytes()
    for caller in (of_hospital(), of_member(token("CN-ID", id_number(SHARED)))):
        with two.of(caller) as service:
            publishing = pb.PublishPlanRequest(request_id="x", yaml=yaml)
            assert refusal(service.claims.PublishPlan, publishing) == [("", "TENANT_UNCLEAR")]
            call = service.claims.ImportPolicies
            assert refusal(call, importing(policy(8))) == [("", "TENANT_UNCLEAR")]


def test_work_of_nobody_reads_nothing(two: Desk) -> None:
    """The claims of an rpc without a caller are not found: there is no way in."""
    (claim,) = submitted(two, of_insurer("anxin"), bill("B1", person=SPOUSE))
    with two.service.database.reading() as connection:
        sealer = two.service.keys.sealer(connection)
        at_hand = Transaction(connection, sealer, PlanShelf(), lambda: 0)
        with pytest.raises(NobodyCalls):
            find(at_hand, claim.name)
        with calling_as(of_insurer("anxin")):
            assert find(at_hand, claim.name).id == claim.name.split("/")[3]


def test_a_hospital_withdraws_its_own_consents_only(both: Desk) -> None:
    claims = submitted(both, of_hospital(), from_hospital(bill("B1", line(1, DRUG, "200000.00"))))
    # The second insurer's waits for the first one's decision.
    waiting = {pb.CLAIM_STATE_PENDED_REVIEW, pb.CLAIM_STATE_REGISTERED}
    assert {claim.state for claim in claims} == waiting
    theirs = pb.WithdrawClaimsRequest(request_id="once", consents=["hospitals/general/consents/c1"])
    never = pb.WithdrawClaimsRequest(request_id="once", consents=["hospitals/neverwa/consents/c1"])
    with both.of(of_hospital("another")) as service:
        code, text, details = status_bytes(service.claims.WithdrawClaims, theirs)
        assert code == "NOT_FOUND"
        told = details.replace(b"general", b"neverwa")
        assert (code, text, told) == status_bytes(service.claims.WithdrawClaims, never)
    with both.of(of_hospital()) as service:
        answer = service.claims.WithdrawClaims(theirs)
        assert list(answer.withdrawn_claims) == [claim.name for claim in claims]


def test_what_another_insurer_keeps_is_told_in_one_answer(two: Desk) -> None:
    """Open claims of another's and records that another must keep: the same bytes."""
    request = pb.EraseMemberRequest(
        request_id="order",
        member=f"members/{token('CN-ID', id_number(SHARED))}",
        ground=pb.ERASURE_GROUND_ORDERED,
        order_reference="2026-1",
    )
    with two.of(of_insurer("taihe")) as service:
        kept = status_bytes(service.claims.EraseMember, request)
    given = from_hospital(bill("B1", line(1, DRUG, "200000.00")))
    claims = submitted(two, of_hospital(), given)
    mine = {claim.name for claim in claims if claim.name.startswith("policies/p2/")}
    with two.service.database.writing() as connection:
        for name in mine:
            store.move_claim(connection, name.split("/")[3], Event.WITHDRAW, "adjuster:1", 1)
    assert (len(claims), len(mine)) == (2, 1)
    with two.of(of_insurer("taihe")) as service:
        assert status_bytes(service.claims.EraseMember, request) == kept
    # The control: a claim of one's own is named.
    with two.of(of_insurer("anxin")) as service:
        code, _, details = status_bytes(service.claims.EraseMember, request)
        assert (code, b"CLAIMS_OPEN" in details) == ("FAILED_PRECONDITION", True)


def test_an_order_to_one_insurer_erases_nothing_that_another_must_keep(two: Desk) -> None:
    request = pb.EraseMemberRequest(
        request_id="order",
        member=f"members/{token('CN-ID', id_number(SHARED))}",
        ground=pb.ERASURE_GROUND_ORDERED,
        order_reference="2026-1",
    )
    with two.of(of_insurer("taihe")) as service, pytest.raises(grpc.RpcError) as caught:
        service.claims.EraseMember(request)
    fault = error_of(caught.value)
    # Until when anxin must keep it is not taihe's to know.
    assert (fault.reason, fault.metadata) == ("ERASURE_WAITS", {})
    # The control: nobody else insures p1's second person, and there the order is obeyed.
    alone = f"members/{token('CN-ID', id_number(SPOUSE))}"
    request.member = alone
    with two.of(of_insurer("anxin")) as service:
        assert service.claims.EraseMember(request).destroyed_key_count == 1
