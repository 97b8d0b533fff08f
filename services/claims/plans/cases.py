"""Runs case files against a plan and says, in an actuary's words, where they differ.

A case is a sequence: each event starts from what the events before it used up. It stores nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec

from services.claims.core.accumulators import period_start, with_changes
from services.claims.core.adjudicate import adjudicate, allowed_services
from services.claims.core.decision import (
    Bearer,
    BearerShare,
    Decision,
    DecisionLine,
    conservation_faults,
)
from services.claims.core.facts import (
    UNIT_SCALE,
    Balance,
    EarlierService,
    Scope,
    UsageSnapshot,
    usage_snapshot,
)
from services.claims.core.intake import UnacceptableBill, unknown_codes
from services.claims.core.plan import Plan
from services.claims.core.reasons import Reason
from services.claims.plans.accumulator_units import Accumulator, accumulators
from services.claims.plans.case_expectations import Expected
from services.claims.plans.case_reader import Case, Event, read_cases
from services.common.money import format_minor

_SHARED = "*"
_WHO = {
    Bearer.INSURER: "the insurer pays",
    Bearer.PRIOR_PAYER: "earlier payers bear",
    Bearer.PATIENT: "the patient bears",
    Bearer.PROVIDER: "the provider bears",
}


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case and every way in which the plan decides otherwise; none when it agrees."""

    name: str
    line: int
    differences: tuple[str, ...]
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class CaseReport:
    """What running one case file gave."""

    source: str
    results: tuple[CaseResult, ...]

    @property
    def passed(self) -> bool:
        """Whether the plan decides every case as written."""
        return not any(result.differences for result in self.results)

    def lines(self) -> Iterator[str]:
        """The report as text: one line a case, its differences below it, and the count."""
        for result in self.results:
            yield f"{'differs' if result.differences else 'agrees '}  {result.name}"
            for difference in result.differences:
                yield f"    {self.source}:{result.line}: {difference}"
        wrong = sum(1 for result in self.results if result.differences)
        yield f"{len(self.results)} cases, {len(self.results) - wrong} agree, {wrong} differ"


def run_cases(plan: Plan, yaml: bytes | str, source: str) -> CaseReport:
    """Decide every event of every case under the plan and compare with what the file says.

    Raises: StrictYamlError with every fault of the case file.
    """
    cases = read_cases(plan, yaml, source)
    return CaseReport(source, tuple(_run(plan, case) for case in cases))


def run_case_file(plan: Plan, path: Path) -> CaseReport:
    """The report on a case file on disk.

    Raises: StrictYamlError as run_cases; OSError when the file cannot be read.
    """
    return run_cases(plan, path.read_bytes(), str(path))


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


def _run(plan: Plan, case: Case) -> CaseResult:
    usage = _Usage(case)
    decided: dict[str, tuple[Event, Decision]] = {}
    differences: list[str] = []
    for event in case.events:
        after = f"after {event.name}: "
        found = [after + text for text in _happen(plan, case, event, usage, decided)]
        differences += found
    return CaseResult(
        case.name,
        case.line,
        tuple(differences),
        tuple(decision for _, decision in decided.values()),
    )


def _happen(
    plan: Plan, case: Case, event: Event, usage: _Usage, decided: dict[str, tuple[Event, Decision]]
) -> Iterator[str]:
    if event.bill is None:
        yield from _withdraw(plan, case, event, usage, decided)
        return
    before = usage.of(event.who)
    try:
        if unknown := unknown_codes(plan, event.bill):
            raise UnacceptableBill(unknown)
        decision = adjudicate(plan, case.policies[event.who], before, event.bill, event.prior)
    except UnacceptableBill as error:
        reasons = {fault.reason for fault in error.faults}
        if reasons != set(event.expected.refused):
            yield f"the bill is refused: {error}"
        return
    if event.expected.refused:
        yield f"the bill is accepted, the case says refused ({', '.join(event.expected.refused)})"
    yield from conservation_faults(decision)
    decided[event.name] = (event, decision)
    left = with_changes(before, decision.usage_changes)
    fresh = allowed_services(event.bill, decision)
    services = (
        *left.services,
        *(msgspec.structs.replace(one, claim=event.name) for one in fresh),
    )
    usage.keep(event.who, usage_snapshot(left.balances, services))
    yield from _compare(plan, event.expected, decision)
    yield from _compare_balances(plan, case, event, event, usage)


def _withdraw(
    plan: Plan, case: Case, event: Event, usage: _Usage, decided: dict[str, tuple[Event, Decision]]
) -> Iterator[str]:
    """Release exactly what the claim used, its services included."""
    if event.name not in decided:
        yield "there is no such claim to withdraw"
        return
    claimed, decision = decided.pop(event.name)
    before = usage.of(claimed.who)
    left = with_changes(before, decision.usage_changes, release=True)
    services = [one for one in left.services if one.bill_number != event.name]
    usage.keep(claimed.who, usage_snapshot(left.balances, services))
    yield from _compare_balances(plan, case, event, claimed, usage)


def _compare(plan: Plan, expected: Expected, decision: Decision) -> Iterator[str]:
    if expected.decision not in (None, decision.disposition):
        yield f"the claim is {decision.disposition.value}, the case says {expected.decision}"
    shares = [share for line in decision.lines for share in line.shares]
    if expected.paid_by is not None:
        borne = Counter[Bearer]()
        for share in shares:
            borne[share.bearer] += share.amount
        for bearer in Bearer:
            wanted = expected.paid_by.get(bearer, 0)
            yield from _amount(_WHO[bearer], borne[bearer], wanted, plan.currency)
    yield from _compare_because(shares, expected.because, plan.currency, "")
    if expected.awaits is not None:
        awaited = tuple(dict.fromkeys(pend.awaits for pend in decision.pends))
        if awaited != expected.awaits:
            yield f"the claim awaits {_list(awaited)}, the case says {_list(expected.awaits)}"
    lines = {line.number: line for line in decision.lines}
    for number, wanted_line in expected.lines.items():
        if number not in lines:
            yield f"there is no line {number}"
        else:
            line = lines[number]
            where = f"line {number}: "
            yield from _word(f"{where}outcome", line.outcome, wanted_line.outcome)
            yield from _word(f"{where}section", line.section, wanted_line.section)
            currency = plan.currency
            yield from _amount(f"{where}allowed is", line.allowed, wanted_line.allowed, currency)
            yield from _amount(f"{where}benefit is", line.benefit, wanted_line.benefit, currency)
            because = wanted_line.because
            yield from _compare_because(_reasons(line), because, currency, where)
            earlier = wanted_line.earlier_claim
            yield from _word(f"{where}earlier claim", line.earlier_claim, earlier)


def _reasons(line: DecisionLine) -> list[BearerShare]:
    """The line's shares; a refused line of nothing still names its reason, at 0."""
    if line.shares or line.reason is None:
        return list(line.shares)
    return [BearerShare(bearer=Bearer.PATIENT, reason=line.reason, clause=line.clause, amount=0)]


def _compare_because(
    shares: list[BearerShare],
    expected: Mapping[tuple[Reason, str], int] | None,
    currency: str,
    where: str,
) -> Iterator[str]:
    if expected is None:
        return
    found: dict[tuple[Reason, str], int] = {}
    for share in shares:
        key = (share.reason, share.clause)
        found[key] = found.get(key, 0) + share.amount
    for key in sorted({*found, *expected}):
        reason, clause = key
        what = f"{where}{reason.name.lower()} under clause {clause} is"
        if key not in expected:
            yield f"{what} {format_minor(found[key], currency)}, the case does not name it"
        elif key not in found:
            yield f"{what} nothing, the case says {format_minor(expected[key], currency)}"
        else:
            yield from _amount(what, found[key], expected[key], currency)


def _compare_balances(
    plan: Plan, case: Case, event: Event, claimed: Event, usage: _Usage
) -> Iterator[str]:
    """Balances of the period that the claim's last day lies in."""
    if claimed.bill is None:
        return
    known = accumulators(plan)
    policy = case.policies[claimed.who]
    for name, wanted in event.expected.balances.items():
        accumulator = known[name]
        start = period_start(accumulator.period, policy, claimed.bill.end_date)
        found = usage.balance(claimed.who, accumulator, start)
        if found != wanted:
            yield (
                f"balance {name} is {_quantity(accumulator, found, plan.currency)}, "
                f"the case says {_quantity(accumulator, wanted, plan.currency)}"
            )


def _quantity(accumulator: Accumulator, value: int, currency: str) -> str:
    if accumulator.counts:
        return str(value)
    if accumulator.units:
        return f"{value / UNIT_SCALE:g} units"
    return format_minor(value, currency)


def _amount(what: str, found: int, wanted: int | None, currency: str) -> Iterator[str]:
    if wanted is not None and found != wanted:
        apart = format_minor(abs(found - wanted), currency)
        yield (
            f"{what} {format_minor(found, currency)}, the case says "
            f"{format_minor(wanted, currency)}: {apart} {'more' if found > wanted else 'less'}"
        )


def _word(what: str, found: str, wanted: str | None) -> Iterator[str]:
    if wanted is not None and found != wanted:
        yield f"{what} is {found or 'none'}, the case says {wanted}"


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(words) or "nothing"
