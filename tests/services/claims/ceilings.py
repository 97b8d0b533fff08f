"""Many bills at once against one ceiling: the story, and the same by steps that take no turns."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

from sqlalchemy import Connection

from lipei.claims.v1 import claims_pb2 as pb
from lipei.type.v1 import bill_pb2
from services.claims.core.canonical import Inputs
from services.claims.core.decision import Decision
from services.claims.core.life_cycle import Event
from services.claims.deciding import decide, take_effect
from services.claims.desk import Desk
from services.claims.plan_shelf import PlanShelf
from services.claims.serving import find
from services.claims.storage.rows import ClaimRow
from services.common.access.caller import calling_as
from tests.services.claims.given import DRUG, PLAN, PLANS, bill, imported, line, policy, submission
from tests.services.claims.serving import Served
from tests.tenants import of_installation

CEILING = 100_000
BILLS, PEOPLE = 16, 4
# 20,000 yuan each, of which the member's first bears the deductible of 10,000.
PRICE = "20000.00"


@dataclass(frozen=True, slots=True)
class Shared:
    """Whose ceiling it is, by the plan's word, and how many people use it up."""

    scope: str
    people: int


MEMBER, FAMILY = Shared("member", 1), Shared("family", PEOPLE)


def publish_with(service: Served, shared: Shared) -> None:
    """The million-yuan plan with a small ceiling of this scope."""
    text = (PLANS / f"{PLAN}.yaml").read_text()
    old = """    clause: "2.7"
    scope: member
    period: policy_year
    unit: CNY
    values: {2024-01-01: "2000000.00"}"""
    assert text.count(old) == 1
    new = old.replace("2000000", str(CEILING)).replace("scope: member", f"scope: {shared.scope}")
    request = pb.PublishPlanRequest(
        request_id=uuid.uuid4().hex, yaml=text.replace(old, new).encode()
    )
    service.claims.PublishPlan(request)


def bills_of(number: int, shared: Shared, count: int = BILLS) -> list[bill_pb2.Bill]:
    """So many bills, each of its own day, in turn of each of the people of a policy."""
    made = []
    for n in range(count):
        day = f"2026-05-{n + 1:02}"
        person = number * 100 + n % shared.people
        one = bill(f"P{number}-{n}", line(1, DRUG, PRICE), person=person, days=(day, day))
        made.append(one)
    return made


def submitted_at_once(service: Served, number: int, shared: Shared) -> list[int]:
    """What a new policy's bills were paid, in yuan and in the order received; all at once."""
    imported(service, policy(number, people=shared.people))
    with ThreadPoolExecutor(BILLS) as callers:
        requests = [submission(one, wait_s=30) for one in bills_of(number, shared)]
        list(callers.map(service.claims.SubmitClaim, requests))
    listing = pb.ListClaimsRequest(parent=f"policies/p{number}")
    claims = service.claims.ListClaims(listing).claims
    while not all(claim.HasField("decision") for claim in claims):  # a busy machine's wait was over
        time.sleep(0.1)
        claims = service.claims.ListClaims(listing).claims
    return [claim.decision.benefit.minor_units // 100 for claim in claims]


def decided_without_turns(service: Served, number: int, shared: Shared) -> int:
    """What four more bills are paid, in yuan, when nobody waits for anybody.

    PostgreSQL without the row locks; SQLite without BEGIN IMMEDIATE, that is by what a reading
    transaction has seen.
    """
    rest = bills_of(number, shared, PEOPLE)
    names = [service.claims.SubmitClaim(submission(one, wait_s=0)).claims[0].name for one in rest]
    barrier = Barrier(len(names))
    with ThreadPoolExecutor(len(names)) as deciders:
        return sum(deciders.map(lambda name: _decided(service, name, barrier), names))


def _decided(service: Served, name: str, barrier: Barrier) -> int:
    database = service.database
    with calling_as(of_installation()):
        if database.is_sqlite:
            with database.reading() as connection:
                seen = _seen(service, connection, name)
            barrier.wait(60)
            with database.writing() as connection:
                return _written(service, connection, seen)
        with database.writing() as connection:
            seen = _seen(service, connection, name)
            barrier.wait(60)
            return _written(service, connection, seen)


_Seen = tuple[ClaimRow, Inputs, Decision]


def _seen(service: Served, connection: Connection, name: str) -> _Seen:
    desk = Desk(connection, service.keys.sealer(connection), PlanShelf(), lambda: 0)
    row = find(desk, name)
    return row, *decide(desk, row)


def _written(service: Served, connection: Connection, seen: _Seen) -> int:
    desk = Desk(connection, service.keys.sealer(connection), PlanShelf(), lambda: 0)
    take_effect(desk, *seen, (Event.BEGIN_ADJUDICATION,), "test")
    return seen[2].benefit // 100


def in_turn(paid: Sequence[int]) -> bool:
    """Whether one member's bills were decided in the order received: full until nothing is left."""
    left, deductible = CEILING, 10_000
    for amount in paid:
        owed = min(left, 20_000 - deductible)
        if amount != owed:
            return False
        left, deductible = left - owed, 0
    return True
