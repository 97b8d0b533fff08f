"""What the member's earlier services say of a bill: charged again, or examined elsewhere before.

It finds and denies nothing: rules do, under their clauses. Knows no storage.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import lru_cache

from services.claims.core.codes import CodeKey, code_key
from services.claims.core.facts import BillFacts, Coding, EarlierService, LineFacts
from services.claims.core.plan import Plan
from services.claims.core.terms import CodeMatcher


def service_day(bill: BillFacts, line: LineFacts) -> date:
    """The day of the line's service; the bill's last one when the line names none."""
    return line.service_date or bill.end_date


def repeated_lines(bill: BillFacts, services: Iterable[EarlierService]) -> frozenset[int]:
    """Numbers of the lines that were allowed before under another bill number, one for one."""
    return frozenset(repeats_of(bill, services))


def repeats_of(bill: BillFacts, services: Iterable[EarlierService]) -> dict[int, EarlierService]:
    """By line number, the service that the line charges again; each is charged again once."""
    earlier: dict[tuple[object, ...], list[EarlierService]] = {}
    for one in services:
        if one.bill_number != bill.bill_number:
            key = _service(one.provider_id, one, one.service_date)
            earlier.setdefault(key, []).append(one)
    found = {}
    for line in bill.lines if earlier else ():
        left = earlier.get(_service(bill.provider_id, line, service_day(bill, line)))
        if line.billed and left:
            found[line.number] = left.pop(0)
    return found


def examined_elsewhere(
    bill: BillFacts, line: LineFacts, services: Iterable[EarlierService]
) -> EarlierService | None:
    """The latest time that another provider gave the line's service, up to the line's own day."""
    before = [
        one
        for one in services
        if one.provider_id != bill.provider_id
        and code_key(one.code) == code_key(line.code)
        and one.service_date <= service_day(bill, line)
    ]
    return max(before, key=lambda one: (one.service_date, one.bill_number), default=None)


def days_elsewhere(
    bill: BillFacts, services: Iterable[EarlierService]
) -> dict[CodeKey, tuple[date, ...]]:
    """By code, the days on which another provider gave the service, in order."""
    days: dict[CodeKey, set[date]] = {}
    for one in services:
        if one.provider_id != bill.provider_id:
            days.setdefault(code_key(one.code), set()).add(one.service_date)
    return {code: tuple(sorted(found)) for code, found in days.items()}


def days_that_matter(plan: Plan, bill: BillFacts) -> dict[CodeKey, tuple[date, date]]:
    """By code of the bill, the first and last day on which an earlier service can matter to it.

    What lies outside need not be looked up: no rule reads it. A code that is recognised at any
    time reaches back by the longest window that ever holds for it.
    """
    days: dict[CodeKey, tuple[date, date]] = {}
    for line in bill.lines:
        code, last = code_key(line.code), service_day(bill, line)
        first = date.fromordinal(max(1, last.toordinal() - _longest_window(plan, line.code)))
        if code in days:
            first, last = min(first, days[code][0]), max(last, days[code][1])
        days[code] = (first, last)
    return days


def _longest_window(plan: Plan, code: Coding) -> int:
    return max((days for codes, days in _windows(plan) if codes.has(code)), default=0)


@lru_cache(maxsize=64)
def _windows(plan: Plan) -> tuple[tuple[CodeMatcher, int], ...]:
    """The codes that each mutual recognition ever names, and its longest window ever."""
    sets = {one.id: one.codes for one in plan.code_sets}
    return tuple(
        (
            CodeMatcher(
                codes
                for set_id in term.codes
                for _, systems in sets[set_id].values
                for codes in systems or ()
            ),
            max((days or 0 for _, days in term.values.values), default=0),
        )
        for term in plan.mutual_recognition
    )


def _service(provider_id: str, one: LineFacts | EarlierService, day: date) -> tuple[object, ...]:
    """What makes two services the same, under whatever bill number."""
    return (provider_id, code_key(one.code), day, one.quantity, one.unit_price)
