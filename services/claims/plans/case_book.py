"""One policy while a case happens: what its claims used up, and where each of them stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date

import msgspec

from services.claims.core.accumulators import with_changes
from services.claims.core.decision import Decision
from services.claims.core.facts import (
    Balance,
    BillFacts,
    EarlierService,
    PolicySnapshot,
    PriorPayments,
    Review,
    Scope,
    usage_snapshot,
)
from services.claims.core.plan import Plan
from services.claims.core.repeats import Allowed
from services.claims.plans.accumulator_units import Accumulator
from services.claims.plans.case_policies import CasePolicy

_SHARED = "*"


@dataclass(frozen=True, slots=True)
class Standing:
    """A claim's bill, its decision in force, if any, and what has been paid on it.

    `waits_for` is the policy whose decision of the same bill it waits for.
    """

    who: str
    bill: BillFacts
    prior: PriorPayments
    review: Review | None
    decision: Decision | None = None
    paid: int = 0
    allowed: tuple[Allowed, ...] = ()
    waits_for: str | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """A book as it was."""

    balances: dict[str, list[Balance]]
    claims: dict[str, Standing]

    def paid(self, name: str) -> int:
        """What had been paid on a claim."""
        return self.claims[name].paid if name in self.claims else 0


@dataclass(slots=True)
class Book:
    """One policy's plan, people, balances and claims; claims stand in the order received."""

    name: str
    plan: Plan
    insured: dict[str, PolicySnapshot]
    claims: dict[str, Standing] = field(default_factory=dict)
    _balances: dict[str, list[Balance]] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, policy: CasePolicy) -> Book:
        """The book of a policy before anything happens."""
        return cls(name, policy.plan, dict(policy.insured))

    def endorse(self, who: str, person: PolicySnapshot, family_size: int | None) -> None:
        """Other facts of a person hold from now on; a family's new size holds for all of it."""
        size = family_size or self.insured[who].family_size
        self.insured[who] = msgspec.structs.replace(person, family_size=size)
        if family_size is not None:
            self.insured = {
                one: msgspec.structs.replace(snapshot, family_size=size)
                for one, snapshot in self.insured.items()
            }

    def held_before(self, who: str, balance: Balance) -> None:
        """What an accumulator held before the case."""
        self._balances.setdefault(owner_of(balance.scope, who), []).append(balance)

    def saved(self) -> Saved:
        """What `restore` puts back."""
        return Saved(dict(self._balances), dict(self.claims))

    def restore(self, before: Saved) -> None:
        """Be as before."""
        self._balances, self.claims = dict(before.balances), dict(before.claims)

    def paid(self, name: str) -> int:
        """What has been paid on a claim."""
        return self.claims[name].paid if name in self.claims else 0

    def balances_of(self, who: str) -> tuple[Balance, ...]:
        """What a claim of this member starts from."""
        return (*self._balances.get(who, ()), *self._balances.get(_SHARED, ()))

    def use(self, who: str, decision: Decision, *, release: bool = False) -> None:
        """Add what a decision uses up, or give exactly that back."""
        usage = usage_snapshot(self.balances_of(who))
        left = with_changes(usage, decision.usage_changes, release=release).balances
        self._balances[who] = [one for one in left if owner_of(one.scope, who) == who]
        self._balances[_SHARED] = [one for one in left if owner_of(one.scope, who) == _SHARED]

    def take_back(self, name: str) -> None:
        """Leave a claim without a decision; what it used is released exactly."""
        claim = self.claims.get(name)
        if claim is None or claim.decision is None:
            return
        self.use(claim.who, claim.decision, release=True)
        self.claims[name] = replace(claim, decision=None, paid=0, allowed=())

    def balance(self, who: str, accumulator: Accumulator, start: date | None) -> int:
        """What an accumulator holds for a member; 0 when nothing was ever added."""
        for one in self._balances.get(owner_of(accumulator.scope, who), ()):
            if (one.accumulator, one.period_start) == (accumulator.id, start):
                return one.count if accumulator.counts else one.amount
        return 0


def owner_of(scope: Scope, who: str) -> str:
    """Whose a balance is: the member's, or everybody's."""
    return who if scope is Scope.MEMBER else _SHARED


def services_of(
    who: str,
    before: Iterable[tuple[str, EarlierService]],
    books: Iterable[Book],
    but: str,
) -> list[EarlierService]:
    """What a person was allowed under any policy, save on one bill.

    A line that two policies allowed is one service.
    """
    by_line: dict[tuple[str, int], EarlierService] = {}
    for book in books:
        for name, claim in book.claims.items():
            for one in claim.allowed if claim.who == who and name != but else ():
                by_line[name, one.number] = msgspec.structs.replace(one.service, claim=name)
    return [*(one for whose, one in before if whose == who), *by_line.values()]
