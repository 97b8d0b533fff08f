"""What a member has used up: accumulators, and the services that earlier decisions allowed.

Every function works in the caller's transaction. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, insert, or_, select, update

from services.claims.core.decision import UsageChange
from services.claims.core.facts import Balance, EarlierService, Scope
from services.claims.core.life_cycle import TAKEN_BACK
from services.claims.core.repeats import Reach
from services.claims.storage.sealed import open_services
from services.claims.storage.tables import claim, decision, usage_balance
from services.common.sealing import Sealer

# Accumulators that the whole policy shares have no subject.
_SHARED = (Scope.FAMILY, Scope.POLICY)


def balances(connection: Connection, policy_id: str, member_id: str) -> list[Balance]:
    """Accumulators of the member and of the policy as a whole."""
    found = select(usage_balance).where(
        usage_balance.c.policy_id == policy_id, usage_balance.c.subject.in_(["", member_id])
    )
    return [
        Balance(
            accumulator=row.accumulator,
            scope=Scope(row.scope),
            period_start=date.fromisoformat(row.period_start) if row.period_start else None,
            amount=row.amount,
            count=row.uses,
        )
        for row in connection.execute(found)
    ]


def earlier_services(
    connection: Connection,
    sealer: Sealer,
    row: Row[Any],
    reach: Reach,
) -> list[EarlierService]:
    """What decisions in force of the same insurer allowed the person, as far as it can matter.

    Each with the claim that it was decided in. What another insurer has allowed is not this one's
    to know.

    Whichever policy paid: two policies of one person with one insurer look at one history, and a
    line of a bill that several of them allowed is one service. A pended line counts as allowed,
    unless its claim's decision was taken back. This bill's own services are not in it. What was
    decided before the person was erased is not in it either: it was another person's, as far as
    anybody can tell.
    """
    if not reach.codes:
        return []
    first_day, last_day = reach.days()
    # The years are in clear; within them everything of the person is opened and looked at.
    found = (
        select(
            decision.c.id,
            decision.c.person_id,
            decision.c.services,
            claim.c.policy_id,
            decision.c.claim_id,
        )
        .join(claim, claim.c.id == decision.c.claim_id)
        .where(
            decision.c.person_id == row.person_id,
            claim.c.insurer == row.insurer,
            decision.c.id == claim.c.decision_id,
            claim.c.state.not_in([state.value for state in TAKEN_BACK]),
            claim.c.released_us.is_(None),
            decision.c.last_year >= first_day.year,
            decision.c.first_year <= last_day.year,
            or_(claim.c.provider_id != row.provider_id, claim.c.bill_index != row.bill_index),
        )
        .order_by(claim.c.seq)
    )
    services: dict[tuple[str, str, int], EarlierService] = {}
    for stored in connection.execute(found):
        for allowed in open_services(sealer, stored):
            one = allowed.service
            # Codes are compared by what they mean, which no index of theirs could do.
            if reach.has(one):
                key = (one.provider_id, one.bill_number, allowed.number)
                name = f"policies/{stored.policy_id}/claims/{stored.claim_id}"
                services[key] = msgspec.structs.replace(one, claim=name)
    return list(services.values())


def use(
    connection: Connection,
    policy_id: str,
    member_id: str,
    changes: Sequence[UsageChange],
    *,
    sign: int = 1,
) -> None:
    """Add a decision's use to the accumulators; with sign -1 release exactly the same."""
    for change in changes:
        key = {
            "policy_id": policy_id,
            "subject": "" if change.scope in _SHARED else member_id,
            "accumulator": change.accumulator,
            "scope": change.scope.value,
            "period_start": change.period_start.isoformat() if change.period_start else "",
        }
        here = and_(*(usage_balance.c[name] == value for name, value in key.items()))
        # Read, then write: safe only because the caller's transaction is the only writer of this
        # policy and member (BEGIN IMMEDIATE, or the row locks); tests show the loss without.
        found = connection.execute(
            select(usage_balance.c.amount, usage_balance.c.uses).where(here)
        ).first()
        amount, uses = (found.amount, found.uses) if found else (0, 0)
        values = {"amount": amount + sign * change.amount, "uses": uses + sign * change.count}
        if found:
            connection.execute(update(usage_balance).where(here).values(**values))
        else:
            connection.execute(insert(usage_balance), {**key, **values})
