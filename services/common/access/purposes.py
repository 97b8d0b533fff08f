"""What each role may read for: the closed set of purposes that a call may state in `lipei-purpose`.

Evidence of access says why somebody read; a word that anybody could make up says nothing. Whoever
states no purpose reads for the first one of its role. Decides nothing about a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lipei.type.v1 import access_pb2

# Every purpose, and what it means in evidence.
MEANINGS: Mapping[str, str] = {
    "audit": "to prove what happened",
    "bill-exchange": "to hand bills and readings from hospital to insurer and answers back",
    "claim-review": "to examine, decide or explain a claim",
    "complaint": "to answer a complaint, an appeal or a court",
    "deidentified-study": "to study experience in which nobody can be told",
    "fraud-inquiry": "to look into a suspicion of fraud or waste",
    "health-management": "to coach a member of a health programme",
    "incident": "to look into a fault or a breach of security",
    "intake": "to take in policies, plans, bills and applications",
    "member-request": "because the member asked for it, by phone, counter or letter",
    "operation": "to keep the installation running",
    "own-affairs": "one's own data",
    "payment": "to pay, and to balance the books",
    "pricing": "to price a policy or to study prices",
    "records": "to keep a hospital's records, quarantine and consents",
    "settlement": "the services among themselves, to settle claims",
}
# Role → what it may read for; the first is meant when a call states none.
PURPOSES: Mapping[int, tuple[str, ...]] = {
    access_pb2.ROLE_INSURER_INTAKE: ("intake", "complaint", "member-request"),
    access_pb2.ROLE_ADJUSTER: ("claim-review", "complaint", "member-request"),
    access_pb2.ROLE_SENIOR_ADJUSTER: (
        "claim-review",
        "complaint",
        "fraud-inquiry",
        "member-request",
    ),
    access_pb2.ROLE_PAYMENTS: ("payment", "complaint"),
    access_pb2.ROLE_HOSPITAL_INTEGRATION: ("bill-exchange",),
    access_pb2.ROLE_HOSPITAL_RECORDS: ("records", "complaint", "member-request"),
    access_pb2.ROLE_ACTUARY: ("pricing",),
    access_pb2.ROLE_CHIEF_ACTUARY: ("pricing", "complaint", "deidentified-study"),
    access_pb2.ROLE_MEMBER: ("own-affairs",),
    access_pb2.ROLE_PARTNER: ("health-management", "member-request"),
    access_pb2.ROLE_AUDITOR: ("audit", "complaint", "incident"),
    access_pb2.ROLE_OPERATOR: ("operation", "incident"),
    access_pb2.ROLE_SERVICE: ("settlement",),
    access_pb2.ROLE_WITNESS: ("audit",),
}


def usual_purpose(role: int) -> str:
    """What a role reads for when its caller does not say.

    >>> usual_purpose(access_pb2.ROLE_PAYMENTS)
    'payment'
    """
    return PURPOSES[role][0]


def may_read_for(purpose: str, roles: Iterable[int]) -> frozenset[int]:
    """Those of the roles that may read for a purpose; all of them when none is stated."""
    return frozenset(role for role in roles if not purpose or purpose in PURPOSES.get(role, ()))


def purposes_of(roles: Iterable[int]) -> list[str]:
    """What somebody of these roles may read for, in the order of the alphabet."""
    return sorted({purpose for role in roles for purpose in PURPOSES.get(role, ())})
