"""What an auditor asks of the books: that decisions add up and payouts are claims' benefits."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select, true

from services.claims.core.decision import Bearer
from services.claims.core.ledger import INCURRED, RECOVERABLE
from services.claims.core.life_cycle import ClaimState
from services.claims.storage.claims import count_states
from services.claims.storage.ledger import TrialBalance, trial_balance
from services.claims.storage.payouts import payouts_off_ledger, transfers_of
from services.claims.storage.recoveries import recoveries_off_ledger
from services.claims.storage.tables import claim, decision, decision_line, decision_share
from services.claims.storage.tenancy import claims_of
from services.common.access.tenant import Tenant
from services.common.sealing import Sealer

_PAID_STATES = (ClaimState.PAID.value,)


@dataclass(frozen=True, slots=True)
class Books:
    """The state of the books; `conservation_violations` and `payout_mismatches` must be 0."""

    trial: TrialBalance
    conservation_violations: int
    payout_mismatches: int
    states: dict[ClaimState, int]
    paid_count: int
    paid: dict[str, int]


def read_books(connection: Connection, sealer: Sealer, tenant: Tenant) -> Books:
    """Add everything up anew from the stored rows, trusting no total that was written.

    A tenant's books are those of its claims: their decisions, payouts and ledger transfers. Only
    the installation's books hold everything, also a row that belongs to no claim.
    """
    mine = claims_of(connection, sealer, tenant)
    here = true() if mine is None else claim.c.id.in_(mine)
    paid = connection.execute(
        select(claim.c.currency, func.count(), func.sum(claim.c.paid))
        .where(claim.c.paid > 0, here)
        .group_by(claim.c.currency)
    ).all()
    mismatches = select(func.count()).where(
        claim.c.state.in_(_PAID_STATES), claim.c.paid != func.coalesce(claim.c.benefit, 0), here
    )
    trial = trial_balance(connection, None if mine is None else transfers_of(mine))
    return Books(
        trial=trial,
        conservation_violations=_lines_that_do_not_add_up(connection, mine)
        + _decisions_that_do_not_add_up(connection, mine),
        payout_mismatches=int(connection.execute(mismatches).scalar_one())
        + payouts_off_ledger(connection, mine)
        + recoveries_off_ledger(connection, mine)
        + _currencies_off_ledger(connection, trial, here),
        states=count_states(connection, sealer, tenant),
        paid_count=sum(int(row[1]) for row in paid),
        paid={row[0]: int(row[2]) for row in paid},
    )


def _currencies_off_ledger(
    connection: Connection, trial: TrialBalance, here: ColumnElement[bool]
) -> int:
    """Currencies in which the ledger says another cost, or debt of others, than the claims do."""
    rows = connection.execute(
        select(claim.c.currency, func.sum(claim.c.owed), func.sum(claim.c.recoverable))
        .where(here)
        .group_by(claim.c.currency)
    ).all()
    off: set[str] = set()
    for account, column in ((INCURRED, 1), (RECOVERABLE, 2)):
        said = {str(row[0]): int(row[column]) for row in rows}
        booked = {each.currency: each.posted for each in trial.accounts if each.account == account}
        off |= {one for one in said | booked if said.get(one, 0) != booked.get(one, 0)}
    return len(off)


def _lines_that_do_not_add_up(connection: Connection, mine: Select[tuple[str]] | None) -> int:
    per_line = (
        select(
            decision_share.c.decision_id,
            decision_share.c.number,
            func.sum(decision_share.c.amount).label("borne"),
            func.sum(decision_share.c.amount)
            .filter(decision_share.c.bearer == Bearer.INSURER.value)
            .label("insured"),
        )
        .group_by(decision_share.c.decision_id, decision_share.c.number)
        .subquery()
    )
    same_line = and_(
        per_line.c.decision_id == decision_line.c.decision_id,
        per_line.c.number == decision_line.c.number,
    )
    faulty = (
        select(func.count())
        .select_from(decision_line.outerjoin(per_line, same_line))
        .where(
            or_(
                func.coalesce(per_line.c.borne, 0) != decision_line.c.billed,
                func.coalesce(per_line.c.insured, 0) != decision_line.c.benefit,
            )
        )
    )
    if mine is not None:
        decided = select(decision.c.id).where(decision.c.claim_id.in_(mine))
        faulty = faulty.where(decision_line.c.decision_id.in_(decided))
    return int(connection.execute(faulty).scalar_one())


def _decisions_that_do_not_add_up(connection: Connection, mine: Select[tuple[str]] | None) -> int:
    per_decision = (
        select(
            decision_line.c.decision_id,
            func.count().label("lines"),
            func.sum(decision_line.c.billed).label("billed"),
            func.sum(decision_line.c.benefit).label("benefit"),
        )
        .group_by(decision_line.c.decision_id)
        .subquery()
    )
    faulty = (
        select(func.count())
        .select_from(decision.outerjoin(per_decision, per_decision.c.decision_id == decision.c.id))
        .where(
            or_(
                func.coalesce(per_decision.c.lines, 0) != decision.c.lines,
                func.coalesce(per_decision.c.billed, 0) != decision.c.billed,
                func.coalesce(per_decision.c.benefit, 0) != decision.c.benefit,
            )
        )
    )
    if mine is not None:
        faulty = faulty.where(decision.c.claim_id.in_(mine))
    return int(connection.execute(faulty).scalar_one())
