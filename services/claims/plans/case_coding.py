"""Reads what a case says of coding, papers, liability and times: the facts that edits read."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from services.claims.core.facts import MAX_DAYS_SUPPLY, AppealFacts, Liability
from services.claims.plans.reader import Mapping, Value


def read_bill_coding(term: Mapping) -> dict[str, Any]:
    """Papers, liability, when it was received and why late, and more, for BillFacts."""
    liability, received = term.maybe("liability"), term.maybe("received")
    admitted, emergency = term.maybe("admitted"), term.maybe("emergency")
    late, appeal = term.maybe("late_reason"), term.maybe("appeal")
    return {
        "liability": None if liability is None else liability.choice(Liability),
        "papers": tuple(item.ident() for item in term.items("papers")),
        "received_date": None if received is None else received.fact_day(),
        "late_reason": "" if late is None else late.ident(),
        "appeal": None if appeal is None else _appeal(appeal),
        "admitted": None if admitted is None else admitted.moment(),
        "emergency": False if emergency is None else emergency.boolean(),
    }


def read_line_coding(term: Mapping, day: date) -> dict[str, Any]:
    """Modifiers, package, prescription, supply and override of a line of this day."""
    at, prescribed = term.maybe("time"), term.maybe("prescribed")
    part_of, repeat = term.maybe("part_of"), term.maybe("repeat_reason")
    return {
        "modifiers": read_modifiers(term),
        "part_of": None if part_of is None else part_of.whole(least=1),
        "service_time": None if at is None else datetime.combine(day, at.clock()),
        "prescription_time": None if prescribed is None else prescribed.moment(),
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
    appeal = AppealFacts(decided=told.get("decided").fact_day(), filed=told.get("filed").fact_day())
    told.done()
    return appeal
