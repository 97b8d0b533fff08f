"""Rows of bills behind the dialects' port. The patient becomes a token here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.balance import to_minor
from services.his_bridge.core.bill import Bill
from services.his_bridge.core.events import EventKind
from services.his_bridge.core.faults import Fault
from services.his_bridge.core.intake import Held, part_of_bill, whole_bill
from services.his_bridge.core.outcomes import BillHappened, BillStated, KeptOut, Outcome, SetAside
from services.his_bridge.core.row_terms import RowStatus, RowTerms
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.port import Glance, Key, Tokens
from services.his_bridge.dialects.pseudonym import pseudonym
from services.his_bridge.dialects.sql_rows.bill import KIND, BillRows
from services.his_bridge.dialects.sql_rows.record import DecodedRows, RowsDecoder

_KINDS = {
    RowStatus.INTERIM: EventKind.INTERIM,
    RowStatus.FINAL: EventKind.FINAL,
    RowStatus.LATE: EventKind.LATE,
}


class BillRowReader:
    """Reads rows as bills."""

    kind = KIND

    def __init__(self, own: RowTerms, terms: SourceTerms, tokens: Tokens) -> None:
        self._own = own
        self._terms = terms
        self._tokens = tokens
        self._zone = ZoneInfo(terms.zone)
        self._decoder = RowsDecoder(own)

    def glance(self, raw: bytes) -> Glance:
        """Decode the rows; drafts and bills outside the profile's period are to be kept out."""
        decoded = self._decoder.decode(raw)
        rows = BillRows(decoded, "", self._own, self._terms)
        day = self._day(rows)
        # What takes back a bill counts whenever it is done.
        alone = rows.reverses() is None
        outside = alone and day is not None and not self._terms.in_period(day)
        readable = decoded.rows is not None
        return Glance(
            decoded=decoded,
            keep_out=readable and (outside or rows.status() is RowStatus.DRAFT),
            needs=frozenset(),
        )

    def read_supporting(self, kind: str, raw: bytes) -> None:
        """Nothing: rows point at nothing."""

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Any]) -> Outcome:
        """What happened to the bill, or every fault of the record."""
        decoded: DecodedRows = glance.decoded
        if decoded.rows is None:
            return SetAside(faults=decoded.faults)
        rows = BillRows(decoded, record_id, self._own, self._terms)
        status = rows.status()
        if status is RowStatus.DRAFT:
            return KeptOut()
        bill_id, reverses = rows.bill_id(), rows.reverses()
        if status is RowStatus.REVERSED:
            return self._reversal(rows, bill_id, reverses)
        # Whoever takes from another bill adds to it, and does not state it anew.
        status = RowStatus.LATE if reverses is not None else status or RowStatus.FINAL
        parsed = rows.parsed(status)
        path = f"head.{self._own.bill.identity}"
        person, token = pseudonym(parsed.person, path, self._tokens)
        named = msgspec.structs.replace(parsed, person=person)
        try:
            if rows.is_whole(status):
                return self._stated(whole_bill(named, token, self._terms))
            bill, total = part_of_bill(named, token, self._terms)
        except Held as held:
            return SetAside(faults=held.faults, total=self._total(rows), unmapped=held.unmapped)
        late = status is RowStatus.LATE
        return BillHappened(
            bill_id=bill_id,
            kind=_KINDS[status],
            bill=bill,
            reverses=reverses,
            day=bill.end.astimezone(self._zone).date(),
            stated_total=None if late else total,
        )

    def _stated(self, bill: Bill) -> Outcome:
        return BillStated(bill=bill, day=bill.end.astimezone(self._zone).date())

    def _reversal(self, rows: BillRows, bill_id: str, reverses: str | None) -> Outcome:
        faults: tuple[Fault, ...] = tuple(rows.findings.faults)
        if faults:
            return SetAside(faults=faults, total=self._total(rows))
        return BillHappened(
            bill_id=bill_id,
            kind=EventKind.REVERSAL,
            bill=None,
            reverses=reverses,
            day=self._day(rows),
        )

    def _day(self, rows: BillRows) -> date | None:
        moment = rows.last_moment()
        return None if moment is None else moment.astimezone(self._zone).date()

    def _total(self, rows: BillRows) -> int | None:
        total = rows.total()
        minor = None if total is None else to_minor(total, self._terms.currency, "total")
        return None if isinstance(minor, Fault) else minor
