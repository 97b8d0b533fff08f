"""An insurer's people and their settled claims as a study reads them, and who is in no study.

Every function works in the caller's transaction. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.dialects import postgresql, sqlite

from services.claims.storage.sealed import token_index
from services.claims.storage.tables import (
    claim,
    decision,
    insured,
    person,
    policy,
    study_exclusion,
    withdrawn_consent,
)
from services.common.sealing import Sealer


def last_policy(connection: Connection, insurer: str) -> int:
    """The number of the insurer's newest policy; 0 without one."""
    newest = select(func.max(policy.c.seq)).where(policy.c.insurer == insurer)
    return connection.execute(newest).scalar_one() or 0


def people_after(
    connection: Connection, insurer: str, newest: int, after: str, most: int
) -> Sequence[Any]:
    """The next people whom the insurer insures and nobody has erased, in the order of their ids.

    Of policies up to the `newest`, so that who is insured later changes nothing.

    Each with the sealed token, and whether they are left out of studies.
    """
    found = _people(insurer, newest).where(person.c.id > after)
    return connection.execute(found.order_by(person.c.id).limit(most)).all()


def people_of(
    connection: Connection, insurer: str, newest: int, ids: Sequence[str]
) -> Sequence[Any]:
    """The same of those with these ids, in their order; who is erased or unknown is not there."""
    found = _people(insurer, newest).where(person.c.id.in_(ids))
    rows = {row.id: row for row in connection.execute(found)}
    return [rows[one] for one in ids if one in rows]


def _people(insurer: str, newest: int) -> Select[Any]:
    return (
        select(person.c.id, person.c.token, study_exclusion.c.token_index.label("left_out"))
        .outerjoin(study_exclusion, study_exclusion.c.token_index == person.c.token_index)
        .where(_of(insurer, newest))
    )


def _of(insurer: str, newest: int) -> Any:
    whose = select(insured.c.person_id).join(policy, policy.c.id == insured.c.policy_id)
    theirs = whose.where(policy.c.insurer == insurer, policy.c.seq <= newest)
    return person.c.erased_us.is_(None) & person.c.id.in_(theirs)


def insured_as(
    connection: Connection, insurer: str, people: Collection[str]
) -> dict[str, list[tuple[str, str]]]:
    """Person → policy and member id of each of the insurer's policies, in their order."""
    found = (
        select(insured.c.person_id, insured.c.policy_id, insured.c.member_id)
        .join(policy, policy.c.id == insured.c.policy_id)
        .where(insured.c.person_id.in_(people), policy.c.insurer == insurer)
        .order_by(policy.c.seq, insured.c.member_id)
    )
    members: dict[str, list[tuple[str, str]]] = {one: [] for one in people}
    for row in connection.execute(found):
        members[row.person_id].append((row.policy_id, row.member_id))
    return members


def withdrew(connection: Connection, insurer: str, people: Collection[str]) -> set[str]:
    """Those of the people of whom a claim rests on a consent that is withdrawn or replaced."""
    found = (
        select(claim.c.person_id)
        .join(withdrawn_consent, withdrawn_consent.c.consent == claim.c.consent)
        .where(claim.c.person_id.in_(people), claim.c.insurer == insurer)
    )
    return set(connection.execute(found.distinct()).scalars())


def claims_of(
    connection: Connection, insurer: str, people: Collection[str], before_us: int
) -> Sequence[Any]:
    """Claims of the people that came in before a moment, in the order received, undecided ones too.

    Each with its decision in force, if there is one: what it was made from is sealed.
    """
    found: Select[Any] = (
        select(
            claim.c.id.label("claim_id"),
            claim.c.policy_id,
            claim.c.person_id,
            claim.c.state,
            claim.c.created_us,
            claim.c.time_zone,
            claim.c.released_us,
            decision.c.id,
            decision.c.inputs,
            decision.c.allowed,
            decision.c.benefit,
        )
        .outerjoin(decision, decision.c.id == claim.c.decision_id)
        .where(
            claim.c.person_id.in_(people),
            claim.c.insurer == insurer,
            claim.c.created_us < before_us,
        )
        .order_by(claim.c.seq)
    )
    return connection.execute(found).all()


def leave_out(connection: Connection, sealer: Sealer, tokens: Iterable[str], at_us: int) -> None:
    """Keep the people of these tokens out of every study, also those who come later."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    rows = [
        {"token_index": token_index(sealer, one), "at_us": at_us} for one in sorted(set(tokens))
    ]
    connection.execute(dialect.insert(study_exclusion).on_conflict_do_nothing(), rows)
