"""Requests about medication and flags: what is wrong with them, or their content for the core.

A request is judged whole: every fault of every field comes back at once, without the values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import grpc

from lipei.pricing.v1 import pricing_pb2 as pb
from services.common.access.tenant import Kind
from services.common.grpc_edge import Refused, Violation
from services.common.request_id import request_id_faults
from services.pricing.core.adherence import INGREDIENT_LENGTH, SupplyKind
from services.pricing.core.recording import IncomingSupply
from services.pricing.requests import LONGEST_REASON, TOKEN, day_of, moment_of
from services.pricing.storage.clearings import Clearing

MOST_EVENTS = 1_000
MOST_DAYS = 366
ATC = "http://www.whocc.no/atc"
_ATC = re.compile(r"[A-Z][0-9]{2}[A-Z]{2}[0-9]{2}", re.ASCII)
_EVENT = re.compile(rf"members/{TOKEN}/medications/[A-Za-z0-9][A-Za-z0-9._~-]{{0,63}}", re.ASCII)
_FLAG = re.compile(r"[0-9a-f]{32}", re.ASCII)
_FIRST_YEAR = 1990
_LONGEST_EVIDENCE = 200
_KINDS = {
    pb.MEDICATION_EVENT_KIND_FILL: SupplyKind.FILL,
    pb.MEDICATION_EVENT_KIND_OPENING: SupplyKind.OPENING,
    pb.MEDICATION_EVENT_KIND_STAY: SupplyKind.STAY,
}
# What each kind of recorder may say.
_STATES: Mapping[Kind, tuple[SupplyKind, ...]] = {
    Kind.HOSPITAL: tuple(SupplyKind),
    Kind.PARTNER: (SupplyKind.FILL, SupplyKind.OPENING),
    Kind.MEMBER: (SupplyKind.FILL,),
}


def events_of(
    request: pb.RecordMedicationRequest, recorder: Kind, *, now: datetime, backfill: bool
) -> tuple[tuple[IncomingSupply, ...], list[Violation]]:
    """The events of a request, and everything wrong with all of them."""
    violations = request_id_faults(request.request_id)
    if not 1 <= len(request.events) <= MOST_EVENTS:
        text = f"must hold 1 to {MOST_EVENTS}"
        return (), [*violations, Violation("events", "COUNT", text)]
    seen: set[str] = set()
    found = []
    for place, said in enumerate(request.events):
        faults: list[Violation] = []
        incoming = _event(said, recorder, faults, now=now, backfill=backfill)
        if said.name in seen:
            faults.append(Violation("name", "REPEATED", "stands twice in this request"))
        seen.add(said.name)
        violations += [Violation(f"events[{place}].{f.field}", f.reason, f.text) for f in faults]
        if incoming is not None:
            found.append(incoming)
    return tuple(found), violations


def _event(
    said: pb.MedicationEvent,
    recorder: Kind,
    faults: list[Violation],
    *,
    now: datetime,
    backfill: bool,
) -> IncomingSupply | None:
    named = _EVENT.fullmatch(said.name)
    if named is None:
        text = (
            "must read members/{token}/medications/{event}, the last 1 to 64 of A-Z a-z 0-9 . _ ~ -"
        )
        faults.append(Violation("name", "NOT_A_NAME", text))
    kind = _KINDS.get(said.kind)
    if kind is None:
        faults.append(Violation("kind", "UNKNOWN_VALUE", "must be FILL, OPENING or STAY"))
    elif kind not in _STATES.get(recorder, ()):
        text = "OPENING is a hospital's or a partner's to say, STAY a hospital's"
        faults.append(Violation("kind", "NOT_ALLOWED", text))
    _drug(said, kind, faults)
    _length(said, kind, faults)
    first = day_of(said.first_day)
    if first is None:
        text = "must be a day of the calendar as YYYY-MM-DD"
        faults.append(Violation("first_day", "BAD_DATE", text))
    elif first.year < _FIRST_YEAR:
        text = f"must lie in {_FIRST_YEAR} or later"
        faults.append(Violation("first_day", "OUT_OF_RANGE", text))
    elif first > (now + timedelta(days=1)).date():  # somewhere it is tomorrow already
        faults.append(Violation("first_day", "IN_THE_FUTURE", "must not lie in the future"))
    if said.withdrawn and recorder is not Kind.HOSPITAL:
        text = "only a hospital takes an event back; must be left out"
        faults.append(Violation("withdrawn", "NOT_ALLOWED", text))
    received = _received(said, recorder, first, faults, now=now, backfill=backfill)
    if faults or named is None or kind is None or first is None:
        return None
    return IncomingSupply(
        name=said.name,
        member_token=named[1],
        kind=kind,
        drug=said.drug.code,
        first=first,
        days=said.days,
        stated_us=said.receive_time.ToMicroseconds() if received else None,
        withdrawn=said.withdrawn,
    )


def _length(said: pb.MedicationEvent, kind: SupplyKind | None, faults: list[Violation]) -> None:
    most = 1 if kind is SupplyKind.OPENING else MOST_DAYS
    if not 1 <= said.days <= most:
        text = "must be 1: an opening covers its own day" if most == 1 else f"must be 1 to {most}"
        faults.append(Violation("days", "OUT_OF_RANGE", text))


def _received(
    said: pb.MedicationEvent,
    recorder: Kind,
    first: date | None,
    faults: list[Violation],
    *,
    now: datetime,
    backfill: bool,
) -> datetime | None:
    received = None
    if said.HasField("receive_time"):
        received = moment_of(said.receive_time, "receive_time", now, faults)
    if received and first and (first - received.date()).days > 1:
        text = "must not lie before first_day"
        faults.append(Violation("receive_time", "BEFORE_MEASUREMENT", text))
    if recorder is Kind.MEMBER and said.HasField("receive_time") and not backfill:
        text = "must be left out by a member: it is received when it is recorded"
        faults.append(Violation("receive_time", "NOT_ALLOWED", text))
    return received


def _drug(said: pb.MedicationEvent, kind: SupplyKind | None, faults: list[Violation]) -> None:
    if kind is SupplyKind.STAY:
        if said.HasField("drug"):
            faults.append(Violation("drug", "DOES_NOT_FIT", "must be left out of a stay"))
    elif said.drug.system != ATC or not _ATC.fullmatch(said.drug.code):
        text = f"must be an ATC code ({ATC}) of {INGREDIENT_LENGTH} characters, such as A10BA02"
        faults.append(Violation("drug", "UNKNOWN_CODE", text))


def events_differ(places: Sequence[int]) -> Refused:
    """What a recording is answered with whose events are known with other content."""
    text = "is known under this name with other content; give a new event a new name"
    found = [Violation(f"events[{place}].name", "EVENT_DIFFERS", text) for place in places]
    return Refused(
        grpc.StatusCode.ALREADY_EXISTS,
        "EVENT_DIFFERS",
        "; ".join(f"{one.field}: {one.text}" for one in found[:20]),
        violations=found,
    )


def clearing_of(request: pb.ClearFlagRequest, *, by: str) -> tuple[Clearing, list[Violation]]:
    """What a person says of a flag, and what is wrong with it but the participation."""
    violations = request_id_faults(request.request_id)
    if not _FLAG.fullmatch(request.flag):
        text = "must be a flag's id, as AssessMember shows it"
        violations.append(Violation("flag", "MALFORMED", text))
    for field, most in (("reason", LONGEST_REASON), ("evidence", _LONGEST_EVIDENCE)):
        said: str = getattr(request, field)
        if not said.strip() or len(said) > most:
            violations.append(Violation(field, "LENGTH", f"must be 1 to {most} characters"))
    return Clearing(
        flag=request.flag,
        reason=request.reason,
        evidence=request.evidence,
        by=by,
        take_back=request.take_back,
    ), violations
