"""Decides a case's events one after the other, each from what those before it left.

A decision that takes another's place starts from its exact release and re-decides no other claim.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import msgspec

from services.claims.core.accumulators import period_start, with_changes
from services.claims.core.adjudicate import adjudicate, allowed_services
from services.claims.core.claim import day_of_terms
from services.claims.core.decision import Decision, Disposition, conservation_faults
from services.claims.core.facts import (
    Balance,
    BillFacts,
    EarlierService,
    Scope,
    UsageSnapshot,
    usage_snapshot,
)
from services.claims.core.intake import UnacceptableBill, unknown_codes
from services.claims.core.plan import Plan
from services.claims.plans.accumulator_units import (
    Accumulator,
    accumulators,
    authorisation_accumulator,
)
from services.claims.plans.case_compare import amounts_apart, compare, quantity
from services.claims.plans.case_events import Event, Kind
from services.claims.plans.case_reader import Case

_SHARED = "*"


def run_case(plan: Plan, case: Case) -> tuple[tuple[str, ...], tuple[Decision, ...]]:
    """Every way in which the plan decides otherwise than the case says, and all decisions made."""
    run = _Run(plan, case)
    differences = [
        f"after {event.name}: {text}" for event in case.events for text in run.happen(event)
    ]
    return tuple(differences), tuple(run.made)


@dataclass(slots=True)
class _Standing:
    """A claim's decision in force, if any, and what has been paid on it."""

    who: str
    bill: BillFacts
    decision: Decision | None
    paid: int


class _Run:
    """One case while it happens: terms, usage, and where each claim stands."""

    def __init__(self, plan: Plan, case: Case) -> None:
        self._plan = plan
        self._policies = dict(case.policies)
        self._usage = _Usage(case)
        self._claims: dict[str, _Standing] = {}
        self.made: list[Decision] = []

    def happen(self, event: Event) -> Iterator[str]:
        """What differs after one event."""
        if event.plan is not None:
            self._plan = event.plan
        if event.policy is not None:
            self._policies[event.who] = event.policy
        if event.kind in (Kind.PLAN_CHANGE, Kind.PRICE_LIST, Kind.ENDORSEMENT):
            return
        standing = self._claims.get(event.name)
        if standing is None and event.kind is not Kind.CLAIM:
            yield "there is no such claim to withdraw"
            return
        before = 0 if standing is None else standing.paid
        if event.bill is None:
            if standing is None or standing.decision is None:
                yield "the claim has no decision in force that could be taken back"
                return
            self._keep(event.who, self._without(standing), ())
            standing.decision, standing.paid = None, 0
        else:
            yield from self._decide(event, event.bill, standing)
        standing = self._claims.get(event.name)
        if standing is None:
            return
        yield from self._compare_money(event, standing.paid - before)
        yield from self._compare_balances(event, standing)

    def _decide(self, event: Event, bill: BillFacts, standing: _Standing | None) -> Iterator[str]:
        usage = self._usage.of(event.who) if standing is None else self._without(standing)
        policy = self._policies[event.who]
        try:
            if unknown := unknown_codes(self._plan, bill):
                raise UnacceptableBill(unknown)
            decision = adjudicate(
                self._plan,
                policy,
                usage,
                bill,
                event.prior,
                review=event.review,
                claim_id=event.name,
            )
        except UnacceptableBill as error:
            reasons = {fault.reason for fault in error.faults}
            if reasons != set(event.expected.refused):
                yield f"the bill is refused: {error}"
            return
        if event.expected.refused:
            refused = ", ".join(event.expected.refused)
            yield f"the bill is accepted, the case says refused ({refused})"
        yield from conservation_faults(decision)
        self.made.append(decision)
        self._claims[event.name] = _Standing(event.who, bill, decision, _paid(decision))
        left = with_changes(usage, decision.usage_changes)
        fresh = allowed_services(bill, decision)
        fresh = tuple(msgspec.structs.replace(one, claim=event.name) for one in fresh)
        self._keep(event.who, left, fresh)
        yield from compare(self._plan, event.expected, decision)

    def _without(self, standing: _Standing) -> UsageSnapshot:
        """What there would be without the claim's decision in force, its services included."""
        usage = self._usage.of(standing.who)
        if standing.decision is None:
            return usage
        left = with_changes(usage, standing.decision.usage_changes, release=True)
        number = standing.bill.bill_number
        services = [one for one in left.services if one.bill_number != number]
        return usage_snapshot(left.balances, services)

    def _keep(self, who: str, left: UsageSnapshot, services: tuple[EarlierService, ...]) -> None:
        self._usage.keep(who, usage_snapshot(left.balances, (*left.services, *services)))

    def _compare_money(self, event: Event, more: int) -> Iterator[str]:
        currency = self._plan.currency
        yield from amounts_apart("what is paid now is", max(0, more), event.expected.pays, currency)
        wanted = event.expected.takes_back
        yield from amounts_apart("what is taken back is", max(0, -more), wanted, currency)

    def _compare_balances(self, event: Event, standing: _Standing) -> Iterator[str]:
        """Balances of the period that the claim's terms look at."""
        known = accumulators(self._plan)
        policy = self._policies[standing.who]
        day = day_of_terms(self._plan, policy, standing.bill)
        for name, wanted in event.expected.balances.items():
            accumulator = known.get(name) or authorisation_accumulator(name)
            if accumulator is None:
                continue
            start = period_start(accumulator.period, policy, day)
            found = self._usage.balance(standing.who, accumulator, start)
            if found != wanted:
                yield (
                    f"balance {name} is {quantity(accumulator, found, self._plan.currency)}, "
                    f"the case says {quantity(accumulator, wanted, self._plan.currency)}"
                )


def _paid(decision: Decision) -> int:
    """What is paid under a decision: nothing while it waits, save for what is undisputed."""
    if decision.disposition in (Disposition.AUTO_APPROVED, Disposition.APPROVED):
        return decision.benefit
    return decision.pays_now


class _Usage:
    """Balances of each member and of all together, and each member's services."""

    def __init__(self, case: Case) -> None:
        self._balances: dict[str, list[Balance]] = {}
        self._services: dict[str, list[EarlierService]] = {}
        for who, balance in case.balances:
            self._balances.setdefault(_owner(balance.scope, who), []).append(balance)
        for who, service in case.services:
            self._services.setdefault(who, []).append(service)

    def of(self, who: str) -> UsageSnapshot:
        """What a claim of this member starts from."""
        return usage_snapshot(
            (*self._balances.get(who, ()), *self._balances.get(_SHARED, ())),
            self._services.get(who, ()),
        )

    def keep(self, who: str, usage: UsageSnapshot) -> None:
        """Remember what a claim of this member left."""
        self._balances[who] = [b for b in usage.balances if _owner(b.scope, who) == who]
        self._balances[_SHARED] = [b for b in usage.balances if _owner(b.scope, who) == _SHARED]
        self._services[who] = list(usage.services)

    def balance(self, who: str, accumulator: Accumulator, start: date | None) -> int:
        """What an accumulator holds for a member; 0 when nothing was ever added."""
        for one in self._balances.get(_owner(accumulator.scope, who), ()):
            if (one.accumulator, one.period_start) == (accumulator.id, start):
                return one.count if accumulator.counts else one.amount
        return 0


def _owner(scope: Scope, who: str) -> str:
    return who if scope is Scope.MEMBER else _SHARED
