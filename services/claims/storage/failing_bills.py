"""Bills at which claims failed, since when and how often, until each is answered. Decides nothing.

Every function works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from services.claims.storage.policies import find_person
from services.claims.storage.tables import failing_bill, insured, policy
from services.common.sealing import Sealer

# Where nobody could find out whose the bill is: only the whole installation's people see it.
NOBODYS = ""
# A bill that its hospital has changed comes under another name, and the old one never again.
KEPT_US = 30 * 86_400 * 1_000_000


def insurers_of(connection: Connection, sealer: Sealer, member_token: str) -> Sequence[str]:
    """Whose the person is, by the policies that name them; asks for no terms and opens nothing."""
    person_id = find_person(connection, sealer, member_token)
    found = (
        select(policy.c.insurer)
        .join(insured, insured.c.policy_id == policy.c.id)
        .where(insured.c.person_id == person_id)
        .distinct()
    )
    return connection.execute(found).scalars().all()


def record(
    connection: Connection, bill: str, insurers: Collection[str], fault: str, at_us: int
) -> None:
    """The bill failed once more, for each of its insurers; what is long past goes."""
    connection.execute(delete(failing_bill).where(failing_bill.c.last_us < at_us - KEPT_US))
    for insurer in sorted(insurers) or [NOBODYS]:
        again = (
            update(failing_bill)
            .where(failing_bill.c.bill == bill, failing_bill.c.insurer == insurer)
            .values(fault=fault, last_us=at_us, tries=failing_bill.c.tries + 1)
        )
        if not connection.execute(again).rowcount:
            first = {"fault": fault, "first_us": at_us, "last_us": at_us, "tries": 1}
            connection.execute(insert(failing_bill), {"bill": bill, "insurer": insurer, **first})


def fails(connection: Connection, bill: str) -> bool:
    """Whether the bill stands among those that fail."""
    return connection.execute(_FAILS, {"name": bill}).first() is not None


# In the hot path of every bill, so built once.
_FAILS = select(failing_bill.c.seq).where(failing_bill.c.bill == bindparam("name")).limit(1)


def forget(connection: Connection, bill: str, insurer: str | None) -> None:
    """The bill was answered: to its hospital, or to one insurer only."""
    if insurer is None:
        connection.execute(_FORGET, {"name": bill})
    else:
        connection.execute(_FORGET_OF_ONE, {"name": bill, "whose": insurer})


_FORGET = delete(failing_bill).where(failing_bill.c.bill == bindparam("name"))
_FORGET_OF_ONE = _FORGET.where(failing_bill.c.insurer == bindparam("whose"))


def list_failing(
    connection: Connection, insurer: str | None, at_us: int, *, after: int, most: int
) -> Sequence[Row[Any]]:
    """Bills that fail, the longest first: of one insurer, or all; none that is long past."""
    found = select(failing_bill).where(
        failing_bill.c.seq > after, failing_bill.c.last_us >= at_us - KEPT_US
    )
    if insurer is not None:
        found = found.where(failing_bill.c.insurer == insurer)
    return connection.execute(found.order_by(failing_bill.c.seq).limit(most)).all()
