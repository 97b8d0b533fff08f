"""A decision made again from its stored inputs, and what of it is not as stored. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from lipei.claims.v1 import recompute_pb2 as pb
from services.claims.core import canonical
from services.claims.core.adjudicate import decide_again
from services.claims.core.decision import ENGINE_VERSION, Decision, is_earlier_engine
from services.claims.core.intake import UnacceptableBill
from services.claims.core.plan import Plan
from services.claims.desk import Desk
from services.claims.messages import claim_name
from services.claims.plan_shelf import PlanShelf
from services.claims.storage import replays, sealed
from services.claims.storage.rows import ClaimRow, ReplayRow
from services.common.access.tenant import Tenant
from services.common.dated import NoTermsInForce
from services.common.sealing import CannotOpen, Erased, KeyUnknown, Sealer

T = TypeVar("T")

OUTPUT, INPUTS, PLAN, COMMITMENT = "output", "inputs", "plan version", "commitment"
ENGINE, AMOUNTS = "engine version", "amounts"
# The decision is whole in itself, but today's engine decides otherwise than the earlier one did, or
# refuses what that one took.
BY_TODAYS_ENGINE = "output by today's engine"


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What came of one decision: made again, where it could be, and what differs."""

    again: Decision | None
    differs: tuple[str, ...]
    by_earlier_engine: bool


def replay(connection: Connection, sealer: Sealer, plans: PlanShelf, stored: ReplayRow) -> Replay:
    """Decide again from the stored inputs, and compare all that is stored of the decision.

    What does not open or cannot be read is not what was stored there, and so differs.

    Raises: Erased when nothing is left to decide from; KeyUnknown, KeyRetired.
    """
    inputs = _opened(sealed.open_inputs, sealer, stored)
    output = _opened(sealed.open_output, sealer, stored)
    salt = _opened(sealed.open_salt, sealer, stored)
    plan = _plan(connection, plans, stored.plan_version)
    again = None if plan is None or inputs is None else _again(plan, inputs)
    earlier = is_earlier_engine(stored.engine_version)
    # Today's engine may refuse a bill that an earlier one took; what it took is whole by its hash.
    refused_today = earlier and plan is not None and again is None and _whole(inputs, output)
    differs = {
        OUTPUT: output is None or output.output_hash != canonical.output_hash(output),
        INPUTS: inputs is None or (plan is not None and again is None and not refused_today),
        PLAN: plan is None or (again is not None and again.plan_version != stored.plan_version),
        ENGINE: not earlier and stored.engine_version != ENGINE_VERSION,
        COMMITMENT: salt is None,
    }
    if output is not None:
        differs[ENGINE] |= output.engine_version != stored.engine_version
        differs[AMOUNTS] = _amounts(output, len(output.lines)) != _amounts(stored, stored.lines)
        differs[COMMITMENT] |= (
            salt is not None and sealed.committed(salt, output) != stored.commitment
        )
    if output is not None and again is not None:
        differs[INPUTS] |= again.input_hash != output.input_hash
        if again.output_hash != output.output_hash:
            differs[BY_TODAYS_ENGINE if earlier and not differs[OUTPUT] else OUTPUT] = True
    if refused_today and not differs[OUTPUT]:
        differs[BY_TODAYS_ENGINE] = True
    return Replay(
        again=again,
        differs=tuple(what for what, it_does in differs.items() if it_does),
        by_earlier_engine=earlier,
    )


def _opened(opens: Callable[[Sealer, ReplayRow], T], sealer: Sealer, stored: ReplayRow) -> T | None:
    try:
        return opens(sealer, stored)
    except (CannotOpen, msgspec.DecodeError, ValueError):
        return None
    except KeyUnknown as unknown:
        # A key that its subject never had is a forgery; a master key that is missing is not.
        if not unknown.of_subject:
            raise
        return None


def _plan(connection: Connection, plans: PlanShelf, version: str) -> Plan | None:
    try:
        return plans.plan_for_reading(connection, version)
    except KeyError:
        return None


def _again(plan: Plan, inputs: canonical.Inputs) -> Decision | None:
    """The decision; None where the inputs, which were decided once, cannot be decided any more."""
    try:
        return decide_again(plan, inputs)
    except (UnacceptableBill, NoTermsInForce, ArithmeticError, LookupError, ValueError):
        return None


def _whole(inputs: canonical.Inputs | None, output: Decision | None) -> bool:
    """Whether the inputs are those of which the decision says that it was made."""
    if inputs is None or output is None or inputs.plan_version != output.plan_version:
        return False
    return canonical.input_hash(inputs) == output.input_hash


def _amounts(of: Any, lines: int) -> tuple[object, ...]:
    return of.currency, of.billed, of.allowed, of.benefit, lines


def replay_page(
    desk: Desk, tenant: Tenant, after: int, most: int
) -> tuple[pb.ReplayClaimsResponse, int | None]:
    """Every decision of the tenant's next claims made again; where the next page begins, if any."""
    connection, sealer = desk.connection, desk.sealer
    claims = replays.claims_after(connection, sealer, tenant, after, most)
    answer = pb.ReplayClaimsResponse(
        recomputed_by=ENGINE_VERSION,
        undecided_count=sum(row.decision_id is None for row in claims),
    )
    decisions = replays.decisions_of(connection, [row.id for row in claims])
    subjects = {sealed.person_subject(one.person_id) for some in decisions.values() for one in some}
    sealer.load(subjects)
    for row in claims:
        for stored in decisions.get(row.id, ()):
            _add(answer, row, stored, lambda one: replay(connection, sealer, desk.plans, one))
    last = claims[-1].seq if claims else after
    answer.done, answer.total = replays.progress(connection, sealer, tenant, last)
    return answer, last if len(claims) == most else None


def _add(
    answer: pb.ReplayClaimsResponse,
    row: ClaimRow,
    stored: ReplayRow,
    made_again: Callable[[ReplayRow], Replay],
) -> None:
    try:
        found = made_again(stored)
    except Erased:
        answer.erased_count += 1
        return
    if not found.differs:
        answer.same_count += 1
        answer.same_by_earlier_engine_count += found.by_earlier_engine
        return
    answer.differences.add(
        name=claim_name(row.policy_id, row.id),
        position=stored.position,
        differs=found.differs,
        decided_by=stored.engine_version,
        in_force=stored.id == row.decision_id,
    )
