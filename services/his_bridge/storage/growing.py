"""Bills that only grow: a stay's charges come one by one, and none of those before need be read.

Nothing leaves of a bill that no statement has closed, and a charge that takes nothing back can wait
for nothing. So what is added to such a bill is kept, and the bill is folded when it may be closed.
Works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, and_, case, func, select

from services.common.bulk import one_of
from services.his_bridge.core.bill import Bill
from services.his_bridge.core.events import EventKind
from services.his_bridge.core.outcomes import BillHappened, Outcome
from services.his_bridge.storage.known_bills import Account
from services.his_bridge.storage.portions import portions
from services.his_bridge.storage.tables import bill_event, waiting_event

_ADDS = (str(EventKind.LATE), str(EventKind.INTERIM))


def takes_back(bill: Bill | None) -> bool:
    """Whether a line of it takes back a charge, or part of one."""
    return bill is not None and any(line.reverses_line for line in bill.lines)


def adds_only(outcome: Outcome) -> bool:
    """Whether a record adds charges to its bill and does nothing else."""
    return (
        isinstance(outcome, BillHappened)
        and outcome.kind is EventKind.LATE
        and outcome.bill is not None
        and not takes_back(outcome.bill)
    )


def growing(connection: Connection, hospital: str, whose: Mapping[str, str]) -> dict[str, Account]:
    """Those of these accounts that are open, of nothing but such additions, and of one patient.

    `whose` says by account of which patient, by opaque id, it must be; it may be new.
    """
    found = {name: Account(grows=True) for name in whose}
    for name in _that_wait(connection, hospital, whose):
        del found[name]
    other = case((and_(bill_event.c.kind.in_(_ADDS), ~bill_event.c.takes_back), 0), else_=1)
    query = (
        select(
            bill_event.c.external_index,
            func.min(bill_event.c.bill_id).label("bill_id"),
            func.max(bill_event.c.number).label("events"),
            func.min(bill_event.c.member).label("first"),
            func.max(bill_event.c.member).label("last"),
            func.count(bill_event.c.member).label("named"),
            func.count().label("all"),
            func.sum(other).label("others"),
        )
        .where(bill_event.c.hospital == hospital)
        .group_by(bill_event.c.external_index)
    )
    for names in portions(found):
        these = one_of(connection, bill_event.c.external_index, names)
        for row in connection.execute(query.where(these)):
            of_one = row.first == row.last == whose[row.external_index] and row.named == row.all
            if row.others or not of_one:
                del found[row.external_index]
            else:
                found[row.external_index].bill_id = row.bill_id
                found[row.external_index].events = row.events
    return found


def _that_wait(connection: Connection, hospital: str, names: Collection[str]) -> set[str]:
    """Accounts with records that cannot count yet: what comes now may be what they wait for."""
    query = select(waiting_event.c.external_index).where(waiting_event.c.hospital == hospital)
    return {
        name
        for some in portions(names)
        for name in connection.execute(
            query.where(one_of(connection, waiting_event.c.external_index, some))
        ).scalars()
    }
