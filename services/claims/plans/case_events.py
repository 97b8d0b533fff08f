"""Reads what happens in a case after claims: reviews, reversals, changes of plan and price.

An event about an earlier claim holds everything that the claim is then decided from. Runs nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from services.claims.core.facts import (
    BillFacts,
    LineFacts,
    PolicySnapshot,
    PriorPayments,
    Review,
    ReviewedLine,
)
from services.claims.core.intake import MAX_QUANTITY, priced
from services.claims.core.plan import Plan
from services.claims.plans.case_expectations import ExpectationReader, Expected
from services.claims.plans.case_facts import check_workings, read_boolean
from services.claims.plans.plan_changes import changed_plan
from services.claims.plans.reader import Mapping, Value

replace = msgspec.structs.replace


class Kind(enum.StrEnum):
    """What happens; the key that an event begins with."""

    CLAIM = "claim"
    CORRECTION = "correction"
    COMPLETION = "completion"
    REVIEW = "review"
    REVERSAL = "reversal"
    VOID = "void"
    WITHDRAW = "withdraw"
    PRICE_LIST = "price_list"
    PLAN_CHANGE = "plan_change"
    ENDORSEMENT = "endorsement"


# What takes a claim's decision away and puts no other in its place.
ENDINGS = (Kind.VOID, Kind.WITHDRAW)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happens; `bill` None leaves no decision in force.

    `plan` and `policy` are what holds from here on, None leaves them as they are.
    """

    name: str
    line: int
    who: str
    bill: BillFacts | None
    prior: PriorPayments
    expected: Expected
    kind: Kind = Kind.CLAIM
    review: Review | None = None
    plan: Plan | None = None
    policy: PolicySnapshot | None = None


@dataclass(slots=True)
class Stated:
    """What is known of one claim so far."""

    who: str
    bill: BillFacts
    prior: PriorPayments
    review: Review | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """How the reader of cases reads the parts of an event."""

    who: Callable[[Mapping], str]
    bill: Callable[[Mapping, str], BillFacts]
    prior: Callable[[Mapping], PriorPayments]
    supplied: Callable[[Mapping, BillFacts], BillFacts]
    current: Callable[[BillFacts], BillFacts]
    price_list: Callable[[Mapping, str], None]
    person: Callable[[str, Value], PolicySnapshot | None]


@dataclass(slots=True)
class EventReader:
    """Reads one case's events in order; later ones say what changes of earlier claims."""

    plan: Plan
    expectations: ExpectationReader
    parts: Parts
    claims: dict[str, Stated] = field(default_factory=dict)

    def events(self, term: Mapping) -> tuple[Event, ...]:
        """One item of `events`; claims that come together are several, in the order received."""
        together = term.maybe("together")
        if together is None:
            return (self._event(term),)
        places: dict[int, Event] = {}
        for number, item in enumerate(together.items(), start=1):
            one = item.mapping()
            order = one.maybe("order")
            place = number if order is None else order.whole(least=1)
            if place in places:
                item.fault("DUPLICATE_NUMBER", "two claims were received at one place; order them")
            places[place] = self._event(one)
            one.done()
        return tuple(places[place] for place in sorted(places))

    def _event(self, term: Mapping) -> Event:
        kinds = [kind for kind in Kind if term.has(kind.value)]
        if len(kinds) != 1:
            words = ", ".join(Kind)
            term.fault("NO_EVENT", f"an event begins with one of {words}, or together")
            for kind in kinds:
                term.maybe(kind.value)
            kinds = [Kind.CLAIM]
        kind = kinds[0]
        check_workings(term)
        if kind in (Kind.PRICE_LIST, Kind.PLAN_CHANGE, Kind.ENDORSEMENT):
            return self._change(kind, term)
        who = self.parts.who(term)
        name = term.get(kind.value).text()
        if kind is Kind.CLAIM:
            if name in self.claims:
                term.get(kind.value).fault(
                    "DUPLICATE_CLAIM", f"{name} was claimed before; correct it, or name another"
                )
            self._state(term, name, who)
        elif name not in self.claims:
            return self._unknown(kind, term, name, who)
        who = self.claims[name].who
        left = self._left(kind, term, name)
        person = term.maybe("person") if kind is Kind.COMPLETION else None
        stated = self.claims[name]
        return Event(
            name,
            term.line,
            who,
            left,
            stated.prior,
            self.expectations.expected(term.get("expect").mapping()),
            kind,
            stated.review,
            policy=None if person is None else self.parts.person(who, person),
        )

    def _unknown(self, kind: Kind, term: Mapping, name: str, who: str) -> Event:
        if kind is not Kind.WITHDRAW:  # the runner itself tells of one to withdraw
            term.get(kind.value).fault(
                "UNKNOWN_CLAIM", f"no claim {name} comes before this event; claim it first"
            )
        for key in term.names():
            term.maybe(key)  # without the claim nothing can be made of the rest; it is not unknown
        expected = self.expectations.expected(term.get("expect").mapping())
        return Event(name, term.line, who, None, PriorPayments(), expected, kind)

    def _state(self, term: Mapping, name: str, who: str) -> None:
        self.claims[name] = Stated(who, self.parts.bill(term, name), self.parts.prior(term))

    def _left(self, kind: Kind, term: Mapping, name: str) -> BillFacts | None:
        """What there is to decide after the event."""
        stated = self.claims[name]
        if kind in ENDINGS:
            return None
        if kind is Kind.CORRECTION:
            self._state(term, name, stated.who)
        elif kind is Kind.REVERSAL:
            return self._reversed(term, stated)
        elif kind is Kind.REVIEW:
            stated.review = _review(term)
        elif kind is Kind.COMPLETION:
            stated.bill = self.parts.supplied(term, stated.bill)
        stated = self.claims[name]
        stated.bill = self.parts.current(stated.bill)
        return stated.bill

    def _reversed(self, term: Mapping, stated: Stated) -> BillFacts | None:
        """The bill without what is reversed; nothing when all of it is."""
        lines = term.maybe("lines")
        if lines is None:
            return None
        told = lines.mapping()
        taken = {told.number(key): told.get(key) for key in told.names()}
        known = {line.number for line in stated.bill.lines}
        for number, quantity in taken.items():
            if number not in known:
                quantity.fault("UNKNOWN_LINE", f"the bill has no line {number}")
        kept = [
            self._line_left(line, taken[line.number]) if line.number in taken else line
            for line in stated.bill.lines
        ]
        bill = replace(stated.bill, lines=tuple(line for line in kept if line is not None))
        stated.bill = self.parts.current(self.parts.supplied(term, bill))
        if term.has("earlier_insurers"):
            stated.prior = self.parts.prior(term)
        return stated.bill if stated.bill.lines else None

    def _line_left(self, line: LineFacts, taken: Value) -> LineFacts | None:
        quantity = taken.decimal(places=4, most=MAX_QUANTITY)
        if quantity > line.quantity:
            taken.fault("ABOVE_BILLED", f"only {line.quantity} were billed")
        if quantity >= line.quantity:
            return None
        if line.fund_paid is not None:
            text = "what social insurance paid for the rest is not known; write a correction"
            taken.fault("FUND_PAID_UNKNOWN", text)
        left = line.quantity - quantity
        billed = priced(left, line.unit_price, self.plan.currency)
        return replace(line, quantity=left, billed=billed)

    def _change(self, kind: Kind, term: Mapping) -> Event:
        plan, policy, name, who = None, None, kind.value, ""
        if kind is Kind.PRICE_LIST:
            name = term.get(kind.value).text()
            self.parts.price_list(term, name)
        elif kind is Kind.PLAN_CHANGE:
            self.plan = plan = changed_plan(self.plan, term.get(kind.value).mapping())
        else:
            who = self.parts.who(term)
            policy = self.parts.person(who, term.get(kind.value))
            size = term.maybe("family_size")
            if policy is not None and size is not None:
                policy = replace(policy, family_size=size.whole(least=1))
        return Event(
            name, term.line, who, None, PriorPayments(), Expected(), kind, None, plan, policy
        )


def _review(term: Mapping) -> Review:
    lines = term.maybe("lines")
    if lines is None:
        return Review()
    told = lines.mapping()
    return Review(lines=tuple(_reviewed(told, key) for key in told.names()))


def _reviewed(told: Mapping, key: str) -> ReviewedLine:
    line = told.get(key).mapping()
    quantity, price = line.maybe("quantity"), line.maybe("price")
    reviewed = ReviewedLine(
        number=told.number(key),
        clause=line.get("clause").text(),
        quantity=None if quantity is None else quantity.decimal(places=4, most=MAX_QUANTITY),
        unit_price=None if price is None else price.decimal(places=6),
        denied=read_boolean(line.maybe("denied")) or False,
    )
    if reviewed.quantity is None and reviewed.unit_price is None and not reviewed.denied:
        text = "say what the reviewer leaves: quantity, price or denied: true"
        told.get(key).fault("NOTHING_REVIEWED", text)
    line.done()
    return reviewed
