"""The register of consents: events as they came, and their fold as columns beside them.

Every function works in the caller's transaction. What is active, core.consent decides, from the
sealed terms and the sealed events: the columns beside them only find rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, or_, select, update

from services.common.bulk import one_of
from services.common.database import take_turns
from services.common.paging import Page, any_after
from services.common.sealing import Erased, Sealer
from services.common.sealing.members import subject_of
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
from services.his_bridge.storage import sealed
from services.his_bridge.storage.leases import next_numbers
from services.his_bridge.storage.tables import consent, consent_event, consent_request

_EVENT = msgspec.json.Decoder(Event)
_TERMS = msgspec.json.Decoder(Terms)
# Not judged by it yet: earlier than any instant.
NOT_APPLIED = -1
# Number of the event that a consent has only when it was withdrawn.
_SECOND = 2


class OtherContent(ValueError):
    """A request id, or the ids of these consents, were used before with other content."""

    def __init__(self, consent_ids: Sequence[str] = ()) -> None:
        super().__init__("used before")
        self.consent_ids = tuple(consent_ids)


@dataclass(frozen=True, slots=True)
class KeptConsent:
    """A consent's row, and what it says; None once its person was erased."""

    row: Row[Any]
    consent: Consent | None

    @property
    def seq(self) -> int:
        """Its number in the list."""
        return int(self.row.seq)


@dataclass(frozen=True, kw_only=True, slots=True)
class Register:
    """The consents of one hospital's patients towards one recipient, as one query saw them."""

    recipient: str
    consents: Mapping[str, tuple[Consent, ...]]  # by the member's opaque id
    at_us: int

    def covering(
        self, member: str, purpose: Purpose, need: Need, rather: str = ""
    ) -> Consent | None:
        """The active consent that covers the record; None without one."""
        theirs = self.consents.get(member, ())
        return active(
            theirs,
            member=theirs[0].terms.member_token if theirs else "",
            recipient=self.recipient,
            purpose=purpose,
            need=need,
            at_us=self.at_us,
            rather=rather,
        )


def register_of(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    recipient: str,
    members: Collection[str],
    *,
    at_us: int,
) -> Register:
    """The consents of these people towards the recipient; those of an erased one are void."""
    found: dict[str, list[Consent]] = {}
    if members:
        theirs = and_(
            consent.c.hospital == hospital,
            consent.c.recipient == recipient,
            one_of(connection, consent.c.member, set(members)),
        )
        rows = connection.execute(select(consent).where(theirs)).all()
        for kept in _kept(connection, sealer, hospital, rows, theirs):
            if kept.consent is not None:
                found.setdefault(kept.row.member, []).append(kept.consent)
    consents = {member: tuple(some) for member, some in found.items()}
    return Register(recipient=recipient, consents=consents, at_us=at_us)


def in_force(
    member: ColumnElement[str],
    hospital: ColumnElement[str] | str,
    recipient: str,
    purpose: Purpose,
    at_us: int,
) -> ColumnElement[bool]:
    """A person has a consent in force by the columns; for queries that need not read more.

    Narrows only: whoever writes the columns could bring a withdrawn consent back. What is handed
    out, `register_of` decides from what is sealed.
    """
    return (
        select(consent.c.consent_id)
        .where(
            consent.c.hospital == hospital,
            consent.c.member == member,
            consent.c.recipient == recipient,
            consent.c.purpose == str(purpose),
            consent.c.from_us <= at_us,
            or_(consent.c.until_us.is_(None), consent.c.until_us > at_us),
            or_(consent.c.withdrawn_us.is_(None), consent.c.withdrawn_us > at_us),
        )
        .exists()
    )


def _kept(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    rows: Sequence[Row[Any]],
    which: ColumnElement[bool],
) -> list[KeptConsent]:
    """The consents in these rows of the register, which are those of the hospital's `which`."""
    if not rows:
        return []
    sealer.load(map(subject_of, {row.member for row in rows}))
    withdrawn = _withdrawn(connection, sealer, hospital, which)
    return [_kept_consent(sealer, row, withdrawn.get(row.consent_id)) for row in rows]


def _withdrawn(
    connection: Connection, sealer: Sealer, hospital: str, which: ColumnElement[bool]
) -> dict[str, int]:
    """Consent → its first withdrawal, as the events that nobody can change tell it.

    A consent is granted once: only one with a second event has a withdrawal among them.
    """
    several = (
        select(consent_event.c.consent_id)
        .join(
            consent,
            and_(
                consent.c.hospital == consent_event.c.hospital,
                consent.c.consent_id == consent_event.c.consent_id,
            ),
        )
        .where(which, consent_event.c.hospital == hospital, consent_event.c.number == _SECOND)
    )
    ids = connection.execute(several).scalars().all()
    if not ids:
        return {}
    known = _events_of(connection, sealer, hospital, ids)
    folded = fold(event for mine in known.events.values() for event in mine)
    return {
        consent_id: one.withdrawn_us
        for consent_id, one in folded.items()
        if one.withdrawn_us is not None
    }


def _kept_consent(sealer: Sealer, row: Row[Any], told_us: int | None) -> KeptConsent:
    # Withdrawn by either is withdrawn: a column that tells more than the events releases nothing.
    either = [at_us for at_us in (told_us, row.withdrawn_us) if at_us is not None]
    place = {"table": "consent", "column": "terms", "row": f"{row.hospital}/{row.consent_id}"}
    try:
        terms = _TERMS.decode(sealer.open(row.terms, **place, subject=subject_of(row.member)))
    except Erased:
        return KeptConsent(row, None)
    return KeptConsent(row, Consent(terms=terms, withdrawn_us=min(either, default=None)))


def answered(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    method: str,
    request_id: str,
    request_hash: str,
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
    if row.request_hash != _keyed(sealer, request_hash):
        raise OtherContent
    return bytes(row.response)


def _keyed(sealer: Sealer, digest: str) -> str:
    return sealer.fingerprint(digest.encode(), table="consent_request", column="request_hash")


def remember_answer(
    connection: Connection,
    sealer: Sealer,
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
            "request_hash": _keyed(sealer, request_hash),
            "response": response,
            "at_us": now_us,
        },
    )


def grant(
    connection: Connection, sealer: Sealer, hospital: str, given: Sequence[Terms], *, now_us: int
) -> list[Terms]:
    """Record that these consents were given; those that are new. Known ones change nothing.

    Raises: OtherContent naming those known with other content; nothing is recorded then.
    """
    ids = [terms.consent_id for terms in given]
    before = _events_of(connection, sealer, hospital, ids)
    known = fold(event for mine in before.events.values() for event in mine)
    differ = [t.consent_id for t in given if (k := known.get(t.consent_id)) and k.terms != t]
    differ += [consent_id for consent_id in ids if consent_id in before.erased]
    if differ:
        raise OtherContent(differ)
    new = [terms for terms in given if terms.consent_id not in known]
    granted = [Granted(terms=terms) for terms in new]
    _append(connection, sealer, hospital, before.events, granted, now_us=now_us)
    return new


def withdraw(
    connection: Connection, sealer: Sealer, hospital: str, event: Withdrawn, *, now_us: int
) -> KeptConsent | None:
    """Record that a consent was withdrawn; the consent as it stands, None while it is unknown.

    A withdrawal that is not earlier than the one that counts changes nothing, nor does one of a
    person who was erased.
    """
    known = _events_of(connection, sealer, hospital, [event.consent_id])
    mine = known.events.get(event.consent_id, [])
    before = [e.withdrawn_us for e in mine if isinstance(e, Withdrawn)]
    if not known.erased and (not before or event.withdrawn_us < min(before)):
        _append(connection, sealer, hospital, known.events, [event], now_us=now_us)
    return consent_named(connection, sealer, hospital, event.consent_id)


@dataclass(frozen=True, slots=True)
class _Known:
    events: dict[str, list[Event]]
    erased: set[str]  # consents of which nobody can tell any more what was done


def _events_of(
    connection: Connection, sealer: Sealer, hospital: str, consent_ids: Iterable[str]
) -> _Known:
    rows = connection.execute(
        select(consent_event)
        .where(
            consent_event.c.hospital == hospital,
            consent_event.c.consent_id.in_(set(consent_ids)),
        )
        .order_by(consent_event.c.consent_id, consent_event.c.number)
    ).all()
    sealer.load({sealed.subject_of(hospital, row.member) for row in rows})
    known = _Known({}, set())
    for row in rows:
        try:
            event = _open_event(sealer, row)
        except Erased:
            known.erased.add(row.consent_id)
        else:
            known.events.setdefault(row.consent_id, []).append(event)
    return known


def _event_place(hospital: str, consent_id: str, number: int, member: str | None) -> dict[str, str]:
    return {
        "table": "consent_event",
        "column": "body",
        "row": f"{hospital}/{consent_id}/{number}",
        "subject": sealed.subject_of(hospital, member),
    }


def _open_event(sealer: Sealer, row: Row[Any]) -> Event:
    place = _event_place(row.hospital, row.consent_id, row.number, row.member)
    event: Event = _EVENT.decode(sealer.open(row.body, **place))
    return event


def _append(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    before: dict[str, list[Event]],
    new: Sequence[Event],
    *,
    now_us: int,
) -> None:
    if not new:
        return
    touched: dict[str, list[Event]] = {}
    for event in new:
        consent_id = event.terms.consent_id if isinstance(event, Granted) else event.consent_id
        mine = before.setdefault(consent_id, [])
        mine.append(event)
        touched[consent_id] = mine
    folded = fold(event for mine in touched.values() for event in mine)
    tokens = {one.terms.member_token for one in folded.values()}
    member_of = sealed.members_of(connection, sealer, hospital, tokens, now_us)
    sealer.load(map(subject_of, member_of.values()))
    rows: list[dict[str, Any]] = []
    for consent_id, mine in touched.items():
        one = folded.get(consent_id)
        # A withdrawal that came before its grant is nobody's yet.
        member = member_of[one.terms.member_token] if one else None
        for number, event in enumerate(mine, 1):
            if event not in new:
                continue
            place = _event_place(hospital, consent_id, number, member)
            rows.append(
                {
                    "hospital": hospital,
                    "consent_id": consent_id,
                    "number": number,
                    "member": member,
                    "body": sealer.seal(msgspec.json.encode(event), **place),
                    "at_us": now_us,
                }
            )
    connection.execute(insert(consent_event), rows)
    _project(connection, sealer, hospital, folded, member_of, now_us=now_us)


def _project(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    folded: Mapping[str, Consent],
    member_of: Mapping[str, str],
    *,
    now_us: int,
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
                    "member": member_of[one.terms.member_token],
                    "recipient": one.terms.recipient,
                    "purpose": str(one.terms.purpose),
                    "from_us": one.terms.from_us,
                    "until_us": one.terms.until_us,
                    "terms": sealer.seal(
                        msgspec.json.encode(one.terms),
                        table="consent",
                        column="terms",
                        row=f"{hospital}/{one.terms.consent_id}",
                        subject=subject_of(member_of[one.terms.member_token]),
                    ),
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


def consent_named(
    connection: Connection, sealer: Sealer, hospital: str, consent_id: str
) -> KeptConsent | None:
    """One consent."""
    this = and_(consent.c.hospital == hospital, consent.c.consent_id == consent_id)
    rows = connection.execute(select(consent).where(this)).all()
    return next(iter(_kept(connection, sealer, hospital, rows, this)), None)


def history_of(
    connection: Connection, sealer: Sealer, hospital: str, consent_id: str
) -> list[tuple[Event, int]]:
    """What happened to a consent, each with the time of recording; nothing of an erased one."""
    rows = connection.execute(
        select(consent_event)
        .where(consent_event.c.hospital == hospital, consent_event.c.consent_id == consent_id)
        .order_by(consent_event.c.number)
    )
    try:
        return [(_open_event(sealer, row), row.at_us) for row in rows]
    except Erased:
        return []


def consents_after(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    seq: int,
    most: int,
    token: str | None,
) -> Page[KeptConsent]:
    """Consents in the order of recording, after a number."""
    query, number = select(consent).where(consent.c.hospital == hospital), consent.c.seq
    if token is not None:
        mine = sealed.known_members(connection, sealer, hospital, [token])
        query = query.where(consent.c.member.in_(list(mine.values())))
    after = query.where(number > seq).order_by(number)
    rows = connection.execute(after.limit(most)).all()
    more = len(rows) == most and any_after(connection, query, number, rows[-1].seq)
    return Page(_kept(connection, sealer, hospital, rows, _these(rows)), more=more)


def _these(rows: Iterable[Row[Any]]) -> ColumnElement[bool]:
    return consent.c.consent_id.in_([row.consent_id for row in rows])


def consents_of(
    connection: Connection, sealer: Sealer, hospital: str, member: str
) -> list[Consent]:
    """Every consent of one person, by their opaque id, whatever its state."""
    theirs = and_(consent.c.hospital == hospital, consent.c.member == member)
    rows = connection.execute(select(consent).where(theirs)).all()
    kept = _kept(connection, sealer, hospital, rows, theirs)
    return [one.consent for one in kept if one.consent is not None]


def withdrawals_to_tell(
    connection: Connection, sealer: Sealer, hospital: str, most: int
) -> Sequence[KeptConsent]:
    """Withdrawn consents that the recipient was not told of, in the order of recording."""
    query = select(consent).where(
        consent.c.hospital == hospital,
        consent.c.withdrawal_seq.is_not(None),
        consent.c.relayed_us.is_(None),
    )
    rows = connection.execute(query.order_by(consent.c.withdrawal_seq).limit(most)).all()
    return _kept(connection, sealer, hospital, rows, _these(rows))


def untold(connection: Connection, member: str) -> bool:
    """Whether the recipient was not told yet of a withdrawal of this person's."""
    waiting = select(consent.c.consent_id).where(
        consent.c.member == member,
        consent.c.withdrawal_seq.is_not(None),
        consent.c.relayed_us.is_(None),
    )
    return connection.execute(waiting.limit(1)).first() is not None


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
