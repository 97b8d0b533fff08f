"""From what-if outcomes to the wire's messages. Computes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lipei.claims.v1 import reason_pb2
from lipei.claims.v1 import recompute_pb2 as pb
from services.claims.core.canonical import plan_version
from services.claims.core.decision import Bearer
from services.claims.core.plan import Plan
from services.claims.core.reasons import Reason
from services.claims.core.what_if import Cause, Change, Outcome
from services.claims.messages import BEARERS, claim_name, money, timestamp
from services.claims.storage.periods import PeriodClaim
from services.claims.what_if import Finished, Step

_CHANGES = {one: pb.WhatIfChange.Value(f"WHAT_IF_CHANGE_{one.name}") for one in Change}
_CAUSES = {one: pb.WhatIfCause.Value(f"WHAT_IF_CAUSE_{one.name}") for one in Cause}
# A message of some tens of kilobytes.
_CLAIMS_AT_ONCE = 200


def progress(step: Step) -> pb.DecideWhatIfResponse:
    """How far it is."""
    told = pb.WhatIfProgress(done=step.done, total=step.total)
    return pb.DecideWhatIfResponse(progress=told)


def claims(
    new: Sequence[tuple[PeriodClaim, Outcome]], currency: str
) -> Iterator[pb.DecideWhatIfResponse]:
    """The outcomes of one step, in messages of a size that travels well."""
    for at in range(0, len(new), _CLAIMS_AT_ONCE):
        some = new[at : at + _CLAIMS_AT_ONCE]
        yield pb.DecideWhatIfResponse(claims=[_claim(row, one, currency) for row, one in some])


def summary(found: Finished, plan: Plan) -> pb.DecideWhatIfResponse:
    """The end."""
    difference, left_out, currency = found.difference, found.sorted, plan.currency
    total, moving = difference.total, difference.members_that_move()
    claims_of = found.claims_of(person for person, _ in moving)
    told = pb.WhatIfSummary(
        plan_version=plan_version(plan),
        instead_of=sorted(left_out.versions),
        claims=total.claims,
        members=difference.members,
        before=money(total.before, currency),
        after=money(total.after, currency),
        changes=[
            pb.WhatIfCount(
                change=_CHANGES[change],
                claims=of.claims,
                before=money(of.before, currency),
                after=money(of.after, currency),
            )
            for change, of in difference.changes()
        ],
        shares=[
            _share(
                *key,
                of.before,
                of.after,
                currency,
                claims_before=of.claims_before,
                claims_after=of.claims_after,
            )
            for key, of in difference.shares()
        ],
        claims_that_move=[
            _claim(found.rows[one.seq], one, currency) for one in difference.claims_that_move()
        ],
        members_that_move=[
            pb.WhatIfMember(
                member=f"members/{person}",
                before=money(of.before, currency),
                after=money(of.after, currency),
                claims=[claim_name(row.policy_id, row.id) for row in claims_of[person]],
            )
            for person, of in moving
        ],
        erased_count=left_out.erased,
        taken_back_count=left_out.taken_back,
        undecided_count=left_out.undecided,
        pended_before_count=difference.pended_before,
        pended_after_count=difference.pended_after,
        undecidable_count=difference.undecidable.claims,
        undecidable_before=money(difference.undecidable.before, currency),
        undecidable=[
            pb.WhatIfUndecidable(cause=_CAUSES[of.cause], about=of.about, claims=count)
            for of, count in difference.causes()
        ],
        proposed_before=money(difference.proposed.before, currency),
        proposed_after=money(difference.proposed.after, currency),
        paid_first_before=money(difference.paid_first.before, currency),
        paid_first_after=money(difference.paid_first.after, currency),
        engine_count=difference.by_engine.claims,
        engine_before=money(difference.by_engine.before, currency),
        engine_after=money(difference.by_engine.after, currency),
    )
    return pb.DecideWhatIfResponse(summary=told)


def _claim(row: PeriodClaim, outcome: Outcome, currency: str) -> pb.WhatIfClaim:
    return pb.WhatIfClaim(
        name=claim_name(row.policy_id, row.id),
        member=f"members/{row.person_id}",
        create_time=timestamp(row.created_us),
        before=money(outcome.before, currency),
        after=None if outcome.cannot else money(outcome.after, currency),
        change=_CHANGES[outcome.change],
        shares=[
            _share(one.bearer, one.reason, one.before, one.after, currency)
            for one in outcome.shares
            if one.before != one.after
        ],
        todays_engine=None if outcome.todays is None else money(outcome.todays, currency),
    )


def _share(
    bearer: Bearer, reason: Reason, before: int, after: int, currency: str, **counts: int
) -> pb.WhatIfShare:
    return pb.WhatIfShare(
        bearer=BEARERS[bearer],
        reason=reason_pb2.Reason.Value(f"REASON_{reason.name}"),
        before=money(before, currency),
        after=money(after, currency),
        **counts,
    )
