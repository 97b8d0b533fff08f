"""What is coded beside what: this claim's lines that nothing has refused, and earlier services.

It counts and compares; rules refuse, under their clauses.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from services.claims.core.codes import CodeKey, code_key, comparable
from services.claims.core.facts import UNIT_SCALE, EarlierService
from services.claims.core.plan_edits import FrequencyLimit, PackagePart
from services.claims.core.terms import InForce

if TYPE_CHECKING:
    from services.claims.core.claim import Claim, Line

_NONE: dict[int, str] = {}
Modifiers = frozenset[str]
_UNMODIFIED: Modifiers = frozenset()
KeyT = TypeVar("KeyT")


@dataclass(slots=True)
class Coded:
    """What rules that look at several services read.

    `units` are ten-thousandths by code and day, earlier services included; `beside` the modifiers
    of each service of the provider by day and code, both on the days of the bill's services.
    `packages` is the clause by number of every
    line of a package that differs from its definition. `allowed_days` are days of services that
    use a frequency limit up, by its id, and `supplies` earlier services by code, of what a line
    has asked for. `mute` are lines that are counted nowhere, by number.
    """

    units: Mapping[tuple[CodeKey, date], int]
    beside: Mapping[date, Mapping[CodeKey, set[Modifiers]]]
    packages: Mapping[int, str]
    allowed_days: dict[str, list[date]] = field(default_factory=dict)
    earlier: tuple[EarlierService, ...] = ()
    mute: Collection[int] = ()
    supplies: dict[CodeKey, list[EarlierService]] = field(default_factory=dict)


def coded_together(claim: Claim, mute: Collection[int] = ()) -> Coded:
    """What is coded beside each other, once rules about single lines have refused theirs.

    A line that such a rule refused stands beside nothing: it is no service that the plan allows.
    Nor do those whose numbers are `mute`.
    Packages are compared as they were coded, refused or not.
    """
    edits = claim.edits
    bill = claim.bill
    number, provider = bill.bill_number, bill.provider_id
    earlier = tuple(
        one
        for one in claim.usage.services
        if one.bill_number != number or one.provider_id != provider
    )
    units: dict[tuple[CodeKey, date], int] = {}
    beside: dict[date, dict[CodeKey, set[Modifiers]]] = {}
    if edits is not None and edits.has_tables:
        for key, day, quantity, modifiers, here in _services(claim, earlier, mute):
            units[key, day] = units.get((key, day), 0) + scaled(quantity)
            if here:
                of_day = beside.get(day)
                if of_day is None:
                    of_day = beside[day] = {}
                of_code = of_day.get(key)
                if of_code is None:
                    of_code = of_day[key] = set()
                of_code.add(modifiers)
    packages = _differing_packages(claim) if edits is not None and edits.packages else _NONE
    return Coded(units=units, beside=beside, packages=packages, earlier=earlier, mute=mute)


def scaled(quantity: Decimal) -> int:
    """A quantity in ten-thousandths of a unit."""
    return UNIT_SCALE if quantity == 1 else int(quantity * UNIT_SCALE)


def units_of(line: Line) -> Decimal:
    """The units of a line: what a reviewer leaves of them, else what was billed."""
    reviewed = line.reviewed
    if reviewed is None or reviewed.quantity is None:
        return line.facts.quantity
    return reviewed.quantity


def modifiers_of(one: tuple[str, ...]) -> Modifiers:
    """Modifiers as they are compared."""
    if not one:
        return _UNMODIFIED
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


def supplies_of(coded: Coded, code: CodeKey) -> list[EarlierService]:
    """Earlier services of a code."""
    found = coded.supplies.get(code)
    if found is None:
        found = coded.supplies[code] = [one for one in coded.earlier if code_key(one.code) == code]
    return found


def _services(
    claim: Claim, earlier: tuple[EarlierService, ...], mute: Collection[int]
) -> Iterator[tuple[CodeKey, date, Decimal, Modifiers, bool]]:
    """Every service of the days of the bill's lines, for other days have no line to look at.

    Code, day, quantity, modifiers, and whether it is of the bill's provider.
    """
    provider = claim.bill.provider_id
    for one in earlier:
        if one.service_date not in claim.days:
            continue
        here = one.provider_id == provider
        modifiers = modifiers_of(one.modifiers) if here else frozenset()
        units = one.quantity if one.units is None else one.units
        yield code_key(one.code), one.service_date, units, modifiers, here
    for line in claim.lines:
        if line.stands and line.facts.number not in mute:
            modifiers = modifiers_of(line.facts.modifiers)
            yield line.key, line.service_date, units_of(line), modifiers, True


# --- packages ---


@dataclass(slots=True)
class _Package:
    """Lines of one package that share their parts, its clause, and whether the parts differ."""

    clause: str
    heads: list[Line]
    parts: list[Line]
    differs: bool = False


def _differing_packages(claim: Claim) -> dict[int, str]:
    """By number, the clause of every line that is, or is part of, a package that differs."""
    if not any(line.edits is not None and line.edits.package is not None for line in claim.lines):
        return {}
    packages = [*_stated(claim), *_by_code(claim)]
    of_line = {line.facts.number: one for one in packages for line in one.heads}
    # What is wrong with a package is wrong with the one that it is part of, however deep.
    grew = True
    while grew:
        outer = [
            one
            for one in packages
            if not one.differs and any(inner.differs for inner in _inner(one, of_line))
        ]
        for one in outer:
            one.differs = True
        grew = bool(outer)
    denied: dict[int, str] = {}
    waiting = deque(one for one in packages if one.differs)
    while waiting:
        one = waiting.popleft()
        denied.update((line.facts.number, one.clause) for line in one.heads)
        for line in one.parts:
            if line.facts.number not in of_line:
                denied.setdefault(line.facts.number, one.clause)
        for inner in _inner(one, of_line):
            if not inner.differs:
                inner.differs = True
                waiting.append(inner)
    return denied


def _inner(one: _Package, of_line: Mapping[int, _Package]) -> list[_Package]:
    return [of_line[line.facts.number] for line in one.parts if line.facts.number in of_line]


def _stated(claim: Claim) -> Iterator[_Package]:
    """Packages whose parts name them: these, of any code, must be the definition's."""
    parts = _lines_by(claim, lambda line: line.facts.part_of)
    for line in claim.lines:
        package = line.edits.package if line.edits is not None else None
        ours = parts.get(line.facts.number)
        if package is not None and ours:
            found: Counter[CodeKey] = Counter()
            for part in ours:
                found[part.key] += scaled(part.facts.quantity) * UNIT_SCALE
            differs = found != _wanted(package.value, [line])
            yield _Package(package.term.clause, [line], ours, differs)


def _by_code(claim: Claim) -> Iterator[_Package]:
    """Packages that no line names: the lines of their day with their codes, all together."""
    named = {line.facts.part_of for line in claim.lines}
    loose: dict[tuple[CodeKey, date], list[Line]] = {}
    for line in claim.lines:
        if line.facts.part_of is None:
            loose.setdefault((line.key, line.service_date), []).append(line)
    found: list[tuple[_Package, Counter[CodeKey], date]] = []
    expected: Counter[tuple[CodeKey, date]] = Counter()
    for line_key, lines in _lines_by(claim, _key_of_package).items():
        heads = [line for line in lines if line.facts.number not in named]
        package = lines[0].edits.package if lines[0].edits is not None else None
        if not heads or package is None:
            continue
        day = line_key[1]
        wanted = _wanted(package.value, heads)
        parts = [line for key in wanted for line in loose.get((key, day), ())]
        found.append((_Package(package.term.clause, heads, parts), wanted, day))
        for key, units in wanted.items():
            expected[key, day] += units
    for one, wanted, day in found:
        one.differs = any(
            sum(scaled(line.facts.quantity) for line in loose.get((key, day), ())) * UNIT_SCALE
            != expected[key, day]
            for key in wanted
        )
        yield one


def _key_of_package(line: Line) -> tuple[CodeKey, date] | None:
    package = line.edits.package if line.edits is not None else None
    return None if package is None else (line.key, line.service_date)


def _lines_by(claim: Claim, key: Callable[[Line], KeyT | None]) -> dict[KeyT, list[Line]]:
    """The lines that have such a key, by it."""
    found: dict[KeyT, list[Line]] = {}
    for line in claim.lines:
        if (of_line := key(line)) is not None:
            found.setdefault(of_line, []).append(line)
    return found


def _wanted(parts: tuple[PackagePart, ...], heads: list[Line]) -> Counter[CodeKey]:
    """Units of each part that the lines' packages hold together, in 10^-8 of a unit."""
    times = sum(scaled(line.facts.quantity) for line in heads)
    return Counter({code_key(part.code): part.units * times for part in parts})
