"""What people allow the insurer to have, as the records office enters it: in bulk, by rpc."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence

import grpc

from demo.wire import call
from lipei.his_bridge.v1 import consent_pb2 as pb
from lipei.his_bridge.v1 import consent_pb2_grpc
from services.common.settings import insurer

# Of one request, which is all or none.
_MOST = 1_000
_GRANT_S = 60.0
# Clocks of two processes differ by so much without anybody being wrong.
_SKEW_S = 1
# One act each: medical data need a separate consent for each purpose.
_CONTENTS = {
    pb.CONSENT_PURPOSE_CLAIM_SETTLEMENT: pb.CONSENT_CONTENT_BILLS,
    pb.CONSENT_PURPOSE_HEALTH_PROGRAMME: pb.CONSENT_CONTENT_READINGS,
    pb.CONSENT_PURPOSE_DEIDENTIFIED_STUDY: pb.CONSENT_CONTENT_BILLS,
}


def grant(channel: grpc.Channel, hospital: str, members: Iterable[str]) -> int:
    """Let each of these people, by token, consent to every purpose; how many acts.

    Raises: CallRefused.
    """
    stub = consent_pb2_grpc.ConsentServiceStub(channel)
    granted = 0
    for consents in _batches(list(consents_of(hospital, members))):
        request = pb.GrantConsentsRequest(
            parent=f"hospitals/{hospital}",
            consents=consents,
            request_id=f"demo-{uuid.uuid4().hex}",
        )
        answer = call(stub.GrantConsents, request, what="recording the consents", within_s=_GRANT_S)
        granted += answer.granted_count
    return granted


def withdraw(channel: grpc.Channel, hospital: str, members: Iterable[str]) -> int:
    """Let each of these people, by token, withdraw the consent to claim settlement; how many acts.

    Raises: CallRefused.
    """
    stub = consent_pb2_grpc.ConsentServiceStub(channel)
    acts = 0
    for member in members:
        theirs = pb.ListConsentsRequest(parent=f"hospitals/{hospital}", member_token=member)
        for consent in call(stub.ListConsents, theirs, what="listing the consents").consents:
            if consent.purpose != pb.CONSENT_PURPOSE_CLAIM_SETTLEMENT:
                continue
            request = pb.WithdrawConsentRequest(
                name=consent.name,
                evidence=consent.evidence,
                request_id=f"demo-{uuid.uuid4().hex}",
            )
            call(stub.WithdrawConsent, request, what="withdrawing a consent")
            acts += 1
    return acts


def consents_of(hospital: str, members: Iterable[str]) -> Iterator[pb.Consent]:
    """Each person's consents, from now on and until withdrawn, signed on paper."""
    now = int(time.time()) - _SKEW_S
    for member in members:
        person = hashlib.sha256(member.encode()).hexdigest()[:24]
        for purpose, contents in _CONTENTS.items():
            consent = pb.Consent(
                name=f"hospitals/{hospital}/consents/{uuid.uuid4().hex}",
                member_token=member,
                recipient=f"insurers/{insurer()}",
                purpose=purpose,
                scope=pb.ConsentScope(contents=[contents]),
                given_by=pb.CONSENT_GIVER_MEMBER,
                giver=f"person-{person}",
                evidence=pb.ConsentEvidence(
                    document_sha256=hashlib.sha256(f"{person} {purpose}".encode()).hexdigest(),
                    channel=pb.CONSENT_CHANNEL_PAPER,
                ),
            )
            consent.from_time.FromSeconds(now)
            yield consent


def _batches(consents: Sequence[pb.Consent]) -> Iterator[Sequence[pb.Consent]]:
    for start in range(0, len(consents), _MOST):
        yield consents[start : start + _MOST]
