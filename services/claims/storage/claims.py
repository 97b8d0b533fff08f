"""Claims, their moves and decisions in the claims database. Decides nothing.

Every function works in the caller's transaction; what belongs together is written together.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    func,
    insert,
    select,
    update,
)

from services.claims.core import clocks
from services.claims.core.life_cycle import (
    ClaimState,
    Clock,
    Event,
    IllegalMove,
    advance,
    events_in,
)
from services.claims.core.plan import ClockTerms
from services.claims.storage import sealed
from services.claims.storage.rows import ClaimRow, MoveRow
from services.claims.storage.tables import (
    claim,
    claim_move,
    person,
    policy,
)
from services.claims.storage.tenancy import owned, owner
from services.common.access.tenant import Kind, Tenant
from services.common.bulk import as_arrays, given, insert_rows
from services.common.sealing import Sealer

UNDECIDED = (ClaimState.RECEIVED, ClaimState.REGISTERED, ClaimState.ADJUDICATING)
PENDED = (ClaimState.PENDED_INFO, ClaimState.PENDED_REVIEW, ClaimState.PENDED_FRAUD)


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


def lock(connection: Connection, policy_ids: Iterable[str], person_ids: Iterable[str]) -> bool:
    """Serialise what follows per policy and member; whether what was read before may have changed.

    First all policies, then all people, each in order: two transactions never wait for each other
    in a circle. SQLite needs nothing: its write transactions begin IMMEDIATE, one at a time.
    """
    if connection.dialect.name != "postgresql":
        return False
    for rows, ids in zip(_LOCK, (policy_ids, person_ids), strict=True):
        connection.execute(rows, {"ids": sorted(set(ids))}).all()
    return True


_LOCK = [
    select(table.c.id)
    .where(table.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(table.c.id)
    .with_for_update()
    for table in (policy, person)
]


def lock_claim(
    connection: Connection, sealer: Sealer, tenant: Tenant, policy_id: str, claim_id: str
) -> None:
    """As `lock`, for one claim of the tenant's: whatever is read of it before may have changed."""
    if connection.dialect.name == "postgresql":
        told = {"claim_id": claim_id, "policy_id": policy_id, **owner(connection, sealer, tenant)}
        connection.execute(_LOCKED[tenant.kind], told)


def hold(connection: Connection, claim_ids: Iterable[str]) -> dict[str, ClaimRow]:
    """Claims by their ids as they stand once whoever is moving them has done: nobody else does now.

    A payout run moves claims without the locks of `lock`; SQLite needs nothing, as there.
    """
    rows = select(claim).where(claim.c.id.in_(set(claim_ids))).order_by(claim.c.id)
    return {row.id: row for row in connection.execute(rows.with_for_update())}


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
            "bill_hash": sealed.bill_hash(sealer, new.bill_hash),
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


_NAMED = claim.c.id == bindparam("claim_id"), claim.c.policy_id == bindparam("policy_id")
_CLAIM = {kind: select(claim).where(*_NAMED, owned(kind)) for kind in Kind}
# PostgreSQL locks in the order of the list: the policy first, as `lock` does.
_LOCKED = {
    kind: select(claim.c.id)
    .join(policy, policy.c.id == claim.c.policy_id)
    .join(person, person.c.id == claim.c.person_id)
    .where(*_NAMED, owned(kind))
    .with_for_update(of=[policy, person])
    for kind in Kind
}


def find_claims(
    connection: Connection, sealer: Sealer, tenant: Tenant, claim_ids: Sequence[str]
) -> dict[str, ClaimRow]:
    """The tenant's among these claims, by their ids."""
    told = {"claim_ids": claim_ids, **owner(connection, sealer, tenant)}
    return {row.id: row for row in connection.execute(_CLAIMS[tenant.kind], told)}


_CLAIMS = {
    kind: select(claim).where(claim.c.id.in_(bindparam("claim_ids", expanding=True)), owned(kind))
    for kind in Kind
}


def by_id(connection: Connection, claim_id: str) -> ClaimRow:
    """A claim that is known to exist, whoever owns it: for this service's own work."""
    return connection.execute(select(claim).where(claim.c.id == claim_id)).one()


def moves_of(connection: Connection, claim_id: str) -> Sequence[MoveRow]:
    """Every move of a claim, oldest first."""
    found = select(claim_move).where(claim_move.c.claim_id == claim_id)
    return connection.execute(found.order_by(claim_move.c.seq)).all()


def first_paid(connection: Connection, row: ClaimRow) -> date | None:
    """The day, where the hospital is, on which a claim was paid first."""
    paid = claim_move.c.to_state == ClaimState.PAID.value
    found = select(func.min(claim_move.c.at_us)).where(claim_move.c.claim_id == row.id, paid)
    at_us: int | None = connection.execute(found).scalar_one()
    return None if at_us is None else day_of(at_us, ZoneInfo(row.time_zone))


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


def notice_due(row: ClaimRow, denied_us: int | None, terms: ClockTerms | None) -> date | None:
    """The last day for the notice of a refusal, where the hospital is; None where none stands.

    Counted from the move to denied: a correction that is denied as before moves nothing, and an
    objection gives no further days.
    """
    if denied_us is None:
        return None
    return clocks.notice_due(day_of(denied_us, ZoneInfo(row.time_zone)), terms)


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

    Raises: IllegalMove when an event is not in the table or the claim stands elsewhere.
    """
    going = Moving(at_us)
    here = going.add(claim_id, state, events, actor, asked_before=asked_before, **columns)
    going.write(connection)
    return here


@dataclass(frozen=True, slots=True)
class _Going:
    """Where a claim stands, by which event it leaves, and what changes of its row."""

    claim_id: str
    state: ClaimState
    event: Event
    now: ClaimState
    columns: Mapping[str, Any]
    reckoned: Mapping[str, ColumnElement[Any]]  # by the database, from what stands there


class Moving:
    """Claims on their way by the table of the life cycle: gathered, then written at once."""

    def __init__(self, at_us: int) -> None:
        self._at_us = at_us
        self._going: list[_Going] = []
        self._moves: list[dict[str, Any]] = []

    def add(
        self,
        claim_id: str,
        state: ClaimState,
        events: Sequence[Event],
        actor: str,
        *,
        asked_before: int = 0,
        **columns: Any,
    ) -> ClaimState:
        """A claim that stands in `state`, each claim once; the state after the events.

        Every move is recorded; only the last state is written, because nobody could see the
        others. `asked_before` is how often papers were asked for before: the clock stops once.

        Raises: IllegalMove when an event is not in the table.
        """
        here, moves = state, []
        for event in events:
            # An answer belongs to the asking before it.
            earlier = asked_before - (event is Event.RECEIVE_PAPERS)
            to = advance(here, event, papers_asked_before=earlier > 0)
            asked_before += event is Event.ASK_FOR_PAPERS
            move = _move(claim_id, here, to.state, event.value, actor, to.clock, self._at_us)
            moves.append(move)
            here = to.state
        if here is not ClaimState.PENDED_INFO:
            columns["papers_due_us"] = None
        self._moves += moves
        reckoned = {name: of for name, of in columns.items() if isinstance(of, ColumnElement)}
        told = {name: of for name, of in columns.items() if name not in reckoned}
        self._going.append(_Going(claim_id, state, events[0], here, told, reckoned))
        return here

    def write(self, connection: Connection) -> None:
        """Write where they stand now, one statement for each set of columns, and their moves.

        Raises: IllegalMove when a claim stands elsewhere.
        """
        alike: dict[tuple[str, ...], list[_Going]] = {}
        for one in self._going:
            if one.reckoned:
                self._write(connection, tuple(one.columns), [one])
            else:
                alike.setdefault(tuple(sorted(one.columns)), []).append(one)
        for names, some in alike.items():
            self._write(connection, names, some)
        insert_rows(connection, claim_move, self._moves)

    def _write(
        self, connection: Connection, names: tuple[str, ...], some: Sequence[_Going]
    ) -> None:
        rows = [
            {
                "at_id": one.claim_id,
                "at_state": one.state.value,
                "to_state": one.now.value,
                "to_moved_us": self._at_us,
                **{f"to_{name}": one.columns[name] for name in names},
            }
            for one in some
        ]
        dialect = connection.dialect.name
        told: Any = as_arrays(rows) if dialect == "postgresql" else rows
        statement = _moving(dialect, ("state", "moved_us", *names)).values(**some[0].reckoned)
        moved = connection.execute(statement, told)
        if moved.rowcount != len(some):
            # Somebody moved one between the caller's look and this step.
            raise IllegalMove(some[0].state, some[0].event)


# Built once for each set of columns.
@cache
def _moving(dialect: str, names: tuple[str, ...]) -> Any:
    types = {"at_id": claim.c.id.type, "at_state": claim.c.state.type}
    types |= {f"to_{name}": claim.c[name].type for name in names}
    told: Any = (
        given(types).c if dialect == "postgresql" else {one: bindparam(one) for one in types}
    )
    changed = {name: told[f"to_{name}"] for name in names}
    return (
        update(claim)
        .where(claim.c.id == told["at_id"], claim.c.state == told["at_state"])
        .values(revision=claim.c.revision + 1, proposal=None, **changed)
    )


def stay(connection: Connection, claim_id: str, **columns: Any) -> None:
    """Write down what changes about a claim that stays where it stands; its revision grows.

    Whatever a person has seen of it is past, and so is what waits for a second person, unless it is
    given among the columns.
    """
    changed = {"revision": claim.c.revision + 1, "proposal": None, **columns}
    connection.execute(update(claim).where(claim.c.id == claim_id).values(**changed))


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


def count_states(connection: Connection, sealer: Sealer, tenant: Tenant) -> dict[ClaimState, int]:
    """How many of the tenant's claims stand in each state."""
    found = select(claim.c.state, func.count()).where(owned(tenant.kind)).group_by(claim.c.state)
    rows = connection.execute(found, owner(connection, sealer, tenant))
    return {ClaimState(state): int(count) for state, count in rows}
