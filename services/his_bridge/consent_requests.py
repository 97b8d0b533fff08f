"""What requests of the register must look like, and their content as the core takes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from lipei.his_bridge.v1 import consent_pb2 as pb
from lipei.type.v1 import bill_pb2
from services.common.grpc_edge import Violation
from services.common.identity import is_member_token
from services.common.request_id import request_id_faults
from services.his_bridge.core.bill import CareType
from services.his_bridge.core.consent import (
    Channel,
    Content,
    Evidence,
    Giver,
    Purpose,
    Scope,
    Terms,
)
from services.his_bridge.requests import HOSPITAL, below, not_a_name

E = TypeVar("E", bound=int)
V = TypeVar("V")

MOST_CONSENTS = 1_000
MOST_TOLD = 500
CONSENT_ID = r"[a-z0-9][a-z0-9-]{0,62}"
CONSENT = re.compile(rf"{HOSPITAL.pattern}/consents/({CONSENT_ID})", re.ASCII)
RECIPIENT = re.compile(r"insurers/[a-z][a-z0-9-]{0,62}", re.ASCII)
_ID = re.compile(CONSENT_ID, re.ASCII)
_GIVER = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
# What a citizen's number or a mobile telephone number looks like.
_TELLING = re.compile(r"[0-9]{17}[0-9Xx]|[0-9]{15}|1[3-9][0-9]{9}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_FIRST_US, _LAST_US = 631_152_000_000_000, 7_258_118_400_000_000  # 1990 to 2200

PURPOSES = {pb.ConsentPurpose.Value(f"CONSENT_PURPOSE_{one.name}"): one for one in Purpose}
CONTENTS = {pb.ConsentContent.Value(f"CONSENT_CONTENT_{one.name}"): one for one in Content}
GIVERS = {pb.ConsentGiver.Value(f"CONSENT_GIVER_{one.name}"): one for one in Giver}
CHANNELS = {pb.ConsentChannel.Value(f"CONSENT_CHANNEL_{one.name}"): one for one in Channel}
CARE_TYPES = {bill_pb2.CareType.Value(f"CARE_TYPE_{one.name}"): one for one in CareType}
_ANSWERED = ("state", "withdraw_time", "create_time", "relay_time", "events")


def granted_one(request: pb.GrantConsentRequest, fresh_id: str) -> tuple[Terms, list[Violation]]:
    """What a grant says, and everything that is wrong with it; the terms are good without."""
    faults = request_id_faults(request.request_id)
    if request.consent_id and not _ID.fullmatch(request.consent_id):
        text = "must be 1 to 63 of a-z 0-9 - and begin with a letter or digit, or be left out"
        faults.append(Violation("consent_id", "MALFORMED", text))
    if request.consent.name:
        text = "must be left out; say consent_id"
        faults.append(Violation("consent.name", "NOT_ALLOWED", text))
    terms = _terms(request.consent, request.consent_id or fresh_id, "consent", faults)
    return terms, faults


def granted_many(request: pb.GrantConsentsRequest) -> tuple[list[Terms], list[Violation]]:
    """What each of many consents says, and everything that is wrong with all of them."""
    faults = request_id_faults(request.request_id)
    if not 1 <= len(request.consents) <= MOST_CONSENTS:
        return [], [*faults, Violation("consents", "COUNT", f"must hold 1 to {MOST_CONSENTS}")]
    found, seen = [], set()
    for index, said in enumerate(request.consents):
        path = f"consents[{index}]"
        named = CONSENT.fullmatch(said.name)
        if named is None or f"hospitals/{named[1]}" != request.parent:
            faults.append(not_a_name(f"{path}.name", below(request.parent, "consents/{consent}")))
        elif said.name in seen:
            faults.append(Violation(f"{path}.name", "REPEATED", "stands twice"))
        seen.add(said.name)
        found.append(_terms(said, named[2] if named else "", path, faults))
    return found, faults


def withdrawn_when(request: pb.WithdrawConsentRequest, now_us: int) -> tuple[int, list[Violation]]:
    """Since when a consent is withdrawn, and everything that is wrong with the request."""
    faults = request_id_faults(request.request_id)
    if not CONSENT.fullmatch(request.name):
        faults.append(not_a_name("name", "hospitals/{hospital}/consents/{consent}"))
    if request.HasField("evidence"):
        _evidence(request.evidence, "evidence", faults)
    when_us = now_us
    if request.HasField("withdraw_time"):
        when_us = _moment(request.withdraw_time, "withdraw_time", faults) or now_us
        if when_us > now_us:
            text = "must not lie in the future; a consent that is to end later has an until_time"
            faults.append(Violation("withdraw_time", "IN_THE_FUTURE", text))
    return when_us, faults


def evidence_of(said: pb.ConsentEvidence) -> Evidence:
    """What shows that a person acted; only after its faults were checked."""
    return Evidence(document_sha256=said.document_sha256, channel=CHANNELS[said.channel])


def _terms(said: pb.Consent, consent_id: str, path: str, faults: list[Violation]) -> Terms:
    def add(field: str, reason: str, text: str) -> None:
        faults.append(Violation(f"{path}.{field}", reason, text))

    for field, value in said.ListFields():
        if field.name in _ANSWERED and value:
            add(field.name, "NOT_ALLOWED", "is answered only; must be left out")
    if not is_member_token(said.member_token):
        add("member_token", "MALFORMED", 'must be "{key version}.{64 hex digits}"')
    if not RECIPIENT.fullmatch(said.recipient):
        add("recipient", "NOT_A_NAME", "must read insurers/{insurer}")
    if said.giver and _TELLING.fullmatch(said.giver):
        text = "looks like a citizen's or a telephone number; give an id that tells nobody"
        add("giver", "PERSONAL_DATA", text)
    elif not _GIVER.fullmatch(said.giver):
        add("giver", "MALFORMED", "must be 1 to 64 of A-Z a-z 0-9 . _ -")
    if said.member_under_14 and said.given_by == pb.CONSENT_GIVER_MEMBER:
        text = "for a minor under 14 a guardian consents (Personal Information Protection Law, 31)"
        add("given_by", "GUARDIAN_REQUIRED", text)
    _evidence(said.evidence, f"{path}.evidence", faults)
    from_us, until_us = _span(said, path, faults)
    return Terms(
        consent_id=consent_id,
        member_token=said.member_token,
        recipient=said.recipient,
        purpose=_one_of(PURPOSES, said.purpose, f"{path}.purpose", faults),
        scope=_scope(said.scope, f"{path}.scope", faults),
        given_by=_one_of(GIVERS, said.given_by, f"{path}.given_by", faults),
        giver=said.giver,
        from_us=from_us,
        until_us=until_us,
        under_14=said.member_under_14,
        evidence=Evidence(
            document_sha256=said.evidence.document_sha256,
            channel=CHANNELS.get(said.evidence.channel, Channel.PAPER),
        ),
    )


def _span(said: pb.Consent, path: str, faults: list[Violation]) -> tuple[int, int | None]:
    from_us = until_us = None
    if said.HasField("from_time"):
        from_us = _moment(said.from_time, f"{path}.from_time", faults)
    else:
        faults.append(Violation(f"{path}.from_time", "REQUIRED", "must be given"))
    if said.HasField("until_time"):
        until_us = _moment(said.until_time, f"{path}.until_time", faults)
    if from_us is not None and until_us is not None and until_us <= from_us:
        text = "must lie after from_time"
        faults.append(Violation(f"{path}.until_time", "END_BEFORE_START", text))
    return from_us or 0, until_us


def _scope(said: pb.ConsentScope, path: str, faults: list[Violation]) -> Scope:
    if not said.contents:
        faults.append(Violation(f"{path}.contents", "REQUIRED", "say BILLS, READINGS or both"))
    contents = [_one_of(CONTENTS, one, f"{path}.contents", faults) for one in said.contents]
    care_types = [_one_of(CARE_TYPES, one, f"{path}.care_types", faults) for one in said.care_types]
    if care_types and Content.BILLS not in contents:
        text = "are of bills, and the scope has none"
        faults.append(Violation(f"{path}.care_types", "DOES_NOT_FIT", text))
    days: dict[str, date | None] = {}
    for field in ("first_care_date", "last_care_date"):
        days[field] = _day(getattr(said, field), f"{path}.{field}", faults)
    first, last = days["first_care_date"], days["last_care_date"]
    if first is not None and last is not None and last < first:
        text = "must not lie before first_care_date"
        faults.append(Violation(f"{path}.last_care_date", "END_BEFORE_START", text))
    # Sorted and once each, so that one consent has one form.
    return Scope(
        contents=tuple(sorted(set(contents))),
        care_types=tuple(sorted(set(care_types))),
        first_day=first,
        last_day=last,
    )


def _evidence(said: pb.ConsentEvidence, path: str, faults: list[Violation]) -> None:
    if not _SHA256.fullmatch(said.document_sha256):
        text = "must be the SHA-256 of the document, 64 of 0-9 a-f"
        faults.append(Violation(f"{path}.document_sha256", "MALFORMED", text))
    _one_of(CHANNELS, said.channel, f"{path}.channel", faults)


def _one_of(known: Mapping[E, V], value: E, field: str, faults: list[Violation]) -> V:
    """The value; with a fault any, which nobody reads then."""
    if value not in known:
        faults.append(Violation(field, "UNKNOWN_VALUE", "must be one of the contract's values"))
    return known.get(value, next(iter(known.values())))


def _day(text: str, field: str, faults: list[Violation]) -> date | None:
    if not text:
        return None
    try:
        # date.fromisoformat alone also reads week dates and dates without dashes.
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    faults.append(Violation(field, "BAD_DATE", "must be a day of the calendar as YYYY-MM-DD"))
    return None


def _moment(said: Timestamp, field: str, faults: list[Violation]) -> int | None:
    micros = said.seconds * 1_000_000 + said.nanos // 1_000
    if not (0 <= said.nanos < 1_000_000_000 and _FIRST_US <= micros < _LAST_US):
        faults.append(Violation(field, "BAD_TIME", "must lie in the years 1990 to 2199"))
        return None
    return micros
