"""Who may have whose data for what at an instant: consents as a fold over what people did. Pure.

A consent is given to one recipient for one purpose, because medical data need a separate consent
(Personal Information Protection Law, articles 23 and 29), by the person or, for a minor under 14,
by a guardian (article 31). Withdrawing it ends what is to come and undoes nothing that was done
(article 15). Instants are microseconds since 1970 in UTC; days are the hospital's calendar days.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from enum import StrEnum

import msgspec

from services.his_bridge.core.bill import CareType


class Purpose(StrEnum):
    """What data may be used for."""

    CLAIM_SETTLEMENT = "CLAIM_SETTLEMENT"
    HEALTH_PROGRAMME = "HEALTH_PROGRAMME"
    DEIDENTIFIED_STUDY = "DEIDENTIFIED_STUDY"


class Content(StrEnum):
    """A kind of record."""

    BILLS = "BILLS"
    READINGS = "READINGS"


class Giver(StrEnum):
    """Who acted."""

    MEMBER = "MEMBER"
    GUARDIAN = "GUARDIAN"


class Channel(StrEnum):
    """How the act is evidenced."""

    PAPER = "PAPER"
    ELECTRONIC = "ELECTRONIC"
    IN_PERSON = "IN_PERSON"


class State(StrEnum):
    """Where a consent stands at an instant."""

    NOT_YET = "NOT_YET"
    ACTIVE = "ACTIVE"
    RUN_OUT = "RUN_OUT"
    WITHDRAWN = "WITHDRAWN"


class Lack(StrEnum):
    """Why no consent covers a record."""

    NO_CONSENT = "NO_CONSENT"
    NOT_YET = "NOT_YET"
    RUN_OUT = "RUN_OUT"
    WITHDRAWN = "WITHDRAWN"
    OUTSIDE_SCOPE = "OUTSIDE_SCOPE"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What shows that a person acted: the hash of a document that the hospital keeps."""

    document_sha256: str
    channel: Channel


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which data. No care types: all. Both days of care count in; None bounds nothing."""

    contents: tuple[Content, ...]
    care_types: tuple[CareType, ...] = ()
    first_day: date | None = None
    last_day: date | None = None


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was consented to. `giver` is an opaque id of the hospital's."""

    consent_id: str
    member_token: str
    recipient: str
    purpose: Purpose
    scope: Scope
    given_by: Giver
    giver: str
    from_us: int
    evidence: Evidence
    until_us: int | None = None
    under_14: bool = False


class Granted(msgspec.Struct, frozen=True, kw_only=True, tag="grant"):
    """A consent was given."""

    terms: Terms


class Withdrawn(msgspec.Struct, frozen=True, kw_only=True, tag="withdraw", omit_defaults=True):
    """A consent was taken back, as of an instant."""

    consent_id: str
    withdrawn_us: int
    evidence: Evidence | None = None


Event = Granted | Withdrawn


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """A consent as its events leave it."""

    terms: Terms
    withdrawn_us: int | None = None


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a record needs a consent for: its kind, and the days of care, both included."""

    content: Content
    first_day: date
    last_day: date
    care_type: CareType | None = None


class ContradictoryGrants(ValueError):
    """One id was given to two different consents; nobody can say which of them holds."""


def fold(events: Iterable[Event]) -> dict[str, Consent]:
    """The consents that these events make, by id, in whatever order they arrived.

    The earliest withdrawal counts. One that arrives before its grant makes no consent, and the
    grant, when it arrives, is withdrawn from the start.

    Raises: ContradictoryGrants.
    """
    granted: dict[str, Terms] = {}
    withdrawn: dict[str, int] = {}
    for event in events:
        if isinstance(event, Granted):
            if granted.setdefault(event.terms.consent_id, event.terms) != event.terms:
                raise ContradictoryGrants(event.terms.consent_id)
        else:
            before = withdrawn.get(event.consent_id, event.withdrawn_us)
            withdrawn[event.consent_id] = min(before, event.withdrawn_us)
    return {
        consent_id: Consent(terms=terms, withdrawn_us=withdrawn.get(consent_id))
        for consent_id, terms in granted.items()
    }


def state_at(consent: Consent, at_us: int) -> State:
    """Where the consent stands: `from` is its first instant, `until` the first one after it.

    A withdrawal holds from its own instant on, and for good: whatever was to come is void.
    """
    terms = consent.terms
    if consent.withdrawn_us is not None and consent.withdrawn_us <= at_us:
        return State.WITHDRAWN
    if at_us < terms.from_us:
        return State.NOT_YET
    if terms.until_us is not None and terms.until_us <= at_us:
        return State.RUN_OUT
    return State.ACTIVE


def covers(scope: Scope, need: Need) -> bool:
    """Whether the scope takes the whole record in; a stay is in when all of its days are."""
    if need.content not in scope.contents:
        return False
    if scope.care_types and need.care_type is not None and need.care_type not in scope.care_types:
        return False
    if scope.first_day is not None and need.first_day < scope.first_day:
        return False
    return scope.last_day is None or need.last_day <= scope.last_day


def active(
    consents: Iterable[Consent],
    *,
    member: str,
    recipient: str,
    purpose: Purpose,
    need: Need,
    at_us: int,
    rather: str = "",
) -> Consent | None:
    """The consent that lets the recipient have the record at this instant; None without one.

    Of several the one with the id `rather`, else the one in force for longest.
    """
    found = [
        consent
        for consent in consents
        if consent.terms.member_token == member
        and consent.terms.recipient == recipient
        and consent.terms.purpose is purpose
        and state_at(consent, at_us) is State.ACTIVE
        and covers(consent.terms.scope, need)
    ]
    return min(found, key=lambda one: _rank(one.terms, rather), default=None)


def lacking(
    consents: Iterable[Consent], *, recipient: str, purpose: Purpose, need: Need, at_us: int
) -> tuple[Lack, tuple[str, ...]] | None:
    """Why none of a person's consents covers the record, and which ones; None when one does.

    One that begins later says most, for it releases the record by itself; of those that covered it
    once, the one that ended last; then those that never did.
    """
    theirs = [c for c in consents if (c.terms.recipient, c.terms.purpose) == (recipient, purpose)]
    if not theirs:
        return Lack.NO_CONSENT, ()
    fitting = [one for one in theirs if covers(one.terms.scope, need)]
    states = [state_at(one, at_us) for one in fitting]
    if State.ACTIVE in states:
        return None
    begin = [c for c, state in zip(fitting, states, strict=True) if state is State.NOT_YET]
    if begin:
        return Lack.NOT_YET, _ids(begin)
    if not fitting:
        return Lack.OUTSIDE_SCOPE, _ids(theirs)
    last = max(fitting, key=lambda one: (ended_us(one), one.terms.consent_id))
    return Lack(state_at(last, at_us)), _ids([last])


def ended_us(consent: Consent) -> int:
    """When a consent that holds no more ceased to hold."""
    ends = [at for at in (consent.withdrawn_us, consent.terms.until_us) if at is not None]
    return min(ends, default=consent.terms.from_us)


def _ids(consents: Iterable[Consent]) -> tuple[str, ...]:
    return tuple(sorted(one.terms.consent_id for one in consents))


def _rank(terms: Terms, rather: str) -> tuple[bool, int, str]:
    return terms.consent_id != rather, terms.from_us, terms.consent_id


def ended_with(consents: Sequence[Consent], withdrawn: str, at_us: int) -> tuple[str, ...]:
    """Ids of withdrawn consents for which, after this withdrawal, no other stands in.

    Empty while another active consent of the same person, recipient and purpose covers at least
    what the withdrawn one did: what rested on it then rests on the other. When that one is
    withdrawn as well, both ids are told.
    """
    mine = next(one for one in consents if one.terms.consent_id == withdrawn).terms
    same = [
        one
        for one in consents
        if (one.terms.member_token, one.terms.recipient, one.terms.purpose)
        == (mine.member_token, mine.recipient, mine.purpose)
    ]
    standing = [one.terms.scope for one in same if state_at(one, at_us) is State.ACTIVE]
    if any(_includes(scope, mine.scope) for scope in standing):
        return ()
    return tuple(
        sorted(
            one.terms.consent_id
            for one in same
            if state_at(one, at_us) is State.WITHDRAWN
            and not any(_includes(scope, one.terms.scope) for scope in standing)
        )
    )


def _includes(outer: Scope, inner: Scope) -> bool:
    """Whether whatever the inner scope covers, the outer one covers."""
    types = set(outer.care_types)
    return (
        set(inner.contents) <= set(outer.contents)
        and (not types or (bool(inner.care_types) and set(inner.care_types) <= types))
        and (
            outer.first_day is None
            or (inner.first_day is not None and outer.first_day <= inner.first_day)
        )
        and (
            outer.last_day is None
            or (inner.last_day is not None and inner.last_day <= outer.last_day)
        )
    )
