"""Reads what happens in a case after claims: reviews, reversals, changes of plan and price.

An event about an earlier claim holds everything that the claim is then decided from. Runs nothing.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from services.claims.core.decision import Bearer
from services.claims.core.facts import (
    BillFacts,
    LineFacts,
    PolicySnapshot,
    PriorPayments,
    Review,
    ReviewedLine,
)
from services.claims.core.intake import (
    MAX_QUANTITY,
    BillFault,
    bill_faults,
    priced,
    unknown_codes,
)
from services.claims.core.plan import Plan
from services.claims.core.review import review_faults
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


class Sender(enum.StrEnum):
    """Who handed a bill in; it settles alike."""

    HOSPITAL = "hospital"
    MEMBER = "member"


# What takes a claim's decision away and puts no other in its place.
ENDINGS = (Kind.VOID, Kind.WITHDRAW)
# Whom intake does not know, as it refuses their bills.
UNKNOWN_MEMBER, UNKNOWN_PROVIDER = "UNKNOWN_MEMBER", "UNKNOWN_PROVIDER"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happens; `bill` None leaves no decision in force.

    What is by policy has the empty name where the case has one policy. `only` is the policy whose
    claim it is about, None for all claims of the bill. `plans` and `insured` are what holds from
    here on, `family_size` how many people the policy insures then, where that changes. `again` says
    whether a bill number that came before brings the same content, `anew` that its earlier bill was
    taken back, so that this one is another. `unknown` is whom the case does not know, by the reason
    for which intake refuses such a bill.
    """

    name: str
    line: int
    who: str
    bill: BillFacts | None
    prior: PriorPayments
    expected: Table[str, Expected]
    kind: Kind = Kind.CLAIM
    order: tuple[str, ...] | None = None
    only: str | None = None
    reviews: Table[str, Review] = field(default_factory=dict)
    plans: Table[str, Plan] = field(default_factory=dict)
    insured: Table[str, PolicySnapshot] = field(default_factory=dict)
    family_size: int | None = None
    again: bool | None = None
    anew: bool = False
    unknown: str = ""


@dataclass(slots=True)
class Stated:
    """What is known of one bill so far, and every content that it was handed in with.

    `taken_back` says that all of it was reversed, `refused` that it opened no claim.
    """

    who: str
    bill: BillFacts
    prior: PriorPayments
    reviews: dict[str, Review] = field(default_factory=dict)
    contents: list[tuple[BillFacts, PriorPayments]] = field(default_factory=list)
    taken_back: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """How the reader of cases reads the parts of an event."""

    who: Callable[[Mapping], str]
    names_nobody: Callable[[Mapping], bool]
    knows_provider: Callable[[str], bool]
    bill: Callable[[Mapping, str], BillFacts]
    prior: Callable[[Mapping], PriorPayments]
    supplied: Callable[[Mapping, BillFacts], BillFacts]
    current: Callable[[BillFacts], BillFacts]
    price_list: Callable[[Mapping, str], None]
    person: Callable[[str, Value], Table[str, PolicySnapshot]]


@dataclass(slots=True)
class EventReader:
    """Reads one case's events in order; later ones say what changes of earlier claims.

    `plans` are the policies' own, by name.
    """

    plans: dict[str, Plan]
    expectations: Table[str, ExpectationReader]
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
        faults_before = term.faults.count
        check_workings(term)
        only = self._only(kind, term)
        if kind in (Kind.PRICE_LIST, Kind.PLAN_CHANGE, Kind.ENDORSEMENT):
            return self._change(kind, term, only)
        name = term.get(kind.value).text()
        before = _as_it_is(self.claims.get(name))
        if kind is Kind.CORRECTION and before is not None and before.refused:
            kind = Kind.CLAIM  # a bill that was refused opened nothing that could be corrected
        if kind is Kind.CLAIM and self._of_nobody(term):
            return self._unread(kind, term, name, UNKNOWN_MEMBER)
        who = self.parts.who(term)
        again, anew = None, False
        if kind is Kind.CLAIM:
            anew = before is not None and before.taken_back
            again = self._claimed(term, name, who)
        elif before is None:
            return self._unknown(kind, term, name)
        elif before.refused and kind is not Kind.WITHDRAW:
            term.get(kind.value).fault("UNKNOWN_CLAIM", f"{name} was refused and is no claim")
        if kind is Kind.CORRECTION and term.has("member") and who != self.claims[name].who:
            text = "a correction keeps its person; write a reversal of the bill and a claim of it"
            term.fault("BILL_OF_ANOTHER", text, "member")
        who = self.claims[name].who
        left = self._left(kind, term, name, only)
        person = term.maybe("person") if kind is Kind.COMPLETION else None
        stated = self.claims[name]
        order, expected = self._expected(term)
        unknown = ""
        if left is not None and again is None and term.faults.count == faults_before:
            unknown = self._refused(term, name, left, before, only, expected)
        return Event(
            name,
            term.line,
            who,
            left,
            stated.prior,
            expected,
            kind,
            order=order,
            only=only,
            reviews=dict(stated.reviews),
            insured={} if person is None else self.parts.person(who, person),
            again=again,
            anew=anew and again is None,
            unknown=unknown,
        )

    def _refused(
        self,
        term: Mapping,
        name: str,
        bill: BillFacts,
        before: Stated | None,
        only: str | None,
        expected: Table[str, Expected],
    ) -> str:
        """Whom the bill's case does not know; what is refused leaves nothing of itself.

        Then the bill is as it was `before`, or is no claim and its number is free.
        """
        wrong, unknown = self._wrong(bill, self.claims[name], only), ""
        if not wrong and not self.parts.knows_provider(bill.provider_id):
            unknown = UNKNOWN_PROVIDER
        if not any(one.refused for one in expected.values()):
            self._note_refusals(term, wrong)
        if not wrong and not unknown:
            return ""
        if before is None or before.refused:
            self.claims[name].refused = True
        else:
            self.claims[name] = before
        return unknown

    def _of_nobody(self, term: Mapping) -> bool:
        """Whether a claim is a stranger's, and the case says that it is refused for that."""
        told = term.maybe("expect")
        if told is None or not self.parts.names_nobody(term):
            return False
        return UNKNOWN_MEMBER in (one.value for one in told.mapping().items("refused"))

    def _wrong(self, bill: BillFacts, stated: Stated, only: str | None) -> tuple[BillFault, ...]:
        """What is wrong with a bill or a review under every plan that it is about."""
        found: tuple[BillFault, ...] = ()
        for policy, plan in self.plans.items():
            if only not in (None, policy):
                continue
            account_pays = plan.social_insurance.account_paid_is is Bearer.PRIOR_PAYER
            found = (
                *bill_faults(bill, stated.prior, plan.currency, account_pays=account_pays),
                *unknown_codes(plan, bill),
                *review_faults(plan, bill, stated.reviews.get(policy)),
            )
            if not found:
                return ()
        return found

    def _note_refusals(self, term: Mapping, wrong: tuple[BillFault, ...]) -> None:
        """What is wrong with a bill that could be read and that the case does not say is refused.

        Running the case tells it as a difference; a file with faults is not run, and tells it now.
        """
        for fault in wrong:
            where, text = f"{term.path}.{fault.field}", f"the bill is refused: {fault.text}"
            term.faults.add_beside(where, term.line, fault.reason, text)

    def _only(self, kind: Kind, term: Mapping) -> str | None:
        """The policy that an event names; where there are several a review must name one."""
        if "" in self.plans or kind in (Kind.CLAIM, Kind.CORRECTION, Kind.PRICE_LIST):
            return None
        one_claims = kind in (Kind.REVIEW, Kind.PLAN_CHANGE)
        found = term.get("policy") if one_claims else term.maybe("policy")
        return None if found is None else found.reference(self.plans, "policy")

    def _expected(self, term: Mapping) -> tuple[tuple[str, ...] | None, Table[str, Expected]]:
        """What must come out, by policy, and the order in which policies answer."""
        told = term.get("expect").mapping()
        if "" in self.plans:
            return None, {"": self.expectations[""].expected(told)}
        order, by_policy = told.maybe("order"), told.maybe("policies")
        found = {"": Expected(refused=tuple(item.text() for item in told.items("refused")))}
        if by_policy is not None:
            policies = by_policy.mapping()
            for name in policies.names():
                one = policies.get(name)
                reader = self.expectations.get(name)
                if reader is None:
                    one.fault("UNKNOWN_REFERENCE", f"the case has no policy {name!r}")
                    reader = next(iter(self.expectations.values()))
                found[name] = reader.expected(one.mapping(), tuple(self.plans))
        told.done()
        if order is None:
            return None, found
        return tuple(one.reference(self.plans, "policy") for one in order.items()), found

    def _claimed(self, term: Mapping, name: str, who: str) -> bool | None:
        """Take a bill in; of a number that came before, whether it brings the same content.

        One that was taken back is stated anew: by its hospital with any content, by a member with
        another, for what said the same before is an old copy.
        """
        of_member = _sender(term) is Sender.MEMBER
        before = self.claims.get(name)
        if before is None or before.refused:
            self._state(term, name, who)
            return None
        bill, prior = self.parts.bill(term, name), self.parts.prior(term)
        content = (_content(bill), prior)
        same = before.who == who and content in before.contents
        if before.taken_back and not (of_member and same):
            self.claims[name] = Stated(who, bill, prior, contents=[content])
            return None
        return same

    def _unknown(self, kind: Kind, term: Mapping, name: str) -> Event:
        if kind is not Kind.WITHDRAW:  # the runner itself tells of one to withdraw
            term.get(kind.value).fault(
                "UNKNOWN_CLAIM", f"no claim {name} comes before this event; claim it first"
            )
        return self._unread(kind, term, name, "")

    def _unread(self, kind: Kind, term: Mapping, name: str, unknown: str) -> Event:
        """An event of which nothing can be made but what it expects."""
        for key in term.names():
            term.maybe(key)  # none of them is an unknown key
        _, expected = self._expected(term)
        return Event(name, term.line, "", None, PriorPayments(), expected, kind, unknown=unknown)

    def _state(self, term: Mapping, name: str, who: str) -> None:
        bill, prior = self.parts.bill(term, name), self.parts.prior(term)
        before = self.claims.get(name)
        contents = before.contents if before is not None and not before.refused else []
        self.claims[name] = Stated(who, bill, prior, contents=[*contents, (_content(bill), prior)])

    def _left(self, kind: Kind, term: Mapping, name: str, only: str | None) -> BillFacts | None:
        """What there is to decide after the event."""
        stated = self.claims[name]
        if kind in ENDINGS:
            return None
        if kind is Kind.CORRECTION:
            _sender(term)
            self._state(term, name, stated.who)
        elif kind is Kind.REVERSAL:
            left = self._reversed(term, stated)
            stated.taken_back = left is None
            return left
        elif kind is Kind.REVIEW:
            stated.reviews[only or ""] = _review(term)
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
        left = {line.number: line.quantity for line in stated.bill.lines}
        stated.reviews = {policy: _of(one, left) for policy, one in stated.reviews.items()}
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
        currency = next(iter(self.plans.values())).currency  # of all
        billed = priced(left, line.unit_price, currency)
        return replace(line, quantity=left, billed=billed)

    def _change(self, kind: Kind, term: Mapping, only: str | None) -> Event:
        plans: dict[str, Plan] = {}
        insured: Table[str, PolicySnapshot] = {}
        name, who, size = kind.value, "", None
        if kind is Kind.PRICE_LIST:
            name = term.get(kind.value).text()
            self.parts.price_list(term, name)
        elif kind is Kind.PLAN_CHANGE:
            whose = only or ""
            if whose in self.plans:
                changed = changed_plan(self.plans[whose], term.get(kind.value).mapping())
                plans[whose] = self.plans[whose] = changed
        else:
            who = self.parts.who(term)
            insured = self.parts.person(who, term.get(kind.value))
            people = term.maybe("family_size")
            size = None if people is None else people.whole(least=1)
            if only is not None:
                insured = {policy: one for policy, one in insured.items() if policy == only}
        return Event(
            name,
            term.line,
            who,
            None,
            PriorPayments(),
            {},
            kind,
            plans=plans,
            insured=insured,
            family_size=size,
        )


def _sender(term: Mapping) -> Sender:
    found = term.maybe("sender")
    return Sender.HOSPITAL if found is None else found.choice(Sender)


def _as_it_is(stated: Stated | None) -> Stated | None:
    """A copy that stays as it is, whatever is stated next."""
    if stated is None:
        return None
    return dataclasses.replace(stated, reviews=dict(stated.reviews))


def _content(bill: BillFacts) -> BillFacts:
    """What makes two hand-ins of one bill the same; who sent it and what we know are not in it."""
    return replace(bill, hospital_tier=None, price_list=None, licences=(), direct_billing=False)


def _of(review: Review, left: Table[int, Decimal]) -> Review:
    """What a review still says of the lines that are left: it leaves no more than is there."""
    return Review(
        lines=tuple(
            one
            if one.quantity is None
            else replace(one, quantity=min(one.quantity, left[one.number]))
            for one in review.lines
            if one.number in left
        )
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
