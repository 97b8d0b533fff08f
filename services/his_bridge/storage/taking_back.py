"""What an insurer has of the hospital's bills, and so what may be taken back without a consent.

Whatever was handed out can be taken back: the insurer has the bill already, and hears no more than
which one it is. Of a bill that it never got it hears nothing. Works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    and_,
    exists,
    func,
    or_,
    select,
    true,
    update,
)

from services.his_bridge.storage.releases import DELIVERY_PENDING
from services.his_bridge.storage.tables import released_bill

# Why a release that nobody may have any more is not pending either: its bill was taken back, or a
# later statement of it went first.
TAKEN_BACK, OVERTAKEN = "TAKEN_BACK", "OVERTAKEN"
_REVERSAL, _REFUSED = "REVERSAL", "REFUSED"
_FIRST = "FINAL"  # of its bill: nothing of it was released before


def owed(recipient: str) -> ColumnElement[bool]:
    """A released bill takes back what this insurer has, and what nothing before it took back.

    Also what the insurer has under the number of an account that went on as this one.
    """
    back, had, merged = released_bill, released_bill.alias("had"), released_bill.alias("merged")
    has = and_(
        had.c.hospital == back.c.hospital,
        had.c.kind != _REVERSAL,
        had.c.handed_to == recipient,
    )
    own = exists().where(
        has,
        had.c.bill_id == back.c.bill_id,
        had.c.seq < back.c.seq,
        ~_reversed_between(had.c.hospital, back.c.bill_id, had.c.seq, back.c.seq),
    )
    before_the_merge = exists().where(
        merged.c.hospital == back.c.hospital,
        merged.c.goes_on_as == back.c.bill_id,
        merged.c.seq < back.c.seq,
        ~_reversed_between(merged.c.hospital, back.c.bill_id, merged.c.seq, back.c.seq),
        has,
        had.c.bill_id == merged.c.bill_id,
        had.c.seq < merged.c.seq,
        ~_reversed_between(merged.c.hospital, merged.c.bill_id, had.c.seq, merged.c.seq),
    )
    mine = and_(back.c.kind == _REVERSAL, _is_told(back.c.goes_on_as))
    return and_(mine, or_(own.correlate(back), before_the_merge.correlate(back)))


def waits(connection: Connection, people: Collection[str], recipient: str) -> bool:
    """Whether what takes back a bill of these people, by opaque id, is not handed over yet.

    Nor one that the insurer refused for now, and that is offered again by itself: an appeal about
    the bill is decided first. That ends after a month, and then keeps nobody waiting.
    """
    later = released_bill.alias("later")
    stated_since = exists().where(
        later.c.hospital == released_bill.c.hospital,
        later.c.bill_id == released_bill.c.bill_id,
        later.c.seq > released_bill.c.seq,
    )
    offered_again = and_(
        released_bill.c.delivery == _REFUSED,
        released_bill.c.next_offer_us.is_not(None),
        ~stated_since.correlate_except(later),
    )
    query = (
        select(released_bill.c.seq)
        .where(
            released_bill.c.member.in_(people),
            or_(released_bill.c.delivery == DELIVERY_PENDING, offered_again),
            owed(recipient),
        )
        .limit(1)
    )
    return connection.execute(query).first() is not None


class Released(Protocol):
    """What is shown of a released bill, with its row."""

    @property
    def row(self) -> Row[Any]:
        """As it stands in the table."""
        ...


Shown = TypeVar("Shown", bound=Sequence[Released])


def hand_out(
    connection: Connection,
    hospital: str,
    recipient: str,
    look: Callable[[], Shown],
    *,
    to_answer: bool,
) -> Shown:
    """What the insurer's worker is given, remembered before it is.

    With `to_answer` it hands them over in this order; without, it may have read them only.
    """
    while True:
        shown = look()
        rows = [one.row for one in shown]
        if not (to_answer and _end_overtaken(connection, hospital, recipient, rows)):
            break
    _note_handed_out(connection, hospital, recipient, rows, to_answer=to_answer)
    return shown


def _note_handed_out(
    connection: Connection,
    hospital: str,
    recipient: str,
    rows: Sequence[Row[Any]],
    *,
    to_answer: bool,
) -> None:
    fresh = [
        row.name for row in rows if row.delivery == DELIVERY_PENDING and row.handed_to != recipient
    ]
    if fresh:
        connection.execute(
            update(released_bill)
            .where(
                released_bill.c.hospital == hospital,
                released_bill.c.name.in_(fresh),
                released_bill.c.delivery == DELIVERY_PENDING,
            )
            .values(handed_to=recipient)
        )
    later = [row.name for row in rows if row.kind != _FIRST]
    if to_answer and later:
        overtake(connection, hospital, recipient, later, besides=[row.name for row in rows])


def _end_overtaken(
    connection: Connection, hospital: str, recipient: str, rows: Sequence[Row[Any]]
) -> bool:
    """Whether some of what is to be handed out is not any more: a later statement went before.

    That one was handed out to a worker that died, perhaps when the insurer had it. Under another
    consent the earlier one is another request: it would open claims for a bill that was taken back,
    or be decided on once more. What takes a bill back is one request, and handed out all the same.
    """
    later = released_bill.alias("later")
    mine = released_bill.c.name.in_([row.name for row in rows])
    handed_out = later.c.handed_to == recipient
    return _end(connection, hospital, recipient, mine, later, handed_out) > 0


def overtake(
    connection: Connection,
    hospital: str,
    recipient: str,
    names: Sequence[str],
    *,
    besides: Sequence[str],
) -> None:
    """What was stated before these releases, and waits still, is handed out to nobody any more.

    A consent that came later would have it open claims for a bill that was taken back, or have the
    insurer go back to what a bill said before its correction. What is handed out, or answered,
    together with them goes first (`besides`). What takes back a bill that the insurer has stays,
    for it may wait for the bank: the bill had another number, and nothing else would.
    """
    later, merged = released_bill.alias("later"), released_bill.alias("merged")
    named = and_(later.c.hospital == hospital, later.c.name.in_(names), later.c.kind != _FIRST)
    own = select(later.c.bill_id).where(named)
    goes_on = select(merged.c.bill_id).where(
        merged.c.hospital == hospital, merged.c.goes_on_as.in_(own)
    )
    # By its index: of all that waits nearly nothing is of these bills.
    mine = and_(
        or_(released_bill.c.bill_id.in_(own), released_bill.c.bill_id.in_(goes_on)),
        released_bill.c.name.not_in(besides),
    )
    _end(connection, hospital, recipient, mine, later, named)


def _end(
    connection: Connection,
    hospital: str,
    recipient: str,
    mine: ColumnElement[bool],
    later: FromClause,
    went: ColumnElement[bool],
) -> int:
    """End what waits of `mine` and was stated before a `later` release that `went`; how many.

    That is one of its own bill, or of the account as which that goes on: the insurer knows both by
    one number. What takes back a bill that the insurer has never ends so.
    """
    merged = released_bill.alias("merged")
    goes_on_as_it = exists().where(
        merged.c.hospital == released_bill.c.hospital,
        merged.c.bill_id == released_bill.c.bill_id,
        merged.c.goes_on_as == later.c.bill_id,
    )
    ended = 0
    for kind, reason in ((later.c.kind == _REVERSAL, TAKEN_BACK), (true(), OVERTAKEN)):
        went_first = exists().where(
            later.c.hospital == released_bill.c.hospital,
            went,
            kind,
            later.c.seq > released_bill.c.seq,
            or_(later.c.bill_id == released_bill.c.bill_id, goes_on_as_it.correlate_except(merged)),
        )
        found = connection.execute(
            update(released_bill)
            .where(
                released_bill.c.hospital == hospital,
                mine,
                released_bill.c.delivery == DELIVERY_PENDING,
                ~owed(recipient),
                went_first.correlate_except(later),
            )
            .values(delivery=_REFUSED, refusal_reasons=msgspec.json.encode([reason]))
        )
        ended += found.rowcount
    return ended


def _is_told(goes_on_as: ColumnElement[str | None]) -> ColumnElement[bool]:
    """The insurer hears of a reversal. Hidden from indexes: nearly all releases go on as none."""
    return func.coalesce(goes_on_as, "") == ""


def _reversed_between(
    hospital: ColumnElement[str],
    bill_id: ColumnElement[str],
    after: ColumnElement[int],
    before: ColumnElement[int],
) -> ColumnElement[bool]:
    """The insurer heard, or hears, of another reversal in between; one it refused did nothing."""
    other = released_bill.alias()
    between = exists().where(
        other.c.hospital == hospital,
        other.c.bill_id == bill_id,
        other.c.kind == _REVERSAL,
        _is_told(other.c.goes_on_as),
        other.c.delivery != _REFUSED,
        other.c.seq > after,
        other.c.seq < before,
    )
    return between.correlate_except(other)  # two levels up, too: else any bill would do
