"""What no consent covers: records that never left, and bills that were released and are withheld.

Says why of each, and opens nothing of what it says but what it needs a consent for. Every function
works in the caller's transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, case, exists, func, or_, select

from services.common.paging import Page, any_after
from services.common.sealing import Sealer, members
from services.his_bridge.core.consent import Consent, Lack, Need, Purpose, ended_us, lacking
from services.his_bridge.storage import sealed
from services.his_bridge.storage.consents import Register, in_force, register_of
from services.his_bridge.storage.holding import PURPOSES, need_of_bill
from services.his_bridge.storage.lists import OF_INBOX
from services.his_bridge.storage.releases import DELIVERY_PENDING, DELIVERY_TAKEN
from services.his_bridge.storage.tables import consent, held_record, inbox, released_bill
from services.his_bridge.storage.taking_back import owed

ERASED, WITHHELD = "ERASED", "WITHHELD"
_REASONS, _NO_REASON = msgspec.json.Decoder(tuple[str, ...]), b"[]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Uncovered:
    """A record that no consent covers; `lack` is None for one that is due with the next pull."""

    seq: int
    place: str  # last two parts of its name
    channel: str
    since_us: int
    lack: Lack | None
    consents: tuple[str, ...]
    external_id: str = ""
    delivery: str = ""  # of a released bill: where it stands with the insurer


def counts(connection: Connection, hospital: str, recipient: str, now_us: int) -> Counter[str]:
    """Released bills by delivery state, or WITHHELD or ERASED; they add up to all of them.

    What the insurer has taken has left, and no consent that ends brings it back: it is taken.
    By the register's columns: who has another consent in force counts by the delivery, though that
    one may not cover the bill (`withheld_after` weighs each).
    """
    whose = released_bill.c.member
    covered = _covered(hospital, recipient, now_us)
    stands = case(
        (members.member.c.erased_us.is_not(None), ERASED),
        (and_(released_bill.c.delivery != DELIVERY_TAKEN, ~covered), WITHHELD),
        else_=released_bill.c.delivery,
    )
    each = (
        select(stands.label("stands"))
        .join(members.member, members.member.c.id == whose)
        .where(released_bill.c.hospital == hospital)
        .subquery()
    )
    rows = connection.execute(
        select(each.c.stands, func.count().label("number")).group_by(each.c.stands)
    )
    return Counter({row.stands: row.number for row in rows})


def failing(connection: Connection, hospital: str, recipient: str, now_us: int) -> Counter[str]:
    """Reason → how many bills wait because the insurer's service failed at them."""
    rows = connection.execute(
        select(released_bill.c.refusal_reasons, func.count().label("number"))
        .where(
            released_bill.c.hospital == hospital,
            released_bill.c.delivery == DELIVERY_PENDING,
            released_bill.c.refusal_reasons != _NO_REASON,
            _covered(hospital, recipient, now_us),
        )
        .group_by(released_bill.c.refusal_reasons)
    )
    found: Counter[str] = Counter()
    for row in rows:
        for reason in set(_REASONS.decode(row.refusal_reasons)):
            found[reason] += row.number
    return found


def _covered(hospital: str, recipient: str, now_us: int) -> ColumnElement[bool]:
    of_one = in_force(released_bill.c.member, hospital, recipient, Purpose.CLAIM_SETTLEMENT, now_us)
    return or_(of_one, owed(recipient))


def held_after(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    recipient: str,
    seq: int,
    most: int,
    now_us: int,
) -> Page[Uncovered]:
    """Records that never left, in the order of arrival, after a number."""
    number = held_record.c.inbox_id
    query = (
        select(
            held_record.c.inbox_id,
            held_record.c.inbox_id.label("name"),
            held_record.c.hospital,
            held_record.c.need,
            held_record.c.at_us,
            *(inbox.c[name] for name in OF_INBOX),
        )
        .join(inbox, inbox.c.id == held_record.c.inbox_id)
        .where(held_record.c.hospital == hospital)
    )
    after = query.where(number > seq).order_by(number)
    rows = connection.execute(after.limit(most)).all()
    register = _register(connection, sealer, hospital, recipient, rows, now_us)
    sealer.load(members.subject_of(row.member) for row in rows)
    found = []
    for row in rows:
        need = sealed.open_need(sealer, row)
        lack = _lack(register, row.member, PURPOSES[row.channel], need)
        found.append(
            Uncovered(
                seq=row.inbox_id,
                place=f"held/{row.inbox_id}",
                channel=row.channel,
                since_us=row.at_us,
                lack=lack[0] if lack else None,
                consents=lack[1] if lack else (),
                external_id=sealed.open_record(sealer, row, "external_id").decode(),
            )
        )
    more = len(rows) == most and any_after(connection, query, number, rows[-1].inbox_id)
    return Page(found, more=more)


def withheld_after(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    recipient: str,
    seq: int,
    most: int,
    now_us: int,
) -> Page[Uncovered]:
    """Bills that were released once and are shown to nobody now, in the order of release.

    Erased people's are not in it: there is nothing left to show. Nor is what takes back a bill that
    the insurer has: that is shown bare.
    """
    number = released_bill.c.seq
    # What the consent of its release still covers needs no look: scopes never change.
    stands = exists().where(
        consent.c.hospital == released_bill.c.hospital,
        consent.c.consent_id == released_bill.c.consent_id,
        consent.c.from_us <= now_us,
        or_(consent.c.until_us.is_(None), consent.c.until_us > now_us),
        or_(consent.c.withdrawn_us.is_(None), consent.c.withdrawn_us > now_us),
    )
    kept = and_(members.member.c.id == released_bill.c.member, members.member.c.erased_us.is_(None))
    query = (
        select(released_bill)
        .join(members.member, kept)
        .where(released_bill.c.hospital == hospital, ~stands, ~owed(recipient))
    )
    found: list[Uncovered] = []
    while len(found) < most:
        left = most - len(found)
        rows = connection.execute(query.where(number > seq).order_by(number).limit(left)).all()
        register = _register(connection, sealer, hospital, recipient, rows, now_us)
        found += _withheld(sealer, register, rows)
        if len(rows) < left:
            return Page(found, more=False)
        seq = rows[-1].seq
    return Page(found, more=any_after(connection, query, number, seq))


def _withheld(sealer: Sealer, register: Register, rows: Iterable[Row[Any]]) -> Iterable[Uncovered]:
    for row in rows:
        need = need_of_bill(sealed.open_bill(sealer, row))
        lack = _lack(register, row.member, Purpose.CLAIM_SETTLEMENT, need)
        if lack is not None:
            yield Uncovered(
                seq=row.seq,
                place=f"bills/{row.name}",
                channel="bills",
                since_us=_ended_us(register.consents.get(row.member, ()), row),
                lack=lack[0],
                consents=lack[1],
                external_id=sealed.open_released(sealer, row, "external_id").decode(),
                delivery=row.delivery,
            )


def _ended_us(theirs: Iterable[Consent], row: Row[Any]) -> int:
    """When the consent ended under which a bill was released."""
    mine = (ended_us(one) for one in theirs if one.terms.consent_id == row.consent_id)
    return next(mine, int(row.released_us))


def _register(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    recipient: str,
    rows: Sequence[Row[Any]],
    now_us: int,
) -> Register:
    people = {row.member for row in rows}
    return register_of(connection, sealer, hospital, recipient, people, at_us=now_us)


def _lack(
    register: Register, member: str, purpose: Purpose, need: Need
) -> tuple[Lack, tuple[str, ...]] | None:
    return lacking(
        register.consents.get(member, ()),
        recipient=register.recipient,
        purpose=purpose,
        need=need,
        at_us=register.at_us,
    )
