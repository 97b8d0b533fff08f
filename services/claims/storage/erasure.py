"""Erasing a person from the claims database by destroying their key; changes no row of content.

Decides when it must not be done: while a claim is open, and while the law wants records kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import msgspec
from sqlalchemy import Connection, func, select, update

from services.claims.core.life_cycle import ClaimState
from services.claims.storage import policies
from services.claims.storage.claims import lock
from services.claims.storage.sealed import person_subject, policy_subject
from services.claims.storage.tables import claim, insured, person
from services.common.sealing import Sealer, erasures

# Nothing more is owed, awaited or contested in these; an appeal against one opens it again.
CLOSED = (
    ClaimState.DENIED,
    ClaimState.CLOSED_INCOMPLETE,
    ClaimState.CLOSED_ZERO,
    ClaimState.PAID,
    ClaimState.RECOVERED,
    ClaimState.WRITTEN_OFF,
    ClaimState.UPHELD,
    ClaimState.WITHDRAWN,
)
# Insurance Law of the People's Republic of China, article 87: records are kept from the end of the
# contract for five years when it ran for a year or less, for ten when it ran longer.
KEPT_YEARS, LONG_KEPT_YEARS = 5, 10


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased; `policies` insured nobody else who is still there."""

    person_id: str
    keys: int
    claims: int
    policies: tuple[str, ...]


class UnknownMember(LookupError):
    """Nothing is kept about this member."""


class ClaimsOpen(ValueError):
    """Claims of the member are not closed; nothing was erased."""

    def __init__(self, claims: Sequence[tuple[str, str]]) -> None:
        super().__init__(f"{len(claims)} open")
        self.claims = tuple(claims)  # (policy, claim)


class RetentionNotOver(ValueError):
    """Records must be kept until a day; nothing was erased."""

    def __init__(self, until: date) -> None:
        super().__init__("kept by law")
        self.until = until


_encode = msgspec.json.Encoder(order="deterministic").encode
_ERASURE = msgspec.json.Decoder(Erasure)


def erase(
    connection: Connection,
    sealer: Sealer,
    request_id: str,
    member_token: str,
    *,
    ground: str,
    ordered: bool,
    today: date,
    now_us: int,
) -> Erasure:
    """Erase a person; `ground` is kept. The caller scrubs the database after the commit.

    Raises: UnknownMember, ClaimsOpen, RetentionNotOver; OtherErasure when the request_id was used
    with other content.
    """
    content = _encode((member_token, ground))
    known = erasures.answered(connection, sealer, request_id, content)
    if known is not None:
        return _ERASURE.decode(known)
    person_id = policies.find_person(connection, sealer, member_token)
    if person_id is None:
        raise UnknownMember
    mine = [policy_id for policy_id, _member_id in policies.policies_of(connection, person_id)]
    if lock(connection, mine, [person_id]):
        if policies.find_person(connection, sealer, member_token) is None:
            raise UnknownMember
        mine = [policy_id for policy_id, _ in policies.policies_of(connection, person_id)]
    _check(connection, person_id, mine, ordered=ordered, today=today)
    connection.execute(
        update(person).where(person.c.id == person_id).values(token_index=None, erased_us=now_us)
    )
    destroyed = sealer.destroy(person_subject(person_id))
    left = [policy for policy in sorted(set(mine)) if not _insures_anybody(connection, policy)]
    destroyed += sum(sealer.destroy(policy_subject(policy_id)) for policy_id in left)
    claims = select(func.count()).where(claim.c.person_id == person_id)
    done = Erasure(
        person_id=person_id,
        keys=destroyed,
        claims=int(connection.execute(claims).scalar_one()),
        policies=tuple(left),
    )
    erasures.remember(
        connection,
        sealer,
        request_id,
        content,
        member=person_id,
        ground=ground,
        answer=_encode(done),
        now_us=now_us,
    )
    return done


def kept_until(start: date, end: date) -> date:
    """First day on which records of a policy need not be kept; `end` is the first day after it.

    >>> kept_until(date(2026, 1, 1), date(2027, 1, 1))
    datetime.date(2032, 1, 1)
    """
    long = end > _years_later(start, 1)
    return _years_later(end, LONG_KEPT_YEARS if long else KEPT_YEARS)


def _years_later(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year + years)
    except ValueError:  # from a 29 February
        return date(day.year + years, 3, 1)


def _check(
    connection: Connection, person_id: str, mine: Sequence[str], *, ordered: bool, today: date
) -> None:
    closed = [state.value for state in CLOSED]
    rows = connection.execute(
        select(claim.c.policy_id, claim.c.id)
        .where(claim.c.person_id == person_id, claim.c.state.not_in(closed))
        .order_by(claim.c.seq)
    ).all()
    if rows:
        raise ClaimsOpen([(row.policy_id, row.id) for row in rows])
    if ordered or not mine:
        return
    terms = [policies.newest_terms(connection, policy_id) for policy_id in mine]
    until = max(kept_until(one.start, one.end) for one in terms)
    if until > today:
        raise RetentionNotOver(until)


def _insures_anybody(connection: Connection, policy_id: str) -> bool:
    still = (
        select(insured.c.person_id)
        .join(person, person.c.id == insured.c.person_id)
        .where(insured.c.policy_id == policy_id, person.c.erased_us.is_(None))
        .limit(1)
    )
    return connection.execute(still).first() is not None
