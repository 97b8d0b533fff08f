"""What a hospital's tables hold per day of billing, counted twice: by us and by the database."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, TableClause, func, select

from services.his_bridge.core.balance import to_minor
from services.his_bridge.core.faults import Fault
from services.his_bridge.core.reconciliation import DayTotals, by_day
from services.his_bridge.core.row_terms import RowStatus, RowTerms
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.sql_rows.bill import BillRows
from services.his_bridge.dialects.sql_rows.record import RowsDecoder
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.sources.sql import statements
from services.his_bridge.sources.sql.cursor import shifted, value_of
from services.his_bridge.sources.sql.reads import Reads
from services.his_bridge.sources.sql.rows import Types, key_text
from services.his_bridge.sources.sql.values import canonical, exact

_PAGE = 1_000


class Window:
    """The bills of some days, read in one transaction."""

    def __init__(
        self,
        connection: Connection,
        reads: Reads,
        types: Types,
        own: RowTerms,
        terms: SourceTerms,
    ) -> None:
        self._connection = connection
        self._reads = reads
        self._own = own
        self._terms = terms
        self._zone = ZoneInfo(terms.zone)
        self._decoder = RowsDecoder(own)
        self._day = own.bill.end or own.bill.begin
        self._table: TableClause = statements.clause(
            reads.head.table,
            (*reads.head.columns, *reads.columns),
            types.get(reads.head.table, {}),
        )
        self._days: dict[str, date] = {}
        self._totals: dict[str, int] = {}
        self._reversed: set[str] = set()

    def totals(self, first: date, last: date) -> dict[date, DayTotals]:
        """The bills of these days as their tables show them, by the bill's own id.

        A reversed bill is none; what is added to a bill or taken from it counts on the bill's day.
        Raises: SourceFault when the database counts other bills than it shows.
        """
        between = self._between(first, last)
        if between is None:
            return {}
        keys: set[str] = set()
        after = None
        while True:
            statement = statements.days(
                self._reads.head, self._table, self._columns(), self._day, between, after, _PAGE
            )
            rows = self._connection.execute(statement).all()
            for row in rows:
                self._count(row)
            keys.update(key_text(row[0]) for row in rows)
            if len(rows) < _PAGE:
                break
            after = value_of(rows[-1][0])
        flat = bool(self._reads.flat)
        counted = self._connection.execute(
            statements.counted(self._reads.head, self._table, self._day, between, flat=flat)
        ).scalar_one()
        if counted != len(keys):
            head = self._reads.head
            text = f"{head.table} counts {counted} bills and shows {len(keys)}: {head.key} repeats"
            raise SourceFault("SOURCE_KEY_NOT_UNIQUE", text)
        return self._by_day(first, last)

    def _columns(self) -> tuple[str, ...]:
        columns = self._own.bill
        wanted = (columns.begin, columns.end, columns.total, columns.status, columns.reverses)
        return tuple(c for c in (*wanted, columns.bill) if c is not None)

    def _between(self, first: date, last: date) -> tuple[Any, Any] | None:
        """The window as the column writes times, a day wider on both sides: zones differ."""
        newest = self._connection.execute(select(func.max(self._table.c[self._day]))).scalar()
        like = value_of(newest)
        if like is None:
            return None
        ends = (first - timedelta(days=1), last + timedelta(days=2))
        found = [shifted(like, datetime.combine(day, time())) for day in ends]
        return found[0].bound(), found[1].bound()

    def _count(self, row: Any) -> None:
        key, *values = row
        names = list(dict.fromkeys(self._columns()))
        head = {name: exact(value) for name, value in zip(names, values, strict=True)}
        record = key_text(key)
        decoded = self._decoder.decode(canonical({"head": head}))
        found = BillRows(decoded, record, self._own, self._terms)
        status = found.status()
        bill = found.bill_id()
        moment = found.last_moment()
        if status in (None, RowStatus.DRAFT) or moment is None:
            return
        if status is RowStatus.REVERSED:
            self._reversed.add(bill)
            return
        total = found.total()
        minor = to_minor(total, self._terms.currency, "total") if total is not None else 0
        day = moment.astimezone(self._zone).date()
        self._days[bill] = max(day, self._days.get(bill, day))
        self._totals[bill] = self._totals.get(bill, 0) + (0 if isinstance(minor, Fault) else minor)

    def _by_day(self, first: date, last: date) -> dict[date, DayTotals]:
        return by_day(
            (day, bill, self._totals[bill])
            for bill, day in self._days.items()
            if bill not in self._reversed and first <= day <= last and self._terms.in_period(day)
        )
