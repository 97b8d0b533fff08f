"""Bills that the insurer refused, put back to pending: asked for by a person, or due by themselves.

What was wrong is often put right at the insurer, days later: the same bill under the same name is
taken then. Only the last release of a bill counts, and only while its patient is not erased.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    exists,
    func,
    insert,
    select,
    update,
)

from services.common.sealing import members
from services.common.sealing.erasures import By
from services.his_bridge.storage import holding
from services.his_bridge.storage.operation_tables import bill_offer, offer_request
from services.his_bridge.storage.portions import portions
from services.his_bridge.storage.releases import DELIVERY_PENDING
from services.his_bridge.storage.tables import released_bill

BY_A_PERSON, BY_ITSELF = "person", "itself"
DAY_US = 86_400_000_000
# A policy or a provider is imported a few days after its first bill, a day to come comes, and an
# appeal is decided: until then the insurer has a bill that was taken back.
CURED_LATER = frozenset({"UNKNOWN_MEMBER", "UNKNOWN_PROVIDER", "IN_THE_FUTURE", "APPEAL_OPEN"})
# Once a day, because insurers import by the day; after a month a person has to look.
PAUSE_US, LONGEST_US = DAY_US, 30 * DAY_US
# Of one pull, so that those that nobody insures don't keep new bills waiting for long.
MOST_DUE = 500
_REFUSED = "REFUSED"
_REASONS = msgspec.json.Decoder(tuple[str, ...])


class OtherOffer(ValueError):
    """The request id was used before for another offer; nothing was offered."""


class NeverReleased(LookupError):
    """Names of bills that were never released; nothing was offered."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"{len(names)} unknown")
        self.names = tuple(names)


class NotOfferable(ValueError):
    """Bills that are not refused, or that stay refused; nothing was offered."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"{len(names)} cannot be offered")
        self.names = tuple(names)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which refused bills: those named, or the oldest so many of a reason from a day on."""

    names: tuple[str, ...] = ()
    reason: str = ""
    first_day: str = ""
    most: int


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """How many, why they had been refused, and how many could be offered beside them."""

    offered: int
    refusals: dict[str, int]
    left: int


_OFFERED = msgspec.json.Decoder(Offered)


def refusals(connection: Connection, hospital: str) -> Counter[str]:
    """Reason → how many refused bills that can be offered again have it."""
    grouped = select(released_bill.c.refusal_reasons, func.count().label("number"))
    rows = connection.execute(
        _offerable(grouped, hospital).group_by(released_bill.c.refusal_reasons)
    )
    found: Counter[str] = Counter()
    for row in rows:
        for reason in set(_REASONS.decode(row.refusal_reasons)):
            found[reason] += row.number
    return found


def offer_once(
    connection: Connection, hospital: str, request_id: str, asked: Asked, by: By, *, now_us: int
) -> Offered:
    """Put refused bills back to pending; named ones all or none. Repeating it changes nothing.

    Raises: OtherOffer, NeverReleased, NotOfferable.
    """
    # A newer version or an erasure comes before this or after it.
    holding.one_at_a_time(connection, hospital)
    request_hash = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
    before = connection.execute(
        select(offer_request.c.request_hash, offer_request.c.answer).where(
            offer_request.c.hospital == hospital, offer_request.c.request_id == request_id
        )
    ).first()
    if before is not None:
        if before.request_hash != request_hash:
            raise OtherOffer("request_id used before")
        return _OFFERED.decode(before.answer)
    rows, left = _asked_for(connection, hospital, asked)
    _put_back(connection, hospital, rows, BY_A_PERSON, request_id, now_us)
    found = Counter(reason for row in rows for reason in set(_REASONS.decode(row.refusal_reasons)))
    done = Offered(offered=len(rows), refusals=dict(found), left=left)
    connection.execute(
        insert(offer_request),
        {
            "hospital": hospital,
            "request_id": request_id,
            "request_hash": request_hash,
            "tenant": by.tenant,
            "role": by.role,
            "answer": msgspec.json.encode(done),
            "at_us": now_us,
        },
    )
    return done


def are_due(connection: Connection, hospital: str, now_us: int) -> bool:
    """Whether any refused bill is offered again by itself now."""
    return connection.execute(_due(hospital, now_us).limit(1)).first() is not None


def offer_due(connection: Connection, hospital: str, *, now_us: int) -> int:
    """Put back to pending what is offered again by itself now, the oldest first; how many."""
    holding.one_at_a_time(connection, hospital)
    query = _due(hospital, now_us).order_by(released_bill.c.seq).limit(MOST_DUE)
    rows = connection.execute(query).all()
    _put_back(connection, hospital, rows, BY_ITSELF, "", now_us)
    return len(rows)


def after_refusal(
    reasons: Iterable[str], first_refused_us: int | None, now_us: int
) -> dict[str, int | None]:
    """The columns of a bill that is refused now: when it was first, and is offered again by itself.

    Never, when anything of it is not cured at the insurer by time alone, or after a month.

    >>> after_refusal(["UNKNOWN_MEMBER"], None, 5) == {
    ...     "first_refused_us": 5,
    ...     "next_offer_us": 5 + PAUSE_US,
    ... }
    True
    >>> after_refusal(["UNKNOWN_MEMBER", "BILL_CONFLICT"], 3, 5)["next_offer_us"] is None
    True
    """
    first = now_us if first_refused_us is None else first_refused_us
    again = now_us + PAUSE_US
    cured = set(reasons) <= CURED_LATER and again <= first + LONGEST_US
    return {"first_refused_us": first, "next_offer_us": again if cured else None}


def _asked_for(
    connection: Connection, hospital: str, asked: Asked
) -> tuple[Sequence[Row[Any]], int]:
    query = _offerable(select(*_WHAT_IS_OFFERED), hospital)
    if asked.names:
        named = released_bill.c.name.in_(asked.names)
        rows = connection.execute(query.where(named)).all()
        missing = set(asked.names) - {row.name for row in rows}
        if missing:
            raise _cannot(connection, hospital, sorted(missing))
        return rows, 0
    wanted: list[ColumnElement[bool]] = []
    if asked.reason:
        wanted.append(released_bill.c.refusal_reasons.in_(_with(connection, hospital, asked)))
    if asked.first_day:
        wanted.append(released_bill.c.day >= asked.first_day)
    oldest = query.where(*wanted).order_by(released_bill.c.seq)
    rows = connection.execute(oldest.limit(asked.most)).all()
    counted = _offerable(select(func.count()), hospital).where(*wanted)
    return rows, connection.execute(counted).scalar_one() - len(rows)


def _with(connection: Connection, hospital: str, asked: Asked) -> list[bytes]:
    """The lists of reasons, as they are stored, in which a reason stands. There are few."""
    stored = _offerable(select(released_bill.c.refusal_reasons), hospital).distinct()
    found = connection.execute(stored).scalars()
    return [one for one in found if asked.reason in _REASONS.decode(one)]


def _cannot(
    connection: Connection, hospital: str, names: Sequence[str]
) -> NeverReleased | NotOfferable:
    known = set(
        connection.execute(
            select(released_bill.c.name).where(
                released_bill.c.hospital == hospital, released_bill.c.name.in_(names)
            )
        ).scalars()
    )
    never = [name for name in names if name not in known]
    return NeverReleased(never) if never else NotOfferable(names)


def _due(hospital: str, now_us: int) -> Select[Any]:
    query = _offerable(select(*_WHAT_IS_OFFERED), hospital)
    return query.where(released_bill.c.next_offer_us <= now_us)


_WHAT_IS_OFFERED = (released_bill.c.name, released_bill.c.refusal_reasons)


def _offerable(query: Select[Any], hospital: str) -> Select[Any]:
    later = released_bill.alias("later")
    newer = exists().where(
        later.c.hospital == released_bill.c.hospital,
        later.c.bill_id == released_bill.c.bill_id,
        later.c.seq > released_bill.c.seq,
    )
    kept = and_(members.member.c.id == released_bill.c.member, members.member.c.erased_us.is_(None))
    return (
        query.select_from(released_bill)
        .join(members.member, kept)
        .where(
            released_bill.c.hospital == hospital,
            released_bill.c.delivery == _REFUSED,
            ~newer,
        )
    )


def _put_back(
    connection: Connection,
    hospital: str,
    rows: Sequence[Row[Any]],
    why: str,
    request_id: str,
    now_us: int,
) -> None:
    if not rows:
        return
    change: dict[str, Any] = {
        "delivery": DELIVERY_PENDING,
        "refusal_reasons": b"[]",
        "next_offer_us": None,
    }
    if why == BY_A_PERSON:  # who knows that something was put right: the month begins anew
        change["first_refused_us"] = None
    for names in portions(row.name for row in rows):
        mine = and_(released_bill.c.hospital == hospital, released_bill.c.name.in_(names))
        connection.execute(
            update(released_bill).where(mine, released_bill.c.delivery == _REFUSED).values(**change)
        )
    connection.execute(
        insert(bill_offer),
        [
            {
                "hospital": hospital,
                "bill": row.name,
                "why": why,
                "request_id": request_id,
                "refusal_reasons": row.refusal_reasons,
                "at_us": now_us,
            }
            for row in rows
        ],
    )
