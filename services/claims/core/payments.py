"""Where earlier payers' money goes when it is known for the bill and not for its lines.

First to the eligible lines in proportion to their allowed amounts, then to denied lines by what
was billed, then to what was cut off the eligible ones; never above a line, never above the bill.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.claims.core.amounts import Amounts
from services.claims.core.claim import Claim
from services.claims.core.decision import Bearer
from services.common.money import spread


def place_payments(claim: Claim, lines: Sequence[Amounts]) -> None:
    """Give every line what social insurance and earlier insurers paid for it.

    Payments stated for a line stay with it. `lines` are changed in place.
    """
    for one in lines:
        one.social = one.line.facts.fund_paid or 0
    if claim.prior.payments:
        by_number = {one.line.facts.number: one for one in lines}
        for payment in claim.prior.payments:
            for paid in payment.lines:
                by_number[paid.number].prior += paid.amount
    stated = claim.bill.social_insurance
    if stated is not None and stated.fund_paid:
        silent = [one for one in lines if one.line.facts.fund_paid is None]
        known = sum(one.line.facts.fund_paid or 0 for one in lines)
        _add_social(stated.fund_paid - known, silent)
    if stated is not None and claim.plan.social_insurance.account_paid_is is Bearer.PRIOR_PAYER:
        _add_social(stated.account_paid, lines)
    for payment in claim.prior.payments:
        if not payment.lines:
            parts = _spread_over(payment.amount, lines)
            for one, part in zip(lines, parts, strict=True):
                one.prior += part


def _add_social(total: int, lines: Sequence[Amounts]) -> None:
    if not total:
        return
    for one, part in zip(lines, _spread_over(total, lines), strict=True):
        one.social += part


def _spread_over(total: int, lines: Sequence[Amounts]) -> list[int]:
    """What each line gets; what was placed on a line before leaves it less room."""
    parts = [0] * len(lines)
    if not total:
        return parts
    for weights_and_rooms in (
        [(one.allowed, one.allowed) if one.refusal is None else (0, 0) for one in lines],
        [(0, 0) if one.refusal is None else (one.billed, one.billed) for one in lines],
        [(one.billed - one.allowed, one.billed) for one in lines],
    ):
        rooms = [
            max(0, most - one.social - one.prior - part)
            for (_, most), one, part in zip(weights_and_rooms, lines, parts, strict=True)
        ]
        placed = _fill(total, [weight for weight, _ in weights_and_rooms], rooms)
        parts = [part + more for part, more in zip(parts, placed, strict=True)]
        total -= sum(placed)
    return parts


def _fill(total: int, weights: Sequence[int], rooms: Sequence[int]) -> list[int]:
    """Spread by weight, largest remainder first, never above a room; what has none is left."""
    parts = [0] * len(rooms)
    while total:
        active = [
            weight if room > part else 0
            for weight, room, part in zip(weights, rooms, parts, strict=True)
        ]
        if not any(active):
            break
        wanted = spread(total, active)
        taken = [
            min(more, room - part) for more, room, part in zip(wanted, rooms, parts, strict=True)
        ]
        parts = [part + more for part, more in zip(parts, taken, strict=True)]
        total -= sum(taken)
    return parts
