"""Decided claims loaded straight into the tables, many times faster than claims takes them in.

What a what-if reads is there as the service itself writes it: sealed bills and decisions, balances,
people and their keys. Lines, shares and moves, which it does not read, are not.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, cast

from sqlalchemy import Connection, insert, text

from bench import bills
from services.claims.bill_intake import bill_facts
from services.claims.core.accumulators import with_changes
from services.claims.core.adjudicate import NO_PRIOR_PAYMENTS, decide_again
from services.claims.core.canonical import Inputs, plan_version
from services.claims.core.decision import Decision
from services.claims.core.facts import (
    CoverInterval,
    MemberFacts,
    PolicySnapshot,
    Relationship,
    UsageSnapshot,
)
from services.claims.core.life_cycle import ClaimState
from services.claims.core.plan import Plan
from services.claims.storage import sealed
from services.claims.storage.policies import store_plan
from services.claims.storage.tables import (
    claim,
    decision,
    person,
    policy,
    policy_revision,
    usage_balance,
)
from services.common.database import Database
from services.common.sealing import Sealer, SubjectKeys

EACH = 5  # claims of one person, who has a policy alone
_PEOPLE_AT_ONCE = 200
# Different people's claims; more people have one of these under their own names and keys.
_HISTORIES = 100
_MEMBER = "m0"


@dataclass(slots=True)
class _Rows:
    """What one transaction writes, by table."""

    people: list[dict[str, Any]] = field(default_factory=list)
    policies: list[dict[str, Any]] = field(default_factory=list)
    revisions: list[dict[str, Any]] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    balances: list[dict[str, Any]] = field(default_factory=list)


def load(
    database: Database, keys: SubjectKeys, plan: Plan, claims: int, at_us: int, *, insurer: str
) -> int:
    """So many decided claims of an insurer, in the order received; what they pay together, in fen.

    The trigger that holds decisions against their lines is off while they are loaded.
    """
    people, paid = max(1, claims // EACH), 0
    histories = [_history(plan, number) for number in range(min(people, _HISTORIES))]
    with database.writing() as connection:
        store_plan(connection, plan, bills.PLAN.read_bytes(), at_us, insurer=insurer)
        for statement in _seals(database.is_sqlite):
            connection.execute(text(statement))
    for first in range(0, people, _PEOPLE_AT_ONCE):
        with database.writing() as connection:
            sealer = keys.sealer(connection)
            rows = _Rows()
            for number in range(first, min(people, first + _PEOPLE_AT_ONCE)):
                history = histories[number % len(histories)]
                paid += _person(rows, sealer, history, number, at_us, insurer)
            _write(connection, rows)
    return paid


def _seals(is_sqlite: bool) -> Iterator[str]:
    if not is_sqlite:
        yield "ALTER TABLE decision DISABLE TRIGGER decision_seal"
        return
    names = ("lines_missing", "claim_sum", "benefit_sum", "line_sum", "line_benefit", "stray_share")
    yield from (f"DROP TRIGGER decision_{name}" for name in names)


@dataclass(frozen=True, slots=True)
class _Made:
    """One claim of a history as it was decided."""

    bill: bytes
    inputs: Inputs
    decided: Decision


@dataclass(frozen=True, slots=True)
class _History:
    """What one person's claims came to, in the order received, and what they have used."""

    claims: list[_Made]
    used: UsageSnapshot


def _history(plan: Plan, number: int) -> _History:
    snapshot, usage, made = snapshot_of("p"), UsageSnapshot(), []
    for nth in range(EACH):
        # The bills lie days apart, so that none reads another one's services.
        bill = bills.bill(number * EACH + nth, days=nth * 5)
        inputs = Inputs(
            plan_version=plan_version(plan),
            policy=snapshot,
            usage=usage,
            bill=bill_facts(bill),
            prior=NO_PRIOR_PAYMENTS,
        )
        decided = decide_again(plan, inputs)
        usage = with_changes(usage, decided.usage_changes)
        made.append(_Made(bill.SerializeToString(), inputs, decided))
    return _History(made, usage)


def _person(
    rows: _Rows, sealer: Sealer, history: _History, number: int, at_us: int, insurer: str
) -> int:
    """A person with a policy and the claims of a history; what these pay."""
    person_id, policy_id = uuid.uuid4().hex, f"p{number}"
    rows.people.append({"id": person_id, "token_index": uuid.uuid4().hex, "claims_received": EACH})
    rows.policies.append({"id": policy_id, "insurer": insurer, "seq": number, "revision": 1})
    rows.revisions.append(
        {
            "policy_id": policy_id,
            "revision": 1,
            "effective_date": "2026-01-01",
            "plan_version": history.claims[0].decided.plan_version,
            "content_hash": "",
            "terms": b"",
            "at_us": at_us,
        }
    )
    for nth, made in enumerate(history.claims):
        claim_id, decision_id = uuid.uuid4().hex, uuid.uuid4().hex
        of_claim = {
            "insurer": insurer,
            "policy_id": policy_id,
            "person_seq": nth + 1,
            "decision_id": decision_id,
            "benefit": made.decided.benefit,
            "created_us": at_us + number * EACH + nth,
            "decided_us": at_us,
            "moved_us": at_us,
        }
        rows.claims.append(of_claim | _claim_row(sealer, claim_id, made, person_id))
        rows.decisions.append(_decision_row(sealer, claim_id, decision_id, made, person_id, at_us))
    rows.balances += (
        {
            "policy_id": policy_id,
            "subject": _MEMBER,
            "accumulator": one.accumulator,
            "scope": one.scope.value,
            "period_start": one.period_start.isoformat() if one.period_start else "",
            "amount": one.amount,
            "uses": one.count,
        }
        for one in history.used.balances
    )
    return sum(made.decided.benefit for made in history.claims)


def _claim_row(sealer: Sealer, claim_id: str, made: _Made, person_id: str) -> dict[str, Any]:
    number = made.inputs.bill.bill_number
    return {
        "id": claim_id,
        "person_id": person_id,
        "member_id": _MEMBER,
        "request_id": claim_id,
        "provider_id": made.inputs.bill.provider_id,
        "bill_index": sealed.bill_index(sealer, number),
        **sealed.sealed_bill(sealer, claim_id, person_id, made.bill, number),
        "bill_hash": "",
        "currency": "CNY",
        "state": ClaimState.PAID.value,
        "time_zone": "Asia/Shanghai",
    }


def _decision_row(
    sealer: Sealer, claim_id: str, decision_id: str, made: _Made, person_id: str, at_us: int
) -> dict[str, Any]:
    decided, about = made.decided, cast("Any", _Person(person_id))
    return {
        "id": decision_id,
        "claim_id": claim_id,
        "position": 0,
        "plan_version": decided.plan_version,
        "engine_version": decided.engine_version,
        **sealed.sealed_decision(sealer, decision_id, about, made.inputs, decided),
        "currency": decided.currency,
        "billed": decided.billed,
        "allowed": decided.allowed,
        "benefit": decided.benefit,
        "lines": len(decided.lines),
        "at_us": at_us,
    }


@dataclass(frozen=True, slots=True)
class _Person:
    person_id: str


def _write(connection: Connection, rows: _Rows) -> None:
    for table, some in (
        (person, rows.people),
        (policy, rows.policies),
        (policy_revision, rows.revisions),
        (claim, rows.claims),
        (decision, rows.decisions),
        (usage_balance, rows.balances),
    ):
        connection.execute(insert(table), some)


def snapshot_of(policy_id: str, year: int = 2026) -> PolicySnapshot:
    """The policy of everybody here: long insured, so that no waiting period runs."""
    start, end = date(year, 1, 1), date(year + 1, 1, 1)
    member = MemberFacts(
        member_id=_MEMBER,
        birth_date=date(1980, 3, 7),
        relationship=Relationship.SELF,
        cover=(CoverInterval(start=start, end=end, continuous_since=date(2020, 1, 1)),),
        social_insurance=True,
    )
    return PolicySnapshot(policy_id=policy_id, revision=1, start=start, end=end, member=member)
