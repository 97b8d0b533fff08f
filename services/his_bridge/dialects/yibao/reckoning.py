"""What interface messages leave of each bill: the settlement that stands, its day and its total.

A second way to the same numbers, for the reconciliation: it reads no charge, maps no code and knows
no person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from services.his_bridge.core.balance import to_minor
from services.his_bridge.core.faults import Fault
from services.his_bridge.core.reconciliation import DayTotals, by_day
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.core.yibao_terms import YibaoTerms
from services.his_bridge.dialects.yibao.message import (
    CANCELLATIONS,
    FEES,
    SETTLEMENT_LIST,
    SETTLEMENTS,
    decoded,
    identified,
    settlement_id,
)
from services.his_bridge.dialects.yibao.parsing import KIND, Parsing


def bill_of(raw: bytes, own: YibaoTerms, terms: SourceTerms) -> str | None:
    """The id of the bill that a message speaks of, if it does."""
    message = decoded(raw)
    return Parsing(message, own, terms).bill_id() if message.is_read else None


class Reckoning:
    """The settlements of all messages that were added, in any order."""

    def __init__(self, own: YibaoTerms, terms: SourceTerms) -> None:
        self._own = own
        self._terms = terms
        self._zone = ZoneInfo(terms.zone)
        # By settlement: bill, when it was sent, its total.
        self._settled: dict[str, tuple[str, datetime | None, Decimal]] = {}
        self._cancelled: set[str] = set()
        self._ends: dict[str, datetime] = {}
        self._records: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, raw: bytes) -> None:
        """Count one message; what cannot be read counts as not there."""
        message = decoded(raw)
        if not message.is_read:
            return
        parsing = Parsing(message, self._own, self._terms)
        bill = parsing.bill_id()
        if bill is None:
            return
        if message.infno in CANCELLATIONS:
            self._cancelled.add(settlement_id(parsing.node.short("setl_id") or ""))
        end = parsing.last_moment()
        if message.infno in (*FEES, *SETTLEMENTS, SETTLEMENT_LIST) and end is not None:
            self._ends[bill] = max(end, self._ends.get(bill, end))
        if message.infno not in (*FEES, *SETTLEMENTS):
            return
        own = identified(raw, self._zone)
        if end is None or self._terms.in_period(end.astimezone(self._zone).date()):
            self._records[bill].add(f"{KIND}/{own.record_id}")
        if message.infno in SETTLEMENTS:
            self._settled[own.record_id] = (bill, own.updated, parsing.total() or Decimal(0))

    def totals(self, first: date, last: date) -> Mapping[date, DayTotals]:
        """The bills of these days by their ids, both days included."""
        standing = sorted(
            (
                (sent, bill, total)
                for name, (bill, sent, total) in self._settled.items()
                if name not in self._cancelled and sent is not None and bill in self._ends
            ),
            key=lambda one: (one[0], one[1]),
        )
        found = []
        for bill, total in {bill: total for _, bill, total in standing}.items():
            day = self._ends[bill].astimezone(self._zone).date()
            minor = to_minor(total, self._terms.currency, "total")
            if first <= day <= last and self._terms.in_period(day):
                found.append((day, bill, 0 if isinstance(minor, Fault) else minor))
        return by_day(found, {bill: frozenset(some) for bill, some in self._records.items()})
