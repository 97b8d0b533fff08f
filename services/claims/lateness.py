"""Which payments are late: beyond their days, stuck, or without a word from the bank.

Asks no bank and opens nothing that is sealed.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.claims.core.clocks import BANK_SILENT_DAYS, days_left
from services.claims.core.life_cycle import ClaimState
from services.claims.core.plan import ClockTerms
from services.claims.desk import Desk
from services.claims.storage import claims as store
from services.claims.storage import decisions
from services.claims.storage.payouts import refusals
from services.claims.storage.rows import ClaimRow, DecidedRow
from services.claims.storage.sealed import NotOfThisEngine
from services.common.access.tenant import Kind, current_tenant

_DAY_US = 86_400 * 1_000_000


def payouts_that_wait(desk: Desk, rows: Sequence[ClaimRow]) -> dict[str, str]:
    """By claim why its money is not with its payee: the insurer's to mend, not the member's."""
    if current_tenant().kind is Kind.MEMBER:
        return {}
    failed = [row.id for row in rows if ClaimState(row.state) is ClaimState.PAYMENT_FAILED]
    why = {
        claim_id: f"REFUSED:{reasons}" if reasons else "REFUSED"
        for claim_id, reasons in refusals(desk.connection, failed).items()
    }
    for row in rows:
        state = ClaimState(row.state)
        blocked = row.blocked_until_us is not None and row.blocked_until_us > desk.at_us
        if blocked and state is ClaimState.PAYABLE:
            why[row.id] = "NO_PAYEE_ACCOUNT"
        silent = desk.at_us - row.moved_us > BANK_SILENT_DAYS * _DAY_US
        if silent and state is ClaimState.PAYMENT_SENT:
            why[row.id] = "BANK_SILENT"
    return why


def late(desk: Desk, rows: Sequence[ClaimRow]) -> list[ClaimRow]:
    """Of unpaid claims those whose days are over, or whose money does not go by itself."""
    waits = payouts_that_wait(desk, rows)
    clocks = store.clocks_of(desk.connection, rows)
    ids = [row.decision_id for row in rows if row.decision_id]
    stored = decisions.decisions_of(desk.connection, ids)

    def is_over(row: ClaimRow) -> bool:
        terms = _terms(desk, stored.get(row.decision_id or ""))
        left = days_left(clocks.get(row.id, ()), store.today(row, desk.at_us), terms)
        return left is not None and left < 0

    return [row for row in rows if row.id in waits or is_over(row)]


def _terms(desk: Desk, decision: DecidedRow | None) -> ClockTerms | None:
    """The plan's days; the law's where this version cannot read the plan."""
    if decision is None:
        return None
    try:
        return desk.plans.plan_for_reading(desk.connection, decision.plan_version).clocks
    except NotOfThisEngine:
        return None
