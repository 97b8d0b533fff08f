"""What the decisions of several claims rest on, read at once; the rows are locked by the caller.

It reads the same for one claim and for hundreds, and is kept true while they are decided one after
the other: what an earlier one uses up, allows and pays, the next one sees. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import msgspec

from lipei.type.v1 import bill_pb2
from services.claims.bill_intake import bill_facts, day_received, end_day, start_day
from services.claims.core import canonical
from services.claims.core.accumulators import with_changes
from services.claims.core.adjudicate import decide_again
from services.claims.core.decision import Decision, UsageChange
from services.claims.core.facts import (
    AppealFacts,
    BillFacts,
    LinePayment,
    MemberFacts,
    PriorPayment,
    PriorPayments,
    Review,
    usage_snapshot,
)
from services.claims.core.life_cycle import TAKEN_BACK, ClaimState
from services.claims.core.plan import Plan, reads_family_size
from services.claims.core.repeats import Reach, services_that_matter
from services.claims.desk import Desk
from services.claims.papers import unstated, with_facts
from services.claims.plans.price_list import ProviderPrices
from services.claims.storage import acts, corrections, decisions, periods, sealed
from services.claims.storage import claims as store
from services.claims.storage.coordination import Around, Standing
from services.claims.storage.policies import Terms
from services.claims.storage.rows import ClaimRow
from services.claims.storage.usage import EarlierServices, Used
from services.claims.terms import PolicyTerms
from services.common.refusals import Refused

# A pended claim of an earlier policy waits for a person; each look costs the workflow's history.
PENDED_RETRY_S = 600.0
# What somebody else decides within moments.
TURN_RETRY_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A claim to decide; `bill` takes the place of its own."""

    row: ClaimRow
    bill: bill_pb2.Bill | None = None
    review: Review | None = None
    appeal: AppealFacts | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What is known of a claim whatever others are decided before it."""

    facts: BillFacts
    terms: PolicyTerms
    member: MemberFacts
    plan: Plan
    reach: Reach


def bill_of(desk: Desk, row: ClaimRow) -> bill_pb2.Bill:
    """The newest version of the claim's bill, with what papers have brought.

    Raises: Erased, CannotOpen.
    """
    newest = corrections.bill_of(desk.connection, desk.sealer, row, row.adjustments)
    bill = bill_pb2.Bill.FromString(newest)
    if row.papers_asked:
        for supplied in acts.supplied(desk.connection, desk.sealer, row.id):
            facts = bill_pb2.Bill.FromString(supplied)
            if row.adjustments:  # papers were for an earlier version, and the hospital's word goes
                facts = unstated(bill, facts)
            bill = with_facts(bill, facts)
    return bill


class AtHand:
    """Claims with all that decides them, in the order in which they are to be decided."""

    def __init__(self, desk: Desk, questions: Sequence[Question]) -> None:
        """Read everything but what only one of them in many needs."""
        rows = [one.row for one in questions]
        members = {(row.policy_id, row.member_id) for row in rows}
        connection = desk.connection
        self._desk = desk
        self._asked = {one.row.id: one for one in questions}
        self.around = Around(connection, rows)
        self.used = Used(connection, members)
        self._terms = Terms(connection, desk.sealer, members)
        self._known: dict[str, _Known | Exception] = {}
        for one in questions:
            try:
                self._known[one.row.id] = self._look(one)
            except Exception as fault:  # noqa: BLE001 - of one claim: raised when that is decided
                self._known[one.row.id] = fault
        known = [one for one in self._known.values() if isinstance(one, _Known)]
        self._prices = self._agreed_prices()
        self._services = self._earlier_services(known)
        self._stored = decisions.decisions_of(connection, self._to_open(rows))
        self._made: dict[str, Decision] = {}
        self._sizes: dict[str, dict[int, int]] = {}
        if any(reads_family_size(one.plan) for one in known):
            self._sizes = periods.family_sizes(connection, {row.policy_id for row in rows})

    def decide(self, row: ClaimRow) -> tuple[canonical.Inputs, Decision]:
        """What the plan pays for the claim by what is known now, its own earlier decision left out.

        Raises: Refused while an earlier policy's claim pends; UnacceptableBill, NoTermsInForce,
        Erased, CannotOpen.
        """
        known = self._known[row.id]
        if isinstance(known, Exception):
            raise known
        inputs = self._inputs(row, known)
        return inputs, decide_again(known.plan, inputs)

    def own_use(self, row: ClaimRow) -> tuple[UsageChange, ...]:
        """What the claim's decision in force has used up; nothing once it was given back.

        Raises: Erased, CannotOpen.
        """
        if row.decision_id is None or row.released_us is not None:
            return ()
        return self._decided(row.decision_id).usage_changes

    def took_effect(
        self,
        row: ClaimRow,
        state: ClaimState,
        inputs: canonical.Inputs,
        decided: Decision,
        stored: dict[str, Any],
    ) -> None:
        """The claim stands in this state by this decision; `stored` is the decision's row."""
        self._made[stored["id"]] = decided
        self.around.moved(row, state, stored["id"], decided.benefit)
        if self._services is not None:
            years = stored["first_year"], stored["last_year"]
            self._services.decided(row, inputs.bill, decided, years)

    def _look(self, asked: Question) -> _Known:
        row, desk = asked.row, self._desk
        bill = asked.bill or bill_of(desk, row)
        facts = msgspec.structs.replace(bill_facts(bill), appeal=asked.appeal)
        stay = (row.policy_id, row.member_id, start_day(bill), end_day(bill))
        plan_of = partial(desk.plans.plan, desk.connection)
        terms, member, _ = self._terms.of_stay(*stay, plan_of)
        plan = plan_of(terms.plan_version)
        if plan.edits is not None and plan.edits.filing is not None:
            received = day_received(bill, row.created_us)
            facts = msgspec.structs.replace(facts, received_date=received)
        reach = services_that_matter(plan, facts)
        return _Known(facts=facts, terms=terms, member=member, plan=plan, reach=reach)

    def _agreed_prices(self) -> dict[tuple[str, str, str], ProviderPrices]:
        wanted = {
            _price_key(self._asked[claim_id].row, known.facts)
            for claim_id, known in self._known.items()
            if isinstance(known, _Known)
        }
        return self._desk.plans.price_lists(self._desk.connection, wanted) if wanted else {}

    def _earlier_services(self, known: Sequence[_Known]) -> EarlierServices | None:
        days = [day for one in known if one.reach.codes for day in one.reach.days()]
        if not days:
            return None
        rows = [one.row for one in self._asked.values()]
        return EarlierServices(
            self._desk.connection,
            self._desk.sealer,
            people={row.person_id for row in rows},
            insurers={row.insurer for row in rows},
            first_year=min(days).year,
            last_year=max(days).year,
        )

    def _to_open(self, rows: Sequence[ClaimRow]) -> list[str]:
        """Decisions that these rest on: their own in force, and those of earlier policies."""
        earlier = (one for row in rows for one in self.around.earlier_policies(row))
        ids = {one.decision_id for one in earlier if _has_paid(one)}
        ids |= {row.decision_id for row in rows if row.released_us is None}
        return sorted(one for one in ids if one is not None)

    def _decided(self, decision_id: str) -> Decision:
        made = self._made.get(decision_id)
        return made or sealed.open_output(self._desk.sealer, self._stored[decision_id])

    def _inputs(self, row: ClaimRow, known: _Known) -> canonical.Inputs:
        services = self._services.of(row, known.reach) if self._services is not None else []
        usage = usage_snapshot(self.used.balances(row.policy_id, row.member_id), services)
        snapshot = known.terms.snapshot(known.member)
        if reads_family_size(known.plan):
            size = self._sizes.get(row.policy_id, {}).get(known.terms.revision, 0)
            snapshot = msgspec.structs.replace(snapshot, family_size=size)
        own = self.own_use(row)
        return canonical.Inputs(
            plan_version=known.terms.plan_version,
            policy=snapshot,
            usage=with_changes(usage, own, release=True) if own else usage,
            bill=self._priced(row, known.facts),
            prior=self._prior(row),
            review=self._asked[row.id].review,
            claim_id=row.id if known.plan.sampling is not None else "",
        )

    def _priced(self, row: ClaimRow, facts: BillFacts) -> BillFacts:
        """The facts with what the insurer has agreed with the provider, as of the discharge.

        Only what a hospital hands in itself is billed directly: a member has paid the hospital.
        """
        listed = self._prices.get(_price_key(row, facts))
        if listed is None or not listed.in_force(facts.end_date):
            return facts
        direct = row.hospital is not None and listed.bills_directly(facts.end_date)
        prices = listed.for_codes(tuple(line.code for line in facts.lines))
        return msgspec.structs.replace(facts, price_list=prices, direct_billing=direct)

    def _prior(self, row: ClaimRow) -> PriorPayments:
        payments = []
        for earlier in self.around.earlier_policies(row):
            _check_final(earlier)
            if not _has_paid(earlier) or earlier.decision_id is None:
                continue
            lines = tuple(
                LinePayment(number=line.number, amount=line.benefit)
                for line in self._decided(earlier.decision_id).lines
                if line.benefit
            )
            payments.append(
                PriorPayment(payer=earlier.policy_id, amount=earlier.benefit or 0, lines=lines)
            )
        return PriorPayments(payments=tuple(payments))


def _price_key(row: ClaimRow, facts: BillFacts) -> tuple[str, str, str]:
    return row.insurer, facts.provider_id, facts.currency


def _has_paid(earlier: Standing) -> bool:
    """Whether the claim has a decision in force that pays."""
    return bool(earlier.benefit) and earlier.released_us is None and earlier.state not in TAKEN_BACK


def _check_final(earlier: Standing) -> None:
    """Raises: Refused while the claim of the earlier policy waits for a person or a correction."""
    if earlier.state in store.PENDED:
        raise Refused(
            grpc.StatusCode.ABORTED,
            "EARLIER_POLICY_PENDED",
            "the same bill is pended under an earlier policy; wait",
            retry_after_s=PENDED_RETRY_S,
        )
    if corrections.is_open(earlier):
        raise Refused(
            grpc.StatusCode.ABORTED,
            "EARLIER_POLICY_PENDED",
            "the same bill was corrected and waits under an earlier policy; wait",
            retry_after_s=PENDED_RETRY_S if corrections.is_held(earlier) else TURN_RETRY_S,
        )
