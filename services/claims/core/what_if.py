"""What a household's claims would have come to under another plan: pure, in the order received.

A household is everybody whose claims can read each other's use: the people and policies of one
insurer that are linked by a claim. It asks no database and stores nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache

import msgspec

from services.claims.core.accumulators import with_changes
from services.claims.core.adjudicate import adjudicate, allowed_lines, decide_again
from services.claims.core.canonical import Inputs, decision_from, inputs_from
from services.claims.core.decision import Bearer, Decision, Disposition, UsageChange
from services.claims.core.facts import (
    Balance,
    BillFacts,
    EarlierService,
    LinePayment,
    PolicySnapshot,
    PriorPayment,
    PriorPayments,
    Review,
    Scope,
    UsageSnapshot,
    usage_snapshot,
)
from services.claims.core.intake import UnacceptableBill, unknown_codes, unknown_systems
from services.claims.core.plan import Plan, reads_family_size
from services.claims.core.reasons import RANK, Reason
from services.claims.core.repeats import Allowed, allowed_from, services_that_matter
from services.common.dated import NoTermsInForce

_SHARED = (Scope.FAMILY, Scope.POLICY)


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Common shape of what goes to a deciding process and comes back."""


class Held(Message, frozen=True):
    """A balance of a policy; `subject` is empty where all of it share one."""

    policy_id: str
    subject: str
    balance: Balance


class Part(enum.StrEnum):
    """What a claim is to a period."""

    EARLIER = "earlier"  # received before it: its services count, its use is held
    STANDS = "stands"  # within it, of another plan: counts as it is stored
    AGAIN = "again"  # within it: decided again
    LATER = "later"  # received after it: what it has used is given back, and that is all


class StoredClaim(Message, frozen=True):
    """A claim with its decision in force, as stored, in canonical bytes.

    `output` is there for all but the earlier ones, `inputs` for those that are decided again,
    `services` for the earlier ones and those that stand. `family_sizes` hold how many people the
    policy's revisions insure. `earlier_under`: of one that is decided again and that an earlier
    engine decided, the version of the plan under which it did.
    """

    seq: int
    name: str
    policy_id: str
    member_id: str
    person: str
    received: date
    part: Part
    output: bytes = b""
    inputs: bytes = b""
    services: bytes = b""
    family_sizes: dict[int, int] = {}
    earlier_under: str = ""


class Household(Message, frozen=True):
    """Claims in the order received, and what all of its policies' balances hold today."""

    claims: tuple[StoredClaim, ...]
    held: tuple[Held, ...] = ()


class Task(Message, frozen=True):
    """What one process decides at once.

    `plans`: in canonical bytes, those under which an earlier engine decided some of it.
    """

    households: tuple[Household, ...]
    plans: dict[str, bytes] = {}


class Change(enum.StrEnum):
    """What became of a claim; the names of lipei.claims.v1.WhatIfChange."""

    SAME = "same"
    UP = "up"
    DOWN = "down"
    DENIED = "denied"
    NEWLY_PAID = "newly_paid"
    PENDED = "pended"
    UNDECIDABLE = "undecidable"


class Cause(enum.StrEnum):
    """Why the plan cannot decide a claim; the names of lipei.claims.v1.WhatIfCause."""

    NO_TERMS = "no_terms"
    UNKNOWN_CODE_SYSTEM = "unknown_code_system"
    UNKNOWN_CLAUSE = "unknown_clause"
    OTHER_FAULT = "other_fault"


class Cannot(Message, frozen=True):
    """One cause and what it is about: a code system's URI, a clause, or the reason of a fault.

    Of a day without terms, nothing: it would tell of a person's treatment.
    """

    cause: Cause
    about: str = ""


class Moved(Message, frozen=True):
    """What one bearer bears for one reason, before and after, in minor units."""

    bearer: Bearer
    reason: Reason
    before: int
    after: int


class Outcome(Message, frozen=True):
    """One claim as it is decided and as it would be; `shares` of every bearer and reason.

    A side that waits has no shares: nobody bears anything yet. What it proposes to pay, beyond
    what it pays already, is `proposed`.

    `todays`: where an earlier engine decided, and today's decides otherwise from the same inputs
    under the same plan, what today's would pay: so much is none of the other plan's doing.

    Where `cannot` says why it would not be decided at all, there is nothing to compare: `after`
    and `shares` say nothing.
    """

    seq: int
    before: int
    after: int
    change: Change
    shares: tuple[Moved, ...]
    pended_before: bool = False
    pended_after: bool = False
    proposed_before: int = 0
    proposed_after: int = 0
    todays: int | None = None
    cannot: tuple[Cannot, ...] = ()


class BalancesAltered(ValueError):
    """An accumulator holds less than the decisions in force have used up."""


class _LineDay(msgspec.Struct, frozen=True):
    service_date: date | None = None


class _BillDays(msgspec.Struct, frozen=True):
    end_date: date
    lines: tuple[_LineDay, ...]


class _Days(msgspec.Struct, frozen=True):
    bill: _BillDays


_days = msgspec.json.Decoder(_Days)


def first_service_day(claim: StoredClaim) -> date:
    """The day of the first service of a claim that is decided again."""
    bill = _days.decode(claim.inputs).bill
    return min(line.service_date or bill.end_date for line in bill.lines)


def pays(decision: Decision) -> int:
    """What a decision pays as it stands: while it waits, only what the plan pays first."""
    return decision.pays_now if decision.disposition.waits else decision.benefit


def decide_household(
    plan: Plan, household: Household, plans: Mapping[str, Plan] | None = None
) -> list[Outcome]:
    """Each claim of the period, in the order received, decided under the plan.

    `plans` are those under which an earlier engine decided, by their versions.

    What the period's claims and later ones have used as stored is given back first; the rest is
    what was in force before. A claim that the plan cannot decide uses nothing up, and allows
    nothing.

    Raises: BalancesAltered.
    """
    decided = {
        claim.seq: decision_from(claim.output)
        for claim in household.claims
        if claim.part is not Part.EARLIER
    }
    use = _Use(household, decided)
    found = []
    for claim in sorted(household.claims, key=lambda one: one.seq):
        if claim.part is Part.AGAIN:
            was = (plans or {}).get(claim.earlier_under)
            found.append(_decided_again(plan, was, use, claim, decided[claim.seq]))
        elif claim.part is not Part.LATER:
            use.stands(claim, decided.get(claim.seq))
    return found


class _Use:
    """What the household has used up and was allowed, up to the claim at hand."""

    def __init__(self, household: Household, decided: Mapping[int, Decision]) -> None:
        held: dict[tuple[str, str], list[Balance]] = {}
        for one in household.held:
            held.setdefault((one.policy_id, one.subject), []).append(one.balance)
        self._balances = {key: usage_snapshot(some) for key, some in held.items()}
        # By person, then provider, bill and line: a line that several policies allowed is one.
        self._services: dict[str, dict[tuple[str, str, int], EarlierService]] = {}
        # By person, provider and bill, what claims decided again pay, in coordination order.
        self._paid: dict[tuple[str, str, str], dict[str, tuple[LinePayment, ...]]] = {}
        for claim in household.claims:
            if claim.seq in decided:
                self._add(claim, decided[claim.seq].usage_changes, release=True)

    def stands(self, claim: StoredClaim, decided: Decision | None) -> None:
        """A claim that stays as it is stored; without its decision, its use is held already."""
        if decided is not None:
            self._add(claim, decided.usage_changes)
        self._allow(claim, allowed_from(claim.services))

    def before(self, plan: Plan, claim: StoredClaim, bill: BillFacts) -> UsageSnapshot:
        """What the claim's decision reads."""
        balances = [
            one
            for subject in ("", claim.member_id)
            for one in self._of(claim.policy_id, subject).balances
        ]
        known = self._services.get(claim.person)
        if not known:
            return usage_snapshot(balances)
        reach = services_that_matter(plan, bill)
        own = (bill.provider_id, bill.bill_number)
        services = (one for key, one in known.items() if key[:2] != own and reach.has(one))
        return usage_snapshot(balances, services)

    def prior(self, claim: StoredClaim, bill: BillFacts, stored: PriorPayments) -> PriorPayments:
        """What earlier insurers paid: as it would be where their claim is decided again too."""
        again = self._paid.get((claim.person, bill.provider_id, bill.bill_number))
        if not again:
            return stored
        payments = [one for one in stored.payments if one.payer not in again]
        payments += (
            PriorPayment(payer=payer, amount=sum(line.amount for line in lines), lines=lines)
            for payer, lines in again.items()
            if lines
        )
        return PriorPayments(payments=tuple(payments))

    def decided(self, claim: StoredClaim, bill: BillFacts, decision: Decision) -> None:
        """Count what the what-if decision uses up, allows and pays."""
        self._add(claim, decision.usage_changes)
        self._allow(claim, allowed_lines(bill, decision))
        waits = decision.disposition.waits
        lines = (
            ()
            if waits
            else tuple(
                LinePayment(number=line.number, amount=line.benefit)
                for line in decision.lines
                if line.benefit
            )
        )
        self.pays(claim, bill, lines)

    def pays(self, claim: StoredClaim, bill: BillFacts, lines: tuple[LinePayment, ...]) -> None:
        """What later policies' claims for the same bill see of it."""
        key = (claim.person, bill.provider_id, bill.bill_number)
        self._paid.setdefault(key, {})[claim.policy_id] = lines

    def _of(self, policy_id: str, subject: str) -> UsageSnapshot:
        return self._balances.get((policy_id, subject), UsageSnapshot())

    def _add(
        self, claim: StoredClaim, changes: Sequence[UsageChange], *, release: bool = False
    ) -> None:
        for shared in (True, False):
            some = tuple(one for one in changes if (one.scope in _SHARED) is shared)
            if some:
                subject = "" if shared else claim.member_id
                before = self._of(claim.policy_id, subject)
                try:
                    after = with_changes(before, some, release=release)
                except ValueError:
                    raise BalancesAltered from None
                self._balances[claim.policy_id, subject] = after

    def _allow(self, claim: StoredClaim, services: Iterable[Allowed]) -> None:
        known = self._services.setdefault(claim.person, {})
        for number, one in ((each.number, each.service) for each in services):
            named = msgspec.structs.replace(one, claim=claim.name)
            known[one.provider_id, one.bill_number, number] = named


def _decided_again(
    plan: Plan, was: Plan | None, use: _Use, claim: StoredClaim, decided: Decision
) -> Outcome:
    inputs = inputs_from(claim.inputs)
    bill = _bill(plan, claim, inputs.bill)
    try:
        faults = unknown_codes(plan, bill)
        if faults:
            raise UnacceptableBill(faults)
        again = adjudicate(
            plan,
            _policy(plan, claim, inputs.policy),
            use.before(plan, claim, bill),
            bill,
            use.prior(claim, bill, inputs.prior),
            review=inputs.review,
            claim_id=claim.name.rpartition("/")[2],
        )
    except (UnacceptableBill, NoTermsInForce) as error:
        use.pays(claim, bill, ())
        return Outcome(
            seq=claim.seq,
            before=pays(decided),
            after=0,
            change=Change.UNDECIDABLE,
            shares=(),
            cannot=_causes(plan, bill, inputs.review, error),
        )
    use.decided(claim, bill, again)
    return Outcome(
        seq=claim.seq,
        before=pays(decided),
        after=pays(again),
        change=_change(decided, again),
        shares=_moved(decided, again),
        pended_before=decided.disposition.waits,
        pended_after=again.disposition.waits,
        proposed_before=_proposed(decided),
        proposed_after=_proposed(again),
        todays=None if was is None else _todays(was, inputs, decided),
    )


def _todays(was: Plan, inputs: Inputs, decided: Decision) -> int | None:
    """What today's engine pays where an earlier one decided otherwise; None where it does not.

    Where today's refuses what the earlier one took, nobody knows what it would pay: the same.
    """
    try:
        again = decide_again(was, inputs)
    except (UnacceptableBill, NoTermsInForce):
        return pays(decided)
    same = (
        _change(decided, again) is Change.SAME
        and _proposed(again) == _proposed(decided)
        and _borne(again) == _borne(decided)
        and again.disposition.waits is decided.disposition.waits
    )
    return None if same else pays(again)


def _causes(
    plan: Plan, bill: BillFacts, review: Review | None, error: UnacceptableBill | NoTermsInForce
) -> tuple[Cannot, ...]:
    """Every cause once; each code system and clause is named."""
    if isinstance(error, NoTermsInForce):
        return (Cannot(cause=Cause.NO_TERMS),)
    found: set[tuple[Cause, str]] = set()
    for fault in error.faults:
        if fault.reason == "UNKNOWN_CODE_SYSTEM":
            found |= {(Cause.UNKNOWN_CODE_SYSTEM, one) for one in unknown_systems(plan, bill)}
        elif fault.reason == "UNKNOWN_CLAUSE" and review is not None:
            clauses = {one.clause for one in review.lines} - {one.id for one in plan.clauses}
            found |= {(Cause.UNKNOWN_CLAUSE, one) for one in clauses}
        else:
            found.add((Cause.OTHER_FAULT, fault.reason))
    return tuple(Cannot(cause=cause, about=about) for cause, about in sorted(found))


def _bill(plan: Plan, claim: StoredClaim, bill: BillFacts) -> BillFacts:
    """The bill with the day of its arrival where the plan asks for it, and without where not."""
    asked = plan.edits is not None and plan.edits.filing is not None
    received = claim.received if asked else None
    if bill.received_date == received:
        return bill
    return msgspec.structs.replace(bill, received_date=received)


def _policy(plan: Plan, claim: StoredClaim, policy: PolicySnapshot) -> PolicySnapshot:
    size = claim.family_sizes.get(policy.revision) if reads_family_size(plan) else None
    if policy.family_size == size:
        return policy
    return msgspec.structs.replace(policy, family_size=size)


def _change(decided: Decision, again: Decision) -> Change:
    before, after = pays(decided), pays(again)
    if again.disposition.waits and not decided.disposition.waits:
        return Change.PENDED
    if again.disposition is Disposition.DENIED and decided.disposition is not Disposition.DENIED:
        return Change.DENIED
    if after == before:
        return Change.SAME
    if after > before:
        return Change.UP if before else Change.NEWLY_PAID
    return Change.DOWN


def _moved(decided: Decision, again: Decision) -> tuple[Moved, ...]:
    before, after = _borne(decided), _borne(again)
    return tuple(
        Moved(bearer=key[0], reason=key[1], before=before.get(key, 0), after=after.get(key, 0))
        for key in sorted({*before, *after}, key=share_rank)
    )


def _proposed(decision: Decision) -> int:
    return decision.benefit - decision.pays_now if decision.disposition.waits else 0


def _borne(decision: Decision) -> dict[tuple[Bearer, Reason], int]:
    found: dict[tuple[Bearer, Reason], int] = {}
    if decision.disposition.waits:  # its sums are of what is paid, and so are its reasons
        return found
    for line in decision.lines:
        for share in line.shares:
            key = (share.bearer, share.reason)
            found[key] = found.get(key, 0) + share.amount
    return found


@lru_cache(maxsize=1_024)
def share_rank(key: tuple[Bearer, Reason]) -> tuple[int, str]:
    """Orders bearers and reasons: by precedence of the reason."""
    return RANK[key[1]], key[0].value
