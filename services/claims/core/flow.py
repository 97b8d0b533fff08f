"""How a decided claim goes on: who is paid, which claims a person looks at, what is paid first.

It moves no money between bearers. Knows no storage and no clock; chance comes from hashes alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from decimal import Decimal

from services.claims.core.claim import Claim, Line, Missing, day_of_terms
from services.claims.core.conditions import covers, holds
from services.claims.core.decision import Payee, Pend
from services.claims.core.facts import BillFacts, PolicySnapshot
from services.claims.core.plan import Plan
from services.claims.core.reasons import Reason
from services.claims.core.terms import terms_on


def unknown_facts(claim: Claim, line: Line) -> Iterator[Missing]:
    """What family steps and payees read and nobody stated."""
    terms = claim.terms
    unknown = terms.steps and claim.policy.family_size is None
    if unknown and any(covers(one, claim, line) for one in terms.steps):
        yield Missing("policy.family_size")
    payee = payee_of(claim, line)
    if isinstance(payee, Missing):
        yield payee


def payee_of(claim: Claim, line: Line) -> Payee | Missing | None:
    """Who gets the line's benefit: the first term whose conditions hold; None when none does."""
    for one in claim.terms.payees:
        applies = holds(one.term.when, one.diagnoses, claim, line)
        if isinstance(applies, Missing):
            return applies
        if applies:
            return one.value
    return None


def is_sampled(claim_id: str, plan_version: str, rate: Decimal) -> bool:
    """Whether a person looks at the claim although nothing is wrong with it.

    The same claim under the same plan version is always or never sampled: the first 64 bits of
    SHA-256 over both, as a fraction, lie below `rate` or not. 0 samples none, 1 samples all.

    >>> is_sampled("c1", "p@sha256:0", Decimal(1)), is_sampled("c1", "p@sha256:0", Decimal(0))
    (True, False)
    """
    drawn = hashlib.sha256(f"{claim_id}\n{plan_version}".encode()).digest()[:8]
    return int.from_bytes(drawn) < rate * 2**64


def review_pends(claim: Claim, benefit: int, *, version: str, payable: bool) -> Iterator[Pend]:
    """The persons whom a claim that nobody has reviewed waits for.

    `benefit` is what it would pay, in minor units; `payable` says that some line is not denied.
    """
    plan, terms = claim.plan, claim.terms
    if claim.review is not None:
        return
    most = terms.auto_pay_ceiling
    if plan.auto_pay_ceiling is not None and most is not None and benefit > most:
        yield _to_a_person(plan.auto_pay_ceiling.clause, "review.auto_pay_ceiling")
    rate = terms.sampling
    if plan.sampling is None or rate is None or not payable:
        return
    if is_sampled(claim.claim_id, version, rate):
        yield _to_a_person(plan.sampling.clause, "review.sampling")


def _to_a_person(clause: str, awaits: str) -> Pend:
    return Pend(reason=Reason.REVIEW_NEEDED, clause=clause, awaits=awaits)


def two_must_agree(plan: Plan, policy: PolicySnapshot, bill: BillFacts, amount: int) -> bool:
    """Whether two people must agree that so much, in minor units, is asked back or given up.

    The threshold is that of reviews, on the day whose terms have decided the claim.
    """
    most = terms_on(plan, day_of_terms(plan, policy, bill), policy.family_size).four_eyes
    return most is not None and amount > most


def needs_four_eyes(claim: Claim, benefit: int) -> bool:
    """Whether two people must review a benefit of this size, in minor units."""
    most = claim.terms.four_eyes
    return most is not None and benefit > most
