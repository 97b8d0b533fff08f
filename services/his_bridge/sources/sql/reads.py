"""What is read of a hospital's tables for one kind of record: which tables, which columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from services.his_bridge.core.row_terms import RowStatus, RowTerms
from services.his_bridge.dialects.sql_rows.bill import KIND as BILL_KIND
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.sql import (
    HeadTable,
    Marks,
    MessageTable,
    PartTable,
    SqlSettings,
)
from services.his_bridge.sources.sql.shape import Wanted

BILL, READING, MESSAGE, PERSON = BILL_KIND, "Reading", "Message", "Person"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A table of a record's parts, and the columns that are read of it."""

    name: str
    table: PartTable
    columns: tuple[str, ...]


class Reads(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of record. `flat`: each row of the head's table is also one of its lines.

    `ordered`: several records make one thing together, in the order of their times.
    """

    kind: str
    head: HeadTable
    columns: tuple[str, ...]
    parts: tuple[Part, ...] = ()
    flat: tuple[str, ...] = ()
    exact: frozenset[str] = frozenset()
    ordered: bool = False
    named_in: tuple[str, ...] = ()  # columns that name the bill which a row belongs to

    @property
    def walks(self) -> tuple[Marks, ...]:
        """The tables whose marks tell of changes."""
        marked = (p.table for p in self.parts if p.table.updated or p.table.horizon)
        return (self.head, *marked)

    @property
    def digest(self) -> str:
        """Names what is read: with another column everything is read anew."""
        raw = msgspec.json.encode((self.head, self.columns, self.parts, self.flat))
        return hashlib.sha256(raw).hexdigest()[:16]

    def wanted(self) -> Iterator[Wanted]:
        """What the database must have."""
        version = (self.head.version,) if self.head.version else ()
        own = (*self.head.columns, *version, *self.columns, *self.flat)
        yield Wanted(self.head.table, own, self.exact & set(own))
        for part in self.parts:
            order = (part.table.order,) if part.table.order else ()
            columns = (*part.table.columns, *order, *part.columns)
            yield Wanted(part.table.table, columns, self.exact & set(part.columns))


def reads_of(profile: SourceProfile) -> dict[str, Reads]:
    """All kinds of records that a profile's tables hold."""
    settings, terms = profile.source, profile.dialect_terms
    if not isinstance(settings, SqlSettings):
        raise TypeError("the profile's source is none of SQL")
    found: dict[str, Reads] = {}
    if settings.bills is not None and isinstance(terms, RowTerms):
        found[BILL] = _bills(settings, settings.bills, terms)
    if settings.readings is not None and isinstance(terms, RowTerms) and terms.reading is not None:
        found[READING] = Reads(
            kind=READING, head=settings.readings, columns=terms.reading.all, exact=frozenset()
        )
    if settings.messages is not None:
        found[MESSAGE] = _messages(settings.messages)
    return found


def _bills(settings: SqlSettings, head: HeadTable, terms: RowTerms) -> Reads:
    bill, line = terms.bill, terms.line
    amounts: list[str | None] = [bill.total, bill.fund_paid, bill.account_paid, bill.self_paid]
    amounts += [line.quantity, line.price, line.amount, line.fund_paid]
    parts = []
    if settings.lines is not None:
        parts.append(Part(name="lines", table=settings.lines, columns=line.all))
    if settings.diagnoses is not None and terms.diagnosis is not None:
        parts.append(Part(name="diagnoses", table=settings.diagnoses, columns=terms.diagnosis.all))
    return Reads(
        kind=BILL,
        head=head,
        columns=terms.bill.all,
        parts=tuple(parts),
        flat=() if settings.lines is not None else line.all,
        exact=frozenset(name for name in amounts if name is not None),
        named_in=tuple(name for name in (bill.bill, bill.reverses) if name is not None),
        ordered=terms.bill.bill is not None or RowStatus.LATE in terms.statuses.values(),
    )


def _messages(head: MessageTable) -> Reads:
    return Reads(kind=MESSAGE, head=head, columns=head.texts, ordered=True)
