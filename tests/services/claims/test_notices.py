"""The record that a refusal was told: when it is due, when it went out, which claims lack one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import grpc
import pytest
from sqlalchemy import text, update

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import reason_pb2, review_pb2
from services.claims.storage.tables import claim as table
from services.common.access.caller import Caller
from services.common.process import now_us
from tests.services.claims.given import DRUG, PLAN, id_number, imported, line, policy, publish
from tests.services.claims.serving import Served, Stuck, served, token
from tests.services.claims.test_reviews import BIG, NOTE, asked, decided, got, refused, reviewed
from tests.tenants import of_insurer, of_member

DAY_US = 86_400 * 1_000_000
DENY = review_pb2.LineReview(
    number=1, clause="1.1", deny_reason=reason_pb2.REASON_MEDICAL_NECESSITY
)


class Desk:
    """Who calls, and when."""

    def __init__(self) -> None:
        self.who: Caller = of_insurer()
        self.ahead_us = 0

    def now_us(self) -> int:
        """The service's clock, which a test puts forward."""
        return now_us() + self.ahead_us


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def service(database_url: str, desk: Desk) -> Iterator[Served]:
    with served(
        database_url, workflows=Stuck(), caller=lambda: desk.who, clock=desk.now_us
    ) as made:
        publish(made, PLAN)
        imported(made, policy(1))
        yield made


def denied(service: Served, number: str = "B1") -> pb.Claim:
    claim = reviewed(service, decided(service, number, BIG), DENY)
    assert claim.state == pb.CLAIM_STATE_DENIED
    return claim


def told(claim: pb.Claim, sent: date, **more: Any) -> review_pb2.RecordRefusalNoticeRequest:
    fields = {"channel": pb.NOTICE_CHANNEL_LETTER, **more}
    kind = review_pb2.RecordRefusalNoticeRequest
    request: review_pb2.RecordRefusalNoticeRequest = asked(
        kind, claim, sent_day=sent.isoformat(), **fields
    )
    return request


def denied_on(claim: pb.Claim) -> date:
    return date.fromisoformat(claim.notice_due_day) - timedelta(days=3)


def without(service: Served) -> list[str]:
    """Names of denied claims of whose refusal no notice is recorded."""
    request = pb.ListClaimsRequest(parent="policies/-", notice_unsent=True)
    return [claim.name for claim in service.claims.ListClaims(request).claims]


def test_until_a_notice_is_recorded_its_days_are_counted(service: Served, desk: Desk) -> None:
    paid = reviewed(service, decided(service, "B0", line(1, DRUG, "150000.00")))
    claim = denied(service)
    day = denied_on(claim)
    assert (claim.notice_days_left, without(service)) == (3, [claim.name])
    desk.ahead_us = 5 * DAY_US
    assert got(service, claim.name).notice_days_left == -2
    request = told(claim, day + timedelta(days=2))
    after = service.review.RecordRefusalNotice(request).claim
    assert service.review.RecordRefusalNotice(request).claim == after
    assert (after.state, after.revision) == (claim.state, claim.revision + 1)
    assert (after.notice_due_day, after.HasField("notice_days_left")) == (
        claim.notice_due_day,
        False,
    )
    notice = after.refusal_notice
    assert (notice.sent_day, notice.channel, notice.late) == (
        (day + timedelta(days=2)).isoformat(),
        pb.NOTICE_CHANNEL_LETTER,
        False,
    )
    assert notice.actor == desk.who.subject
    assert without(service) == []
    listed = service.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-")).claims
    assert [one.HasField("refusal_notice") for one in listed] == [False, True]
    assert not got(service, paid.name).HasField("refusal_notice")
    desk.who = of_member(token("CN-ID", id_number(100)))
    mine = got(service, claim.name).refusal_notice
    assert (mine.sent_day, mine.actor) == (notice.sent_day, "")


def test_one_that_went_out_too_late_says_so_and_the_newest_record_counts(
    service: Served, desk: Desk
) -> None:
    claim = denied(service)
    day = denied_on(claim)
    desk.ahead_us = 6 * DAY_US
    late = told(claim, day + timedelta(days=4), channel=pb.NOTICE_CHANNEL_MESSAGE)
    after = service.review.RecordRefusalNotice(late).claim
    assert after.refusal_notice.late
    desk.who = replace(of_insurer(), subject="person-8")
    in_time = told(after, day + timedelta(days=3), channel=pb.NOTICE_CHANNEL_HANDED_OVER)
    again = service.review.RecordRefusalNotice(in_time).claim.refusal_notice
    assert (again.late, again.channel, again.actor) == (
        *(False, pb.NOTICE_CHANNEL_HANDED_OVER),
        "person-8",
    )
    with service.database.reading() as connection:
        kept = connection.execute(text("SELECT actor FROM refusal_notice ORDER BY seq")).all()
    assert [row.actor for row in kept] == ["person-7", "person-8"]


def test_a_day_before_the_denial_or_to_come_is_refused(service: Served, desk: Desk) -> None:
    claim = denied(service)
    day = denied_on(claim)
    desk.ahead_us = 2 * DAY_US
    for sent in (day - timedelta(days=1), day + timedelta(days=3)):
        fault = refused(service.review.RecordRefusalNotice, told(claim, sent))
        assert [one.reason for one in fault.violations] == ["OUT_OF_RANGE"]
    empty = asked(review_pb2.RecordRefusalNoticeRequest, claim, sent_day="2026-02-30")
    fault = refused(service.review.RecordRefusalNotice, empty)
    assert {one.field for one in fault.violations} == {"sent_day", "channel"}
    assert without(service) == [claim.name]
    for sent in (day, day + timedelta(days=2)):  # the control: the first and the last that may be
        service.review.RecordRefusalNotice(told(got(service, claim.name), sent))


@pytest.mark.on_postgresql
def test_a_claim_that_is_denied_anew_needs_another_notice(service: Served, desk: Desk) -> None:
    claim = denied(service)
    day = denied_on(claim)
    desk.who = of_member(token("CN-ID", id_number(100)))
    objected = service.review.AppealClaim(asked(review_pb2.AppealClaimRequest, claim)).claim
    desk.who = of_insurer()
    # It went out before the objection, and is recorded after it.
    kept = service.review.RecordRefusalNotice(told(objected, day)).claim
    assert (kept.state, kept.refusal_notice.sent_day) == (objected.state, day.isoformat())
    desk.who = replace(of_insurer(), subject="person-8")
    down = review_pb2.APPEAL_OUTCOME_OVERTURN
    judged = asked(review_pb2.DecideAppealRequest, kept, outcome=down)
    anew = service.review.DecideAppeal(judged).claim
    again = reviewed(service, anew, DENY)
    assert again.state == pb.CLAIM_STATE_DENIED
    assert (again.HasField("refusal_notice"), again.notice_days_left) == (False, 3)
    assert without(service) == [claim.name]


@pytest.mark.parametrize("upheld", [False, True])
def test_an_objection_does_not_take_a_refusal_off_the_list(
    service: Served, desk: Desk, *, upheld: bool
) -> None:
    claim, other = denied(service), denied(service, "B2")
    desk.ahead_us = 2 * DAY_US
    service.review.RecordRefusalNotice(told(other, denied_on(other)))  # hides no other claim
    after = service.review.AppealClaim(asked(review_pb2.AppealClaimRequest, claim)).claim
    if upheld:
        desk.who = replace(of_insurer(), subject="person-8")
        outcome = {"outcome": review_pb2.APPEAL_OUTCOME_UPHOLD}
        asks = asked(review_pb2.DecideAppealRequest, after, **outcome)
        after = service.review.DecideAppeal(asks).claim
    desk.ahead_us = 4 * DAY_US
    after = got(service, claim.name)
    assert after.state == (pb.CLAIM_STATE_UPHELD if upheld else pb.CLAIM_STATE_APPEALED)
    assert (after.notice_due_day, after.notice_days_left) == (claim.notice_due_day, -1)
    assert without(service) == [claim.name]
    late = told(after, denied_on(claim) + timedelta(days=4))
    kept = service.review.RecordRefusalNotice(late).claim
    assert (kept.refusal_notice.late, kept.HasField("notice_days_left")) == (True, False)
    assert without(service) == []


def test_a_refusal_that_fell_asks_for_no_notice(service: Served, desk: Desk) -> None:
    claim = denied(service)
    appealed = service.review.AppealClaim(asked(review_pb2.AppealClaimRequest, claim)).claim
    desk.who = replace(of_insurer(), subject="person-8")
    outcome = {"outcome": review_pb2.APPEAL_OUTCOME_OVERTURN}
    asks = asked(review_pb2.DecideAppealRequest, appealed, **outcome)
    allowed = reviewed(service, service.review.DecideAppeal(asks).claim)
    with service.database.writing() as connection:  # as after the bank's word
        connection.execute(text("UPDATE claim SET state = 'appealed'"))
    fell = got(service, allowed.name)
    assert (fell.notice_due_day, without(service)) == ("", [])


def test_what_was_never_denied_has_no_refusal_to_tell(service: Served, desk: Desk) -> None:
    claim = reviewed(service, decided(service, "B1", BIG))
    today = date(2026, 6, 1)  # whenever: the state comes first
    fault = refused(service.review.RecordRefusalNotice, told(claim, today))
    assert fault.reason == "WRONG_STATE"
    with service.database.writing() as connection:
        connection.execute(text("UPDATE claim SET state = 'paid', paid = benefit"))
    desk.who = of_member(token("CN-ID", id_number(100)))
    request = asked(review_pb2.AppealClaimRequest, claim, note=NOTE)
    objected = service.review.AppealClaim(request).claim
    desk.who = of_insurer()
    fault = refused(service.review.RecordRefusalNotice, told(objected, today))
    assert fault.reason == "NEVER_DENIED"


def test_what_is_proposed_of_a_claim_goes_on_waiting(service: Served) -> None:
    claim = denied(service)
    with service.database.writing() as connection:
        connection.execute(text("UPDATE claim SET proposal = 'p', revision = revision + 1"))
    claim.revision += 1
    service.review.RecordRefusalNotice(told(claim, denied_on(claim)))
    with service.database.reading() as connection:
        row = connection.execute(text("SELECT proposal, revision FROM claim")).one()
    assert (row.proposal, row.revision) == ("p", claim.revision + 1)


def test_what_is_owed_and_not_paid_is_listed_with_the_days_that_are_left(
    service: Served, desk: Desk
) -> None:
    denied(service)
    decided(service, "B0", line(1, DRUG, "20.00"))
    owed = decided(service, "B9", line(1, DRUG, "150000.00"))
    owed = owed if owed.state == pb.CLAIM_STATE_PAYABLE else reviewed(service, owed)
    request = pb.ListClaimsRequest(parent="policies/-", unpaid=True)
    (listed,) = service.claims.ListClaims(request).claims
    assert (listed.name, listed.state, listed.days_left) == (
        *(owed.name, pb.CLAIM_STATE_PAYABLE),
        10,
    )
    assert late(service) == []
    desk.ahead_us = 11 * DAY_US
    assert [(one.name, one.days_left) for one in late(service)] == [(owed.name, -1)]
    states = (("payment_sent", 1), ("payment_failed", 1), ("returned", 1), ("paid", 0))
    for state, count in states:
        stands(service, owed, state=state)
        assert len(service.claims.ListClaims(request).claims) == count, state


def late(service: Served, size: int = 0) -> list[pb.Claim]:
    """What the server says is late, page by page."""
    request = pb.ListClaimsRequest(parent="policies/-", late=True, page_size=size)
    found: list[pb.Claim] = []
    while True:
        page = service.claims.ListClaims(request)
        found += page.claims
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


def stands(service: Served, claim: pb.Claim, **columns: Any) -> None:
    """The claim stands so, whatever the life cycle says."""
    with service.database.writing() as connection:
        row = table.c.id == claim.name.rpartition("/")[2]
        connection.execute(update(table).where(row).values(**columns))


def test_late_is_also_what_is_stuck_or_of_which_the_bank_says_nothing(
    service: Served, desk: Desk
) -> None:
    owed = [
        decided(service, f"B{number}", line(1, DRUG, f"3{number}000.00")) for number in range(3)
    ]
    assert {one.state for one in owed} == {pb.CLAIM_STATE_PAYABLE}
    first, _, third = owed
    stands(service, first, state="payment_sent")
    stands(service, third, blocked_until_us=first.state_time.ToMicroseconds() + 30 * DAY_US)
    assert [(one.name, one.payout_waits) for one in late(service)] == [
        (third.name, "NO_PAYEE_ACCOUNT")
    ]
    desk.ahead_us = 4 * DAY_US
    told = [(first.name, "BANK_SILENT"), (third.name, "NO_PAYEE_ACCOUNT")]
    assert [(one.name, one.payout_waits) for one in late(service)] == told
    desk.ahead_us = 11 * DAY_US  # and the second's days are over
    for size in (1, 2, 3):
        assert [one.name for one in late(service, size)] == [one.name for one in owed]
    request = pb.ListClaimsRequest(parent="policies/-", late=True, page_size=1)
    request.page_token = service.claims.ListClaims(request).next_page_token
    request.late, request.unpaid = False, True  # another list's page
    assert refused(service.claims.ListClaims, request).code is grpc.StatusCode.INVALID_ARGUMENT
