"""Decides a case's events one after the other, each from what those before it left.

A decision that takes another's place starts from its exact release. It re-decides no other claim,
unless the plan says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from services.claims.core.accumulators import period_start
from services.claims.core.adjudicate import adjudicate, allowed_lines
from services.claims.core.claim import day_of_terms
from services.claims.core.decision import Decision, Disposition, conservation_faults
from services.claims.core.facts import (
    BillFacts,
    LinePayment,
    PolicySnapshot,
    PriorPayment,
    PriorPayments,
    usage_snapshot,
)
from services.claims.core.intake import UnacceptableBill, unknown_codes
from services.claims.core.plan import Others, Plan
from services.claims.plans.accumulator_units import accumulators, authorisation_accumulator
from services.claims.plans.case_book import Book, Standing, services_of
from services.claims.plans.case_compare import amounts_apart, compare, quantity
from services.claims.plans.case_events import UNKNOWN_MEMBER, Event, Kind
from services.claims.plans.case_expectations import Expected
from services.claims.plans.case_policies import CasePolicy, answering
from services.claims.plans.case_reader import Case
from services.common.dated import NoTermsInForce

_CHANGES = (Kind.PLAN_CHANGE, Kind.PRICE_LIST, Kind.ENDORSEMENT)
_NOTHING = Expected()


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision of a case's event, and what it was made of.

    `policy` is empty where the case has one.
    """

    event: str
    policy: str
    claim: str
    plan: Plan
    insured: PolicySnapshot
    bill: BillFacts
    decision: Decision


@dataclass(frozen=True, slots=True)
class CaseRun:
    """Every way in which it is decided otherwise than the case says, and all decisions made.

    `apart` are the decisions of the events that differ.
    """

    differences: tuple[str, ...]
    made: tuple[Decided, ...]
    apart: tuple[Decided, ...]


def run_case(case: Case) -> CaseRun:
    """What comes of a case's events, one after the other.

    A policy that began before its plan has terms ends the case at the first event of those days.
    """
    run = _Run(case)
    differences: list[str] = []
    apart: list[Decided] = []
    for event in case.events:
        before = len(run.made)
        try:
            told = [f"after {event.name}: {text}" for text in run.happen(event)]
        except NoTermsInForce as error:
            differences.append(f"after {event.name}: it cannot be decided: {error}")
            break
        differences += told
        apart += run.made[before:] if told else ()
    return CaseRun(tuple(differences), tuple(run.made), tuple(apart))


class _Run:
    """One case while it happens: its policies, and where each claim stands under them."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._books = {name: Book.of(name, one) for name, one in case.policies.items()}
        for policy, who, balance in case.balances:
            self._books[policy].held_before(who, balance)
        self._event = ""
        self.made: list[Decided] = []

    def happen(self, event: Event) -> Iterator[str]:
        """What differs after one event."""
        self._event = event.name
        for name, plan in event.plans.items():
            self._books[name].plan = plan
        for name, snapshot in event.insured.items():
            self._books[name].endorse(event.who, snapshot, event.family_size)
        if event.kind in _CHANGES:
            return
        if event.unknown or event.again is not None:
            yield from self._answered_at_intake(event)
            return
        if event.anew:
            for each in self._books.values():
                each.claims.pop(event.name, None)
        about = self._about(event)
        if not about:
            yield from self._about_nothing(event)
            return
        if event.order is not None and tuple(about) != event.order:
            wanted = ", ".join(event.order)
            yield f"the bill is claimed under {', '.join(about)}, the case says {wanted}"
        for book in about:
            yield from self._named(book, self._of_policy(event, self._books[book]))
        yield from self._go_on(event, about)
        for name in event.expected:
            if name and event.name not in self._books[name].claims:
                yield f"under {name}: the bill opens no claim"

    # --- which claims an event is about ---

    @property
    def _several(self) -> bool:
        return "" not in self._books

    def _named(self, policy: str, told: Iterator[str]) -> Iterator[str]:
        return (f"under {policy}: {text}" if policy else text for text in told)

    def _about(self, event: Event) -> list[str]:
        """The policies whose claims an event is about, in coordination order."""
        if event.kind is Kind.CLAIM and event.bill is not None:
            return self._order(event) if self._several else [""]
        fresh = self._newly_answering(event) if event.kind is Kind.CORRECTION else ()
        return [
            name
            for name in self._order(event)
            if name in fresh
            or (event.name in self._books[name].claims and event.only in (None, name))
        ]

    def _newly_answering(self, event: Event) -> list[str]:
        """Policies that a corrected bill falls under and that may have no claim of it yet."""
        if event.bill is None or not self._several:
            return []
        return answering(self._now(), event.who, event.bill, in_force=True)

    def _now(self) -> dict[str, CasePolicy]:
        """The policies as they are by now."""
        return {
            name: replace(one, plan=self._books[name].plan, insured=self._books[name].insured)
            for name, one in self._case.policies.items()
        }

    def _order(self, event: Event) -> list[str]:
        """The policies that answer for the event's bill as they are by now; then all others."""
        if not self._several:
            return [""]
        standing = next(
            (one.claims[event.name] for one in self._books.values() if event.name in one.claims),
            None,
        )
        bill = event.bill or (standing.bill if standing is not None else None)
        if bill is None:
            return []
        found = answering(self._now(), event.who, bill)
        if standing is None:
            return found
        return [*found, *(name for name in self._books if name not in found)]

    # --- what happens to them ---

    def _answered_at_intake(self, event: Event) -> Iterator[str]:
        """Whom nobody knows is refused, and so is a number with other content; nothing changes."""
        refused = self._refused(event)
        if event.unknown:
            if refused != {event.unknown}:
                who = "" if event.bill is None else event.bill.provider_id
                yield f"the bill is refused: nobody knows provider {who}; name it under providers"
        elif not event.again:
            if refused != {"BILL_CONFLICT"}:
                yield "the bill is refused: its number was taken in with other content"
        elif refused:
            yield f"the bill is accepted, the case says refused ({', '.join(sorted(refused))})"
        for name in self._order(event):
            book, expected = self._books[name], event.expected.get(name, _NOTHING)
            if event.name in book.claims:
                yield from self._named(name, self._compared(book, event.name, expected, 0))

    def _about_nothing(self, event: Event) -> Iterator[str]:
        """A claim of somebody whom no policy insures is refused; else there is nothing to end."""
        if event.kind is not Kind.CLAIM or event.bill is None:
            yield "there is no such claim to withdraw"
        elif self._refused(event) != {UNKNOWN_MEMBER}:
            yield "the bill is refused: no policy insures the member; name them under insures"

    def _refused(self, event: Event) -> set[str]:
        return set(event.expected.get("", _NOTHING).refused)

    def _of_policy(self, event: Event, book: Book) -> Iterator[str]:
        """What differs of one policy's claim, and of those that are decided again after it."""
        expected, refused = event.expected.get(book.name, _NOTHING), self._refused(event)
        refused |= set(expected.refused)
        before, standing = book.saved(), book.claims.get(event.name)
        if event.bill is None and (standing is None or standing.decision is None):
            yield "the claim has no decision in force that could be taken back"
            return
        later = self._later(book, event.name)
        for name in (event.name, *later):
            book.take_back(name)
        try:
            if event.bill is not None:
                review = event.reviews.get(book.name)
                claim = Standing(event.who, event.bill, event.prior, review)
                self._decide(book, event.name, claim)
                if refused:
                    wanted = ", ".join(sorted(refused))
                    yield f"the bill is accepted, the case says refused ({wanted})"
            for name in later:
                self._decide(book, name, book.claims[name])
        except UnacceptableBill as error:
            book.restore(before)
            if {fault.reason for fault in error.faults} != refused:
                yield f"the bill is refused: {error}"
        if event.name in book.claims:
            more = book.paid(event.name) - before.paid(event.name)
            yield from self._compared(book, event.name, expected, more)
        for name, wanted_other in expected.others.items():
            if name not in book.claims:
                yield f"there is no claim {name}"
                continue
            more = book.paid(name) - before.paid(name)
            told = self._compared(book, name, wanted_other, more)
            yield from (f"{name}: {text}" for text in told)

    def _later(self, book: Book, name: str) -> list[str]:
        """The claims that a re-decision decides again, where the plan says so, in their order."""
        standing, term = book.claims.get(name), book.plan.redecision
        if standing is None or term is None:
            return []
        day = day_of_terms(book.plan, book.insured[standing.who], standing.bill)
        if term.others.on(max(day, term.others.values[0][0])) is not Others.AGAIN:
            return []
        received = list(book.claims)
        after = received[received.index(name) + 1 :]
        return [other for other in after if book.claims[other].decision is not None]

    def _go_on(self, event: Event, about: list[str]) -> Iterator[str]:
        """Decide what waited for an earlier policy's decision of the same bill."""
        for name in self._order(event):
            book = self._books[name]
            claim = book.claims.get(event.name)
            if name in about or claim is None or claim.waits_for is None:
                continue
            self._decide(book, event.name, claim)
            expected = event.expected.get(name, _NOTHING)
            told = self._compared(book, event.name, expected, book.paid(event.name))
            yield from self._named(name, told)

    def _decide(self, book: Book, name: str, claim: Standing) -> None:
        """Decide a claim that has no decision in force.

        Raises: UnacceptableBill.
        """
        if unknown := unknown_codes(book.plan, claim.bill):
            raise UnacceptableBill(unknown)
        earlier = self._earlier(book, name, claim)
        if isinstance(earlier, str):
            book.claims[name] = replace(claim, waits_for=earlier)
            return
        services = services_of(claim.who, self._case.services, self._books.values(), name)
        insured = book.insured[claim.who]
        decision = adjudicate(
            book.plan,
            insured,
            usage_snapshot(book.balances_of(claim.who), services),
            claim.bill,
            PriorPayments(payments=(*claim.prior.payments, *earlier)),
            review=claim.review,
            claim_id=name,
        )
        book.use(claim.who, decision)
        allowed = tuple(allowed_lines(claim.bill, decision))
        paid = _paid(decision)
        book.claims[name] = replace(
            claim, decision=decision, paid=paid, allowed=allowed, waits_for=None
        )
        self.made.append(
            Decided(self._event, book.name, name, book.plan, insured, claim.bill, decision)
        )

    def _earlier(self, book: Book, name: str, claim: Standing) -> str | tuple[PriorPayment, ...]:
        """What policies before this one pay of the bill; or the one that has not decided yet."""
        payments = []
        event = Event(name, 0, claim.who, claim.bill, claim.prior, {})
        order = self._order(event)
        for other in order[: order.index(book.name)] if book.name in order else ():
            standing = self._books[other].claims.get(name)
            if standing is None:
                continue
            decision = standing.decision
            if standing.waits_for is not None or (decision and decision.disposition.waits):
                return other
            if decision is not None and decision.benefit:
                lines = tuple(
                    LinePayment(number=line.number, amount=line.benefit)
                    for line in decision.lines
                    if line.benefit
                )
                payments.append(PriorPayment(payer=other, amount=decision.benefit, lines=lines))
        return tuple(payments)

    # --- what comes out, beside what the case says ---

    def _compared(self, book: Book, name: str, expected: Expected, more: int) -> Iterator[str]:
        claim = book.claims[name]
        if expected.waits_for != claim.waits_for and (self._several and expected != _NOTHING):
            found, wanted = claim.waits_for or "nobody", expected.waits_for or "nobody"
            yield f"the claim waits for the decision of {found}, the case says {wanted}"
        if claim.decision is not None:
            yield from conservation_faults(claim.decision)
            yield from compare(book.plan, expected, claim.decision)
        currency = book.plan.currency
        yield from amounts_apart("what is paid now is", max(0, more), expected.pays, currency)
        back = expected.takes_back
        yield from amounts_apart("what is taken back is", max(0, -more), back, currency)
        yield from self._compare_balances(book, claim, expected)

    def _compare_balances(self, book: Book, claim: Standing, expected: Expected) -> Iterator[str]:
        """Balances of the period that the claim's terms look at."""
        known = accumulators(book.plan)
        policy = book.insured[claim.who]
        day = day_of_terms(book.plan, policy, claim.bill)
        for name, wanted in expected.balances.items():
            accumulator = known.get(name) or authorisation_accumulator(name)
            if accumulator is None:
                continue
            start = period_start(accumulator.period, policy, day)
            found = book.balance(claim.who, accumulator, start)
            if found != wanted:
                yield (
                    f"balance {name} is {quantity(accumulator, found, book.plan.currency)}, "
                    f"the case says {quantity(accumulator, wanted, book.plan.currency)}"
                )


def _paid(decision: Decision) -> int:
    """What is paid under a decision: nothing while it waits, save for what is undisputed."""
    if decision.disposition in (Disposition.AUTO_APPROVED, Disposition.APPROVED):
        return decision.benefit
    return decision.pays_now
