"""The claims of a period, and all that decided them: read, many at once. Decides nothing.

Every function works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row, func, select

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


def claims_since(connection: Connection, since_us: int, *, insurer: str) -> Sequence[Any]:
    """The insurer's claims received since then, in the order received; nothing sealed of them.

    Each with the plan version of its decision in force, None without one, and when its person was
    erased.
    """
    names = (
        *("seq", "id", "insurer", "policy_id", "person_id", "member_id", "state", "decision_id"),
        *("released_us", "created_us", "time_zone", "currency", "consent"),
    )
    found = (
        select(*(claim.c[name] for name in names), decision.c.plan_version, person.c.erased_us)
        .join(person, person.c.id == claim.c.person_id)
        .outerjoin(decision, decision.c.id == claim.c.decision_id)
        .where(claim.c.insurer == insurer, claim.c.created_us >= since_us)
    )
    return connection.execute(found.order_by(claim.c.seq)).all()


def in_force(row: Row[Any]) -> bool:
    """Whether a claim's decision counts: there is one, and it was not taken back."""
    return row.decision_id is not None and row.released_us is None and row.state not in _TAKEN_BACK


def decided(connection: Connection, ids: Collection[str]) -> dict[str, Any]:
    """Stored decisions by id, with what they were made from; sealed."""
    found = select(
        decision.c.id,
        decision.c.person_id,
        decision.c.inputs,
        decision.c.output,
        decision.c.services,
    ).where(decision.c.id.in_(ids))
    return {row.id: row for row in connection.execute(found)}


def decided_before(
    connection: Connection, people: Collection[str], before_us: int, since: date, *, insurer: str
) -> Sequence[Any]:
    """Decisions in force of claims received before a moment, in the order received.

    Of these people, whose services reach into the year of `since`; what they allowed is sealed.
    """
    found = (
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
            decision.c.person_id.in_(people),
            claim.c.insurer == insurer,
            claim.c.created_us < before_us,
            decision.c.id == claim.c.decision_id,
            claim.c.state.not_in(_TAKEN_BACK),
            claim.c.released_us.is_(None),
            decision.c.last_year >= since.year,
        )
        .order_by(claim.c.seq)
    )
    return connection.execute(found).all()


def held(connection: Connection, policies: Collection[str]) -> list[Held]:
    """Every balance of these policies."""
    found = select(usage_balance).where(usage_balance.c.policy_id.in_(policies))
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
        for row in connection.execute(found)
    ]


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
