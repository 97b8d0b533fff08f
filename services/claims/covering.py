"""Which policies answer for a bill, in which order, and whether their plans can read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import grpc
from sqlalchemy import Connection

from lipei.type.v1 import bill_pb2
from services.claims.bill_intake import code_faults, end_day, start_day
from services.claims.core.coordination import Candidate, coordinated, place_on
from services.claims.core.facts import MemberFacts
from services.claims.core.plan import Place
from services.claims.plan_shelf import PlanShelf
from services.claims.storage import policies
from services.claims.storage.rows import ClaimRow
from services.claims.terms import PolicyTerms
from services.common.grpc_edge import Refused, invalid
from services.common.sealing import Sealer


@dataclass(frozen=True, kw_only=True, slots=True)
class Answering:
    """A policy that answers for the bill, and its terms at discharge.

    `day` is the day of the stay that its plan looks at for cover, and `member` the person then.
    """

    insurer: str
    policy_id: str
    day: date
    member: MemberFacts
    terms: PolicyTerms

    def covers(self) -> bool:
        """Whether the person had cover on that day, also where a later revision leaves them out."""
        return any(one.start <= self.day < one.end for one in self.member.cover)

    def answers(self, admission: date, discharge: date) -> bool:
        """Whether a stay is this policy's to decide: covered on its day, or renewed into."""
        renews = self.terms.renews(self.member.member_id, admission, discharge)
        return self.covers() or renews

    def candidate(self, place: Place, admission: date, discharge: date) -> Candidate:
        """What the order of coordination reads of it; `place` is what its plan says."""
        return Candidate(
            policy_id=self.policy_id,
            covers=self.covers(),
            renews=self.terms.renews(self.member.member_id, admission, discharge),
            previous=self.terms.previous_policy_id or "",
            choice=self.terms.coordination.get(self.member.member_id, 0),
            place=place,
        )


def newly_answering(
    answering: Sequence[Answering], bill: bill_pb2.Bill, rows: Sequence[ClaimRow]
) -> Sequence[Answering]:
    """Policies that a corrected bill falls under and that have no claim of it yet."""
    have_claims = {row.policy_id for row in rows}
    days = start_day(bill), end_day(bill)
    return [one for one in answering if one.policy_id not in have_claims and one.answers(*days)]


def answering_of(
    connection: Connection,
    sealer: Sealer,
    plans: PlanShelf,
    bill: bill_pb2.Bill,
    insured: Sequence[policies.Insured],
) -> Sequence[Answering]:
    """The policies in force, in coordination order; without any, the person's last one.

    Cover looks at the start of the stay, or at its end where the plan says so; what each plan says
    of its place, at its end.
    """
    admission, discharge = start_day(bill), end_day(bill)
    plan_of = partial(plans.plan, connection)
    found: dict[str, Answering] = {}
    candidates = []
    for row in insured:
        stay = (row.policy_id, row.member_id, admission, discharge)
        terms, member, day = policies.of_stay(connection, sealer, *stay, plan_of)
        one = Answering(
            insurer=row.insurer, policy_id=row.policy_id, day=day, member=member, terms=terms
        )
        found[row.policy_id] = one
        place = place_on(plan_of(terms.plan_version), discharge)
        candidates.append(one.candidate(place, admission, discharge))
    return [found[policy_id] for policy_id in coordinated(candidates)]


def check_codes(
    connection: Connection,
    plans: PlanShelf,
    bill: bill_pb2.Bill,
    answering: Sequence[Answering],
) -> None:
    """Raises: Refused when a plan that answers does not know the code systems of the bill."""
    found = {
        fault.field: fault
        for one in answering
        for fault in code_faults(plans.plan(connection, one.terms.plan_version), bill)
    }
    if found:
        raise invalid(list(found.values()))


def in_currency(
    connection: Connection,
    plans: PlanShelf,
    bill: bill_pb2.Bill,
    answering: Sequence[Answering],
) -> Sequence[Answering]:
    """Those of the policies whose plan pays in the bill's currency.

    Raises: Refused when none does.
    """
    currency = bill.total.currency_code
    paying = {
        one.policy_id: plans.plan(connection, one.terms.plan_version).currency for one in answering
    }
    same = [one for one in answering if paying[one.policy_id] == currency]
    if not same:
        plain = ", ".join(sorted(set(paying.values())))
        text = f"the plan pays in {plain}, the bill is in {currency}"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "OTHER_CURRENCY", text)
    return same
