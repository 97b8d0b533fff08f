"""A bill's head and lines, as columns, to a parsed bill. Maps no code and adds nothing up."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.bill import CareType
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.parsed import (
    Concept,
    LocalCoding,
    ParsedBill,
    ParsedDiagnosis,
    ParsedLine,
    ParsedSocialInsurance,
    Person,
)
from services.his_bridge.core.row_terms import RowStatus, RowTerms
from services.his_bridge.core.terms import Principal, SocialInsuranceSource, SourceTerms
from services.his_bridge.dialects.cells import Cells, Findings, Values
from services.his_bridge.dialects.documents import person
from services.his_bridge.dialects.sql_rows.record import DecodedRows, Rows

KIND = "Bill"
QUANTITY_PLACES = 4
UNIT_PRICE_PLACES = 6
AMOUNT_PLACES = 6  # finer than a coin is a fault of the balance, with its own reason


class BillRows:
    """One record of rows, read by a profile's terms."""

    def __init__(
        self, decoded: DecodedRows, record_id: str, rows: RowTerms, terms: SourceTerms
    ) -> None:
        self._rows = decoded.rows or Rows()
        self._record_id = record_id
        self._own = rows
        self._terms = terms
        self.zone = ZoneInfo(terms.zone)
        self.findings = Findings(decoded.faults)
        self._head = self._cells(self._rows.head, "head")

    def status(self) -> RowStatus | None:
        """What the head says of the bill; None, with a fault, for a status that no rule knows."""
        column = self._own.bill.status
        if column is None:
            return RowStatus.FINAL
        found = self._own.statuses.get(self._head.text(column) or "")
        if found is None:
            self._head.add(Reason.STATUS_UNKNOWN, column)
        return found

    def reverses(self) -> str | None:
        """The record that this one takes back, or takes from."""
        return self._head.short(self._own.bill.reverses)

    def bill_id(self) -> str:
        """The source's id of the bill that this record speaks of; its own when it names none."""
        named = self._head.short(self._own.bill.bill)
        return f"{KIND}/{named or self.reverses() or self._record_id}"

    def is_whole(self, status: RowStatus) -> bool:
        """Whether the record alone is the bill, and takes nothing back."""
        alone = status is RowStatus.FINAL and self._own.bill.bill is None
        refund = self._own.line.reverses
        quiet = Findings(())
        return alone and not any(
            Cells(row, "", quiet, self.zone, self._own.charset).states(refund)
            for row in self._rows.lines
        )

    def last_moment(self) -> datetime | None:
        """When the care ended, or else began."""
        columns = self._own.bill
        return self._head.moment(columns.end, day_ends=True) or self._head.moment(columns.begin)

    def total(self) -> Decimal | None:
        """What the head says that the bill amounts to."""
        return self._head.decimal(self._own.bill.total, places=AMOUNT_PLACES)

    def line_amounts(self) -> list[tuple[Decimal | None, Decimal | None, Decimal | None]]:
        """Amount, quantity and unit price of each line, of whatever sign; None: not stated."""
        columns, found = self._own.line, []
        for index, row in enumerate(self._rows.lines):
            cells = self._cells(row, f"lines[{index}]")
            amount = cells.decimal(columns.amount, places=AMOUNT_PLACES)
            quantity = cells.decimal(columns.quantity, places=QUANTITY_PLACES)
            price = cells.decimal(columns.price, places=UNIT_PRICE_PLACES)
            found.append((amount, quantity, price))
        return found

    def parsed(self, status: RowStatus) -> ParsedBill:
        """Everything that the rows say."""
        columns, head = self._own.bill, self._head
        refunds = status is RowStatus.LATE
        begin = head.moment(columns.begin)
        end = head.moment(columns.end, day_ends=True)
        if begin is None and not head.states(columns.begin):
            head.add(Reason.TIME_MISSING, columns.begin)
        if end is None and not head.states(columns.end):
            end = begin  # a visit that states one time
        if begin is not None and end is not None and end < begin:
            head.add(Reason.END_BEFORE_START, columns.end or columns.begin)
        number = head.short(columns.number, ascii_only=True)
        if number is None and not head.states(columns.number):
            number = self._record_id
        if not self._rows.lines and not refunds:
            self.findings.add(Reason.NO_LINES, "lines")
        total = self._amount(head, columns.total, refunds=refunds)
        diagnoses = self._diagnoses()
        return ParsedBill(
            bill_number=number,
            provider_id=self._terms.provider_id,
            tier=self._terms.tier,
            care_type=self._care_type(),
            start=begin,
            end=end,
            diagnoses=diagnoses,
            lines=self._lines(),
            total=total,
            total_path=head.at(columns.total),
            states_total=head.states(columns.total),
            person=self._person(),
            social_insurance=self._social_insurance(total, refunds=refunds),
            faults=tuple(self.findings.faults),
            emergency=self._emergency(),
        )

    def _emergency(self) -> bool | None:
        """Whether the stay began as an emergency; None where the row does not say how it began."""
        column = self._own.bill.admission
        way = None if column is None else self._head.text(column)
        return way in self._own.emergency_admissions if way else None

    def _cells(self, values: Values, path: str) -> Cells:
        return Cells(values, path, self.findings, self.zone, self._own.charset)

    def _person(self) -> Person:
        columns, head = self._own.bill, self._head
        name = head.text(columns.name)
        others = [text for column in columns.personal if (text := head.text(column))]
        kind = None
        if columns.identity_kind is not None:
            kind = head.text(columns.identity_kind) or ""
        return person(
            kind,
            head.text(columns.identity),
            head.at(columns.identity),
            self._terms.identities,
            names=[name] if name else [],
            others=others,
        )

    def _care_type(self) -> CareType | None:
        column = self._own.bill.care_type
        found = self._terms.care_type_default
        if column is not None:
            found = self._own.care_types.get(self._head.text(column) or "", found)
        if found is None:
            self._head.add(Reason.CARE_TYPE_UNKNOWN, column or "care_type")
        return found

    def _diagnoses(self) -> tuple[ParsedDiagnosis, ...]:
        found: list[ParsedDiagnosis] = []
        own = self._own.diagnosis
        for index, row in enumerate(self._rows.diagnoses if own is not None else ()):
            if own is None:
                continue
            cells = self._cells(row, f"diagnoses[{index}]")
            code = cells.short(own.code)
            marked = (cells.text(own.main) or "") in self._own.main_marks
            found.append(self._diagnosis(cells, own.code, code, len(found) + 1, marked=marked))
        for column in self._own.bill.diagnoses:
            if not self._head.states(column):
                continue
            code = self._head.short(column)
            first = column == self._own.bill.diagnoses[0]
            found.append(
                self._diagnosis(
                    self._head, column, code, len(found) + 1, marked=first and own is None
                )
            )
        nobody = not any(entry.principal for entry in found)
        if found and nobody and self._terms.principal is Principal.FIRST:
            found[0] = msgspec.structs.replace(found[0], principal=True)
        return tuple(found)

    def _diagnosis(
        self, cells: Cells, column: str, code: str | None, number: int, *, marked: bool
    ) -> ParsedDiagnosis:
        if code is None and not cells.states(column):
            cells.add(Reason.CODE_MISSING, column)
        coding = LocalCoding(system=self._own.diagnosis_system, code=code or "", display="")
        concept = Concept(codings=(coding,), path=cells.at(column)) if code else None
        return ParsedDiagnosis(number=number, principal=marked, concept=concept)

    def _lines(self) -> tuple[ParsedLine, ...]:
        return tuple(
            self._line(self._cells(row, f"lines[{index}]"), index + 1)
            for index, row in enumerate(self._rows.lines)
        )

    def _line(self, cells: Cells, number: int) -> ParsedLine:
        columns = self._own.line
        quantity = cells.decimal(columns.quantity, places=QUANTITY_PLACES)
        reverses = cells.short(columns.reverses)
        refunds = reverses is not None
        if quantity is None and not cells.states(columns.quantity):
            cells.add(Reason.NUMBER_MALFORMED, columns.quantity)
        if quantity is not None and (quantity == 0 or (quantity < 0) != refunds):
            cells.add(Reason.QUANTITY_NOT_POSITIVE, columns.quantity)
            quantity = None
        return ParsedLine(
            path=cells.path,
            number=number,
            concept=self._concept(cells),
            quantity=quantity,
            unit_price=self._amount(cells, columns.price, places=UNIT_PRICE_PLACES),
            net=self._amount(cells, columns.amount, refunds=refunds),
            states_amount=cells.states(columns.price) or cells.states(columns.amount),
            service_time=cells.moment(columns.time),
            fund_paid=self._fund_paid(cells, refunds=refunds),
            line_id=cells.short(columns.id) or "",
            reverses_line=reverses or "",
        )

    def _concept(self, cells: Cells) -> Concept | None:
        columns = self._own.line
        standard, local = cells.short(columns.code), cells.short(columns.local_code)
        at = columns.code or columns.local_code or "code"
        if standard is None and (local is None or cells.states(columns.code)):
            if not cells.states(columns.code) and not cells.states(columns.local_code):
                cells.add(Reason.CODE_MISSING, at)
            return None
        name = cells.text(columns.name) or ""
        codings = [
            LocalCoding(system=system, code=code, display=name)
            for code, system in (
                (standard, self._own.line_system),
                (local, self._own.local_line_system),
            )
            if code is not None
        ]
        return Concept(codings=tuple(codings), path=cells.at(at))

    def _fund_paid(self, cells: Cells, *, refunds: bool) -> Decimal | None:
        if self._terms.social_insurance is not SocialInsuranceSource.RECORD:
            return None
        return self._amount(cells, self._own.line.fund_paid, refunds=refunds)

    def _amount(
        self,
        cells: Cells,
        column: str | None,
        *,
        refunds: bool = False,
        places: int = AMOUNT_PLACES,
    ) -> Decimal | None:
        value = cells.decimal(column, places=places)
        if value is not None and column is not None and value < 0 and not refunds:
            cells.add(Reason.NEGATIVE_AMOUNT, column)
            return None
        return value

    def _social_insurance(
        self, total: Decimal | None, *, refunds: bool
    ) -> ParsedSocialInsurance | None:
        columns, head = self._own.bill, self._head
        if self._terms.social_insurance is not SocialInsuranceSource.RECORD:
            return None
        fund = self._amount(head, columns.fund_paid, refunds=refunds)
        account = self._amount(head, columns.account_paid, refunds=refunds)
        own = self._amount(head, columns.self_paid, refunds=refunds)
        if own is not None and fund is not None and total is not None:
            # What a patient paid counts the account in at some hospitals, and not at others.
            rest = total - fund - own
            if rest not in (Decimal(0), account):
                head.add(Reason.SOCIAL_INSURANCE_CONTRADICTS, columns.self_paid or "")
        if fund is None and account is None:
            return None
        used = bool(fund) or bool(account)
        return ParsedSocialInsurance(used=used, fund_paid=fund, account_paid=account)
