"""The claims of a period, and all that decided them: read, many at once. Decides nothing.

Every function works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import date
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, func, select

from services.claims.core.facts import Balance, Scope
from services.claims.core.life_cycle import TAKEN_BACK
from services.claims.core.what_if import Held
from services.claims.storage.tables import (
    claim,
    decision,
    insured_terms,
    person,
    plan_publication,
    plan_version,
    policy,
    policy_revision,
    usage_balance,
)

_TAKEN_BACK = [state.value for state in TAKEN_BACK]


def versions_of_plan(connection: Connection, plan_id: str, *, insurer: str) -> list[str]:
    """The versions of a plan that an insurer has published, oldest first."""
    found = (
        select(plan_version.c.version)
        .join(plan_publication, plan_publication.c.version == plan_version.c.version)
        .where(plan_publication.c.insurer == insurer, plan_version.c.plan_id == plan_id)
        .order_by(plan_publication.c.seq)
    )
    return list(connection.execute(found).scalars())


def policies_of_plan(
    connection: Connection, versions: Sequence[str], *, insurer: str
) -> frozenset[str]:
    """The insurer's policies any of whose revisions is under one of these versions."""
    found = (
        select(policy_revision.c.policy_id)
        .join(policy, policy.c.id == policy_revision.c.policy_id)
        .where(policy.c.insurer == insurer, policy_revision.c.plan_version.in_(versions))
    )
    return frozenset(connection.execute(found.distinct()).scalars())


class PeriodClaim(msgspec.Struct, frozen=True, gc=False):
    """A claim as a period needs it, in little memory; nothing sealed.

    `plan_version` is that of its decision in force, None without one; `erased_us` says when its
    person was erased.
    """

    insurer: str
    policy_id: str
    person_id: str
    member_id: str
    state: str
    time_zone: str
    currency: str
    consent: str | None
    plan_version: str | None
    seq: int
    id: str
    decision_id: str | None
    released_us: int | None
    created_us: int
    erased_us: int | None


def claims_since(connection: Connection, since_us: int, *, insurer: str) -> Iterator[PeriodClaim]:
    """The insurer's claims received since then, in the order received, as they are read."""
    told = {"insurer": insurer, "since_us": since_us}
    rows = connection.execute(_CLAIMS_SINCE, told, execution_options={"yield_per": _AT_ONCE})
    # Most of what they say is said again and again, and kept once.
    once: dict[Any, Any] = {}
    for row in rows:
        often = [once.setdefault(one, one) for one in row[:_SAID_OFTEN]]
        values: Any = (*often, *row[_SAID_OFTEN:])
        yield PeriodClaim(*values)


# So many of the first fields.
_SAID_OFTEN = 9
_AT_ONCE = 2_000
_FROM = {"plan_version": decision.c, "erased_us": person.c}
_CLAIMS_SINCE = (
    select(*(_FROM.get(name, claim.c)[name] for name in PeriodClaim.__struct_fields__))
    .join(person, person.c.id == claim.c.person_id)
    .outerjoin(decision, decision.c.id == claim.c.decision_id)
    .where(claim.c.insurer == bindparam("insurer"), claim.c.created_us >= bindparam("since_us"))
    .order_by(claim.c.seq)
)


def in_force(row: PeriodClaim) -> bool:
    """Whether a claim's decision counts: there is one, and it was not taken back."""
    return row.decision_id is not None and row.released_us is None and row.state not in _TAKEN_BACK


def decided(connection: Connection, ids: Collection[str]) -> dict[str, Any]:
    """Stored decisions by id, with what they were made from; sealed."""
    return {row.id: row for row in connection.execute(_DECIDED, {"ids": list(ids)})}


_DECIDED = select(
    decision.c.id,
    decision.c.person_id,
    decision.c.inputs,
    decision.c.output,
    decision.c.services,
    decision.c.engine_version,
).where(decision.c.id.in_(bindparam("ids", expanding=True)))


def decided_before(
    connection: Connection, people: Collection[str], before_us: int, since: date, *, insurer: str
) -> Sequence[Any]:
    """Decisions in force of claims received before a moment, in the order received.

    Of these people, whose services reach into the year of `since`; what they allowed is sealed.
    """
    told = {
        "people": list(people),
        "before_us": before_us,
        "first_year": since.year,
        "insurer": insurer,
    }
    return connection.execute(_DECIDED_BEFORE, told).all()


_DECIDED_BEFORE = (
    select(
        decision.c.id,
        decision.c.person_id,
        decision.c.services,
        claim.c.seq,
        claim.c.policy_id,
        claim.c.member_id,
        claim.c.id.label("claim_id"),
    )
    .join(claim, claim.c.id == decision.c.claim_id)
    .where(
        decision.c.person_id.in_(bindparam("people", expanding=True)),
        claim.c.insurer == bindparam("insurer"),
        claim.c.created_us < bindparam("before_us"),
        decision.c.id == claim.c.decision_id,
        claim.c.state.not_in(_TAKEN_BACK),
        claim.c.released_us.is_(None),
        decision.c.last_year >= bindparam("first_year"),
    )
    .order_by(claim.c.seq)
)


def held(connection: Connection, policies: Collection[str]) -> list[Held]:
    """Every balance of these policies."""
    return [
        Held(
            policy_id=row.policy_id,
            subject=row.subject,
            balance=Balance(
                accumulator=row.accumulator,
                scope=Scope(row.scope),
                period_start=date.fromisoformat(row.period_start) if row.period_start else None,
                amount=row.amount,
                count=row.uses,
            ),
        )
        for row in connection.execute(_HELD, {"policies": list(policies)})
    ]


_HELD = select(usage_balance).where(
    usage_balance.c.policy_id.in_(bindparam("policies", expanding=True))
)


def family_sizes(connection: Connection, policies: Collection[str]) -> dict[str, dict[int, int]]:
    """How many people each revision of these policies insures."""
    found = (
        select(insured_terms.c.policy_id, insured_terms.c.revision, func.count())
        .where(insured_terms.c.policy_id.in_(policies))
        .group_by(insured_terms.c.policy_id, insured_terms.c.revision)
    )
    sizes: dict[str, dict[int, int]] = {}
    for policy_id, revision, count in connection.execute(found):
        sizes.setdefault(policy_id, {})[revision] = count
    return sizes
