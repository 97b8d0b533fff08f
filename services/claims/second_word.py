"""Whose word counts as the second one on what somebody has proposed. Reads no claim and no account.

Who could not propose a thing does not let it take effect either: else a senior's proposal and a
plain adjuster's word would do what two seniors are to agree on. The table of all that takes two
people stands in docs/life-cycle.md.
"""

from __future__ import annotations

import grpc

from lipei.type.v1 import access_pb2
from services.claims.storage.acts import ActKind
from services.common.access.caller import current_caller
from services.common.access.labels import role_name, rpc_of
from services.common.refusals import Refused, Violation, invalid

# By which rpc of ReviewService each act is proposed that may wait for a second person.
PROPOSED_BY = {
    ActKind.REVIEW: "ReviewClaim",
    ActKind.ADJUST: "AdjustClaim",
    ActKind.REVERSE: "ReverseClaim",
    ActKind.RECOVER: "RecordRecovery",
    ActKind.WRITE_OFF: "WriteOffRecovery",
}
# What moves money, or ends the matter, by a person's word: whoever reads the claim later is told
# why.
SAID_WHY = frozenset({"AdjustClaim", "ReverseClaim", "WriteOffRecovery", "DecideAppeal"})
# Intake enters accounts and pays nothing, so its word sets none.
OF_ACCOUNTS = frozenset({access_pb2.ROLE_PAYMENTS, access_pb2.ROLE_SENIOR_ADJUSTER})


def of_act(kind: ActKind) -> frozenset[int]:
    """The roles whose word counts on a proposed act: those that may propose it, by their labels."""
    labels = rpc_of(f"/lipei.claims.v1.ReviewService/{PROPOSED_BY[kind]}")
    return frozenset() if labels is None else labels.roles


def check_role(roles: frozenset[int]) -> None:
    """Raises: Refused when the caller has none of the roles whose word counts."""
    if not roles & current_caller().roles:
        names = ", ".join(map(role_name, sorted(roles)))
        text = f"your role has no word on this; whose has: {names}; act as one of these, or stop"
        raise Refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED", text)


def faults_of_note(rpc: str, note: str) -> list[Violation]:
    """What is wrong with an act's reason: that it needs one and has none."""
    if rpc not in SAID_WHY or note.strip():
        return []
    return [Violation("note", "MISSING", "say why, for whoever reads the claim later")]


def check_why(*, reject: bool, note: str) -> None:
    """Raises: Refused when another's proposal is rejected without a reason."""
    if reject and not note.strip():
        raise invalid([Violation("note", "MISSING", "say why, for whoever proposed it")])
