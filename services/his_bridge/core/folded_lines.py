"""The lines that the events of a bill leave: restated, taken back in part, numbered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from services.his_bridge.core.balance import rounded, unit_price_of
from services.his_bridge.core.bill import Line
from services.his_bridge.core.faults import Reason

# Whose charge it is, and which: the same key is the same charge, stated again.
LineKey = tuple[str, str]


class Placed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A line, the charge that it is, and the event that states it, by its place in the fold."""

    key: LineKey
    line: Line
    place: int


class Netted(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of the lines.

    `refused` tells by place why an event's lines do not fit what they take back, with the line's
    number; `moved` is the amount that each event adds to the bill, or takes from it.
    """

    lines: tuple[Placed, ...]
    refused: Mapping[int, tuple[Reason, int]]
    moved: Mapping[int, int]


def net(placed: Sequence[Placed], within: Mapping[str, Sequence[str]], currency: str) -> Netted:
    """Take back what the lines of 冲红 name, wholly or in part, in the order of the lines.

    A charge that is stated again counts as it was stated last, in its first place. `within` lists,
    for each account, where the charges may stand that its lines take back, its own first. What
    takes back more than there is, or what is not there, is refused and changes nothing; hence no
    line is ever negative.
    """
    charges: dict[LineKey, Placed] = {}
    refunds: dict[LineKey, Placed] = {}
    for one in placed:
        kept = refunds if one.line.reverses_line else charges
        kept[one.key] = one
    moved: dict[int, int] = {}
    for one in charges.values():
        moved[one.place] = moved.get(one.place, 0) + one.line.billed
    refused: dict[int, tuple[Reason, int]] = {}
    left = dict(charges)
    parts: dict[LineKey, int] = {}
    for refund in refunds.values():
        account, name = refund.key[0], refund.line.reverses_line
        keys = [(other, name) for other in within.get(account, (account,))]
        key = next((key for key in keys if key in charges), None)
        if key is None:
            refused.setdefault(refund.place, (Reason.ORIGINAL_NOT_THERE, refund.line.number))
            continue
        before = left[key].line
        parts[key] = parts.get(key, 0) + 1
        after = _less(before, refund.line, currency, parts[key])
        if isinstance(after, Reason):
            refused.setdefault(refund.place, (after, refund.line.number))
            continue
        left[key] = msgspec.structs.replace(left[key], line=after)
        moved[refund.place] = moved.get(refund.place, 0) + after.billed - before.billed
    return Netted(
        lines=tuple(one for one in left.values() if one.line.quantity > 0),
        refused=refused,
        moved=moved,
    )


def _less(line: Line, refund: Line, currency: str, parts: int) -> Line | Reason:
    """A line less what a refund takes back of it; or why it cannot."""
    quantity, billed = line.quantity + refund.quantity, line.billed + refund.billed
    if quantity < 0:
        return Reason.OVER_REVERSED
    if quantity == 0:
        # Amounts of parts are rounded each for itself: so many of the smallest coin are nothing.
        if abs(billed) > parts:
            return Reason.OVER_REVERSED if billed < 0 else Reason.REVERSAL_DOES_NOT_FIT
        return msgspec.structs.replace(line, quantity=quantity, billed=0, fund_paid=None)
    if billed < 0:
        return Reason.OVER_REVERSED
    price: Decimal | None = line.unit_price
    if rounded(quantity, line.unit_price, currency) != billed:
        price = unit_price_of(quantity, billed, currency)
    fund = line.fund_paid
    if refund.fund_paid is not None:
        fund = (fund or 0) + refund.fund_paid
    if price is None or (fund is not None and not 0 <= fund <= billed):
        return Reason.REVERSAL_DOES_NOT_FIT
    return msgspec.structs.replace(
        line, quantity=quantity, unit_price=price, billed=billed, fund_paid=fund
    )


def numbered(lines: Iterable[Placed], survivor: str, given: Mapping[str, int]) -> tuple[Line, ...]:
    """The lines under numbers that are unique and never change.

    `given` are the numbers under which charges were released before, by `name_of`; they stay
    theirs. A new charge gets the number that it was stated with when that is free, else the next.
    """
    lines = list(lines)
    taken = {*given.values()}
    highest = max((*taken, *(one.line.number for one in lines)), default=0)
    found = []
    for one in lines:
        name = name_of(one.key, survivor)
        number = given.get(name)
        if number is None:
            number = one.line.number
            if number in taken:
                number = highest = highest + 1
            taken.add(number)
        found.append(_released(one, name, number))
    return tuple(found)


def _released(one: Placed, name: str, number: int) -> Line:
    # A statement's own line under its own number needs no name to be known again.
    line_id = "" if name == f"#{number}" else name
    line = one.line
    if line.number == number and line.line_id == line_id and not line.reverses_line:
        return line
    return msgspec.structs.replace(line, number=number, line_id=line_id, reverses_line="")


def name_of(key: LineKey, survivor: str) -> str:
    """A charge's name within its bill; of another account's that was merged in, with its account.

    >>> name_of(("a", "c-7"), "a"), name_of(("b", "c-7"), "a")
    ('c-7', 'b/c-7')
    """
    account, name = key
    return name if account == survivor else f"{account}/{name}"


def numbers_given(released: Iterable[Line]) -> dict[str, int]:
    """Charge → the number under which it was released."""
    return {line.line_id or f"#{line.number}": line.number for line in released}
