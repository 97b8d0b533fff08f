"""The register of consents: events as they came, and their fold as columns beside them.

Every function works in the caller's transaction. What is active, core.consent decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, or_, select, update

from services.common.database import take_turns
from services.his_bridge.core.consent import (
    Consent,
    Event,
    Granted,
    Need,
    Purpose,
    Terms,
    Withdrawn,
    active,
    fold,
)
from services.his_bridge.storage.leases import next_numbers
from services.his_bridge.storage.tables import consent, consent_event, consent_request

_EVENT = msgspec.json.Decoder(Event)
_TERMS = msgspec.json.Decoder(Terms)
# Not judged by it yet: earlier than any instant.
NOT_APPLIED = -1


class OtherContent(ValueError):
    """A request id, or the ids of these consents, were used before with other content."""

    def __init__(self, consent_ids: Sequence[str] = ()) -> None:
        super().__init__("used before")
        self.consent_ids = tuple(consent_ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class Register:
    """The consents of one hospital's patients towards one recipient, as one query saw them."""

    recipient: str
    consents: Mapping[str, tuple[Consent, ...]]  # by member token
    at_us: int

    def covering(
        self, member: str, purpose: Purpose, need: Need, rather: str = ""
    ) -> Consent | None:
        """The active consent that covers the record; None without one."""
        return active(
            self.consents.get(member, ()),
            member=member,
            recipient=self.recipient,
            purpose=purpose,
            need=need,
            at_us=self.at_us,
            rather=rather,
        )


def register_of(
    connection: Connection, hospital: str, recipient: str, members: Collection[str], *, at_us: int
) -> Register:
    """The consents of these people towards the recipient."""
    found: dict[str, list[Consent]] = {}
    if members:
        rows = connection.execute(
            select(consent).where(
                consent.c.hospital == hospital,
                consent.c.recipient == recipient,
                consent.c.member_token.in_(set(members)),
            )
        )
        for row in rows:
            found.setdefault(row.member_token, []).append(consent_of(row))
    consents = {member: tuple(theirs) for member, theirs in found.items()}
    return Register(recipient=recipient, consents=consents, at_us=at_us)


def in_force(
    member_token: ColumnElement[str],
    hospital: ColumnElement[str] | str,
    recipient: str,
    purpose: Purpose,
    at_us: int,
) -> ColumnElement[bool]:
    """A person has a consent in force, whatever its scope; for queries that need not read more."""
    return (
        select(consent.c.consent_id)
        .where(
            consent.c.hospital == hospital,
            consent.c.member_token == member_token,
            consent.c.recipient == recipient,
            consent.c.purpose == str(purpose),
            consent.c.from_us <= at_us,
            or_(consent.c.until_us.is_(None), consent.c.until_us > at_us),
            or_(consent.c.withdrawn_us.is_(None), consent.c.withdrawn_us > at_us),
        )
        .exists()
    )


def consent_of(row: Row[Any]) -> Consent:
    """The consent in a row of the register."""
    return Consent(terms=_TERMS.decode(row.terms), withdrawn_us=row.withdrawn_us)


def answered(
    connection: Connection, hospital: str, method: str, request_id: str, request_hash: str
) -> bytes | None:
    """The answer to a repeated request; None for a new one.

    Repeats at the same moment, like any two writes of a hospital's register, take turns.

    Raises: OtherContent.
    """
    take_turns(connection, f"consents/{hospital}")
    row = connection.execute(
        select(consent_request.c.request_hash, consent_request.c.response).where(
            consent_request.c.hospital == hospital,
            consent_request.c.method == method,
            consent_request.c.request_id == request_id,
        )
    ).first()
    if row is None:
        return None
    if row.request_hash != request_hash:
        raise OtherContent
    return bytes(row.response)


def remember_answer(
    connection: Connection,
    hospital: str,
    method: str,
    request_id: str,
    request_hash: str,
    response: bytes,
    *,
    now_us: int,
) -> None:
    """Keep the answer to a request."""
    connection.execute(
        insert(consent_request),
        {
            "hospital": hospital,
            "method": method,
            "request_id": request_id,
            "request_hash": request_hash,
            "response": response,
            "at_us": now_us,
        },
    )


def grant(
    connection: Connection, hospital: str, given: Sequence[Terms], *, now_us: int
) -> list[Terms]:
    """Record that these consents were given; those that are new. Known ones change nothing.

    Raises: OtherContent naming those known with other content; nothing is recorded then.
    """
    ids = [terms.consent_id for terms in given]
    events = _events_of(connection, hospital, ids)
    known = fold(event for mine in events.values() for event in mine)
    differ = [t.consent_id for t in given if (k := known.get(t.consent_id)) and k.terms != t]
    if differ:
        raise OtherContent(differ)
    new = [terms for terms in given if terms.consent_id not in known]
    _append(connection, hospital, events, [Granted(terms=terms) for terms in new], now_us=now_us)
    return new


def withdraw(
    connection: Connection, hospital: str, event: Withdrawn, *, now_us: int
) -> Row[Any] | None:
    """Record that a consent was withdrawn; the consent as it stands, None while it is unknown.

    A withdrawal that is not earlier than the one that counts changes nothing.
    """
    events = _events_of(connection, hospital, [event.consent_id])
    before = [e.withdrawn_us for e in events.get(event.consent_id, []) if isinstance(e, Withdrawn)]
    if not before or event.withdrawn_us < min(before):
        _append(connection, hospital, events, [event], now_us=now_us)
    return consent_named(connection, hospital, event.consent_id)


def _events_of(
    connection: Connection, hospital: str, consent_ids: Iterable[str]
) -> dict[str, list[Event]]:
    rows = connection.execute(
        select(consent_event)
        .where(
            consent_event.c.hospital == hospital,
            consent_event.c.consent_id.in_(set(consent_ids)),
        )
        .order_by(consent_event.c.consent_id, consent_event.c.number)
    )
    found: dict[str, list[Event]] = {}
    for row in rows:
        found.setdefault(row.consent_id, []).append(_EVENT.decode(row.body))
    return found


def _append(
    connection: Connection,
    hospital: str,
    before: dict[str, list[Event]],
    new: Sequence[Event],
    *,
    now_us: int,
) -> None:
    if not new:
        return
    rows: list[dict[str, Any]] = []
    for event in new:
        consent_id = event.terms.consent_id if isinstance(event, Granted) else event.consent_id
        mine = before.setdefault(consent_id, [])
        mine.append(event)
        rows.append(
            {
                "hospital": hospital,
                "consent_id": consent_id,
                "number": len(mine),
                "body": msgspec.json.encode(event),
                "at_us": now_us,
            }
        )
    connection.execute(insert(consent_event), rows)
    touched = dict.fromkeys(row["consent_id"] for row in rows)
    folded = fold(event for consent_id in touched for event in before[consent_id])
    _project(connection, hospital, folded, now_us=now_us)


def _project(
    connection: Connection, hospital: str, folded: Mapping[str, Consent], *, now_us: int
) -> None:
    """Write the fold beside the events, to be applied by what asks for it next."""
    known = set(
        connection.execute(
            select(consent.c.consent_id).where(
                consent.c.hospital == hospital, consent.c.consent_id.in_(list(folded))
            )
        ).scalars()
    )
    new = [one for consent_id, one in folded.items() if consent_id not in known]
    if new:
        first = next_numbers(connection, f"consents/{hospital}", len(new))
        connection.execute(
            insert(consent),
            [
                {
                    "hospital": hospital,
                    "consent_id": one.terms.consent_id,
                    "seq": first + offset,
                    "member_token": one.terms.member_token,
                    "recipient": one.terms.recipient,
                    "purpose": str(one.terms.purpose),
                    "from_us": one.terms.from_us,
                    "until_us": one.terms.until_us,
                    "terms": msgspec.json.encode(one.terms),
                    "created_us": now_us,
                    "applied_us": NOT_APPLIED,
                }
                for offset, one in enumerate(new)
            ],
        )
    for one in folded.values():
        if one.withdrawn_us is not None:
            here = and_(
                consent.c.hospital == hospital, consent.c.consent_id == one.terms.consent_id
            )
            number = next_numbers(connection, f"withdrawals/{hospital}", 1)
            connection.execute(
                update(consent)
                .where(here)
                .values(
                    withdrawn_us=one.withdrawn_us,
                    withdrawal_seq=func.coalesce(consent.c.withdrawal_seq, number),
                    applied_us=NOT_APPLIED,
                )
            )


def consent_named(connection: Connection, hospital: str, consent_id: str) -> Row[Any] | None:
    """One consent."""
    return connection.execute(
        select(consent).where(consent.c.hospital == hospital, consent.c.consent_id == consent_id)
    ).first()


def history_of(connection: Connection, hospital: str, consent_id: str) -> list[tuple[Event, int]]:
    """What happened to a consent, each with the time of recording."""
    rows = connection.execute(
        select(consent_event)
        .where(consent_event.c.hospital == hospital, consent_event.c.consent_id == consent_id)
        .order_by(consent_event.c.number)
    )
    return [(_EVENT.decode(row.body), row.at_us) for row in rows]


def consents_after(
    connection: Connection, hospital: str, seq: int, most: int, member: str | None
) -> Sequence[Row[Any]]:
    """Consents in the order of recording, after a number."""
    query = select(consent).where(consent.c.hospital == hospital, consent.c.seq > seq)
    if member is not None:
        query = query.where(consent.c.member_token == member)
    return connection.execute(query.order_by(consent.c.seq).limit(most)).all()


def consents_of(connection: Connection, hospital: str, member: str) -> list[Consent]:
    """Every consent of one person, whatever its state."""
    return [
        consent_of(row)
        for row in connection.execute(
            select(consent).where(consent.c.hospital == hospital, consent.c.member_token == member)
        )
    ]


def withdrawals_to_tell(connection: Connection, hospital: str, most: int) -> Sequence[Row[Any]]:
    """Withdrawn consents that the recipient was not told of, in the order of recording."""
    query = select(consent).where(
        consent.c.hospital == hospital,
        consent.c.withdrawal_seq.is_not(None),
        consent.c.relayed_us.is_(None),
    )
    return connection.execute(query.order_by(consent.c.withdrawal_seq).limit(most)).all()


def told(
    connection: Connection, hospital: str, consent_ids: Collection[str], *, now_us: int
) -> list[str]:
    """Record that the recipient knows of these withdrawals; ids that were not withdrawn.

    With any of those, nothing is recorded.
    """
    mine = and_(consent.c.hospital == hospital, consent.c.consent_id.in_(set(consent_ids)))
    withdrawn = set(
        connection.execute(
            select(consent.c.consent_id).where(mine, consent.c.withdrawal_seq.is_not(None))
        ).scalars()
    )
    unknown = [consent_id for consent_id in consent_ids if consent_id not in withdrawn]
    if not unknown:
        connection.execute(
            update(consent).where(mine, consent.c.relayed_us.is_(None)).values(relayed_us=now_us)
        )
    return unknown
