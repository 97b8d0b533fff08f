"""Reads what a case says of coding, papers, liability and times: the facts that edits read."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Any

from services.claims.core.facts import MAX_DAYS_SUPPLY, AppealFacts, Liability
from services.claims.plans.reader import STAND_IN, Mapping, Value

_CLOCK = re.compile(r"[0-9]{2}:[0-9]{2}", re.ASCII)


def read_bill_coding(term: Mapping) -> dict[str, Any]:
    """Papers, liability, when it was received and why late, and an appeal, for BillFacts."""
    liability, received = term.maybe("liability"), term.maybe("received")
    late, appeal = term.maybe("late_reason"), term.maybe("appeal")
    return {
        "liability": None if liability is None else liability.choice(Liability),
        "papers": tuple(item.ident() for item in term.items("papers")),
        "received_date": None if received is None else received.day(),
        "late_reason": "" if late is None else late.ident(),
        "appeal": None if appeal is None else _appeal(appeal),
    }


def read_line_coding(term: Mapping, day: date) -> dict[str, Any]:
    """Modifiers, package, prescription, supply and override of a line of this day."""
    at, prescribed = term.maybe("time"), term.maybe("prescribed")
    part_of, repeat = term.maybe("part_of"), term.maybe("repeat_reason")
    return {
        "modifiers": read_modifiers(term),
        "part_of": None if part_of is None else part_of.whole(least=1),
        "service_time": None if at is None else datetime.combine(day, _clock(at)),
        "prescription_time": None if prescribed is None else _moment(prescribed),
        "days_supply": read_days_supply(term),
        "repeat_reason": "" if repeat is None else repeat.ident(),
    }


def read_modifiers(term: Mapping) -> tuple[str, ...]:
    """The modifiers of a service; none when nothing is said."""
    return tuple(item.text() for item in term.items("modifiers"))


def read_days_supply(term: Mapping) -> int | None:
    """For how many days what was dispensed lasts; None when nothing is said."""
    found = term.maybe("days_supply")
    return None if found is None else found.whole(least=1, most=MAX_DAYS_SUPPLY)


def _appeal(value: Value) -> AppealFacts:
    told = value.mapping()
    appeal = AppealFacts(decided=told.get("decided").day(), filed=told.get("filed").day())
    told.done()
    return appeal


def _moment(value: Value) -> datetime:
    """A day and a time of the hospital's clock, "2026-01-31 09:30"."""
    words = value.value.split(" ") if isinstance(value.value, str) else []
    if len(words) != 2:
        value.fault("NOT_A_TIME", "write a day and a time as 2026-01-31 09:30")
        return datetime.combine(STAND_IN, time.min)
    day, clock = (Value(value.faults, word, value.path, value.line) for word in words)
    return datetime.combine(day.day(), _clock(clock))


def _clock(value: Value) -> time:
    if isinstance(value.value, str) and _CLOCK.fullmatch(value.value):
        try:
            return time.fromisoformat(value.value)
        except ValueError:
            value.fault("IMPOSSIBLE_TIME", f"{value.value} is no time of the day")
            return time.min
    value.fault("NOT_A_TIME", 'write a time in quotes, such as "09:30"')
    return time.min
