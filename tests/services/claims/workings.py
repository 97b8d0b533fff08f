"""Audits the workings of case files: where numbers come from, and that every amount is worked.

Reads the files themselves and knows no engine. Arithmetic is services.claims.plans.workings'.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from services.claims.plans.workings import plain, read_working

_PLAIN = re.compile(r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,6})?", re.ASCII)
# What stands under these is a name, even where it looks like a number.
_CODED = frozenset(("code", "code_sets", "codes", "diagnoses", "diagnosis"))
_NAMED = frozenset(("case", "claim", "clause", "clauses", "general", "id", "name", "provider"))
_TOLD = frozenset(("expect", "working"))
_NAMES = _TOLD | _CODED | _NAMED
# Nothing, the last fen of what is spread, and a whole: a share leaves 1 - share to the patient.
_CONSTANTS = frozenset((Fraction(0), Fraction("0.01"), Fraction(1)))


def numbers_of(tree: Any) -> frozenset[Fraction]:
    """Every number that a file states, what it expects left out."""
    return frozenset(_numbers(tree))


def _numbers(tree: Any) -> Iterator[Fraction]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == "csv":
                rows = csv.DictReader(value.splitlines())
                yield from _numbers([row.get("price") or row.get("units") for row in rows])
            elif key not in _NAMES:
                yield from _numbers(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _numbers(value)
    elif not isinstance(tree, bool) and _PLAIN.fullmatch(str(tree)):
        yield Fraction(str(tree))


def counted(plan: Any) -> frozenset[str]:
    """The accumulators of a plan file that count claims, and so hold no amount."""
    return frozenset(
        term["id"] for term in plan.get("count_limits", ()) if term["unit"] == "claims"
    )


def audit(case: dict[str, Any], stated: frozenset[Fraction], counts: frozenset[str]) -> list[str]:
    """What is wrong with a case's workings; `stated` are the numbers of its plan and its `given`.

    An event may use what the case's own lines and those of events before it gave.
    """
    known = stated | numbers_of(case) | _CONSTANTS
    results: set[Fraction] = set()
    faults = list(_read(case, known, results, "the case"))
    for event in _events(case):
        where = next(f"{key} {value}" for key, value in event.items())
        faults += _read(event, known, results, where)
        for what, amount in _expected(event.get("expect", {}), counts):
            if amount not in results and amount not in known:
                faults.append(f"{where}: no line gives {what} {plain(amount)}")
    return faults


def is_worked(case: dict[str, Any]) -> bool:
    """Whether the case, or an event of it, has a working."""
    return "working" in case or any("working" in event for event in _events(case))


def facts_of(plan: str, given: dict[str, Any], case: dict[str, Any]) -> str:
    """What makes a case different from every other: all that is so, without names and workings."""
    told = {k: v for k, v in case.items() if k not in ("case", "events", "working")}
    events = [{k: v for k, v in one.items() if k not in _TOLD} for one in _events(case)]
    return json.dumps([plan, given | told, events], sort_keys=True)


def _events(case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A case's events in the order in which they are decided."""
    for event in case["events"]:
        together = list(enumerate(event.get("together", (event,)), start=1))
        together.sort(key=lambda one: one[1].get("order", one[0]))
        yield from (one for _, one in together)


def _read(
    term: dict[str, Any], known: frozenset[Fraction], results: set[Fraction], where: str
) -> Iterator[str]:
    for line in term.get("working", ()):
        try:
            working = read_working(line)
        except ValueError as error:
            yield f"{where}: {line}: {error}"
            continue
        if not working.holds:
            yield f"{where}: {line}: it is {plain(working.value)}"
        if {*working.numbers} <= _CONSTANTS and working.result not in _CONSTANTS:
            yield f"{where}: {line}: from 0 and 1 alone anything can be made"
        for number in working.numbers:
            if number not in known and number not in results:
                yield f"{where}: {line}: nobody states {plain(number)}"
        results.add(working.result)


def _expected(expect: dict[str, Any], counts: frozenset[str]) -> Iterator[tuple[str, Fraction]]:
    for key in ("paid_by", "because", "payees"):
        yield from _amounts(key, expect.get(key, {}))
    for key in ("pays", "takes_back"):
        if key in expect:
            yield from _amounts("", {key: expect[key]})
    for number, line in expect.get("lines", {}).items():
        where = f"line {number}"
        yield from _amounts(where, {k: line[k] for k in ("allowed", "benefit") if k in line})
        yield from _amounts(f"{where} because", line.get("because", {}))
    for several in ("policies", "others"):
        for name, one in expect.get(several, {}).items():
            yield from ((f"{name} {what}", amount) for what, amount in _expected(one, counts))
    balances = expect.get("balances", {})
    yield from _amounts("balance", {k: v for k, v in balances.items() if k not in counts})


def _amounts(where: str, told: dict[str, Any]) -> Iterator[tuple[str, Fraction]]:
    for key, value in told.items():
        if amount := Fraction(str(value)):
            yield f"{where} {key}".strip(), amount
