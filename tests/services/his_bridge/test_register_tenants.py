"""Whose consents exist for whom: a hospital's for that hospital, a person's own for the person."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from lipei.his_bridge.v1 import consent_pb2 as pb
from services.common.access.caller import Caller, calling_as
from services.common.refusals import Refused, status_of
from services.his_bridge.consent_register import ConsentServicer
from tests.schemas import with_tables
from tests.services.common.sealing.keys import now_us, subject_keys
from tests.tenants import of_hospital, of_installation, of_member

MINE, ANOTHERS, NEVER = "general", "another", "neverwa"
LI, WANG = f"k1.{'a' * 64}", f"k1.{'b' * 64}"
KNOWN, UNKNOWN = "paper-1", "paper-0"


@pytest.fixture
def register(database_url: str) -> Iterator[ConsentServicer]:
    """Two hospitals; at the other one Wang has given a consent."""
    database = with_tables(database_url, "services.his_bridge")
    found = ConsentServicer(database, subject_keys(database), (MINE, ANOTHERS), now_us)
    asked(found, of_hospital(ANOTHERS), "GrantConsent", granting(ANOTHERS, WANG, KNOWN))
    yield found
    database.close()


def asked(register: ConsentServicer, caller: Caller, rpc: str, request: Message) -> Any:
    """The answer; a refusal as the bytes that go over the wire."""

    async def called() -> Any:
        nobody: Any = None
        with calling_as(caller):
            return await getattr(register, rpc)(request, nobody)

    try:
        return asyncio.run(called())
    except Refused as refused:
        return status_of(refused).SerializeToString()


def granting(hospital: str, member: str, consent_id: str = "") -> pb.GrantConsentRequest:
    return pb.GrantConsentRequest(
        parent=f"hospitals/{hospital}",
        consent_id=consent_id,
        request_id=uuid.uuid4().hex,
        consent=pb.Consent(
            member_token=member,
            recipient="insurers/insurer",
            purpose=pb.CONSENT_PURPOSE_CLAIM_SETTLEMENT,
            scope=pb.ConsentScope(contents=[pb.CONSENT_CONTENT_BILLS]),
            given_by=pb.CONSENT_GIVER_MEMBER,
            giver="p1",
            from_time=Timestamp(seconds=1_700_000_000),
            evidence=pb.ConsentEvidence(
                document_sha256="0" * 64, channel=pb.CONSENT_CHANNEL_ELECTRONIC
            ),
        ),
    )


def granting_many(hospital: str) -> pb.GrantConsentsRequest:
    one = granting(hospital, LI).consent
    one.name = f"hospitals/{hospital}/consents/many"
    return pb.GrantConsentsRequest(
        parent=f"hospitals/{hospital}", consents=[one], request_id="many"
    )


def name(hospital: str, consent_id: str = KNOWN) -> str:
    return f"hospitals/{hospital}/consents/{consent_id}"


def withdrawing(hospital: str, consent_id: str = KNOWN, **more: Any) -> pb.WithdrawConsentRequest:
    return pb.WithdrawConsentRequest(
        name=name(hospital, consent_id), request_id=uuid.uuid4().hex, **more
    )


REQUESTS: dict[str, Callable[[str], Message]] = {
    "GrantConsent": lambda h: granting(h, LI),
    "GrantConsents": granting_many,
    "WithdrawConsent": withdrawing,
    "GetConsent": lambda h: pb.GetConsentRequest(name=name(h)),
    "ListConsents": lambda h: pb.ListConsentsRequest(parent=f"hospitals/{h}"),
    "ListWithdrawals": lambda h: pb.ListWithdrawalsRequest(parent=f"hospitals/{h}"),
    "AcknowledgeWithdrawals": lambda h: pb.AcknowledgeWithdrawalsRequest(
        parent=f"hospitals/{h}", consents=[name(h)], request_id="told"
    ),
}


def test_every_rpc_of_the_register_is_tried_here() -> None:
    methods = pb.DESCRIPTOR.services_by_name["ConsentService"].methods
    assert {method.name for method in methods} == REQUESTS.keys()


def test_another_hospitals_register_is_refused_like_one_that_never_was(
    register: ConsentServicer, subtests: pytest.Subtests
) -> None:
    for rpc, request in REQUESTS.items():
        with subtests.test(rpc=rpc):
            told = asked(register, of_hospital(MINE), rpc, request(ANOTHERS))
            assert isinstance(told, bytes)
            # Names of one length, so that every length in the message stays as it is.
            never = told.replace(ANOTHERS.encode(), NEVER.encode())
            assert asked(register, of_hospital(MINE), rpc, request(NEVER)) == never
        for owner in (of_hospital(ANOTHERS), of_installation()):
            with subtests.test(rpc=rpc, owner=owner.uri):
                assert not isinstance(asked(register, owner, rpc, request(ANOTHERS)), bytes)


def test_a_person_sees_and_withdraws_their_own_consents_only(register: ConsentServicer) -> None:
    li, wang = of_member(LI), of_member(WANG)
    get = pb.GetConsentRequest(name=name(ANOTHERS))
    told = asked(register, li, "GetConsent", get)
    unknown = pb.GetConsentRequest(name=name(ANOTHERS, UNKNOWN))
    assert told == asked(register, li, "GetConsent", unknown).replace(
        UNKNOWN.encode(), KNOWN.encode()
    )
    assert asked(register, wang, "GetConsent", get).consent.member_token == WANG
    gone = asked(register, li, "WithdrawConsent", withdrawing(ANOTHERS))
    never = asked(register, li, "WithdrawConsent", withdrawing(ANOTHERS, UNKNOWN))
    assert gone == never.replace(UNKNOWN.encode(), KNOWN.encode())
    # Not even for later: what nobody knows yet may become another's.
    early = withdrawing(ANOTHERS, UNKNOWN, allow_missing=True)
    assert isinstance(asked(register, li, "WithdrawConsent", early), bytes)
    assert asked(register, wang, "GetConsent", get).consent.state == pb.CONSENT_STATE_ACTIVE
    done = asked(register, wang, "WithdrawConsent", withdrawing(ANOTHERS))
    assert done.consent.state == pb.CONSENT_STATE_WITHDRAWN


@pytest.mark.on_postgresql
def test_a_person_gives_their_own_consent_only(register: ConsentServicer) -> None:
    li = of_member(LI)
    found = asked(register, li, "GrantConsent", granting(MINE, LI)).consent
    assert (found.member_token, found.state) == (LI, pb.CONSENT_STATE_ACTIVE)
    assert isinstance(asked(register, li, "GrantConsent", granting(MINE, WANG)), bytes)
    named = asked(register, li, "GrantConsent", granting(MINE, LI, "paper-9"))
    assert b"consent_id" in named
    everything = pb.ListConsentsRequest(parent=f"hospitals/{MINE}")
    mine = asked(register, li, "ListConsents", everything).consents
    assert [one.name for one in mine] == [found.name]
    assert not asked(register, of_member(WANG), "ListConsents", everything).consents
    theirs = pb.ListConsentsRequest(parent=f"hospitals/{ANOTHERS}", member_token=WANG)
    assert not asked(register, li, "ListConsents", theirs).consents
    assert asked(register, of_member(WANG), "ListConsents", theirs).consents


@pytest.mark.on_postgresql
def test_two_callers_may_use_one_request_id(register: ConsentServicer) -> None:
    answers = []
    for caller, member in ((of_member(LI), LI), (of_member(WANG), WANG)):
        request = granting(MINE, member)
        request.request_id = "one"
        answers.append(asked(register, caller, "GrantConsent", request).consent.member_token)
    assert answers == [LI, WANG]
