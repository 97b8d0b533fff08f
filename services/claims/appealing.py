"""Objections to a decision, and what a person who had no part in it makes of them."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import grpc

from lipei.claims.v1 import review_pb2 as pb
from services.claims.core.facts import AppealFacts
from services.claims.core.life_cycle import Event
from services.claims.core.reasons import WORDS, Reason
from services.claims.deciding import decide, take_effect
from services.claims.findings import Doing
from services.claims.storage import claims as store
from services.claims.storage import corrections
from services.claims.storage.acts import ActKind, Told, actors_of
from services.common.refusals import Refused, Violation

# Who has judged the claim, or would have taken it back, or has brought the objection.
_HAD_A_PART = (
    *(ActKind.REVIEW, ActKind.ADJUST, ActKind.REVERSE, ActKind.CONFIRM, ActKind.REJECT),
    ActKind.APPEAL,
)


def faults_of(request: pb.DecideAppealRequest) -> list[Violation]:
    """Everything wrong with a request."""
    if request.outcome in (pb.APPEAL_OUTCOME_UPHOLD, pb.APPEAL_OUTCOME_OVERTURN):
        return []
    return [Violation("outcome", "MISSING", "say whether the decision stands or falls")]


def appeal(doing: Doing, request: pb.AppealClaimRequest) -> None:
    """Denied, paid or closed -> appealed. What is paid stays paid.

    Raises: Refused after the plan's time limit.
    """
    _in_time(doing)
    doing.write(ActKind.APPEAL, Told(note=request.note))
    doing.move(Event.APPEAL)


def _in_time(doing: Doing) -> None:
    """Ask the plan, through the engine; a decision for every line's lateness is kept by nobody."""
    desk, row = doing.desk, doing.row
    if row.decided_us is None:
        return
    zone = ZoneInfo(row.time_zone)
    told, filed = store.day_of(row.decided_us, zone), store.day_of(desk.at_us, zone)
    _, decided = decide(desk, row, appeal=AppealFacts(decided=told, filed=filed))
    late = [line for line in decided.lines if line.reason is Reason.APPEAL_LATE]
    if late:
        carc, clause = WORDS[Reason.APPEAL_LATE].carc, late[0].clause
        text = "the plan's time limit for appeals is over"
        raise Refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            Reason.APPEAL_LATE.name,
            text,
            metadata={"carc": carc, "clause": clause},
        )


def decide_appeal(doing: Doing, request: pb.DecideAppealRequest) -> None:
    """Appealed -> upheld; or overturned, decided anew, and an adjuster's to review.

    Raises: Refused when the person has reviewed the claim or objected.
    """
    desk, row = doing.desk, doing.row
    if doing.person in actors_of(desk.connection, row.id, _HAD_A_PART):
        text = "who has reviewed a claim or objected does not decide its appeal; another must"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "SAME_PERSON", text)
    if request.outcome == pb.APPEAL_OUTCOME_UPHOLD:
        if corrections.is_open(row):  # nothing could take effect afterwards
            text = "the hospital has corrected the bill since; overturn, and it is decided anew"
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "BILL_CORRECTED", text)
        doing.write(ActKind.UPHOLD, Told(note=request.note))
        doing.move(Event.UPHOLD)
        return
    inputs, decided = decide(desk, row)
    doing.write(ActKind.OVERTURN, Told(note=request.note))
    before = (Event.OVERTURN, Event.DECIDE_ANEW)
    # Whatever the engine makes of it, the person who objected is owed a person's look.
    take_effect(desk, row, inputs, decided, before, doing.actor, event=Event.REFER_TO_REVIEW)
