"""The word on what somebody has proposed: it takes effect, or is rejected, or withdrawn."""

from __future__ import annotations

import grpc

from lipei.claims.v1 import review_pb2 as pb
from services.claims import findings, recovering, second_word
from services.claims.core.life_cycle import ClaimState
from services.claims.findings import Doing
from services.claims.storage.acts import ActKind, Told, proposal_of, propose, told_in
from services.common.refusals import Refused

# Where a claim stands of which anything can be proposed.
CONFIRMED = (
    ClaimState.PENDED_REVIEW,
    *dict.fromkeys((*findings.ADJUSTED, *recovering.REVERSED)),
    ClaimState.RECOVERY_OPEN,
)


def confirm(doing: Doing, request: pb.ConfirmReviewRequest) -> None:
    """Let somebody else's proposal take effect, or reject it; one's own is withdrawn only.

    Raises: Refused; UnacceptableBill when a review does not fit any more.
    """
    desk, row = doing.desk, doing.row
    if row.proposal is None:
        text = "nothing waits for a second person; whatever happens to a claim voids what waited"
        raise _refused("NOTHING_TO_CONFIRM", text)
    proposed = proposal_of(desk.connection, row)
    kind, own = ActKind(proposed.kind), proposed.actor == doing.person
    if own and not request.reject:
        raise _refused("SAME_PERSON", "somebody else must confirm it")
    if not own:
        second_word.check_role(second_word.of_act(kind))
        second_word.check_why(reject=request.reject, note=request.note)
    if request.reject:
        doing.write(ActKind.WITHDRAW if own else ActKind.REJECT, Told(note=request.note))
        propose(desk.connection, row, None)
    elif kind is ActKind.REVERSE:
        doing.write(ActKind.CONFIRM, Told(note=request.note))
        recovering.reversed_(doing)
    elif kind is ActKind.RECOVER:
        doing.write(ActKind.CONFIRM, Told(note=request.note))
        recovering.came_back(doing, told_in(desk.sealer, proposed))
    elif kind is ActKind.WRITE_OFF:
        doing.write(ActKind.CONFIRM, Told(note=request.note))
        recovering.given_up(doing)
    else:
        findings.confirmed(doing, proposed, request.note)


def _refused(reason: str, text: str) -> Refused:
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, reason, text)
