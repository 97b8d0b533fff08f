"""The record that a refusal was told: the notice that the law wants sent in days. Sends none."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import grpc

from lipei.claims.v1 import claims_pb2
from lipei.claims.v1 import review_pb2 as pb
from services.claims.findings import Doing
from services.claims.policy_intake import POSSIBLE_DAYS, possible_day
from services.claims.storage import claims as store
from services.claims.storage import notices
from services.common.refusals import Refused, Violation, invalid

CHANNELS = {
    claims_pb2.NoticeChannel.Value(f"NOTICE_CHANNEL_{one.name}"): one for one in notices.Channel
}


def faults_of(request: pb.RecordRefusalNoticeRequest) -> list[Violation]:
    """Everything wrong with a request, as far as no claim is needed to see."""
    faults = []
    if possible_day(request.sent_day) is None:
        faults.append(Violation("sent_day", "IMPOSSIBLE_DATE", POSSIBLE_DAYS))
    if request.channel not in CHANNELS:
        faults.append(Violation("channel", "MISSING", "say by which way it went out"))
    return faults


def record(doing: Doing, request: pb.RecordRefusalNoticeRequest) -> None:
    """The notice went out on that day. The claim stays, and so does what is proposed of it.

    Raises: Refused for a day before the denial or to come, and where nothing was denied.
    """
    desk, row = doing.desk, doing.row
    denied_us = notices.denied_us(desk.connection, row.id)
    if denied_us is None:
        text = "the claim was never denied, so that there is no refusal to tell"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "NEVER_DENIED", text)
    sent = date.fromisoformat(request.sent_day)
    first, last = store.day_of(denied_us, ZoneInfo(row.time_zone)), store.today(row, desk.at_us)
    if not first <= sent <= last:
        text = f"must be a day from {first}, when the claim was denied, to {last}, today"
        raise invalid([Violation("sent_day", "OUT_OF_RANGE", text)])
    channel = CHANNELS[request.channel]
    notices.record(desk.connection, row.id, sent, channel, doing.person, desk.at_us)
    store.stay(desk.connection, row.id, proposal=row.proposal)
