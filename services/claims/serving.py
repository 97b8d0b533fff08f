"""What the servicers of claims share: their parts, a claim by its name, a write done once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import Message
from sqlalchemy import Connection

from lipei.claims.v1 import claims_pb2 as pb
from services.claims.core.clocks import ClockMove, days_left, minimum_days_left, stands_still
from services.claims.core.life_cycle import ClaimState
from services.claims.core.plan import ClockTerms, Plan
from services.claims.desk import Desk
from services.claims.lateness import payouts_that_wait
from services.claims.messages import claim_message, claim_name, money, notice_message
from services.claims.plan_shelf import PlanShelf
from services.claims.storage import claims as store
from services.claims.storage import decisions, notices, request_log, sealed
from services.claims.storage.acts import kinds_of
from services.claims.storage.ledger import recovered_of
from services.claims.storage.periods import PeriodClaim
from services.claims.storage.request_log import RequestKey
from services.claims.storage.rows import ClaimRow, DecidedRow, NoticeRow
from services.claims.storage.sealed import NotOfThisEngine
from services.claims.storage.withdrawals import withdrawn_among
from services.common.access.caller import note_consent, note_owner
from services.common.access.tenant import Kind, Tenant, current_tenant
from services.common.database import Database
from services.common.grpc_edge import Violation, invalid, not_found
from services.common.log import logger
from services.common.refusals import request_id_reused
from services.common.sealing import SubjectKeys

Answer = TypeVar("Answer", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]

_CLAIM_NAME = re.compile(r"policies/(?P<policy>[a-z0-9-]{1,64})/claims/(?P<claim>[a-z0-9]{1,32})")


class Workflows(Protocol):
    """What the service asks of Temporal."""

    def fetch(self, hospital: str) -> Awaitable[None]:
        """Have a hospital's worker pull its bills now."""

    def decided(self, claim_name: str, claim_id: str, update_id: str) -> Awaitable[None]:
        """Start the claim's workflow if need be; return once it has decided."""


class Write(Protocol):
    """What every request that writes has."""

    request_id: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802 - protobuf's own name
        """The whole request, for telling a repeat from another one."""


@dataclass(frozen=True)
class ClaimsParts:
    """What main.py wires into its servicers."""

    database: Database
    plans: PlanShelf
    workflows: Workflows
    keys: SubjectKeys
    token: Callable[[str, str], str]
    now_us: Callable[[], int]

    @contextmanager
    def reading(self) -> Iterator[Desk]:
        """A transaction that sees one state and changes nothing."""
        with self.database.reading() as connection:
            yield self._desk(connection)

    @contextmanager
    def writing(self) -> Iterator[Desk]:
        """A transaction that takes effect whole at its end, or not at all."""
        with self.database.writing() as connection:
            yield self._desk(connection)

    def _desk(self, connection: Connection) -> Desk:
        return Desk(connection, self.keys.sealer(connection), self.plans, self.now_us)


def find(desk: Desk, name: str) -> ClaimRow:
    """The claim of a resource name.

    Raises: Refused when the name is malformed, or no claim of the caller's tenant has it.
    """
    policy_id, claim_id = _named(name)
    row = store.find_claim(desk.connection, desk.sealer, current_tenant(), policy_id, claim_id)
    if row is None:
        raise not_found("claim", name)
    return row


def find_all(desk: Desk, names: Sequence[str]) -> list[ClaimRow]:
    """The claims of several resource names, in their order.

    Raises: as `find`, for the first name that is none.
    """
    named = [_named(name) for name in names]
    ids = [claim_id for _, claim_id in named]
    found = store.find_claims(desk.connection, desk.sealer, current_tenant(), ids)
    for name, (policy_id, claim_id) in zip(names, named, strict=True):
        if claim_id not in found or found[claim_id].policy_id != policy_id:
            raise not_found("claim", name)
    return [found[claim_id] for claim_id in ids]


def _named(name: str) -> tuple[str, str]:
    named = _CLAIM_NAME.fullmatch(name)
    if named is None:
        text = 'must be "policies/{policy}/claims/{claim}"'
        raise invalid([Violation("name", "MALFORMED", text)])
    return named["policy"], named["claim"]


def alone(desk: Desk, name: str) -> ClaimRow:
    """The claim as it stands now that nobody else can move it.

    Raises: as `find`.
    """
    store.lock_claim(desk.connection, desk.sealer, current_tenant(), *_named(name))
    return find(desk, name)


def messages_of(
    desk: Desk, rows: Sequence[ClaimRow], *, name_unreadable: bool = False
) -> list[pb.Claim]:
    """Claims with their decisions in force, without history.

    With `name_unreadable` one that cannot be read says why, and the others are there; the log
    names it.

    Raises: CannotOpen, KeyUnknown, KeyRetired, NotOfThisEngine without it.
    """
    opened = sealed.opened_or_why if name_unreadable else sealed.opened
    connection, sealer = desk.connection, desk.sealer
    ids = [row.decision_id for row in rows if row.decision_id]
    stored = decisions.decisions_of(connection, ids)
    sealer.load(sealed.person_subject(row.person_id) for row in rows)
    clocks = store.clocks_of(connection, rows)
    back = recovered_of(connection, [row.id for row in rows])
    proposed = _proposed(connection, rows)
    denied = notices.denials(connection, rows)
    sent = notices.newest(connection, denied)
    claims = [
        claim_message(
            opened(sealer, row, stored.get(row.decision_id or "")),
            recovered=back.get(row.id, 0),
            proposed=proposed.get(row.proposal or ""),
        )
        for row in rows
    ]
    note_reads(connection, rows)
    waits = payouts_that_wait(desk, rows)
    for row, claim in zip(rows, claims, strict=True):
        claim.payout_waits = waits.get(row.id, "")
        if row.id in sent:
            _tell_notice(claim, sent[row.id])
        if row.id in clocks:
            try:
                plan = _plan_of(desk, stored.get(row.decision_id or ""))
            except NotOfThisEngine as fault:
                if not name_unreadable:
                    raise
                claim.unreadable = claim.unreadable or fault.reason
            else:
                terms = plan.clocks if plan else None
                tell_reserved(claim, row, plan)
                _tell_clocks(claim, row, clocks[row.id], terms, desk.at_us)
                _tell_due(claim, store.notice_due(row, denied.get(row.id), terms), row, desk.at_us)
    broken = [row.id for row, claim in zip(rows, claims, strict=True) if claim.unreadable]
    if broken:
        logger().error("claims_unreadable", claims=broken, count=len(broken))
    return claims


def _tell_clocks(
    claim: pb.Claim,
    row: ClaimRow,
    moves: Sequence[ClockMove],
    terms: ClockTerms | None,
    at_us: int,
) -> None:
    today = store.today(row, at_us)
    if (left := days_left(moves, today, terms)) is not None:
        claim.days_left = left
    if (left := minimum_days_left(moves, today, terms)) is not None:
        claim.minimum_days_left = left
    claim.days_stand_still = stands_still(moves)


def tell_reserved(claim: pb.Claim, row: ClaimRow, plan: Plan | None) -> None:
    """The most that a claim that waits could pay, as limits of the whole plan hold it."""
    if plan is None or ClaimState(row.state) not in store.PENDED:
        return
    if current_tenant().kind is Kind.MEMBER:
        return
    # One for some ages holds no line of the other side of a birthday.
    whole = {one.id for one in plan.ceilings if not one.of_section and one.covers.ages is None}
    held = [
        change.amount_minor_units
        for change in claim.decision.usage_changes
        if change.accumulator in whole
    ]
    if held:  # each holds what is reserved of all lines
        claim.reserved.CopyFrom(money(min(held), row.currency))


def _tell_due(claim: pb.Claim, due: date | None, row: ClaimRow, at_us: int) -> None:
    """By which day the notice of a refusal is to be sent, and what is left of the days."""
    if due is None:
        return
    claim.notice_due_day = due.isoformat()
    if claim.HasField("refusal_notice"):
        claim.refusal_notice.late = claim.refusal_notice.sent_day > claim.notice_due_day
    else:
        claim.notice_days_left = (due - store.today(row, at_us)).days


def _tell_notice(claim: pb.Claim, notice: NoticeRow) -> None:
    claim.refusal_notice.CopyFrom(notice_message(notice))
    if current_tenant().kind is Kind.MEMBER:
        claim.refusal_notice.ClearField("actor")


def _plan_of(desk: Desk, decision: DecidedRow | None) -> Plan | None:
    """The plan of the decision in force; the law's days hold while there is none."""
    if decision is None:
        return None
    return desk.plans.plan_for_reading(desk.connection, decision.plan_version)


def _proposed(connection: Connection, rows: Sequence[ClaimRow]) -> dict[str, str]:
    """What waits for a second person: the insurer's business, not the member's."""
    if current_tenant().kind is Kind.MEMBER:
        return {}
    return kinds_of(connection, [row.proposal for row in rows if row.proposal])


def note_reads(connection: Connection, rows: Sequence[ClaimRow | PeriodClaim]) -> None:
    """Note for the evidence whose claim each is, and under which consent it is read.

    Its bill's, while it stands. What is read after the withdrawal rests on the duty to keep what
    was decided (docs/consent.md), not on a consent that is no more.
    """
    withdrawn = withdrawn_among(connection, {row.consent for row in rows if row.consent})
    for row in rows:
        name = claim_name(row.policy_id, row.id)
        note_owner(name, Tenant(Kind.INSURER, row.insurer).key)
        if row.consent and row.consent not in withdrawn:
            note_consent(name, row.consent)


def key_of(method: str, request: Write) -> RequestKey:
    """By what a repeat of a request is known in which everything counts."""
    content = request.SerializeToString(deterministic=True)
    return RequestKey(method, request.request_id, hashlib.sha256(content).hexdigest())


def answered(desk: Desk, key: RequestKey, other: str = "other content") -> bytes | None:
    """The stored answer of a repeated request; None for a new one.

    Raises: Refused, saying of what, for the same request_id with `other` content.
    """
    try:
        return request_log.answered(desk.connection, desk.sealer, current_tenant(), key)
    except request_log.OtherContent:
        raise request_id_reused(other) from None


def remember(desk: Desk, key: RequestKey, answer: bytes) -> None:
    """Keep the answer of a request for ever: names and counts, nothing about a person."""
    tenant = current_tenant()
    request_log.remember_answer(desk.connection, desk.sealer, tenant, key, answer, desk.at_us)


def once(
    desk: Desk,
    key: RequestKey,
    work: Callable[[Desk], Answer],
    answer_type: type[Answer],
) -> Answer:
    """The stored answer of a repeated request; else what the work answers, kept for ever.

    Raises: Refused for the same id with other content.
    """
    stored = answered(desk, key)
    if stored is not None:
        known = answer_type()
        known.ParseFromString(stored)
        return known
    answer = work(desk)
    remember(desk, key, answer.SerializeToString())
    return answer
