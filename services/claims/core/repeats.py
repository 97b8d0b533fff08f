"""What the member's earlier services say of a bill: charged again, or examined elsewhere before.

It finds and denies nothing: rules do, under their clauses. Knows no storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache

import msgspec

from services.claims.core.codes import CodeKey, code_key
from services.claims.core.facts import MAX_DAYS_SUPPLY, BillFacts, EarlierService, LineFacts
from services.claims.core.plan import Plan
from services.claims.core.terms import CodeMatcher
from services.common.dated import Dated


def service_day(bill: BillFacts, line: LineFacts) -> date:
    """The day of the line's service; the bill's last one when the line names none."""
    return line.service_date or bill.end_date


def repeated_lines(bill: BillFacts, services: Iterable[EarlierService]) -> dict[int, str]:
    """Numbers of the lines that were allowed before under another bill number, one for one.

    With each the opaque name of the earlier claim, empty where nobody said.
    """
    earlier: dict[tuple[object, ...], list[str]] = {}
    days = {service_day(bill, line) for line in bill.lines}
    for one in services:
        if one.service_date in days and one.bill_number != bill.bill_number:
            key = _service(one.provider_id, one, one.service_date)
            earlier.setdefault(key, []).append(one.claim)
    found = {}
    for line in bill.lines if earlier else ():
        claims = earlier.get(_service(bill.provider_id, line, service_day(bill, line)))
        if line.billed and claims:
            found[line.number] = claims.pop(0)
    return found


def resembling_lines(bill: BillFacts, services: Iterable[EarlierService]) -> dict[int, str]:
    """Numbers of the lines that resemble a service of another bill, with its claim's name.

    The same provider, day and code, but another quantity or price.
    """
    earlier: dict[tuple[CodeKey, date], list[EarlierService]] = {}
    days = {service_day(bill, line) for line in bill.lines}
    for one in services:
        here = one.provider_id == bill.provider_id and one.bill_number != bill.bill_number
        if here and one.service_date in days:
            earlier.setdefault((code_key(one.code), one.service_date), []).append(one)
    found = {}
    for line in bill.lines if earlier else ():
        charge = (line.quantity, line.unit_price)
        for one in earlier.get((code_key(line.code), service_day(bill, line)), ()):
            if line.billed and (one.quantity, one.unit_price) != charge:
                found[line.number] = one.claim
                break
    return found


def elsewhere(
    bill: BillFacts, services: Iterable[EarlierService]
) -> dict[CodeKey, tuple[EarlierService, ...]]:
    """By code, the services that another provider gave, in the order of their days."""
    given: dict[CodeKey, list[EarlierService]] = {}
    for one in services:
        if one.provider_id != bill.provider_id:
            given.setdefault(code_key(one.code), []).append(one)
    return {
        code: tuple(sorted(found, key=lambda one: one.service_date))
        for code, found in given.items()
    }


class Allowed(msgspec.Struct, frozen=True):
    """A service that a decision allowed, and the number of its line."""

    number: int
    service: EarlierService


_allowed = msgspec.json.Decoder(list[Allowed])


def allowed_from(stored: bytes) -> list[Allowed]:
    """What a stored decision allowed.

    Raises: msgspec.ValidationError when the bytes say no such thing.
    """
    return _allowed.decode(stored)


@dataclass(frozen=True, slots=True)
class Reach:
    """Which earlier services can matter to a bill; what is outside need not be looked up.

    `codes` holds the first and last day by code, `sets` by code set. At the bill's own provider
    every service of `provider_days` matters: any code can be the first of a pair.
    """

    codes: Mapping[CodeKey, tuple[date, date]]
    sets: tuple[tuple[CodeMatcher, date, date], ...] = ()
    provider_id: str = ""
    provider_days: frozenset[date] = frozenset()

    def days(self) -> tuple[date, date]:
        """The first and the last day of all."""
        spans = [*self.codes.values(), *((first, last) for _, first, last in self.sets)]
        return min(first for first, _ in spans), max(last for _, last in spans)

    def has(self, one: EarlierService) -> bool:
        """Whether the service can matter."""
        day = one.service_date
        first, last = self.codes.get(code_key(one.code), (date.max, date.min))
        if first <= day <= last:
            return True
        if day in self.provider_days and one.provider_id == self.provider_id:
            return True
        return any(first <= day <= last and codes.has(one.code) for codes, first, last in self.sets)


def services_that_matter(plan: Plan, bill: BillFacts) -> Reach:
    """What of the member's earlier services any rule of the plan can read for this bill.

    By the bill's codes on their days; a code that a term ever looks back from reaches back by the
    longest window that ever holds for it, be it for itself or for all of the term's codes. It
    reaches ahead as far where the later of two claims may be the one that is denied.
    """
    windows = _windows(plan)
    days: dict[CodeKey, tuple[date, date]] = {}
    together: dict[int, tuple[date, date]] = {}
    for line in bill.lines:
        code, last = code_key(line.code), service_day(bill, line)
        longest = ahead = 0
        for index, one in enumerate(windows):
            if not one.codes.has(line.code):
                continue
            if one.together:
                together[index] = _wider(together.get(index), _shifted(last, -one.days), last)
            else:
                longest, ahead = max(longest, one.days), max(ahead, one.ahead)
        days[code] = _wider(days.get(code), _shifted(last, -longest), _shifted(last, ahead))
    pairs = plan.edits is not None and plan.edits.pair_edits
    return Reach(
        codes=days,
        sets=tuple((windows[index].codes, *span) for index, span in together.items()),
        provider_id=bill.provider_id,
        provider_days=frozenset(service_day(bill, line) for line in bill.lines if pairs),
    )


def _shifted(day: date, days: int) -> date:
    return date.fromordinal(min(max(1, day.toordinal() + days), date.max.toordinal()))


def _wider(span: tuple[date, date] | None, first: date, last: date) -> tuple[date, date]:
    return (first, last) if span is None else (min(first, span[0]), max(last, span[1]))


def longest_look_back(plan: Plan) -> int:
    """Days before a bill's last service within which any rule of the plan ever looks."""
    return max((one.days for one in _windows(plan)), default=0)


@dataclass(frozen=True, slots=True)
class _Window:
    """The codes that a term ever looks back from, and the most days that it ever does.

    `together` is for any of its codes, else for the very same; `ahead` is how far it looks ahead.
    """

    codes: CodeMatcher
    days: int
    together: bool = False
    ahead: int = 0


@lru_cache(maxsize=64)
def _windows(plan: Plan) -> tuple[_Window, ...]:
    """One for each term that looks at earlier services of other days."""
    sets = {one.id: one.codes for one in plan.code_sets}

    def ever(ids: tuple[str, ...]) -> CodeMatcher:
        return CodeMatcher(
            codes for set_id in ids for _, systems in sets[set_id].values for codes in systems or ()
        )

    edits = plan.edits
    return (
        *(
            _Window(
                ever(one.codes),
                _longest(one.values),
                ahead=_longest(one.values) if one.denies is not None else 0,
            )
            for one in plan.mutual_recognition
        ),
        *(
            _Window(ever(one.codes), _longest(one.values), together=True)
            for one in (edits.frequency_limits if edits is not None else ())
        ),
        *(
            _Window(ever(one.codes), MAX_DAYS_SUPPLY)
            for one in (edits.refill_windows if edits is not None else ())
        ),
    )


def _longest(values: Dated[int]) -> int:
    return max((days or 0 for _, days in values.values), default=0)


def allowed_service(
    bill: BillFacts, line: LineFacts, units: Decimal | None = None
) -> EarlierService:
    """What later claims of the member must know of a line that was not denied.

    `units` are those that were allowed, None for all.
    """
    return EarlierService(
        bill_number=bill.bill_number,
        provider_id=bill.provider_id,
        code=line.code,
        service_date=service_day(bill, line),
        quantity=line.quantity,
        unit_price=line.unit_price,
        modifiers=line.modifiers,
        days_supply=line.days_supply,
        units=units,
    )


def _service(provider_id: str, one: LineFacts | EarlierService, day: date) -> tuple[object, ...]:
    """What makes two services the same, under whatever bill number."""
    return (provider_id, code_key(one.code), day, one.quantity, one.unit_price)
