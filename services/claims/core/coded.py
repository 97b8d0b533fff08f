"""What is coded beside what: this claim's lines that nothing has refused, and earlier services.

It counts and compares; rules refuse, under their clauses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from services.claims.core.codes import CodeKey, code_key, comparable
from services.claims.core.facts import UNIT_SCALE, EarlierService
from services.claims.core.plan_edits import FrequencyLimit
from services.claims.core.terms import InForce

if TYPE_CHECKING:
    from services.claims.core.claim import Claim, Line

_NONE: dict[int, str] = {}
Modifiers = frozenset[str]


@dataclass(slots=True)
class Coded:
    """What rules that look at several services read.

    `units` are ten-thousandths by code and day, earlier services included; `beside` the modifiers
    of each service of the provider by day and code. `packages` is the clause by number of every
    line of a package that differs from its definition. `allowed_days` are days of services that
    use a frequency limit up, by its id.
    """

    units: Mapping[tuple[CodeKey, date], int]
    beside: Mapping[date, Mapping[CodeKey, list[Modifiers]]]
    packages: Mapping[int, str]
    allowed_days: dict[str, list[date]] = field(default_factory=dict)
    earlier: tuple[EarlierService, ...] = ()


def coded_together(claim: Claim) -> Coded:
    """What is coded beside each other, once rules about single lines have refused theirs.

    A line that such a rule refused stands beside nothing: it is no service that the plan allows.
    Packages are compared as they were coded, refused or not.
    """
    edits = claim.edits
    bill = claim.bill
    earlier = tuple(
        one
        for one in claim.usage.services
        if (one.provider_id, one.bill_number) != (bill.provider_id, bill.bill_number)
    )
    units: Counter[tuple[CodeKey, date]] = Counter()
    beside: dict[date, dict[CodeKey, list[Modifiers]]] = {}
    if edits is not None and edits.has_tables:
        for key, day, quantity, modifiers, here in _services(claim, earlier):
            units[key, day] += scaled(quantity)
            if here:
                beside.setdefault(day, {}).setdefault(key, []).append(modifiers)
    packages = _differing_packages(claim) if edits is not None and edits.packages else _NONE
    return Coded(units=units, beside=beside, packages=packages, earlier=earlier)


def scaled(quantity: Decimal) -> int:
    """A quantity in ten-thousandths of a unit."""
    return int(quantity * UNIT_SCALE)


def modifiers_of(one: tuple[str, ...]) -> Modifiers:
    """Modifiers as they are compared."""
    return frozenset(comparable(word) for word in one)


def days_allowed(coded: Coded, limit: InForce[FrequencyLimit, int]) -> list[date]:
    """Days of allowed services that a frequency limit counts, of this claim's lines so far too."""
    days = coded.allowed_days.get(limit.term.id)
    if days is None:
        codes = limit.codes
        days = coded.allowed_days[limit.term.id] = [
            one.service_date for one in coded.earlier if codes is None or codes.has(one.code)
        ]
    return days


def _services(
    claim: Claim, earlier: tuple[EarlierService, ...]
) -> Iterator[tuple[CodeKey, date, Decimal, Modifiers, bool]]:
    """Every service: code, day, quantity, modifiers, and whether it is of the bill's provider."""
    provider = claim.bill.provider_id
    for one in earlier:
        here = one.provider_id == provider
        modifiers = modifiers_of(one.modifiers) if here else frozenset()
        yield code_key(one.code), one.service_date, one.quantity, modifiers, here
    for line in claim.lines:
        if line.refusal is None:
            facts = line.facts
            modifiers = modifiers_of(facts.modifiers)
            yield code_key(facts.code), line.service_date, facts.quantity, modifiers, True


# --- packages ---


def _differing_packages(claim: Claim) -> dict[int, str]:
    heads = [line for line in claim.lines if line.edits is not None and line.edits.package]
    if not heads:
        return _NONE
    parts = _parts_of(claim, heads)
    differing = {line.facts.number for line in heads if _differs(line, heads, parts)}
    # A package in a package: what is wrong with the inner one is wrong with the outer one.
    grew = True
    while grew:
        outer = {
            line.facts.number
            for line in heads
            if any(part.facts.number in differing for part in parts[line.facts.number])
        }
        grew = not outer <= differing
        differing |= outer
    clauses = {line.facts.number: _package_clause(line) for line in heads}
    denied: dict[int, str] = {}
    waiting = [(number, clauses[number]) for number in sorted(differing)]
    while waiting:
        number, clause = waiting.pop(0)
        if number in denied:
            continue
        denied[number] = clause
        inner = (part.facts.number for part in parts.get(number, ()))
        waiting.extend((one, clauses.get(one, clause)) for one in inner)
    return denied


def _package_clause(line: Line) -> str:
    package = line.edits.package if line.edits is not None else None
    return package.term.clause if package is not None else ""


def _parts_of(claim: Claim, heads: list[Line]) -> dict[int, list[Line]]:
    """The lines of each package: those that name it; without any, its codes on its day."""
    stated: dict[int, list[Line]] = {}
    loose: dict[tuple[CodeKey, date], list[Line]] = {}
    for line in claim.lines:
        if line.facts.part_of is not None:
            stated.setdefault(line.facts.part_of, []).append(line)
        else:
            loose.setdefault((code_key(line.facts.code), line.service_date), []).append(line)
    found = {}
    for head in heads:
        number = head.facts.number
        found[number] = stated.get(number) or [
            line for key in _wanted(head) for line in loose.get((key, head.service_date), ())
        ]
    return found


def _wanted(head: Line) -> dict[CodeKey, int]:
    """Units of each part that the line's packages hold, in 10^-8 of a unit."""
    package = head.edits.package if head.edits is not None else None
    if package is None:
        return {}
    times = scaled(head.facts.quantity)
    return {code_key(part.code): part.units * times for part in package.value}


def _differs(head: Line, heads: list[Line], parts: dict[int, list[Line]]) -> bool:
    """Whether the parts are not exactly the definition's.

    Parts that name no package are held against all packages of the day that name no parts.
    """
    ours = parts[head.facts.number]
    wanted = _wanted(head)
    found: Counter[CodeKey] = Counter()
    for line in ours:
        found[code_key(line.facts.code)] += scaled(line.facts.quantity) * UNIT_SCALE
    if any(line.facts.part_of is not None for line in ours):
        return dict(found) != wanted
    expected: Counter[CodeKey] = Counter()
    for other in heads:
        stated = any(line.facts.part_of is not None for line in parts[other.facts.number])
        if other.service_date == head.service_date and not stated:
            for key, units in _wanted(other).items():
                expected[key] += units
    return any(found[key] != expected[key] for key in wanted)
