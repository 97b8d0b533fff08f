"""What adjusters find: a review decides a claim anew, a second person confirms it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import grpc

from lipei.claims.v1 import reason_pb2
from lipei.claims.v1 import review_pb2 as pb
from services.claims.adjusting import redecide
from services.claims.core.canonical import Inputs
from services.claims.core.decision import Decision, Disposition
from services.claims.core.facts import Review, ReviewedLine
from services.claims.core.flow import two_must_agree
from services.claims.core.life_cycle import ClaimState, Event
from services.claims.core.reasons import Reason
from services.claims.deciding import decide, take_effect
from services.claims.desk import Desk
from services.claims.owing import takes_from_one_for_another
from services.claims.storage import claims as store
from services.claims.storage import decisions, sealed
from services.claims.storage.acts import (
    ActKind,
    Told,
    propose,
    told_in,
    write_act,
)
from services.claims.storage.rows import ActRow, ClaimRow
from services.common.money import format_minor, parse_decimal
from services.common.refusals import Refused, Violation

# Where a claim stands whose decision is made anew by a person.
ADJUSTED = (ClaimState.PAID, ClaimState.DENIED, ClaimState.CLOSED_ZERO)
UNIT_PLACES, PRICE_PLACES = 4, 6
_CLAUSE = re.compile(r"[!-~]{1,80}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Doing:
    """One thing that a person does with one claim; nobody else moves it meanwhile."""

    desk: Desk
    row: ClaimRow
    person: str  # who, to tell two persons apart
    actor: str  # who, as the claim's history says it

    def write(self, kind: ActKind, told: Told) -> str:
        """Keep what was done; the act's id."""
        desk = self.desk
        return write_act(
            desk.connection, desk.sealer, self.row, kind, told, self.person, desk.at_us
        )

    def move(self, *events: Event, **columns: Any) -> ClaimState:
        """Move the claim; the state after."""
        row, desk = self.row, self.desk
        state = ClaimState(row.state)
        return store.move_on(
            desk.connection, row.id, state, events, self.actor, desk.at_us, **columns
        )


def faults_of(request: pb.ReviewClaimRequest | pb.AdjustClaimRequest) -> list[Violation]:
    """Everything wrong with what an adjuster says of lines, as far as no bill is needed to see."""
    faults = []
    for index, line in enumerate(request.lines):
        where = f"lines[{index}]"
        if not _CLAUSE.fullmatch(line.clause):
            faults.append(Violation(f"{where}.clause", "MISSING", "name a clause of the plan"))
        if not (line.deny_reason or line.units or line.unit_price):
            text = "deny the line, or say its units or its price; leave out what stays as it is"
            faults.append(Violation(where, "SAYS_NOTHING", text))
        if line.deny_reason and (line.units or line.unit_price):
            text = "a line that is denied has neither units nor price"
            faults.append(Violation(where, "CONTRADICTS", text))
        if line.deny_reason not in reason_pb2.Reason.values():
            faults.append(Violation(f"{where}.deny_reason", "UNKNOWN_VALUE", "is not a reason"))
        for field, places in (("units", UNIT_PLACES), ("unit_price", PRICE_PLACES)):
            if (text := getattr(line, field)) and _decimal(text, places) is None:
                told = f"must be a decimal with at most {places} places, not negative"
                faults.append(Violation(f"{where}.{field}", "NOT_A_DECIMAL", told))
    return faults


def review(doing: Doing, request: pb.ReviewClaimRequest) -> None:
    """Decide the claim anew with what was found; above the plan's threshold only propose it.

    Raises: Refused; UnacceptableBill when a line, clause, units or price does not fit.
    """
    found = Review(lines=tuple(map(_reviewed, request.lines)))
    inputs, decided = decide(doing.desk, doing.row, review=found)
    _check(doing.row, decided)
    act_id = doing.write(ActKind.REVIEW, _told(request.note, found, decided))
    if decided.four_eyes:
        propose(doing.desk.connection, doing.row, act_id)
        return
    _effect(doing, inputs, decided)


def _effect(doing: Doing, inputs: Inputs, decided: Decision) -> None:
    if ClaimState(doing.row.state) in ADJUSTED:
        redecide(doing.desk, doing.row, inputs, decided, doing.actor)
    else:
        take_effect(doing.desk, doing.row, inputs, decided, (), doing.actor)


def confirmed(doing: Doing, act: ActRow, note: str) -> None:
    """Somebody else's review takes effect, by what is known now, if it comes to the same still.

    Raises: as `review`.
    """
    desk, row = doing.desk, doing.row
    told = told_in(desk.sealer, act)
    inputs, decided = decide(desk, row, review=told.review)
    _check(row, decided)
    _check_amounts(told, decided, row.currency)
    doing.write(ActKind.CONFIRM, Told(note=note))
    _effect(doing, inputs, decided)


def _told(note: str, found: Review, decided: Decision) -> Told:
    return Told(note=note, review=found, amount=decided.benefit, lines=_paid(decided))


def _paid(decided: Decision) -> tuple[tuple[int, int, str], ...]:
    return tuple(
        (line.number, line.benefit, "" if line.payee is None else line.payee.value)
        for line in decided.lines
    )


def _check_amounts(told: Told, decided: Decision, currency: str) -> None:
    """Whether it comes to what two people are asked to agree on.

    The claim itself cannot have changed, but what it is decided by can: terms, balances, prices.

    Raises: Refused.
    """
    if told.amount is None or (told.amount, told.lines) == (decided.benefit, _paid(decided)):
        return
    was, now = (format_minor(one, currency) for one in (told.amount, decided.benefit))
    differs = (
        f"{now} {currency}, and came to {was} when"
        if was != now
        else "lines of other amounts than when"
    )
    text = (
        f"by what is known now it comes to {differs} it was proposed;"
        " reject or withdraw it, and have it proposed anew"
    )
    told_units = {
        "proposed_minor_units": str(told.amount),
        "now_minor_units": str(decided.benefit),
    }
    raise _refused("PROPOSAL_OUTDATED", text, **told_units)


def adjust(doing: Doing, request: pb.AdjustClaimRequest) -> None:
    """Decide a decided claim anew by what is known now; above the plan's threshold only propose it.

    So also where more than that would come back: what two must reverse, one does not adjust away.

    Raises: as `review`.
    """
    found = Review(lines=tuple(map(_reviewed, request.lines)))
    inputs, decided = decide(doing.desk, doing.row, review=found)
    _check(doing.row, decided)
    act_id = doing.write(ActKind.ADJUST, _told(request.note, found, decided))
    back = doing.row.owed - decided.benefit if doing.row.paid else 0
    if decided.four_eyes or (back > 0 and two_must_agree_on(doing, back)):
        propose(doing.desk.connection, doing.row, act_id)
        return
    redecide(doing.desk, doing.row, inputs, decided, doing.actor)


def two_must_agree_on(doing: Doing, amount: int) -> bool:
    """Whether so much is asked back or given up by two people only.

    Asks the plan that the decision in force was made by: terms that came since, or a bill that was
    corrected since, let nobody do alone what two had to agree on.
    """
    desk = doing.desk
    stored = decisions.in_force(desk.connection, doing.row)
    inputs = sealed.open_inputs(desk.sealer, stored)
    plan = desk.plans.plan_for_reading(desk.connection, inputs.plan_version)
    return two_must_agree(plan, inputs.policy, inputs.bill, amount)


def clear(doing: Doing, request: pb.ClearSuspicionRequest) -> None:
    """On to an adjuster; the decision and what it reserves stay."""
    doing.write(ActKind.CLEAR, Told(note=request.note))
    doing.move(Event.CLEAR_SUSPICION)


def _check(row: ClaimRow, decided: Decision) -> None:
    """Whether a reviewed decision may take effect.

    Raises: Refused.
    """
    if decided.disposition is Disposition.PENDED_INFO:
        text = "a fact is missing that a term reads; deny the lines, or import what is missing"
        lines = sorted({pend.line for pend in decided.pends if pend.line is not None})
        raise _refused("FACTS_MISSING", text, lines=", ".join(map(str, lines)))
    if ClaimState(row.state) is not ClaimState.PAID and decided.benefit < row.owed:
        text = "after an appeal nobody gets less than before"
        raise _refused("BELOW_PAID", text)
    if row.paid and takes_from_one_for_another(row, decided):
        instead = "reverse the claim instead"
        if ClaimState(row.state) is ClaimState.PENDED_REVIEW:  # after an appeal none is reversed
            instead = "have the hospital take the bill back and state it anew"
        text = f"it would owe another payee what this one was paid; {instead}"
        raise _refused("PAYEE_CHANGED", text)


def _reviewed(line: pb.LineReview) -> ReviewedLine:
    reason = Reason(line.deny_reason) if line.deny_reason else Reason.MEDICAL_NECESSITY
    return ReviewedLine(
        number=line.number,
        clause=line.clause,
        quantity=_decimal(line.units, UNIT_PLACES),
        unit_price=_decimal(line.unit_price, PRICE_PLACES),
        denied=bool(line.deny_reason),
        reason=reason,
    )


def _decimal(text: str, places: int) -> Decimal | None:
    try:
        return parse_decimal(text, places=places, what="it") if text else None
    except ValueError:
        return None


def _refused(reason: str, text: str, **metadata: str) -> Refused:
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, reason, text, metadata=metadata)
