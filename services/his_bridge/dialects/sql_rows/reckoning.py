"""What the rows of a bill leave of it: its day and its total. A second way to the same numbers.

For the reconciliation: it maps no code, knows no person and folds no line.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import msgspec

from services.his_bridge.core.balance import rounded, to_minor
from services.his_bridge.core.faults import Fault
from services.his_bridge.core.row_terms import RowStatus, RowTerms
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.sql_rows.bill import KIND, BillRows
from services.his_bridge.dialects.sql_rows.record import DecodedRows

_RANK = (RowStatus.INTERIM, RowStatus.FINAL, RowStatus.LATE, RowStatus.REVERSED)


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """What one row says of a bill. Amounts are in minor units.

    `names` is the record that it takes back or takes from; `lines` the sum of its own charges, None
    where it has none or nobody looked.
    """

    record: str
    bill: str
    status: RowStatus
    day: date
    total: int | None
    names: str | None
    lines: int | None = None
    at_us: int = 0


def stated(
    decoded: DecodedRows, record: str, own: RowTerms, terms: SourceTerms, *, at_us: int = 0
) -> Stated | None:
    """What a row says; None for a draft, and for what is of no day or outside the period.

    A status that no rule knows is there all the same: the row waits for a person.
    """
    rows = BillRows(decoded, record, own, terms)
    status, moment, names = rows.status() or RowStatus.FINAL, rows.last_moment(), rows.reverses()
    if status is RowStatus.DRAFT or moment is None:
        return None
    day = moment.astimezone(rows.zone).date()
    if names is None and not terms.in_period(day):
        return None
    if names is not None and status is not RowStatus.REVERSED:
        status = RowStatus.LATE
    total = rows.total()
    minor = None if total is None else to_minor(total, terms.currency, "total")
    return Stated(
        record=f"{KIND}/{record}",
        bill=rows.bill_id(),
        status=status,
        day=day,
        total=None if isinstance(minor, Fault) else minor,
        names=None if names is None else f"{KIND}/{names}",
        lines=_sum_of_lines(rows, terms.currency),
        at_us=at_us,
    )


def reckoned(rows: Sequence[Stated]) -> tuple[date, int] | None:
    """Day and total of the bill that these rows make; None when nothing is left of it.

    A row alone is what its head says.
    """
    named = {row.names for row in rows if row.status is RowStatus.REVERSED}
    taken = [row for row in rows if row.record in named or row.bill == row.names in named]
    gone = {row.record for row in taken}
    in_time = sorted(
        (one for one in rows if one.record not in gone),
        key=lambda row: (row.at_us, _RANK.index(row.status), row.record),
    )
    ends = [row.status is RowStatus.REVERSED and row.names is None for row in in_time]
    since = len(ends) - ends[::-1].index(True) if any(ends) else 0  # all before is taken back
    left: list[Stated] = []
    for row in _in_order([one for one in in_time[since:] if one.status is not RowStatus.REVERSED]):
        if row.status is not RowStatus.LATE and row.lines is not None:
            left = []  # it states the bill anew; without charges it says the rest
        left.append(row)
    charged = [row for row in left if len(rows) == 1 or row.lines is not None]
    if not charged:
        return None
    amounts = [row.lines if row.total is None else row.total for row in charged]
    total = sum(amount or 0 for amount in amounts)
    if len(rows) > 1 and (total < 0 or (total == 0 and any(amounts))):
        return None
    return max(row.day for row in left), total


def _in_order(ordered: Sequence[Stated]) -> list[Stated]:
    """As they count: what takes from a row comes behind it (core/folding.py)."""
    place_of = {row.record: place for place, row in enumerate(ordered)}
    behind: dict[int, tuple[int, int]] = {}  # which place, and how many names away from it
    for start in range(len(ordered)):
        chain: dict[int, int | None] = {}
        place: int | None = start
        while place is not None and place not in behind and place not in chain:
            chain[place] = named = place_of.get(ordered[place].names or "")
            place = named
        for one, original in reversed(chain.items()):
            last, steps = behind.get(-1 if original is None else original, (-1, 0))
            behind[one] = (last, steps + 1) if last > one else (one, 0)
    return [ordered[place] for place in sorted(behind, key=lambda one: (*behind[one], one))]


def _sum_of_lines(rows: BillRows, currency: str) -> int | None:
    amounts = rows.line_amounts()
    if not amounts:
        return None
    total = 0
    for amount, quantity, price in amounts:
        if amount is not None:
            minor = to_minor(amount, currency, "amount")
            total += 0 if isinstance(minor, Fault) else minor
        elif quantity is not None and price is not None:
            total += rounded(quantity, price, currency)
    return total
