"""What a hospital's tables hold per day of billing, counted twice: by us and by the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime, time, timedelta

from sqlalchemy import ColumnElement, Connection, TableClause

from services.his_bridge.core.reconciliation import DayTotals, by_day
from services.his_bridge.core.row_terms import RowTerms
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.sql_rows.bill import KIND
from services.his_bridge.dialects.sql_rows.reckoning import Stated, reckoned, stated
from services.his_bridge.dialects.sql_rows.record import RowsDecoder
from services.his_bridge.sources.port import RawRecord, SourceFault
from services.his_bridge.sources.sql import statements
from services.his_bridge.sources.sql.cursor import Value, shifted, value_of
from services.his_bridge.sources.sql.reads import Reads
from services.his_bridge.sources.sql.rows import RowReader, Types, key_text, name_of
from services.his_bridge.sources.sql.statements import DayColumn
from services.his_bridge.sources.sql.values import canonical, exact

_PAGE = 1_000
# Values in one statement; Oracle takes 1,000 in a list.
_AT_ONCE = 500


class Window:
    """The bills of some days, read in one transaction."""

    def __init__(
        self,
        connection: Connection,
        reads: Reads,
        types: Types,
        own: RowTerms,
        terms: SourceTerms,
        reader: RowReader,
    ) -> None:
        self._connection = connection
        self._reads = reads
        self._own = own
        self._terms = terms
        self._reader = reader
        self._decoder = RowsDecoder(own)
        self._table: TableClause = statements.clause(
            reads.head.table,
            (*reads.head.columns, *reads.columns),
            types.get(reads.head.table, {}),
        )
        self._keys: dict[str, Value] = {}
        self._rows: defaultdict[str, dict[str, Stated]] = defaultdict(dict)

    def totals(self, first: date, last: date) -> dict[date, DayTotals]:
        """The bills of these days as their tables show them, by the bill's own id.

        A reversed bill is none. What is added to a bill or taken from it counts on the bill's day,
        on whatever day that was done.
        Raises: SourceFault when the database counts other bills than it shows.
        """
        within = self._within(first, last)
        if within is None:
            return {}
        self._read_heads(within)
        self._read_parts()
        found = []
        for bill, rows in self._rows.items():
            made = reckoned(list(rows.values()))
            if made is not None and first <= made[0] <= last and self._terms.in_period(made[0]):
                found.append((made[0], bill, made[1]))
        several = {
            bill: frozenset(rows) for bill, rows in self._rows.items() if rows.keys() != {bill}
        }
        return by_day(found, several)

    def _within(self, first: date, last: date) -> ColumnElement[bool] | None:
        """The rows of the window, a day wider on both sides: zones differ. None: no row has one."""
        names = [name for name in (self._own.bill.end, self._own.bill.begin) if name is not None]
        columns = [self._day_column(name, first, last) for name in dict.fromkeys(names)]
        if not any(column.ranges for column in columns):
            return None
        return statements.in_days(self._table, columns)

    def _day_column(self, name: str, first: date, last: date) -> DayColumn:
        """Where the window begins and ends in a column, as that writes times.

        Texts may write them in two ways, and one that is no time at all must not hide the others.
        """
        statement = statements.first_and_last(self._table, name)
        least, like = (value_of(value) for value in self._connection.execute(statement).one())
        ends = [first - timedelta(days=1), last + timedelta(days=2)]
        if like is None or least is None:
            return DayColumn(name=name, ranges=())
        if like.kind in ("time", "day"):
            low, high = (shifted(like, datetime.combine(day, time())).bound() for day in ends)
            return DayColumn(name=name, ranges=((low, high),))
        plain = tuple(f"{day:%Y%m%d}" for day in ends)
        numbers = ((plain[0], plain[1]),)
        if like.kind == "number":
            whole = tuple(
                (int(f"{low}{zeros}"), int(f"{high}{zeros}"))
                for low, high in numbers
                for zeros in _ZEROS
            )
            return DayColumn(name=name, ranges=whole)
        if all(value.text.strip().isdecimal() for value in (least, like)):
            # It may be a column of numbers, that is compared with nothing else.
            wide = tuple(
                (f"{low}{zeros}", f"{high}{zeros}") for low, high in numbers for zeros in _ZEROS
            )
            return DayColumn(name=name, ranges=wide)
        dashed = (f"{ends[0]:%Y-%m-%d}", f"{ends[1]:%Y-%m-%d}")
        return DayColumn(name=name, ranges=(dashed, *numbers), blank=True)

    def _read_heads(self, within: ColumnElement[bool]) -> None:
        head, after, shown = self._reads.head, None, 0
        while True:
            statement = statements.days(head, self._table, self._columns(), within, after, _PAGE)
            rows = self._connection.execute(statement).all()
            for key, *values in rows:
                self._add_head(key, values)
            if len(rows) < _PAGE:
                break
            after = value_of(rows[-1][0])
        flat = bool(self._reads.flat)
        counted = self._connection.execute(
            statements.counted(head, self._table, within, flat=flat)
        ).scalar_one()
        shown = len(self._keys)
        if counted != shown:
            text = f"{head.table} counts {counted} bills and shows {shown}: {head.key} repeats"
            raise SourceFault("SOURCE_KEY_NOT_UNIQUE", text)

    def _columns(self) -> tuple[str, ...]:
        columns = self._own.bill
        wanted = (columns.begin, columns.end, columns.total, columns.status, columns.reverses)
        return tuple(dict.fromkeys(c for c in (*wanted, columns.bill) if c is not None))

    def _add_head(self, key: object, values: Sequence[object]) -> None:
        value = value_of(key)
        if value is None:
            text = (
                f"{self._reads.head.table}: {self._reads.head.key} must be texts or whole numbers"
            )
            raise SourceFault("SOURCE_SHAPE", text)
        self._keys[key_text(key)] = value
        head = {name: exact(each) for name, each in zip(self._columns(), values, strict=True)}
        self._add(canonical({"head": head}), key_text(key))

    def _add(self, raw: bytes, record: str, at_us: int = 0) -> None:
        decoded = self._decoder.decode(raw)
        found = stated(decoded, record, self._own, self._terms, at_us=at_us)
        if found is not None:
            self._rows[found.bill][found.record] = found

    def _read_parts(self) -> None:
        """Whole, every row of the bills that several rows make, on whatever day they are."""
        if not self._reads.named_in:
            return
        mine = set(self._rows)
        others = self._others(sorted(bill.partition("/")[2] for bill in mine))
        shown = {row.record for rows in self._rows.values() for row in rows.values()}
        for record in self._records(
            [key for name, key in others.items() if f"{KIND}/{name}" not in shown]
        ):
            self._add_whole(record)
        for bill in self._rows.keys() - mine:
            del self._rows[bill]  # another one, that has a row of the same name
        names = [
            record.partition("/")[2]
            for rows in self._rows.values()
            if len(rows) > 1
            for record in rows
            if record in shown
        ]
        for record in self._records([self._keys[name] for name in names]):
            self._add_whole(record)

    def _add_whole(self, record: RawRecord) -> None:
        at_us = 0
        if self._reads.ordered and record.updated is not None:
            at_us = round(record.updated.timestamp() * 1_000_000)
        self._add(record.raw, record.record_id, at_us)

    def _others(self, names: Sequence[str]) -> dict[str, Value]:
        """The keys of rows that may belong to these bills: named so, or naming them."""
        head, columns = self._reads.head, self._reads.named_in
        found = {name: Value("text", name) for name in names if name not in self._keys}
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            statement = statements.keys_of(head, self._table, columns, some)
            for (raw,) in self._connection.execute(statement):
                key = value_of(raw)
                if key is not None:
                    found[name_of(key)] = key
        return found

    def _records(self, keys: Collection[Value]) -> Iterator[RawRecord]:
        left = list(keys)
        while left:
            read = 0
            for _, record in self._reader.records(left):
                read += 1
                if record is not None:
                    yield record
            left = left[read:]


_ZEROS = ("", "0000", "000000")
