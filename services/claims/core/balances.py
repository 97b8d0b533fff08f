"""Accumulators as a person reads them: what each is called, its limit, and what it held and holds.

It retells what the engine counted and counts nothing itself. Knows no storage.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from services.claims.core.accumulators import period_start
from services.claims.core.authorisations import authorised
from services.claims.core.decision import UsageChange
from services.claims.core.facts import UNIT_SCALE, PolicySnapshot, Scope, UsageSnapshot
from services.claims.core.plan import Covers, Period, Plan
from services.claims.core.plan_parts import Text
from services.claims.core.terms import Terms


class Unit(enum.StrEnum):
    """What an accumulator adds up; the names of lipei.claims.v1.BalanceUnit."""

    MONEY = "money"  # minor units
    COUNT = "count"  # claims
    UNITS = "units"  # ten-thousandths of a unit


class Kind(enum.StrEnum):
    """What an accumulator is for."""

    UNIT_LIMIT = "unit_limit"
    COUNT_LIMIT = "count_limit"
    DEDUCTIBLE = "deductible"
    OUT_OF_POCKET = "out_of_pocket"
    CEILING = "ceiling"


@dataclass(frozen=True, kw_only=True, slots=True)
class BalanceChange:
    """One accumulator before and after a line, or a claim, with the limit in force.

    `kind`, `limit` and `left` are None when the plan has no such limit on the day. `name` says in
    words what the plan's id stands for.
    """

    accumulator: str
    name: Text
    clause: str
    kind: Kind | None
    unit: Unit
    scope: Scope
    period_start: date | None
    before: int
    after: int
    limit: int | None

    @property
    def left(self) -> int | None:
        """What remains of the limit; never below 0."""
        return None if self.limit is None else max(0, self.limit - self.after)


class _Term(Protocol):
    """What the terms behind accumulators have in common."""

    @property
    def id(self) -> str: ...
    @property
    def clause(self) -> str: ...
    @property
    def scope(self) -> Scope: ...
    @property
    def period(self) -> Period | None: ...


_Key = tuple[str, Scope, date | None]

_KINDS = {
    Kind.UNIT_LIMIT: Text(zh="数量限额", en="unit limit"),
    Kind.COUNT_LIMIT: Text(zh="次数限额", en="count limit"),
    Kind.DEDUCTIBLE: Text(zh="免赔额", en="deductible"),
    Kind.OUT_OF_POCKET: Text(zh="自付封顶额", en="out-of-pocket maximum"),
    Kind.CEILING: Text(zh="赔付限额", en="ceiling"),
}
_UNITS = {Kind.UNIT_LIMIT: Unit.UNITS, Kind.COUNT_LIMIT: Unit.COUNT}
# How scopes and periods are called wherever a plan or a balance is put into words.
SCOPES = {
    Scope.TREATMENT: Text(zh="每次就诊", en="treatment"),
    Scope.MEMBER: Text(zh="个人", en="member"),
    Scope.FAMILY: Text(zh="家庭", en="family"),
    Scope.POLICY: Text(zh="整张保单", en="policy"),
}
PERIODS = {
    Period.POLICY_YEAR: Text(zh="保单年度", en="policy year"),
    Period.CALENDAR_YEAR: Text(zh="自然年度", en="calendar year"),
    Period.CALENDAR_MONTH: Text(zh="自然月", en="calendar month"),
    Period.LIFETIME: Text(zh="终身", en="life"),
}


class Accumulators:
    """The accumulators of a plan's terms on the day of a claim, with what they held before it."""

    def __init__(self, terms: Terms, policy: PolicySnapshot, usage: UsageSnapshot, day: date):
        self._names = _Names(terms.plan)
        self._authorisations = policy.member.authorisations
        self._limits = {
            (one.term.id, one.term.scope, period_start(one.term.period, policy, day)): one
            for one in _in_force(terms)
        }
        self._before = {
            (one.accumulator, one.scope, one.period_start): (one.amount, one.count)
            for one in usage.balances
        }

    def between(
        self, earlier: Iterable[UsageChange], later: Iterable[UsageChange]
    ) -> tuple[BalanceChange, ...]:
        """What moved from one state of a claim's use to a later one."""
        was, now = _by_key(earlier), _by_key(later)
        return tuple(
            self._change(key, was.get(key, (0, 0)), added)
            for key, added in now.items()
            if was.get(key) != added
        )

    def over(
        self, changes: Iterable[UsageChange], clauses: frozenset[str]
    ) -> tuple[BalanceChange, ...]:
        """Every accumulator that the claim moved, that held something, or that a clause names.

        What counts one treatment only has no balance that outlives the claim, and is left out.
        """
        added = _by_key(changes)
        known = [
            key
            for key, one in self._limits.items()
            if key in added or one.term.clause in clauses or any(self._before.get(key, (0, 0)))
        ]
        others = [key for key in added if key not in self._limits]
        return tuple(
            self._change(key, (0, 0), added.get(key, (0, 0)))
            for key in (*known, *others)
            if key[1] is not Scope.TREATMENT
        )

    def _change(self, key: _Key, was: tuple[int, int], now: tuple[int, int]) -> BalanceChange:
        accumulator, scope, start = key
        found = self._limits.get(key)
        kind, clause, limit = None, "", None
        if (what := authorised(accumulator)) is not None:
            unit, name, limit = self._authorised(*what)
        elif found is None:  # its term has ended, or is of a kind not named here: the id must do
            unit = Unit.COUNT if now[1] and not now[0] else Unit.MONEY
            name = Text(zh=accumulator, en=accumulator)
        else:
            kind, clause = found.kind, found.term.clause
            unit = _UNITS.get(kind, Unit.MONEY)
            name, limit = self._names.of(found.term, kind), _TIMES[unit] * found.value
        at = int(unit is Unit.COUNT)
        held = self._before.get(key, (0, 0))[at]
        return BalanceChange(
            accumulator=accumulator,
            name=name,
            clause=clause,
            kind=kind,
            unit=unit,
            scope=scope,
            period_start=start,
            before=held + was[at],
            after=held + now[at],
            limit=limit,
        )

    def _authorised(self, number: str, what: str) -> tuple[Unit, Text, int | None]:
        """The unit, the name and the limit of what an authorisation has been used for."""
        held = {one.id: one for one in self._authorisations}.get(number)
        if what == "units":
            units = None if held is None or held.units is None else int(held.units * UNIT_SCALE)
            name = Text(zh=f"授权 {number} 的数量", en=f"units of authorisation {number}")
            return Unit.UNITS, name, units
        amount = None if held is None else held.amount
        name = Text(zh=f"授权 {number} 的金额", en=f"amount of authorisation {number}")
        return Unit.MONEY, name, amount


# Limits are written in whole units, use is counted in parts of one.
_TIMES = {Unit.MONEY: 1, Unit.COUNT: 1, Unit.UNITS: UNIT_SCALE}


@dataclass(frozen=True, slots=True)
class _Limit:
    """One accumulator that is in force, and its limit of the day."""

    term: _Term
    value: int
    kind: Kind


def _in_force(terms: Terms) -> Iterable[_Limit]:
    """Every accumulator that is in force, in the order of the steps."""
    yield from (_Limit(one.term, one.value, Kind.UNIT_LIMIT) for one in terms.unit_limits)
    yield from (_Limit(one.term, one.value, Kind.COUNT_LIMIT) for one in terms.count_limits)
    yield from (_Limit(one.term, one.value, Kind.DEDUCTIBLE) for one in terms.deductibles)
    yield from (_Limit(one.term, one.value, Kind.OUT_OF_POCKET) for one in terms.out_of_pocket)
    yield from (_Limit(one.term, one.value, Kind.CEILING) for one in terms.ceilings)


def _by_key(changes: Iterable[UsageChange]) -> Mapping[_Key, tuple[int, int]]:
    return {
        (one.accumulator, one.scope, one.period_start): (one.amount, one.count) for one in changes
    }


class _Names:
    """Names of accumulators in words: kind, of what, for whom, for how long."""

    def __init__(self, plan: Plan) -> None:
        self._sections = {one.id: one.name for one in plan.sections}
        self._categories = {one.id: one.name for one in plan.categories}
        self._code_sets = {one.id: one.name for one in plan.names}

    def of(self, term: _Term, kind: Kind) -> Text:
        """For example "个人保单年度免赔额" and "deductible per member and policy year"."""
        whose, about = SCOPES[term.scope], self._about(term)
        lasts = None if term.period is None else PERIODS[term.period]
        zh = f"{whose.zh}{lasts.zh if lasts else ''}{_KINDS[kind].zh}"
        en = f"{_KINDS[kind].en} per {whose.en}{f' and {lasts.en}' if lasts else ''}"
        if about:
            zh += f"（{'、'.join(one.zh for one in about)}）"
            en += f" ({', '.join(one.en for one in about)})"
        return Text(zh=zh, en=en)

    def _about(self, term: _Term) -> list[Text]:
        covers: Covers | None = getattr(term, "covers", None)
        sections: tuple[str, ...] = covers.sections if covers else getattr(term, "sections", ())
        categories = covers.categories if covers else ()
        return [
            *(self._sections[one] for one in sections),
            *(self._categories[one] for one in categories if one in self._categories),
            *(self._code_sets[one] for one in getattr(term, "codes", ()) if one in self._code_sets),
        ]
