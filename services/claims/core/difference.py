"""The difference that another plan makes over a period: totals, and who and what moves most.

It adds outcomes up, claim by claim and in any order, and decides nothing.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.claims.core.decision import Bearer
from services.claims.core.reasons import Reason
from services.claims.core.what_if import Cannot, Change, Outcome, share_rank

MOST_THAT_MOVE = 20


@dataclass(slots=True)
class Sum:
    """Claims with what they pay now and what they would, in minor units."""

    claims: int = 0
    before: int = 0
    after: int = 0

    def add(self, before: int, after: int) -> None:
        """One more claim."""
        self.claims += 1
        self.before += before
        self.after += after


@dataclass(slots=True)
class ShareSum:
    """What one bearer bears for one reason over all claims, and in how many of them."""

    before: int = 0
    after: int = 0
    claims_before: int = 0
    claims_after: int = 0


@dataclass(slots=True)
class Difference:
    """What has been added so far; memory grows with the members, not with the claims.

    Claims that the plan cannot decide stand apart, with what they pay as decided, and are in no
    other sum: what nobody has worked out is no saving.
    """

    total: Sum = field(default_factory=Sum)
    undecidable: Sum = field(default_factory=Sum)
    pended_before: int = 0
    pended_after: int = 0
    # Of those that wait: what is proposed, in no other sum; and what is paid first, in the total.
    proposed: Sum = field(default_factory=Sum)
    paid_first: Sum = field(default_factory=Sum)
    # Decided by an earlier engine, and otherwise by today's: `after` is today's under the old plan.
    by_engine: Sum = field(default_factory=Sum)
    _changes: dict[Change, Sum] = field(default_factory=dict)
    _shares: dict[tuple[Bearer, Reason], ShareSum] = field(default_factory=dict)
    _members: dict[str, Sum] = field(default_factory=dict)
    _most: list[tuple[int, int, Outcome]] = field(default_factory=list)
    _causes: Counter[Cannot] = field(default_factory=Counter)

    def add(self, outcome: Outcome, person: str) -> None:
        """One claim of a person."""
        before, after = outcome.before, outcome.after
        if outcome.cannot:
            self.undecidable.add(before, 0)
            self._causes.update(outcome.cannot)
            return
        self.total.add(before, after)
        self._changes.setdefault(outcome.change, Sum()).add(before, after)
        self._members.setdefault(person, Sum()).add(before, after)
        self.pended_before += outcome.pended_before
        self.pended_after += outcome.pended_after
        if outcome.pended_before or outcome.pended_after:
            self.proposed.add(outcome.proposed_before, outcome.proposed_after)
            self.paid_first.add(
                before if outcome.pended_before else 0, after if outcome.pended_after else 0
            )
        if outcome.todays is not None:
            self.by_engine.add(before, outcome.todays)
        for share in outcome.shares:
            mine = self._shares.setdefault((share.bearer, share.reason), ShareSum())
            mine.before += share.before
            mine.after += share.after
            mine.claims_before += bool(share.before)
            mine.claims_after += bool(share.after)
        if after != before:
            # Of two that move alike, the one received first.
            mover = (abs(after - before), -outcome.seq, outcome)
            if len(self._most) < MOST_THAT_MOVE:
                heapq.heappush(self._most, mover)
            elif mover > self._most[0]:
                heapq.heapreplace(self._most, mover)

    @property
    def done(self) -> int:
        """How many claims were added, compared or not."""
        return self.total.claims + self.undecidable.claims

    def causes(self) -> list[tuple[Cannot, int]]:
        """Why claims are undecidable and how many are, the most first; one may have several."""
        found = self._causes.items()
        return sorted(found, key=lambda entry: (-entry[1], entry[0].cause, entry[0].about))

    @property
    def members(self) -> int:
        """How many people's claims they are."""
        return len(self._members)

    def changes(self) -> Iterable[tuple[Change, Sum]]:
        """What became of the claims, in the order of the enum; what occurs."""
        return [(change, self._changes[change]) for change in Change if change in self._changes]

    def shares(self) -> Iterable[tuple[tuple[Bearer, Reason], ShareSum]]:
        """By bearer and reason, in order of precedence."""
        return sorted(self._shares.items(), key=lambda entry: share_rank(entry[0]))

    def claims_that_move(self) -> list[Outcome]:
        """The claims whose payment moves most, the most first."""
        return [outcome for _, _, outcome in sorted(self._most, reverse=True)]

    def members_that_move(self) -> list[tuple[str, Sum]]:
        """The people whose claims' payments move most together, the most first."""
        moving = ((one, of) for one, of in self._members.items() if of.after != of.before)
        return heapq.nsmallest(
            MOST_THAT_MOVE,
            moving,
            key=lambda entry: (-abs(entry[1].after - entry[1].before), entry[0]),
        )
