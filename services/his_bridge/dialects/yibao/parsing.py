"""The bills that interface messages speak of: fees, settlements, settlement lists. Maps no code."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

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
from services.his_bridge.core.terms import SocialInsuranceSource, SourceTerms
from services.his_bridge.core.yibao_terms import EMERGENCY_WAY, YibaoTerms
from services.his_bridge.dialects.cells import Cells, Findings, Values
from services.his_bridge.dialects.yibao.message import FEES, Message

# The interface's own: 数量 16,4, 单价 16,6, 金额 16,2.
QUANTITY_PLACES, UNIT_PRICE_PLACES, AMOUNT_PLACES = 4, 6, 2
KIND = "Message"
OUTPATIENT = ("2204", "2207", "2208")
_WESTERN = (None, "1")  # 诊断类别: others are of Chinese medicine, in codes of their own
_MAIN = "1"


class Parsing:
    """One message, read by a profile's terms."""

    def __init__(self, message: Message, own: YibaoTerms, terms: SourceTerms) -> None:
        self.message = message
        self.findings = Findings(message.faults)
        self._own = own
        self._terms = terms
        self._zone = ZoneInfo(terms.zone)
        node = {"4101": ".setlinfo"}.get(message.infno, ".data")
        path = ".feedetail[0]" if message.infno in FEES else node
        self.node = self.cells(message.main(), message.path_in + path)
        self.answer = self.cells(message.output.setlinfo, f"{message.path_out}.setlinfo")

    def bill_id(self) -> str | None:
        """The visit or stay, or one batch of a visit's charges; None with a fault."""
        visit = self.required(self.node, "mdtrt_id")
        outpatient = self.message.infno in OUTPATIENT or self.node.states("opsp_mdtrt_date")
        if visit is None:
            return None
        if not self._own.bill_per_batch or not outpatient:
            return f"{KIND}/{visit}"
        batch = self.required(self.node, "chrg_bchno")
        return None if batch is None else f"{KIND}/{visit}/{batch}"

    def required(self, cells: Cells, name: str) -> str | None:
        """An id that must be there."""
        found = cells.short(name)
        if found is None and not cells.states(name):
            cells.add(Reason.REFERENCE_MISSING, name)
        return found

    def last_moment(self) -> datetime | None:
        """When the care ended that a message tells of."""
        quiet = Findings(())
        if self.message.infno in FEES:
            rows = self.message.input.feedetail
            found = [self.cells(row, "", quiet).moment("fee_ocur_time") for row in rows]
            return max((moment for moment in found if moment is not None), default=None)
        node = self.cells(self.message.main(), "", quiet)
        answer = self.cells(self.message.output.setlinfo, "", quiet)
        for name in ("dscgTime", "dscg_time", "opsp_mdtrt_date", "setl_end_date"):
            found_end = node.moment(name, day_ends=True)
            if found_end is not None:
                return found_end
        return answer.moment("setl_time")

    def fees(self, person: Person) -> ParsedBill:
        """The charges of a 2204 or 2301; they state no total."""
        rows = self.message.input.feedetail
        path = f"{self.message.path_in}.feedetail"
        if not rows:
            self.findings.add(Reason.NO_LINES, path)
        lines = [
            self._line(self.cells(row, f"{path}[{index}]"), index + 1)
            for index, row in enumerate(rows)
        ]
        whose = {(bytes(row.get("mdtrt_id", b"")), bytes(row.get("psn_no", b""))) for row in rows}
        if len(whose) > 1:
            self.findings.add(Reason.ROWS_DISAGREE, path)
        times = [line.service_time for line in lines if line.service_time is not None]
        usual = CareType.OUTPATIENT if self.message.infno == "2204" else CareType.INPATIENT
        care = self._care_type(self.node, usual)
        start, end = min(times, default=None), max(times, default=None)
        return self._bill(person, care, (start, end), number="mdtrt_id", lines=lines)

    def settlement(self, person: Person) -> ParsedBill:
        """What a 2207 or 2304 and its answer say of the bill as a whole, without its lines."""
        total = self.total()
        end = self.node.moment("dscgTime", day_ends=True)
        if end is None and not self.node.states("dscgTime"):
            end = self.answer.moment("setl_time")
            if end is None and not self.answer.states("setl_time"):
                self.answer.add(Reason.TIME_MISSING, "setl_time")
        cells = self.answer if self.answer.states("med_type") else self.node
        care = self._care_type(cells, None)
        social = self._social_insurance(total)
        return self._bill(person, care, (end, end), number="invono", total=total, social=social)

    def settlement_list(self, person: Person) -> ParsedBill:
        """What a 4101 adds: the diagnoses, and when the care was given."""
        node = self.node
        begin = end = None
        for first, last in (
            ("adm_time", "dscg_time"),
            ("opsp_mdtrt_date", "opsp_mdtrt_date"),
            ("setl_begn_date", "setl_end_date"),
        ):
            if node.states(first) and node.states(last):
                begin, end = node.moment(first), node.moment(last, day_ends=True)
                break
        else:
            node.add(Reason.TIME_MISSING, "adm_time")
        if begin is not None and end is not None and end < begin:
            node.add(Reason.END_BEFORE_START, "dscg_time")
        if not node.states("setl_id") and not self.answer.states("setl_id"):
            node.add(Reason.REFERENCE_MISSING, "setl_id")
        chronic = node.states("opsp_mdtrt_date") and not node.states("adm_time")
        care = CareType.CHRONIC if chronic else CareType.INPATIENT
        diagnoses = self._diagnoses()
        return self._bill(person, care, (begin, end), number="setl_id", diagnoses=diagnoses)

    def _bill(
        self,
        person: Person,
        care_type: CareType | None,
        span: tuple[datetime | None, datetime | None],
        *,
        number: str,
        lines: Sequence[ParsedLine] = (),
        total: Decimal | None = None,
        social: ParsedSocialInsurance | None = None,
        diagnoses: tuple[ParsedDiagnosis, ...] = (),
    ) -> ParsedBill:
        provider = self._terms.provider_id or self.message.fixmedins_code or None
        if provider is None:
            self.findings.add(Reason.PROVIDER_UNKNOWN, "fixmedins_code")
        return ParsedBill(
            bill_number=self._number(number),
            provider_id=provider,
            tier=self._terms.tier,
            care_type=care_type,
            start=span[0],
            end=span[1],
            diagnoses=diagnoses,
            lines=tuple(lines),
            total=total,
            total_path=self.answer.at("medfee_sumamt"),
            states_total=total is not None,
            person=person,
            social_insurance=social,
            faults=tuple(self.findings.faults),
            emergency=self._emergency(),
        )

    def _emergency(self) -> bool | None:
        """Whether the stay began as an emergency: by 入院途径, else by a 医疗类别 that says so.

        None where neither is there: of another 医疗类别 nobody knows how it began.
        """
        quiet = Findings(())
        node = self.cells(self.message.main(), "", quiet)
        way = node.text("adm_way")
        if way is not None:
            return way == EMERGENCY_WAY
        answer = self.cells(self.message.output.setlinfo, "", quiet)
        kinds = {cells.text("med_type") for cells in (answer, node)}
        return True if kinds.intersection(self._own.emergency_med_types) else None

    def _number(self, name: str) -> str | None:
        """The invoice's number where there is one, else the settlement's or the visit's."""
        for cells in (self.node, self.answer):
            found = cells.short(name, ascii_only=True)
            if found is not None:
                return found
        return self.answer.short("setl_id", ascii_only=True)

    def _line(self, cells: Cells, number: int) -> ParsedLine:
        quantity = cells.decimal("cnt", places=QUANTITY_PLACES)
        original = cells.short("init_feedetl_sn")
        if quantity is None and not cells.states("cnt"):
            cells.add(Reason.NUMBER_MALFORMED, "cnt")
        if quantity is not None and (quantity == 0 or (quantity < 0) != (original is not None)):
            cells.add(Reason.QUANTITY_NOT_POSITIVE, "cnt")
            quantity = None
        time = cells.moment("fee_ocur_time")
        if time is None and not cells.states("fee_ocur_time"):
            cells.add(Reason.TIME_MISSING, "fee_ocur_time")
        net = cells.decimal("det_item_fee_sumamt", places=AMOUNT_PLACES)
        if net is not None and net < 0 and original is None:
            cells.add(Reason.NEGATIVE_AMOUNT, "det_item_fee_sumamt")
            net = None
        return ParsedLine(
            path=cells.path,
            number=number,
            concept=self._concept(cells),
            quantity=quantity,
            unit_price=cells.decimal("pric", places=UNIT_PRICE_PLACES),
            net=net,
            states_amount=cells.states("det_item_fee_sumamt") or cells.states("pric"),
            service_time=time,
            line_id=self.required(cells, "feedetl_sn") or "",
            reverses_line=original or "",
        )

    def _concept(self, cells: Cells) -> Concept | None:
        standard, local = cells.short("med_list_codg"), cells.short("medins_list_codg")
        if standard is None and (local is None or cells.states("med_list_codg")):
            if not cells.states("med_list_codg"):
                cells.add(Reason.CODE_MISSING, "med_list_codg")
            return None
        codings = [
            LocalCoding(system=system, code=code, display="")
            for code, system in (
                (standard, self._own.line_system),
                (local, self._own.local_line_system),
            )
            if code is not None
        ]
        return Concept(codings=tuple(codings), path=cells.at("med_list_codg"))

    def _care_type(self, cells: Cells, usual: CareType | None) -> CareType | None:
        code = cells.text("med_type")
        if code is None and not cells.states("med_type") and usual is not None:
            return usual  # 2204 does not say it; the settlement will
        found = self._own.med_types.get(code or "", self._terms.care_type_default)
        if found is None:
            cells.add(Reason.CARE_TYPE_UNKNOWN, "med_type")
        return found

    def total(self) -> Decimal | None:
        """What the settlement says that the bill amounts to."""
        cells = self.answer if self.answer.states("medfee_sumamt") else self.node
        total = self._amount(cells, "medfee_sumamt")
        if total is None and not cells.states("medfee_sumamt"):
            self.answer.add(Reason.TOTAL_MISSING, "medfee_sumamt")
        return total

    def _social_insurance(self, total: Decimal | None) -> ParsedSocialInsurance | None:
        if self._terms.social_insurance is not SocialInsuranceSource.RECORD:
            return None
        fund = self._amount(self.answer, "fund_pay_sumamt")
        account = self._amount(self.answer, "acct_pay")
        cash = self._amount(self.answer, "psn_cash_pay")
        if total is not None and (fund or 0) + (account or 0) + (cash or 0) > total:
            self.answer.add(Reason.SOCIAL_INSURANCE_CONTRADICTS, "psn_cash_pay")
        if self._amount(self.answer, "hosp_part_amt"):
            # 医院负担: nobody's loss, and no field of a bill says so; it would be paid as one.
            self.answer.add(Reason.MESSAGE_UNSUPPORTED, "hosp_part_amt")
        return ParsedSocialInsurance(used=True, fund_paid=fund, account_paid=account)

    def _amount(self, cells: Cells, name: str) -> Decimal | None:
        value = cells.decimal(name, places=AMOUNT_PLACES)
        if value is not None and value < 0:
            cells.add(Reason.NEGATIVE_AMOUNT, name)
            return None
        return value

    def _diagnoses(self) -> tuple[ParsedDiagnosis, ...]:
        found: list[ParsedDiagnosis] = []
        for node in ("diseinfo", "opspdiseinfo"):
            rows = getattr(self.message.input, node)
            for index, row in enumerate(rows):
                cells = self.cells(row, f"{self.message.path_in}.{node}[{index}]")
                if cells.text("diag_type") not in _WESTERN:
                    continue
                code = cells.short("diag_code")
                if code is None and not cells.states("diag_code"):
                    cells.add(Reason.CODE_MISSING, "diag_code")
                system = self._own.diagnosis_system
                coding = LocalCoding(system=system, code=code or "", display="")
                path = cells.at("diag_code")
                found.append(
                    ParsedDiagnosis(
                        number=len(found) + 1,
                        principal=cells.text("maindiag_flag") == _MAIN,
                        concept=Concept(codings=(coding,), path=path) if code else None,
                    )
                )
        return tuple(found)

    def cells(self, values: Values, path: str, findings: Findings | None = None) -> Cells:
        """The values of a node of this message, or of what was looked up for it."""
        return Cells(values, path, findings or self.findings, self._zone, self._own.charset)
