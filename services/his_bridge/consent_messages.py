"""Between the register's own values and the wire. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from lipei.his_bridge.v1 import consent_pb2 as pb
from lipei.type.v1 import bill_pb2
from services.common.moments import timestamp
from services.his_bridge.core.consent import (
    Event,
    Evidence,
    Granted,
    Purpose,
    Scope,
    state_at,
)
from services.his_bridge.storage.consents import KeptConsent


def name_of(hospital: str, consent_id: str) -> str:
    """Resource name of a consent."""
    return f"hospitals/{hospital}/consents/{consent_id}"


def consent(
    kept: KeptConsent, now_us: int, history: Sequence[tuple[Event, int]] = ()
) -> pb.Consent:
    """A consent as it stands; of an erased person's, its name, recipient, purpose and times."""
    row, found = kept.row, kept.consent
    if found is None:
        return _what_is_left(row)
    terms = found.terms
    message = pb.Consent(
        name=name_of(row.hospital, terms.consent_id),
        member_token=terms.member_token,
        recipient=terms.recipient,
        purpose=_purpose(terms.purpose),
        scope=_scope(terms.scope),
        given_by=pb.ConsentGiver.Value(f"CONSENT_GIVER_{terms.given_by}"),
        giver=terms.giver,
        member_under_14=terms.under_14,
        from_time=timestamp(terms.from_us),
        evidence=_evidence(terms.evidence),
        state=pb.ConsentState.Value(f"CONSENT_STATE_{state_at(found, now_us)}"),
        create_time=timestamp(row.created_us),
        events=[_event(event, at_us) for event, at_us in history],
    )
    for field, micros in (
        ("until_time", terms.until_us),
        ("withdraw_time", found.withdrawn_us),
        ("relay_time", row.relayed_us),
    ):
        if micros is not None:
            getattr(message, field).CopyFrom(timestamp(micros))
    return message


def _what_is_left(row: Row[Any]) -> pb.Consent:
    return pb.Consent(
        name=name_of(row.hospital, row.consent_id),
        recipient=row.recipient,
        purpose=_purpose(Purpose(row.purpose)),
        from_time=timestamp(row.from_us),
        create_time=timestamp(row.created_us),
        erased=True,
    )


def withdrawal(kept: KeptConsent, ended: Sequence[str]) -> pb.Withdrawal:
    """A withdrawal for the recipient."""
    row, found = kept.row, kept.consent
    withdrawn_us = found.withdrawn_us if found else row.withdrawn_us
    return pb.Withdrawal(
        consent=name_of(row.hospital, row.consent_id),
        purpose=_purpose(Purpose(row.purpose)),
        member_token=found.terms.member_token if found else "",
        withdraw_time=None if withdrawn_us is None else timestamp(withdrawn_us),
        ended_consents=[name_of(row.hospital, consent_id) for consent_id in ended],
    )


def _scope(scope: Scope) -> pb.ConsentScope:
    return pb.ConsentScope(
        contents=[pb.ConsentContent.Value(f"CONSENT_CONTENT_{one}") for one in scope.contents],
        care_types=[bill_pb2.CareType.Value(f"CARE_TYPE_{one}") for one in scope.care_types],
        first_care_date=scope.first_day.isoformat() if scope.first_day else "",
        last_care_date=scope.last_day.isoformat() if scope.last_day else "",
    )


def _event(event: Event, at_us: int) -> pb.ConsentEvent:
    if isinstance(event, Granted):
        kind, effective_us = "grant", event.terms.from_us
        evidence: Evidence | None = event.terms.evidence
    else:
        kind, effective_us, evidence = "withdraw", event.withdrawn_us, event.evidence
    return pb.ConsentEvent(
        kind=kind,
        effective_time=timestamp(effective_us),
        record_time=timestamp(at_us),
        evidence=None if evidence is None else _evidence(evidence),
    )


def _purpose(purpose: Purpose) -> pb.ConsentPurpose.ValueType:
    return pb.ConsentPurpose.Value(f"CONSENT_PURPOSE_{purpose}")


def _evidence(evidence: Evidence) -> pb.ConsentEvidence:
    return pb.ConsentEvidence(
        document_sha256=evidence.document_sha256,
        channel=pb.ConsentChannel.Value(f"CONSENT_CHANNEL_{evidence.channel}"),
    )
