"""What requests of pricing must look like, and their content as the core takes it. Decides nothing.

A request is judged whole: every fault of every field comes back at once, without the values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from lipei.pricing.v1 import pricing_pb2
from lipei.type.v1 import reading_pb2
from services.common.access.tenant import Kind
from services.common.grpc_edge import Violation
from services.common.request_id import request_id_faults
from services.common.zones import zone_names
from services.pricing.core.book import is_tariff_name
from services.pricing.core.programme import Measure, Target
from services.pricing.core.quote import Asked, Participation
from services.pricing.core.readings import (
    Fasting,
    Provenance,
    Written,
    is_plausible,
    measure,
    places_of,
    plausible_text,
)
from services.pricing.core.recording import Incoming
from services.pricing.core.tariff import scaled
from services.pricing.storage.readings import DoctorsTarget

MAX_FEATURES = 64
MOST_READINGS = 1_000
# Clocks of hospitals, devices and ours differ by so much without anybody being wrong.
CLOCK_SKEW = timedelta(minutes=5)
_FIRST_YEAR, _LAST_YEAR = 1990, 2200
_EARLIEST_S = int(datetime(1900, 1, 1, tzinfo=UTC).timestamp())

_POLICY = re.compile(r"policies/([A-Za-z0-9](?:[A-Za-z0-9._~-]{0,63}))", re.ASCII)
QUOTE = re.compile(_POLICY.pattern + r"/quotes/([0-9a-f]{32})", re.ASCII)
TOKEN = r"([a-z0-9]{1,16}\.[0-9a-f]{64})"  # noqa: S105 - the form of a pseudonym, no secret
_MEMBER = re.compile(rf"members/{TOKEN}", re.ASCII)
# What each kind of recorder may say of where a reading comes from.
_STATES: Mapping[Kind, tuple[Provenance, ...]] = {
    Kind.HOSPITAL: tuple(Provenance),
    Kind.PARTNER: (Provenance.DEVICE, Provenance.TYPED),
    Kind.MEMBER: (Provenance.TYPED,),
}
_MEMBER_FORM = "must read members/{token}, as `lipei members token` prints it"
MEMBER_OR_ALL = re.compile(rf"members/(?:-|{TOKEN})", re.ASCII)
_DEVICE = re.compile(r"[A-Za-z0-9._~-]{1,64}", re.ASCII)
_READING = re.compile(rf"members/{TOKEN}/readings/[A-Za-z0-9][A-Za-z0-9._~-]{{0,63}}", re.ASCII)
MOST_POLICIES = 1_000
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_DOCTOR = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_BOUND = re.compile(r"(?:0|[1-9][0-9]{0,3})(?:\.[0-9]{1,2})?", re.ASCII)
LONGEST_REASON = 500

_PROVENANCES = {
    reading_pb2.READING_PROVENANCE_LABORATORY: Provenance.LABORATORY,
    reading_pb2.READING_PROVENANCE_CLINIC: Provenance.CLINIC,
    reading_pb2.READING_PROVENANCE_DEVICE: Provenance.DEVICE,
    reading_pb2.READING_PROVENANCE_TYPED: Provenance.TYPED,
}
_FASTING = {
    reading_pb2.FASTING_STATUS_UNSPECIFIED: Fasting.UNKNOWN,
    reading_pb2.FASTING_STATUS_FASTING: Fasting.FASTING,
    reading_pb2.FASTING_STATUS_NON_FASTING: Fasting.NON_FASTING,
}
MEASURES = {pricing_pb2.Measure.Value(f"MEASURE_{measure.name}"): measure for measure in Measure}


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A participation that was understood: whose readings, in which zone, which year expires."""

    member_token: str
    programme: str
    zone: tzinfo
    expiring_start: date | None


def day_of(text: str) -> date | None:
    """A calendar day written YYYY-MM-DD; None for any other text."""
    # date.fromisoformat alone also reads week dates and dates without dashes.
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def asked_of(
    request: pricing_pb2.QuotePremiumRequest | pricing_pb2.RenewPolicyRequest,
) -> tuple[Asked, list[Violation]]:
    """What a quote was asked for, word for word, and what is wrong with it but the features."""
    violations = request_id_faults(request.request_id)
    parent = _POLICY.fullmatch(request.parent)
    if parent is None:
        violations.append(Violation("parent", "NOT_A_NAME", "must read policies/{policy}"))
    if not is_tariff_name(request.tariff):
        text = "must read {tariff id} or {tariff id}@sha256:{hash}"
        violations.append(Violation("tariff", "NOT_A_NAME", text))
    if day_of(request.start_date) is None:
        violations.append(_no_day("start_date"))
    if len(request.features) > MAX_FEATURES:
        text = f"holds more than {MAX_FEATURES} features"
        violations.append(Violation("features", "TOO_MANY", text))
    participation = None
    if request.HasField("participation"):
        participation = participation_of(request.participation)
    asked = Asked(
        policy_id=parent[1] if parent else "",
        tariff=request.tariff,
        start_date=request.start_date,
        features=dict(request.features),
        participation=participation,
    )
    return asked, violations


def participation_of(said: pricing_pb2.Participation) -> Participation:
    """A participation word for word."""
    return Participation(said.member, said.programme, said.time_zone, said.expiring_start_date)


def part_of(
    said: Participation, renewal: str, renewal_field: str
) -> tuple[Part | None, list[Violation]]:
    """The participation as the core takes it, or what is wrong with it and with the renewal's day.

    That the renewal's day is no day at all is the caller's to tell.
    """
    violations = []
    member = _MEMBER.fullmatch(said.member)
    if member is None:
        violations.append(Violation("participation.member", "NOT_A_NAME", _MEMBER_FORM))
    if not is_tariff_name(said.programme):
        text = "must read {programme id} or {programme id}@sha256:{hash}"
        violations.append(Violation("participation.programme", "NOT_A_NAME", text))
    zone = _zone(said.time_zone)
    if zone is None:
        text = "must be an IANA name such as Asia/Shanghai"
        violations.append(Violation("participation.time_zone", "UNKNOWN_ZONE", text))
    start, expiring = day_of(renewal), day_of(said.expiring_start_date)
    for field, day in ((renewal_field, start), ("participation.expiring_start_date", expiring)):
        if day and not _FIRST_YEAR <= day.year <= _LAST_YEAR:
            text = f"must lie in {_FIRST_YEAR} to {_LAST_YEAR}"
            violations.append(Violation(field, "OUT_OF_RANGE", text))
    if said.expiring_start_date and expiring is None:
        violations.append(_no_day("participation.expiring_start_date"))
    if start and expiring and expiring >= start:
        text = f"must lie before {renewal_field}"
        violations.append(Violation("participation.expiring_start_date", "BAD_DATE", text))
    if violations or member is None or zone is None:
        return None, violations
    return Part(
        member_token=member[1], programme=said.programme, zone=zone, expiring_start=expiring
    ), []


def incoming_of(
    request: pricing_pb2.RecordReadingsRequest | pricing_pb2.StreamReadingsRequest,
    recorder: Kind,
    *,
    now: datetime,
    backfill: bool,
) -> tuple[tuple[Incoming, ...], list[Violation]]:
    """The readings of a request, and everything wrong with all of them.

    The better a provenance the more it counts, so each recorder may state its own alone: a hospital
    any, a partner what a device measured or somebody typed, a member what they typed.
    With `backfill` a typed reading may state when it was received; without it a member could claim
    to have been in time.
    """
    violations = request_id_faults(request.request_id)
    if not 1 <= len(request.readings) <= MOST_READINGS:
        text = f"must hold 1 to {MOST_READINGS}"
        return (), [*violations, Violation("readings", "COUNT", text)]
    seen: set[str] = set()
    found = []
    for place, said in enumerate(request.readings):
        path = f"readings[{place}]"
        faults: list[Violation] = []
        incoming = _incoming(said, recorder, faults, now=now, backfill=backfill)
        if said.name in seen:
            faults.append(Violation("name", "REPEATED", "stands twice in this request"))
        seen.add(said.name)
        violations += [Violation(f"{path}.{f.field}", f.reason, f.text) for f in faults]
        found.append(incoming)
    return tuple(found), violations


def _device_faults(device: str, provenance: Provenance | None) -> list[Violation]:
    faults = []
    if device and not _DEVICE.fullmatch(device):
        text = "must be 1 to 64 of A-Z a-z 0-9 . _ ~ -, an id without meaning elsewhere"
        faults.append(Violation("device", "NOT_A_NAME", text))
    if device and provenance is Provenance.TYPED:
        text = "must be left out of a typed reading: no platform says what measured it"
        faults.append(Violation("device", "NOT_ALLOWED", text))
    return faults


def _incoming(
    said: reading_pb2.Reading,
    recorder: Kind,
    faults: list[Violation],
    *,
    now: datetime,
    backfill: bool,
) -> Incoming:
    named = _READING.fullmatch(said.name)
    token = named[1] if named else ""
    if named is None:
        text = (
            "must read members/{token}/readings/{reading}, the last 1 to 64 of A-Z a-z 0-9 . _ ~ -"
        )
        faults.append(Violation("name", "NOT_A_NAME", text))
    elif said.member_token not in ("", token):
        text = "must be the name's member, or left out"
        faults.append(Violation("member_token", "CONTRADICTS", text))
    provenance = _PROVENANCES.get(said.provenance)
    if provenance is None:
        text = "must be LABORATORY, CLINIC, DEVICE or TYPED"
        faults.append(Violation("provenance", "UNKNOWN_VALUE", text))
    elif provenance not in _STATES.get(recorder, ()):
        text = "LABORATORY and CLINIC are a hospital's to say, DEVICE also a partner's"
        faults.append(Violation("provenance", "NOT_ALLOWED", text))
    fasting = _FASTING.get(said.fasting_status)
    if fasting is None:
        text = "must be FASTING, NON_FASTING or left out"
        faults.append(Violation("fasting_status", "UNKNOWN_VALUE", text))
    if said.withdrawn and provenance is not None and not provenance.through_his:
        text = "only a hospital takes a reading back; must be left out"
        faults.append(Violation("withdrawn", "NOT_ALLOWED", text))
    if said.release < 0 or (said.release and provenance and not provenance.through_his):
        text = "must be 0, or above 0 of what a hospital's information system releases"
        faults.append(Violation("release", "OUT_OF_RANGE", text))
    written = Written(
        system=said.code.system,
        code=said.code.code,
        value=said.value,
        unit=said.unit,
        fasting=fasting or Fasting.UNKNOWN,
        provenance=provenance or Provenance.TYPED,
        withdrawn=said.withdrawn,
        release=said.release,
        device=said.device or msgspec.UNSET,
    )
    faults += _device_faults(said.device, provenance)
    # What is taken back because its consent ended says no more than which reading it was.
    bare = said.withdrawn and not (
        said.HasField("code") or said.value or said.unit or said.HasField("effective_time")
    )
    measured = [] if bare else measure(written)
    if isinstance(measured, list):
        faults += [Violation(fault.field, fault.reason, fault.text) for fault in measured]
    effective, received = _times(said, now, faults, bare=bare)
    if effective and received and received < effective - CLOCK_SKEW:
        text = "must not lie before effective_time"
        faults.append(Violation("receive_time", "BEFORE_MEASUREMENT", text))
    if provenance is Provenance.TYPED and said.HasField("receive_time") and not backfill:
        text = "must be left out of a typed reading: it is received when it is recorded"
        faults.append(Violation("receive_time", "NOT_ALLOWED", text))
    return Incoming(
        name=said.name,
        member_token=token,
        effective_us=said.effective_time.ToMicroseconds() if effective else 0,
        stated_us=said.receive_time.ToMicroseconds() if received else None,
        written=written,
    )


def _times(
    said: reading_pb2.Reading, now: datetime, faults: list[Violation], *, bare: bool
) -> tuple[datetime | None, datetime | None]:
    effective, received = None, None
    if said.HasField("effective_time") and not bare:
        effective = moment_of(said.effective_time, "effective_time", now, faults)
    elif not bare:
        faults.append(Violation("effective_time", "REQUIRED", "must be given"))
    if said.HasField("receive_time"):
        received = moment_of(said.receive_time, "receive_time", now, faults)
    return effective, received


def moment_of(
    stamp: Timestamp, field: str, now: datetime, faults: list[Violation]
) -> datetime | None:
    """A time that is past and after 1900; None, with what is wrong, for any other."""
    limit = now + CLOCK_SKEW
    if not (0 <= stamp.nanos < 1_000_000_000 and stamp.seconds >= _EARLIEST_S):
        faults.append(Violation(field, "BAD_TIME", "must be a time since 1900"))
        return None
    if stamp.seconds > limit.timestamp():
        faults.append(Violation(field, "IN_THE_FUTURE", "must not lie in the future"))
        return None
    return stamp.ToDatetime(UTC)


def target_of(
    request: pricing_pb2.SetPersonalTargetRequest,
) -> tuple[str, DoctorsTarget | None, list[Violation]]:
    """The member's token and the doctor's target; None with everything that is wrong with it."""
    violations = request_id_faults(request.request_id)
    member = _MEMBER.fullmatch(request.member)
    if member is None:
        violations.append(Violation("member", "NOT_A_NAME", _MEMBER_FORM))
    what = MEASURES.get(request.measure)
    if what is None:
        violations.append(Violation("measure", "UNKNOWN_VALUE", "must be a measure"))
    start = day_of(request.start_date)
    if start is None:
        violations.append(_no_day("start_date"))
    if not _DOCTOR.fullmatch(request.doctor_id):
        text = "must be 1 to 64 of A-Z a-z 0-9 . _ -"
        violations.append(Violation("doctor_id", "MALFORMED", text))
    if not request.reason.strip() or len(request.reason) > LONGEST_REASON:
        text = f"must be 1 to {LONGEST_REASON} characters"
        violations.append(Violation("reason", "LENGTH", text))
    target = None
    if request.HasField("target") and what is not None:
        target = _bounds(request.target, what, violations)
    if violations or member is None or what is None or start is None:
        return "", None, violations
    return (
        member[1],
        DoctorsTarget(
            measure=what,
            start=start,
            target=target,
            doctor_id=request.doctor_id,
            reason=request.reason,
        ),
        [],
    )


def _bounds(said: pricing_pb2.Target, what: Measure, violations: list[Violation]) -> Target | None:
    places = places_of(what.quantity)
    bounds: dict[str, int] = {}
    faults: list[Violation] = []
    for field in ("at_least", "at_most", "below"):
        text = getattr(said, field)
        if not text:
            continue
        try:
            if not _BOUND.fullmatch(text):
                raise ValueError
            bounds[field] = scaled(text, places)
        except ValueError:
            advice = f"must be a plain decimal with exactly {places} decimal places"
            faults.append(Violation(f"target.{field}", "BAD_DECIMAL", advice))
            continue
        if not is_plausible(what.quantity, bounds[field]):
            advice = f"must lie in {plausible_text(what.quantity)}, as readings do"
            faults.append(Violation(f"target.{field}", "OUT_OF_BOUNDS", advice))
    upper = bounds.get("at_most", bounds.get("below"))
    if not faults and (not bounds or {"at_most", "below"} <= bounds.keys()):
        text = "needs at_least, at_most or below, and not both upper bounds"
        faults.append(Violation("target", "BOUNDS", text))
    elif "at_least" in bounds and upper is not None and upper <= bounds["at_least"]:
        text = "the lower bound must lie below the upper one"
        faults.append(Violation("target", "BOUNDS", text))
    violations += faults
    return None if faults else Target(**bounds)


def erasure_of(
    request: pricing_pb2.EraseMemberRequest,
) -> tuple[str, list[str], list[Violation]]:
    """The member's token, ids of policies, and everything that is wrong with the request."""
    violations = request_id_faults(request.request_id)
    member = _MEMBER.fullmatch(request.member)
    if member is None:
        violations.append(Violation("member", "NOT_A_NAME", _MEMBER_FORM))
    if len(request.policies) > MOST_POLICIES:
        text = f"must be {MOST_POLICIES} at most"
        violations.append(Violation("policies", "TOO_MANY", text))
    policies = []
    for place, name in enumerate(request.policies[:MOST_POLICIES]):
        policy = _POLICY.fullmatch(name)
        if policy is None:
            text = "must read policies/{policy}"
            violations.append(Violation(f"policies[{place}]", "NOT_A_NAME", text))
        else:
            policies.append(policy[1])
    return "" if member is None else member[1], policies, violations


def differing(places: Sequence[int]) -> list[Violation]:
    """One violation per reading that is known with other content."""
    text = "is known under this name with other content; give a new measurement a new name"
    return [Violation(f"readings[{place}].name", "READING_DIFFERS", text) for place in places]


def _zone(name: str) -> tzinfo | None:
    return ZoneInfo(name) if name in zone_names() else None


def _no_day(field: str) -> Violation:
    return Violation(field, "BAD_DATE", "must be a day of the calendar as YYYY-MM-DD")
