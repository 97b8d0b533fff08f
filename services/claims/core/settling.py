"""The money of all lines of a claim, in the order submitted, and what a claim that waits reserves.

Neither refuses a line by itself nor writes a decision down: rules do the one, `adjudicate` the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from services.claims.core.accumulators import Tally, most_of
from services.claims.core.amounts import Amounts, Visit, allow, count_units, pay
from services.claims.core.claim import Claim, Line
from services.claims.core.conditions import best_share, covers, may_cover
from services.claims.core.decision import UsageChange
from services.claims.core.edits import keep_allowed
from services.claims.core.payments import place_payments
from services.claims.core.reasons import Reason
from services.claims.core.rules import beside_others, refuse_again, rules_together, waits

# Told of each line in turn, with what the claim has added to the accumulators by then.
Watch = Callable[[Claim, Amounts, tuple[UsageChange, ...]], None]
_AT_A_CEILING = (Reason.SECTION_CEILING, Reason.CEILING)
_BY_A_COUNT = (Reason.FREQUENCY, Reason.AUTHORISATION_EXCEEDED)
# Payments are placed anew by what was allowed; two placements that lead to each other end here.
_PLACEMENTS = 4


@dataclass(slots=True)
class Settled:
    """Every line's money, and what the claim adds to the accumulators after each."""

    tally: Tally
    lines: list[Amounts] = field(default_factory=list)
    counted: list[Line] = field(default_factory=list)
    seen: list[tuple[Amounts, tuple[UsageChange, ...]]] = field(default_factory=list)

    @property
    def changes(self) -> tuple[UsageChange, ...]:
        """What the claim adds, in canonical order."""
        return self.tally.changes()


def settle(claim: Claim, watch: Watch | None = None) -> Settled:
    """What is paid of each line. A line that a ceiling denies uses up no count of later lines.

    Most claims are settled at once. Where such a line stands before one that a count is about,
    each line is refused, allowed and paid before the next is looked at.
    """
    units = claim.before.afresh()
    lines = [_allowed(claim, line, units) for line in claim.lines]
    place_payments(claim, lines)
    settled = Settled(claim.before.afresh(), lines)
    visit = Visit(settled.tally, reserve=False)
    for one in lines:
        _pay(claim, one, visit, settled, watched=watch is not None)
    if _took_in_vain(lines):
        settled = _settle_in_turn(claim, lines, watched=watch is not None)
    _count(claim, settled, reserve=False)
    if watch is not None:
        for one, added in settled.seen:
            watch(claim, one, added)
    return settled


def reserve(claim: Claim, settled: Settled) -> tuple[UsageChange, ...]:
    """The most that a waiting claim could use of each limit; the claim's lines are used up by it.

    Waiting lines are paid at their best share. What is refused only because of a line that waits
    is reserved as well: of one waiting line the larger of both outcomes, of several all of them,
    since each may yet be refused by itself. Where undisputed lines are paid first, they use up
    what they do, deductibles included, and only the others reserve, after them.
    """
    waiting = {one.line.facts.number for one in settled.lines if waits(claim, one.line)}
    vain = {one.line.facts.number for one in settled.lines if _ceiling_denies(one)}
    units = claim.before.afresh()
    standing = [_allowed(claim, line, units) for line in claim.lines]
    unsure = (waiting or vain) and any(_may_rest_on_another(one) for one in standing)
    before = [(one.refusal is None, one.units) for one in standing]
    changes = _reserved(claim, standing, settled)
    if not unsure:
        return changes
    lifted = _without(claim, waiting | vain)
    if before == [(one.refusal is None, one.units) for one in lifted]:
        return changes
    if len(waiting) == 1 and not vain:
        others = [one for one in lifted if one.line.facts.number not in waiting]
        absent = [one for one in lifted if one.line.facts.number in waiting]
        return most_of(changes, _reserved(claim, others, settled, absent))
    return _reserved(claim, lifted, settled)


def _allowed(claim: Claim, line: Line, units: Tally) -> Amounts:
    """What is allowed of the line, and counted among the units of the claim."""
    one = allow(claim, line, units)
    if one.refusal is None:
        count_units(claim, one, units)
    return one


def _pay(claim: Claim, one: Amounts, visit: Visit, settled: Settled, *, watched: bool) -> None:
    """Pay a line that nothing refused and that waits for nothing, or reserve it."""
    if one.refusal is None and (visit.reserve or not one.line.missing):
        one.share = best_share(claim, one.line)
        pay(claim, one, visit)
        if one.allowed or visit.reserve:
            settled.counted.append(one.line)
    if watched:
        settled.seen.append((one, visit.tally.added()))


def _ceiling_denies(one: Amounts) -> bool:
    """Whether lines of this claim used a ceiling up before the line."""
    refusal = one.refusal
    return refusal is not None and one.line.refusal is None and refusal.reason in _AT_A_CEILING


def _took_in_vain(lines: Iterable[Amounts]) -> bool:
    """Whether a count may have been used up by a line that was denied after it was counted."""
    denied = False
    for one in lines:
        if denied and (_counts(one) or _refused_by_count(one)):
            return True
        denied = denied or (one.refusal is not None and one.line.refusal is None)
    return False


def _counts(one: Amounts) -> bool:
    authority = one.line.authority
    counted = one.line.about.unit_limits or (authority is not None and authority.needs)
    return bool(counted) and one.refusal is None


def _refused_by_count(one: Amounts) -> bool:
    return one.refusal is not None and one.refusal.reason in _BY_A_COUNT


def _may_rest_on_another(one: Amounts) -> bool:
    """Whether the line may be refused, or left fewer units, because of another one."""
    return not one.line.refused_alone if one.refusal is not None else _counts(one)


def _settle_in_turn(claim: Claim, lines: list[Amounts], *, watched: bool) -> Settled:
    """Each line refused, allowed, paid and counted before the next.

    Earlier payers' money is placed by what is allowed of all lines, so it is placed again by what
    was allowed in the round before, until it stays.
    """
    settled, eligible = _round(claim, lines, watched=watched)
    for _ in range(_PLACEMENTS):
        if _payments(eligible) == _payments(lines):
            break
        lines = eligible
        settled, eligible = _round(claim, lines, watched=watched)
    return settled


def _payments(lines: Iterable[Amounts]) -> list[tuple[int, int]]:
    return [(one.social, one.prior) for one in lines]


def _round(claim: Claim, placed: list[Amounts], *, watched: bool) -> tuple[Settled, list[Amounts]]:
    """All lines in turn with payments as placed, and what was allowed of each before it was paid.

    On the latter the payments are placed anew.
    """
    settled, units = Settled(claim.before.afresh()), claim.before.afresh()
    visit = Visit(settled.tally, reserve=False)
    eligible = []
    beside_others(claim)
    rules = rules_together(claim)
    for line, (social, prior) in zip(claim.lines, _payments(placed), strict=True):
        refuse_again(rules, claim, line)
        one = allow(claim, line, units)
        eligible.append(Amounts(line, one.billed, one.refusal, one.allowed))
        one.social, one.prior = social, prior
        _pay(claim, one, visit, settled, watched=watched)
        settled.lines.append(one)
        if one.refusal is None:
            count_units(claim, one, units)
            keep_allowed(claim, line)
    place_payments(claim, eligible)
    return settled, eligible


def _without(claim: Claim, mute: set[int]) -> list[Amounts]:
    """What is allowed of all lines when these, by their numbers, count toward nothing of others."""
    beside_others(claim, mute)
    rules = rules_together(claim)
    units, lines = claim.before.afresh(), []
    for line in claim.lines:
        refuse_again(rules, claim, line)
        one = allow(claim, line, units)
        lines.append(one)
        if one.refusal is None and line.facts.number not in mute:
            count_units(claim, one, units)
            keep_allowed(claim, line)
    return lines


def _reserved(
    claim: Claim, lines: list[Amounts], settled: Settled, absent: Iterable[Amounts] = ()
) -> tuple[UsageChange, ...]:
    """What these lines use and reserve; those that are absent take their payments and no more."""
    place_payments(claim, [*lines, *absent])
    first = claim.terms.undisputed_first
    as_paid = {one.line.facts.number: one for one in settled.lines}
    reserved = Settled(claim.before.afresh(), lines)
    visit = Visit(reserved.tally, reserve=True)
    pending = [not first or _more_than(as_paid[one.line.facts.number], one) for one in lines]
    for reserves in (False, True):
        visit.reserve = reserves
        for one, waiting in zip(lines, pending, strict=True):
            if waiting is reserves:
                _pay(claim, one, visit, reserved, watched=False)
    _count(claim, reserved, reserve=True)
    return reserved.changes


def _more_than(paid: Amounts, one: Amounts) -> bool:
    """Whether the line waits, or could get more than what is paid first."""
    if one.line.missing:
        return True
    if one.refusal is not None or _ceiling_denies(paid):
        return False
    return paid.refusal is not None or one.units > paid.units or one.allowed > paid.allowed


def _count(claim: Claim, settled: Settled, *, reserve: bool) -> None:
    """One count for each limit that covers an allowed line, whatever it paid.

    To reserve, one for each that could cover it.
    """
    about = may_cover if reserve else covers
    for one in claim.terms.count_limits:
        term = one.term
        if any(about(term.covers, claim, line) for line in settled.counted):
            settled.tally.add(term.id, term.scope, term.period, count=1)
