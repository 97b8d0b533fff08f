"""Claims, their moves and decisions in the claims database. Decides nothing.

Every function works in the caller's transaction; what belongs together is written together.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from services.claims.core import canonical, clocks
from services.claims.core.decision import Decision, UsageChange
from services.claims.core.life_cycle import (
    ClaimState,
    Clock,
    Event,
    IllegalMove,
    advance,
    events_in,
)
from services.claims.storage import sealed
from services.claims.storage.tables import (
    claim,
    claim_move,
    decision,
    decision_line,
    decision_share,
    person,
    policy,
    request_log,
)
from services.claims.storage.tenancy import owned, owner
from services.claims.storage.usage import use
from services.common.access.tenant import Kind, Tenant
from services.common.database import take_turns
from services.common.sealing import Sealer

ClaimRow = Row[Any]
UNDECIDED = (ClaimState.RECEIVED, ClaimState.REGISTERED, ClaimState.ADJUDICATING)
PENDED = (ClaimState.PENDED_INFO, ClaimState.PENDED_REVIEW, ClaimState.PENDED_FRAUD)


class OtherContent(ValueError):
    """A request_id or bill number was used before with other content."""


@dataclass(frozen=True, slots=True)
class NewClaim:
    """One claim as intake opens it: one bill under one policy."""

    insurer: str
    hospital: str | None
    policy_id: str
    person_id: str
    member_id: str
    request_id: str
    provider_id: str
    bill_number: str
    bill_hash: str
    bill: bytes
    currency: str
    consent: str | None
    time_zone: str


def answered(
    connection: Connection,
    sealer: Sealer,
    tenant: Tenant,
    method: str,
    request_id: str,
    request_hash: str,
) -> bytes | None:
    """The stored answer of a repeated request of this tenant; None for a new request_id.

    Repeats at the same moment take turns until the first one's transaction ends.

    Raises: OtherContent when the request_id was used with another body.
    """
    take_turns(connection, f"{method}/{tenant.own(request_id)}")
    found = select(request_log.c.request_hash, request_log.c.response).where(
        request_log.c.method == method, request_log.c.request_id == tenant.own(request_id)
    )
    row = connection.execute(found).first()
    if row is None:
        return None
    if row.request_hash != _request_hash(sealer, request_hash):
        raise OtherContent(request_id)
    return bytes(row.response)


def remember_answer(
    connection: Connection,
    sealer: Sealer,
    tenant: Tenant,
    method: str,
    request_id: str,
    request_hash: str,
    response: bytes,
    at_us: int,
) -> None:
    """Keep the answer of a request for ever: names and counts, nothing about a person."""
    row = {
        "method": method,
        "request_id": tenant.own(request_id),
        "request_hash": _request_hash(sealer, request_hash),
        "response": response,
        "at_us": at_us,
    }
    connection.execute(insert(request_log), row)


def _request_hash(sealer: Sealer, digest: str) -> str:
    return sealed.keyed(sealer, digest, table="request_log", column="request_hash")


def lock(connection: Connection, policy_ids: Iterable[str], person_ids: Iterable[str]) -> bool:
    """Serialise what follows per policy and member; whether what was read before may have changed.

    First all policies, then all people, each in order: two transactions never wait for each other
    in a circle. SQLite needs nothing: its write transactions begin IMMEDIATE, one at a time.
    """
    if connection.dialect.name != "postgresql":
        return False
    for table, ids in ((policy, policy_ids), (person, person_ids)):
        rows = select(table.c.id).where(table.c.id.in_(set(ids))).order_by(table.c.id)
        connection.execute(rows.with_for_update()).all()
    return True


def claims_of_bill(
    connection: Connection,
    sealer: Sealer,
    provider_id: str,
    bill_number: str,
    insurer: str | None,
) -> Sequence[ClaimRow]:
    """Claims that this bill opened, of one insurer or of all, in coordination order.

    Also those of a person erased since.
    """
    found = select(claim).where(
        claim.c.provider_id == provider_id,
        claim.c.bill_index == sealed.bill_index(sealer, bill_number),
    )
    if insurer is not None:
        found = found.where(claim.c.insurer == insurer)
    return connection.execute(found.order_by(claim.c.seq)).all()


def claims_named_by_bill(
    connection: Connection, sealer: Sealer, row: ClaimRow, provider_id: str, bill_number: str
) -> Sequence[tuple[str, str]]:
    """Policy and id of the claims that a bill opened for the person and insurer of `row`.

    In the order of their intake, without those withdrawn. Opens nothing.
    """
    found = (
        select(claim.c.policy_id, claim.c.id)
        .where(
            claim.c.provider_id == provider_id,
            claim.c.bill_index == sealed.bill_index(sealer, bill_number),
            claim.c.person_id == row.person_id,
            claim.c.insurer == row.insurer,
            claim.c.state != ClaimState.WITHDRAWN.value,
        )
        .order_by(claim.c.seq)
    )
    return [(one.policy_id, one.id) for one in connection.execute(found)]


def hospitals_of(connection: Connection, provider_id: str) -> set[str]:
    """The hospitals that have handed bills of this provider in, under their own names for them."""
    found = select(claim.c.hospital).where(
        claim.c.provider_id == provider_id, claim.c.hospital.is_not(None)
    )
    return set(connection.execute(found.distinct()).scalars())


def adopt(connection: Connection, claim_ids: Sequence[str], hospital: str) -> None:
    """Claims of a bill that came without its hospital's name are the hospital's from now on."""
    nobodys = claim.c.id.in_(claim_ids), claim.c.hospital.is_(None)
    connection.execute(update(claim).where(*nobodys).values(hospital=hospital))


def is_content(sealer: Sealer, row: ClaimRow, bill_hash: str) -> bool:
    """Whether the claim was opened by a bill with this content."""
    return bool(row.bill_hash == _bill_hash(sealer, bill_hash))


def _bill_hash(sealer: Sealer, digest: str) -> str:
    return sealed.keyed(sealer, digest, table="claim", column="bill_hash")


def open_claim(connection: Connection, sealer: Sealer, new: NewClaim, at_us: int) -> str:
    """Store a claim, received and registered: next in the member's order; its opaque id."""
    number = connection.execute(
        update(person)
        .where(person.c.id == new.person_id)
        .values(claims_received=person.c.claims_received + 1)
        .returning(person.c.claims_received)
    ).scalar_one()
    claim_id = uuid.uuid4().hex
    row = {name: getattr(new, name) for name in new.__slots__}
    connection.execute(
        insert(claim),
        {
            **row,
            **sealed.sealed_bill(sealer, claim_id, new.person_id, new.bill, new.bill_number),
            "bill_index": sealed.bill_index(sealer, new.bill_number),
            "bill_hash": _bill_hash(sealer, new.bill_hash),
            "id": claim_id,
            "person_seq": number,
            "state": ClaimState.REGISTERED.value,
            "created_us": at_us,
            "moved_us": at_us,
        },
    )
    registering = advance(ClaimState.RECEIVED, Event.REGISTER)
    moves = [
        _move(claim_id, None, ClaimState.RECEIVED, "receive", "intake", "", at_us),
        _move(
            claim_id,
            ClaimState.RECEIVED,
            registering.state,
            Event.REGISTER.value,
            "intake",
            registering.clock,
            at_us,
        ),
    ]
    connection.execute(insert(claim_move), moves)
    return claim_id


def find_claim(
    connection: Connection, sealer: Sealer, tenant: Tenant, policy_id: str, claim_id: str
) -> ClaimRow | None:
    """The claim's row; None when it does not exist under this policy, or is another tenant's."""
    told = {"claim_id": claim_id, "policy_id": policy_id, **owner(connection, sealer, tenant)}
    return connection.execute(_CLAIM[tenant.kind], told).first()


_CLAIM = {
    kind: select(claim).where(
        claim.c.id == bindparam("claim_id"),
        claim.c.policy_id == bindparam("policy_id"),
        owned(kind),
    )
    for kind in Kind
}


def list_claims(
    connection: Connection,
    sealer: Sealer,
    tenant: Tenant,
    *,
    policy_id: str | None,
    states: Sequence[ClaimState],
    after: int,
    most: int,
) -> Sequence[ClaimRow]:
    """The tenant's claims after a position, oldest first; in any state when none is named."""
    found = select(claim).where(claim.c.seq > after, owned(tenant.kind))
    found = found.order_by(claim.c.seq).limit(most)
    if policy_id is not None:
        found = found.where(claim.c.policy_id == policy_id)
    if states:
        found = found.where(claim.c.state.in_([state.value for state in states]))
    return connection.execute(found, owner(connection, sealer, tenant)).all()


def moves_of(connection: Connection, claim_id: str) -> Sequence[Row[Any]]:
    """Every move of a claim, oldest first."""
    found = select(claim_move).where(claim_move.c.claim_id == claim_id)
    return connection.execute(found.order_by(claim_move.c.seq)).all()


def clocks_of(
    connection: Connection, rows: Sequence[ClaimRow]
) -> dict[str, list[clocks.ClockMove]]:
    """By claim, the moves of those that are not closed, as their clocks see them."""
    open_ = {row.id: ZoneInfo(row.time_zone) for row in rows if events_in(ClaimState(row.state))}
    found = select(claim_move).where(claim_move.c.claim_id.in_(open_), claim_move.c.clock != "")
    told: dict[str, list[clocks.ClockMove]] = {claim_id: [] for claim_id in open_}
    for move in connection.execute(found.order_by(claim_move.c.seq)) if open_ else ():
        day = day_of(move.at_us, open_[move.claim_id])
        told[move.claim_id].append(
            clocks.ClockMove(day, ClaimState(move.to_state), Clock(move.clock))
        )
    return told


def today(row: ClaimRow, now_us: int) -> date:
    """The calendar day of a moment where the claim's hospital is."""
    return day_of(now_us, ZoneInfo(row.time_zone))


def day_of(at_us: int, zone: ZoneInfo) -> date:
    """The calendar day of a moment in a zone."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).astimezone(zone).date()


def move_claim(
    connection: Connection, claim_id: str, event: Event, actor: str, at_us: int, **columns: Any
) -> ClaimState:
    """Move a claim by the table of the life cycle and record the move; the state after.

    Raises: IllegalMove when the event is not in the table; nothing is changed then.
    """
    found = select(claim.c.state).where(claim.c.id == claim_id)
    state = ClaimState(connection.execute(found).scalar_one())
    return move_on(connection, claim_id, state, [event], actor, at_us, **columns)


def move_on(
    connection: Connection,
    claim_id: str,
    state: ClaimState,
    events: Sequence[Event],
    actor: str,
    at_us: int,
    *,
    asked_before: int = 0,
    **columns: Any,
) -> ClaimState:
    """Move a claim that stands in `state` by several events at once; the state after.

    Every move is recorded; only the last state is written, because nobody could see the others.
    `asked_before` is how often papers were asked for before: the clock stops once.

    Raises: IllegalMove when an event is not in the table or the claim stands elsewhere.
    """
    here, moves = state, []
    for event in events:
        # An answer belongs to the asking before it.
        earlier = asked_before - (event is Event.RECEIVE_PAPERS)
        to = advance(here, event, papers_asked_before=earlier > 0)
        asked_before += event is Event.ASK_FOR_PAPERS
        moves.append(_move(claim_id, here, to.state, event.value, actor, to.clock, at_us))
        here = to.state
    moved = connection.execute(
        update(claim)
        .where(claim.c.id == claim_id, claim.c.state == state.value)
        .values(
            state=here.value,
            revision=claim.c.revision + 1,
            moved_us=at_us,
            proposal=None,
            **({} if here is ClaimState.PENDED_INFO else {"papers_due_us": None}),
            **columns,
        )
    )
    if moved.rowcount != 1:  # somebody moved it between the caller's look and this step
        raise IllegalMove(state, events[0])
    connection.execute(insert(claim_move), moves)
    return here


def _move(
    claim_id: str,
    from_state: ClaimState | None,
    to_state: ClaimState,
    event: str,
    actor: str,
    clock: str,
    at_us: int,
) -> dict[str, Any]:
    return {
        "claim_id": claim_id,
        "from_state": from_state.value if from_state else None,
        "to_state": to_state.value,
        "event": event,
        "actor": actor,
        "clock": clock,
        "at_us": at_us,
    }


def void_decision(connection: Connection, claim_id: str, at_us: int) -> None:
    """A decision that paid nothing is no longer in force; the claim stays closed as it is."""
    void = {"released_us": at_us, "revision": claim.c.revision + 1}
    connection.execute(update(claim).where(claim.c.id == claim_id).values(**void))


def waits_for_earlier(connection: Connection, row: ClaimRow) -> bool:
    """Whether an earlier claim of the member is not decided yet.

    One that itself waits for a pended claim of the same bill under an earlier policy may wait for
    weeks, and holds nobody up.
    """
    told = {"person_id": row.person_id, "person_seq": row.person_seq}
    return connection.execute(_WAITS_FOR, told).first() is not None


def _waits_for() -> Select[tuple[str]]:
    first = claim.alias("first")
    held_up = (
        select(first.c.id)
        .where(
            first.c.provider_id == claim.c.provider_id,
            first.c.bill_index == claim.c.bill_index,
            first.c.person_id == claim.c.person_id,
            first.c.person_seq < claim.c.person_seq,
            first.c.state.in_([state.value for state in PENDED]),
        )
        .exists()
    )
    earlier = select(claim.c.id).where(
        claim.c.person_id == bindparam("person_id"),
        claim.c.person_seq < bindparam("person_seq"),
        claim.c.state.in_([state.value for state in UNDECIDED]),
        ~held_up,
    )
    return earlier.limit(1)


# Built once: it costs more than the database's answer.
_WAITS_FOR = _waits_for()


def earlier_policies(connection: Connection, row: ClaimRow) -> Sequence[ClaimRow]:
    """Claims of the same bill under policies that come first in coordination."""
    names = ("provider_id", "bill_index", "person_id", "person_seq")
    told = {name: getattr(row, name) for name in names}
    return connection.execute(_EARLIER_POLICIES, told).all()


_EARLIER_POLICIES = (
    select(claim)
    .where(
        claim.c.provider_id == bindparam("provider_id"),
        claim.c.bill_index == bindparam("bill_index"),
        claim.c.person_id == bindparam("person_id"),
        claim.c.person_seq < bindparam("person_seq"),
    )
    .order_by(claim.c.seq)
)


def later_policies(connection: Connection, row: ClaimRow) -> Sequence[ClaimRow]:
    """Claims of the same bill under the same insurer's policies that come later in coordination."""
    found = select(claim).where(
        claim.c.provider_id == row.provider_id,
        claim.c.bill_index == row.bill_index,
        claim.c.person_id == row.person_id,
        claim.c.person_seq > row.person_seq,
        claim.c.insurer == row.insurer,
    )
    return connection.execute(found.order_by(claim.c.seq)).all()


def store_decision(
    connection: Connection,
    sealer: Sealer,
    row: ClaimRow,
    inputs: canonical.Inputs,
    decided: Decision,
    at_us: int,
) -> str:
    """Write lines and shares, seal them with the decision, and move the accumulators; its id.

    One that takes the place of the claim's decision in force releases exactly what that one used.
    The database itself refuses a decision that does not add up to the fen.
    """
    if row.decision_id is not None:
        release(connection, sealer, row)
    decision_id = uuid.uuid4().hex
    connection.execute(insert(decision_line), _line_rows(decision_id, decided))
    shares = [
        {
            "decision_id": decision_id,
            "number": line.number,
            "position": position,
            "bearer": share.bearer.value,
            "amount": share.amount,
        }
        for line in decided.lines
        for position, share in enumerate(line.shares)
    ]
    if shares:
        connection.execute(insert(decision_share), shares)
    position = connection.execute(
        select(func.count()).where(decision.c.claim_id == row.id)
    ).scalar_one()
    connection.execute(
        insert(decision),
        {
            "id": decision_id,
            "claim_id": row.id,
            "position": position,
            "plan_version": decided.plan_version,
            "engine_version": decided.engine_version,
            **sealed.sealed_decision(sealer, decision_id, row, inputs, decided),
            "currency": decided.currency,
            "billed": decided.billed,
            "allowed": decided.allowed,
            "benefit": decided.benefit,
            "lines": len(decided.lines),
            "at_us": at_us,
        },
    )
    use(connection, row.policy_id, row.member_id, decided.usage_changes)
    return decision_id


def release(connection: Connection, sealer: Sealer, row: ClaimRow) -> None:
    """Give back exactly what the claim's decision in force has used up or reserved, once.

    The caller writes down that it was (`released_us`), or what takes its place.

    Raises: Erased, CannotOpen.
    """
    use(connection, row.policy_id, row.member_id, own_use(connection, sealer, row), sign=-1)


def own_use(connection: Connection, sealer: Sealer, row: ClaimRow) -> tuple[UsageChange, ...]:
    """What the claim's decision in force has used up; nothing once it was given back.

    Raises: Erased, CannotOpen.
    """
    if row.decision_id is None or row.released_us is not None:
        return ()
    return sealed.open_output(sealer, decision_of(connection, row.decision_id)).usage_changes


def _line_rows(decision_id: str, decided: Decision) -> list[dict[str, Any]]:
    return [
        {
            "decision_id": decision_id,
            "number": line.number,
            "billed": line.billed,
            "allowed": line.allowed,
            "benefit": line.benefit,
        }
        for line in decided.lines
    ]


def decision_of(connection: Connection, decision_id: str) -> Row[Any]:
    """The stored decision; inputs and output are sealed."""
    return connection.execute(select(decision).where(decision.c.id == decision_id)).one()


def decisions_of(connection: Connection, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Stored decisions by id, without what they were made from."""
    columns = [column for column in decision.c if column.name not in ("salt", "inputs", "services")]
    found = select(*columns).where(decision.c.id.in_(ids))
    return {row.id: row for row in connection.execute(found)}


def mark_started(connection: Connection, claim_ids: Sequence[str], at_us: int) -> None:
    """Remember that the claims' workflows were started."""
    connection.execute(update(claim).where(claim.c.id.in_(claim_ids)).values(started_us=at_us))


def not_started(
    connection: Connection, *, unstarted_since_us: int, stale_since_us: int, most: int
) -> list[tuple[str, str]]:
    """(policy, claim) of claims left by their workflow: never started, or long without a step."""
    left = [state.value for state in (*UNDECIDED, ClaimState.AUTO_APPROVED, ClaimState.APPROVED)]
    found = select(claim.c.policy_id, claim.c.id).where(
        claim.c.state.in_(left),
        or_(
            and_(claim.c.started_us.is_(None), claim.c.created_us < unstarted_since_us),
            claim.c.started_us < stale_since_us,
        ),
    )
    rows = connection.execute(found.order_by(claim.c.seq).limit(most))
    return [(policy_id, claim_id) for policy_id, claim_id in rows]


def papers_untimed(connection: Connection, now_us: int, most: int) -> Sequence[ClaimRow]:
    """Claims for whose papers nothing has a timer; or whose timer should have rung long ago."""
    found = select(claim).where(
        claim.c.state == ClaimState.PENDED_INFO.value,
        or_(
            claim.c.papers_timed < claim.c.papers_asked,
            claim.c.papers_due_us < now_us - _RINGS_WITHIN_US,
        ),
    )
    return connection.execute(found.order_by(claim.c.seq).limit(most)).all()


# A timer that is later than this was lost with Temporal's database.
_RINGS_WITHIN_US = 3_600_000_000


def mark_papers_timed(connection: Connection, claim_id: str, number: int) -> None:
    """Remember that the nth wait for papers has its timer."""
    mine = claim.c.id == claim_id, claim.c.papers_timed < number
    connection.execute(update(claim).where(*mine).values(papers_timed=number))


def payable_claims(connection: Connection, now_us: int, most: int) -> Sequence[ClaimRow]:
    """The oldest payable claims that are not blocked; their rows locked on PostgreSQL."""
    found = select(claim).where(_payable_at(now_us)).with_for_update(skip_locked=True)
    return connection.execute(found.order_by(claim.c.seq).limit(most)).all()


def anything_payable(connection: Connection, now_us: int) -> bool:
    """Whether a claim waits for its payout."""
    found = select(claim.c.id).where(_payable_at(now_us)).limit(1)
    return connection.execute(found).first() is not None


def _payable_at(now_us: int) -> ColumnElement[bool]:
    free = or_(claim.c.blocked_until_us.is_(None), claim.c.blocked_until_us < now_us)
    return and_(claim.c.state == ClaimState.PAYABLE.value, free)


def block_payouts(connection: Connection, claim_ids: Sequence[str], until_us: int) -> None:
    """Leave claims that cannot be paid as things stand alone until then."""
    connection.execute(
        update(claim).where(claim.c.id.in_(claim_ids)).values(blocked_until_us=until_us)
    )


def retry_payouts(connection: Connection, policy_id: str, at_us: int) -> None:
    """Pay the policy's blocked and refused claims again: its accounts may have been mended."""
    mine = claim.c.policy_id == policy_id
    connection.execute(update(claim).where(mine).values(blocked_until_us=None))
    failed = select(claim.c.id).where(mine, claim.c.state == ClaimState.PAYMENT_FAILED.value)
    for claim_id in connection.execute(failed).scalars().all():
        move_claim(connection, claim_id, Event.RETRY_PAYMENT, "policy_import", at_us)


def count_states(connection: Connection, sealer: Sealer, tenant: Tenant) -> dict[ClaimState, int]:
    """How many of the tenant's claims stand in each state."""
    found = select(claim.c.state, func.count()).where(owned(tenant.kind)).group_by(claim.c.state)
    rows = connection.execute(found, owner(connection, sealer, tenant))
    return {ClaimState(state): int(count) for state, count in rows}
