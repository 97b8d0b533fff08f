"""Erasing a person from the claims database by destroying their key; changes no row of content.

Decides when it must not be done: while a claim is open, and while the law wants records kept. Where
several insurers insure the person, all of them have a say, and none is named to another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, func, select, update

from services.claims.core.life_cycle import ClaimState
from services.claims.storage import policies
from services.claims.storage.claims import lock
from services.claims.storage.sealed import person_subject, policy_subject
from services.claims.storage.tables import claim, insured, person
from services.common.access.tenant import INSTALLATION, Tenant
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
    """What was erased; `policies` are the tenant's that insured nobody else who is still there."""

    person_id: str
    keys: int
    claims: int
    policies: tuple[str, ...]


class Ground(NamedTuple):
    """Why a person may be erased, and by whom; an order overrides what its addressee must keep."""

    text: str
    ordered: bool
    by: erasures.By = erasures.NOBODY_SAID


class UnknownMember(LookupError):
    """Nothing is kept about this member."""


class ClaimsOpen(ValueError):
    """Claims of the member at the tenant are not closed; nothing was erased."""

    def __init__(self, claims: Sequence[tuple[str, str]]) -> None:
        super().__init__(f"{len(claims)} open")
        self.claims = tuple(claims)  # (policy, claim)


class RetentionNotOver(ValueError):
    """The tenant must keep records of its policies until a day; nothing was erased."""

    def __init__(self, until: date) -> None:
        super().__init__("kept by law")
        self.until = until


class OthersKeepRecords(ValueError):
    """Nothing keeps the person here but other insurers' claims or records; nothing was erased.

    Which of the two it is nobody is told: that there is another insurer is more than enough.
    """


_encode = msgspec.json.Encoder(order="deterministic").encode
_ERASURE = msgspec.json.Decoder(Erasure)


def erase(
    connection: Connection,
    sealer: Sealer,
    tenant: Tenant,
    request_id: str,
    member_token: str,
    *,
    ground: Ground,
    today: date,
    now_us: int,
) -> Erasure:
    """Erase a person whom the tenant insures; `ground` is kept.

    The caller scrubs the database after the commit.

    Raises: UnknownMember, ClaimsOpen, RetentionNotOver, OthersKeepRecords; OtherErasure when the
    request_id was used on another ground, or for somebody else: the tenant insures this person.
    """
    request_id = tenant.own(request_id)
    known = erasures.answered(connection, request_id, ground.text)
    person_id = policies.find_person(connection, sealer, member_token)
    insured_by = _policies(connection, sealer, person_id)
    if person_id is None or not _own(tenant, insured_by):
        if known is not None:
            return _ERASURE.decode(known)
        raise UnknownMember
    if known is not None:
        raise erasures.OtherErasure
    if lock(connection, insured_by, [person_id]):
        if policies.find_person(connection, sealer, member_token) is None:
            raise UnknownMember
        insured_by = _policies(connection, sealer, person_id)
    _check(connection, tenant, person_id, insured_by, ordered=ground.ordered, today=today)
    connection.execute(
        update(person)
        .where(person.c.id == person_id)
        .values(token_index=None, token=None, erased_us=now_us)
    )
    destroyed = sealer.destroy(person_subject(person_id))
    left = [policy for policy in sorted(insured_by) if not _insures_anybody(connection, policy)]
    destroyed += sum(sealer.destroy(policy_subject(policy_id)) for policy_id in left)
    mine = claim.c.person_id == person_id, claim.c.policy_id.in_(_own(tenant, insured_by))
    claims = select(func.count()).where(*mine)
    done = Erasure(
        person_id=person_id,
        keys=destroyed,
        claims=int(connection.execute(claims).scalar_one()),
        policies=tuple(policy for policy in left if policy in _own(tenant, insured_by)),
    )
    erasures.remember(
        connection,
        request_id,
        member=person_id,
        by=replace(ground.by, ground=ground.text),
        answer=_encode(done),
        now_us=now_us,
    )
    return done


def erased_members(
    connection: Connection, policy_id: str, member_ids: Iterable[str]
) -> dict[str, int]:
    """Those of a policy's member ids whose person was erased → when."""
    gone = (
        select(insured.c.member_id, person.c.erased_us)
        .join(person, person.c.id == insured.c.person_id)
        .where(
            insured.c.policy_id == policy_id,
            insured.c.member_id.in_(list(member_ids)),
            person.c.erased_us.is_not(None),
        )
    )
    return {row.member_id: row.erased_us for row in connection.execute(gone)}


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


def _policies(connection: Connection, sealer: Sealer, person_id: str | None) -> dict[str, str]:
    """Policy → insurer of every policy of the person."""
    if person_id is None:
        return {}
    found = policies.policies_of(connection, sealer, person_id, INSTALLATION)
    return {one.policy_id: one.insurer for one in found}


def _own(tenant: Tenant, insured_by: Mapping[str, str]) -> list[str]:
    """Those of the policies that exist for the tenant."""
    return [policy for policy, insurer in insured_by.items() if insurer == tenant.insurer]


def _check(
    connection: Connection,
    tenant: Tenant,
    person_id: str,
    insured_by: Mapping[str, str],
    *,
    ordered: bool,
    today: date,
) -> None:
    own = _own(tenant, insured_by)
    closed = [state.value for state in CLOSED]
    rows = connection.execute(
        select(claim.c.policy_id, claim.c.id)
        .where(claim.c.person_id == person_id, claim.c.state.not_in(closed))
        .order_by(claim.c.seq)
    ).all()
    if mine := [(row.policy_id, row.id) for row in rows if row.policy_id in own]:
        raise ClaimsOpen(mine)
    until = {}
    # An order binds whom it was sent to: what other insurers must keep, they must keep.
    for policy_id in insured_by:
        if not (ordered and policy_id in own):
            terms = policies.newest_terms(connection, policy_id)
            until[policy_id] = kept_until(terms.start, terms.end)
    own_until = max((until[policy_id] for policy_id in own if policy_id in until), default=today)
    if own_until > today:
        raise RetentionNotOver(own_until)
    if rows or max(until.values(), default=today) > today:
        raise OthersKeepRecords


def _insures_anybody(connection: Connection, policy_id: str) -> bool:
    still = (
        select(insured.c.person_id)
        .join(person, person.c.id == insured.c.person_id)
        .where(insured.c.policy_id == policy_id, person.c.erased_us.is_(None))
        .limit(1)
    )
    return connection.execute(still).first() is not None
